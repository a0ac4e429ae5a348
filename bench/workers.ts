/**
 * `bun run bench:workers [WORKERS] [ROLLS]`: replaces the workers repeatedly under load, and prints the requests lost by
 * clients that do not retry: those that keep their connection, and those that open one for each request. Then it prints
 * the memory of the processes. Prints counts; asserts nothing.
 */
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const [workers = '2', rolls = '10'] = process.argv.slice(2);
const CLIENTS_EACH = 4;
const REQUEST = 'GET /problems/internal HTTP/1.1\r\nHost: localhost\r\n\r\n';
const LAST_REQUEST = REQUEST.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n');

const dataDir = await mkdtemp(join(tmpdir(), 'mantou-bench-'));
const service = Bun.spawn([process.execPath, join(import.meta.dir, '../src/server/main.ts')], {
  env: {
    ...process.env,
    ...{ DATA_DIR: dataDir, DATABASE_URL: '', PORT: '0', METRICS_PORT: '' },
    ...{ WORKERS: workers, RATE_LIMIT: 'off', LOG_LEVEL: 'info', LOG_FORMAT: 'json' },
  },
  stdout: 'pipe',
  stderr: 'pipe',
});

/** Counts the rolls that are done, and drops the rest. */
let finished = 0;
let rolled = Promise.withResolvers<void>();
async function followLog() {
  const decoder = new TextDecoder();
  for await (const bytes of service.stderr)
    for (const _ of decoder.decode(bytes).matchAll(/"event":"replacement_finished"/g)) {
      finished += 1;
      rolled.resolve();
    }
}
followLog();

let printed = '';
for await (const bytes of service.stdout) {
  printed += new TextDecoder().decode(bytes);
  if (printed.includes('\n')) break;
}
const { port, hostname } = new URL(/listening on (\S+)/.exec(printed)?.[1] ?? '');

let loading = true;
interface Outcome {
  answered: number;
  connections: number;
  lost: Record<string, number>;
}

/** Opens a connection, and sends one request, or one after the other until the server closes it. */
function converse(outcome: Outcome, request: string): Promise<void> {
  return new Promise((closed) => {
    let text = '';
    let error = 'closed without an answer';
    let waiting = true;
    const socket = connect(Number(port), hostname, () => socket.write(request));
    socket.setEncoding('latin1');
    outcome.connections += 1;
    socket.on('data', (piece) => {
      text += piece;
      const [, length] = /content-length: (\d+)/i.exec(text) ?? [];
      const head = text.indexOf('\r\n\r\n');
      if (head === -1 || text.length < head + 4 + Number(length)) return;
      outcome.answered += 1;
      waiting = false;
      const goesOn = request === REQUEST && loading && !/^connection: close/im.test(text);
      text = '';
      if (!goesOn) return void socket.end();
      waiting = true;
      socket.write(request);
    });
    socket.on('error', (cause) => {
      error = (cause as NodeJS.ErrnoException).code ?? cause.message;
    });
    socket.on('close', () => {
      if (waiting) outcome.lost[error] = (outcome.lost[error] ?? 0) + 1;
      closed();
    });
  });
}

async function load(request: string): Promise<Outcome> {
  const outcome: Outcome = { answered: 0, connections: 0, lost: {} };
  const client = async () => {
    while (loading) await converse(outcome, request);
  };
  await Promise.all(Array.from({ length: CLIENTS_EACH }, client));
  return outcome;
}

const begunMs = performance.now();
const outcomes = Promise.all([load(REQUEST), load(LAST_REQUEST)]);
while (finished < Number(rolls)) {
  service.kill('SIGHUP');
  await rolled.promise;
  rolled = Promise.withResolvers();
}
loading = false;
const seconds = (performance.now() - begunMs) / 1000;
const [kept, fresh] = await outcomes;
console.log(`${finished} rolls of ${workers} workers in ${seconds.toFixed(0)} s`);
for (const [name, { answered, connections, lost }] of Object.entries({ kept, fresh }))
  console.log(
    `${name.padEnd(6)} ${answered} answers on ${connections} connections, lost: ${JSON.stringify(lost)}`,
  );

const memoryOf = (pid: number) =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
const children = readFileSync(`/proc/${service.pid}/task/${service.pid}/children`, 'utf8');
const ofWorkers = children.trim().split(' ').map(Number).map(memoryOf);
console.log(
  `memory: supervisor ${memoryOf(service.pid).toFixed(0)} MiB, workers ${ofWorkers.map((mib) => mib.toFixed(0)).join(', ')} MiB`,
);
service.kill('SIGTERM');
await service.exited;
await rm(dataDir, { recursive: true, force: true });
