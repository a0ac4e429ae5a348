/** `GET /changes?snapshot=true`: everything that a user may see, in pages, and the changes after it. */
import { describe, expect, test } from 'bun:test';
import { Client, type Persona, useApi } from '../support/api.ts';
import { Copy, seenBy } from '../support/copy.ts';
import { casesOf } from '../support/generated.ts';

const api = useApi();

// biome-ignore lint/suspicious/noExplicitAny: answers are looked into freely.
type Json = any;

/** Returns numbers from 0 to 1 that are the same for the same seed (mulberry32). */
function randomOf(seed: number) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

describe('a snapshot', () => {
  test('has what the user sees, archived projects too, and nothing of others', async () => {
    const [ada, bob] = [await api.person('ada'), await api.person('bob')];
    const kitchen = await ada.createProject('Kitchen');
    const shared = await bob.createProject('Shared');
    await api.addMember(shared.id, ada, 'viewer');
    await bob.createTask((await bob.createProject('Private')).id, { title: 'Private' });
    const tiles = await ada.createTask(kitchen.id, { labels: ['a'], due_on: '2026-12-24' });
    await bob.createTask(shared.id, { title: 'Seen' });
    await ada.patch(`/projects/${kitchen.id}`, { archived: true });
    const { body } = await ada.get('/changes?snapshot=true');
    expect(body.items).toEqual([]);
    const { projects, members, tasks, complete } = body.snapshot;
    expect(complete).toBe(true);
    expect(projects.map(({ id, role }: Json) => [id, role])).toEqual([
      [kitchen.id, 'owner'],
      [shared.id, 'viewer'],
    ]);
    expect(projects[0]).toEqual((await ada.get(`/projects/${kitchen.id}`)).body);
    expect(tasks[0]).toEqual(tiles);
    expect(tasks.map(({ title }: Json) => title)).toEqual(['Tiles', 'Seen']);
    const { body: list } = await ada.get(`/projects/${shared.id}/members`);
    expect(members.filter(({ project_id }: Json) => project_id === shared.id)).toEqual(
      list.items
        .map((member: Json) => ({ project_id: shared.id, ...member }))
        .sort((a: Json, b: Json) => (a.user_id < b.user_id ? -1 : 1)),
    );
    const { body: next } = await ada.get(`/changes?since=${body.next_cursor}`);
    expect(next.items).toEqual([]);
  });

  test('of a user without projects is one empty page', async () => {
    const { body } = await (await api.person()).get('/changes?snapshot=true&limit=1');
    expect(body.snapshot).toEqual({
      projects: [],
      members: [],
      tasks: [],
      comments: [],
      complete: true,
    });
  });

  test.each([1, 2, 3, 7, 200])('in pages of %d has each row once, in order', async (limit) => {
    const ada = await api.person('ada');
    const people = [await api.person('bob'), await api.person('cid')];
    for (let n = 0; n < 3; n += 1) {
      const { id } = await ada.createProject(`Project ${n}`);
      for (const one of people.slice(n)) await api.addMember(id, one, 'editor');
      // All of one statement have the same time of creation.
      const operations = Array.from({ length: n * 4 }, () => ({
        op: 'create',
        project_id: id,
        title: 'Tiles',
      }));
      if (n === 0) continue;
      const { body } = await ada.post('/tasks/batch', { operations });
      const [{ task }] = body.results;
      for (let text = 0; text < n; text += 1)
        await ada.post(`/tasks/${task.id}/comments`, { body: `Slate ${text}` });
      // A task that is later than the comments comes before them.
      await ada.createTask(id);
    }
    const copy = new Copy(ada, ada.id);
    await copy.readSnapshot(limit);
    expect(copy.projects).toEqual(await seenBy(ada));
    // 3 projects, 3 + 2 + 1 members, 14 tasks, 3 comments; a page that is full may be followed by an empty one.
    expect(copy.pages).toBe(Math.floor(26 / limit) + 1);
  });

  test('of some projects has these alone, and its changes go on with these alone', async () => {
    const ada = await api.person('ada');
    const [one, two] = [await ada.createProject('One'), await ada.createProject('Two')];
    await ada.createTask(two.id);
    const filter = `project_id=${one.id.toUpperCase()}`;
    const { body } = await ada.get(`/changes?snapshot=true&${filter}`);
    expect(body.snapshot.projects.map(({ id }: Json) => id)).toEqual([one.id]);
    expect(body.snapshot.tasks).toEqual([]);
    const seen = await ada.createTask(one.id);
    await ada.createTask(two.id);
    const { body: next } = await ada.get(`/changes?since=${body.next_cursor}&${filter}`);
    expect(next.items.map(({ subject_id }: Json) => subject_id)).toEqual([seen.id]);
    const refused = await ada.get(`/changes?since=${body.next_cursor}`);
    expect([refused.status, refused.body.code]).toEqual([422, 'invalid_cursor']);
  });

  test('on top of a cursor goes on from that cursor, with all projects', async () => {
    const ada = await api.person('ada');
    const [one, two] = [await ada.createProject('One'), await ada.createProject('Two')];
    const { body: start } = await ada.get('/changes');
    const first = await ada.createTask(two.id);
    await ada.createTask(one.id);
    const query = `project_id=${one.id}&limit=1`;
    let { body } = await ada.get(`/changes?snapshot=true&since=${start.next_cursor}&${query}`);
    while (!body.snapshot.complete)
      ({ body } = await ada.get(`/changes?since=${body.next_cursor}&${query}`));
    const { body: next } = await ada.get(`/changes?since=${body.next_cursor}`);
    expect(next.items.map(({ subject_id }: Json) => subject_id)[0]).toBe(first.id);
    expect(next.items.length).toBe(2);
  });
});

