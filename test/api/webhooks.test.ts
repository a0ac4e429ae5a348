/** Webhooks: what is delivered, how often, in which order, and what becomes of a hook whose receiver fails. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { SQL } from 'bun';
import { pauseMs } from '../../src/handlers/webhook-delivery.ts';
import { Api, type Persona } from '../support/api.ts';
import { createDatabase, dropDatabase } from '../support/cluster.ts';
import { useProcesses, waitFor } from '../support/process.ts';
import { ok, openReceiver, type Receiver, status } from '../support/receiver.ts';

const DAY_MS = 86_400_000;

useProcesses();

// biome-ignore lint/suspicious/noExplicitAny: answers are looked into freely.
type Json = any;

let api: Api;
let sql: SQL;
let receiver: Receiver;

beforeAll(async () => {
  const databaseUrl = await createDatabase();
  sql = new SQL({ url: databaseUrl, max: 2 });
  api = await Api.start({ databaseUrl, webhookAllow: ['127.0.0.1'] });
});

beforeEach(async () => {
  receiver = await openReceiver();
});

afterEach(async () => {
  api.clockOffsetMs = 0;
  await sql`delete from webhooks`;
  await receiver.close();
});

afterAll(async () => {
  await api.stop();
  await sql.close();
  await dropDatabase(api.databaseUrl);
});

async function makeHook(who: Persona, fields: object = {}): Promise<Json> {
  const { status, body } = await who.post('/users/me/webhooks', { url: receiver.url, ...fields });
  expect(status).toBe(201);
  return body;
}

const read = async (who: Persona, { id }: Json): Promise<Json> =>
  (await who.get(`/webhooks/${id}`)).body;
const titles = () => receiver.received.map(({ event }) => event.fields?.title ?? event.action);
/** Waits until no process serves a webhook. Until then a new event is still sent. */
const waitForRelease = ({ id }: Json) =>
  waitFor('the lease is free', async () => {
    const [row] = await sql`select lease_owner is null or lease_until < now() as free
      from webhooks where id = ${id}`;
    return row.free;
  });
async function pause(who: Persona, hook: Json) {
  await who.patch(`/webhooks/${hook.id}`, { state: 'paused' });
  await waitForRelease(hook);
}
/** As if the pause before the next try were over. */
const skipPause = ({ id }: Json) => sql`update webhooks set next_try_at = now() where id = ${id}`;

describe('a webhook', () => {
  test('is made, listed, read, changed and deleted by its owner alone', async () => {
    const [ada, bob] = [await api.person('ada'), await api.person('bob')];
    const { secret, ...hook } = await makeHook(ada, { name: 'chat', actions: ['task.created'] });
    expect(secret).toStartWith('whsec_');
    expect(hook).toMatchObject({
      ...{ url: receiver.url, name: 'chat', project_id: null, actions: ['task.created'] },
      ...{ state: 'active', disabled_reason: null, pending: 0, missed: false, last_failure: null },
    });
    expect((await ada.get('/users/me/webhooks')).body.items).toEqual([hook]);
    expect((await bob.get('/users/me/webhooks')).body.items).toEqual([]);
    const path = `/webhooks/${hook.id}`;
    for (const [method, tail, body] of [
      ['GET', '', undefined],
      ['PATCH', '', { name: 'x' }],
      ['DELETE', '', undefined],
      ['GET', '/deliveries', undefined],
      ['POST', '/ping', undefined],
      ['POST', '/replay', { since: hook.cursor }],
      ['POST', '/rotate-secret', {}],
    ] as const)
      expect([tail, (await bob.request(method, path + tail, body)).status]).toEqual([tail, 404]);
    const { body: patched } = await ada.patch(path, { name: null, state: 'paused' });
    expect([patched.name, patched.state]).toEqual([null, 'paused']);
    expect((await ada.delete(path)).status).toBe(204);
    expect((await ada.get(path)).status).toBe(404);
  });

  test.each(['ftp://example.org/', 'https://user:password@example.org/', 'no url', 'https://'])(
    'with %s is refused',
    async (url) => {
      const ada = await api.person('ada');
      expect((await ada.post('/users/me/webhooks', { url })).status).toBe(422);
    },
  );

  test('with a secret that is too short is refused', async () => {
    const ada = await api.person('ada');
    const secret = `whsec_${Buffer.alloc(23, 7).toString('base64')}`;
    const { status } = await ada.post('/users/me/webhooks', { url: receiver.url, secret });
    expect(status).toBe(422);
  });

  test('is one of twenty at most', async () => {
    const ada = await api.person('ada');
    const made = await Promise.all(
      Array.from({ length: 25 }, () => ada.post('/users/me/webhooks', { url: receiver.url })),
    );
    expect(made.filter(({ status }) => status === 201).length).toBe(20);
    expect(made.filter(({ status }) => status === 409).length).toBe(5);
  });

  test('cannot be made by an API token, which may be revoked before it', async () => {
    const ada = await api.person('ada');
    const { body } = await ada.post('/users/me/tokens', { name: 'x', scopes: ['read', 'write'] });
    const headers = { authorization: `Bearer ${body.token}` };
    const { status } = await api.anonymous.post(
      '/users/me/webhooks',
      { url: receiver.url },
      { headers },
    );
    expect(status).toBe(403);
  });
});

