/** The API over real HTTP on a database of its own, and its users. */
import { afterAll, beforeAll, setDefaultTimeout } from 'bun:test';
import { SQL } from 'bun';
import { v7 as uuidv7 } from 'uuid';
import type { Log } from '../../src/lib/log.ts';
import { hostUrls } from '../../src/lib/postgres-url.ts';
import { bunPasswords } from '../../src/passwords/bun.ts';
import { type AccessTokens, accessTokens } from '../../src/plugins/access-tokens.ts';
import { type RunningServer, serve } from '../../src/server/serve.ts';
import { readSettings, type Settings } from '../../src/settings.ts';
import { createDatabase, dropDatabase } from './cluster.ts';
import { matchDocument } from './document.ts';

export const JWT_SECRET = 'a secret of thirty-two bytes or more, for tests';

/** The folder of a bundle: `bun run test:edge` runs the same tests on the API in workerd. */
const { TEST_WORKER } = process.env;
/** Whether the runtime serves the operation with 501 alone, where the request is valid and authorized: some are at the edge. */
export const isUnserved = ({ statuses }: { statuses: number[] }) =>
  TEST_WORKER !== undefined && statuses.includes(501);

/** The port of a pooler: `bun run test:pooler` runs the same tests through it. */
const { TEST_POOLER } = process.env;

function throughPooler(databaseUrl: string, port: string) {
  const url = new URL(databaseUrl);
  url.port = port;
  return { databaseUrl: url.href, databaseSessionUrl: databaseUrl, databasePrepare: false };
}

/**
 * workerd closes a connection after five idle seconds, also when a request is just under way on it. So at the edge each
 * request has a connection of its own, in every test.
 */
if (TEST_WORKER) {
  const send = globalThis.fetch;
  globalThis.fetch = Object.assign(
    (input: Parameters<typeof fetch>[0], options?: RequestInit) =>
      send(input, { ...options, keepalive: false }),
    { preconnect: send.preconnect },
  );
}

/** Far beyond what a test takes, also on a busy machine: what reaches it hangs. */
export const TEST_TIMEOUT_MS = 180_000;

/** How long a statement waits for a connection: on a busy machine those before it take long. */
const WAIT_TIMEOUT_MS = 60_000;

/** The password of every persona. */
const password = 'correct horse battery staple';
const passwordHash = bunPasswords().hash(password);

// biome-ignore lint/suspicious/noExplicitAny: tests look into JSON freely; its shape is held against the document.
type Json = any;

export interface Answer {
  status: number;
  headers: Headers;
  body: Json;
  text: string;
}

export interface LogLine {
  level: string;
  event: string;
  fields: Record<string, unknown>;
}

interface RequestOptions {
  headers?: Record<string, string>;
  /** Sent as it is, instead of JSON. */
  raw?: string | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>;
  /** For answers that no operation documents. */
  undocumented?: true;
}

/** Returns the first piece of a stream, and cancels the rest. */
async function firstPieceOf({ body }: Response): Promise<string> {
  const reader = body?.getReader();
  const piece = await reader?.read();
  await reader?.cancel();
  return new TextDecoder().decode(piece?.value);
}

/** Sends requests, and checks each response against the OpenAPI document. */
export class Client {
  constructor(
    readonly api: Api,
    readonly token?: string,
  ) {}

  async request(
    method: string,
    path: string,
    body?: unknown,
    options: RequestOptions = {},
  ): Promise<Answer> {
    const headers = new Headers(options.headers);
    if (this.token !== undefined && !headers.has('authorization'))
      headers.set('authorization', `Bearer ${this.token}`);
    if (body !== undefined && !headers.has('content-type'))
      headers.set('content-type', 'application/json');
    const response = await fetch(this.api.url + path, {
      method,
      headers,
      redirect: 'manual',
      body: options.raw ?? (body === undefined ? undefined : JSON.stringify(body)),
    });
    const endless = response.headers.get('content-type')?.startsWith('text/event-stream');
    const text = endless ? await firstPieceOf(response) : await response.text();
    const json = /json/.test(response.headers.get('content-type') ?? '');
    const answer = {
      status: response.status,
      headers: response.headers,
      body: json && text !== '' ? JSON.parse(text) : undefined,
      text,
    };
    if (!options.undocumented) matchDocument(method, path, answer);
    return answer;
  }

  get = (path: string, options?: RequestOptions) => this.request('GET', path, undefined, options);
  post = (path: string, body?: unknown, options?: RequestOptions) =>
    this.request('POST', path, body, options);
  put = (path: string, body?: unknown, options?: RequestOptions) =>
    this.request('PUT', path, body, options);
  patch = (path: string, body?: unknown, options?: RequestOptions) =>
    this.request('PATCH', path, body, options);
  delete = (path: string, options?: RequestOptions) =>
    this.request('DELETE', path, undefined, options);
  logIn = (username: string, password: string, options?: RequestOptions) =>
    this.post('/users/login', { username, password }, options);
}

/** A user with an account and a session. */
export class Persona extends Client {
  constructor(
    api: Api,
    token: string,
    readonly id: string,
    readonly username: string,
    readonly password: string,
  ) {
    super(api, token);
  }

