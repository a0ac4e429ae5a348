/** A client that follows the feed by its cursor, from one page to the next, whatever happens to the database. */

const PAUSE_MS = 100;
const ANSWER_TIMEOUT_MS = 15_000;

interface ChangePage {
  items: { fields: { title?: string } }[];
  next_cursor: string;
}

export class FeedFollower {
  /** Of the tasks that were told. */
  readonly titles = new Set<string>();
  /** How often the feed was read to its end. */
  private ends = 0;
  private isEnded = false;

  private constructor(
    private readonly url: string,
    private readonly token: string,
    private cursor: string,
  ) {}

  /** Begins at the present end of the feed. */
  static async start(url: string, token: string): Promise<FeedFollower> {
    for (;;) {
      const page = await read(url, token, '');
      if (page === undefined) continue;
      const follower = new FeedFollower(url, token, page.next_cursor);
      void follower.follow();
      return follower;
    }
  }

  private async follow() {
    while (!this.isEnded) {
      const page = await read(this.url, this.token, `?limit=100&since=${this.cursor}`);
      if (page === undefined) continue;
      for (const { fields } of page.items) if (fields.title) this.titles.add(fields.title);
      this.cursor = page.next_cursor;
      if (page.items.length > 0) continue;
      this.ends += 1;
      await Bun.sleep(PAUSE_MS);
    }
  }

  /** Waits for a read that began after this call and found nothing more, then ends. */
  async catchUp() {
    const enough = this.ends + 2;
    while (this.ends < enough) await Bun.sleep(PAUSE_MS);
    this.isEnded = true;
  }
}

/** @returns undefined where the API answers that it cannot read now. @throws {Error} for an answer that a follower cannot resume from. */
async function read(url: string, token: string, query: string): Promise<ChangePage | undefined> {
  const response = await fetch(`${url}/changes${query}`, {
    headers: { authorization: `Bearer ${token}` },
    signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
  }).catch(() => undefined);
  if (response?.status === 200) return (await response.json()) as ChangePage;
  if (response !== undefined && response.status !== 503)
    throw new Error(`the feed answers ${response.status}: ${await response.text()}`);
  await Bun.sleep(PAUSE_MS);
  return undefined;
}
