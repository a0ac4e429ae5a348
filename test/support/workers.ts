/** The processes of a server with WORKERS, and connections to one of them. */
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { JWT_SECRET } from './api.ts';
import { type Process, start, waitFor } from './process.ts';

/** Returns what starts two workers on this database. */
export const startTwoAt =
  (databaseUrl: string) =>
  (environment: Record<string, string> = {}) =>
    start({
      DATABASE_URL: databaseUrl,
      JWT_SECRET,
      WORKERS: '2',
      LOG_LEVEL: 'info',
      ...environment,
    });

// --- Processes -----------------------------------------------------------------------------------------------------

export function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return text === '' ? [] : text.split(' ').map(Number);
}

/** Zero would be all of us. */
export function kill(pid: number | undefined, signal: NodeJS.Signals) {
  if (!pid) throw new Error('there is no such process');
  process.kill(pid, signal);
}

export const workersOf = ({ pid }: Process) => childrenOf(pid);

// biome-ignore lint/suspicious/noExplicitAny: lines are looked into freely.
export function linesOf(service: Process, event: string): any[] {
  const whole = service.stderr.slice(0, service.stderr.lastIndexOf('\n') + 1);
  return whole
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))
    .filter((line) => line.event === event);
}

export const startedBy = (service: Process): number[] =>
  linesOf(service, 'worker_started').map(({ pid }) => pid);

/** The numbers of the sockets that a process has. */
function socketsOf(pid: number): Set<string> {
  const folder = `/proc/${pid}/fd`;
  const names = existsSync(folder) ? readdirSync(folder) : [];
  return new Set(
    names.flatMap((name) => {
      try {
        return /^socket:\[(\d+)\]$/.exec(readlinkSync(join(folder, name)))?.[1] ?? [];
      } catch {
        return [];
      }
    }),
  );
}

const inHex = (port: number) => port.toString(16).toUpperCase().padStart(4, '0');

/** Sockets at the port of the URL: `[remote port in hexadecimal, state, number]`. */
const socketsAt = (url: string) =>
  readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local]) => local?.endsWith(`:${inHex(Number(new URL(url).port))}`))
    .map(([, , remote = '', state, , , , , , number = '']) => [remote.slice(-4), state, number]);

/** The sockets of the process that wait for connections. */
export function listenersOf(pid: number, url: string) {
  const LISTEN = '0A';
  const sockets = socketsOf(pid);
  return socketsAt(url).filter(([, state, number = '']) => state === LISTEN && sockets.has(number));
}

// --- Connections ---------------------------------------------------------------------------------------------------

interface Reply {
  status: number;
  headers: Headers;
  text: string;
}

interface Request {
  token?: string;
  headers?: Record<string, string>;
  body?: unknown;
}

/** One connection, which is to one worker for as long as it lasts. */
export interface Conversation {
  readonly pid: number;
  ask(method: string, path: string, request?: Request): Promise<Reply>;
  get(path: string, token?: string): Promise<Reply>;
  register(): Promise<Reply>;
  close(): void;
}

/** Connects until the kernel gives the connection to this worker. */
export const converseWith = (url: string, pid: number): Promise<Conversation> =>
  waitFor(`a connection to ${pid}`, async () => {
    const connection = await converse(url, pid);
    if (connection.pid === pid) return connection;
    connection.close();
    return undefined;
  });

async function converse(url: string, wanted: number): Promise<Conversation> {
  const socket = await openSocket(url);
  const remote = inHex(socket.localPort ?? 0);
  let answer = (_: Reply | Error) => undefined as undefined | unknown;
  readReplies(socket, (reply) => answer(reply));
  const ask = (method: string, path: string, request: Request = {}) =>
    new Promise<Reply>((done, fail) => {
      answer = (reply) => (reply instanceof Error ? fail(reply) : done(reply));
      socket.write(written(method, path, request));
    });
  // The kernel hands a connection over with its first bytes.
  await ask('GET', '/health/live');
  const [, , number = ''] = socketsAt(url).find(([port]) => port === remote) ?? [];
  return {
    pid: socketsOf(wanted).has(number) ? wanted : 0,
    ask,
    get: (path, token) => ask('GET', path, { token }),
    register() {
      const username = `somebody-${crypto.randomUUID().slice(0, 8)}`;
      const body = { username, email: `${username}@example.org`, password: 'the password' };
      return ask('POST', '/users/register', { body });
    },
    close: () => socket.destroy(),
  };
}

async function openSocket(url: string): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  await new Promise<void>((ready, fail) => {
    socket.once('connect', ready);
    socket.once('error', fail);
  });
  return socket;
}

function written(method: string, path: string, { token, headers, body }: Request): string {
  const text = body === undefined ? '' : JSON.stringify(body);
  const fields = {
    host: 'localhost',
    ...(token && { authorization: `Bearer ${token}` }),
    ...(text && { 'content-type': 'application/json', 'content-length': String(text.length) }),
    ...headers,
  };
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n${text}`;
}

/** Answers of known length, or the head of one without an end; the end of the connection is an error. */
function readReplies(socket: Socket, onReply: (reply: Reply | Error) => void) {
  let received = '';
  let isEndless = false;
  socket.setEncoding('latin1');
  socket.on('data', (piece) => {
    received += piece;
    const head = received.indexOf('\r\n\r\n');
    if (head === -1 || isEndless) return;
    const [start = '', ...lines] = received.slice(0, head).split('\r\n');
    const headers = new Headers(
      lines.map((line) => line.split(/:\s*(.*)/s).slice(0, 2) as [string, string]),
    );
    isEndless = headers.has('transfer-encoding');
    const length = Number(headers.get('content-length') ?? 0);
    if (received.length < head + 4 + length) return;
    const text = received.slice(head + 4, head + 4 + length);
    received = received.slice(head + 4 + length);
    onReply({ status: Number(start.split(' ')[1]), headers, text });
  });
  socket.on('error', onReply);
  socket.on('close', () => onReply(new Error('the connection was closed')));
}

/** A client that asks at this rate leaves the cores to the processes that start. */
const ASK_INTERVAL_MS = 10;

/** Asks again and again on a connection that is kept, and makes another one only when told to. */
export async function askWithoutRetry(url: string, goesOn: () => boolean) {
  const failures: string[] = [];
  let connections = 0;
  while (goesOn()) {
    const socket = await openSocket(url);
    connections += 1;
    let answer = (_: Reply | Error) => undefined as undefined | unknown;
    readReplies(socket, (reply) => answer(reply));
    for (let kept = true; kept && goesOn(); ) {
      const reply = await new Promise<Reply | Error>((done) => {
        answer = done;
        socket.write(written('GET', '/problems/internal', {}));
      });
      if (reply instanceof Error) failures.push(reply.message);
      else if (reply.status !== 200) failures.push(String(reply.status));
      kept = !(reply instanceof Error) && reply.headers.get('connection') !== 'close';
      await Bun.sleep(ASK_INTERVAL_MS);
    }
    socket.destroy();
  }
  return { failures, connections };
}

export const numberOf = (series: string, text: string) =>
  Number(
    text
      .split('\n')
      .find((line) => line.startsWith(`${series} `))
      ?.slice(series.length + 1),
  );
