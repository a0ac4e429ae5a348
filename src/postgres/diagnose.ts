/** Why no connection is possible: the driver says the same of a wrong name, a closed port and a server of another kind. */
import { lookup } from 'node:dns/promises';
import { connect, type Socket } from 'node:net';
import type { Remedy } from '../lib/database-error.ts';
import { addressOf } from '../lib/postgres-url.ts';

const PROBE_TIMEOUT_MS = 2000;
const ANSWER_START_BYTES = 3;
/** PostgreSQL, "SSLRequest": a length of 8 bytes and the code 80877103. A server answers with one byte. */
const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);

/** Returns the cause and the cure; undefined where a PostgreSQL, or a server that says nothing, listens at the address. */
export async function diagnose(url: string): Promise<Remedy | undefined> {
  const address = addressOf(url);
  if ('host' in address) {
    const failure = await lookup(address.host).then(
      () => undefined,
      (error: NodeJS.ErrnoException) => error.code ?? 'ENOTFOUND',
    );
    if (failure !== undefined)
      return {
        cause: `cannot be reached, because the host name is unknown (${failure})`,
        cure: 'correct the host in DATABASE_URL, or the DNS of this machine',
      };
  }
  const answer = await probe(address);
  if (answer.code !== undefined) return remedyOfSocket(address, answer.code);
  if (answer.start !== undefined && isPostgres(answer.start)) return undefined;
  if (answer.start === undefined && !answer.isClosed) return undefined;
  return {
    cause: 'cannot be reached, because what listens at this port is not PostgreSQL',
    cure: 'correct the host and port in DATABASE_URL',
  };
}

/** A yes or no, which is one byte, or an error message, whose length follows in 4 bytes. */
const isPostgres = (start: string) =>
  start === 'S' || start === 'N' || (start.startsWith('E') && start.charCodeAt(1) === 0);

function remedyOfSocket(address: ReturnType<typeof addressOf>, code: string): Remedy {
  if ('path' in address)
    return {
      cause: `cannot be reached at the socket ${address.path} (${code})`,
      cure: 'start PostgreSQL, or correct host and port in DATABASE_URL (host is the folder of the socket)',
    };
  if (code === 'ECONNREFUSED')
    return {
      cause: 'cannot be reached',
      cure: 'start PostgreSQL, or correct DATABASE_URL',
    };
  return {
    cause: `cannot be reached (${code})`,
    cure: 'look at the network and the firewall between here and there, or correct DATABASE_URL',
  };
}

interface Answer {
  /** Of the system, where there was no connection. */
  code?: string;
  /** The first bytes that came, one character each. */
  start?: string;
  isClosed?: boolean;
}

function probe(address: ReturnType<typeof addressOf>): Promise<Answer> {
  return new Promise((resolve) => {
    const socket: Socket = connect(address);
    let isConnected = false;
    const end = (answer: Answer) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => end(isConnected ? {} : { code: 'ETIMEDOUT' }), PROBE_TIMEOUT_MS);
    socket.once('connect', () => {
      isConnected = true;
      socket.write(SSL_REQUEST);
    });
    socket.once('data', (bytes: Buffer) =>
      end({ start: bytes.toString('latin1', 0, ANSWER_START_BYTES) }),
    );
    socket.once('end', () => end({ isClosed: true }));
    socket.once('error', (error: NodeJS.ErrnoException) =>
      end(isConnected ? { isClosed: true } : { code: error.code ?? 'ECONNREFUSED' }),
    );
  });
}
