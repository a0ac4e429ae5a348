/**
 * Creates a project with a task, finishes the task, and prints what is done, through `treaty` of @elysiajs/eden: paths, fields
 * and problems have the types of the server. For programs in a repository that has this one.
 *
 *     MANTOU_URL=http://127.0.0.1:3000 MANTOU_TOKEN=mt_… bun examples/eden.ts
 */
import { treaty } from '@elysiajs/eden';
import type { App } from '../src/app.ts';

const { MANTOU_URL = 'http://127.0.0.1:3000', MANTOU_TOKEN } = process.env;
const client = treaty<App>(MANTOU_URL, {
  headers: { authorization: `Bearer ${MANTOU_TOKEN}` },
  // Otherwise Eden makes a Date of each text that looks like one, of a title too.
  parseDate: false,
});

const project = await client.projects.post({ name: 'Kitchen' });
if (project.error) throw new Error(project.error.value.detail);
const projectId = project.data.id;

const task = await client.tasks
  .projects({ project_id: projectId })
  .post({ title: 'Choose the tiles' });
if (task.error) throw new Error(task.error.value.detail);

const { id, version } = task.data;
const done = await client.tasks({ task_id: id }).patch({ status: 'done', version });
if (done.error?.status === 412) throw new Error('another has changed the task meanwhile');

const tasks = await client.tasks.get({ query: { status: ['done'], project_id: [projectId] } });
for (const { title, completed_at } of tasks.data?.items ?? []) console.log(title, completed_at);