describe('a delivery', () => {
  test('is the event as the feed has it, signed so that the official library verifies it', async () => {
    const ada = await api.person('ada');
    const project = await ada.createProject();
    const { secret, cursor } = await makeHook(ada);
    const task = await ada.createTask(project.id, { title: 'Tiles — ☃' });
    await waitFor('it arrives', () => receiver.received.length === 1);
    const [one] = receiver.received as [Receiver['received'][0]];
    const { body } = await ada.get(`/changes?since=${cursor}`);
    expect(receiver.verify(secret, one)).toEqual(body.items[0]);
    expect(one.event.subject_id).toBe(task.id);
    expect(one.id).toBe(body.items[0].id);
    expect(one.headers['content-type']).toBe('application/json');
    expect(one.headers['user-agent']).toMatch(/^mantou\/\d/);
    expect(Object.keys(one.headers).filter((name) => /cookie|authorization/.test(name))).toEqual(
      [],
    );
    const other = `whsec_${Buffer.alloc(32, 1).toString('base64')}`;
    expect(() => receiver.verify(other, one)).toThrow();
  });

  test('has two signatures for a day after the secret was rotated', async () => {
    const ada = await api.person('ada');
    const project = await ada.createProject();
    const { secret, ...hook } = await makeHook(ada);
    const { body: rotated } = await ada.post(`/webhooks/${hook.id}/rotate-secret`, {});
    await ada.createTask(project.id);
    await waitFor('it arrives', () => receiver.received.length === 1);
    const [one] = receiver.received as [Receiver['received'][0]];
    for (const each of [secret, rotated.secret]) receiver.verify(each, one);
    await sql`update webhooks set previous_secret_until = now(), revision = revision + 1`;
    await waitFor('it is served anew', async () => {
      await ada.createTask(project.id);
      const last = receiver.received.at(-1) as Receiver['received'][0];
      receiver.verify(rotated.secret, last);
      return last.headers['webhook-signature']?.split(' ').length === 1;
    });
    const last = receiver.received.at(-1) as Receiver['received'][0];
    expect(() => receiver.verify(secret, last)).toThrow();
  });

  test('comes for the project and the actions that the hook wants', async () => {
    const ada = await api.person('ada');
    const [kitchen, garden] = [
      await ada.createProject('Kitchen'),
      await ada.createProject('Garden'),
    ];
    await makeHook(ada, { project_id: garden.id, actions: ['task.created', 'task.deleted'] });
    await ada.createTask(kitchen.id, { title: 'No' });
    const task = await ada.createTask(garden.id, { title: 'Yes' });
    await ada.patch(`/tasks/${task.id}`, { status: 'done' });
    await ada.delete(`/tasks/${task.id}`);
    await waitFor('both arrive', () => receiver.received.length === 2);
    expect(receiver.received.map(({ event }) => event.action)).toEqual([
      'task.created',
      'task.deleted',
    ]);
    expect(titles()).toEqual(['Yes', 'Yes']);
  });

  test('stops with the access, for waiting events too', async () => {
    const [ada, bob] = [await api.person('ada'), await api.person('bob')];
    const project = await ada.createProject();
    await api.addMember(project.id, bob, 'viewer');
    receiver.answer = status(500);
    const hook = await makeHook(bob);
    await ada.createTask(project.id, { title: 'Secret' });
    await waitFor('it is tried', () => receiver.received.length === 1);
    await ada.delete(`/projects/${project.id}/members/${bob.id}`);
    receiver.answer = ok;
    receiver.received.length = 0;
    await skipPause(hook);
    await waitFor('the end is told', () => titles().includes('access.lost'));
    expect(titles()).toEqual(['access.lost']);
  });

  test('is logged with its tries, status and the beginning of the answer', async () => {
    const ada = await api.person('ada');
    const project = await ada.createProject();
    receiver.answer = (_, response) => void response.writeHead(500).end('x'.repeat(10_000));
    const hook = await makeHook(ada);
    await ada.createTask(project.id);
    const logged = async () => (await ada.get(`/webhooks/${hook.id}/deliveries`)).body.items;
    await waitFor('it is logged', async () => (await logged()).length === 1);
    expect((await logged())[0]).toMatchObject({
      ...{ action: 'task.created', tries: 1, status: 500, error: 'status' },
      response: 'x'.repeat(1024),
    });
    receiver.answer = ok;
    await skipPause(hook);
    await waitFor('it is delivered', async () => (await logged())[0].error === null);
    expect((await logged())[0]).toMatchObject({ tries: 2, status: 204, response: '' });
    const { last_failure, last_success_at, pending } = await read(ada, hook);
    expect(last_failure).toMatchObject({ status: 500, error: 'status' });
    expect([typeof last_success_at, pending]).toEqual(['string', 0]);
  });
});

