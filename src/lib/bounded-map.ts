/** A `Map` that holds up to `max` entries: a new one evicts the entry that was set longest ago. */
export class BoundedMap<K, V> extends Map<K, V> {
  constructor(private readonly max: number) {
    super();
  }

  override set(key: K, value: V): this {
    // A Map keeps the order of insertion, so the first key is the oldest.
    this.delete(key);
    if (this.size >= this.max) this.delete(this.keys().next().value as K);
    return super.set(key, value);
  }
}
