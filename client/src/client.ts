import createApi from 'openapi-fetch';
import type { components, paths } from './api.ts';
import { type FollowOptions, follow } from './follow.ts';
import { newId } from './new-id.ts';
import { ProblemError } from './problem.ts';
import { type SendOptions, send } from './send.ts';
import { createSession, type TokenStorage } from './session.ts';

type Schemas = components['schemas'];
export type User = Schemas['User'];
export type Project = Schemas['Project'];
export type Member = Schemas['Member'];
export type Task = Schemas['Task'];
export type Comment = Schemas['Comment'];
export type Event = Schemas['Event'];
export type ChangePage = Schemas['ChangePage'];
export type Snapshot = Schemas['Snapshot'];
export type ProjectExport = Schemas['ProjectExport'];
export type Operation = Schemas['TaskBatch']['operations'][number];

type QueryOf<Path extends keyof paths> = paths[Path] extends {
  get: { parameters: { query?: infer Query } };
}
  ? Omit<NonNullable<Query>, 'cursor'>
  : never;

/** A row that was read, or its id. Of a row a write sends the version, so that it never undoes the change of another. */
export type Reference = string | { readonly id: string; readonly version: number };

export interface ClientOptions extends Partial<SendOptions> {
  /** An API token (`mt_…`), in place of a log-in. */
  token?: string;
  /** Keeps the log-in, such as `localStorage`; by default it ends with the client. */
  storage?: TokenStorage;
}

export interface SignalOptions {
  /** Ends the request. */
  signal?: AbortSignal;
}

/** Names a request, so that it is done once however often it is sent. */
export interface CreateOptions {
  /** By default a new one for each call, kept over its retries. */
  idempotencyKey?: string;
}

const defaults = { retries: 4, waitSecondsMax: 30, timeoutSeconds: 60 };
/** Rows of a page. */
const LIMIT = 200;

/** The operations that take an `Idempotency-Key`. */
export const keyedPath =
  /\/(?:projects|projects\/import|tasks\/batch|tasks\/projects\/[^/]+|tasks\/[^/]+\/comments)\/?$/;

export type Client = ReturnType<typeof createClient>;

/**
 * Returns a client of the server at a URL. All its functions throw `ProblemError` where the server refuses, and what `fetch`
 * throws where it cannot be reached.
 */
