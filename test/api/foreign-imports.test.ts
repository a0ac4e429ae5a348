/** Documents of other programs: what becomes of each field, what the report says, and what is refused with its line. */
import { describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { type Answer, type Persona, useApi } from '../support/api.ts';
import { casesOf } from '../support/generated.ts';

const api = useApi();

const types = {
  icalendar: 'text/calendar',
  csv: 'text/csv',
  text: 'text/plain',
  json: 'application/json',
};
type Kind = keyof typeof types;

const samples = join(import.meta.dir, '../importers/samples');
const sample = (name: string) => readFileSync(join(samples, name), 'utf8');

const send = (
  who: Persona,
  kind: Kind,
  raw: string | Uint8Array<ArrayBuffer>,
  query = '',
  headers: Record<string, string> = {},
): Promise<Answer> =>
  who.post(`/projects/import${query}`, undefined, {
    raw,
    headers: { 'content-type': types[kind], ...headers },
  });

const FIELDS = [
  'title',
  'description',
  'status',
  'priority',
  'due_at',
  'due_on',
  'labels',
] as const;

/** Imports the document. @returns its tasks in the order of their ids, by project, and the notes of the report. */
async function imported(kind: Kind, text: string, query = '', who?: Persona) {
  const ada = who ?? (await api.person());
  const { status, body, text: answer } = await send(ada, kind, text, query);
  expect([status, status === 201 ? '' : answer]).toEqual([201, '']);
  expect(body.projects[0]).toEqual(body.project);
  expect(body.report.tasks).toBe(body.tasks);
  // biome-ignore lint/suspicious/noExplicitAny: tests look into JSON freely.
  const tasks: any[] = [];
  for (const { id, name } of body.projects) {
    const { items } = (await ada.get(`/tasks/projects/${id}?sort=created_at&limit=200`)).body;
    for (const task of items) tasks.push({ ...task, project: name });
  }
  tasks.sort((one, other) => (one.id < other.id ? -1 : 1));
  // biome-ignore lint/suspicious/noExplicitAny: the same.
  const notes = body.report.notes.map(({ line, code, field, value }: any) => [
    line,
    code,
    field,
    value,
  ]);
  return { ada, body, report: body.report, tasks, notes };
}

/** The fields of a task that a document tells, without those that have their defaults. */
// biome-ignore lint/suspicious/noExplicitAny: the same.
const told = (task: any) => {
  const unset = { description: null, status: 'todo', priority: 0, due_at: null, due_on: null };
  const entries = FIELDS.map((name) => [name, task[name]]);
  return Object.fromEntries(
    entries.filter(
      ([name, value]) =>
        value !== unset[name as keyof typeof unset] && !(name === 'labels' && value.length === 0),
    ),
  );
};

/** The title of each task with a parent or blockers, and theirs. */
// biome-ignore lint/suspicious/noExplicitAny: rows are read as they come.
const relationsOf = (tasks: any[]) => {
  const titleOf = (id: string | null) => tasks.find((task) => task.id === id)?.title ?? null;
  return tasks
    .filter(({ parent_id, blocked_by }) => parent_id !== null || blocked_by.length > 0)
    .map(({ title, parent_id, blocked_by }) => [
      title,
      titleOf(parent_id),
      blocked_by.map(titleOf),
    ]);
};

async function rows(): Promise<Record<string, number>> {
  const [{ hidden }] =
    await api.sql`select count(*)::int as hidden from project_members where importing_since is not null`;
  return { ...(await api.countRows()), hidden };
}

/** Sends what is refused. @returns the status, and where and why. */
async function refused(kind: Kind, text: string | Uint8Array<ArrayBuffer>, query = '') {
  const ada = await api.person();
  const before = await rows();
  const { status, body } = await send(ada, kind, text, query);
  expect(await rows()).toEqual(before);
  const [error] = body.errors ?? [];
  return [status, body.code, error?.location ?? body.detail, error?.message];
}

const calendar = (...lines: string[]) =>
  ['BEGIN:VCALENDAR', 'VERSION:2.0', ...lines, 'END:VCALENDAR', ''].join('\r\n');
const todo = (...lines: string[]) => calendar('BEGIN:VTODO', ...lines, 'END:VTODO');

// --- iCalendar -----------------------------------------------------------------------------------------------------

describe('iCalendar', () => {
  test.each([
    [
      'thunderbird/put-completed-task.ics',
      {
        title: 'TB task, mit Komma; ü',
        description: 'one\ntwo',
        status: 'done',
        priority: 4,
        due_at: '2026-12-24T17:00:00.000Z',
        labels: ['a', 'b c'],
      },
      [[197, 'label_changed', 'labels', 'b,c']],
    ],
    [
      'thunderbird/put-new-task.ics',
      {
        title: 'TB task, mit Komma; ü',
        description: 'one\ntwo',
        priority: 4,
        due_at: '2026-12-24T17:00:00.000Z',
        labels: ['a', 'b c'],
      },
      [[197, 'label_changed', 'labels', 'b,c']],
    ],
    [
      'todoman/3bc56ef821f5407ca05def1531fd5933@vm.ics',
      { title: 'Neue Aufgabe, mit Komma; ü', priority: 3, due_at: '2026-12-30T10:00:00.000Z' },
      [],
    ],
    [
      'todoman/b4bf52e1eda24c1ca004e347db40e045@vm.ics',
      { title: 'all day?', due_on: '2026-12-31' },
      [],
    ],
    ['todoman/p4.ics', { title: 'p4', status: 'cancelled', priority: 3 }, []],
    [
      'todoman/rt-before.ics',
      {
        title: 'round trip',
        description:
          'one\ntwo\n\nURL: https://example.org/x\n\nAttachment: https://example.org/a.pdf\n\nStart: 2026-12-20',
        priority: 2,
        due_at: '2026-12-24T11:00:00.000Z',
        labels: ['a', 'b'],
      },
      [
        [4, 'moved_to_description', 'URL', 'URL: https://example.org/x'],
        [4, 'moved_to_description', 'ATTACH', 'Attachment: https://example.org/a.pdf'],
        [4, 'moved_to_description', 'DTSTART', 'Start: 2026-12-20'],
        [4, 'field_left_out', 'PERCENT-COMPLETE', '30'],
        [4, 'recurrence_left_out', 'RRULE', 'FREQ=WEEKLY;BYDAY=TH'],
        [4, 'reminder_left_out', 'VALARM', 'TRIGGER:-PT15M'],
        [4, 'field_left_out', 'X-CUSTOM, GEO', null],
        [4, 'parent_left_out', 'parent', 'parent-uid'],
      ],
    ],
  ] as const)('%s', async (file, task, expected) => {
    const { tasks, notes, body } = await imported('icalendar', sample(file));
    expect(tasks.map(told)).toEqual([task]);
    expect(notes).toEqual([...expected] as unknown[]);
    expect([body.project.name, body.report.format]).toEqual(['Calendar', 'icalendar']);
  });

  test('times of completion, creation and change are kept', async () => {
    const { tasks, ada } = await imported('icalendar', sample('todoman/rt.ics'));
    expect(tasks).toMatchObject([
      {
        status: 'done',
        completed_at: '2026-11-28T18:01:33.000Z',
        created_at: '2026-01-01T00:00:00.000Z',
        updated_at: '2026-11-28T18:01:33.000Z',
        created_by: ada.id,
        version: 1,
      },
    ]);
  });

  test.each([
    ['DUE:20261224T120000Z', { due_at: '2026-12-24T12:00:00.000Z' }],
    ['DUE;VALUE=DATE-TIME:20261224T120000Z', { due_at: '2026-12-24T12:00:00.000Z' }],
    ['DUE;VALUE=DATE:20261224', { due_on: '2026-12-24' }],
    ['DUE:20261224', { due_on: '2026-12-24' }],
    ['DUE;TZID=Europe/Berlin:20261224T120000', { due_at: '2026-12-24T11:00:00.000Z' }],
    [
      'DUE;TZID=/freeassociation.sourceforge.net/Europe/Berlin:20260701T120000',
      { due_at: '2026-07-01T10:00:00.000Z' },
    ],
    ['DUE:20261224T120000', { due_at: '2026-12-24T17:00:00.000Z' }],
    ['DUE;VALUE=DATE-TIME:20261224T120000', { due_at: '2026-12-24T17:00:00.000Z' }],
    // The clock skips it; it shows it twice.
    ['DUE:20260308T023000', { due_at: '2026-03-08T07:30:00.000Z' }],
    ['DUE:20261101T013000', { due_at: '2026-11-01T05:30:00.000Z' }],
    ['DTSTART:20261224T120000Z\r\nDURATION:PT90M', { due_at: '2026-12-24T13:30:00.000Z' }],
    ['DTSTART;VALUE=DATE:20261224\r\nDURATION:P2D', { due_on: '2026-12-26' }],
    ['DUE:20261224T235960Z', { due_at: '2026-12-24T23:59:59.000Z' }],
  ])('%s', async (due, expected) => {
    const { tasks, notes } = await imported(
      'icalendar',
      todo('SUMMARY:x', due),
      '?time_zone=America/New_York',
    );
    expect(told(tasks[0])).toEqual({ title: 'x', ...expected });
    expect(notes).toEqual([]);
  });

  test.each([
    'DUE:20260230T120000Z',
    'DUE:00010101T000000Z',
    'DUE:19691231T235959Z',
    'DUE:tomorrow',
    'DUE;VALUE=DATE:20261350',
    'DUE:',
  ])('%s is left out', async (due) => {
    const { tasks, notes } = await imported('icalendar', todo('SUMMARY:x', due));
    expect(told(tasks[0])).toEqual({ title: 'x' });
    expect(notes).toMatchObject([[3, 'date_left_out', 'DUE', expect.any(String)]]);
  });

  test.each([
    ['', 'todo'],
    ['STATUS:NEEDS-ACTION', 'todo'],
    ['STATUS:IN-PROCESS', 'in_progress'],
    ['STATUS:CANCELLED', 'cancelled'],
    ['STATUS:COMPLETED', 'done'],
    ['COMPLETED:20261128T180000Z', 'done'],
    ['PERCENT-COMPLETE:100', 'done'],
    ['STATUS:NEEDS-ACTION\r\nPERCENT-COMPLETE:0', 'todo'],
  ])('%s is %s', async (line, status) => {
    const changed = 'LAST-MODIFIED:20261127T180000Z';
    const { tasks, notes } = await imported('icalendar', todo('SUMMARY:x', line, changed));
    expect(tasks[0].status).toBe(status);
    const isAssumed = status === 'done' && !line.startsWith('COMPLETED');
    if (isAssumed) expect(tasks[0].completed_at).toBe('2026-11-27T18:00:00.000Z');
    expect(notes.length).toBe(isAssumed ? 1 : 0);
  });

  test('1 is urgent, 2 to 4 are high, 5 is medium, 6 to 9 are low', async () => {
    const lines = Array.from({ length: 11 }, (_, n) => [
      'BEGIN:VTODO',
      `SUMMARY:${n}`,
      `PRIORITY:${n}`,
      'END:VTODO',
    ]);
    const { tasks, notes } = await imported('icalendar', calendar(...lines.flat()));
    expect(tasks.map(({ priority }) => priority)).toEqual([0, 4, 3, 3, 3, 2, 1, 1, 1, 1, 0]);
    expect(notes).toEqual([[43, 'priority_changed', 'PRIORITY', '10']]);
  });

  test('text is unescaped in one pass, and lines are unfolded', async () => {
    const { tasks } = await imported(
      'icalendar',
      todo(
        'SUMMARY:folded ov',
        ' er lines\\, twice',
        String.raw`DESCRIPTION:C:\\new\nline\; end`,
        'CATEGORIES:a,b',
        String.raw`CATEGORIES:c\;d`,
      ),
    );
    expect(told(tasks[0])).toEqual({
      title: 'folded over lines, twice',
      description: 'C:\\new\nline; end',
      labels: ['a', 'b', 'c;d'],
    });
  });

  test('what is no task, a changed occurrence and a repeated UID are left out', async () => {
    const { tasks, notes, report } = await imported(
      'icalendar',
      calendar(
        ...['BEGIN:VEVENT', 'SUMMARY:party', 'END:VEVENT'],
        ...['BEGIN:VTODO', 'UID:1', 'SUMMARY:first', 'END:VTODO'],
        ...['BEGIN:VTODO', 'UID:1', 'RECURRENCE-ID:20260101T000000Z', 'SUMMARY:once', 'END:VTODO'],
        ...['BEGIN:VTODO', 'UID:1', 'SUMMARY:again', 'END:VTODO'],
        ...['BEGIN:VTODO', 'SUMMARY:no UID', 'END:VTODO'],
        ...['BEGIN:VTODO', 'SUMMARY:no UID', 'END:VTODO'],
        ...['BEGIN:VTODO', 'END:VTODO'],
      ),
    );
    expect(tasks.map(({ title }) => title)).toEqual(['first', 'no UID', 'no UID', 'Untitled']);
    expect(notes).toEqual([
      [3, 'item_left_out', 'VEVENT', 'party'],
      [10, 'item_left_out', 'RECURRENCE-ID', 'once'],
      [15, 'item_repeated', 'UID', '1'],
      [25, 'title_missing', 'title', null],
    ]);
    expect([report.left_out, report.notes[0].item, report.notes[3].item]).toEqual([3, 0, 6]);
  });

  const zone = (tzid: string, rule: string) => [
    'BEGIN:VTIMEZONE',
    `TZID:${tzid}`,
    ...['BEGIN:STANDARD', 'DTSTART:16011028T030000', rule],
    ...['TZOFFSETFROM:+054500', 'TZOFFSETTO:+044500', 'END:STANDARD'],
    ...['BEGIN:DAYLIGHT', 'DTSTART:16010325T020000', 'RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3'],
    ...['TZOFFSETFROM:+044500', 'TZOFFSETTO:+0545', 'END:DAYLIGHT'],
    'END:VTIMEZONE',
  ];
  const inZone = (tzid: string, rule: string) =>
    calendar(
      ...zone(tzid, rule),
      ...['BEGIN:VTODO', 'SUMMARY:x', `DUE;TZID=${tzid}:20261224T120000`, 'END:VTODO'],
      ...['BEGIN:VTODO', 'SUMMARY:y', `DUE;TZID=${tzid}:20260701T120000`, 'END:VTODO'],
    );

  test('a time zone that only the document knows is taken from its definition, with odd offsets', async () => {
    const text = inZone('W. Mine Standard Time', 'RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10');
    const { tasks, notes } = await imported('icalendar', text);
    expect(tasks.map(({ due_at }) => due_at)).toEqual([
      '2026-12-24T07:15:00.000Z',
      '2026-07-01T06:15:00.000Z',
    ]);
    expect(notes).toEqual([]);
  });

  test.each([
    ['19700101T120000', '1970-01-01T07:15:00.000Z'],
    ['20990701T120000', '2099-07-01T06:15:00.000Z'],
    ['21000701T120000', '2100-07-01T06:15:00.000Z'],
    ['99991231T000000', '9999-12-30T19:15:00.000Z'],
  ])('its rules hold for %s', async (due, at) => {
    const text = inZone('Mine', 'RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10');
    const { tasks } = await imported('icalendar', text.replace('20261224T120000', due));
    expect(tasks[0].due_at).toBe(at);
  });

  test.each([
    'RRULE:FREQ=MONTHLY;BYDAY=1SU;COUNT=2',
    'RRULE:FREQ=YEARLY;BYMONTH=3;BYMONTHDAY=15',
    'RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=2SU,3SU',
    'RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU;COUNT=3',
  ])('a definition with %s is not followed, and the report says so', async (rule) => {
    const { tasks, notes } = await imported('icalendar', inZone('Mine', rule));
    expect(tasks[0].due_at).toBe('2026-12-24T12:00:00.000Z');
    expect(notes[0]).toEqual([18, 'time_zone_unknown', 'DUE', 'Mine']);
  });

  test('a definition with more rules than a zone has is not followed', async () => {
    const rule = 'RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10';
    const { notes } = await imported('icalendar', inZone('Mine', `${rule}\r\n`.repeat(4).trim()));
    expect(notes[0]).toEqual([21, 'time_zone_unknown', 'DUE', 'Mine']);
  });

  test('a time zone without a definition is unknown', async () => {
    const { notes } = await imported(
      'icalendar',
      todo('SUMMARY:x', 'DUE;TZID=Pacific Standard Time:20261224T120000'),
    );
    expect(notes).toEqual([[3, 'time_zone_unknown', 'DUE', 'Pacific Standard Time']]);
  });

  test.each(['RDATE:garbage', 'RDATE;VALUE=PERIOD:x/y', 'RDATE;VALUE=TEXT:FREQ=DAILY'])(
    'a time zone is unknown where its definition has %s',
    async (line) => {
      const zone = [
        ...['BEGIN:VTIMEZONE', 'TZID:Odd', 'BEGIN:STANDARD', 'DTSTART:20000101T000000'],
        ...['TZOFFSETFROM:+0100', 'TZOFFSETTO:+0200', line, 'END:STANDARD', 'END:VTIMEZONE'],
      ];
      const task = ['BEGIN:VTODO', 'SUMMARY:x', 'DUE;TZID=Odd:20261224T170000', 'END:VTODO'];
      const { tasks, notes } = await imported('icalendar', calendar(...zone, ...task));
      expect(tasks[0].due_at).toBe('2026-12-24T17:00:00.000Z');
      expect(notes).toEqual([[12, 'time_zone_unknown', 'DUE', 'Odd']]);
    },
  );

  test.each(['PD', 'P1', 'PTTT', '+PT', '-P1W', 'soon'])(
    'a duration %s is left out, and the beginning is kept',
    async (duration) => {
      const { tasks, notes } = await imported(
        'icalendar',
        todo('SUMMARY:x', 'DTSTART;VALUE=DATE:20261224', `DURATION:${duration}`),
      );
      expect(told(tasks[0])).toEqual({ title: 'x', description: 'Start: 2026-12-24' });
      expect(notes).toEqual([
        [3, 'date_left_out', 'DURATION', duration],
        [3, 'moved_to_description', 'DTSTART', 'Start: 2026-12-24'],
      ]);
    },
  );

  test('a rule in place of a text, a date or a number is a text', async () => {
    const rule = 'FREQ=DAILY';
    const { tasks, notes } = await imported(
      'icalendar',
      todo(
        `SUMMARY;VALUE=RECUR:${rule}`,
        `CATEGORIES;VALUE=RECUR:${rule}`,
        `DUE;VALUE=RECUR:${rule}`,
        `PRIORITY;VALUE=RECUR:${rule}`,
        `RELATED-TO;VALUE=RECUR:${rule}`,
      ),
    );
    expect(told(tasks[0])).toEqual({ title: rule, labels: [rule] });
    expect(notes).toEqual([
      [3, 'date_left_out', 'DUE', rule],
      [3, 'priority_changed', 'PRIORITY', rule],
      [3, 'parent_left_out', 'parent', rule],
    ]);
  });

  test('a line that is no property is left out, and people are', async () => {
    const { notes } = await imported(
      'icalendar',
      todo('SUMMARY:x', 'FOO', 'ATTENDEE;CN=Grace:mailto:grace@example.org'),
    );
    expect(notes).toEqual([
      [3, 'field_left_out', 'a line that is no property', 'FOO'],
      [3, 'person_left_out', 'ATTENDEE', 'Grace'],
    ]);
  });

  test('the calendar names the project, and the client may name it otherwise', async () => {
    const text = calendar(
      'X-WR-CALNAME:Küche\\, oben',
      ...['BEGIN:VTODO', 'SUMMARY:x', 'END:VTODO'],
    );
    expect((await imported('icalendar', text)).body.project.name).toBe('Küche, oben');
    expect((await imported('icalendar', text, '?name=Bad')).body.project.name).toBe('Bad');
  });

  test('our own calendar comes back', async () => {
    const ada = await api.person();
    const project = await ada.createProject('Kitchen');
    const { title } = await ada.createTask(project.id, {
      title: 'a;b, c\\n',
      due_on: '2026-12-24',
      priority: 3,
      labels: ['x'],
    });
    const feed = await ada.get(`/projects/${project.id}/calendar.ics`);
    const { tasks, body } = await imported('icalendar', feed.text, '', ada);
    expect(body.project.name).toBe('Kitchen');
    expect(tasks.map(told)).toEqual([
      {
        title,
        description: 'Project: Kitchen',
        due_on: '2026-12-24',
        priority: 3,
        labels: ['Kitchen', 'x'],
      },
    ]);
  });

  test.each([
    ['cut in a task', 'BEGIN:VCALENDAR\nBEGIN:VTODO\nSUMMARY:x\n', 'line 2: begins a component'],
    ['cut behind a task', calendar().replace('END:VCALENDAR', ''), 'line 3: begins a component'],
    ['an end of another', todo('END:VEVENT'), 'line 4: ends a component that is not open'],
    ['no calendar', 'hello\nworld', 'line 1: is not iCalendar'],
    ['a task without a calendar', 'BEGIN:VTODO\nEND:VTODO', 'line 1: is not iCalendar'],
    ['nothing', '\n\n', 'line 1: is not iCalendar'],
    ['too deep', todo(...Array(9).fill('BEGIN:X')), 'line 10: nests too deeply'],
    [
      'too many properties',
      todo(...Array(2001).fill('X-A:1')),
      'line 3: begins a component with more',
    ],
    ['a mebibyte', todo(`SUMMARY:${'x'.repeat(1024 ** 2)}`), 'line 3: begins a component that'],
    [
      'a folded mebibyte',
      todo('SUMMARY:x', ...Array(20).fill(` ${'x'.repeat(60_000)}`)),
      'line 4: is longer',
    ],
  ])('%s is refused', async (_, text, message) => {
    expect(await refused('icalendar', text)).toEqual([
      422,
      'validation_failed',
      'body',
      expect.stringMatching(new RegExp(`^${message}`)),
    ]);
  });

  test('bytes that are not UTF-8 are refused with their line', async () => {
    const bytes = new Uint8Array(Buffer.from(todo('SUMMARY:Küche'), 'latin1'));
    expect(await refused('icalendar', bytes)).toEqual([
      422,
      'validation_failed',
      'body',
      'line 4: is not UTF-8',
    ]);
  });

  test('10,000 tasks are imported', async () => {
    const lines = Array.from({ length: 10_000 }, (_, n) => [
      'BEGIN:VTODO',
      `UID:${n}`,
      `SUMMARY:Task ${n}`,
      'BEGIN:VALARM',
      'TRIGGER:-PT15M',
      'END:VALARM',
      'END:VTODO',
    ]);
    const { report, body } = await imported('icalendar', calendar(...lines.flat()));
    expect([body.tasks, report.notes_total, report.notes.length]).toEqual([10_000, 10_000, 1000]);
    expect(report.codes).toEqual([{ code: 'reminder_left_out', count: 10_000 }]);
  });
});

// --- Tables --------------------------------------------------------------------------------------------------------

describe('CSV', () => {
  /** Everything that a spreadsheet may change, in an export of this API. */
  async function exported() {
    const ada = await api.person();
    const { id } = await ada.createProject();
    const tasks = [
      { title: '=1+1', labels: ['+a', 'b'], priority: 3, due_at: '2026-12-24T17:00:00.000Z' },
      { title: "'quoted", description: '- bullet\r\nand "more"', due_on: '2026-12-25' },
      { title: "'=x", description: '@name' },
      { title: 'a;b,c\td', status: 'done', assignee_id: ada.id },
    ];
    for (const task of tasks) await ada.createTask(id, task);
    const { text } = await ada.get(`/projects/${id}/export?format=csv`);
    const { items } = (await ada.get(`/tasks/projects/${id}?sort=created_at`)).body;
    return { ada, text, items };
  }
  const kept = [...FIELDS, 'completed_at', 'created_at', 'assignee_id'];
  const keptOf = (task: Record<string, unknown>) =>
    // The line break of a cell becomes LF, as in LibreOffice.
    kept.map((name) =>
      typeof task[name] === 'string' ? task[name].replaceAll('\r\n', '\n') : task[name],
    );

  test.each([
    ['as it is', (text: string) => text],
    ['with a byte order mark', (text: string) => `\ufeff${text}`],
    ['with LF', (text: string) => text.replaceAll('\r\n', '\n')],
  ])('our own export comes back %s', async (_, change) => {
    const { ada, text, items } = await exported();
    const { tasks, notes } = await imported('csv', change(text), '', ada);
    expect(tasks.map(keptOf)).toEqual(items.map(keptOf));
    expect(notes).toEqual([]);
  });

  test('a spreadsheet may have taken the apostrophes away, and the quotes', async () => {
    const ada = await api.person();
    const text = [
      'title,description,labels',
      "=1+1,'- kept,+a",
      "''quoted,- taken,",
      "'quoted,,",
      "'=x,,",
    ].join('\n');
    const { tasks } = await imported('csv', text, '', ada);
    expect(tasks.map(told)).toEqual([
      { title: '=1+1', description: '- kept', labels: ['+a'] },
      { title: "'quoted", description: '- taken' },
      { title: "'quoted" },
      { title: '=x' },
    ]);
  });

  test.each([
    ['semicolons', ';', ''],
    ['tabs', '\t', ''],
    ['commas', ',', ''],
    ['a line that names the separator', '|', 'sep=|\r\n'],
  ])('%s separate columns', async (_, separator, before) => {
    const text = `${before}${[
      ['Title', 'Due on', 'Labels'],
      ['"a, b;\tc"', '2026-12-24', '"x,y"'],
      ['plain', '', ''],
    ]
      .map((row) => row.join(separator))
      .join('\r\n')}`;
    const { tasks } = await imported('csv', text);
    expect(tasks.map(told)).toEqual([
      { title: 'a, b;\tc', due_on: '2026-12-24', labels: ['x', 'y'] },
      { title: 'plain' },
    ]);
  });

  test.each([
    ['2026-12-24T17:00:00.000Z', { due_at: '2026-12-24T17:00:00.000Z' }],
    ['2026-12-24T18:00:00+01:00', { due_at: '2026-12-24T17:00:00.000Z' }],
    ['2026-12-24T18:00:00+0100', { due_at: '2026-12-24T17:00:00.000Z' }],
    ['2026-12-24T18:00:00', { due_at: '2026-12-24T17:00:00.000Z' }],
    ['2026-12-24 18:00', { due_at: '2026-12-24T17:00:00.000Z' }],
    ['24.12.2026 18:00', { due_at: '2026-12-24T17:00:00.000Z' }],
    ['24.12.2026', { due_on: '2026-12-24' }],
    ['12/24/2026 6:00 PM', { due_at: '2026-12-24T17:00:00.000Z' }],
    ['24/12/2026', { due_on: '2026-12-24' }],
    ['2026/12/24', { due_on: '2026-12-24' }],
    ['2026-12-24', { due_on: '2026-12-24' }],
    ['2026-12-24T17:00:00.1234567Z', { due_at: '2026-12-24T17:00:00.123Z' }],
  ])('due_at %s', async (cell, expected) => {
    const { tasks, notes } = await imported(
      'csv',
      `title,due_at\nx,${cell}`,
      '?time_zone=Europe/Berlin',
    );
    expect(told(tasks[0])).toEqual({ title: 'x', ...expected });
    expect(notes).toEqual([]);
  });

  test.each(['soon', '01/02/2026', '2026-02-30', '0001-01-01T00:00:00Z', '46015'])(
    'due_at %s is left out',
    async (cell) => {
      const { tasks, notes } = await imported('csv', `title,due_at\nx,${cell}`);
      expect(told(tasks[0])).toEqual({ title: 'x' });
      expect(notes).toEqual([[2, 'date_left_out', 'due_at', cell]]);
    },
  );

  test('each row has its line, also behind cells with line breaks', async () => {
    const text = 'title,priority\n\n"a\nb",high\n,\nx,5\n"y",\n';
    const { tasks, notes } = await imported('csv', text);
    expect(tasks.map(({ title }) => title)).toEqual(['a b', 'x', 'y']);
    expect(notes).toEqual([
      [3, 'priority_changed', 'priority', 'high'],
      [3, 'title_changed', 'title', 'a\nb'],
      [6, 'priority_changed', 'priority', '5'],
    ]);
  });

  test('columns that are not known, and words that are no status, are reported', async () => {
    const { tasks, notes } = await imported(
      'csv',
      'title,colour,status\nx,red,open\ny,,In Progress',
    );
    expect(tasks.map(({ status }) => status)).toEqual(['todo', 'in_progress']);
    expect(notes).toEqual([
      [1, 'field_left_out', 'colour', null],
      [2, 'status_changed', 'status', 'open'],
    ]);
  });

  test('of very many labels and blockers the first hundred are read, with or without spaces', async () => {
    const names = (letter: string) => Array.from({ length: 101 }, (_, n) => `${letter}${n}`);
    const { tasks, notes } = await imported(
      'csv',
      [
        'id,title,labels,blocked_by',
        `x,x,"${names('l').join(', ')}","${names('b').join(', ')}"`,
        'b99,last,,',
        'b100,beyond,,',
      ].join('\n'),
    );
    expect(tasks[0].labels).toEqual(names('l').slice(0, 20));
    expect(relationsOf(tasks)).toEqual([['x', null, ['last']]]);
    expect(notes).toContainEqual([2, 'label_left_out', 'labels', 'l100']);
    expect(notes).toContainEqual([2, 'link_left_out', 'blocked_by', 'b100']);
  });

  test('only the importer stays assignee', async () => {
    const ada = await api.person();
    const text = `title,assignee\nx,${ada.username.toUpperCase()}\ny,grace`;
    const { tasks, notes, body } = await imported('csv', text, '', ada);
    expect(tasks.map(({ assignee_id }) => assignee_id)).toEqual([ada.id, null]);
    expect(notes).toEqual([[3, 'person_left_out', 'assignee', 'grace']]);
    expect(body.unassigned).toEqual([{ line: 3, task_id: tasks[1].id, username: 'grace' }]);
  });

  test.each([
    ['no header', 'Buy milk,2026-12-24\n', 'line 1: names no column title'],
    ['a separator that is not known', 'title|due_at\nx|y', 'line 1: names no column title'],
    ['nothing', '\n', 'line 1: must name the columns'],
    ['a quote that does not end', 'title\nx\n"y\nz\n', 'line 3: begins a row with a quote'],
    [
      'a cell of a mebibyte',
      `title\nx\n"${'y\n'.repeat(600_000)}"`,
      'line 3: begins a row that is longer',
    ],
  ])('%s is refused', async (_, text, message) => {
    expect(await refused('csv', text)).toEqual([
      422,
      'validation_failed',
      'body',
      expect.stringMatching(new RegExp(`^${message}`)),
    ]);
  });

  test('bytes that are not UTF-8 are refused with their line', async () => {
    const bytes = new Uint8Array(Buffer.from('title\nx\nKüche\n', 'latin1'));
    expect(await refused('csv', bytes)).toEqual([
      422,
      'validation_failed',
      'body',
      expect.stringMatching(/^line [13]: is not UTF-8$/),
    ]);
  });
});

describe('Todoist', () => {
  const HEADER =
    'TYPE,CONTENT,DESCRIPTION,IS_COLLAPSED,PRIORITY,INDENT,AUTHOR,RESPONSIBLE,DATE,DATE_LANG,TIMEZONE,DURATION,DURATION_UNIT,DEADLINE,DEADLINE_LANG';

  test('tasks, sections, notes and sub-tasks of a present export', async () => {
    const text = `\ufeff${[
      HEADER,
      'meta,view_style=board,,,,,,,,,,,,,',
      'task,Buy milk @shop @home_office,fat,,1,1,Ada (1),,2026-12-24T18:00:00,en,Europe/Berlin,30,minute,2026-12-31,en',
      'note,"From the farm [[file {""file_name"":""a.png"",""file_url"":""https://example.org/a.png""}]]",,,,,Ada (1),,2018-06-08T07:02:05.000000Z,,,,,,',
      'task,mail me@example.org @ 5pm,,,4,2,Ada (1),Grace (2),every day,en,Europe/Berlin,,,,',
      'task,"[link](https://example.org)",,,,3,Ada (1),,2026-12-24,en,,,,,',
      ',,,,,,,,,,,,,,',
      'section,Later,,,,,,,,,,,,,',
      'task,Call @mum about it,,,2,1,Ada (1),,,,,,,,',
    ].join('\r\n')}`;
    const { tasks, notes, report, body } = await imported('csv', text);
    expect([report.format, body.project.name]).toEqual(['todoist', 'Todoist']);
    expect(tasks.map(told)).toEqual([
      {
        title: 'Buy milk',
        description:
          'fat\n\nDeadline: 2026-12-31\n\nDuration: 30 minute\n\n2018-06-08: From the farm\nAttachment: a.png https://example.org/a.png',
        priority: 4,
        due_at: '2026-12-24T17:00:00.000Z',
        labels: ['shop', 'home_office'],
      },
      { title: 'mail me@example.org @ 5pm', description: 'Date: every day' },
      { title: '[link](https://example.org)', due_on: '2026-12-24' },
      { title: 'Call @mum about it', priority: 3, labels: ['Later', 'mum'] },
    ]);
    expect(notes).toEqual([
      [3, 'moved_to_description', 'DEADLINE', 'Deadline: 2026-12-31'],
      [3, 'moved_to_description', 'DURATION', 'Duration: 30 minute'],
      [3, 'moved_to_description', 'note', expect.stringContaining('From the farm')],
      [5, 'moved_to_description', 'DATE', 'Date: every day'],
      [5, 'date_left_out', 'DATE', 'every day'],
      [5, 'person_left_out', 'assignee', 'Grace'],
    ]);
    expect(relationsOf(tasks)).toEqual([
      ['mail me@example.org @ 5pm', 'Buy milk', []],
      ['[link](https://example.org)', 'mail me@example.org @ 5pm', []],
    ]);
  });

  test('an older export, with fewer columns', async () => {
    const text =
      'TYPE,CONTENT,PRIORITY,INDENT,AUTHOR,RESPONSIBLE,DATE,DATE_LANG,TIMEZONE\ntask,x,3,1,,,Jul 17,en,UTC\n';
    const { tasks, notes } = await imported('csv', text, '?format=todoist&name=Old');
    expect(tasks.map((task) => [task.project, told(task)])).toEqual([
      ['Old', { title: 'x', priority: 2, description: 'Date: Jul 17' }],
    ]);
    expect(notes.map(([, code]: string[]) => code)).toEqual([
      'moved_to_description',
      'date_left_out',
    ]);
  });

  test('a priority that every object of JavaScript has is none', async () => {
    const { tasks, notes } = await imported('csv', 'TYPE,CONTENT,PRIORITY\ntask,x,constructor');
    expect(told(tasks[0])).toEqual({ title: 'x' });
    expect(notes).toEqual([[2, 'priority_changed', 'PRIORITY', 'constructor']]);
  });

  test('a task with more than a mebibyte of comments is refused with its line', async () => {
    const note = `note,${'c'.repeat(600 * 1024)}`;
    const rows = ['TYPE,CONTENT', 'task,one', note, 'task,two', note];
    const { tasks } = await imported('csv', rows.join('\n'));
    expect(tasks.map(({ title }) => title)).toEqual(['one', 'two']);
    const [status, code, location, message] = await refused('csv', [...rows, note].join('\n'));
    expect([status, code, location]).toEqual([422, 'validation_failed', 'body']);
    expect(message).toBe('line 4: begins a task with more than a mebibyte of comments');
  });

  test('a table without its columns is refused', async () => {
    expect(await refused('csv', 'title\nx', '?format=todoist')).toEqual([
      422,
      'validation_failed',
      'body',
      'line 1: must name the columns TYPE and CONTENT, as Todoist does',
    ]);
  });
});

// --- Trello --------------------------------------------------------------------------------------------------------

describe('Trello', () => {
  const card = (changes: object) => ({
    id: '6565c0de0000000000000001',
    name: 'Card',
    desc: '',
    closed: false,
    idList: 'l1',
    pos: 1,
    due: null,
    dueComplete: false,
    idMembers: [],
    labels: [],
    dateLastActivity: '2026-11-01T00:00:00.000Z',
    ...changes,
  });
  const board = (cards: object[], changes: object = {}) =>
    JSON.stringify({
      id: 'b1',
      nodeId: 'x',
      name: 'Kitchen board',
      desc: '',
      closed: false,
      idOrganization: null,
      limits: { cards: { openPerBoard: { status: 'ok', disableAt: 5000 } } },
      actions: [],
      cards,
      lists: [
        { id: 'l2', name: 'Doing', pos: 2, closed: false },
        { id: 'l1', name: 'To do', pos: 1, closed: false },
        { id: 'l3', name: 'Done', pos: 3, closed: false },
        { id: 'l4', name: 'Old', pos: 4, closed: true },
      ],
      members: [{ id: 'm1', username: 'grace', fullName: 'Grace Hopper' }],
      checklists: [],
      labels: [{ id: 'c1', name: '', color: 'green' }],
      ...changes,
    });

  test('the board is a project, lists and colours are labels, in the order of the board', async () => {
    const text = board([
      card({ name: 'third', idList: 'l2', idLabels: ['c1'] }),
      card({
        name: 'second',
        pos: 2,
        labels: [
          { name: 'x', color: 'red' },
          { name: '', color: 'sky' },
        ],
      }),
      card({
        name: 'first',
        desc: 'why',
        due: '2026-06-18T04:30:00.000Z',
        start: '2026-06-01T00:00:00.000Z',
      }),
    ]);
    const { ada, tasks, notes, body, report } = await imported('json', text);
    expect([body.project.name, report.format]).toEqual(['Kitchen board', 'trello']);
    expect(tasks.map(told)).toEqual([
      {
        title: 'first',
        description: 'why\n\nStart: 2026-06-01T00:00:00.000Z',
        due_at: '2026-06-18T04:30:00.000Z',
        labels: ['To do'],
      },
      { title: 'second', labels: ['To do', 'x', 'sky'] },
      { title: 'third', labels: ['Doing', 'green'] },
    ]);
    const list = `/tasks/projects/${body.project.id}`;
    await ada.createTask(body.project.id, { title: 'fourth' });
    const { items } = (await ada.get(`${list}?sort=position`)).body;
    expect(items.map(({ title }: { title: string }) => title)).toEqual([
      'first',
      'second',
      'third',
      'fourth',
    ]);
    expect(tasks[0].created_at).toBe('2023-11-28T10:28:46.000Z');
    expect(tasks[0].updated_at).toBe('2026-11-01T00:00:00.000Z');
    expect(notes).toEqual([
      [1, 'moved_to_description', 'start', 'Start: 2026-06-01T00:00:00.000Z'],
    ]);
    expect(report.notes[0].item).toBe(2);
  });

  test('done is what is ticked, also without a due date, and what stands in Done; archived cards are cancelled', async () => {
    const text = board([
      card({ name: 'ticked', dueComplete: true, dateCompleted: '2026-10-01T00:00:00.000Z' }),
      card({ name: 'ticked, when?', pos: 2, dueComplete: true, dateCompleted: null }),
      card({ name: 'archived', pos: 3, closed: true }),
      card({ name: 'in Done', idList: 'l3' }),
      card({ name: 'in a closed list', idList: 'l4' }),
    ]);
    const { tasks, notes } = await imported('json', text);
    expect(tasks.map(({ title, status, completed_at }) => [title, status, completed_at])).toEqual([
      ['ticked', 'done', '2026-10-01T00:00:00.000Z'],
      ['ticked, when?', 'done', '2026-11-01T00:00:00.000Z'],
      ['archived', 'cancelled', null],
      ['in Done', 'done', '2026-11-01T00:00:00.000Z'],
      ['in a closed list', 'cancelled', null],
    ]);
    expect(notes.map(([, code, field, value]: string[]) => [code, field, value])).toEqual([
      ['completed_at_assumed', 'completed_at', '2026-11-01T00:00:00.000Z'],
      ['status_changed', 'closed', 'To do'],
      ['status_changed', 'idList', 'Done'],
      ['completed_at_assumed', 'completed_at', '2026-11-01T00:00:00.000Z'],
      ['status_changed', 'closed', 'Old'],
    ]);
  });

  test('checklists, comments, attachments and people', async () => {
    const text = board(
      [
        card({
          idMembers: ['m1', 'm2'],
          attachments: [{ name: 'Plan', url: 'https://example.org/p' }],
          shortUrl: 'https://trello.com/c/x',
        }),
      ],
      {
        checklists: [
          {
            idCard: '6565c0de0000000000000001',
            name: 'Steps',
            checkItems: [
              { name: 'two', pos: 2, state: 'incomplete' },
              { name: 'one', pos: 1, state: 'complete' },
            ],
          },
        ],
        actions: [
          ['2026-02-02T00:00:00.000Z', 'later'],
          ['2026-01-01T00:00:00.000Z', 'earlier'],
        ].map(([date, said]) => ({
          type: 'commentCard',
          date,
          data: { text: said, card: { id: '6565c0de0000000000000001' } },
          memberCreator: { fullName: 'Grace Hopper' },
        })),
      },
    );
    const { tasks, body, notes } = await imported('json', text);
    expect(tasks[0].description).toBe(
      'Attachment: Plan https://example.org/p\n\nhttps://trello.com/c/x\n\nSteps:\n- [x] one\n- [ ] two\n\nGrace Hopper, 2026-01-01: earlier\n\nGrace Hopper, 2026-02-02: later',
    );
    expect(body.unassigned).toMatchObject([{ username: 'grace' }]);
    expect(notes.filter(([, code]: string[]) => code === 'person_left_out')).toHaveLength(2);
  });

  test('a board of 1,000 cards with their history is imported', async () => {
    const cards = Array.from({ length: 1000 }, (_, n) => card({ name: `Card ${n}`, pos: n }));
    const actions = cards.map((data) => ({ type: 'updateCard', data }));
    const { body } = await imported('json', board(cards, { actions }));
    expect([body.tasks, body.report.tasks]).toEqual([1000, 1000]);
  });

  test.each([
    ['cut', board([card({}), card({})]).slice(0, -600)],
    ['without its end', board([card({})]).slice(0, -1)],
    ['with a fault', board([card({})]).replace('"name":"Card"', '"name":Card')],
    ['too deep', board([card({ x: JSON.parse(`${'['.repeat(20)}${']'.repeat(20)}`) })])],
  ])('a board that is %s is refused with the line', async (_, text) => {
    const [status, code, detail] = await refused('json', text);
    expect([status, code]).toEqual([400, 'malformed_json']);
    expect(detail).toMatch(/^Line 1 /);
  });

  test('a board without cards is refused', async () => {
    const text = board([]).replace('"cards":[],', '');
    expect(await refused('json', text)).toEqual([
      422,
      'validation_failed',
      'body.cards',
      'is required',
    ]);
    expect(await refused('json', board([]))).toEqual([
      422,
      'validation_failed',
      'body',
      expect.stringContaining('has no task'),
    ]);
  });
});

// --- Taskwarrior ---------------------------------------------------------------------------------------------------

describe('a tree', () => {
  const icalendarOf = (...tasks: [uid: string, parent?: string][]) =>
    [
      'BEGIN:VCALENDAR',
      'VERSION:2.0',
      ...tasks.flatMap(([uid, parent]) => [
        'BEGIN:VTODO',
        `UID:${uid}`,
        `SUMMARY:${uid}`,
        ...(parent === undefined ? [] : [`RELATED-TO:${parent}`]),
        'END:VTODO',
      ]),
      'END:VCALENDAR',
      '',
    ].join('\r\n');

  test('in any order is kept up to five levels, and a cycle is cut and reported', async () => {
    const text = icalendarOf(
      ['six', 'five'],
      ['two', 'one'],
      ['three', 'two'],
      ['one'],
      ['five', 'four'],
      ['four', 'three'],
      ['head', 'tail'],
      ['tail', 'head'],
      ['self', 'self'],
    );
    const { tasks, notes } = await imported('icalendar', text);
    const parents = relationsOf(tasks).map(([title, parent]) => `${title} < ${parent}`);
    expect(parents.sort()).toEqual([
      'five < four',
      'four < three',
      'tail < head',
      'three < two',
      'two < one',
    ]);
    expect(notes.map(([, code, , value]: string[]) => `${code} ${value}`)).toEqual([
      'parent_left_out five',
      'parent_left_out tail',
      'parent_left_out self',
    ]);
  });
});

describe('Taskwarrior', () => {
  const file = 'taskwarrior-2.6.2-export.json';
  const expected = [
    {
      project: 'Home.Kitchen',
      title: 'Buy milk, eggs; "bread"',
      description:
        '2026-11-28: first note https://example.org/x\n\n2026-11-28: second: note\n\nestimate: 3\n\nsize: L',
      priority: 3,
      due_at: '2026-12-24T17:00:00.000Z',
      labels: ['next', 'shopping'],
    },
    {
      title: 'Bäcker 漢字 🎉',
      description: 'Scheduled: 2026-12-20\n\nWait until: 2026-12-10\n\nUntil: 2027-01-31',
      due_on: '2026-12-25',
    },
    { title: 'Depends', priority: 1 },
    { title: 'Weekly', description: 'Until: 2027-03-01', due_on: '2026-12-01', labels: ['rec'] },
    { title: 'Started', status: 'in_progress' },
    { title: '+notatag literal priority:X' },
    { title: 'line break' },
    { title: 'backslash  and / slash and tab\tx' },
    { title: 'Done one', status: 'done', due_on: '2026-11-27' },
    { title: 'Logged already done', status: 'done' },
  ];

  test('an export becomes a project for each of its own, and one for the rest', async () => {
    const { tasks, body, report, notes } = await imported(
      'json',
      sample(file),
      '?time_zone=Europe/Berlin&name=Inbox',
    );
    expect(report.projects).toEqual([
      { name: 'Home.Kitchen', tasks: 1 },
      { name: 'Inbox', tasks: 9 },
    ]);
    expect(body.projects.map(({ name }: { name: string }) => name)).toEqual([
      'Home.Kitchen',
      'Inbox',
    ]);
    expect(tasks.map((task) => ({ project: task.project, ...told(task) }))).toEqual(
      expected.map((task) => ({ project: 'Inbox', ...task })),
    );
    expect(tasks.at(-1).completed_at).toBe('2026-11-28T18:16:12.000Z');
    expect(notes.filter(([, code]: string[]) => code !== 'moved_to_description')).toEqual([
      [5, 'item_left_out', 'status', 'recurring: Weekly'],
      [6, 'recurrence_left_out', 'recur', 'weekly'],
      [9, 'title_changed', 'title', 'line\nbreak'],
      [11, 'item_left_out', 'status', 'deleted: Deleted one'],
    ]);
    expect(relationsOf(tasks)).toEqual([
      ['Depends', null, ['Buy milk, eggs; "bread"', 'Bäcker 漢字 🎉']],
    ]);
  });

  test('one object on each line is the same', async () => {
    const lines = JSON.parse(sample(file)).map((one: object) => JSON.stringify(one));
    for (const text of [lines.join('\n'), `\ufeff${lines.join(',\r\n')}\n`]) {
      const { tasks } = await imported('json', text, '?time_zone=Europe/Berlin&name=Inbox');
      expect(tasks.map((task) => ({ project: task.project, ...told(task) }))).toEqual(
        expected.map((task) => ({ project: 'Inbox', ...task })),
      );
    }
  });

  test('tags and dependencies of earlier versions are texts with commas', async () => {
    const text = JSON.stringify([
      {
        uuid: 'u',
        entry: '20260101T000000Z',
        description: 'x',
        tags: 'one,two',
        depends: 'a,b',
        priority: 'X',
        status: 'odd',
      },
    ]);
    const { tasks, notes } = await imported('json', text);
    expect(told(tasks[0])).toEqual({ title: 'x', labels: ['one', 'two'] });
    expect(notes).toEqual([
      [1, 'status_changed', 'status', 'odd'],
      [1, 'priority_changed', 'priority', 'X'],
      [1, 'link_left_out', 'blocked_by', 'a, b'],
    ]);
  });

  test.each([
    ['a text', (names: string[]) => names.join(',')],
    ['a list', (names: string[]) => names],
  ])('of very many tags and dependencies in %s the first hundred are read', async (_, written) => {
    const names = (letter: string, total: number) =>
      Array.from({ length: total }, (_, n) => `${letter}${n}`);
    const task = { uuid: 'x', entry: '', description: 'x', status: 'pending' };
    const blockers = ['u99', 'u100'].map((uuid) => ({ ...task, uuid, description: uuid }));
    const tags = written(names('t', 102));
    const text = JSON.stringify([
      { ...task, tags, depends: written(names('u', 2000)) },
      ...blockers,
    ]);
    const { tasks, notes } = await imported('json', text);
    expect(tasks[0].labels).toEqual(names('t', 20));
    expect(relationsOf(tasks)).toEqual([['x', null, ['u99']]]);
    const left = notes.filter(([, , field]: string[]) => field !== 'labels');
    expect(left.map(([, code, field]: string[]) => [code, field])).toEqual([
      ['label_left_out', 'tags'],
      ['link_left_out', 'depends'],
      ['link_left_out', 'blocked_by'],
    ]);
    expect(left[0][3]).toMatch(/^t100, ?t101$/);
    for (const [at, start] of [
      [1, /^u100, ?u101,.*…$/],
      [2, /^u0, u1,.*…$/],
    ] as const) {
      expect(left[at][3]).toMatch(start);
      expect(left[at][3]).toHaveLength(100);
    }
  });

  test('a priority that every object of JavaScript has is none', async () => {
    const task = { uuid: 'x', entry: '20260101T000000Z', description: 'x', status: 'pending' };
    const text = JSON.stringify([{ ...task, priority: 'constructor' }]);
    const { tasks, notes } = await imported('json', text);
    expect(told(tasks[0])).toEqual({ title: 'x' });
    expect(notes).toEqual([[1, 'priority_changed', 'priority', 'constructor']]);
  });

  test('a document holds up to a million dependencies', async () => {
    const depends = Array.from({ length: 100 }, (_, n) => n).join(',');
    const task = { uuid: 'x', entry: '', description: 'x', status: 'pending' };
    const line = JSON.stringify({ ...task, depends });
    const ada = await api.person();
    const last = JSON.stringify({ ...task, depends: 'one,two' });
    const text = `${`${line}\n`.repeat(10_000)}${last}`;
    const { body } = await send(ada, 'json', text, '?dry_run=true');
    expect(body.notes[0]).toMatchObject({ line: 10_001, code: 'link_left_out', value: 'one, two' });
    expect(body.codes).toEqual([{ code: 'link_left_out', count: 10_001 }]);
  });

  test.each([
    ['a BOM', '\ufeff'],
    ['white space', ' \n\t\n'],
  ])('%s may come first', async (_, before) => {
    const { tasks } = await imported(
      'json',
      `${before}[{"uuid":"u","entry":"","description":"x"}]`,
    );
    expect(tasks.map(({ title }) => title)).toEqual(['x']);
  });

  test('the projects beyond a hundred share one', async () => {
    const text = JSON.stringify(
      Array.from({ length: 120 }, (_, n) => ({
        uuid: `${n}`,
        entry: '',
        description: 'x',
        project: `p${n}`,
      })),
    );
    const { report } = await imported('json', text);
    expect(report.projects.length).toBe(100);
    expect(report.projects[99]).toEqual({ name: 'Taskwarrior', tasks: 21 });
    expect(report.codes).toEqual([{ code: 'project_changed', count: 21 }]);
  });

  test.each([
    ['an array that is cut', '[{"uuid":"u","entry":"","description":"x"},\n{"uuid":', /^Line 2 /],
    ['a line that is cut', '{"uuid":"u","entry":"","description":"x"}\n{"uuid":', /^Line 2 /],
  ])('%s is refused with the line', async (_, text, detail) => {
    const [status, code, said] = await refused('json', text);
    expect([status, code]).toEqual([400, 'malformed_json']);
    expect(said).toMatch(detail);
  });

  test.each([
    ['[{"uuid":"u","entry":""},\n5]', 'line 2: must be an object'],
    [
      `{"uuid":"u","entry":""}\n{"a":${'['.repeat(50)}${']'.repeat(50)}}`,
      'line 2: has too many values, or nests too deeply',
    ],
  ])('%s is refused', async (text, message) => {
    expect(await refused('json', text)).toEqual([422, 'validation_failed', 'body', message]);
  });
});

// --- todo.txt ------------------------------------------------------------------------------------------------------

describe('todo.txt', () => {
  test('todo.txt of todo.sh', async () => {
    const { tasks, notes, report } = await imported('text', sample('todo.txt'));
    expect(report.format).toBe('todotxt');
    expect(tasks.map(told)).toEqual([
      {
        title: 'Created date task',
        description: 'Not before: 2026-12-01',
        labels: ['Family', 'home'],
      },
      { title: 'lower priority', priority: 4 },
      { title: '(A)no space' },
      { title: 'typed date first' },
      { title: 'email me@example.org and c++ or 1+1' },
      { title: 'multi one' },
      { title: 'multi two' },
    ]);
    expect(tasks.map(({ created_at }) => created_at.slice(0, 10)).slice(0, 4)).toMatchObject([
      '2026-11-28',
      expect.any(String),
      expect.any(String),
      '2026-11-01',
    ]);
    expect(notes).toEqual([
      [1, 'moved_to_description', 't', '2026-12-01'],
      [1, 'recurrence_left_out', 'rec', '1w'],
    ]);
  });

  test('done.txt of todo.sh', async () => {
    const { tasks, notes } = await imported('text', sample('done.txt'), '?time_zone=Europe/Berlin');
    expect(tasks.map(told)).toEqual([
      {
        title: 'Call mum +Family @phone appended',
        status: 'done',
        due_on: '2026-12-24',
        labels: ['Family', 'phone'],
      },
      { title: 'looks done', status: 'done' },
      { title: 'no priority Bäcker 🎉 http://example.org:80/x key:value', status: 'done' },
      { title: 'xylophone lesson', status: 'done' },
    ]);
    expect(tasks.map(({ completed_at }) => completed_at)).toEqual([
      '2026-11-27T23:00:00.000Z',
      '2025-12-31T23:00:00.000Z',
      '2026-11-27T23:00:00.000Z',
      '2026-11-27T23:00:00.000Z',
    ]);
    expect(notes).toEqual([]);
  });

  test.each([
    ['(A) x', { priority: 4 }],
    ['(B) x', { priority: 3 }],
    ['(C) x', { priority: 2 }],
    ['(Z) x', { priority: 1 }],
    ['(a) x', { title: '(a) x' }],
    ['X x', { title: 'X x' }],
    ['xylophone', { title: 'xylophone' }],
    ['x 2026-13-45 x', { title: 'x', status: 'done' }],
    ['x due:tomorrow', { title: 'due:tomorrow', status: 'done' }],
    ['x pri:B x', { title: 'x', status: 'done', priority: 3 }],
    ['x + @ +p', { title: '+ @', status: 'done', labels: ['p'] }],
    ['+only @tags', { title: '+only @tags', labels: ['only', 'tags'] }],
    [
      'x http://example.org:80/due:2026-12-24',
      { title: 'http://example.org:80/due:2026-12-24', status: 'done' },
    ],
  ])('%s', async (line, expected) => {
    const { tasks } = await imported('text', line);
    expect(told(tasks[0])).toEqual({ title: 'x', ...expected });
  });
});

// --- GitHub --------------------------------------------------------------------------------------------------------

describe('GitHub issues', () => {
  const issue = (number: number, changes: object = {}) => ({
    url: `https://api.github.com/repos/ada/mantou/issues/${number}`,
    html_url: `https://github.com/ada/mantou/issues/${number}`,
    number,
    title: `Issue ${number}`,
    body: null,
    state: 'open',
    state_reason: null,
    labels: [],
    assignees: [],
    milestone: null,
    comments: 0,
    created_at: '2026-01-01T00:00:00Z',
    updated_at: '2026-01-02T00:00:00Z',
    closed_at: null,
    ...changes,
  });

  test('the list of the REST API', async () => {
    const closed = { state: 'closed', closed_at: '2026-01-03T00:00:00Z' };
    const { tasks, notes, body, report } = await imported(
      'json',
      JSON.stringify([
        issue(5, {
          body: 'one\r\ntwo',
          labels: [{ name: 'bug' }, 'old'],
          assignees: [{ login: 'grace' }],
          milestone: { title: 'v1', due_on: '2026-12-24T08:00:00Z' },
          comments: 3,
        }),
        issue(4, { pull_request: { url: 'x' } }),
        issue(3, { ...closed, state_reason: 'completed' }),
        issue(2, { ...closed, state_reason: 'not_planned' }),
        issue(1, { html_url: 'https://github.com/ada/other/issues/1' }),
      ]),
    );
    expect([report.format, body.report.projects]).toEqual([
      'github',
      [
        { name: 'ada/mantou', tasks: 3 },
        { name: 'ada/other', tasks: 1 },
      ],
    ]);
    const link = (number: number) => `https://github.com/ada/mantou/issues/${number}`;
    expect(tasks.map(told)).toEqual([
      {
        title: 'Issue 5',
        description: `one\ntwo\n\nMilestone: v1\n\n${link(5)}`,
        due_on: '2026-12-24',
        labels: ['bug', 'old'],
      },
      { title: 'Issue 3', description: link(3), status: 'done' },
      { title: 'Issue 2', description: link(2), status: 'cancelled' },
      { title: 'Issue 1', description: 'https://github.com/ada/other/issues/1' },
    ]);
    expect(tasks[1].completed_at).toBe('2026-01-03T00:00:00.000Z');
    expect(notes).toEqual([
      [1, 'moved_to_description', 'milestone', 'Milestone: v1'],
      [1, 'field_left_out', 'comments', '3'],
      [1, 'person_left_out', 'assignee', 'grace'],
      [1, 'item_left_out', 'pull_request', 'Issue 4'],
    ]);
  });

  test('what gh writes, in one project of that name', async () => {
    const text = JSON.stringify([
      {
        title: 'x',
        body: '',
        state: 'CLOSED',
        stateReason: 'COMPLETED',
        closedAt: '2026-01-03T00:00:00Z',
        createdAt: '2026-01-01T00:00:00Z',
        labels: [{ name: 'bug' }],
        comments: [{ author: { login: 'grace' }, body: 'yes', createdAt: '2026-01-02T00:00:00Z' }],
        url: 'https://github.com/ada/mantou/issues/1',
      },
    ]);
    const { tasks } = await imported('json', text, '?name=Issues');
    expect(tasks.map((task) => [task.project, told(task)])).toEqual([
      [
        'Issues',
        {
          title: 'x',
          description: 'grace, 2026-01-02: yes\n\nhttps://github.com/ada/mantou/issues/1',
          status: 'done',
          labels: ['bug'],
        },
      ],
    ]);
  });
});

// --- What all have in common -----------------------------------------------------------------------------------------

describe('a task that breaks our rules is made to fit', () => {
  const note = (code: string, field: string, value: unknown = expect.anything()) => [
    4,
    code,
    field,
    value,
  ];
  /** Imports a text of JSON, in which everything can be written. */
  const fitted = async (task: object) =>
    imported(
      'json',
      `[\n\n\n${JSON.stringify({ uuid: 'u', entry: '20260101T000000Z', ...task })}]`,
    );

  test('a title that is too long is cut, and stands in the description', async () => {
    const title = '🎉'.repeat(501);
    const { tasks, notes } = await fitted({
      description: title,
      annotations: [{ description: 'note' }],
    });
    expect([...tasks[0].title].length).toBe(500);
    expect(tasks[0].title).toEndWith('🎉…');
    expect(tasks[0].description).toBe(`${title}\n\nnote`);
    expect(notes[1]).toEqual(note('title_cut', 'title'));
    expect([...notes[1][3]].length).toBe(100);
  });

  test('a title of 500 characters is not', async () => {
    const title = '🎉'.repeat(500);
    const { tasks, notes } = await fitted({ description: title });
    expect([tasks[0].title, tasks[0].description, notes]).toEqual([title, null, []]);
  });

  test.each([['   '], ['\u200b'], ['\n']])('%p is no title', async (description) => {
    const { tasks, notes } = await fitted({ description });
    expect(tasks[0].title).toBe('Untitled');
    expect(notes).toContainEqual(note('title_missing', 'title', null));
  });

  test('a description that is too long is cut', async () => {
    const { tasks, notes } = await fitted({
      description: 'x',
      annotations: [{ description: 'y'.repeat(15_000) }, { description: 'y'.repeat(15_000) }],
    });
    expect(tasks[0].description.length).toBe(20_000);
    expect(notes).toContainEqual(note('description_cut', 'description', null));
  });

  test('labels that are blank, repeated, too long, too many or have a comma', async () => {
    const long = 'l'.repeat(60);
    const { tasks, notes } = await imported(
      'icalendar',
      todo(
        'SUMMARY:x',
        String.raw`CATEGORIES:a\,b,a b,\n,${long},${long}2`,
        `CATEGORIES:${Array.from({ length: 20 }, (_, n) => n).join(',')}`,
      ),
    );
    expect(tasks[0].labels).toEqual([
      'a b',
      `${'l'.repeat(49)}…`,
      ...Array.from({ length: 18 }, (_, n) => String(n)),
    ]);
    expect(notes.map(([, code, , value]: string[]) => [code, value])).toEqual([
      ['label_changed', 'a,b'],
      ['label_left_out', 'a b'],
      ['label_changed', long],
      ['label_left_out', `${long}2`],
      ['label_left_out', '18'],
      ['label_left_out', '19'],
    ]);
  });

  test('of very many labels only the number is told', async () => {
    const { tasks, notes } = await imported(
      'icalendar',
      todo('SUMMARY:x', `CATEGORIES:${'a,'.repeat(5000)}b`),
    );
    expect(tasks[0].labels).toEqual(['a']);
    expect(notes.length).toBe(200);
    expect(notes.at(-1)).toEqual([3, 'label_left_out', 'labels', '4801 more']);
  });

  test('NUL and lone surrogates are no text', async () => {
    const { tasks, notes } = await fitted({
      description: 'a\0b\ud800',
      annotations: [{ description: 'c\udc00' }],
      tags: ['d\0'],
      project: 'p\0',
    });
    expect(tasks.map(told)).toEqual([{ title: 'ab\ufffd', description: 'c\ufffd', labels: ['d'] }]);
    expect(tasks[0].project).toBe('p');
    expect(notes.filter(([, code]: string[]) => code === 'text_changed')).toHaveLength(4);
  });

  test('a name of a project that is too long is cut', async () => {
    const { report } = await fitted({ description: 'x', project: 'p'.repeat(121) });
    expect(report.projects[0].name).toBe(`${'p'.repeat(119)}…`);
    expect(report.codes).toEqual([{ code: 'project_changed', count: 1 }]);
  });

  test('a task that is done without a time was done when it last changed', async () => {
    const { tasks, notes } = await fitted({
      description: 'x',
      status: 'completed',
      modified: '20260102T000000Z',
    });
    expect(tasks[0].completed_at).toBe('2026-01-02T00:00:00.000Z');
    expect(notes).toEqual([note('completed_at_assumed', 'completed_at')]);
  });
});

describe('the request', () => {
  test.each([
    ['text', '?format=icalendar', calendar('BEGIN:VTODO', 'SUMMARY:x', 'END:VTODO')],
    ['text', '?format=csv', 'title\nx'],
    ['json', '?format=github', '[{"title":"x"}]'],
    ['json', '?format=taskwarrior', '{"description":"x"}'],
  ] as const)('format names what the shape does not tell: %s %s', async (kind, query, text) => {
    const { tasks } = await imported(kind, text, query);
    expect(tasks.map(({ title }) => title)).toEqual(['x']);
  });

  test.each([
    ['icalendar', '?format=csv', 'goes with the media type text/csv or text/plain'],
    ['json', '?format=todotxt', 'goes with the media type text/plain'],
    ['text', '?format=trello', 'goes with the media type application/json'],
  ] as const)('%s with %s is refused', async (kind, query, message) => {
    expect(await refused(kind, 'x', query)).toEqual([
      422,
      'validation_failed',
      'query.format',
      message,
    ]);
  });

  test.each(['{"format":"mantou-project"}', '\n [1]'])(
    'JSON as plain text is refused: %s',
    async (text) => {
      expect(await refused('text', text)).toEqual([
        415,
        'unsupported_media_type',
        'Send JSON as application/json',
        undefined,
      ]);
    },
  );

  test.each([
    ['?format=xls', 'query.format'],
    ['?time_zone=Mars/Olympus', 'query.time_zone'],
    ['?time_zone=', 'query.time_zone'],
    ['?name=', 'query.name'],
    [`?name=${'x'.repeat(121)}`, 'query.name'],
    ['?dry_run=yes', 'query.dry_run'],
    ['?colour=red', 'query.colour'],
  ])('%s is refused', async (query, location) => {
    const [status, code, where] = await refused('text', 'x', query);
    expect([status, code, where]).toEqual([422, 'validation_failed', location]);
  });

  test('our own documents take another name, and a time zone that they do not need', async () => {
    const ada = await api.person();
    const { id } = await ada.createProject('Kitchen');
    const { text } = await ada.get(`/projects/${id}/export`);
    const key = { 'idempotency-key': 'named' };
    const named = await send(ada, 'json', text, '?name=Bath&time_zone=Europe/Berlin', key);
    expect([named.status, named.body.project.name, named.body.report]).toEqual([
      201,
      'Bath',
      undefined,
    ]);
    const other = await send(ada, 'json', text, '?name=Hall', key);
    expect(other.body.code).toBe('idempotency_key_reused');
  });

  test('a dry run reports and writes nothing', async () => {
    const ada = await api.person();
    const before = await rows();
    const text = calendar(...['BEGIN:VTODO', 'SUMMARY:x', 'RRULE:FREQ=DAILY', 'END:VTODO']);
    const { status, body } = await send(ada, 'icalendar', text, '?dry_run=true&name=Kitchen');
    expect(await rows()).toEqual(before);
    expect([status, body]).toEqual([
      200,
      {
        format: 'icalendar',
        time_zone: 'UTC',
        projects: [{ name: 'Kitchen', tasks: 1 }],
        tasks: 1,
        left_out: 0,
        notes_total: 1,
        codes: [{ code: 'recurrence_left_out', count: 1 }],
        notes: [
          {
            line: 3,
            item: 0,
            title: 'x',
            code: 'recurrence_left_out',
            field: 'RRULE',
            value: 'FREQ=DAILY',
            message: 'is not kept: only the next date is',
          },
        ],
      },
    ]);
    const imported = await send(ada, 'icalendar', text, '?name=Kitchen');
    expect(imported.body.report).toEqual(body);
  });

  test('a dry run of a document without a task says what is left out; its import is refused', async () => {
    const text = calendar('BEGIN:VEVENT', 'SUMMARY:party', 'END:VEVENT');
    const ada = await api.person();
    const { status, body } = await send(ada, 'icalendar', text, '?dry_run=true');
    expect([status, body.tasks, body.left_out, body.projects]).toEqual([200, 0, 1, []]);
    expect(await refused('icalendar', text)).toEqual([
      422,
      'validation_failed',
      'body',
      'has no task to import; with dry_run=true the response says what is left out',
    ]);
  });

  test('a dry run of our own document checks it as an import does', async () => {
    const ada = await api.person();
    const project = await ada.createProject('Kitchen');
    await ada.createTask(project.id, { assignee_id: ada.id });
    const { text } = await ada.get(`/projects/${project.id}/export`);
    const before = await rows();
    const dry = await send(
      ada,
      'json',
      text.replaceAll(`"assignee":"${ada.username}"`, '"assignee":"grace"'),
      '?dry_run=true',
    );
    expect([dry.status, dry.body.format, dry.body.projects]).toEqual([
      200,
      'mantou',
      [{ name: 'Kitchen', tasks: 1 }],
    ]);
    expect(dry.body.notes).toMatchObject([
      { line: 2, item: 0, code: 'person_left_out', value: 'grace' },
    ]);
    const [status, code] = await refused(
      'json',
      text.replace('"priority":0', '"priority":9'),
      '?dry_run=true',
    );
    expect([status, code]).toEqual([422, 'validation_failed']);
    expect(await rows()).toEqual({ ...before, users: Number(before.users) + 1 });
  });

  test('a fault behind many tasks of several projects leaves nothing', async () => {
    const lines = Array.from({ length: 1500 }, (_, n) =>
      JSON.stringify({ uuid: `${n}`, entry: '', description: 'x', project: `p${n % 3}` }),
    );
    const [status, , detail] = await refused('json', [...lines, '{'].join('\n'));
    expect([status, detail]).toEqual([400, 'Line 1501 is not JSON']);
  });

  test('the size is bounded as that of our own documents', async () => {
    const [status, code] = await refused('icalendar', `${' '.repeat(65 * 1024 ** 2)}`);
    expect([status, code]).toEqual([413, 'payload_too_large']);
  });

  test('more than 100,000 items are refused', async () => {
    const [status, , , message] = await refused('text', 'x\n'.repeat(100_001), '?dry_run=true');
    expect([status, message]).toEqual([
      422,
      'line 100001: at most 100000 items: divide the document',
    ]);
  });

  test('an import with an Idempotency-Key runs once, for one time zone and name', async () => {
    const ada = await api.person();
    const key = { 'idempotency-key': 'one' };
    const text = sample('taskwarrior-2.6.2-export.json');
    const first = await send(ada, 'json', text, '?time_zone=Europe/Berlin', key);
    expect([first.status, first.body.projects.length]).toEqual([201, 2]);
    const before = await rows();
    const again = await send(ada, 'json', text, '?time_zone=Europe/Berlin', key);
    expect([again.status, again.text]).toEqual([201, first.text]);
    expect(again.headers.get('idempotency-replayed')).toBe('true');
    const other = await send(ada, 'json', text, '?time_zone=UTC', key);
    expect([other.status, other.body.code]).toEqual([422, 'idempotency_key_reused']);
    expect(await rows()).toEqual(before);
  });

  test('each project has its events, and its tasks can be found', async () => {
    const { ada, body } = await imported('json', sample('taskwarrior-2.6.2-export.json'));
    for (const { id } of body.projects) {
      const { items } = (await ada.get(`/projects/${id}/events`)).body;
      expect(items.map(({ action }: { action: string }) => action).sort()).toEqual([
        'member.added',
        'project.created',
      ]);
    }
    expect((await ada.get('/tasks?q=bäcker')).body.items).toHaveLength(1);
    expect((await ada.get('/projects?q=kitchen')).body.items).toHaveLength(1);
  });

  test('a document that arrives byte by byte is the same', async () => {
    const ada = await api.person();
    for (const [kind, text] of [
      ['icalendar', sample('todoman/rt.ics')],
      ['csv', 'title,due_on\r\n"ü\r\n🎉",2026-12-24\r\n'],
      ['text', 'x 2026-01-01 ü 🎉'],
      ['json', sample('taskwarrior-2.6.2-export.json')],
    ] as const) {
      const bytes = new TextEncoder().encode(text);
      const pieces = new ReadableStream<Uint8Array>({
        start(controller) {
          for (const byte of bytes) controller.enqueue(Uint8Array.of(byte));
          controller.close();
        },
      });
      const slow = await ada.post('/projects/import?dry_run=true', undefined, {
        raw: pieces,
        headers: { 'content-type': types[kind] },
      });
      const whole = await send(ada, kind, text, '?dry_run=true');
      expect([slow.status, slow.body]).toEqual([200, whole.body]);
    }
  });
});

// --- Whatever comes ------------------------------------------------------------------------------------------------

describe('no document is answered with a 5xx', () => {
  const words = fc.constantFrom(
    ...[
      'BEGIN:VCALENDAR',
      'END:VCALENDAR',
      'BEGIN:VTODO',
      'END:VTODO',
      'BEGIN:VALARM',
      'END:VALARM',
    ],
    ...['BEGIN:VTIMEZONE', 'END:VTIMEZONE', 'TZID:Z', 'RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU'],
    ...[
      'TZOFFSETTO:',
      'DTSTART:20260101T000000',
      'DUE;TZID=Z:20260101T000000',
      'DUE:99991231T235959',
    ],
    ...['DURATION:-P1W', 'DURATION:P', 'PRIORITY:x', 'CATEGORIES:,,', 'UID:1', 'RELATED-TO:1'],
    ...[
      'title,due_at,labels,parent_id,id',
      'TYPE;CONTENT;INDENT;DATE',
      'task;@a @;5;every',
      'note;x;;',
    ],
    ...[
      'sep=\t',
      '"',
      '""',
      '\r',
      ',',
      ';',
      '\t',
      'x ',
      '(A) ',
      'due:2026-13-01',
      '+p',
      '@c',
      '\ufeff',
    ],
  );
  const line = fc.oneof(words, fc.string({ unit: 'binary', maxLength: 20 }));
  const text = fc
    .array(line, { maxLength: 30 })
    .chain((lines) => fc.constantFrom('\n', '\r\n', '').map((end) => lines.join(end)));
  const field = fc.constantFrom(
    ...[
      'uuid',
      'entry',
      'description',
      'due',
      'tags',
      'annotations',
      'depends',
      'project',
      'status',
    ],
    ...[
      'number',
      'title',
      'body',
      'labels',
      'assignees',
      'milestone',
      'state',
      'html_url',
      'comments',
    ],
    ...[
      'cards',
      'lists',
      'actions',
      'checklists',
      'members',
      'id',
      'idList',
      'pos',
      'name',
      'desc',
    ],
    ...['idMembers', 'attachments', 'checkItems', 'data', 'card', 'text', 'date', 'dueComplete'],
    ...['type', 'closed', 'recur', 'parent', 'priority', '__proto__'],
  );
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 4, depthSize: 'small' },
      fc.constantFrom(
        null,
        true,
        1,
        -1.5,
        '',
        'x',
        '20260101T000000Z',
        '2026-01-01',
        '\ud800',
        'a\0',
      ),
      fc.constantFrom('9999-12-31T23:59:59-12:00', '0001-01-01T00:00:00Z', 'commentCard'),
      fc.array(tie('value'), { maxLength: 4 }),
      fc.dictionary(field, tie('value'), { maxKeys: 8 }),
    ),
  }));

  const answers = async (
    kind: Kind,
    format: string,
    document: string | Uint8Array<ArrayBuffer>,
  ) => {
    const { status, body } = await send(await who(), kind, document, `?format=${format}`);
    expect([201, 400, 422]).toContain(status);
    if (status !== 201) expect(body.code).toBeString();
  };
  let someone: Promise<Persona> | undefined;
  const who = () => (someone ??= api.person());

  /** What makes a document of the format more likely. */
  const begins: Record<string, (document: string) => string> = {
    icalendar: (document) => todo(document),
    csv: (document) => `title,due_at,labels,priority,status\n${document}`,
    todoist: (document) => `TYPE,CONTENT,INDENT,DATE,PRIORITY\n${document}`,
    todotxt: (document) => document,
  };

  test.each(Object.entries(begins))('%s', async (format, begin) => {
    await fc.assert(
      fc.asyncProperty(text, fc.boolean(), (document, begun) =>
        answers('text', format, begun ? begin(document) : document),
      ),
      { numRuns: casesOf(60, 1000) },
    );
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), (bytes) =>
        answers('text', format, new Uint8Array(bytes)),
      ),
      { numRuns: casesOf(20, 500) },
    );
  });

  test.each([
    ['trello', (values: unknown[]) => ({ cards: values, lists: values, actions: values })],
    ['taskwarrior', (values: unknown[]) => values],
    ['github', (values: unknown[]) => values],
  ] as const)('%s', async (format, of) => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.dictionary(field, value, { maxKeys: 10 })), (values) =>
        answers('json', format, JSON.stringify(of(values))),
      ),
      { numRuns: casesOf(60, 1000) },
    );
  });
});
