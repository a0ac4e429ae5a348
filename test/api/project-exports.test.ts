/** What is taken along: as JSON in `project-imports.test.ts` too, as CSV here. */
import { expect, test } from 'bun:test';
import { useApi } from '../support/api.ts';

const api = useApi();

async function kitchen() {
  const [ada, bob] = [await api.person('ada'), await api.person('bob')];
  const project = await ada.createProject();
  await api.addMember(project.id, bob, 'viewer');
  const path = `/projects/${project.id}/export`;
  return { ada, bob, project, path };
}

test('the JSON has one task a line, oldest first, usernames instead of ids, and nothing of other projects', async () => {
  const { ada, bob, project, path } = await kitchen();
  await ada.createTask((await ada.createProject('Other')).id, { title: 'Elsewhere' });
  const fields = { due_at: '2026-12-24T18:00:00+01:00', labels: ['a', 'b'], priority: 4 };
  const first = await ada.createTask(project.id, { assignee_id: bob.id, ...fields });
  await ada.createTask(project.id, { title: 'Lamp\n"bright"', status: 'done', description: '' });
  const { status, headers, text, body } = await bob.get(path);
  expect(status).toBe(200);
  expect(headers.get('content-type')).toBe('application/json; charset=utf-8');
  expect(headers.get('cache-control')).toBe('no-store');
  expect(headers.get('content-disposition')).toBe(
    `attachment; filename="mantou-project-${project.id}.json"`,
  );
  expect(text.split('\n').map((line) => line.slice(0, 9))).toEqual([
    '{"format"',
    '{"title":',
    '{"title":',
    '],"commen',
    ']}',
    '',
  ]);
  const plain = { ...first };
  for (const name of [
    'id',
    'project_id',
    'version',
    'assignee_id',
    'parent_id',
    'blocked_by',
    'comment_count',
  ])
    delete plain[name];
  expect(body).toEqual({
    format: 'mantou-project',
    format_version: 1,
    exported_at: expect.any(String),
    project: {
      name: 'Kitchen',
      description: null,
      archived_at: null,
      created_at: project.created_at,
      updated_at: project.updated_at,
      viewers_may_comment: false,
    },
    comments: [],
    tasks: [
      { ...plain, assignee: bob.username, created_by: ada.username },
      expect.objectContaining({ title: 'Lamp\n"bright"', description: '', assignee: null }),
    ],
  });
});

test('a project without tasks exports a valid document and table', async () => {
  const { ada, path } = await kitchen();
  expect((await ada.get(path)).body.tasks).toEqual([]);
  expect((await ada.get(`${path}?format=csv`)).text).toBe(
    `"${columns.replaceAll(',', '","')}"\r\n`,
  );
});

test('each task appears once over many pages, even when all have one created_at', async () => {
  const { ada, project, path } = await kitchen();
  await api.sql`insert into tasks (id, project_id, title, title_key)
    select gen_random_uuid(), ${project.id}, n::text, n::text from generate_series(1, 1001) n`;
  const titles = (await ada.get(path)).body.tasks.map(({ title }: { title: string }) => title);
  expect(new Set(titles).size).toBe(1001);
  expect(titles.length).toBe(1001);
  const lines = (await ada.get(`${path}?format=csv`)).text.split('\r\n');
  expect(lines.length).toBe(1003);
});

const columns =
  'id,title,description,status,priority,due_at,due_on,assignee,labels,completed_at,created_at,updated_at,created_by,parent_id,blocked_by';

/** RFC 4180, read by the letter. */
function readCsv(text: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  for (const [, quoted, plain = '', end] of text.matchAll(
    /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n|$)/g,
  )) {
    row.push(quoted?.replaceAll('""', '"') ?? plain);
    if (end === ',') continue;
    rows.push(row);
    row = [];
  }
  return rows.slice(0, -1);
}

const nasty = [
  '=HYPERLINK("http://evil.example","x")',
  '+1',
  '-1+1',
  '@SUM(A1)',
  '\t=1',
  '\r=1',
  '\n=1',
  '＝1+1',
  '＠x',
  "'=1",
  "'quoted'",
  'a "b", c\r\nd\ne',
  ' =1',
  'Grüße 🍞',
];

