/** `search` and `fetch`, by which research agents read any server: one finds, the other returns a text to cite. */
import { Type } from '@sinclair/typebox';
import { Problem } from '../errors/problem.ts';
import { listProjects } from '../handlers/projects.ts';
import { listAllTasks } from '../handlers/task-lists.ts';
import { AllTasksQuery } from '../schemas/tasks.ts';
import { withComments } from './comment-tools.ts';
import { projectMarkdown, taskMarkdown } from './markdown.ts';
import { closed, taskId } from './pieces.ts';
import { quote } from './quote.ts';
import { readIfVisible } from './task-reads.ts';
import { viewTasks } from './task-view.ts';
import { defineTool } from './tool.ts';

const TASKS_MAX = 20;
const PROJECTS_MAX = 5;

const text = Type.String();

export const search = defineTool('search', {
  description: 'Search tasks of any status, and projects, by words. Read a result with fetch.',
  effect: 'reads',
  input: closed({ query: { ...AllTasksQuery.properties.q, description: undefined } }),
  output: closed({ results: Type.Array(closed({ id: text, title: text, url: text })) }),
  async run({ db, user, urlOf }, { query: q }) {
    const [tasks, projects] = await Promise.all([
      listAllTasks(db, user, { q, limit: TASKS_MAX, sort: '-updated_at', archived: 'any' }),
      listProjects(db, user, { q, limit: PROJECTS_MAX, sort: '-updated_at', archived: 'any' }),
    ]);
    const results = [
      ...projects.items.map(({ id, name }) => ({ id, title: name, url: urlOf(`/projects/${id}`) })),
      ...tasks.items.map(({ id, title }) => ({ id, title, url: urlOf(`/tasks/${id}`) })),
    ];
    return {
      data: { results },
      text: [
        `${results.length} results.`,
        ...results.map(({ id, title }) => `- ${quote(title)} · id ${id}`),
      ].join('\n'),
    };
  },
});

export const fetchTool = defineTool('fetch', {
  description: 'Read a result of search as Markdown.',
  effect: 'reads',
  input: closed({ id: taskId }),
  output: closed({ id: text, title: text, text, url: text }),
  async run(caller, { id }) {
    const task = await readIfVisible(caller, id);
    if (task) {
      const [view] = await withComments(caller, await viewTasks(caller, [task]));
      if (!view) throw new Problem('not_found');
      const url = caller.urlOf(`/tasks/${task.id}`);
      const markdown = taskMarkdown(view);
      return { data: { id: task.id, title: task.title, text: markdown, url }, text: markdown };
    }
    const { project, markdown } = await projectMarkdown(caller, id);
    const url = caller.urlOf(`/projects/${project.id}`);
    return {
      data: { id: project.id, title: project.name, text: markdown, url },
      text: markdown,
    };
  },
});
