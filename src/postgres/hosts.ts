/**
 * Finds the primary among the hosts of a connection string, as libpq does for `target_session_attrs`: Bun's client takes
 * one host. All are asked side by side, and the primary on the highest timeline is taken: each promotion begins a timeline
 * (PostgreSQL, "Timelines"), so of two servers that both believe to be the primary the lower one is the former primary.
 */
// Decision: docs/decisions/38-several-hosts.md
import { StartupError } from '../errors/startup-error.ts';
import { parseDatabaseError, type Remedy } from '../lib/database-error.ts';
import { hostUrls } from '../lib/postgres-url.ts';
import { sleep, waitUpTo } from '../lib/sleep.ts';
import { openClient } from './client.ts';
import { findRemedy, nameDatabase, nameHost } from './connection.ts';
import { CONNECT_TIMEOUT_SECONDS, DeadlineMissed } from './deadlines.ts';

/** A host that is asked again and again has this time to answer. */
const ASK_TIMEOUT_MS = 2000;
/** Once one primary has answered, the others have this time: one of them may be on a higher timeline. */
const GRACE_MS = 300;
/** After this time those that have answered are asked again, while the others still have time. */
const ROUND_MS = 500;
const PAUSE_MS = 200;

/** What one host says of itself. */
type Answer =
  | { kind: 'primary'; url: string; timeline: number; system: string | null }
  | { kind: 'standby'; url: string }
  | { kind: 'failure'; url: string; error: unknown };

export interface PrimaryFinder {
  /**
   * Asks all hosts once. With one host nothing is asked.
   * @throws {StartupError} where none is the primary, with what each says.
   */
  find(): Promise<string>;
  /**
   * Asks until one host is the primary. The promise stays pending once the finder is closed.
   * @param onMissing is called once where none is at first, with what each host says.
   */
  wait(onMissing: (reason: string) => void): Promise<string>;
  close(): void;
}

/** @param setting names the variable that holds the connection string. */
export function createPrimaryFinder(url: string, setting: string): PrimaryFinder {
  const urls = hostUrls(url);
  const asked = new Map<string, Promise<Answer>>();
  let latest: { timeline: number; system: string | null } | undefined;
  let isClosed = false;

  /** Asks a host, unless its answer is still awaited. */
  function ask(one: string, timeoutMs: number): Promise<Answer> {
    const pending = asked.get(one);
    if (pending) return pending;
    const answer = askHost(one, timeoutMs).finally(() => asked.delete(one));
    asked.set(one, answer);
    return answer;
  }

  /** Returns what the hosts have answered in time. */
  async function askAll(timeoutMs: number, roundMs: number): Promise<Answer[]> {
    const answers: Answer[] = [];
    const first = Promise.withResolvers<void>();
    const all = Promise.all(
      urls.map(async (one) => {
        const answer = await ask(one, timeoutMs);
        answers.push(answer);
        if (answer.kind === 'primary') first.resolve();
      }),
    );
    await waitUpTo(roundMs, Promise.race([all, first.promise]));
    await waitUpTo(GRACE_MS, all);
    return [...answers];
  }

  /** Returns the primary on the highest timeline, unless a higher one of the same cluster was seen before. */
  function choose(answers: readonly Answer[]): string | undefined {
    const [best] = answers
      .filter((one) => one.kind === 'primary')
      .sort((one, other) => other.timeline - one.timeline);
    if (best === undefined) return undefined;
    if (latest && best.system === latest.system && best.timeline < latest.timeline)
      return undefined;
    latest = best;
    return best.url;
  }

  return {
    async find() {
      const [only] = urls;
      if (only !== undefined && urls.length === 1) return only;
      const timeoutMs = CONNECT_TIMEOUT_SECONDS * 1000;
      const answers = await askAll(timeoutMs, timeoutMs);
      return choose(answers) ?? Promise.reject(await explainMissing(url, setting, answers));
    },
    async wait(onMissing) {
      if (urls.length === 1) return url;
      for (let rounds = 1; !isClosed; rounds += 1) {
        const answers = await askAll(ASK_TIMEOUT_MS, ROUND_MS);
        const found = choose(answers);
        if (found !== undefined) return found;
        if (rounds === 1)
          explainMissing(url, setting, answers).then((one) => onMissing(one.message));
        await sleep(PAUSE_MS);
      }
      return new Promise(() => undefined);
    },
    close() {
      isClosed = true;
    },
  };
}