test('the CSV has a header, CRLF, any text, and no cell that a spreadsheet runs as a formula', async () => {
  const { ada, project, path } = await kitchen();
  const made = [];
  for (const text of nasty)
    made.push(
      await ada.createTask(project.id, {
        title: `${text}x`,
        description: text,
        labels: [text.replaceAll(',', '').slice(0, 40), 'b'],
        assignee_id: ada.id,
        priority: 2,
      }),
    );
  const { text, headers } = await ada.get(`${path}?format=csv`);
  expect(headers.get('content-type')).toBe('text/csv; charset=utf-8');
  expect(headers.get('content-disposition')).toContain(`mantou-project-${project.id}.csv"`);
  const [header, ...rows] = readCsv(text);
  expect(header?.join(',')).toBe(columns);
  expect(rows.length).toBe(nasty.length);
  /** Of its own words: one apostrophe at the beginning goes. */
  const undone = (cell = '') => cell.replace(/^'/, '');
  for (const [index, row] of rows.entries()) {
    const task = made[index];
    for (const cell of row) expect(cell).not.toMatch(/^[=+\-@\t\r\n＝＋－＠]/);
    expect(row[0]).toBe(task.id);
    expect([undone(row[1]), undone(row[2]), undone(row[8])]).toEqual([
      task.title,
      task.description,
      task.labels.join(','),
    ]);
    expect([row[3], row[4], row[5], row[6], row[7], row[12]]).toEqual([
      'todo',
      '2',
      '',
      '',
      ada.username,
      ada.username,
    ]);
  }
});

test('an export takes the filters of the lists, and its JSON can be imported', async () => {
  const { ada, project, path } = await kitchen();
  const [one] = [
    await ada.createTask(project.id, { title: 'Grout', labels: ['a'], due_on: '2026-12-24' }),
    await ada.createTask(project.id, { title: 'Grout', status: 'done', labels: ['a'] }),
    await ada.createTask(project.id, { title: 'Grout', labels: ['b'] }),
  ];
  const query = 'label=a&status=todo&q=grout&due_before=2026-12-25&assignee_id=none';
  const { status, body, text } = await ada.get(`${path}?${query}`);
  expect([status, body.tasks.length, body.tasks[0].due_on]).toEqual([200, 1, '2026-12-24']);
  const imported = await ada.request('POST', '/projects/import', undefined, {
    raw: text,
    headers: { 'content-type': 'application/json' },
  });
  expect([imported.status, imported.body.tasks]).toEqual([201, 1]);
  const [, ...rows] = readCsv((await ada.get(`${path}?format=csv&${query}`)).text);
  expect(rows.map(([id]) => id)).toEqual([one.id]);
  for (const bad of ['label=!a', 'sort=title', 'due=none&due_from=2026-12-24', 'project_id=x']) {
    const refused = await ada.get(`${path}?${bad}`);
    expect([refused.status, refused.body.code]).toEqual([422, 'validation_failed']);
  }
});

test('a user who is not a member gets 404; an unknown format gets 422', async () => {
  const { project, path, ada } = await kitchen();
  const eve = await api.person();
  for (const query of ['', '?format=csv']) {
    const { status, body } = await eve.get(path + query);
    expect([status, body.code]).toEqual([404, 'not_found']);
  }
  expect((await ada.get(path.replace(project.id, 'x'))).status).toBe(404);
  const { status, body } = await ada.get(`${path}?format=xml`);
  expect([status, body.errors[0].location]).toEqual([422, 'query.format']);
});

test('an export is cut off when the user loses access during the download', async () => {
  const { ada, bob, project, path } = await kitchen();
  // More than the buffers on the way take.
  await api.sql`insert into tasks (id, project_id, title, description)
    select gen_random_uuid(), ${project.id}, n::text, repeat('x', 20000) from generate_series(1, 2000) n`;
  const answer = await fetch(api.url + path, { headers: { authorization: `Bearer ${bob.token}` } });
  const reader = answer.body?.getReader();
  await reader?.read();
  await ada.delete(`/projects/${project.id}/members/${bob.id}`);
  const rest = async () => {
    for (let piece = await reader?.read(); !piece?.done; piece = await reader?.read());
  };
  await expect(rest()).rejects.toThrow();
  expect(api.log.filter(({ event }) => event === 'export_cut')).toMatchObject([
    { level: 'error', fields: { user_id: bob.id } },
  ]);
});

test.each([
  ['text/csv', '', 'text/csv'],
  ['text/csv;q=0.5, application/json;q=0.4', '', 'text/csv'],
  ['text/*, application/json;q=0.9', '', 'text/csv'],
  ['text/csv;q=0.4, application/json', '', 'application/json'],
  ['*/*', '', 'application/json'],
  ['image/png', '', 'application/json'],
  ['text/csv', '?format=json', 'application/json'],
  ['application/json', '?format=csv', 'text/csv'],
])('Accept: %s with "%s" gets %s', async (accept, query, expected) => {
  const ada = await api.person();
  const project = await ada.createProject();
  const { headers } = await ada.get(`/projects/${project.id}/export${query}`, {
    headers: { accept },
  });
  expect(headers.get('content-type')).toBe(`${expected}; charset=utf-8`);
  expect(headers.get('content-disposition')).toEndWith(
    expected === 'text/csv' ? '.csv"' : '.json"',
  );
});
