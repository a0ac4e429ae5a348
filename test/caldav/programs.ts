/** What the suites of CalDAV programs share: a user of a server, a folder, and a proxy that counts what a program sends. */
import { afterAll, beforeAll, setDefaultTimeout } from 'bun:test';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Task } from '../../src/schemas/tasks.ts';
import { type Api, type Persona, useApi } from '../support/api.ts';
import { type DavClient, davClient, todoText } from '../support/dav.ts';
import { oddItems } from './odd-items.ts';

/** A program syncs 1,000 items one by one. */
const TIMEOUT_MS = 300_000;

export interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

/** A user with a project, and a folder that is the home of a program. */
export interface Desk {
  user: Persona;
  project: { id: string; name: string };
  /** The path of the list on the server. */
  list: string;
  /** Another client of the same user. */
  dav: DavClient;
  token: string;
  home: string;
  /** The server as the program sees it, through the proxy. */
  url: string;
  counts: Counts;
  /** Runs a program in the home. @throws when it fails, with what it said. */
  run(...command: string[]): Promise<string>;
  /** Runs a program that may fail. */
  attempt(...command: string[]): Promise<Outcome>;
}

/** What went through the proxy. */
export interface Counts {
  requests: number;
  /** Of the bodies of requests and responses. */
  bytes: number;
  /** The methods, in the order of the requests. */
  methods: string[];
  /** Sets all to zero. */
  reset(): void;
}

/** Starts the API for a file. Each call of the function returns a desk of its own. */
export function useDesks(): { api: Api; open(): Promise<Desk> } {
  const api = useApi();
  setDefaultTimeout(TIMEOUT_MS);
  let root: string;
  const proxies: { stop(force: boolean): Promise<void> }[] = [];
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'mantou-caldav-'));
  });
  afterAll(async () => {
    await Promise.all(proxies.map((proxy) => proxy.stop(true)));
    await rm(root, { recursive: true });
  });
  return {
    api,
    async open() {
      const user = await api.person('ada');
      const project = await user.createProject();
      const dav = await davClient(api, user);
      const home = await mkdtemp(join(root, 'home-'));
      const counts = createCounts();
      const proxy = countingProxy(api.url, counts);
      proxies.push(proxy);
      const attempt = (...command: string[]) => runIn(home, command);
      return {
        user,
        project,
        list: `/dav/projects/${project.id}/`,
        dav,
        token: dav.token,
        home,
        url: `http://127.0.0.1:${proxy.port}`,
        counts,
        attempt,
        async run(...command) {
          const { code, stdout, stderr } = await attempt(...command);
          if (code !== 0) throw new Error(`${command.join(' ')}: ${code}\n${stdout}\n${stderr}`);
          return stdout;
        },
      };
    },
  };
}

function createCounts(): Counts {
  return {
    requests: 0,
    bytes: 0,
    methods: [],
    reset() {
      Object.assign(this, { requests: 0, bytes: 0, methods: [] });
    },
  };
}

function countingProxy(target: string, counts: Counts) {
  return Bun.serve({
    port: 0,
    hostname: '127.0.0.1',
    idleTimeout: 255,
    async fetch(request) {
      const { pathname, search } = new URL(request.url);
      const sent = await request.bytes();
      const headers = new Headers(request.headers);
      headers.delete('accept-encoding');
      const answer = await fetch(target + pathname + search, {
        method: request.method,
        headers,
        redirect: 'manual',
        ...(sent.length > 0 && { body: sent }),
      });
      const body = await answer.bytes();
      counts.requests += 1;
      counts.bytes += sent.length + body.length;
      counts.methods.push(request.method);
      const answered = new Headers(answer.headers);
      answered.delete('transfer-encoding');
      const isEmpty = [204, 304].includes(answer.status);
      return new Response(isEmpty ? null : body, { status: answer.status, headers: answered });
    },
  });
}

async function runIn(home: string, command: string[]): Promise<Outcome> {
  const child = Bun.spawn(command, {
    cwd: home,
    // Debian's programs run with Debian's Python, whatever else comes first in the path.
    env: {
      PATH: '/usr/bin:/bin',
      HOME: home,
      TZ: 'Europe/Berlin',
      LC_ALL: 'C.UTF-8',
      PYTHONWARNINGS: 'ignore',
    },
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
  });
  const [stdout, stderr, code] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  return { code, stdout, stderr };
}

/** Returns the version of a package of Debian. */
export async function versionOf(name: string): Promise<string> {
  const { stdout } = await runIn('/', ['dpkg-query', '-W', name]);
  return stdout.trim().replace(/^.*\t(?:\d+:)?|-[^-]*$/g, '');
}

/** Fills a project with tasks. */
export async function fill({ user, project }: Desk, count: number) {
  for (let made = 0; made < count; made += 100)
    await user.post('/tasks/batch', {
      operations: Array.from({ length: Math.min(100, count - made) }, (_, n) => ({
        op: 'create',
        project_id: project.id,
        title: `Task ${made + n}`,
        due_on: '2026-12-24',
      })),
    });
}

/** Measures one run, for docs/caldav.md. */
export async function measure(name: string, { counts }: Desk, work: () => Promise<unknown>) {
  counts.reset();
  const beganMs = performance.now();
  await work();
  const ms = Math.round(performance.now() - beganMs);
  console.log(`${name}: ${counts.requests} requests, ${counts.bytes} bytes, ${ms} ms`);
}

/** Lines that say when or by what a text was written, or in other words what the default says. */
const OF_THE_WRITER = /^(DTSTAMP|LAST-MODIFIED|SEQUENCE|PRODID|CREATED|VERSION|CALSCALE)\b/;

/** Returns the content lines of a text, unfolded and sorted. */
export const linesOf = (text: string): string[] =>
  text
    .replace(/\r?\n[ \t]/g, '')
    .split(/\r?\n/)
    .filter((line) => line !== '' && !OF_THE_WRITER.test(line))
    // The type of a time is a time unless the line says otherwise (RFC 5545 §3.2.20).
    .map((line) => line.replace(';VALUE=DATE-TIME', ''))
    .sort();

/** Returns the names of the lines of one text that the other lacks, changed ones among them. */
export function lostIn(before: string, after: string): string[] {
  const kept = linesOf(after);
  const lost = linesOf(before).filter((line) => !kept.includes(line));
  return [...new Set(lost.map((line) => line.replace(/[;:].*$/s, '')))];
}

/** Puts the odd items on the server, as another program would. */
export async function putOddItems({ dav, list }: Desk) {
  for (const [uid, lines] of Object.entries(oddItems)) {
    const { status } = await dav.put(`${list}${uid}.ics`, todoText(uid, ...lines));
    if (status !== 201) throw new Error(`${uid}: ${status}`);
  }
}

/** Returns the text of an item on the server, by its UID. */
export const readText = async ({ dav, list }: Desk, uid: string) =>
  (await dav.get(`${list}${encodeURIComponent(uid)}.ics`)).text;

/** Returns the tasks of the project as the API has them, by their titles. */
export async function tasksOf({ user, project }: Desk): Promise<Record<string, Task>> {
  const { body } = await user.get(`/tasks/projects/${project.id}?limit=200`);
  return Object.fromEntries(body.items.map((task: Task) => [task.title, task]));
}

export const ODD_UIDS = Object.keys(oddItems);