describe('a receiver that fails', () => {
  const failures: [string, Receiver['answer'], string][] = [
    ['answers 500', status(500), 'status'],
    ['answers 404', status(404), 'status'],
    ['redirects', status(302, { location: 'http://127.0.0.1:1/' }), 'redirected'],
    ['cuts the connection', (request) => void request.socket.destroy(), 'invalid_response'],
    [
      'says what is no HTTP',
      (request) => void request.socket.end('220 smtp.example.org\r\n'),
      'invalid_response',
    ],
  ];
  test.each(failures)('because it %s is tried again, in order', async (_, answer, error) => {
    const ada = await api.person('ada');
    const project = await ada.createProject();
    receiver.answer = answer;
    const hook = await makeHook(ada);
    for (const title of ['One', 'Two', 'Three']) await ada.createTask(project.id, { title });
    await waitFor('the failure is noted', async () => (await read(ada, hook)).last_failure);
    const failing = await read(ada, hook);
    expect([failing.state, failing.pending, failing.last_failure.error]).toEqual([
      'active',
      3,
      error,
    ]);
    receiver.received.length = 0;
    receiver.answer = ok;
    await skipPause(hook);
    await waitFor('all arrive', () => receiver.received.length === 3);
    expect(titles()).toEqual(['One', 'Two', 'Three']);
  });

  test('is tried again after its Retry-After, in seconds or as a date', async () => {
    const ada = await api.person('ada');
    const project = await ada.createProject();
    for (const retryAfter of ['3600', new Date(Date.now() + 3_600_000).toUTCString()]) {
      receiver.answer = status(503, { 'retry-after': retryAfter });
      const hook = await makeHook(ada);
      await ada.createTask(project.id);
      await waitFor('the failure is noted', async () => (await read(ada, hook)).last_failure);
      const [row] = await sql`select extract(epoch from next_try_at - now())::int as seconds
        from webhooks where id = ${hook.id}`;
      expect(row.seconds).toBeGreaterThan(3500);
      expect(row.seconds).toBeLessThan(3700);
      await ada.delete(`/webhooks/${hook.id}`);
    }
  });

  test('with 410 is disabled, and continues there once it is set active', async () => {
    const ada = await api.person('ada');
    const project = await ada.createProject();
    receiver.answer = status(410);
    const hook = await makeHook(ada);
    await ada.createTask(project.id, { title: 'One' });
    await waitFor('it is disabled', async () => (await read(ada, hook)).state === 'disabled');
    expect((await read(ada, hook)).disabled_reason).toBe('gone');
    receiver.answer = ok;
    receiver.received.length = 0;
    await ada.createTask(project.id, { title: 'Two' });
    const { body } = await ada.patch(`/webhooks/${hook.id}`, { state: 'active' });
    expect([body.state, body.disabled_reason]).toEqual(['active', null]);
    await waitFor('both arrive', () => receiver.received.length === 2);
    expect(titles()).toEqual(['One', 'Two']);
  });

  test('for five days is disabled, and not before', async () => {
    const ada = await api.person('ada');
    const project = await ada.createProject();
    receiver.answer = status(500);
    const hook = await makeHook(ada);
    await ada.createTask(project.id);
    await waitFor('the failure is noted', async () => (await read(ada, hook)).last_failure);
    const tries = async () =>
      (await sql`select tries, state from webhooks where id = ${hook.id}`)[0] as Json;
    for (const [offsetMs, state] of [
      [5 * DAY_MS - 60_000, 'active'],
      [5 * DAY_MS + 60_000, 'disabled'],
    ] as const) {
      const before = (await tries()).tries;
      api.clockOffsetMs = offsetMs;
      await skipPause(hook);
      await waitFor('it is tried', async () => (await tries()).tries > before);
      expect((await tries()).state).toBe(state);
    }
    api.clockOffsetMs = 0;
    expect((await read(ada, hook)).disabled_reason).toBe('failing');
  });

  test('is tried after pauses that grow from seconds to hours', () => {
    const pause = (failingMs: number) => pauseMs(failingMs, { retryAfterMs: undefined }) / 1000;
    for (const [failingMs, seconds] of [
      [0, 5],
      [3_600_000, 450],
      [8 * 3_600_000, 3600],
      [5 * DAY_MS, 12 * 3600],
    ] as const) {
      expect(pause(failingMs)).toBeGreaterThan(seconds * 0.89);
      expect(pause(failingMs)).toBeLessThan(seconds * 1.11);
    }
  });

  test('is tried again although the clock goes back', async () => {
    const ada = await api.person('ada');
    const project = await ada.createProject();
    receiver.answer = status(500);
    const hook = await makeHook(ada);
    await ada.createTask(project.id);
    await waitFor('the failure is noted', async () => (await read(ada, hook)).last_failure);
    api.clockOffsetMs = -60_000;
    receiver.answer = ok;
    receiver.received.length = 0;
    await skipPause(hook);
    await waitFor('it arrives', () => receiver.received.length === 1);
  });

  test('delays neither the webhooks of others at the same host nor requests', async () => {
    const [ada, bob, cid] = [
      await api.person('ada'),
      await api.person('bob'),
      await api.person('cid'),
    ];
    const project = await ada.createProject();
    await api.addMember(project.id, bob, 'viewer');
    await api.addMember(project.id, cid, 'viewer');
    const isHanging = ({ url }: { url?: string | undefined }) => url?.startsWith('/hang') ?? false;
    let hanging = 0;
    receiver.answer = (request, response, received) => {
      if (isHanging(request)) hanging += 1;
      else ok(request, response, received);
    };
    const url = new URL('/hang', receiver.url).href;
    for (const owner of [ada, cid]) for (let n = 0; n < 20; n += 1) await makeHook(owner, { url });
    await waitFor('they are served', async () => {
      const [row] = await sql`select count(*)::int from webhooks where lease_owner is not null`;
      return row.count === 40;
    });
    await ada.createTask(project.id, { title: 'Before' });
    await waitFor('they hang', () => hanging === 40);
    await makeHook(bob);
    for (let n = 0; n < 5; n += 1) await ada.createTask(project.id, { title: `Task ${n}` });
    await waitFor('all arrive at the other', () => receiver.received.length === 40 + 5);
    expect(hanging).toBe(40);
    expect((await ada.get('/projects')).status).toBe(200);
    await sql`delete from webhooks`;
  });
});

