/**
 * Clients that write without a pause and keep a ledger of what they were told. Afterwards the ledger is held against the
 * tables: what was acknowledged is there once, what was refused is not there, what no client sent is not there, and a write
 * whose answer was lost is there once or not at all, a batch whole or not at all. Every other client sends an `Idempotency-Key` and repeats a write
 * until it is acknowledged: that is there exactly once, whatever has become of the answers before.
 */
import { SQL } from 'bun';
import { v7 as uuidv7 } from 'uuid';
import { accessTokens } from '../../src/plugins/access-tokens.ts';
import { readSettings } from '../../src/settings.ts';
import { waitFor } from '../support/process.ts';
import { JWT_SECRET } from './service.ts';

/** Of four kinds: one task or a batch at a time, with a key or without. */
const WRITERS = 16;
const BATCH_LENGTH = 20;
/** Between the name of a batch and the number of a task in it. */
const OF_BATCH = ' of batch, ';
/** A client waits this long after a refusal, so that other processes can run. */
const PAUSE_MS = 20;
/** The longest a request may take: a wait for a connection, a statement, and the silence after its timeout. */
export const ANSWER_MS_MAX = 12_000;

/** A user who writes, and their project. */
export interface Writer {
  readonly token: string;
  readonly project_id: string;
}

/** The outcome of a write: done, not done, or unknown. */
type Outcome = 'acknowledged' | 'refused' | 'lost';

export interface Load {
  /** How many tasks were acknowledged so far. */
  readonly acknowledged: number;
  /** How many were answered with a refusal. */
  readonly refused: number;
  /** Waits for so many more to be acknowledged. */
  more(count: number): Promise<void>;
  /** Waits for the first write that was begun after this moment and acknowledged. @returns when its answer came. */
  firstSince(momentMs: number): Promise<number>;
  /** What was acknowledged since this was asked last. */
  news(): string[];
  /** Lets what is in flight end. @returns the ledger. */
  end(): Promise<Ledger>;
}

export interface Ledger {
  readonly outcomes: ReadonlyMap<string, Outcome>;
  /** The longest time in which nothing was acknowledged. */
  readonly longest_gap_ms: number;
  /** The longest that an answer took. */
  readonly longest_answer_ms: number;
  /** Writes that were sent more than once, with a key, and how many of them had been done before. */
  readonly repeated: number;
  readonly replayed: number;
  /** Answers that no client should get. */
  readonly improper: string[];
}

/** Inserts a user with a project. */
export async function createWriter(databaseUrl: string): Promise<Writer> {
  const [userId, sessionId, projectId] = [uuidv7(), uuidv7(), uuidv7()];
  const username = `writer-${userId.slice(-12)}`;
  const sql = new SQL({ url: databaseUrl, max: 1 });
  await sql`insert into users (id, username, email, password_hash)
    values (${userId}, ${username}, ${`${username}@example.org`}, 'none')`;
  await sql`insert into sessions (id, user_id, expires_at) values (${sessionId}, ${userId}, now() + interval '1 day')`;
  await sql`insert into projects (id, name) values (${projectId}, 'Faults')`;
  await sql`insert into project_members (project_id, user_id, role) values (${projectId}, ${userId}, 'owner')`;
  await sql.close();
  const { tokens } = accessTokens({
    settings: readSettings({ ACCESS_TOKEN_TTL: '1d' }),
    jwtSecret: JWT_SECRET,
    now: () => new Date(),
  }).decorator;
  return {
    project_id: projectId,
    token: await tokens.sign({ userId, username, sessionId }),
  };
}

let titles = 0;

interface Asked {
  path: string;
  titles: string[];
  key: string | undefined;
}

interface Answer {
  title?: string;
  results?: { task: { title: string } }[];
  code?: string;
}