  /** Logs in once more. @returns the answer, with a client for the new session. */
  async startSession(password = this.password, options?: RequestOptions) {
    const { status, body } = await this.api.anonymous.logIn(this.username, password, options);
    return {
      status,
      client: new Client(this.api, body.access_token),
      refresh_token: body.refresh_token as string,
    };
  }

  async createProject(name = 'Kitchen'): Promise<Json> {
    return (await this.post('/projects/', { name })).body;
  }

  async createTask(projectId: string, fields: object = {}): Promise<Json> {
    return (await this.post(`/tasks/projects/${projectId}`, { title: 'Tiles', ...fields })).body;
  }
}

export class Api {
  /** The clock of the server: real time and this much. */
  clockOffsetMs = 0;
  /** Real time, unless it stands still. */
  stoppedAtMs: number | undefined;
  /** What has happened, but for the line of each request. */
  readonly log: LogLine[] = [];
  readonly requests: LogLine[] = [];
  readonly anonymous: Client;
  readonly sql: SQL;
  private people = 0;
  private readonly signer: AccessTokens;

  private constructor(
    readonly server: Omit<RunningServer, 'drain'>,
    readonly databaseUrl: string,
    settings: Settings,
    now: () => Date,
  ) {
    this.signer = accessTokens({ settings, jwtSecret: JWT_SECRET, now }).decorator.tokens;
    this.sql = new SQL({ url: hostUrls(databaseUrl)[0] ?? '', max: 2 });
    this.anonymous = new Client(this);
  }

  get url(): string {
    return this.server.url;
  }

  static async start(overrides: Partial<Settings> = {}): Promise<Api> {
    const databaseUrl = overrides.databaseUrl ?? (await createDatabase());
    // Tests send more than people do; those of the limits turn them on. On a busy machine a statement may take long.
    const defaults = readSettings({
      JWT_SECRET,
      RATE_LIMIT: 'off',
      DATABASE_STATEMENT_TIMEOUT: '60s',
    });
    const settings = {
      ...defaults,
      port: 0,
      databaseUrl: databaseUrl,
      ...overrides,
      ...(TEST_POOLER && throughPooler(databaseUrl, TEST_POOLER)),
    };
    let api: Api | undefined;
    const log: Log = (level, event, fields = {}) =>
      (event === 'request' ? api?.requests : api?.log)?.push({ level, event, fields });
    const now = () => new Date((api?.stoppedAtMs ?? Date.now()) + (api?.clockOffsetMs ?? 0));
    const server = TEST_WORKER
      ? await (await import('./edge.ts')).serveAtEdge(TEST_WORKER, settings, { log, now })
      : await serve(settings, { log, now, waitTimeoutMs: WAIT_TIMEOUT_MS });
    api = new Api(server, databaseUrl, settings, now);
    return api;
  }

  async stop() {
    await this.sql.close();
    await this.server.stop();
  }

  /**
   * Creates a user with a session. Both are inserted into the tables, because a hash is by far the most expensive step
   * in these tests; registering and logging in have tests of their own. Names differ from call to call.
   */
  async person(name = 'somebody'): Promise<Persona> {
    this.people += 1;
    const username = `${name}-${this.people}`;
    const [id, sessionId] = [uuidv7(), uuidv7()];
    await this.sql`
      with account as (
        insert into users (id, username, email, password_hash)
        values (${id}, ${username}, ${`${username}@example.org`}, ${await passwordHash})
      )
      insert into sessions (id, user_id, expires_at) values (${sessionId}, ${id}, now() + interval '90 days')`;
    const token = await this.signer.sign({ userId: id, username, sessionId });
    return new Persona(this, token, id, username, password);
  }

  /** Inserts a member into a project, without the API. */
  async addMember(projectId: string, user: Persona, role: 'editor' | 'viewer') {
    await this
      .sql`insert into project_members (project_id, user_id, role) values (${projectId}, ${user.id}, ${role})`;
  }

  /** How many rows there are in the tables that a request could write. */
  async countRows(): Promise<Record<string, number>> {
    const [counts] = await this.sql`
      select (select count(*)::int from users) as users, (select count(*)::int from projects) as projects,
             (select count(*)::int from project_members) as members, (select count(*)::int from tasks) as tasks,
             (select count(*)::int from comments) as comments`;
    return counts;
  }
}

/** Starts the API before the tests of a file and takes it away after them. Read its fields inside tests only. */
export function useApi(overrides: Partial<Settings> = {}): Api {
  // Of this file alone. A hash takes long on a busy machine, and twenty of them take longer.
  setDefaultTimeout(TEST_TIMEOUT_MS);
  let api: Api | undefined;
  beforeAll(async () => {
    api = await Api.start(overrides);
  });
  afterAll(async () => {
    await api?.stop();
    if (api) await dropDatabase(api.databaseUrl);
  });
  return new Proxy({} as Api, {
    get: (_, name) => {
      const value = Reflect.get(api as Api, name);
      return typeof value === 'function' ? value.bind(api) : value;
    },
    set: (_, name, value) => Reflect.set(api as Api, name, value),
  });
}
