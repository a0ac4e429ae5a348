/** The address that a request comes from, and that no client can claim another. */
import { describe, expect, test } from 'bun:test';
import { clientIp } from '../../src/http/client-ip.ts';
import { readSettings } from '../../src/settings.ts';
import { type Api, useApi } from '../support/api.ts';
import { exchange } from '../support/raw.ts';

const ignore = () => undefined;

function findBy(
  headers: Record<string, string>,
  { socket = () => '198.51.100.9' as string | undefined, trustedProxies = 1 } = {},
) {
  return clientIp(
    { settings: { ...readSettings({}), trustedProxies }, remoteAddress: socket, log: ignore },
    new Request('http://localhost/', { headers }),
  );
}

const find = (socket: string | undefined, trustedProxies = 0, forwardedFor?: string) =>
  findBy(forwardedFor === undefined ? {} : { 'x-forwarded-for': forwardedFor }, {
    socket: () => socket,
    trustedProxies,
  });

describe('the address of the connection', () => {
  test.each([
    ['192.0.2.7', '192.0.2.7'],
    ['0.0.0.0', '0.0.0.0'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['::FFFF:C000:0207', '192.0.2.7'],
    ['0:0:0:0:0:ffff:192.0.2.7', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:DB8:1:2:ffff::', '2001:db8:1:2::/64'],
    ['2001:0db8:0001:0002::7', '2001:db8:1:2::/64'],
    ['2001:db8::7', '2001:db8::/64'],
    ['64:ff9b::192.0.2.7', '64:ff9b::/64'],
    ['fe80::1%eth0', 'fe80::/64'],
    ['::1', '::/64'],
    ['::', '::/64'],
  ])('%s counts as %s', (address, counted) => {
    expect(find(address)).toBe(counted);
  });

  test('is unknown where there is no connection', () => {
    expect(find(undefined)).toBeUndefined();
  });
});

describe('X-Forwarded-For', () => {
  test.each([
    [0, '192.0.2.1', '198.51.100.9'],
    [1, '192.0.2.1', '192.0.2.1'],
    [1, '203.0.113.5, 192.0.2.1', '192.0.2.1'],
    [1, '203.0.113.5,192.0.2.1', '192.0.2.1'],
    [1, ' 192.0.2.1\t', '192.0.2.1'],
    [2, '203.0.113.5, 192.0.2.1', '203.0.113.5'],
    [2, '10.0.0.1, 203.0.113.5, 192.0.2.1', '203.0.113.5'],
    [1, '203.0.113.5, 2001:db8:1:2::7', '2001:db8:1:2::/64'],
    [1, '::ffff:192.0.2.1', '192.0.2.1'],
  ])('behind %d proxies, %j means %s', (proxies, forwardedFor, counted) => {
    expect(find('198.51.100.9', proxies, forwardedFor)).toBe(counted);
  });

  test.each([
    ['192.0.2.1:8080', '192.0.2.1'],
    ['"192.0.2.1"', '192.0.2.1'],
    ['203.0.113.5:1, 192.0.2.1:65535', '192.0.2.1'],
    ['::ffff:192.0.2.1:8080', '192.0.2.1'],
    ['[2001:db8:1:2::5]', '2001:db8:1:2::/64'],
    ['[2001:db8:1:2::5]:443', '2001:db8:1:2::/64'],
    ['"[2001:db8:1:2::5]:443"', '2001:db8:1:2::/64'],
    ['[::ffff:192.0.2.1]:8080', '192.0.2.1'],
    ['[fe80::1%eth0]:8080', 'fe80::/64'],
    ['2001:db8:1:2:3:4:5:6:443', '2001:db8:1:2::/64'],
  ])('%j, with what a proxy writes around an address, means %s', (forwardedFor, counted) => {
    expect(find('198.51.100.9', 1, forwardedFor)).toBe(counted);
  });

  test.each(['', ',', '192.0.2.1,', 'unknown', '192.0.2.1, Unknown'])(
    '%j names no client, so no address is counted',
    (forwardedFor) => {
      expect(find('198.51.100.9', 1, forwardedFor)).toBeUndefined();
    },
  );

  test.each([
    '_hidden',
    '192.0.2',
    '192.0.2.256',
    '192.0.2.01',
    '192.0.2.1.',
    '0x7f.0.0.1',
    '3221225985',
    '2001:db8::g',
    '1::2:3:4:5:6:7:8',
    'client.example',
  ])('%j is no address, so the text itself counts', (entry) => {
    const counted = find('198.51.100.9', 1, `203.0.113.5, ${entry}`);
    expect(counted).not.toBe('198.51.100.9');
    expect(entry).toStartWith(counted ?? '-');
    expect(find('198.51.100.9', 1, 'another')).not.toBe(counted);
  });

  test('an identifier counts the same from every port, and is kept up to 64 characters', () => {
    expect(find('198.51.100.9', 1, '_a1b2:4711')).toBe('_a1b2');
    expect(find('198.51.100.9', 1, '_a1b2:4712')).toBe('_a1b2');
    expect(find('198.51.100.9', 1, 'x'.repeat(5000))).toBe('x'.repeat(64));
  });

  test('with fewer entries than proxies bypassed a proxy, so the address of the connection counts', () => {
    expect(find('198.51.100.9', 2, '192.0.2.1')).toBe('198.51.100.9');
    expect(find('198.51.100.9', 1)).toBe('198.51.100.9');
  });
});

describe('Forwarded', () => {
  test.each([
    [1, 'for=192.0.2.1', '192.0.2.1'],
    [1, 'For="192.0.2.1:47011"', '192.0.2.1'],
    [1, 'for=203.0.113.5, for=192.0.2.1;proto=https;by=10.0.0.1', '192.0.2.1'],
    [2, 'for=203.0.113.5;proto=http,for=192.0.2.1', '203.0.113.5'],
    [1, 'proto=http; FOR="[2001:db8:1:2::17]:4711"', '2001:db8:1:2::/64'],
    [1, 'for="[2001:db8:1:2::17]"', '2001:db8:1:2::/64'],
    [1, 'for="a, for=203.0.113.5", for=192.0.2.1', '192.0.2.1'],
    [1, 'for="_a\\"b"', '_a"b'],
    [1, 'for=_hidden', '_hidden'],
    [1, 'for=unknown', undefined],
    [1, 'by=10.0.0.1', undefined],
  ])('behind %d proxies, %j means %s', (trustedProxies, forwarded, counted) => {
    expect(findBy({ forwarded }, { trustedProxies })).toBe(counted);
  });

  test('means nothing without a trusted proxy, nor beside X-Forwarded-For', () => {
    const headers = { forwarded: 'for=203.0.113.5' };
    expect(findBy(headers, { trustedProxies: 0 })).toBe('198.51.100.9');
    expect(findBy({ ...headers, 'x-forwarded-for': '192.0.2.1' })).toBe('192.0.2.1');
  });

  test('with fewer elements than proxies bypassed a proxy, so the address of the connection counts', () => {
    expect(findBy({ forwarded: 'for=192.0.2.1' }, { trustedProxies: 2 })).toBe('198.51.100.9');
  });
});

/** The address that the API has seen, as it stands in a session. */
async function seenBy(api: Api, lines: string): Promise<string> {
  const ada = await api.person();
  const body = JSON.stringify({ username: ada.username, password: ada.password });
  const { status } = await exchange(
    api.url,
    `POST /users/login HTTP/1.1\r\nHost: localhost\r\n${lines}Content-Type: application/json\r\n` +
      `Content-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
  );
  expect(status).toBe(200);
  const [session] = await api.sql`select address from sessions where user_id = ${ada.id}
    order by created_at desc, id desc limit 1`;
  return session.address;
}

const guess = (api: Api, username: string, headers: Record<string, string>) =>
  api.anonymous.post('/users/login', { username, password: 'wrong' }, { headers });

describe('without a proxy', () => {
  const api = useApi({ rateLimit: true });

  test('a header changes nothing', async () => {
    const lines =
      'X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.2\r\nX-Real-IP: 192.0.2.3\r\n';
    expect(await seenBy(api, lines)).toBe('127.0.0.1');
  });

  test('a made-up header for each guess evades no limit', async () => {
    const ada = await api.person();
    const headers = (at: number) => ({
      'x-forwarded-for': `192.0.2.${at}`,
      'x-real-ip': `192.0.2.${at}`,
      forwarded: `for=192.0.2.${at}`,
      'cf-connecting-ip': `192.0.2.${at}`,
      'true-client-ip': `192.0.2.${at}`,
    });
    for (let at = 0; at < 10; at += 1)
      expect((await guess(api, ada.username, headers(at))).status).toBe(401);
    expect((await guess(api, ada.username, headers(10))).status).toBe(429);
  });
});

describe('behind one proxy', () => {
  const api = useApi({ rateLimit: true, trustedProxies: 1 });

  test('its entry is the last of all lines', async () => {
    const lines = [
      'X-Forwarded-For: 203.0.113.1, 203.0.113.2\r\n',
      'x-forwarded-for: 203.0.113.3\r\n',
      'X-FORWARDED-FOR: 192.0.2.7\r\n',
    ];
    expect(await seenBy(api, lines.join(''))).toBe('192.0.2.7');
  });

  test('made-up entries before it evade no limit', async () => {
    const ada = await api.person();
    const headers = (at: number) => ({
      'x-forwarded-for': `203.0.113.${at}, 10.0.0.${at}, 192.0.2.8`,
    });
    for (let at = 0; at < 10; at += 1)
      expect((await guess(api, ada.username, headers(at))).status).toBe(401);
    expect((await guess(api, ada.username, headers(10))).status).toBe(429);
  });

  test('addresses of one IPv6 network evade no limit', async () => {
    const ada = await api.person();
    const headers = (at: number) => ({ 'x-forwarded-for': `2001:db8:1:2:${at}::${at}` });
    for (let at = 0; at < 10; at += 1)
      expect((await guess(api, ada.username, headers(at))).status).toBe(401);
    expect((await guess(api, ada.username, headers(10))).status).toBe(429);
    const other = { 'x-forwarded-for': '2001:db8:1:3::1' };
    expect((await guess(api, ada.username, other)).status).toBe(401);
  });
});

describe('behind a proxy that checks the health', () => {
  const api = useApi({ rateLimit: true, trustedProxies: 1 });

  test('a check names no client, and the log has no warning', async () => {
    for (const path of ['/health/live', '/health/ready'])
      expect((await api.anonymous.get(path)).status).toBe(200);
    expect(api.log.filter(({ event }) => event === 'forwarded_entries_missing')).toEqual([]);
  });

  test('a request that bypassed the proxy is logged once', async () => {
    for (let times = 0; times < 2; times += 1) await api.anonymous.get('/projects');
    const lines = api.log.filter(({ event }) => event === 'forwarded_entries_missing');
    expect(lines.map(({ fields }) => fields)).toEqual([
      { header: 'forwarded', setting: 'TRUST_PROXY' },
    ]);
  });
});

describe('behind a proxy that names clients by something that is no address', () => {
  const api = useApi({ rateLimit: true, trustedProxies: 1 });

  test.each([
    ['ports', (client: number) => `203.0.113.${client}:${50_000 + client}`],
    ['brackets', (client: number) => `[2001:db8:0:${client}::5]:443`],
    ['identifiers', (client: number) => `_client${client}`],
    ['nothing known', () => 'unknown'],
  ])('%s: a hundred wrong guesses of one client do not lock out another', async (_, name) => {
    const victim = await api.person();
    const headers = { 'x-forwarded-for': name(1) };
    expect((await guess(api, victim.username, headers)).status).toBe(401);
    // A hundred hashes would take most of a minute.
    await api.sql`update rate_limits set hits = hits * 100`;
    const ada = await api.person();
    const { status } = await api.anonymous.post(
      '/users/login',
      { username: ada.username, password: ada.password },
      { headers: { 'x-forwarded-for': name(11) } },
    );
    expect(status).toBe(200);
  });

  test('an account is still protected against a client that guesses', async () => {
    const ada = await api.person();
    const headers = { 'x-forwarded-for': 'unknown' };
    for (let at = 0; at < 10; at += 1)
      expect((await guess(api, ada.username, headers)).status).toBe(401);
    expect((await guess(api, ada.username, headers)).status).toBe(429);
  });

  test('the log says so once, without what was sent', async () => {
    const lines = api.log.filter(({ event }) => event === 'forwarded_not_understood');
    expect(lines).toEqual([
      {
        level: 'warn',
        event: 'forwarded_not_understood',
        fields: { header: 'x-forwarded-for', setting: 'TRUST_PROXY' },
      },
    ]);
  });
});
