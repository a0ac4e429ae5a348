/** A copy of what a user may see, made of a snapshot and kept by the feed, as docs/api.md says. */
import { expect } from 'bun:test';
import type { Client } from './api.ts';

// biome-ignore lint/suspicious/noExplicitAny: rows are kept as they come.
type Json = any;

interface ProjectCopy extends Record<string, unknown> {
  tasks: Record<string, Json>;
  comments: Record<string, Json>;
  members: Record<string, Json>;
}

export class Copy {
  readonly projects: Record<string, ProjectCopy> = {};
  cursor: string | undefined;
  pages = 0;

  constructor(
    readonly who: Client,
    readonly userId: string,
    /** Runs before each request, to change what the next page holds. */
    readonly meanwhile: () => Promise<unknown> = async () => undefined,
  ) {}

  /** Reads a snapshot to its end; of one project, on top of the copy at `since`. */
  async readSnapshot(limit: number, since?: string, projectId?: string) {
    const filter = projectId === undefined ? '' : `&project_id=${projectId}`;
    if (projectId !== undefined) delete this.projects[projectId];
    const from = since === undefined ? '' : `&since=${since}`;
    for (let query = `snapshot=true${from}`; ; query = `since=${this.cursor}`) {
      await this.meanwhile();
      const { status, body } = await this.who.get(`/changes?${query}${filter}&limit=${limit}`);
      expect([status, body.items]).toEqual([200, []]);
      this.pages += 1;
      this.store(body.snapshot, limit);
      this.cursor = body.next_cursor;
      if (body.snapshot.complete) return;
    }
  }

  private store({ projects, members, tasks, comments }: Json, limit: number) {
    const rows = projects.length + members.length + tasks.length + comments.length;
    expect(rows).toBeLessThanOrEqual(limit);
    for (const project of projects)
      this.projects[project.id] = { ...project, tasks: {}, comments: {}, members: {} };
    for (const { project_id, ...member } of members)
      (this.projects[project_id] as ProjectCopy).members[member.user_id] = member.role;
    // It throws for a task whose project has not come before.
    for (const task of tasks) (this.projects[task.project_id] as ProjectCopy).tasks[task.id] = task;
    for (const { project_id, ...comment } of comments)
      (this.projects[project_id] as ProjectCopy).comments[comment.id] = comment;
  }

  /** Reads the feed to its end. */
  async catchUp(limit: number) {
    for (let isFull = true; isFull; ) {
      await this.meanwhile();
      const { status, body } = await this.who.get(`/changes?since=${this.cursor}&limit=${limit}`);
      expect([status, body.snapshot]).toEqual([200, undefined]);
      this.cursor = body.next_cursor;
      isFull = body.items.length === limit;
      for (const event of body.items)
        if (event.action === 'access.granted') {
          // The events after this one come again, from its cursor on.
          await this.readSnapshot(limit, event.cursor, event.project_id);
          isFull = true;
          break;
        } else this.apply(event);
    }
  }

  private apply({ action, project_id, subject_id: id, version, fields }: Json) {
    if (action === 'access.lost') delete this.projects[project_id];
    const project = this.projects[project_id];
    if (!project) return;
    const task = project.tasks[id];
    if (action === 'project.updated' && version > Number(project.version))
      Object.assign(project, fields, { version });
    else if (/^task\.(created|restored)$/.test(action) && !(task?.version >= version))
      project.tasks[id] = { ...fields, id, project_id, version };
    else if (action === 'task.updated' && task?.version < version)
      Object.assign(task, fields, { version });
    else if (action === 'task.deleted') {
      delete project.tasks[id];
      for (const { id: commentId, task_id } of Object.values(project.comments))
        if (task_id === id) delete project.comments[commentId];
    } else if (/^comment\./.test(action)) applyToComments(project, { action, id, version, fields });
    else if (action === 'member.removed') delete project.members[id];
    else if (/^member\./.test(action)) project.members[id] = fields.role;
    if (action === 'member.updated' && id === this.userId) project.role = fields.role;
  }
}

function applyToComments(project: ProjectCopy, { action, id, version, fields }: Json) {
  const { comment_count, ...comment } = fields;
  const known = project.comments[id];
  const task = project.tasks[fields.task_id];
  if (task && comment_count !== undefined) task.comment_count = comment_count;
  if (action === 'comment.deleted') delete project.comments[id];
  else if (action === 'comment.created' && !(known?.version >= version))
    project.comments[id] = { ...comment, id, version };
  else if (action === 'comment.updated' && known?.version < version)
    Object.assign(known, comment, { version });
}

/** Returns everything that a user may see, by the lists. */
export async function seenBy(who: Client): Promise<Record<string, Json>> {
  const projects: Record<string, Json> = {};
  for (const project of await listAll(who, '/projects/?archived=any&')) {
    const tasks = await listAll(who, `/tasks/projects/${project.id}?`);
    const members = await listAll(who, `/projects/${project.id}/members?`);
    const comments: Json[] = [];
    for (const { id, comment_count } of tasks)
      if (comment_count > 0) comments.push(...(await listAll(who, `/tasks/${id}/comments?`)));
    projects[project.id] = {
      ...project,
      tasks: Object.fromEntries(tasks.map((task) => [task.id, task])),
      comments: Object.fromEntries(comments.map((comment) => [comment.id, comment])),
      members: Object.fromEntries(members.map(({ user_id, role }) => [user_id, role])),
    };
  }
  return projects;
}

async function listAll(who: Client, path: string): Promise<Json[]> {
  const items: Json[] = [];
  for (let cursor = ''; ; ) {
    const { body } = await who.get(`${path}limit=200${cursor}`);
    items.push(...body.items);
    if (body.next_cursor === null) return items;
    cursor = `&cursor=${body.next_cursor}`;
  }
}