/** Asks one host, on a connection of its own. It never rejects. */
async function askHost(url: string, timeoutMs: number): Promise<Answer> {
  const client = openClient(url, {
    purpose: 'primary search',
    prepare: false,
    connectTimeoutSeconds: timeoutMs / 1000,
  });
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new DeadlineMissed()), timeoutMs);
  const read = async (): Promise<Answer> => {
    const [row] = await client`select pg_is_in_recovery() as standby`;
    if (row.standby) return { kind: 'standby', url };
    // An engine that fails over by its own means may lack these: then it has one primary.
    const [state] = await client`
      select pg_walfile_name(pg_current_wal_lsn()) as wal,
        (select system_identifier::text from pg_control_system()) as system`.catch((error) => {
      if (parseDatabaseError(error)?.unavailable ?? true) throw error;
      return [];
    });
    // The first eight hexadecimal digits of the name of a WAL file are the timeline.
    const timeline = Number.parseInt(state?.wal?.slice(0, 8) ?? '0', 16);
    return { kind: 'primary', url, timeline, system: state?.system ?? null };
  };
  try {
    return await Promise.race([read(), late.promise]);
  } catch (error) {
    return { kind: 'failure', url, error };
  } finally {
    clearTimeout(timer);
    client.close({ timeout: 0 }).catch(() => undefined);
  }
}

/** What keeps a host from being the primary. */
async function describe(
  answer: Answer | undefined,
  url: string,
): Promise<{ cause: string; cure: string | undefined }> {
  if (answer?.kind === 'primary')
    return { cause: 'is a former primary, on an earlier timeline', cure: undefined };
  if (answer?.kind === 'standby') return { cause: 'is a standby', cure: undefined };
  const error = answer?.error ?? new DeadlineMissed();
  const failure = parseDatabaseError(error);
  const remedy: Remedy | undefined = await findRemedy(failure, url);
  return {
    cause:
      remedy?.cause ?? `fails (${failure?.sqlstate ?? failure?.code ?? 'an unexpected error'})`,
    cure: remedy?.cure,
  };
}

/** The remedies speak of DATABASE_URL. */
export const nameSetting = (message: string, setting: string) =>
  message.replaceAll(/\bDATABASE_URL\b/g, setting);

async function explainMissing(
  url: string,
  setting: string,
  answers: readonly Answer[],
  wanted = 'is the primary',
): Promise<StartupError> {
  const hosts = await Promise.all(
    hostUrls(url).map(async (one) => ({
      name: nameHost(one),
      ...(await describe(
        answers.find((answer) => answer.url === one),
        one,
      )),
    })),
  );
  const cures = new Set(hosts.map(({ cure }) => cure));
  const [common] = cures.size === 1 ? cures : [];
  const causes = hosts.map(({ name, cause }) => `${name} ${cause}`).join(', ');
  const cure = common ?? 'start or promote the primary, or correct DATABASE_URL';
  return new StartupError(
    nameSetting(`no host of ${nameDatabase(url)} ${wanted}: ${causes}: ${cure}`, setting),
  );
}

/**
 * Returns the URL of a host that can be read: a standby, or else the primary. With one host nothing is asked.
 * @throws {StartupError} where none answers, with what each says.
 */
export async function findStandby(url: string, setting: string): Promise<string> {
  const urls = hostUrls(url);
  const [only] = urls;
  if (only !== undefined && urls.length === 1) return only;
  const answers = await Promise.all(
    urls.map((one) => askHost(one, CONNECT_TIMEOUT_SECONDS * 1000)),
  );
  const found =
    answers.find(({ kind }) => kind === 'standby') ??
    answers.find(({ kind }) => kind === 'primary');
  if (found) return found.url;
  throw await explainMissing(url, setting, answers, 'can be read');
}

/** Returns what hinders each host that is neither the primary nor a standby. With one host nothing is asked. */
export async function findFailingHosts(url: string): Promise<string[]> {
  const urls = hostUrls(url);
  if (urls.length === 1) return [];
  const found = await Promise.all(
    urls.map(async (one) => {
      const answer = await askHost(one, CONNECT_TIMEOUT_SECONDS * 1000);
      if (answer.kind !== 'failure') return [];
      const { cause, cure } = await describe(answer, one);
      return [`the host ${nameHost(one)} ${cause}${cure ? `: ${cure}` : ''}`];
    }),
  );
  return found.flat();
}