describe('a cursor in a snapshot', () => {
  const cursorOf = async (who: Persona, query = '') => {
    const project = await who.createProject();
    await who.createTask(project.id);
    const { body } = await who.get(`/changes?snapshot=true&limit=1${query}`);
    expect(body.snapshot.complete).toBe(false);
    return body.next_cursor as string;
  };
  const codeOf = async (who: Persona, query: string) => {
    const { status, body } = await who.get(`/changes?${query}`);
    return [status, body.code];
  };

  test('of another user, of other projects, or of no snapshot is refused', async () => {
    const [ada, bob] = [await api.person('ada'), await api.person('bob')];
    const cursor = await cursorOf(ada);
    const invalid = [422, 'invalid_cursor'];
    expect(await codeOf(bob, `since=${cursor}`)).toEqual(invalid);
    expect(await codeOf(bob, `since=${cursor}&snapshot=true`)).toEqual(invalid);
    const { id } = await ada.createProject();
    expect(await codeOf(ada, `since=${cursor}&project_id=${id}`)).toEqual(invalid);
    const stream = await ada.get(`/changes/stream?since=${cursor}`);
    expect([stream.status, stream.body.code]).toEqual(invalid);
    expect(await codeOf(ada, `since=${cursor}&snapshot=true`)).toEqual([200, undefined]);
  });

  test.each([
    ['no id', 4, 'x'],
    ['no time', 6, '2024-02-30T00:00:00.000Z'],
    ['no position', 2, -1],
    ['no kind of row', 8, 'member'],
  ])('with %s is refused', async (_, index, value) => {
    const ada = await api.person('ada');
    const parts = JSON.parse(atob(await cursorOf(ada)));
    parts[index] = value;
    const forged = btoa(JSON.stringify(parts)).replace(/=+$/, '');
    expect(await codeOf(ada, `since=${forged}`)).toEqual([422, 'invalid_cursor']);
  });

  test('has expired once the changes since the first page are no longer kept', async () => {
    const ada = await api.person('ada');
    const project = await ada.createProject();
    const cursor = await cursorOf(ada);
    await ada.createTask(project.id);
    await ada.get('/changes');
    await api.sql`update events set at = now() - interval '91 days' where project_id = ${project.id}`;
    await ada.createTask(project.id);
    expect(await codeOf(ada, `since=${cursor}`)).toEqual([410, 'cursor_expired']);
  });
});

/**
 * Between any two requests of a client there are writes: of tasks and projects that a page has passed, holds, or will come to.
 * They are moved, deleted, shared and taken away.
 */
test('a copy of a snapshot and the changes after it is exact, whatever is written in between', async () => {
  const rounds = casesOf(12, 150);
  for (let round = 0; round < rounds; round += 1) {
    const seed = Math.floor(Math.random() * 2 ** 31);
    const random = randomOf(seed);
    const pick = <T>(items: readonly T[]) => items[Math.floor(random() * items.length)] as T;
    const [ada, bob] = [await api.person('ada'), await api.person('bob')];
    const projects: string[] = [];
    const tasks: string[] = [];
    const comments: string[] = [];
    const write = async () => {
      const who = new Client(api as never, pick([ada, ada, bob]).token);
      const [project, task, kind] = [pick(projects), `/tasks/${pick(tasks)}`, random()];
      if (projects.length === 0 || kind < 0.06)
        projects.push((await who.post('/projects/', { name: `P ${kind}` })).body.id);
      else if (tasks.length === 0 || kind < 0.35) {
        const { body } = await who.post(`/tasks/projects/${project}`, { title: `T ${kind}` });
        if (body.id) tasks.push(body.id);
      } else if (kind < 0.5) await who.patch(task, { title: `Changed ${kind}` });
      else if (kind < 0.65) await who.patch(task, { project_id: project });
      else if (kind < 0.7) await who.delete(task);
      else if (kind < 0.79) {
        const { body } = await who.post(`${task}/comments`, { body: `C ${kind}` });
        if (body.id) comments.push(body.id);
      } else if (kind < 0.81 && comments.length > 0)
        await who.patch(`/comments/${pick(comments)}`, { body: `Edited ${kind}` });
      else if (kind < 0.83 && comments.length > 0) await who.delete(`/comments/${pick(comments)}`);
      else if (kind < 0.86) {
        const other = pick([ada, bob]);
        const role = pick(['editor', 'editor', 'viewer']);
        await who.post(`/projects/${project}/members`, { username: other.username, role });
      } else if (kind < 0.9)
        await who.patch(`/projects/${project}/members/${pick([ada, bob]).id}`, {
          role: pick(['editor', 'viewer', 'owner']),
        });
      else if (kind < 0.95) await who.delete(`/projects/${project}/members/${pick([ada, bob]).id}`);
      else if (kind < 0.98) await who.patch(`/projects/${project}`, { name: `Named ${kind}` });
      else await who.delete(`/projects/${project}`);
    };
    for (let n = 0; n < 30; n += 1) await write();
    let budget = 45;
    const copy = new Copy(ada, ada.id, async () => {
      for (let n = Math.floor(random() * 4); n > 0 && budget > 0; n -= 1) {
        budget -= 1;
        await write();
      }
    });
    const limit = pick([1, 2, 3, 7]);
    await copy.readSnapshot(limit);
    await copy.catchUp(limit);
    expect([seed, copy.projects]).toEqual([seed, await seenBy(ada)]);
  }
});
