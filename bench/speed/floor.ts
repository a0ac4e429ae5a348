/**
 * The floor: what the same requests cost without a framework. Bare `Bun.serve`, jose and a driver, by the shortest code
 * that sends the same statements. It has no limits, no log and no sessions that end, and hardly checks its input.
 *
 * `bun bench/speed/floor.ts bun|postgres.js`, with DATABASE_URL and JWT_SECRET.
 */
import { SQL } from 'bun';
import { drizzle } from 'drizzle-orm/bun-sql';
import { jwtVerify, SignJWT } from 'jose';
import postgres from 'postgres';
import { v7 as uuidv7 } from 'uuid';
import type { Database } from '../../src/db/database.ts';
import { taskLexemes } from '../../src/db/full-text.ts';
import { listProjects } from '../../src/handlers/projects.ts';
import { listTasks } from '../../src/handlers/task-lists.ts';
import { createTask, patchTask, readTask } from '../../src/handlers/tasks.ts';

const POOL_SIZE = 10;
const { DATABASE_URL = '', JWT_SECRET = '' } = process.env;
const key = new TextEncoder().encode(JWT_SECRET);

type Row = Record<string, unknown>;
type Run = (text: string, parameters: unknown[]) => Promise<Row[]>;

function connect(driver: string): Run {
  if (driver === 'postgres.js') {
    const sql = postgres(DATABASE_URL, { max: POOL_SIZE, prepare: true });
    return (text, parameters) => sql.unsafe(text, parameters as string[], { prepare: true });
  }
  const sql = new SQL({ url: DATABASE_URL, max: POOL_SIZE });
  return (text, parameters) => sql.unsafe(text, parameters);
}
const run = connect(process.argv[2] ?? 'bun');

// --- The statements of the API, recorded while it gets requests with marks in place of values-----------------------

const marks = {
  user: '019ac0de-0000-7000-8000-000000000001',
  project: '019ac0de-0000-7000-8000-000000000002',
  task: '019ac0de-0000-7000-8000-000000000003',
  title: 'The mark of a title',
  description: 'A mark for descriptions',
};
const markedUser = { id: marks.user, username: '', scopes: [] };
const markedLexemes = taskLexemes({ title: marks.title, description: marks.description });

interface Values extends Partial<Record<keyof typeof marks | 'new_id', unknown>> {
  title_key?: string | undefined;
  title_words?: string | undefined;
  description_words?: string | undefined;
}
type Slot = keyof Values | { constant: unknown };

async function statementOf(ask: (db: Database) => Promise<unknown>) {
  let text = '';
  let slots: Slot[] = [];
  const names = new Map<unknown, keyof Values>(
    Object.entries({ ...marks, ...markedLexemes }).map(([name, value]) => [
      value,
      name as keyof Values,
    ]),
  );
  const record = (statement: string, parameters: unknown[]) => {
    text = statement;
    slots = parameters.map((value) => {
      if (names.has(value)) return names.get(value) as keyof Values;
      // The id of the new row is the only one that is not a mark.
      return /^[0-9a-f]{8}-[0-9a-f]{4}-7/.test(String(value)) ? 'new_id' : { constant: value };
    });
    const nothing: Promise<unknown[]> & { values?: () => Promise<unknown[]> } = Promise.resolve([]);
    nothing.values = async () => [];
    return nothing;
  };
  await ask(drizzle({ client: { unsafe: record } as unknown as SQL }) as Database).catch(
    () => undefined,
  );
  return (values: Values) =>
    run(
      text,
      slots.map((slot) => (typeof slot === 'string' ? values[slot] : slot.constant)),
    );
}

const page = { limit: 50, sort: '-created_at' } as const;
const statements = {
  listProjects: await statementOf((db) =>
    listProjects(db, markedUser, { ...page, archived: 'false' }),
  ),
  listTasks: await statementOf((db) => listTasks(db, markedUser, marks.project, page)),
  readTask: await statementOf((db) => readTask(db, markedUser, marks.task)),
  createTask: await statementOf((db) =>
    createTask(db, markedUser, marks.project, {
      title: marks.title,
      description: marks.description,
    }),
  ),
  patchTask: await statementOf((db) =>
    patchTask(db, markedUser, marks.task, { title: marks.title }, undefined),
  ),
};

// --- The server ----------------------------------------------------------------------------------------------------

async function userOf(request: Request): Promise<string> {
  const token = request.headers.get('authorization')?.slice('Bearer '.length) ?? '';
  const { payload } = await jwtVerify(token, key, { algorithms: ['HS256'] });
  return payload.sub as string;
}

async function logIn(request: Request) {
  const { username, password } = (await request.json()) as Record<string, string>;
  const [user] = await run('select id, username, password_hash from users where username = $1', [
    username,
  ]);
  if (!user || !(await Bun.password.verify(password ?? '', user.password_hash as string)))
    return new Response(null, { status: 401 });
  const accessToken = await new SignJWT({ username: user.username as string })
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(user.id as string)
    .setExpirationTime('15m')
    .sign(key);
  return Response.json({ access_token: accessToken, token_type: 'bearer', expires_in: 900 });
}

const textsOf = async (request: Request) => {
  const { title, description = null } = (await request.json()) as {
    title: string;
    description?: string;
  };
  return { title, description, ...taskLexemes({ title, description }) };
};

const server = Bun.serve({
  port: 0,
  hostname: '127.0.0.1',
  development: false,
  routes: {
    '/users/login': { POST: logIn },
    '/projects/': {
      GET: async (request) =>
        answerList(await statements.listProjects({ user: await userOf(request) })),
    },
    '/tasks/projects/:id': {
      GET: async (request) =>
        answerList(
          await statements.listTasks({ user: await userOf(request), project: request.params.id }),
        ),
      POST: async (request) => {
        const user = await userOf(request);
        const texts = await textsOf(request);
        return answerRow(
          await statements.createTask({
            user,
            project: request.params.id,
            new_id: uuidv7(),
            ...texts,
          }),
          201,
        );
      },
    },
    '/tasks/:id': {
      GET: async (request) =>
        answerRow(
          await statements.readTask({ user: await userOf(request), task: request.params.id }),
        ),
      PATCH: async (request) => {
        const user = await userOf(request);
        const texts = await textsOf(request);
        return answerRow(await statements.patchTask({ user, task: request.params.id, ...texts }));
      },
    },
  },
  fetch: () => new Response(null, { status: 404 }),
  error: () => new Response(null, { status: 401 }),
});

function answerList(items: Row[]) {
  return Response.json({ items, next_cursor: null });
}

function answerRow([row]: Row[], status = 200) {
  return row ? Response.json(row, { status }) : new Response(null, { status: 404 });
}

console.log(`floor listening on http://127.0.0.1:${server.port}`);
