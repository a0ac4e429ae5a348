/** `q` in titles, descriptions and comments: `in` says where it looks. */
import { beforeAll, describe, expect, test } from 'bun:test';
import { v7 as uuidv7 } from 'uuid';
import { type Persona, useApi } from '../support/api.ts';
import { casesOf } from '../support/generated.ts';

const api = useApi();

// biome-ignore lint/suspicious/noExplicitAny: answers are looked into freely.
type Json = any;

const titlesOf = ({ body }: { body: Json }) =>
  body.items.map(({ title }: Json) => title).sort() as string[];

async function say(who: Persona, taskId: string, ...texts: string[]) {
  for (const body of texts)
    expect((await who.post(`/tasks/${taskId}/comments`, { body })).status).toBe(201);
}

describe('a search', () => {
  let ada: Persona;
  let project: Json;

  beforeAll(async () => {
    ada = await api.person();
    project = await ada.createProject();
    const make = async (title: string, description: string | null, ...comments: string[]) => {
      const task = await ada.createTask(project.id, { title, description, labels: [title] });
      await say(ada, task.id, ...comments);
    };
    await make('tiles', 'slate', 'terracotta is warmer');
    await make('lamp', 'bright', 'slate would be dark', 'and cold');
    await make('slate', null, 'no');
    await make('paint', '青い壁', '白い壁がいい');
  });

  test.each([
    ['q=slate', ['slate', 'tiles']],
    ['q=slate&in=title,description', ['slate', 'tiles']],
    ['q=slate&in=title', ['slate']],
    ['q=slate&in=description', ['tiles']],
    ['q=slate&in=comments', ['lamp']],
    ['q=slate&in=comments,title', ['lamp', 'slate']],
    ['q=slate&in=description&in=comments&in=title', ['lamp', 'slate', 'tiles']],
    // Title and description together, or one comment.
    ['q=tiles slate&in=title,description,comments', ['tiles']],
    ['q=tiles slate&in=title,comments', []],
    ['q=tiles terracotta&in=title,description,comments', []],
    ['q=slate cold&in=comments', []],
    ['q=dark slat&in=comments', ['lamp']],
    // In scripts without spaces a run stands in one text.
    ['q=白い壁&in=comments', ['paint']],
    ['q=青い壁&in=comments', []],
    ['q=青い壁&in=description', ['paint']],
    ['q=青い壁&in=title', []],
    ['q=壁がい&in=title,description,comments', ['paint']],
    ['q=slate&in=comments&label=lamp', ['lamp']],
    ['q=slate&in=comments&label=tiles', []],
    ['q=slate&in=comments&label_all=lamp&status=todo', ['lamp']],
    ['q=slate&in=comments&label_not=lamp', []],
    ['q=slate&in=title,comments&label=,lamp', ['lamp']],
    ['q=slate&in=comments&status=done', []],
  ])('%s', async (query, wanted) => {
    for (const list of [`/tasks/projects/${project.id}`, '/tasks/'])
      expect(titlesOf(await ada.get(`${list}?${query}`))).toEqual(wanted);
    const { body: counted } = await ada.get(`/tasks/count?${query}`);
    expect(counted).toEqual({ count: wanted.length, more: false });
    const { body: exported } = await ada.get(`/projects/${project.id}/export?${query}`);
    expect(exported.tasks.map(({ title }: Json) => title).sort()).toEqual(wanted);
  });

  test.each([
    ['in=comments', 'contradiction'],
    ['q=x&in=labels', 'not_allowed'],
    ['q=x&in=title,title', 'repeated'],
    ['q=x&in=', 'not_allowed'],
  ])('with %s is refused', async (query, code) => {
    const { status, body } = await ada.get(`/tasks/?${query}`);
    expect([status, body.errors[0].location]).toEqual([422, 'query.in']);
    if (code === 'contradiction' || code === 'repeated') expect(body.errors[0].code).toBe(code);
  });

  test('follows edits and deletions, and finds nothing of projects that the user does not see', async () => {
    const [bob, task] = [await api.person(), await ada.createTask(project.id, { title: 'late' })];
    const find = async (who: Persona, q: string) =>
      titlesOf(await who.get(`/tasks/?q=${q}&in=comments`));
    const { body } = await ada.post(`/tasks/${task.id}/comments`, { body: 'marble' });
    expect([await find(ada, 'marble'), await find(bob, 'marble')]).toEqual([['late'], []]);
    await ada.patch(`/comments/${body.id}`, { body: 'granite' });
    expect([await find(ada, 'marble'), await find(ada, 'granite')]).toEqual([[], ['late']]);
    await ada.delete(`/comments/${body.id}`);
    expect(await find(ada, 'granite')).toEqual([]);
  });

  test('is paged, and its cursor belongs to where it looks', async () => {
    const other = await ada.createProject();
    for (let n = 0; n < 5; n += 1) {
      const task = await ada.createTask(other.id, { title: `paged ${n}` });
      await say(ada, task.id, 'basalt', 'basalt again');
    }
    const seen: string[] = [];
    for (let cursor = ''; ; ) {
      const { body } = await ada.get(`/tasks/?q=basalt&in=comments&sort=title&limit=2${cursor}`);
      seen.push(...body.items.map(({ title }: Json) => title));
      if (body.next_cursor === null) break;
      cursor = `&cursor=${body.next_cursor}`;
      expect((await ada.get(`/tasks/?q=basalt&in=title&sort=title&limit=2${cursor}`)).status).toBe(
        422,
      );
    }
    expect(seen).toEqual([0, 1, 2, 3, 4].map((n) => `paged ${n}`));
  });

  test('also filters the calendar', async () => {
    const place = await ada.createProject('Due');
    const task = await ada.createTask(place.id, { title: 'due', due_on: '2026-12-24' });
    await say(ada, task.id, 'porphyry');
    const calendar = async (query: string) =>
      (await ada.get(`/projects/${place.id}/calendar.ics?${query}`)).text;
    expect(await calendar('q=porphyry&in=comments')).toContain('SUMMARY:due');
    expect(await calendar('q=porphyry')).not.toContain('SUMMARY:due');
  });
});

