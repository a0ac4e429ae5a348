/** What `q` finds, in any language. */
import { describe, expect, test } from 'bun:test';
import { SQL } from 'bun';
import { fold, tokenize } from '../../src/lib/tokenizer.ts';
import { migrate } from '../../src/postgres/migrate.ts';
import { useApi } from '../support/api.ts';

const api = useApi();

/** Whether a task of this title is found, in its project and among all. */
async function finds(title: string, q: string, description?: string): Promise<boolean> {
  const ada = await api.person();
  const project = await ada.createProject();
  const task = await ada.createTask(project.id, { title, description });
  const asked = `q=${encodeURIComponent(q)}`;
  const [here, all] = [
    (await ada.get(`/tasks/projects/${project.id}?${asked}`)).body,
    (await ada.get(`/tasks?${asked}`)).body,
  ];
  expect(here).toEqual(all);
  expect([[], [task]]).toContainEqual(here.items);
  return here.items.length === 1;
}

describe('search finds', () => {
  test.each([
    ['Choose the tiles', 'tiles'],
    ['Choose the tiles', 'tiles choose'],
    ['I ❤ tea', '❤️'],
    ['I ❤️ tea', '❤'],
    ['T\u00fcr\u00adgriff', 'Türgriff'],
    ['Türgriff', 'Tür\u00adgriff'],
    ['می\u200cخواهم', 'میخواهم'],
    ['میخواهم', 'می\u200cخواهم'],
    ['葛\u{e0100}城市役所', '葛城市'],
    ['葛城市役所', '葛\u{e0100}城市'],
    ['wo\u2060rd', 'word'],
    ['\ufeffbegins', 'begins'],
    ['two\u200bwords', 'words'],
    ['Choose the tiles', 'choose ti'],
    ['Crème brûlée', 'creme BRULEE'],
    ['creme brulee', 'Crème brûlée'],
    ['Cre\u0301me', 'Crème'],
    ['STRASSE', 'straße'],
    ['Straße', 'strasse'],
    ['Łódź', 'lodz'],
    ['Øresund', 'oresund'],
    ['İstanbul ışık', 'istanbul isik'],
    ['ΟΔΟΣ', 'οδός'],
    ['Ёлка', 'елка'],
    ['ПРИВЕТ', 'привет'],
    ['שָׁלוֹם', 'שלום'],
    ['مُحَمَّد', 'محمد'],
    ['हिन्दी में काम', 'हिन्दी'],
    ['한국어 공부', '한국'],
    ['买任务管理器', '任务'],
    ['买任务管理器', '务管理'],
    ['买任务管理器', '器'],
    ['买任务管理器', '任务 管理'],
    ['東京タワー見学', 'タワー'],
    ['ﾀﾜｰ', 'タワー'],
    ['การจัดการงาน', 'จัดการ'],
    ['ສະບາຍດີ', 'ບາຍ'],
    ['សួស្តីពិភពលោក', 'ពិភព'],
    ['iPhone手机壳', 'iphone 手机'],
    ['Ｆｕｌｌ width', 'full'],
    ['ﬁne print', 'fine'],
    ['Ship 🚀 today', '🚀'],
    ['C++ or C#', 'c++'],
    ['node.js 22', 'node.js'],
    ['mail ada@example.org', 'example.org'],
    ["it's l'eau", 'eau'],
    ['version 2.10', '2.1'],
    ['a & b | !c:* (d)', 'a & b | !c:*'],
    ['a:b', 'a:*b'],
    ["Robert'); drop table tasks;--", "robert'); drop"],
    ['back\\slash', 'back\\sl'],
    ['under_score', 'score'],
    [`e${'\u0301\u0323'.repeat(200)}`, 'e'],
    ['x'.repeat(300), 'x'.repeat(200)],
  ])('%s by %s', async (title, q) => {
    expect(await finds(title, q)).toBe(true);
  });
});

describe('search does not find', () => {
  test.each([
    ['Choose the tiles', 'iles'],
    ['Choose the tiles', 'tile choose'],
    ['Choose the tiles', 'tiles floor'],
    ['कि', 'का'],
    ['买任务管理器', '任管'],
    ['中国的人', '中国人'],
    ['中国，国人', '中国人'],
    ['か', 'が'],
    ['Ship today', '🚀'],
    ['C or D', 'c++'],
  ])('%s by %s', async (title, q) => {
    expect(await finds(title, q)).toBe(false);
  });
});

test('words match in the title and in the description', async () => {
  expect(await finds('Tiles', 'tiles slate', 'Slate or terracotta?')).toBe(true);
  expect(await finds('任务', '管理', '任务的管理')).toBe(true);
});

test('search follows each write', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  const { id } = await ada.createTask(project.id, { title: 'Tiles', description: 'slate' });
  const found = async (q: string) => (await ada.get(`/tasks?q=${q}`)).body.items.length === 1;
  await ada.patch(`/tasks/${id}`, { title: 'Floor' });
  expect([await found('tiles'), await found('floor'), await found('slate')]).toEqual([
    false,
    true,
    true,
  ]);
  await ada.patch(`/tasks/${id}`, { description: null });
  expect([await found('floor'), await found('slate')]).toEqual([true, false]);
  await ada.put(`/tasks/${id}`, { title: 'Wall', description: 'oak' });
  expect([await found('floor'), await found('wall'), await found('oak')]).toEqual([
    false,
    true,
    true,
  ]);
});