export function createClient(serverUrl: string, options: ClientOptions = {}) {
  const url = serverUrl.replace(/\/+$/, '');
  const sending: SendOptions = {
    fetch: (request, { signal }) => fetch(request, { signal }),
    ...defaults,
    ...options,
  };
  const session = createSession(url, options.token, options.storage, (request) =>
    send(request, sending),
  );

  /** Sends a request with the token of the session, and once more with the next one where it has ended. */
  async function authorized(request: Request): Promise<Response> {
    const { method, headers } = request;
    if (method === 'POST' && keyedPath.test(new URL(request.url).pathname) && !headers.has(KEY))
      headers.set(KEY, newId());
    const token = await session.token();
    const attempt = (token: string | undefined) => {
      const copy = request.clone() as Request;
      if (token !== undefined) copy.headers.set('authorization', `Bearer ${token}`);
      return send(copy, sending, request.signal);
    };
    return attempt(token).catch(async (error) => {
      const hasEnded = error instanceof ProblemError && error.status === 401;
      if (!hasEnded || !(await session.replace(token))) throw error;
      return attempt(await session.token());
    });
  }

  const api = createApi<paths>({ baseUrl: url, fetch: authorized });
  /** Sends log-ins: a wrong password is no reason to refresh. */
  const open = createApi<paths>({ baseUrl: url, fetch: (request) => send(request, sending) });

  const users = {
    /** Creates an account. Log in afterwards. */
    register: (account: Schemas['Registration']) =>
      dataOf(open.POST('/users/register', { body: account })),
    me: () => dataOf(api.GET('/users/me')),
  };

  const projects = {
    list: (query: QueryOf<'/projects'> = {}) =>
      rowsOf((page) => api.GET('/projects', { params: { query: { ...query, ...page } } })),
    get: (id: string) =>
      dataOf(api.GET('/projects/{project_id}', { params: { path: { project_id: id } } })),
    create: (project: Schemas['ProjectCreate'], options: CreateOptions = {}) =>
      dataOf(api.POST('/projects', { params: { header: keyOf(options) }, body: project })),
    update: (project: Reference, changes: Schemas['ProjectPatch']) =>
      dataOf(api.PATCH('/projects/{project_id}', { ...inProject(project), body: changes })),
    delete: async (project: Reference): Promise<void> => {
      await api.DELETE('/projects/{project_id}', inProject(project));
    },
    members: (id: string) =>
      rowsOf((page) =>
        api.GET('/projects/{project_id}/members', {
          params: { path: { project_id: id }, query: page },
        }),
      ),
    addMember: (id: string, member: Schemas['MemberCreate']) =>
      dataOf(
        api.POST('/projects/{project_id}/members', {
          params: { path: { project_id: id } },
          body: member,
        }),
      ),
    export: async (id: string) =>
      (await dataOf(
        api.GET('/projects/{project_id}/export', { params: { path: { project_id: id } } }),
      )) as ProjectExport,
    /** Returns the tasks as CSV. */
    exportCsv: (id: string): Promise<string> =>
      dataOf(
        api.GET('/projects/{project_id}/export', {
          params: { path: { project_id: id }, query: { format: 'csv' } },
          parseAs: 'text',
        }),
      ),
    import: async (project: ProjectExport, options: CreateOptions = {}) =>
      // A report alone answers a dry run, which this is not.
      (await dataOf(
        api.POST('/projects/import', { params: { header: keyOf(options) }, body: project }),
      )) as Schemas['ProjectImported'],
  };

  const tasks = {
    /** Lists the tasks of all projects, or of those in `project_id`. */
    list: (query: QueryOf<'/tasks'> = {}) =>
      rowsOf((page) => api.GET('/tasks', { params: { query: { ...query, ...page } } })),
    count: (query: QueryOf<'/tasks/count'> = {}) =>
      dataOf(api.GET('/tasks/count', { params: { query } })),
    get: (id: string) => dataOf(api.GET('/tasks/{task_id}', { params: { path: { task_id: id } } })),
    create: (projectId: string, task: Schemas['TaskWrite'], options: CreateOptions = {}) =>
      dataOf(
        api.POST('/tasks/projects/{project_id}', {
          params: { path: { project_id: projectId }, header: keyOf(options) },
          body: task,
        }),
      ),
    update: (task: Reference, changes: Schemas['TaskPatch']) =>
      dataOf(api.PATCH('/tasks/{task_id}', { ...ofTask(task), body: changes })),
    replace: (task: Reference, fields: Schemas['TaskReplace']) =>
      dataOf(api.PUT('/tasks/{task_id}', { ...ofTask(task), body: fields })),
    delete: async (task: Reference): Promise<void> => {
      await api.DELETE('/tasks/{task_id}', ofTask(task));
    },
    /** Does up to 100 operations, all or none. */
    batch: (operations: Operation[], options: CreateOptions = {}) =>
      dataOf(
        api.POST('/tasks/batch', { params: { header: keyOf(options) }, body: { operations } }),
      ),
    /** Returns the tasks with a due date, open or done lately, as iCalendar. */
    calendar: (query: QueryOf<'/tasks/calendar.ics'> = {}): Promise<string> =>
      dataOf(api.GET('/tasks/calendar.ics', { params: { query }, parseAs: 'text' })),
  };

  const comments = {
    /** Lists the comments of a task. */
    list: (taskId: string, query: QueryOf<'/tasks/{task_id}/comments'> = {}) =>
      rowsOf((page) =>
        api.GET('/tasks/{task_id}/comments', {
          params: { path: { task_id: taskId }, query: { ...query, ...page } },
        }),
      ),
    get: (id: string) =>
      dataOf(api.GET('/comments/{comment_id}', { params: { path: { comment_id: id } } })),
    create: (taskId: string, comment: Schemas['CommentCreate'], options: CreateOptions = {}) =>
      dataOf(
        api.POST('/tasks/{task_id}/comments', {
          params: { path: { task_id: taskId }, header: keyOf(options) },
          body: comment,
        }),
      ),
    update: (comment: Reference, changes: Schemas['CommentPatch']) =>
      dataOf(api.PATCH('/comments/{comment_id}', { ...ofComment(comment), body: changes })),
    delete: async (comment: Reference): Promise<void> => {
      await api.DELETE('/comments/{comment_id}', ofComment(comment));
    },
  };

  const changes = {
    /** Returns a page of the changes since a cursor; with `wait`, once there is one. */
    page: (query: QueryOf<'/changes'> = {}, { signal }: SignalOptions = {}) =>
      dataOf(api.GET('/changes', { params: { query: { limit: LIMIT, ...query } }, signal })),
    /**
     * Yields everything that the user sees, page by page. The `cursor` of the last page is where `follow` goes on.
     * @param query `project_id` limits it; `since` adds these projects to a copy that has this cursor.
     */
    async *snapshot(
      query: Pick<QueryOf<'/changes'>, 'project_id' | 'since' | 'limit'> = {},
      options: SignalOptions = {},
    ) {
      let { since } = query;
      for (let isFirst = true; ; isFirst = false) {
        const begin = isFirst ? ({ snapshot: 'true' } as const) : {};
        const page = await changes.page({ ...query, since, ...begin }, options);
        const { snapshot, next_cursor: cursor } = page;
        if (!snapshot)
          throw new TypeError('The server makes no snapshots: it is of an earlier version');
        yield { ...snapshot, cursor };
        if (snapshot.complete) return;
        since = cursor;
      }
    },
    /** Yields each change once and in order, until the signal aborts. @throws {StartAfreshError} for a cursor that is too old. */
    follow: (options: FollowOptions = {}) =>
      follow((cursor, signal) => {
        const headers: Record<string, string> = { accept: 'text/event-stream' };
        if (cursor !== undefined) headers['last-event-id'] = cursor;
        return authorized(new Request(`${url}/changes/stream`, { headers, signal }));
      }, options),
  };

  return {
    users,
    projects,
    tasks,
    comments,
    changes,
    /** Logs in with a user name or an email, and stays logged in. */
    async login(username: string, password: string): Promise<void> {
      session.keep(await dataOf(open.POST('/users/login', { body: { username, password } })));
    },
    /** Ends the session on the server. */
    async logout(): Promise<void> {
      await api.POST('/users/logout');
      session.forget();
    },
    /** Every operation of the API by its path, with types. Errors are thrown, so `data` is there. */
    api,
  };
}

