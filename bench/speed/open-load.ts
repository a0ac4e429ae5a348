/**
 * An open loop: requests start at a fixed rate, whether or not earlier ones have been answered, as from many independent
 * clients. The latency of a request counts from the moment it was due, so a server that falls behind shows it.
 *
 * `bun bench/speed/open-load.ts FILE` runs one in a process of its own; FILE holds the options as JSON.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { quantile } from '../report.ts';
import { type LoadRequest, type LoadResult, messageOf } from './load.ts';

interface Options {
  url: string;
  requests: LoadRequest[];
  requestsPerSecond: number;
  connections: number;
  seconds: number;
}

/** The interval at which requests that are due start. */
const TICK_MS = 1;
/** A request without a response this long after the last one was due has failed. */
const DRAIN_MS = 10_000;

/** Sends the requests at the rate, from a process of its own. */
export async function openLoad(options: Options): Promise<LoadResult> {
  const folder = await mkdtemp(join(tmpdir(), 'mantou-load-'));
  try {
    const file = join(folder, 'options.json');
    await Bun.write(file, JSON.stringify(options));
    return await Bun.$`${process.execPath} ${import.meta.path} ${file}`.json();
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function run({
  url,
  requests,
  requestsPerSecond,
  connections,
  seconds,
}: Options): Promise<LoadResult> {
  const messages = requests.map((request) => messageOf(url, request));
  const planned = Math.round(requestsPerSecond * seconds);
  const latencies: number[] = [];
  let failed = 0;
  let started = 0;
  /** When each request that waits for a connection was due. */
  const waiting: { dueMs: number; message: string }[] = [];
  const idle: Connection[] = await Promise.all(
    Array.from({ length: connections }, () => openConnection(url)),
  );

  const send = async (connection: Connection, dueMs: number, message: string) => {
    try {
      const status = await connection.ask(message);
      latencies.push(performance.now() - dueMs);
      if (status < 200 || status > 299) failed += 1;
      next(connection);
    } catch {
      failed += 1;
      next(await openConnection(url));
    }
  };
  const next = (connection: Connection) => {
    const due = waiting.shift();
    if (due) void send(connection, due.dueMs, due.message);
    else idle.push(connection);
  };

  const beganMs = performance.now();
  while (started < planned) {
    const nowMs = performance.now();
    for (; started < planned; started += 1) {
      const dueMs = beganMs + (started / requestsPerSecond) * 1000;
      if (dueMs > nowMs) break;
      const message = messages[started % messages.length] ?? '';
      const connection = idle.pop();
      if (connection) void send(connection, dueMs, message);
      else waiting.push({ dueMs, message });
    }
    await Bun.sleep(TICK_MS);
  }
  const deadlineMs = performance.now() + DRAIN_MS;
  while (idle.length < connections && performance.now() < deadlineMs) await Bun.sleep(TICK_MS);
  const answered = latencies.length;
  return {
    requests: answered,
    seconds: (performance.now() - beganMs) / 1000,
    failed: failed + (planned - answered),
    p50_ms: quantile(latencies, 0.5),
    p99_ms: quantile(latencies, 0.99),
  };
}

interface Connection {
  /** Sends a request. @returns the status of the response. */
  ask(message: string): Promise<number>;
}

async function openConnection(url: string): Promise<Connection> {
  const { hostname, port } = new URL(url);
  const socket: Socket = connect(Number(port), hostname);
  socket.setNoDelay(true);
  socket.setEncoding('latin1');
  let answer: ((result: number | Error) => void) | undefined;
  let received = '';
  const finish = (result: number | Error) => {
    received = '';
    const told = answer;
    answer = undefined;
    told?.(result);
  };
  socket.on('data', (piece: string) => {
    received += piece;
    const head = received.indexOf('\r\n\r\n');
    if (head === -1) return;
    const [, length] = /\r\ncontent-length: *(\d+)/i.exec(received.slice(0, head)) ?? [];
    if (length === undefined) return finish(new Error('an answer without a length'));
    if (received.length >= head + 4 + Number(length)) finish(Number(received.slice(9, 12)));
  });
  socket.on('error', finish);
  socket.on('close', () => finish(new Error('the connection was closed')));
  await new Promise((ready, fail) => {
    socket.once('connect', ready);
    socket.once('error', fail);
  });
  return {
    ask: (message) =>
      new Promise((done, fail) => {
        answer = (result) => (result instanceof Error ? fail(result) : done(result));
        socket.write(message);
      }),
  };
}

if (import.meta.main) {
  const options: Options = await Bun.file(process.argv.at(-1) ?? '').json();
  console.log(JSON.stringify(await run(options)));
  process.exit(0);
}
