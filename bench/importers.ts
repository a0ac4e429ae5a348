/**
 * `bun run bench:importers`: how fast the documents of other programs are imported, and the most memory that the process of
 * the API holds meanwhile, beside a document of ours. Prints figures; asserts nothing.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { logIn, MB, measure, start } from './own-server.ts';
import { median } from './report.ts';

const TASKS = Number(process.env.BENCH_TASKS ?? 10_000);
/** A server of its own for each, so that one format leaves no memory to the next. */
const ROUNDS = 3;

const AT = '2026-11-23T03:14:07.123Z';
const numbers = Array.from({ length: TASKS }, (_, n) => n);
const words = (n: number) =>
  Array.from({ length: 12 }, (_, place) => `word${(n * (place + 7)) % 5000}`);
const title = (n: number) => `Task ${n} ${words(n).slice(0, 4).join(' ')}`;
const note = (n: number) => words(n).join(' ');
const json = 'application/json';

/** The document of each format, with texts of ordinary length. */
const documents: Record<string, [type: string, text: () => string]> = {
  'a document of ours': [
    json,
    () =>
      JSON.stringify({
        ...{ format: 'mantou-project', format_version: 1, exported_at: AT },
        project: {
          ...{ name: 'Bench', description: null, archived_at: null },
          ...{ created_at: AT, updated_at: AT },
        },
        tasks: numbers.map((n) => ({
          ...{ title: title(n), description: note(n), status: 'todo', priority: 2, due_at: AT },
          ...{ assignee: 'bench', labels: [`label${n % 40}`], completed_at: null },
          ...{ created_at: AT, updated_at: AT, created_by: 'bench' },
        })),
      }),
  ],
  iCalendar: [
    'text/calendar',
    () =>
      [
        'BEGIN:VCALENDAR',
        ...numbers.flatMap((n) => [
          ...['BEGIN:VTODO', `UID:${n}@example.org`, `SUMMARY:${title(n)}`],
          ...[`DESCRIPTION:${note(n)}`, `CATEGORIES:label${n % 40}`, 'PRIORITY:5'],
          ...['DUE;TZID=Europe/Berlin:20261224T180000', 'CREATED:20261123T031407Z'],
          ...['LAST-MODIFIED:20261123T031407Z', 'END:VTODO'],
        ]),
        'END:VCALENDAR',
      ].join('\r\n'),
  ],
  CSV: [
    'text/csv',
    () =>
      [
        'title,description,priority,due_at,labels,created_at',
        ...numbers.map((n) => `"${title(n)}","${note(n)}",2,${AT},label${n % 40},${AT}`),
      ].join('\r\n'),
  ],
  Todoist: [
    'text/csv',
    () =>
      [
        'TYPE,CONTENT,DESCRIPTION,PRIORITY,INDENT,AUTHOR,RESPONSIBLE,DATE,DATE_LANG,TIMEZONE',
        ...numbers.map(
          (n) =>
            `task,${title(n)} @label${n % 40},${note(n)},2,1,Ada (1),,2026-12-24T18:00:00,en,Europe/Berlin`,
        ),
      ].join('\r\n'),
  ],
  Trello: [
    json,
    () =>
      JSON.stringify({
        ...{ id: 'b', name: 'Bench', idOrganization: null },
        cards: numbers.map((n) => ({
          ...{ id: `6565c0de${String(n).padStart(16, '0')}`, name: title(n), desc: note(n) },
          ...{ idList: `l${n % 5}`, pos: n, due: AT, closed: false, dateLastActivity: AT },
          ...{ labels: [{ id: 'c', name: `label${n % 40}`, color: 'green' }], idMembers: [] },
          badges: { votes: 0, comments: 0, attachments: 0, due: AT, dueComplete: false },
        })),
        lists: numbers.slice(0, 5).map((n) => ({ id: `l${n}`, name: `List ${n}`, pos: n })),
        actions: numbers
          .slice(0, 1000)
          .map((n) => ({ type: 'updateCard', date: AT, data: { card: { name: title(n) } } })),
      }),
  ],
  Taskwarrior: [
    json,
    () =>
      `[\n${numbers
        .map((n) =>
          JSON.stringify({
            ...{ id: n, description: title(n), due: '20261224T170000Z', entry: '20261123T031407Z' },
            ...{ modified: '20261123T031407Z', priority: 'M', status: 'pending' },
            ...{ uuid: crypto.randomUUID(), tags: [`label${n % 40}`], urgency: 1 },
            annotations: [{ entry: '20261123T031407Z', description: note(n) }],
          }),
        )
        .join(',\n')}\n]`,
  ],
  'todo.txt': [
    'text/plain',
    () =>
      numbers.map((n) => `(C) 2026-11-23 ${title(n)} +label${n % 40} due:2026-12-24`).join('\n'),
  ],
  'GitHub issues': [
    json,
    () =>
      JSON.stringify(
        numbers.map((n) => ({
          ...{ html_url: `https://github.com/ada/bench/issues/${n}`, number: n, title: title(n) },
          ...{ body: note(n), state: 'open', labels: [{ name: `label${n % 40}`, color: 'f' }] },
          ...{ assignees: [], milestone: null, comments: 0, created_at: AT, updated_at: AT },
        })),
      ),
  ],
};

async function importOnce(type: string, text: string) {
  const folder = await mkdtemp(join(tmpdir(), 'mantou-bench-'));
  const { child, url } = await start(join(folder, 'data'));
  try {
    const authorization = await logIn(url);
    return await measure(child.pid, async () => {
      const answer = await fetch(`${url}/projects/import`, {
        method: 'POST',
        headers: { 'content-type': type, authorization },
        body: text,
      });
      const { tasks } = (await answer.json()) as { tasks?: number };
      if (tasks !== TASKS) throw new Error(`answered ${answer.status} for ${type}`);
    });
  } finally {
    child.kill('SIGTERM');
    await child.exited;
    await rm(folder, { recursive: true, force: true });
  }
}

console.log(`${TASKS} tasks, medians of ${ROUNDS}\n`);
console.log('| document | MB | seconds | memory before, MB | peak, MB |');
console.log('| --- | --- | --- | --- | --- |');
for (const [name, [type, write]] of Object.entries(documents)) {
  const text = write();
  const runs: Awaited<ReturnType<typeof importOnce>>[] = [];
  for (let round = 0; round < ROUNDS; round += 1) runs.push(await importOnce(type, text));
  const of = (figure: (run: (typeof runs)[number]) => number) => median(runs.map(figure));
  console.log(
    `| ${name} | ${(Buffer.byteLength(text) / MB).toFixed(1)} | ${of(({ seconds }) => seconds).toFixed(2)} | ${of(({ before_mb }) => before_mb).toFixed(0)} | ${of(({ peak_mb }) => peak_mb).toFixed(0)} |`,
  );
}