/** Begins to write to whichever URL is given at the moment. */
export function beginLoad({ token, project_id }: Writer, url: () => string): Load {
  const outcomes = new Map<string, Outcome>();
  const improper: string[] = [];
  const answers: { title: string; begun_ms: number; ended_ms: number }[] = [];
  let told = 0;
  let refused = 0;
  let longestAnswerMs = 0;
  let repeated = 0;
  let replayed = 0;
  let running = true;

  /** Writes on and on, in one of the four ways of `at`. */
  async function write(at: number) {
    const [batched, keyed] = [at % 4 >= 2, at % 2 === 1];
    while (running) {
      titles += 1;
      const name = `write ${titles}`;
      const asked = {
        path: batched ? '/tasks/batch' : `/tasks/projects/${project_id}`,
        titles: batched
          ? Array.from({ length: BATCH_LENGTH }, (_, n) => `${name}${OF_BATCH}${n}`)
          : [name],
        key: keyed ? name.replace(' ', '-') : undefined,
      };
      for (let tries = 1; ; tries += 1) {
        if ((await attempt(asked)) === 'acknowledged') break;
        await Bun.sleep(PAUSE_MS);
        if (!keyed) break;
        if (tries === 1) repeated += 1;
      }
    }
  }

  async function attempt(asked: Asked): Promise<Outcome> {
    const begunMs = performance.now();
    // Until the answer says better; a refusal says nothing of the try before.
    const before = outcomes.get(asked.titles[0] ?? '');
    for (const title of asked.titles) outcomes.set(title, 'lost');
    const outcome = await send(asked);
    const endedMs = performance.now();
    longestAnswerMs = Math.max(longestAnswerMs, endedMs - begunMs);
    const known = before === 'lost' && outcome === 'refused' ? 'lost' : outcome;
    for (const title of asked.titles) {
      outcomes.set(title, known);
      if (known === 'acknowledged') answers.push({ title, begun_ms: begunMs, ended_ms: endedMs });
    }
    return outcome;
  }

  async function send({ path, titles, key }: Asked): Promise<Outcome> {
    const operations = titles.map((title) => ({ op: 'create', project_id, title }));
    let response: Response;
    let body: Answer;
    try {
      response = await fetch(url() + path, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${token}`,
          'content-type': 'application/json',
          ...(key !== undefined && { 'idempotency-key': key }),
        },
        body: JSON.stringify(path === '/tasks/batch' ? { operations } : { title: titles[0] }),
        signal: AbortSignal.timeout(ANSWER_MS_MAX),
      });
      body = (await response.json()) as Answer;
    } catch (error) {
      const { code, name } = error as Error & { code?: string };
      if (name === 'TimeoutError') improper.push(`no answer in ${ANSWER_MS_MAX} ms`);
      return code === 'ConnectionRefused' ? 'refused' : 'lost';
    }
    const { status, headers } = response;
    if (status === 200 || status === 201) {
      if (headers.has('idempotency-replayed')) replayed += 1;
      const made = body.results?.map(({ task }) => task.title) ?? [body.title];
      if (!Bun.deepEquals(made, titles)) improper.push(`${titles} was answered with ${made}`);
      return 'acknowledged';
    }
    // The try before is under way still, though its client has heard of no more.
    if (body.code === 'idempotency_in_flight') return 'lost';
    refused += 1;
    if (status !== 503 || !headers.has('retry-after')) {
      improper.push(`${status} ${body.code}`);
      return 'lost';
    }
    return body.code === 'overloaded' ? 'refused' : 'lost';
  }

  const begunMs = performance.now();
  const writers = Array.from({ length: WRITERS }, (_, at) => write(at));
  return {
    get acknowledged() {
      return answers.length;
    },
    get refused() {
      return refused;
    },
    async more(count) {
      const enough = answers.length + count;
      await waitFor(`${count} more are acknowledged`, () => answers.length >= enough);
    },
    async firstSince(momentMs) {
      // They are in the order in which they ended.
      const first = await waitFor('a write is acknowledged again', () =>
        answers.find((one) => one.begun_ms >= momentMs),
      );
      return first.ended_ms;
    },
    news() {
      const fresh = answers.slice(told).map(({ title }) => title);
      told += fresh.length;
      return fresh;
    },
    async end() {
      running = false;
      await Promise.all(writers);
      const moments = [begunMs, ...answers.map((one) => one.ended_ms)];
      const gaps = moments.slice(1).map((moment, at) => moment - (moments[at] ?? moment));
      const longestGapMs = gaps.reduce((longest, gap) => Math.max(longest, gap), 0);
      return {
        outcomes,
        improper,
        repeated,
        replayed,
        longest_answer_ms: longestAnswerMs,
        longest_gap_ms: longestGapMs,
      };
    },
  };
}

/** Those of these writes that are not there exactly once. */
export async function findWrong(
  databaseUrl: string,
  { project_id }: Writer,
  titles: string[],
): Promise<string[]> {
  if (titles.length === 0) return [];
  const sql = new SQL({ url: databaseUrl, max: 1 });
  const rows: { title: string; times: number }[] = await sql`
    select title, count(*)::int as times from tasks
    where project_id = ${project_id} and title in ${sql(titles)} group by title`;
  await sql.close();
  const once = new Set(rows.filter(({ times }) => times === 1).map(({ title }) => title));
  return titles.filter((title) => !once.has(title));
}

export interface Verdict {
  acknowledged: number;
  /** Acknowledged, and not there. */
  lost: number;
  /** There more than once. */
  doubled: number;
  /** There, though refused or never sent. */
  invented: number;
  /** Batches of which a part is there. */
  torn: number;
}

/** Holds a ledger against the rows of its project. */
export async function checkLedger(
  databaseUrl: string,
  { project_id }: Writer,
  outcomes: ReadonlyMap<string, Outcome>,
): Promise<Verdict> {
  const sql = new SQL({ url: databaseUrl, max: 1 });
  const rows: { title: string; times: number }[] = await sql`
    select title, count(*)::int as times from tasks where project_id = ${project_id} group by title`;
  await sql.close();
  const times = new Map(rows.map((row) => [row.title, row.times]));
  const verdict: Verdict = { acknowledged: 0, lost: 0, doubled: 0, invented: 0, torn: 0 };
  for (const [title, outcome] of outcomes) {
    if (outcome !== 'acknowledged') continue;
    verdict.acknowledged += 1;
    if (!times.has(title)) verdict.lost += 1;
  }
  for (const [title, count] of times) {
    const outcome = outcomes.get(title);
    if (outcome === undefined || outcome === 'refused') verdict.invented += 1;
    if (count > 1) verdict.doubled += 1;
  }
  const batches = Map.groupBy(
    [...times.keys()].filter((title) => title.includes(OF_BATCH)),
    (title) => title.split(OF_BATCH)[0],
  );
  for (const present of batches.values()) if (present.length !== BATCH_LENGTH) verdict.torn += 1;
  return verdict;
}
