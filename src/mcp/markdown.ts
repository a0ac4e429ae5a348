/** A project and a task as Markdown. Texts of users stand in it as quotes. */
import { listMembers } from '../handlers/members.ts';
import { readProject } from '../handlers/projects.ts';
import { listTasks } from '../handlers/task-lists.ts';
import type { Project } from '../schemas/projects.ts';
import type { Caller } from './caller.ts';
import { commentLines } from './comment-tools.ts';
import { quote, quoteLines } from './quote.ts';
import { inBrief, taskLine, viewTasks, type WholeTask } from './task-view.ts';

/** What a document of a project shows at most. */
const TASKS_MAX = 200;
const MEMBERS_MAX = 100;

/** Returns a project with its members and open tasks. @throws {Problem} `not_found`. */
export async function projectMarkdown(
  caller: Caller,
  projectId: string,
): Promise<{ project: Project; markdown: string }> {
  const { db, user } = caller;
  const project = await readProject(db, user, projectId);
  const [members, tasks] = await Promise.all([
    listMembers(db, user, projectId, { limit: MEMBERS_MAX }),
    listTasks(db, user, projectId, {
      limit: TASKS_MAX,
      sort: 'due_at',
      status: ['todo', 'in_progress'],
    }),
  ]);
  const views = (await viewTasks(caller, tasks.items)).map(inBrief);
  const more = tasks.next_cursor === null ? '' : ', of more: find_tasks has all';
  const people = members.items.map(({ username, role }) => `- @${username} (${role})`);
  const lines = [
    `# Project ${quote(project.name)}`,
    '',
    `id ${project.id} · your role: ${project.role}${project.archived_at ? ' · archived' : ''}`,
    ...(project.description ? ['', quoteLines(project.description)] : []),
    '',
    '## Members',
    '',
    ...people,
    ...(members.next_cursor === null ? [] : ['- and others']),
    '',
    `## Open tasks (${views.length}${more})`,
    '',
    ...views.map(taskLine),
  ];
  return { project, markdown: `${lines.join('\n')}\n` };
}

/** Returns a task with its description and its latest comments. */
export function taskMarkdown(task: WholeTask): string {
  const { title, description, created_by, created_at, updated_at, completed_at } = task;
  const lines = [
    `# Task ${quote(title)}`,
    '',
    taskLine(inBrief(task)),
    '',
    `Created ${created_at}${created_by ? ` by @${created_by}` : ''}, last changed ${updated_at}${completed_at ? `, completed ${completed_at}` : ''}.`,
    ...(description ? ['', quoteLines(description)] : []),
    ...commentLines(task).flatMap((line) => ['', line]),
  ];
  return `${lines.join('\n')}\n`;
}
