/** No webhook is a way into the network of the server, and no receiver can hold or fill a process. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { createServer, type Server } from 'node:net';
import { createWebhookSender, isAllowedAddress } from '../../src/server/webhook-sender.ts';
import { openReceiver, type Receiver, status } from '../support/receiver.ts';

const loopback = [{ address: '127.0.0.1', family: 4 }];
const open = { production: false, webhookAllow: ['127.0.0.1'] };

describe('an address', () => {
  test.each([
    '127.0.0.1',
    '127.255.255.254',
    '0.0.0.0',
    '10.0.0.1',
    '172.16.0.1',
    '192.168.1.1',
    '100.64.0.1',
    '100.100.100.200',
    '169.254.169.254',
    '168.63.129.16',
    '192.0.0.192',
    '198.18.0.1',
    '203.0.113.7',
    '224.0.0.1',
    '255.255.255.255',
    '::1',
    '::',
    'fe80::1',
    'fc00::1',
    'fd00:ec2::254',
    'ff02::1',
    '::ffff:127.0.0.1',
    '::ffff:a9fe:a9fe',
    '::127.0.0.1',
    '64:ff9b::7f00:1',
    '64:ff9b:1::a00:1',
    '2002:7f00:1::',
    '2001:0:7f00:1::',
    '2001:db8::1',
    '3fff::1',
    'no address',
  ])('%s is refused', (address) => {
    expect(isAllowedAddress(address, [])).toBe(false);
  });

  test.each(['1.1.1.1', '8.8.8.8', '2606:4700:4700::1111', '::ffff:8.8.8.8'])(
    '%s is public',
    (address) => {
      expect(isAllowedAddress(address, [])).toBe(true);
    },
  );
});

describe('a try', () => {
  let receiver: Receiver;
  let raw: Server;
  let rawPort: number;
  let connections = 0;
  /** What the raw server does with a connection. */
  let behave: (write: (text: string) => boolean, end: () => void) => void = () => undefined;

  beforeAll(async () => {
    receiver = await openReceiver();
    raw = createServer((socket) => {
      connections += 1;
      socket.on('error', () => undefined);
      socket.once('data', () =>
        behave(
          (text) => !socket.destroyed && socket.write(text),
          () => socket.end(),
        ),
      );
    });
    await new Promise<void>((ready) => raw.listen(0, '127.0.0.1', ready));
    const address = raw.address();
    rawPort = typeof address === 'object' ? (address?.port ?? 0) : 0;
  });

  afterAll(async () => {
    await receiver.close();
    raw.close();
  });

  const portOf = ({ url }: Receiver) => new URL(url).port;

  test.each([
    'http://127.0.0.1',
    'http://localhost',
    'http://[::1]',
    'http://[::ffff:127.0.0.1]',
    'http://2130706433',
    'http://0x7f.1',
    'http://0177.0.0.1',
    'http://127.1',
  ])('at %s gets no connection, and its owner learns neither why nor how fast', async (origin) => {
    const send = createWebhookSender({ production: false, webhookAllow: [] });
    const before = connections;
    const answer = await send(`${origin}:${rawPort}/`, {}, '{}');
    expect(answer).toEqual({
      ...{ status: null, error: 'unreachable', durationMs: null, response: null },
      retryAfterMs: undefined,
    });
    expect(connections).toBe(before);
  });

  test('fails alike where a name does not exist, is inside, or its port is closed', async () => {
    const send = (addresses: typeof loopback, webhookAllow: string[] = []) =>
      createWebhookSender({ production: false, webhookAllow }, { resolve: async () => addresses })(
        'http://hook.example:1/',
        {},
        '{}',
      );
    const failing = createWebhookSender(open, {
      resolve: () => Promise.reject(new Error('ENOTFOUND')),
    });
    const answers = [
      await send([{ address: '10.0.0.1', family: 4 }]),
      await send(loopback, ['127.0.0.1']),
      await send([]),
      await failing('http://hook.example/', {}, '{}'),
    ];
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
  });

  test('at a name with a public and an inner address gets no connection', async () => {
    const resolve = async () => [{ address: '8.8.8.8', family: 4 }, ...loopback];
    const send = createWebhookSender({ production: false, webhookAllow: [] }, { resolve });
    expect((await send(`http://hook.example:${rawPort}/`, {}, '{}')).error).toBe('unreachable');
  });

  test('connects to the address that was checked, also where the name resolves to another one afterwards', async () => {
    let asked = 0;
    const resolve = async () => {
      asked += 1;
      return asked === 1 ? loopback : [{ address: '10.0.0.1', family: 4 }];
    };
    const send = createWebhookSender(open, { resolve });
    const url = `http://hook.example:${portOf(receiver)}/a?b=c`;
    expect((await send(url, {}, '{"n":1}')).status).toBe(204);
    expect(asked).toBe(1);
    expect(receiver.received.at(-1)?.headers.host).toBe(`hook.example:${portOf(receiver)}`);
    // The next try asks again, also where a connection is kept.
    expect((await send(url, {}, '{"n":2}')).error).toBe('unreachable');
    expect(asked).toBe(2);
  });

  test('follows no redirect', async () => {
    receiver.answer = status(302, { location: `http://127.0.0.1:${rawPort}/` });
    const before = connections;
    const answer = await createWebhookSender(open)(receiver.url, {}, '{}');
    expect([answer.status, answer.error, connections]).toEqual([302, 'redirected', before]);
  });

  test('over http is refused in production', async () => {
    const send = createWebhookSender({ ...open, production: true });
    expect((await send(receiver.url, {}, '{}')).error).toBe('unreachable');
  });

  test('reads a KiB of an answer of any length', async () => {
    let written = 0;
    receiver.answer = (_, response) => {
      const more = (): void => {
        while (written < 10 * 1024 ** 2 && !response.destroyed) {
          written += 65_536;
          if (!response.write('y'.repeat(65_536))) return void response.once('drain', more);
        }
        response.end();
      };
      more();
    };
    const answer = await createWebhookSender(open)(receiver.url, {}, '{}');
    expect([answer.status, answer.response]).toEqual([200, 'y'.repeat(1024)]);
    expect(written).toBeLessThan(10 * 1024 ** 2);
  });

  test.each<[string, typeof behave]>([
    ['hangs', () => undefined],
    [
      'sends an answer byte by byte',
      (write) => {
        const timer = setInterval(() => {
          if (!write('H')) clearInterval(timer);
        }, 5);
      },
    ],
    [
      'ends the head and not the body',
      (write) => void write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx'),
    ],
  ])('at a receiver that %s ends in time', async (_, how) => {
    behave = how;
    const send = createWebhookSender(open, { timeoutMs: 200 });
    const answer = await send(`http://127.0.0.1:${rawPort}/`, {}, '{}');
    expect(['timed_out', 'invalid_response']).toContain(answer.error ?? '');
  });

  test('at a receiver that hangs while its name is looked up ends in time', async () => {
    const resolve = () => new Promise<never>(() => undefined);
    const send = createWebhookSender(open, { resolve, timeoutMs: 50 });
    expect((await send('http://hook.example/', {}, '{}')).error).toBe('timed_out');
  });
});
