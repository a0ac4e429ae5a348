/** HEAD answers as GET, without the body, and writes none where GET would stream one. */
import { describe, expect, test } from 'bun:test';
import { useApi } from '../support/api.ts';
import { missingIds } from '../support/requests.ts';

const api = useApi({ rateLimit: true });

/** More than a user may follow at once. */
const STREAMS = 25;

describe('HEAD of the change stream', () => {
  test('returns the headers alone and opens no stream, however often it is sent', async () => {
    const ada = await api.person();
    for (let at = 0; at < STREAMS; at += 1) {
      const { status, headers, text } = await ada.request('HEAD', '/changes/stream');
      expect([status, text]).toEqual([200, '']);
      expect(headers.get('content-type')).toStartWith('text/event-stream');
      expect(headers.get('x-accel-buffering')).toBe('no');
    }
    expect((await ada.get('/changes/stream')).status).toBe(200);
  });

  test('is refused as GET is', async () => {
    const ada = await api.person();
    const status = async (client: typeof ada | typeof api.anonymous, path: string) =>
      (await client.request('HEAD', path)).status;
    expect(await status(api.anonymous, '/changes/stream')).toBe(401);
    expect(await status(ada, '/changes/stream?since=nonsense')).toBe(422);
  });
});

describe('HEAD of a streamed response', () => {
  test.each([
    ['a project as JSON', (id: string) => `/projects/${id}/export`],
    ['a project as CSV', (id: string) => `/projects/${id}/export?format=csv`],
    ['an account', () => '/users/me/export'],
    ['a calendar', () => '/tasks/calendar.ics'],
    ['a calendar of a project', (id: string) => `/projects/${id}/calendar.ics`],
  ])('%s has the headers of GET, and no body', async (_, pathOf) => {
    const ada = await api.person();
    const { id } = await ada.createProject();
    await ada.createTask(id, { due_at: '2026-12-24T00:00:00Z' });
    const [got, head] = [await ada.get(pathOf(id)), await ada.request('HEAD', pathOf(id))];
    expect([head.status, head.text]).toEqual([200, '']);
    for (const name of ['content-type', 'content-disposition', 'etag'])
      expect([name, head.headers.get(name)]).toEqual([name, got.headers.get(name)]);
    // A length that is not known is not told: RFC 9110 §8.6 forbids one that GET would not have.
    expect(head.headers.get('content-length')).toBeNull();
  });

  test('a project that does not exist gets 404', async () => {
    const ada = await api.person();
    expect((await ada.request('HEAD', `/projects/${missingIds.project_id}/export`)).status).toBe(
      404,
    );
  });
});

test('the change stream passes proxies as it is written', async () => {
  const ada = await api.person();
  const { headers } = await ada.get('/changes/stream');
  expect(headers.get('x-accel-buffering')).toBe('no');
  expect(headers.get('cache-control')).toBe('no-store, no-transform');
});
