/**
 * What Hyperdrive is to a worker, on loopback: it keeps the connections to PostgreSQL that workers have left, and lends
 * them to the next, which saves the start of a backend and its log-in (PostgreSQL, "Frontend/Backend Protocol").
 */
import { connect, createServer, type Socket } from 'node:net';

interface Server {
  readonly socket: Socket;
  /** What it said between the log-in and the first question. */
  greeting: Buffer;
  client: Socket | undefined;
  /** Answers that are still to come, and whether messages were sent that no answer was asked for yet. */
  pending: number;
  is_open_ended: boolean;
  /** Told once the server is as good as new, or gone. */
  onReset: ((alive: boolean) => void) | undefined;
}

/**
 * Connections to PostgreSQL; a worker beyond them waits until one is given back, as at Hyperdrive. Without a bound a burst
 * of requests takes all that the server of the tests has, and the rest of the burst gets 503.
 */
const CONNECTIONS_MAX = 60;
const LENGTH_BYTES = 4;
const DISCARD_ALL = Buffer.from('Q\0\0\0\x10DISCARD ALL\0', 'latin1');
const AUTHENTICATION_OK = 0;
const UNREACHABLE = errorResponse('58000', 'Server connection attempt failed');

export interface Pool {
  /** The database's URL, through the pool. */
  readonly url: string;
  /** Connections that a worker has at this moment. */
  readonly lent: number;
  readonly statements: number;
  /** How often a worker waited for an answer: also for the description of a statement that is new to a connection. */
  readonly roundTrips: number;
  close(): Promise<void>;
}

export async function openPool(databaseUrl: string): Promise<Pool> {
  const target = new URL(databaseUrl);
  /** By the startup message, which names user, database and settings. */
  const idle = new Map<string, Server[]>();
  const sockets = new Set<Socket>();
  const clients = new Set<Socket>();
  const servers = new Set<Server>();
  /** Told, the longest waiting first, when a connection is given back or closed. */
  const waiting: (() => void)[] = [];
  let statements = 0;
  let roundTrips = 0;

  const listener = createServer((client) => {
    track(client);
    clients.add(client);
    client.on('close', () => clients.delete(client));
    // The startup message has no type before its length.
    client.once('data', (startup: Buffer) => void welcome(client, startup));
  });
  await new Promise<void>((ready) => listener.listen(0, '127.0.0.1', ready));
  const address = listener.address();
  const url = new URL(databaseUrl);
  url.port = String(typeof address === 'object' ? address?.port : '');
  return {
    url: url.href,
    get lent() {
      return clients.size;
    },
    get statements() {
      return statements;
    },
    get roundTrips() {
      return roundTrips;
    },
    async close() {
      const closed = new Promise((done) => listener.close(done));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };

  function track(socket: Socket) {
    sockets.add(socket);
    socket.setNoDelay(true);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => sockets.delete(socket));
  }

  async function welcome(client: Socket, startup: Buffer) {
    const key = startup.toString('latin1');
    const server = await findServer(key, startup);
    if (client.destroyed) return server.socket.destroy();
    server.client = client;
    client.write(server.greeting);
    const leave = () => {
      if (server.client !== client) return;
      server.client = undefined;
      if (server.pending > 0 || server.is_open_ended) server.socket.destroy();
      else {
        idle.set(key, [...(idle.get(key) ?? []), server]);
        waiting.shift()?.();
      }
    };
    client.on('close', leave);
    onMessages(client, (type, message) => {
      if (type === 'X') return leave();
      const asks = type === 'Q' || type === 'S';
      if (asks) server.pending += 1;
      if (type === 'E' || type === 'Q') statements += 1;
      if (asks || type === 'H') roundTrips += 1;
      server.is_open_ended = !asks;
      server.socket.write(message);
    });
  }

  /** A connection that its last user has left, or a new one. */
  async function findServer(key: string, startup: Buffer): Promise<Server> {
    for (;;) {
      const server = await findIdle(key);
      if (server) return server;
      if (servers.size < CONNECTIONS_MAX) return openServer(startup);
      await new Promise<void>((free) => waiting.push(free));
    }
  }

  /** A connection that its last user has left, and that is still alive. */
  async function findIdle(key: string): Promise<Server | undefined> {
    for (;;) {
      const server = idle.get(key)?.pop();
      if (!server) return undefined;
      const alive = new Promise<boolean>((tell) => {
        server.onReset = tell;
      });
      server.socket.write(DISCARD_ALL);
      if (!server.socket.destroyed && (await alive)) return server;
    }
  }

  function openServer(startup: Buffer): Server {
    const socket = connect(Number(target.port), target.hostname);
    track(socket);
    // The log-in counts as a question.
    const server: Server = {
      socket,
      greeting: Buffer.alloc(0),
      client: undefined,
      pending: 1,
      is_open_ended: false,
      onReset: undefined,
    };
    servers.add(server);
    socket.write(startup);
    let isGreeting = false;
    onMessages(socket, (type, message) => {
      const ends = type === 'Z';
      if (server.onReset) {
        if (!ends) return;
        server.onReset(true);
        server.onReset = undefined;
        return;
      }
      if (type === 'R' && message.readInt32BE(1 + LENGTH_BYTES) === AUTHENTICATION_OK)
        isGreeting = true;
      if (isGreeting) server.greeting = Buffer.concat([server.greeting, message]);
      if (ends) {
        isGreeting = false;
        server.pending -= 1;
      }
      server.client?.write(message);
    });
    socket.on('close', () => {
      servers.delete(server);
      waiting.shift()?.();
      server.onReset?.(false);
      // A worker that is told nothing would try again and again.
      if (server.greeting.length === 0) server.client?.end(UNREACHABLE);
      else server.client?.destroy();
    });
    return server;
  }
}

/** Cuts what arrives into messages: a type, a length that counts itself, and the rest. */
function onMessages(socket: Socket, handle: (type: string, message: Buffer) => void) {
  let received = Buffer.alloc(0);
  socket.on('data', (bytes: Buffer) => {
    received = Buffer.concat([received, bytes]);
    while (received.length > LENGTH_BYTES) {
      const length = 1 + received.readInt32BE(1);
      if (received.length < length) return;
      handle(String.fromCharCode(received[0] ?? 0), received.subarray(0, length));
      received = received.subarray(length);
    }
  });
}

function errorResponse(sqlstate: string, text: string): Buffer {
  const fields = Buffer.from(`SFATAL\0VFATAL\0C${sqlstate}\0M${text}\0\0`);
  const head = Buffer.alloc(1 + LENGTH_BYTES, 'E');
  head.writeInt32BE(LENGTH_BYTES + fields.length, 1);
  return Buffer.concat([head, fields]);
}