test.each([
  'Paint WALL 17',
  'a_b-c.d, (e) [f] {g} "h"',
  '$5 + 3 = 8 < 9 ^ `x` ~ |y|',
  'tab\tand\nline, \0 and \x7f',
  'x'.repeat(300),
])('%j has the words that it has in a text with other letters', (text) => {
  const [alone, beside] = [tokenize(text), tokenize(`${text} \u00f1and\u00fa`)];
  expect(alone.words.size).toBeGreaterThan(0);
  expect([...alone.words, 'nandu'].sort()).toEqual([...beside.words].sort());
  expect(`${fold(text)} nandu`).toBe(fold(`${text} \u00f1and\u00fa`));
  expect(alone.runs).toBe('');
});

test('the longest texts in rare scripts can be stored and found', async () => {
  const random = (n: number) => String.fromCodePoint(0x20000 + ((n * 7919) % 40_000));
  const texts = [
    Array.from({ length: 20_000 }, (_, n) => random(n)).join(''),
    Array.from({ length: 10_000 }, (_, n) => `${random(n)} `).join(''),
    '\ufdfa'.repeat(20_000),
    '㍿'.repeat(20_000),
    `a${'\u0f71\u0f72'.repeat(9_999)}`,
    'ﾞﾟ'.repeat(10_000),
    `${'x'.repeat(19_990)} end`,
  ];
  for (const description of texts) expect(await finds('Long', 'long', description)).toBe(true);
  expect(await finds('Long', random(19_998) + random(19_999), texts[0])).toBe(true);
  expect(await finds('Long', 'end', texts.at(-1))).toBe(true);
});

test('rows that a version without search wrote are searchable after the next start', async () => {
  const ada = await api.person();
  const project = await ada.createProject('Küche');
  const whole = { title: 'Crème', description: '任务管理', labels: ["it's", 'a b'] };
  const task = await ada.createTask(project.id, whole);
  const sql = new SQL({ url: api.databaseUrl, max: 1 });
  const kept =
    () => sql`select title_key, title_words::text, tasks.description_words::text, label_words::text,
    name_key, name_words::text, projects.description_words::text as project_words, tasks.version, projects.version as of_project
    from tasks join projects on projects.id = project_id where tasks.id = ${task.id}`;
  const before = await kept();
  await sql`update tasks set title_key = '', title_words = null, description_words = null, label_words = null`;
  await sql`update projects set name_key = '', name_words = null, description_words = null`;
  expect((await ada.get('/tasks?q=creme')).body.items).toEqual([]);
  await migrate(api.databaseUrl);
  expect(await kept()).toEqual(before);
  expect((await ada.get('/tasks?q=creme 务管&label=a b')).body.items).toEqual([task]);
  expect((await ada.get('/projects?q=kuche')).body.items).toHaveLength(1);
  await sql.close();
});

describe('titles sort as they are read', () => {
  test.each([
    ['numbers by their value', ['Task 2', 'Task 10', 'Task 010b', 'Task 100', 'Task a']],
    ['digits of any script', ['Task ٢', 'Task 9', 'Task ١٠', 'Task 11']],
    ['invisible characters nowhere', ['\u200bAda', '\ufeffBob', '\u00adCid', 'Dan']],
    ['numbers before letters, after spaces', ['a', 'a 1', 'a1', 'a1b', 'a12', 'ab']],
    ['numbers longer than eight digits', ['n 99999999', 'n 100000000', `n ${'9'.repeat(30)}`]],
  ])('%s', async (_, titles) => {
    const ada = await api.person();
    const project = await ada.createProject();
    for (const title of titles.toReversed()) await ada.createTask(project.id, { title });
    const walked: string[] = [];
    for (let cursor = ''; ; ) {
      const { body } = await ada.get(`/tasks/projects/${project.id}?sort=title&limit=2${cursor}`);
      walked.push(...body.items.map(({ title }: { title: string }) => title));
      if (body.next_cursor === null) break;
      cursor = `&cursor=${body.next_cursor}`;
    }
    expect(walked).toEqual(titles);
  });
});

test('a search walks the newest tasks, and finds what is older by the index of words', async () => {
  const ada = await api.person();
  const project = await ada.createProject();
  const old = await ada.createTask(project.id, { title: 'needle', labels: ['rare'] });
  await api.sql`
    insert into tasks (id, project_id, title, title_key, title_words, description_words, label_words, title_runs,
      description_runs, words_version)
    select gen_random_uuid(), ${project.id}, 'hay', 'hay', '', '', '', '', '', -1 from generate_series(1, 8100)`;
  for (const query of ['q=needle', 'label=rare', 'q=need&label_all=rare&sort=-updated_at']) {
    for (const path of ['/tasks', `/tasks/projects/${project.id}`]) {
      const { body } = await ada.get(`${path}?${query}`);
      expect(body.items.map(({ id }: { id: string }) => id)).toEqual([old.id]);
    }
  }
});
