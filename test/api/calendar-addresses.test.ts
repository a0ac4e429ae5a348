/** The calendar under secret addresses, for programs that can send no header. */
import { expect, test } from 'bun:test';
import { type Persona, useApi } from '../support/api.ts';

const api = useApi();
const ADDRESSES = '/users/me/calendars';
const DUE = '2026-12-24T18:00:00+01:00';

async function openAddress(who: Persona, name = 'phone') {
  const { status, body } = await who.post(ADDRESSES, { name });
  expect(status).toBe(201);
  return body as { id: string; url: string };
}

const secretOf = (url: string) => url.split('/').at(-1)?.replace('.ics', '') ?? '';
const read = (url: string, options?: { headers: Record<string, string> }) =>
  api.anonymous.get(url, options);
const titlesAt = async (url: string) => {
  const { status, text, headers } = await read(url);
  expect([status, headers.get('content-type')]).toEqual([200, 'text/calendar; charset=utf-8']);
  return [...text.matchAll(/^SUMMARY:(.*)\r$/gm)].map(([, title]) => title);
};

test('an address is shown once, and only its hash is stored', async () => {
  const ada = await api.person();
  const { status, body, headers } = await ada.post(ADDRESSES, { name: 'phone' });
  expect([status, headers.get('cache-control')]).toEqual([201, 'no-store']);
  expect(body).toEqual({
    id: expect.any(String),
    name: 'phone',
    last_used_at: null,
    created_at: expect.any(String),
    url: expect.stringMatching(/^\/calendars\/[A-Za-z0-9_-]{43}\.ics$/),
  });
  const { url, ...shown } = body;
  expect((await ada.get(ADDRESSES)).body.items).toEqual([shown]);
  const kept = JSON.stringify(await api.sql`select to_jsonb(a) from calendar_addresses a`);
  expect(kept).not.toContain(secretOf(url));
});

test('an address gives the calendar of its user, with parameters and tags, without a credential', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  await ada.createTask(project.id, { title: 'mine', due_at: DUE, priority: 4 });
  await ada.createTask(project.id, { title: 'later', due_at: DUE });
  const { url } = await openAddress(ada);
  expect(await titlesAt(url)).toEqual(['mine', 'later']);
  expect(await titlesAt(`${url}?priority=4&project_id=${project.id}`)).toEqual(['mine']);
  expect((await read(`${url}/?as=events`)).text).toContain('BEGIN:VEVENT');
  expect((await read(`${url}?due=none`)).status).toBe(422);
  expect((await read(`${url}?project_id=${crypto.randomUUID()}`)).status).toBe(404);
  const { headers, text } = await read(url);
  expect(text).toBe((await ada.get('/tasks/calendar.ics')).text);
  const tag = headers.get('etag') as string;
  expect(headers.get('cache-control')).toBe('private, no-cache');
  expect((await read(url, { headers: { 'if-none-match': tag } })).status).toBe(304);
  // A credential that comes along changes nothing.
  const bob = await api.person();
  expect((await bob.get(url)).text).toBe(text);
  const [{ last_used_at }] = (await ada.get(ADDRESSES)).body.items;
  expect(last_used_at).toBeString();
});

test('an address only reads', async () => {
  const { url } = await openAddress(await api.person());
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) {
    const answer = await api.anonymous.request(method, url, undefined, { undocumented: true });
    expect([answer.status, answer.headers.get('allow')]).toEqual([405, 'GET, HEAD, OPTIONS']);
  }
  expect((await api.anonymous.request('HEAD', url)).status).toBe(200);
  const bearer = { headers: { authorization: `Bearer ${secretOf(url)}` } };
  expect((await api.anonymous.get('/tasks', bearer)).status).toBe(401);
});

