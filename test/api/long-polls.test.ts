/** `GET /changes` with `wait` and with `project_id`. */
import { describe, expect, test } from 'bun:test';
import { Api, type Persona, useApi } from '../support/api.ts';
import { waitFor } from '../support/process.ts';

const api = useApi();

// biome-ignore lint/suspicious/noExplicitAny: answers are looked into freely.
type Json = any;

const now = async (who: Persona): Promise<string> => (await who.get('/changes')).body.next_cursor;

/** Returns whether a user has 20 streams and waiting requests: there is no room for one more stream. */
async function isFull(who: Persona): Promise<boolean> {
  const abort = new AbortController();
  const { status } = await fetch(`${who.api.url}/changes/stream`, {
    headers: { authorization: `Bearer ${who.token}` },
    signal: abort.signal,
  });
  abort.abort();
  return status === 429;
}

/** Sends a request that waits. It is sent again while the stream of `isFull` has its place. */
async function hold(who: Persona, since: string, signal?: AbortSignal): Promise<Response> {
  for (;;) {
    const response = await fetch(`${who.api.url}/changes?since=${since}&wait=30`, {
      headers: { authorization: `Bearer ${who.token}` },
      signal,
    });
    if (response.status !== 429) return response;
    await response.body?.cancel();
  }
}

describe('a long poll', () => {
  test('returns at once what there is, and what the first write after it makes', async () => {
    const [ada, bob] = [await api.person('ada'), await api.person('bob')];
    const project = await ada.createProject();
    await api.addMember(project.id, bob, 'viewer');
    const since = await now(bob);
    const waiting = bob.get(`/changes?since=${since}&wait=30`);
    // It waits, or begins to wait, or reads first: the answer is the same.
    await ada.get(`/projects/${project.id}`);
    const task = await ada.createTask(project.id);
    const { status, body } = await waiting;
    expect(status).toBe(200);
    expect(body.items).toMatchObject([{ action: 'task.created', subject_id: task.id }]);
    const { body: again } = await bob.get(`/changes?since=${since}&wait=30`);
    expect(again).toEqual(body);
    const { body: after } = await bob.get(`/changes?since=${body.next_cursor}`);
    expect(after.items).toEqual([]);
  });

  test('is empty after its time, and without a cursor or a wait it does not wait', async () => {
    const ada = await api.person('ada');
    const since = await now(ada);
    const { body } = await ada.get(`/changes?since=${since}&wait=1`);
    expect(body.items).toEqual([]);
    const { body: next } = await ada.get(`/changes?since=${body.next_cursor}&wait=0`);
    expect(next.items).toEqual([]);
    expect((await ada.get('/changes?wait=30')).body.items).toEqual([]);
    expect((await ada.request('HEAD', `/changes?since=${since}&wait=30`)).status).toBe(200);
  });

  test.each(['-1', '31', '1.5', 'x', ''])('for %p seconds is refused', async (wait) => {
    const { status, body } = await (await api.person()).get(`/changes?wait=${wait}`);
    expect([status, body.code, body.errors[0].location]).toEqual([
      422,
      'validation_failed',
      'query.wait',
    ]);
  });

  test('for some projects does not end with a change in another', async () => {
    const ada = await api.person('ada');
    const [one, two] = [await ada.createProject('One'), await ada.createProject('Two')];
    const waiting = ada.get(`/changes?since=${await now(ada)}&wait=30&project_id=${one.id}`);
    await ada.createTask(two.id);
    const { body: other } = await ada.get(
      `/changes?since=${await now(ada)}&wait=1&project_id=${one.id}`,
    );
    expect(other.items).toEqual([]);
    const task = await ada.createTask(one.id);
    expect((await waiting).body.items.map(({ subject_id }: Json) => subject_id)).toEqual([task.id]);
  });

  test('ends with 401 soon after its session', async () => {
    const ada = await api.person('ada');
    const { client } = await ada.startSession();
    const since = await now(ada);
    const waiting = client.get(`/changes?since=${since}&wait=30`);
    await client.post('/users/logout');
    const { status, body } = await waiting;
    expect([status, body.code]).toEqual([401, 'invalid_token']);
  });

  test('counts as a stream of its user, of which there may be 20, until the client leaves', async () => {
    const ada = await api.person('ada');
    const since = await now(ada);
    const abort = new AbortController();
    const waiting = Array.from({ length: 20 }, () =>
      hold(ada, since, abort.signal).catch(() => undefined),
    );
    await waitFor('all of them wait', () => isFull(ada));
    const more = await ada.get(`/changes?since=${since}&wait=30`);
    expect([more.status, more.body.code]).toEqual([429, 'rate_limited']);
    // A page that does not wait needs no place.
    expect((await ada.get(`/changes?since=${since}`)).status).toBe(200);
    abort.abort();
    await Promise.all(waiting);
    await waitFor('there is room', async () => !(await isFull(ada)));
  });

  test('is answered when the server stops', async () => {
    const own = await Api.start({ databaseUrl: api.databaseUrl });
    const ada = await own.person('eve');
    const since = await now(ada);
    const waiting = Array.from({ length: 20 }, () => hold(ada, since));
    await waitFor('they wait', () => isFull(ada));
    const stopped = own.stop();
    for (const response of await Promise.all(waiting)) {
      expect(response.status).toBe(200);
      expect(((await response.json()) as Json).items).toEqual([]);
    }
    await stopped;
  });
});

