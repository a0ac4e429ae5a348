/** `bun run import`: sends documents of other programs to an API, and prints what became of them. */
import { readdir, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { StartupError } from '../errors/startup-error.ts';
import { describeError } from '../lib/describe-error.ts';
import type { ImportReport } from '../schemas/import-reports.ts';
import type { ProjectImported } from '../schemas/project-imports.ts';
import { exitWithUsage, runCommand, showProgress } from './command.ts';

const usage = `bun run import FILE… [--project NAME] [--format FORMAT] [--time-zone ZONE] [--dry-run] [--url URL]

Imports the tasks of other programs, or a project that was exported, all or nothing, and prints what was left out, cut or
changed. FILE is iCalendar (.ics, or a folder of such files), CSV or a Todoist export (.csv, .tsv), todo.txt and done.txt
(.txt), or JSON of Trello, Taskwarrior, GitHub or an export (.json, .jsonl); several .ics or .txt files become one project.
- reads standard input, and needs --format.

  --project NAME    names the project in place of the document
  --format FORMAT   icalendar, csv, todoist, todotxt, trello, taskwarrior, github or mantou, where the file does not tell
  --time-zone ZONE  the time zone of local times in the document: by default, that of this machine
  --dry-run         prints what would become of the document, and writes nothing
  --url URL         the API: by default, MANTOU_URL, or http://127.0.0.1:3000

The environment variable MANTOU_TOKEN is an API token with the scope write. It is never an argument, because other users can see the
list of processes.`;

const ICALENDAR = 'text/calendar';
const PLAIN = 'text/plain';
const JSON_LINES = 'application/x-ndjson';
const typeOfEnding: Record<string, string> = {
  '.ics': ICALENDAR,
  '.csv': 'text/csv',
  '.tsv': 'text/csv',
  '.txt': PLAIN,
  '.json': 'application/json',
  '.jsonl': JSON_LINES,
  '.ndjson': JSON_LINES,
};
const typeOfFormat: Record<string, string> = {
  icalendar: ICALENDAR,
  csv: 'text/csv',
  todoist: 'text/csv',
  todotxt: PLAIN,
};
/** Documents that stay valid one behind the other. */
const JOINABLE = [ICALENDAR, PLAIN];
const LF = 0x0a;

const text = { type: 'string' } as const;
const command = {
  usage,
  arguments: 1,
  more: true,
  options: {
    ...{ project: text, format: text, 'time-zone': text, url: text },
    'dry-run': { type: 'boolean' },
  },
} as const;

await runCommand(command, process.argv.slice(2), async (names, options) => {
  const { MANTOU_TOKEN: token, MANTOU_URL = 'http://127.0.0.1:3000' } = process.env;
  if (!token) throw new StartupError('set MANTOU_TOKEN to an API token with the scope write');
  const format = options.format as string | undefined;
  const files = (await Promise.all(names.map(filesIn))).flat();
  const type = typeOf(files, format);
  const query = new URLSearchParams({
    time_zone:
      (options['time-zone'] as string) ?? new Intl.DateTimeFormat().resolvedOptions().timeZone,
    ...(options.project !== undefined && { name: options.project as string }),
    ...(format !== undefined && { format }),
    ...(options['dry-run'] === true && { dry_run: 'true' }),
  });
  const api = ((options.url as string) ?? MANTOU_URL).replace(/\/+$/, '');
  const starts: Start[] = [];
  const progress = showProgress('Sending');
  const answer = await send(
    `${api}/projects/import?${query}`,
    token,
    type,
    read(files, starts, progress.update),
  );
  progress.wipe();
  print(answer, starts);
  return 0;
});

/** Where a file begins in what is sent. */
interface Start {
  file: string;
  /** The number of lines before it. */
  lines: number;
}

/** Returns the files to send: those of a folder are its calendars, as vdirsyncer keeps them. */
async function filesIn(name: string): Promise<string[]> {
  if (name === '-') return [name];
  const found = await stat(name).catch((error) => {
    throw new StartupError(`${name} cannot be read: ${describeError(error).message}`);
  });
  if (!found.isDirectory()) return [name];
  const files = (await readdir(name)).filter((file) => extname(file).toLowerCase() === '.ics');
  if (files.length === 0) throw new StartupError(`${name} holds no .ics files`);
  return files.sort().map((file) => join(name, file));
}

function typeOf(files: readonly string[], format: string | undefined): string {
  const types = files.map(
    (file) => typeOfFormat[format ?? ''] ?? typeOfEnding[extname(file).toLowerCase()],
  );
  const [type = format === undefined ? undefined : 'application/json'] = types;
  if (type === undefined) return exitWithUsage(command, 'say with --format what the file is');
  const isOne = types.length === 1 || types.every((one) => one === type);
  if (types.length > 1 && !(isOne && JOINABLE.includes(type)))
    return exitWithUsage(command, 'only .ics or only .txt files can be imported together');
  return type;
}

/** Yields the files, one behind the other, each on lines of its own. */
async function* read(
  files: readonly string[],
  starts: Start[],
  update: (file: string, bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  let lines = 0;
  for (const file of files) {
    starts.push({ file, lines });
    const stream = file === '-' ? Bun.stdin.stream() : Bun.file(file).stream();
    let bytes = 0;
    let last: number | undefined;
    for await (const chunk of stream) {
      bytes += chunk.length;
      last = chunk.at(-1);
      for (const byte of chunk) if (byte === LF) lines += 1;
      update(file, bytes);
      yield chunk;
    }
    if (last === LF || files.length === 1) continue;
    lines += 1;
    yield Uint8Array.of(LF);
  }
}

type Answered = ImportReport | ProjectImported;

/** @throws {StartupError} with what the API refuses, or why it cannot be reached. */
async function send(
  url: string,
  token: string,
  type: string,
  body: AsyncGenerator<Uint8Array>,
): Promise<Answered> {
  const answer = await fetch(url, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': type },
    body: streamOf(body),
  }).catch((error) => {
    throw new StartupError(`no answer of ${new URL(url).origin}: ${describeError(error).message}`);
  });
  const json = await answer.json().catch(() => undefined);
  if (answer.ok && json) return json as Answered;
  const { detail = `status ${answer.status}`, errors = [] } = (json ?? {}) as {
    detail?: string;
    errors?: { location: string; message: string }[];
  };
  const faults = errors.map(({ location, message }) => `${location} ${message}`);
  throw new StartupError(faults.length > 0 ? faults.join('; ') : detail);
}

function streamOf(chunks: AsyncGenerator<Uint8Array>) {
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await chunks.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
  });
}

