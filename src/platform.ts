/** What a runtime supplies to the app. `serve.ts` fills it on Bun, `edge.ts` on Cloudflare Workers. */
import type { AnyElysia, ElysiaConfig } from 'elysia';
import type { Database } from './db/database.ts';
import type { Log } from './log.ts';
import type { Settings } from './settings.ts';

export interface Passwords {
  /** Hashes with argon2id (m=19456 KiB, t=2, p=1). @returns a PHC string. @throws {Problem} `overloaded`. */
  hash(password: string): Promise<string>;
  /**
   * Compares in constant time. Where there is no hash, because there is no such user, or where it is unreadable, the
   * answer is false after the same work. @throws {Problem} `overloaded` when too many hashes are in flight.
   */
  verify(password: string, hash: string | undefined): Promise<boolean>;
  /**
   * Lets so many log-ins at once come to the database as keep the hashing busy, and refuses more than can be hashed soon
   * before they have cost a statement. @throws {Problem} `overloaded`, and what `work` throws.
   */
  inTurn<T>(work: () => Promise<T>): Promise<T>;
  inspect(hash: string): HashCondition;
  /** The passwords that are tried first, in lower case. */
  common(): Promise<ReadonlySet<string>>;
  /** Hashes being computed, and those that wait for their turn. */
  readonly in_flight: number;
  readonly waiting: number;
}

/**
 * `outdated`: made with another algorithm or other parameters than today's; it verifies and is to be made anew.
 * `unreadable`: no hash at all; nobody can log in with it, and somebody should be told.
 */
export type HashCondition = 'current' | 'outdated' | 'unreadable';

/** What happens, counted for whoever watches over the service. */
export interface Metrics {
  /** @param route its pattern, never the path: that would be one series for each id. */
  countRequest(method: string, route: string, status: number, seconds: number): void;
  countLimit(name: string): void;
  /** How many streams are open now. */
  showStreams(open: number): void;
  /** All that was counted, in Prometheus' text format. */
  print(): Promise<string>;
}

export interface Shutdown {
  /** Aborts when the process begins to stop. Streams without an end of their own end then. */
  readonly signal: AbortSignal;
  /** Whether the process stops, for whoever asks if it is ready: a stop waits a moment until he has heard. */
  tell(): boolean;
}

/** The other processes that serve the same port. */
export interface Siblings {
  /** Tells all of them, soon. @returns when it is on its way. */
  tell(topic: Topic, message?: unknown): Promise<void>;
  /** Asks all of them. @returns the answers of those who answer in time. */
  ask(topic: Topic, message?: unknown): Promise<unknown[]>;
  /** What `heard` returns goes to whoever has asked. */
  on(topic: Topic, heard: (message: unknown) => unknown): void;
}

/**
 * `credentials_ended`: some session or token counts no more. `requests_taken`: what clients have used of their limits.
 * `readiness_asked`, `readiness_refused`: by whoever watches it. `streams_open`: how many a user has. `metrics`: what was
 * counted.
 */
export type Topic =
  | 'credentials_ended'
  | 'requests_taken'
  | 'readiness_asked'
  | 'readiness_refused'
  | 'streams_open'
  | 'metrics';

export interface Platform {
  /** Elysia's own seam; it knows Bun by itself. */
  readonly adapter?: ElysiaConfig<''>['adapter'];
  readonly settings: Settings;
  /** Signs access tokens (HS256): 32 bytes or more. */
  readonly jwt_secret: string;
  readonly database: Database;
  readonly passwords: Passwords;
  readonly log: Log;
  /** The clock, so that tests can let tokens expire. */
  readonly now: () => Date;
  /** The IP address at the other end of the connection; undefined where there is none. */
  readonly address_of: (request: Request) => string | undefined;
  /** Pieces that are made while the answer is under way, still with what belongs to the request, such as its connection. */
  readonly streamed: <T>(pieces: AsyncGenerator<T>) => AsyncGenerator<T>;
  /** The OpenAPI document of the API: drawn from its routes, or drawn before. */
  readonly openapi_document: (api: AnyElysia) => Promise<unknown>;
  /** A file of Swagger UI's distribution, by its bare name; undefined where there is none. */
  readonly swagger_ui_file: (name: string) => Promise<Blob | undefined>;
  /**
   * Has `onNotify` called whenever somebody notifies the channel of PostgreSQL, and when something may have been missed.
   * Undefined where nobody can listen: there, whoever waits looks again and again.
   */
  readonly listen?: (channel: string, onNotify: () => void) => () => void;
  /** Where nothing is counted, `/metrics` says so. */
  readonly metrics?: Metrics;
  /** Where there is none, the runtime ends requests by itself. */
  readonly shutdown?: Shutdown;
  /** Where there are none, this process is alone at its port. */
  readonly siblings?: Siblings;
}
