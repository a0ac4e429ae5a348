/** A loopback relay before the database, to be cut. */
import { connect, createServer, type Socket } from 'node:net';

export interface DatabaseProxy {
  /** The database's URL, through the relay. */
  readonly url: string;
  /** Cuts every connection and refuses new ones. */
  cut(): Promise<void>;
  /** Takes connections again, at the same port. */
  mend(): Promise<void>;
  /** Passes nothing on, and closes nothing, until it is told to flow again: a network that has gone silent. */
  stall(): void;
  flow(): void;
}

export async function openProxy(database_url: string): Promise<DatabaseProxy> {
  const target = new URL(database_url);
  const sockets = new Set<Socket>();
  let stalled = false;
  const server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname);
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => socket.destroy());
      socket.on('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
    client.pipe(upstream).pipe(client);
    if (stalled) for (const socket of [client, upstream]) silence(socket);
  });
  const listen = (port: number) =>
    new Promise<void>((ready) => server.listen(port, '127.0.0.1', ready));
  await listen(0);
  const address = server.address();
  const url = new URL(database_url);
  url.port = String(typeof address === 'object' ? address?.port : '');
  return {
    url: url.href,
    async cut() {
      const closed = new Promise<void>((done) => server.close(() => done()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
    mend: () => listen(Number(url.port)),
    stall() {
      stalled = true;
      for (const socket of sockets) silence(socket);
    },
    flow() {
      stalled = false;
      for (const socket of sockets) restore(socket);
    },
  };
}

/** Unpiped, because a pipe would read on by itself. */
function silence(socket: Socket) {
  socket.unpipe();
  socket.pause();
}

/** What was silenced holds half-sent messages: it is closed, as a network does when it is back. */
const restore = (socket: Socket) => socket.destroy();