test('a revoked address is the 404 of an unknown one, and the others stay', async () => {
  const [ada, bob] = [await api.person(), await api.person()];
  const [one, other] = [await openAddress(ada), await openAddress(ada, 'desk')];
  expect((await read(one.url)).status).toBe(200);
  expect((await bob.delete(`${ADDRESSES}/${one.id}`)).status).toBe(404);
  expect((await bob.get(ADDRESSES)).body.items).toEqual([]);
  expect((await ada.delete(`${ADDRESSES}/${one.id}`)).status).toBe(204);
  const unknown = `/calendars/${'x'.repeat(43)}.ics`;
  const bodies = [one.url, unknown, '/calendars/x.ics', one.url.replace('.ics', '')].map(
    async (url) => {
      const { status, body } = await read(url);
      return [status, { ...body, request_id: '' }];
    },
  );
  const [revoked, ...wrong] = await Promise.all(bodies);
  expect(revoked?.[0]).toBe(404);
  for (const answer of wrong) expect(answer).toEqual(revoked ?? []);
  expect((await read(other.url)).status).toBe(200);
  expect((await ada.delete(`${ADDRESSES}/${one.id}`)).status).toBe(404);
});

test('an address ends with the account, and stands still while it is disabled', async () => {
  const ada = await api.person();
  const { url } = await openAddress(ada);
  expect((await read(url)).status).toBe(200);
  await api.sql`update users set disabled_at = now() where id = ${ada.id}`;
  api.clockOffsetMs += 5000;
  expect((await read(url)).status).toBe(404);
  await api.sql`update users set disabled_at = null where id = ${ada.id}`;
  expect((await read(url)).status).toBe(200);
  await ada.request('DELETE', '/users/me', { password: ada.password });
  expect((await read(url)).status).toBe(404);
  expect((await api.sql`select from calendar_addresses where user_id = ${ada.id}`).length).toBe(0);
});

test('only a session makes, lists and revokes addresses, up to 100 of them', async () => {
  const ada = await api.person();
  const { id } = await openAddress(ada);
  const scopes = ['read', 'write'];
  const { body } = await ada.post('/users/me/tokens', { name: 'script', scopes });
  const token = { headers: { authorization: `Bearer ${body.token}` } };
  for (const answer of [
    api.anonymous.get(ADDRESSES, token),
    api.anonymous.post(ADDRESSES, { name: 'x' }, token),
    api.anonymous.delete(`${ADDRESSES}/${id}`, token),
  ])
    expect((await answer).status).toBe(403);
  expect((await ada.post(ADDRESSES, { name: ' ' })).status).toBe(422);
  await api.sql`insert into calendar_addresses (id, user_id, name, secret_hash)
    select gen_random_uuid(), ${ada.id}, 'n', gen_random_uuid() from generate_series(2, 97)`;
  const made = await Promise.all(
    Array.from({ length: 6 }, () => ada.post(ADDRESSES, { name: 'x' })),
  );
  expect(made.map(({ status }) => status).sort()).toEqual([201, 201, 201, 409, 409, 409]);
});

test('no log line has a secret; the audit log has who made and who revoked an address', async () => {
  const ada = await api.person();
  const [events, requests] = [api.log.length, api.requests.length];
  const { id, url } = await openAddress(ada);
  await read(url);
  await read(`${url}?surprise=1`);
  await read(`${url}/more`, { headers: {} }).catch(() => undefined);
  await ada.delete(`${ADDRESSES}/${id}`);
  await read(url);
  const lines = [...api.log.slice(events), ...api.requests.slice(requests)];
  expect(JSON.stringify(lines)).not.toContain(secretOf(url));
  expect(
    lines
      .filter(({ event }) => event.startsWith('calendar_'))
      .map(({ event, fields }) => [event, fields.user_id, fields.calendar_id]),
  ).toEqual([
    ['calendar_address_created', ada.id, id],
    ['calendar_address_revoked', ada.id, id],
  ]);
  const found = lines.find(({ fields }) => fields.route === '/calendars/{file}');
  expect(found?.fields).toMatchObject({ status: 200, user_id: ada.id });
});
