/**
 * Keeps a local copy of everything that a user may see, and continues when it is started again:
 *
 *   bun examples/mirror.ts http://127.0.0.1:3000 mt_… copy.json
 *
 * The token is an API token with the scope `read`. The file is replaced atomically and holds the cursor of its contents, so the
 * program may be killed at any moment and continues from there, however long it was away.
 */
import { readFile, rename, writeFile } from 'node:fs/promises';
import {
  type Comment,
  createClient,
  type Event,
  ProblemError,
  type Project as ProjectRow,
  StartAfreshError,
  type Task,
} from '../client/src/index.ts';

const RETRY_MS = 1000;
const WAIT_SECONDS = 30;

interface Project extends ProjectRow {
  tasks: Record<string, Task>;
  comments: Record<string, Comment>;
  /** Role by user id. */
  members: Record<string, string>;
}
export interface Copy {
  cursor: string;
  user_id: string;
  projects: Record<string, Project>;
}

/** Mirrors until `signal` aborts. @throws an error that a retry cannot cure, such as a revoked token. */
export async function mirror(url: string, token: string, file: string, signal: AbortSignal) {
  const { users, changes } = createClient(url, { token });

  async function startAfresh(): Promise<Copy> {
    const { id } = await users.me();
    const copy: Copy = { cursor: '', user_id: id, projects: {} };
    await read(copy, {});
    await save(copy);
    return copy;
  }

  /** Reads a snapshot into the copy; of one project, on top of a cursor. */
  async function read(copy: Copy, query: { project_id?: string[]; since?: string }) {
    for await (const page of changes.snapshot(query, { signal })) {
      for (const row of page.projects)
        copy.projects[row.id] = { ...row, tasks: {}, comments: {}, members: {} };
      for (const { project_id, user_id, role } of page.members)
        Object.assign(copy.projects[project_id]?.members ?? {}, { [user_id]: role });
      for (const task of page.tasks)
        Object.assign(copy.projects[task.project_id]?.tasks ?? {}, { [task.id]: task });
      for (const { project_id, ...comment } of page.comments)
        Object.assign(copy.projects[project_id]?.comments ?? {}, { [comment.id]: comment });
      if (page.complete) copy.cursor = page.cursor;
    }
  }

  /** Applies an event, and moves the cursor behind it. */
  async function apply(copy: Copy, event: Event) {
    const { action, project_id, subject_id: id, version, fields, cursor } = event;
    if (action === 'access.lost' || action === 'access.granted') delete copy.projects[project_id];
    if (action === 'access.granted') return read(copy, { project_id: [project_id], since: cursor });
    copy.cursor = cursor;
    const project = copy.projects[project_id];
    if (!project) return;
    const task = project.tasks[id];
    if (action === 'project.updated') {
      if (version > project.version) Object.assign(project, fields, { version });
    } else if (action === 'task.created' || action === 'task.restored') {
      if (!task || version > task.version)
        project.tasks[id] = { ...fields, id, project_id, version } as Task;
    } else if (action === 'task.updated') {
      if (task && version > task.version) Object.assign(task, fields, { version });
    } else if (action === 'task.deleted') {
      delete project.tasks[id];
      for (const comment of Object.values(project.comments))
        if (comment.task_id === id) delete project.comments[comment.id];
    } else if (action.startsWith('comment.')) applyToComments(project, event);
    else if (action === 'member.removed') delete project.members[id];
    else if (action === 'member.added' || action === 'member.updated')
      project.members[id] = String(fields.role);
    if (action === 'member.updated' && id === copy.user_id)
      Object.assign(project, { role: fields.role });
  }

  /** Applies an event of a comment. It says how many comments its task has, whether it comes for the first time or again. */
  function applyToComments({ tasks, comments }: Project, event: Event) {
    const { action, subject_id: id, version } = event;
    const { comment_count, ...fields } = event.fields as Partial<Comment & Task>;
    const task = tasks[fields.task_id ?? ''];
    if (task && comment_count !== undefined) task.comment_count = comment_count;
    const comment = comments[id];
    if (action === 'comment.deleted') delete comments[id];
    else if (action === 'comment.created') {
      if (!comment || version > comment.version)
        comments[id] = { ...fields, id, version } as Comment;
    } else if (comment && version > comment.version) Object.assign(comment, fields, { version });
  }

  async function save(copy: Copy) {
    await writeFile(`${file}.new`, JSON.stringify(copy));
    await rename(`${file}.new`, file);
  }

  /** Waits for changes, and applies them. */
  async function catchUp(copy: Copy) {
    const query = { since: copy.cursor, wait: WAIT_SECONDS };
    const { items, next_cursor } = await changes.page(query, { signal });
    for (const event of items) {
      await apply(copy, event);
      // After a project was read, the changes go on from the cursor of the copy.
      if (copy.cursor !== event.cursor) return save(copy);
    }
    copy.cursor = next_cursor;
    await save(copy);
  }

  let copy: Copy | undefined = await readFile(file, 'utf8').then(JSON.parse, () => undefined);
  while (!signal.aborted) {
    try {
      copy ??= await startAfresh();
      await catchUp(copy);
    } catch (error) {
      const isForeign = error instanceof ProblemError && error.code === 'invalid_cursor';
      // The server no longer has what the cursor stands for, or is another one than the copy is of.
      if (error instanceof StartAfreshError || (isForeign && copy)) copy = undefined;
      else if (error instanceof ProblemError && error.status < 500 && error.status !== 429)
        throw error;
      else if (!signal.aborted) await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

if (import.meta.main) {
  const [url = '', token = '', file = ''] = process.argv.slice(2);
  const end = (reason: string): never => {
    console.error(`mirror: ${reason}`);
    process.exit(1);
  };
  if (file === '') end('write: bun examples/mirror.ts URL API_TOKEN FILE');
  // Once it has begun, an outage is waited for; at the start it is more likely a wrong URL.
  await fetch(`${url}/health/live`).catch((error: { code?: string }) =>
    end(`no server answers at ${url} (${error.code ?? 'no URL'}): start it, or correct the URL`),
  );
  await mirror(url, token, file, new AbortController().signal).catch((error: Error) =>
    end(error.message),
  );
}
