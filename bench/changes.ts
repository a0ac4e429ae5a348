/**
 * `bun run bench:changes`: how soon a change reaches 500 clients that follow, what each of them costs, and what an event
 * costs the statement that writes it. Prints figures; asserts nothing.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SQL } from 'bun';
import { connectEmbeddedPostgres } from '../src/postgres/embedded.ts';
import { median, quantile } from './report.ts';

const CLIENTS = 500;
const CLIENTS_PER_USER = 20;
const OPENED_AT_ONCE = 25;
const CHANGES = 100;
const PAUSE_MS = 50;
const WRITE_ROUNDS = 12;
const WRITES_PER_ROUND = 400;
const WRITERS = 16;
const JWT_SECRET = 'unused'.repeat(8);
const password = 'correct horse battery staple';

const folder = await mkdtemp(join(tmpdir(), 'mantou-bench-'));
const postgres = await connectEmbeddedPostgres(folder);
const server = Bun.spawn([process.execPath, 'src/server/main.ts'], {
  env: {
    PATH: process.env.PATH,
    PORT: '0',
    DATABASE_URL: postgres.url,
    JWT_SECRET,
    RATE_LIMIT: 'off',
    LOG_LEVEL: 'silent',
  },
  stdout: 'pipe',
  stderr: 'inherit',
});
const sql = new SQL({ url: postgres.url, max: 1 });
const url = await firstUrl(server.stdout);

try {
  const users = await register(CLIENTS / CLIENTS_PER_USER);
  const [writer] = users as [User];
  const project = await post('/projects', writer, { name: 'Kitchen' });
  for (const { username } of users.slice(1))
    await post(`/projects/${project.id}/members`, writer, { username, role: 'viewer' });
  await deliver(users, writer, project.id ?? '');
  await compareWrites(writer, project.id ?? '');
} finally {
  await sql.close();
  server.kill();
  await server.exited;
  await postgres.leave();
  await rm(folder, { recursive: true, force: true });
}

interface User {
  username: string;
  token: string;
}

async function firstUrl(stdout: ReadableStream<Uint8Array>): Promise<string> {
  let text = '';
  for await (const chunk of stdout) {
    text += new TextDecoder().decode(chunk);
    const [, found] = / (http:\S+)\n/.exec(text) ?? [];
    if (found) return found;
  }
  throw new Error('the server has not started');
}

async function register(count: number): Promise<User[]> {
  const users: User[] = [];
  for (let n = 0; n < count; n += 1) {
    const username = `user-${n}`;
    await post('/users/register', undefined, {
      username,
      password,
      email: `${username}@example.org`,
    });
    const { access_token } = await post('/users/login', undefined, { username, password });
    users.push({ username, token: access_token ?? '' });
  }
  return users;
}

async function post(
  path: string,
  user: User | undefined,
  body: object,
): Promise<Record<string, string>> {
  const answer = await fetch(url + path, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      ...(user && { authorization: `Bearer ${user.token}` }),
    },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`${path} is answered ${answer.status} ${await answer.text()}`);
  return (await answer.json()) as Record<string, string>;
}

async function memory(): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  return Number(/^process_resident_memory_bytes (\S+)$/m.exec(text)?.[1]) / 1024;
}

/** Each client notes when it receives each change. All use one clock. */
async function deliver(users: User[], writer: User, projectId: string) {
  const begunMs: number[] = [];
  const takenMs: number[] = [];
  let heard = 0;
  const { hostname, port } = new URL(url);
  const before = await memory();
  const sockets: { end(): unknown }[] = [];
  // Not all at once: that many statements would exceed the queue.
  for (let first = 0; first < CLIENTS; first += OPENED_AT_ONCE)
    sockets.push(...(await Promise.all(Array.from({ length: OPENED_AT_ONCE }, open))));

  async function open(_: unknown, n: number) {
    const { token } = users[n % users.length] as User;
    const ready = Promise.withResolvers<void>();
    const socket = await Bun.connect({
      hostname,
      port: Number(port),
      socket: {
        data(_, bytes) {
          const text = bytes.toString();
          if (text.includes('retry:')) ready.resolve();
          for (const [, change] of text.matchAll(/"title":"change (\d+)"/g)) {
            takenMs.push(performance.now() - (begunMs[Number(change)] ?? Number.NaN));
            heard += 1;
          }
        },
      },
    });
    socket.write(
      `GET /changes/stream HTTP/1.1\r\nHost: ${hostname}\r\nAuthorization: Bearer ${token}\r\n\r\n`,
    );
    await ready.promise;
    return socket;
  }
  const withAll = await memory();
  for (let change = 0; change < CHANGES; change += 1) {
    begunMs[change] = performance.now();
    await post(`/tasks/projects/${projectId}`, writer, { title: `change ${change}` });
    const wanted = (change + 1) * CLIENTS;
    while (heard < wanted) await Bun.sleep(1);
    await Bun.sleep(PAUSE_MS);
  }
  console.log(
    `${CHANGES} changes to ${CLIENTS} clients, from the request that writes to the client that hears: ` +
      `median ${median(takenMs).toFixed(1)} ms, p99 ${quantile(takenMs, 0.99).toFixed(1)} ms`,
  );
  console.log(
    `memory of a client: ${((withAll - before) / CLIENTS).toFixed(1)} KiB when it begins, ` +
      `${(((await memory()) - before) / CLIENTS).toFixed(1)} KiB after ${CHANGES} changes`,
  );
  for (const socket of sockets) socket.end();
}

/** Sends the same writes in turn with and without the triggers that record events. */
async function compareWrites(writer: User, projectId: string) {
  const rates: Record<'with' | 'without', number[]> = { with: [], without: [] };
  const statements: Record<'with' | 'without', number[]> = { with: [], without: [] };
  for (let round = 0; round < WRITE_ROUNDS; round += 1)
    for (const how of ['with', 'without'] as const) {
      for (const table of ['tasks', 'projects', 'project_members'])
        await sql.unsafe(
          `alter table ${table} ${how === 'with' ? 'enable' : 'disable'} trigger user`,
        );
      let left = WRITES_PER_ROUND;
      const begunMs = performance.now();
      await Promise.all(
        Array.from({ length: WRITERS }, async () => {
          while (left > 0) {
            left -= 1;
            const oneMs = performance.now();
            await post(`/tasks/projects/${projectId}`, writer, { title: 'Tiles' });
            statements[how].push(performance.now() - oneMs);
          }
        }),
      );
      rates[how].push((WRITES_PER_ROUND * 1000) / (performance.now() - begunMs));
    }
  for (const how of ['with', 'without'] as const)
    console.log(
      `creating tasks ${how} events: ${median(rates[how]).toFixed(0)} a second by ${WRITERS} writers, ` +
        `median ${median(statements[how]).toFixed(2)} ms`,
    );
  console.log(`ratio of the rates: ${(median(rates.with) / median(rates.without)).toFixed(2)}`);
}
