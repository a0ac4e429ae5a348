/** What a runtime supplies to the app: `server/serve` on Bun, `edge/create-worker` on Cloudflare Workers. */
import type { AnyElysia, ElysiaConfig } from 'elysia';
import type { Database } from './db/database.ts';
import type { webhookErrors } from './db/schema.ts';
import type { Log } from './lib/log.ts';
import type { Settings } from './settings.ts';

export interface Passwords {
  /** Hashes with argon2id (m=19456 KiB, t=2, p=1). @returns a PHC string. @throws {Problem} `overloaded`. */
  hash(password: string): Promise<string>;
  /**
   * Compares in constant time. Without a hash, because there is no such user, and with an unreadable one, it returns
   * false after the same work. @throws {Problem} `overloaded` when too many hashes are in flight.
   */
  verify(password: string, hash: string | undefined): Promise<boolean>;
  /**
   * Limits concurrent log-ins to what the hashing threads can use. Beyond the bounded queue it throws before any query
   * runs. @throws {Problem} `overloaded`, and what `work` throws.
   */
  limitLogins<T>(work: () => Promise<T>): Promise<T>;
  inspect(hash: string): HashStatus;
  /** Returns the common passwords, which attackers try first, in lower case. */
  common(): Promise<ReadonlySet<string>>;
  /** Hashes that are being computed, and log-ins and hashes that wait. */
  readonly inFlight: number;
  readonly waiting: number;
}

/**
 * `outdated`: made with another algorithm or with other parameters than today's; it verifies and needs a rehash.
 * `unreadable`: not a hash; no log-in succeeds with it, and the operator should know.
 */
export type HashStatus = 'current' | 'outdated' | 'unreadable';

/** Counters and gauges for the operator's monitoring. */
export interface Metrics {
  /** @param route its pattern, never the path: that would be one series for each id. */
  countRequest(method: string, route: string, status: number, seconds: number): void;
  countRateLimited(name: string): void;
  countWebhookTry(outcome: 'delivered' | 'failed', seconds: number): void;
  /** Sets how many webhooks this process delivers to. */
  setWebhooksServed(served: number): void;
  /** Sets how many change streams are open. */
  setOpenStreams(open: number): void;
  /** Returns all metrics in the text format of Prometheus. */
  render(): Promise<string>;
}

/** The result of one delivery attempt: the receiver's response, or why there is none. */
export interface WebhookAnswer {
  readonly status: number | null;
  readonly error: (typeof webhookErrors)[number] | null;
  /** Null where it would reveal something about the server's own network. */
  readonly durationMs: number | null;
  /** The beginning of the body. */
  readonly response: string | null;
  /** How long the receiver asks us to wait (RFC 9110 §10.2.3). */
  readonly retryAfterMs: number | undefined;
}

/** Sends a POST to an address outside the server's own network. It never rejects. */
export type SendWebhook = (
  url: string,
  headers: Readonly<Record<string, string>>,
  body: string,
) => Promise<WebhookAnswer>;

export interface Shutdown {
  /** Aborts when the process begins to stop, which ends the change streams. */
  readonly signal: AbortSignal;
  /** Returns whether the process is stopping. A stop waits until a readiness check has called this and seen that it is. */
  noteReadinessCheck(): boolean;
}

/** Messages to the other processes that serve the same port. */
export interface PeerChannel {
  /** Sends a message to all of them. Resolves once it is on its way. */
  broadcast(topic: PeerTopic, message?: unknown): Promise<void>;
  /** Sends a request to all of them. @returns the responses that arrive in time. */
  request(topic: PeerTopic, message?: unknown): Promise<unknown[]>;
  /** Calls the listener for each message; what it returns is the response to a request. */
  on(topic: PeerTopic, listener: (message: unknown) => unknown): void;
}

/**
 * `credentials_ended`: a session or token is revoked. `requests_taken`: what clients have used of their rate limits.
 * `readiness_checked`, `readiness_failed`: a load balancer has polled the readiness, or has seen it fail.
 * `streams_open`, `streams_before`: how many change streams a user has, in all or opened before a number.
 * `metrics`: the counters of the process.
 */
export type PeerTopic =
  | 'credentials_ended'
  | 'requests_taken'
  | 'readiness_checked'
  | 'readiness_failed'
  | 'streams_open'
  | 'streams_before'
  | 'metrics';

export interface OpenApiDocument extends Record<string, unknown> {
  servers: { url: string; description: string }[];
  paths: Record<string, Record<string, Record<string, unknown>>>;
}

export interface Platform {
  /** Elysia's adapter; undefined on Bun, Elysia's default. */
  readonly adapter?: ElysiaConfig<''>['adapter'];
  readonly settings: Settings;
  /** Signs access tokens (HS256): 32 bytes or more. */
  readonly jwtSecret: string;
  readonly database: Database;
  /** Returns what an export reads that begins now: a standby that is up to date. Undefined: exports read `database`. */
  readonly databaseForExport?: () => Promise<Database>;
  /** The database on a connection of its own, for health checks. Undefined: they use `database`. */
  readonly probe?: Database;
  /** How many connections to the database have been lost so far. */
  readonly countLosses?: () => number;
  readonly passwords: Passwords;
  readonly log: Log;
  /** The clock, so that tests can let tokens expire. */
  readonly now: () => Date;
  /** The IP address at the other end of the connection; undefined where there is none. */
  readonly remoteAddress: (request: Request) => string | undefined;
  /** Keeps what belongs to the request, such as its database connection on Workers, while its response is streamed. */
  readonly bindStream: <T>(pieces: AsyncGenerator<T>) => AsyncGenerator<T>;
  /** Runs work that may take as long as its client sends: the time limit of a request does not apply to it. */
  readonly runUnbounded: <T>(work: () => T) => T;
  /** Returns the OpenAPI document of the API, generated from its routes now or at build time. */
  readonly openapiDocument: (api: AnyElysia) => Promise<OpenApiDocument>;
  /** Returns a file of the documentation, by its place in a package or in `src`; undefined if it is missing. */
  readonly docsFile: (source: string) => Promise<Blob | undefined>;
  /** Compresses with gzip. Undefined on a platform that compresses responses itself. */
  readonly compress?: (bytes: Uint8Array<ArrayBuffer>) => Promise<Uint8Array<ArrayBuffer>>;
  /**
   * Calls `onNotify` for each notification on a channel of PostgreSQL, and when one may have been missed. Undefined on a
   * platform that cannot listen: there, change streams poll.
   */
  readonly subscribe?: (channel: string, onNotify: () => void) => () => void;
  /** Delivers to webhooks. Undefined on a platform without webhooks. */
  readonly sendWebhook?: SendWebhook;
  /** Makes a stop wait, within its bound, for work that no request waits for. */
  readonly waitFor?: (work: Promise<unknown>) => void;
  /** Undefined on a platform that counts nothing: `/metrics` answers 501 there. */
  readonly metrics?: Metrics;
  /** Undefined on a platform that ends requests by itself. */
  readonly shutdown?: Shutdown;
  /** Undefined for a process that is alone at its port. */
  readonly peers?: PeerChannel;
}
