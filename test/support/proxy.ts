/** A loopback relay before the database, or another server: a network that can be cut, stalled, slowed down and half closed. */
import { connect, createServer, type Socket } from 'node:net';

export interface DatabaseProxy {
  /** The database's URL, through the relay. */
  readonly url: string;
  /** Cuts every connection and refuses new ones. */
  cut(): Promise<void>;
  /** Takes connections again, at the same port. */
  mend(): Promise<void>;
  /** Cuts every connection, and takes new ones. */
  reset(): void;
  /** Passes nothing on, and closes nothing, until it is told to flow again: a network that has gone silent. */
  stall(): void;
  flow(): void;
  /** Passes everything on so much later; 0 ends it. */
  delay(milliseconds: number): void;
  /** Tells one side of every connection that the other has ended, and relays its words still. */
  halfClose(side: 'client' | 'server'): void;
}

interface Relay {
  client: Socket;
  server: Socket;
}

export async function openProxy(databaseUrl: string): Promise<DatabaseProxy> {
  const target = new URL(databaseUrl);
  const relays = new Set<Relay>();
  let stalled = false;
  let delayMs = 0;

  const listener = createServer({ allowHalfOpen: true }, (client) => {
    const server = connect({
      port: Number(target.port),
      host: target.hostname,
      allowHalfOpen: true,
    });
    const relay = { client, server };
    relays.add(relay);
    const end = () => {
      relays.delete(relay);
      client.destroy();
      server.destroy();
    };
    for (const socket of [client, server]) {
      socket.setNoDelay(true);
      socket.on('error', end);
      socket.on('close', end);
      if (stalled) socket.pause();
    }
    pass(client, server);
    pass(server, client);
  });

  function pass(from: Socket, to: Socket) {
    let dueMs = 0;
    /** In order, though the delay may change. */
    const later = (act: () => void) => {
      const nowMs = performance.now();
      dueMs = Math.max(dueMs, nowMs + delayMs);
      if (dueMs <= nowMs) act();
      else setTimeout(act, dueMs - nowMs);
    };
    from.on('data', (bytes) =>
      later(() => {
        if (to.writable && !to.write(bytes)) from.pause();
      }),
    );
    to.on('drain', () => {
      if (!stalled) from.resume();
    });
    from.on('end', () => later(() => to.end()));
  }

  const destroyAll = () => {
    for (const { client, server } of relays) {
      client.destroy();
      server.destroy();
    }
  };
  const listen = (port: number) =>
    new Promise<void>((ready) => listener.listen(port, '127.0.0.1', ready));
  await listen(0);
  const address = listener.address();
  const url = new URL(databaseUrl);
  url.port = String(typeof address === 'object' ? address?.port : '');
  return {
    url: url.href,
    async cut() {
      const closed = new Promise<void>((done) => listener.close(() => done()));
      destroyAll();
      await closed;
    },
    mend: () => listen(Number(url.port)),
    reset: destroyAll,
    stall() {
      stalled = true;
      for (const { client, server } of relays) {
        client.pause();
        server.pause();
      }
    },
    flow() {
      stalled = false;
      // What was stalled holds half-sent messages: it is closed, as a network does when it is back.
      destroyAll();
    },
    delay(milliseconds) {
      delayMs = milliseconds;
    },
    halfClose(side) {
      for (const relay of relays) relay[side].end();
    },
  };
}
