/**
 * Keeps a local copy of everything that a user may see, for as long as it runs and again when it is started again:
 *
 *   bun examples/mirror.ts http://127.0.0.1:3000 mt_… copy.json
 *
 * The token is an API token with the scope `read`. The copy is a file that is replaced whole, together with the cursor it
 * belongs to, so this can be killed at any moment: it goes on from there, however long it was away.
 */
import { readFile, rename, writeFile } from 'node:fs/promises';

const PAGE_LIMIT = 200;
const RETRY_MS = 1000;
/** The server sends something every 15 seconds: after twice that the connection is taken for dead. */
const SILENCE_MS = 30_000;

// biome-ignore lint/suspicious/noExplicitAny: what is mirrored is kept as it comes.
type Json = any;
interface Project extends Record<string, unknown> {
  version: number;
  tasks: Record<string, Json>;
  /** Role by user; nobody's for viewers. */
  members: Record<string, string>;
}
export interface Copy {
  cursor: string;
  user_id: string;
  projects: Record<string, Project>;
}

/** @param signal ends it. @throws what trying again does not change, such as a token that is of no use any more. */
export async function mirror(url: string, token: string, file: string, signal: AbortSignal) {
  async function request(path: string, headers: Record<string, string> = {}) {
    const authorization = `Bearer ${token}`;
    const answer = await fetch(url + path, { headers: { authorization, ...headers }, signal });
    if (answer.ok) return answer;
    const { status } = answer;
    throw Object.assign(new Error(`${path} is answered ${status}`), { status });
  }
  /** @returns undefined for what we may not see, or not any more. */
  async function get(path: string): Promise<Json> {
    const answer = await request(path).catch((error) => {
      if (error.status !== 403 && error.status !== 404) throw error;
    });
    return answer?.json();
  }
  async function list(path: string, filters = ''): Promise<Json[] | undefined> {
    const items: Json[] = [];
    for (let query = `?limit=${PAGE_LIMIT}${filters}`; ; ) {
      const page = await get(path + query);
      if (!page) return undefined;
      items.push(...page.items);
      if (page.next_cursor === null) return items;
      query = `?limit=${PAGE_LIMIT}${filters}&cursor=${page.next_cursor}`;
    }
  }

  /** The cursor first: what changes while all is read comes again as an event. */
  async function startAfresh(): Promise<Copy> {
    const { next_cursor: cursor } = await get('/changes');
    const copy: Copy = { cursor, user_id: (await get('/users/me')).id, projects: {} };
    for (const { id } of (await list('/projects', '&archived=any')) ?? [])
      await readProject(copy, id);
    return copy;
  }

  async function readProject({ projects }: Copy, id: string) {
    const project = await get(`/projects/${id}`);
    const tasks = await list(`/tasks/projects/${id}`);
    const members = (await list(`/projects/${id}/members`)) ?? [];
    const by_id = (items: Json[]) => Object.fromEntries(items.map((item) => [item.id, item]));
    const roles = Object.fromEntries(members.map(({ user_id, role }) => [user_id, role]));
    if (project && tasks) projects[id] = { ...project, tasks: by_id(tasks), members: roles };
    else delete projects[id];
  }

  async function apply(copy: Copy, { action, project_id, subject_id: id, version, fields }: Json) {
    if (action === 'access.lost') delete copy.projects[project_id];
    if (action === 'access.granted') await readProject(copy, project_id);
    const project = copy.projects[project_id];
    const [subject, change] = action.split('.');
    if (!project || subject === 'access') return;
    if (subject === 'project') {
      if (version > project.version) Object.assign(project, fields, { version });
    } else if (subject === 'task') {
      const task = project.tasks[id];
      const is_news = task ? version > task.version : change === 'created';
      if (change === 'deleted') delete project.tasks[id];
      else if (is_news) project.tasks[id] = { ...task, ...fields, id, project_id, version };
    } else if (id === copy.user_id) await readProject(copy, project_id);
    else if (change === 'removed') delete project.members[id];
    else project.members[id] = fields.role;
  }

  async function save(copy: Copy) {
    await writeFile(`${file}.new`, JSON.stringify(copy));
    await rename(`${file}.new`, file);
  }

  /** All that is waiting, page by page. */
  async function catchUp(copy: Copy) {
    for (let is_full = true; is_full; ) {
      const page = await get(`/changes?limit=${PAGE_LIMIT}&since=${copy.cursor}`);
      for (const event of page.items) await apply(copy, event);
      copy.cursor = page.next_cursor;
      await save(copy);
      is_full = page.items.length === PAGE_LIMIT;
    }
  }

  /** What happens from now on, until the connection ends. */
  async function follow(copy: Copy) {
    const stream: Json = await request('/changes/stream', { 'last-event-id': copy.cursor });
    const reader = stream.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = ''; ; ) {
      const silence = setTimeout(() => reader.cancel(), SILENCE_MS);
      const { value, done } = await reader.read().finally(() => clearTimeout(silence));
      if (done) return;
      const messages = (text + value).split('\n\n');
      text = messages.pop() ?? '';
      for (const message of messages) {
        const data = /^data: (.*)$/m.exec(message)?.[1];
        if (data) await apply(copy, JSON.parse(data));
        copy.cursor = /^id: (.*)$/m.exec(message)?.[1] ?? copy.cursor;
      }
      await save(copy);
    }
  }

  let copy: Copy | undefined = await readFile(file, 'utf8').then(JSON.parse, () => undefined);
  while (!signal.aborted) {
    try {
      copy ??= await startAfresh();
      await catchUp(copy);
      await follow(copy);
    } catch (error) {
      const { status } = error as { status?: number };
      if (status === 410) copy = undefined;
      else if (status !== undefined && status < 500 && status !== 429) throw error;
      else if (!signal.aborted) await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

if (import.meta.main) {
  const [url = '', token = '', file = ''] = process.argv.slice(2);
  await mirror(url, token, file, new AbortController().signal);
}