describe('the changes of some projects', () => {
  test('are those of these projects and of the access to them, in order', async () => {
    const [ada, bob] = [await api.person('ada'), await api.person('bob')];
    const [one, two] = [await ada.createProject('One'), await ada.createProject('Two')];
    const since = await now(bob);
    await api.addMember(one.id, bob, 'viewer');
    await api.addMember(two.id, bob, 'viewer');
    const task = await ada.createTask(one.id);
    await ada.createTask(two.id);
    await ada.delete(`/projects/${one.id}/members/${bob.id}`);
    const { body: lost } = await bob.get(`/changes?since=${since}&project_id=${one.id}`);
    expect(lost.items.map(({ action }: Json) => action)).toEqual(['access.granted', 'access.lost']);
    const both = `project_id=${two.id},${one.id}`;
    const ids = async (who: Persona, query: string) =>
      (await who.get(`/changes?${query}`)).body.items.map(({ subject_id }: Json) => subject_id);
    const { body: start } = await ada.get(`/changes?${both}`);
    const [first, second] = [await ada.createTask(two.id), await ada.createTask(one.id)];
    expect(await ids(ada, `since=${start.next_cursor}&${both}`)).toEqual([first.id, second.id]);
    const reversed = `project_id=${one.id}&project_id=${two.id}`;
    expect(await ids(ada, `since=${start.next_cursor}&${reversed}`)).toEqual([first.id, second.id]);
    expect(await ids(ada, `since=${start.next_cursor}&${both}&limit=1`)).toEqual([first.id]);
    expect(task.id).toBeString();
  });

  test('of a project that the user does not see are empty, as for an id that does not exist', async () => {
    const [ada, bob] = [await api.person('ada'), await api.person('bob')];
    const project = await ada.createProject();
    const since = await now(bob);
    await ada.createTask(project.id);
    for (const id of [project.id, '0199d3a0-5f3c-7cc4-8f0e-6d4f0a2b9c11']) {
      const { status, body } = await bob.get(`/changes?since=${since}&project_id=${id}`);
      expect([status, body.items]).toEqual([200, []]);
    }
    expect((await bob.get('/changes?project_id=x')).status).toBe(422);
  });

  test('have cursors of their own, and take a cursor of all changes', async () => {
    const ada = await api.person('ada');
    const [one, two] = [await ada.createProject('One'), await ada.createProject('Two')];
    const all = await now(ada);
    await ada.createTask(one.id);
    const { status, body } = await ada.get(`/changes?since=${all}&project_id=${one.id}`);
    expect([status, body.items.length]).toEqual([200, 1]);
    for (const query of ['', `&project_id=${two.id}`, `&project_id=${one.id},${two.id}`])
      for (const since of [body.next_cursor, body.items[0].cursor]) {
        const refused = await ada.get(`/changes?since=${since}${query}`);
        expect([refused.status, refused.body.code]).toEqual([422, 'invalid_cursor']);
      }
  });
});
