/** A client of the change stream. */
import type { Client } from './api.ts';
import { waitFor } from './process.ts';

// biome-ignore lint/suspicious/noExplicitAny: events are looked into freely.
type Json = any;

/** Reads a stream of events, as a client that stays connected does. */
export class Follower {
  readonly items: Json[] = [];
  lastId: string | undefined;
  /** Comments that keep the connection alive. */
  heartbeats = 0;
  ended = false;
  private readonly abort = new AbortController();
  private constructor(readonly status: number) {}

  static async follow(who: Client, headers: Record<string, string> = {}, query = '') {
    const abort = new AbortController();
    const response = await fetch(`${who.api.url}/changes/stream${query}`, {
      headers: { authorization: `Bearer ${who.token}`, ...headers },
      signal: abort.signal,
    });
    const follower = new Follower(response.status);
    follower.abort.signal.addEventListener('abort', () => abort.abort());
    follower
      .read(response)
      .catch(() => undefined)
      .finally(() => {
        follower.ended = true;
      });
    if (response.ok)
      await waitFor(
        'the stream begins',
        () => follower.lastId !== undefined || follower.heartbeats > 0,
      );
    return follower;
  }

  private async read(response: Response) {
    let text = '';
    const decoder = new TextDecoder();
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      text += decoder.decode(chunk, { stream: true });
      const messages = text.split('\n\n');
      text = messages.pop() ?? '';
      for (const message of messages) {
        if (/^: /m.test(message)) this.heartbeats += 1;
        const fields = new Map(
          message
            .split('\n')
            .map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]),
        );
        this.lastId = fields.get('id') ?? this.lastId;
        const data = fields.get('data');
        if (data !== undefined) this.items.push(JSON.parse(data));
      }
    }
  }

  close() {
    this.abort.abort();
  }
}
