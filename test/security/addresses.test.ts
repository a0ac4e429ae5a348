/** Where a request comes from, and that nobody can say he comes from elsewhere. */
import { describe, expect, test } from 'bun:test';
import { findClientAddress } from '../../src/plugins/client-address.ts';
import { readSettings } from '../../src/settings.ts';
import { type Api, useApi } from '../support/api.ts';
import { exchange } from '../support/raw.ts';

function find(socket: string | undefined, trusted_proxies = 0, forwarded_for?: string) {
  const headers = new Headers(
    forwarded_for === undefined ? {} : { 'x-forwarded-for': forwarded_for },
  );
  return findClientAddress(
    { settings: { ...readSettings({}), trusted_proxies }, address_of: () => socket },
    new Request('http://localhost/', { headers }),
  );
}

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
  ])('behind %d proxies, %j means %s', (proxies, forwarded_for, counted) => {
    expect(find('198.51.100.9', proxies, forwarded_for)).toBe(counted);
  });

  test.each([
    '',
    ',',
    '192.0.2.1,',
    'unknown',
    '_hidden',
    '192.0.2',
    '192.0.2.256',
    '192.0.2.01',
    '192.0.2.1.',
    '192.0.2.1:8080',
    '"192.0.2.1"',
    '0x7f.0.0.1',
    '3221225985',
    '[2001:db8::1]',
    '2001:db8::1::2',
    '2001:db8:1',
    '1:2:3:4:5:6:7:8:9',
    '1::2:3:4:5:6:7:8',
    '2001:db8::g',
    '2001:db8::12345',
    '::ffff:192.0.2.256',
    ':::',
    '203.0.113.5, nonsense',
  ])('%j is no address, so the connection counts', (forwarded_for) => {
    expect(find('198.51.100.9', 1, forwarded_for)).toBe('198.51.100.9');
  });

  test('with fewer entries than proxies came past one of them, so the connection counts', () => {
    expect(find('198.51.100.9', 2, '192.0.2.1')).toBe('198.51.100.9');
    expect(find('198.51.100.9', 1)).toBe('198.51.100.9');
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
  const api = useApi({ rate_limit: true });

  test('a header changes nothing', async () => {
    const lines =
      'X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.2\r\nX-Real-IP: 192.0.2.3\r\n';
    expect(await seenBy(api, lines)).toBe('127.0.0.1');
  });

  test('a made-up header for each guess evades nothing', async () => {
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
  const api = useApi({ rate_limit: true, trusted_proxies: 1 });

  test('its entry is the last of all lines', async () => {
    const lines = [
      'X-Forwarded-For: 203.0.113.1, 203.0.113.2\r\n',
      'x-forwarded-for: 203.0.113.3\r\n',
      'X-FORWARDED-FOR: 192.0.2.7\r\n',
    ];
    expect(await seenBy(api, lines.join(''))).toBe('192.0.2.7');
  });

  test('entries made up in front of it evade nothing', async () => {
    const ada = await api.person();
    const headers = (at: number) => ({
      'x-forwarded-for': `203.0.113.${at}, 10.0.0.${at}, 192.0.2.8`,
    });
    for (let at = 0; at < 10; at += 1)
      expect((await guess(api, ada.username, headers(at))).status).toBe(401);
    expect((await guess(api, ada.username, headers(10))).status).toBe(429);
  });

  test('addresses of one IPv6 network evade nothing', async () => {
    const ada = await api.person();
    const headers = (at: number) => ({ 'x-forwarded-for': `2001:db8:1:2:${at}::${at}` });
    for (let at = 0; at < 10; at += 1)
      expect((await guess(api, ada.username, headers(at))).status).toBe(401);
    expect((await guess(api, ada.username, headers(10))).status).toBe(429);
    const other = { 'x-forwarded-for': '2001:db8:1:3::1' };
    expect((await guess(api, ada.username, other)).status).toBe(401);
  });
});