function print(answer: Answered, starts: readonly Start[]) {
  const report = 'notes' in answer ? answer : answer.report;
  if ('unassigned' in answer && !report) {
    console.log(`${answer.project.name}: ${countOf(answer.tasks)}`);
    for (const { line, username } of answer.unassigned)
      console.log(`line ${line}: ${username} is not a member of the new project`);
    return;
  }
  if (!report) return;
  for (const { name, tasks } of report.projects) console.log(`${name}: ${countOf(tasks)}`);
  for (const { line, title, field, value, message } of report.notes) {
    const of = title === null ? '' : ` (${title})`;
    const quoted = value === null ? '' : `: ${value.replaceAll(/\s+/g, ' ')}`;
    console.log(`${placeOf(line, starts)}${of}: ${field} ${message}${quoted}`);
  }
  const rest = report.notes_total - report.notes.length;
  if (rest > 0) console.log(`and ${rest} more`);
}

function countOf(tasks: number): string {
  return `${tasks} task${tasks === 1 ? '' : 's'}`;
}

/** `tasks.ics:12`; the lines of the document are those of its files, one behind the other. */
function placeOf(line: number, starts: readonly Start[]): string {
  const start = starts.findLast(({ lines }) => lines < line);
  return start ? `${start.file}:${line - start.lines}` : `line ${line}`;
}