const KEY = 'idempotency-key';

const keyOf = ({ idempotencyKey }: CreateOptions) =>
  idempotencyKey === undefined ? {} : { 'Idempotency-Key': idempotencyKey };

const inProject = (project: Reference) => ({
  params: { path: { project_id: idOf(project) }, header: conditionOf(project) },
});
const ofTask = (task: Reference) => ({
  params: { path: { task_id: idOf(task) }, header: conditionOf(task) },
});
const ofComment = (comment: Reference) => ({
  params: { path: { comment_id: idOf(comment) }, header: conditionOf(comment) },
});
const idOf = (row: Reference) => (typeof row === 'string' ? row : row.id);
/** The `ETag` of a row, as the server made it: a proxy that compresses changes the header, not the version. */
const conditionOf = (row: Reference) =>
  typeof row === 'string' ? {} : { 'If-Match': `"${row.version}"` };

/** Returns what the server sent. Errors have been thrown. */
async function dataOf<Data>(answer: Promise<{ data?: Data }>): Promise<NonNullable<Data>> {
  return (await answer).data as NonNullable<Data>;
}

interface Page<Row> {
  items: Row[];
  next_cursor: string | null;
}

/** Yields the rows of a list, which it reads page by page. */
async function* rowsOf<Row>(
  read: (page: { limit: number; cursor?: string }) => Promise<{ data?: Page<Row> }>,
): AsyncGenerator<Row, void, void> {
  for (let cursor: string | undefined; ; ) {
    const { items, next_cursor }: Page<Row> = await dataOf(read({ limit: LIMIT, cursor }));
    yield* items;
    if (next_cursor === null) return;
    cursor = next_cursor;
  }
}