describe('an owner', () => {
  test('pings, and gets the result', async () => {
    const ada = await api.person('ada');
    const { secret, ...hook } = await makeHook(ada);
    const { body } = await ada.post(`/webhooks/${hook.id}/ping`);
    expect(body).toMatchObject({ action: 'webhook.ping', status: 204, error: null, tries: 1 });
    const [one] = receiver.received as [Receiver['received'][0]];
    expect(receiver.verify(secret, one)).toMatchObject({ action: 'webhook.ping' });
    receiver.answer = status(500);
    const { body: failed } = await ada.post(`/webhooks/${hook.id}/ping`);
    expect(failed).toMatchObject({ status: 500, error: 'status', response: 'no' });
  });

  test('whose receiver is back gets the waiting events at once after a ping', async () => {
    const ada = await api.person('ada');
    const project = await ada.createProject();
    receiver.answer = status(503, { 'retry-after': '40000' });
    const hook = await makeHook(ada);
    await ada.createTask(project.id, { title: 'Waited' });
    await waitFor('the failure is noted', async () => (await read(ada, hook)).last_failure);
    receiver.answer = ok;
    await ada.post(`/webhooks/${hook.id}/ping`);
    await waitFor('it arrives', () => titles().filter((one) => one === 'Waited').length === 2);
  });

  test('replays from a cursor: the same events, under the same ids', async () => {
    const ada = await api.person('ada');
    const project = await ada.createProject();
    const hook = await makeHook(ada);
    for (const title of ['One', 'Two']) await ada.createTask(project.id, { title });
    await waitFor('both arrive', () => receiver.received.length === 2);
    const ids = receiver.received.map(({ id }) => id);
    const { status } = await ada.post(`/webhooks/${hook.id}/replay`, { since: hook.cursor });
    expect(status).toBe(200);
    await waitFor('both arrive again', () => receiver.received.length === 4);
    expect(receiver.received.map(({ id }) => id)).toEqual([...ids, ...ids]);
    const strange = await ada.post(`/webhooks/${hook.id}/replay`, { since: 'x' });
    expect([strange.status, strange.body.code]).toEqual([422, 'invalid_cursor']);
  });

  test('who pauses a webhook gets nothing until they resume it, then everything', async () => {
    const ada = await api.person('ada');
    const project = await ada.createProject();
    const hook = await makeHook(ada);
    await pause(ada, hook);
    await ada.createTask(project.id, { title: 'Meanwhile' });
    await waitFor('it waits', async () => (await read(ada, hook)).pending === 1);
    expect(receiver.received).toEqual([]);
    await ada.patch(`/webhooks/${hook.id}`, { state: 'active' });
    await waitFor('it arrives', () => receiver.received.length === 1);
  });

  test('whose receiver is away for longer than the retention gets `missed`, and the events that are kept', async () => {
    const ada = await api.person('ada');
    const project = await ada.createProject();
    const hook = await makeHook(ada);
    await pause(ada, hook);
    await ada.createTask(project.id, { title: 'Long ago' });
    await ada.get('/changes');
    await sql`update events set at = now() - interval '91 days' where project_id = ${project.id}`;
    await ada.createTask(project.id, { title: 'Now' });
    expect((await read(ada, hook)).missed).toBe(true);
    await ada.patch(`/webhooks/${hook.id}`, { state: 'active' });
    await waitFor('what is kept arrives', () => titles().includes('Now'));
    expect(titles()).not.toContain('Long ago');
    expect((await read(ada, hook)).missed).toBe(false);
  });

  test('who is disabled gets no events', async () => {
    const [ada, bob] = [await api.person('ada'), await api.person('bob')];
    const project = await ada.createProject();
    await api.addMember(project.id, bob, 'viewer');
    const hook = await makeHook(bob);
    await ada.createTask(project.id, { title: 'Before' });
    await waitFor('a process delivers to it', () => titles().includes('Before'));
    receiver.received.length = 0;
    await sql`update users set disabled_at = now() where id = ${bob.id}`;
    await waitForRelease(hook);
    await ada.createTask(project.id);
    await ada.get('/changes');
    expect(receiver.received).toEqual([]);
  });
});