const WORDS = ['oak', 'elm', 'ash', 'fir'];
const TEXTS = ['title', 'description', 'comments'] as const;

test('finds what a model finds, wherever it looks', async () => {
  const ada = await api.person();
  const projects = [await ada.createProject(), await ada.createProject()];
  const pick = <T>(items: readonly T[]) => items[Math.floor(Math.random() * items.length)] as T;
  const text = () => Array.from({ length: 1 + Math.floor(Math.random() * 2) }, () => pick(WORDS));
  const model: Record<string, { title: string[]; description: string[]; comments: string[][] }> =
    {};
  for (let n = 0; n < 40; n += 1) {
    const one = {
      title: text(),
      description: text(),
      comments: Array.from({ length: Math.floor(Math.random() * 3) }, text),
    };
    const task = await ada.createTask(pick(projects).id, {
      title: one.title.join(' '),
      description: one.description.join(' '),
    });
    await say(ada, task.id, ...one.comments.map((words) => words.join(' ')));
    model[task.id] = one;
  }
  for (let round = 0; round < casesOf(40, 300); round += 1) {
    const q = text();
    const places = TEXTS.filter(() => Math.random() < 0.6);
    const within = places.length === 0 ? ['comments'] : places;
    const wanted = Object.entries(model).filter(([, { title, description, comments }]) => {
      const own = [
        ...(within.includes('title') ? title : []),
        ...(within.includes('description') ? description : []),
      ];
      const texts = [own, ...(within.includes('comments') ? comments : [])];
      return texts.some((words) => q.every((word) => words.includes(word)));
    });
    const { body } = await ada.get(`/tasks/?limit=200&q=${q.join(' ')}&in=${within}&sort=title`);
    const found = body.items.map(({ id }: Json) => id).sort();
    expect([q, within, found]).toEqual([q, within, wanted.map(([id]) => id).sort()]);
  }
});

test('beyond what it walks, it finds the few there are in the index of words', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  const old = await ada.createTask(project.id, { title: 'old' });
  await say(ada, old.id, 'quartz');
  // More comments than a search walks, on newer tasks.
  await api.sql`with fresh as (
      insert into tasks (id, project_id, title, title_words, description_words, label_words, words_version, created_at)
      select gen_random_uuid(), ${project.id}, 'new', '', '', '', -1, now() + interval '1 hour' from generate_series(1, 10) returning id, project_id)
    insert into comments (id, project_id, task_id, body, words, words_version)
    select gen_random_uuid(), project_id, id, 'x', '', -1 from fresh, generate_series(1, 900)`;
  await api.sql`update tasks set comment_count = 900 where project_id = ${project.id} and title = 'new'`;
  for (const list of [`/tasks/projects/${project.id}`, '/tasks/'])
    expect(titlesOf(await ada.get(`${list}?q=quartz&in=title,description,comments`))).toEqual([
      'old',
    ]);
  expect((await ada.get(`/tasks/projects/${uuidv7()}?q=quartz&in=comments`)).status).toBe(404);
});

test('comments whose words another release wrote are found after the next start', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  const task = await ada.createTask(project.id, { title: 'stale' });
  await say(ada, task.id, 'obsidian');
  await api.sql`update comments set words = null, runs = null where task_id = ${task.id}`;
  const find = async () => titlesOf(await ada.get('/tasks/?q=obsidian&in=comments'));
  expect(await find()).toEqual([]);
  const { migrate } = await import('../../src/postgres/migrate.ts');
  await migrate(api.databaseUrl);
  expect(await find()).toEqual(['stale']);
});
