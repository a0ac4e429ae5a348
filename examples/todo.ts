/**
 * A to-do list for the command line:
 *
 *   export MANTOU_URL=http://127.0.0.1:3000 MANTOU_TOKEN=mt_…
 *   bun examples/todo.ts add Choose the tiles
 *   bun examples/todo.ts list
 *   bun examples/todo.ts done 2b9c11
 *   bun examples/todo.ts watch
 *
 * The token is an API token with the scopes `read` and `write`. Tasks are added to the project `MANTOU_PROJECT`, by default
 * "To do", which is created with the first task. A task is named by the end of its id.
 */
import { createClient, type Event, type Task } from '../client/src/index.ts';

const HANDLE_LENGTH = 6;
const env = process.env;
const { projects, tasks, changes } = createClient(env.MANTOU_URL ?? 'http://127.0.0.1:3000', {
  token: env.MANTOU_TOKEN ?? end('set MANTOU_TOKEN to an API token'),
});

const commands: Record<string, (words: string[]) => Promise<void>> = {
  async add(words) {
    const title = words.join(' ') || end('write: add TITLE');
    console.log(describe(await tasks.create(await findProject(), { title })));
  },
  async list() {
    for await (const task of tasks.list({ status: ['todo', 'in_progress'] }))
      console.log(describe(task));
  },
  async done([handle = end('write: done ID')]) {
    for await (const task of tasks.list({ status_not: ['done', 'cancelled'] }))
      if (task.id.endsWith(handle))
        // Refused where the task has changed since it was read.
        return console.log(describe(await tasks.update(task, { status: 'done' })));
    end(`no open task ends in ${handle}`);
  },
  async watch() {
    const { next_cursor: since } = await changes.page();
    console.log('watching');
    for await (const event of changes.follow({ since })) console.log(tell(event));
  },
};

/** Returns the id of the project for new tasks. */
async function findProject(): Promise<string> {
  const name = env.MANTOU_PROJECT ?? 'To do';
  for await (const project of projects.list())
    if (project.name === name && project.role !== 'viewer') return project.id;
  return (await projects.create({ name })).id;
}

const describe = ({ id, title, status }: Task) =>
  `${id.slice(-HANDLE_LENGTH)} ${status === 'done' ? '✓' : '·'} ${title}`;

const tell = ({ at, action, subject_id, fields }: Event) =>
  `${at} ${action} ${subject_id.slice(-HANDLE_LENGTH)} ${fields.title ?? fields.status ?? ''}`.trimEnd();

function end(reason: string): never {
  console.error(`todo: ${reason}`);
  process.exit(1);
}

const [name = '', ...words] = process.argv.slice(2);
const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
if (!command) end(`write one of: ${Object.keys(commands).join(', ')}`);
await command(words).catch((error: Error) => end(error.message));
