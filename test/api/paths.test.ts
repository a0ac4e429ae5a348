/** Paths, methods and media types: what is refused names what is right. */
import { describe, expect, test } from 'bun:test';
import { useApi } from '../support/api.ts';
import { missingIds } from '../support/requests.ts';

const api = useApi();
const undocumented = { undocumented: true } as const;
const { project_id, task_id } = missingIds;

describe('a path that a route names letter by letter has the methods of that route alone', () => {
  const paths: [path: string, allow: string, others: string[]][] = [
    ['/tasks/batch', 'OPTIONS, POST', ['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE']],
    ['/tasks/batch/', 'OPTIONS, POST', ['GET', 'PUT']],
    ['/tasks/calendar.ics', 'GET, HEAD, OPTIONS', ['POST', 'PUT', 'PATCH', 'DELETE']],
    ['/projects/import', 'OPTIONS, POST', ['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE']],
    ['/users/me/tokens', 'GET, HEAD, OPTIONS, POST', ['PUT', 'PATCH', 'DELETE']],
    ['/users/me/sessions', 'DELETE, GET, HEAD, OPTIONS', ['POST', 'PUT', 'PATCH']],
  ];

  test.each(paths)('%s: OPTIONS and Allow name %s', async (path, allow, others) => {
    const ada = await api.person();
    const asked = await ada.request('OPTIONS', path, undefined, undocumented);
    expect([asked.status, asked.headers.get('allow')]).toEqual([204, allow]);
    for (const who of [ada, api.anonymous])
      for (const method of others) {
        const answer = await who.request(method, path, undefined, undocumented);
        expect([method, answer.status, answer.headers.get('allow')]).toEqual([method, 405, allow]);
        if (method !== 'HEAD') expect(answer.body.code).toBe('method_not_allowed');
      }
  });

  test('a path with an id is not a literal path', async () => {
    const ada = await api.person();
    const { headers } = await ada.request('OPTIONS', `/tasks/${task_id}`, undefined, undocumented);
    expect(headers.get('allow')).toBe('DELETE, GET, HEAD, OPTIONS, PATCH, PUT');
  });
});

describe('an unknown path and an unknown id have different problems', () => {
  test.each([
    [`/projects/${project_id}/tasks`, '/tasks/projects/{project_id}'],
    [`/projects/${project_id}/tasks/`, '/tasks/projects/{project_id}'],
    [`/projects/${project_id}/tasks/${task_id}`, '/tasks/{task_id}'],
    [`/projects/${project_id}/history`, '/projects/{project_id}/events'],
    ['/login', '/users/login'],
    ['/auth/login', '/users/login'],
    ['/users', '/users/register'],
    ['/me', '/users/me'],
    ['/healthz', '/health/live'],
    ['/openapi.json', '/swagger/json'],
    [`/api/projects/${project_id}/tasks`, '/tasks/projects/{project_id}'],
    ['/v1/projects', 'without a prefix'],
    ['/nothing', '/swagger/json'],
  ])('%s names %s', async (path, named) => {
    const ada = await api.person();
    for (const method of ['GET', 'POST']) {
      const { status, body } = await ada.request(method, path, undefined, undocumented);
      expect([status, body.code]).toEqual([404, 'not_found']);
      expect(body.detail).toContain('No such path');
      expect(body.detail).toContain(named);
    }
  });

  test('a problem repeats no part of the path', async () => {
    const { text } = await api.anonymous.get('/secret-of-the-client', undocumented);
    expect(text).not.toContain('secret');
  });

  test('an unknown id gets not_found', async () => {
    const ada = await api.person();
    const { body } = await ada.get(`/projects/${project_id}`);
    expect(body.detail).not.toContain('path');
  });
});

describe('the charset of a body', () => {
  test.each([
    'application/json',
    'application/json; charset=utf-8',
    'application/json;charset=UTF-8',
    'application/json; charset=utf8',
    'application/json; charset="utf8"',
    'application/json; charset=us-ascii',
    'application/json; profile=x; charset=Utf8',
  ])('%s is accepted', async (type) => {
    const ada = await api.person();
    const { status } = await ada.post('/projects', undefined, {
      raw: JSON.stringify({ name: 'Küche' }),
      headers: { 'content-type': type },
    });
    expect(status).toBe(201);
  });

  test.each(['iso-8859-1', 'utf-16', 'utf-7', 'utf8x'])(
    '%s is refused, and the problem says so',
    async (charset) => {
      const ada = await api.person();
      const { status, body } = await ada.post('/projects', undefined, {
        raw: '{"name": "x"}',
        headers: { 'content-type': `application/json; charset=${charset}` },
      });
      expect([status, body.detail]).toEqual([415, 'Send the body in UTF-8']);
    },
  );
});
