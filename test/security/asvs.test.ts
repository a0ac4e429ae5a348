/** What docs/asvs.md claims and no other test shows. */
import { describe, expect, test } from 'bun:test';
import { connect } from 'node:net';
import { useApi } from '../support/api.ts';
import { exchange } from '../support/raw.ts';

describe('what no other test shows', () => {
  const api = useApi();

  /** A request that would be answered with 200, hidden behind another. */
  const hidden = 'GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';

  describe('a message whose end can be read in two ways is refused', () => {
    test.each([
      ['a length and chunks', 'Content-Length: 4\r\nTransfer-Encoding: chunked', '0\r\n\r\n'],
      ['chunks and a length', 'Transfer-Encoding: chunked\r\nContent-Length: 99', '0\r\n\r\n'],
      ['two lengths', 'Content-Length: 2\r\nContent-Length: 3', '{}'],
      ['a list of lengths', 'Content-Length: 2, 3', '{}'],
      ['a length with a sign', 'Content-Length: +2', '{}'],
      ['an unknown coding', 'Transfer-Encoding: xchunked', '0\r\n\r\n'],
      ['chunks that are not last', 'Transfer-Encoding: chunked, identity', '0\r\n\r\n'],
      ['a space before the colon', 'Content-Length: 2\r\nTransfer-Encoding : chunked', '{}'],
      ['a line folded', 'Content-Length: 2\r\n Transfer-Encoding: chunked', '{}'],
    ])('%s', async (_, lines, body) => {
      const answer = await receive(
        `POST /users/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n${lines}\r\n\r\n${body}${hidden}`,
      );
      expect(answer).toStartWith('HTTP/1.1 400 ');
      // One answer, and the connection is closed.
      expect(answer.match(/HTTP\/1\.1 /g)?.length).toBe(1);
    });
  });

  /** All that comes until the other side closes. */
  const receive = (bytes: string) =>
    new Promise<string>((done, fail) => {
      const { hostname, port } = new URL(api.url);
      const socket = connect(Number(port), hostname, () => socket.write(bytes));
      let received = '';
      socket.setEncoding('latin1');
      socket.on('data', (data) => {
        received += data;
      });
      socket.on('close', () => done(received));
      socket.on('error', fail);
    });

  test.each(['/health/live', '/users/me', '/nothing', '/swagger', '/problems/conflict'])(
    'an answer is as long as it says: %s',
    async (path) => {
      const received = await receive(hidden.replace('/health/live', path));
      const [head = '', body = ''] = received.split('\r\n\r\n', 2);
      expect(/^content-length: (\d+)$/im.exec(head)?.[1]).toBe(String(body.length));
      expect(received.length).toBe(head.length + 4 + body.length);
    },
  );

  test('a new database has no account', async () => {
    expect(await api.sql`select id from users`).toHaveLength(0);
  });

  test('the field for the password in the docs hides it', async () => {
    const { body } = await exchange(
      api.url,
      hidden.replace('/health/live', '/swagger/swagger-ui-bundle.js'),
    );
    expect(body).toMatch(/id:"oauth_password",type:"password"/);
  });
});
