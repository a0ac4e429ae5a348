/**
 * `bun run bench:mcp`: what the tools cost a model, in tokens; eleven usual jobs of an agent, in calls and tokens, beside the
 * operations of the API; calls a second and latency beside the requests that do the same. With `--converter` it also counts
 * the tools that a converter of OpenAPI makes, which it installs by npm. Prints tables and asserts nothing.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { Tiktoken } from 'js-tiktoken/lite';
import o200k from 'js-tiktoken/ranks/o200k_base';
import { listTools } from '../src/mcp/tools.ts';
import { openFixedData, type Person } from './speed/data.ts';
import { load, requireLoadTool } from './speed/load.ts';
import { startMantou } from './speed/servers.ts';

const CONVERTER = '@ivotoby/openapi-mcp-server@1.16.1';
const CONNECTIONS = 32;
const SECONDS = 10;
const WARM_UP_SECONDS = 3;

const root = join(import.meta.dir, '..');
const tokenizer = new Tiktoken(o200k);
const tokensOf = (value: unknown) =>
  tokenizer.encode(typeof value === 'string' ? value : JSON.stringify(value)).length;

// biome-ignore lint/suspicious/noExplicitAny: a bench looks into results freely.
type Json = any;

/** Counts the calls of a job, and the tokens that a model writes for them and reads from them. */
interface Session {
  calls: number;
  tokens: number;
}

/** Returns the tools of an agent of this person. */
function toolsOf(url: string, { access_token, address }: Person, session: Session) {
  return async (name: string, args: object = {}): Promise<Json> => {
    const response = await fetch(`${url}/mcp`, {
      method: 'POST',
      headers: headersOf(access_token, address),
      body: JSON.stringify(messageOf(name, args)),
    });
    const { result } = (await response.json()) as Json;
    const [{ text }] = result.content;
    if (result.isError) throw new Error(`${name}: ${text}`);
    session.calls += 1;
    session.tokens += tokensOf(name) + tokensOf(args) + tokensOf(text);
    return result.structuredContent;
  };
}

const messageOf = (name: string, args: object) => ({
  jsonrpc: '2.0',
  id: 1,
  method: 'tools/call',
  params: { name, arguments: args },
});

const headersOf = (token: string, address: string) => ({
  authorization: `Bearer ${token}`,
  'x-forwarded-for': address,
  'content-type': 'application/json',
});

/** Returns the operations, as tools that send a request and return its response. */
function operationsOf(url: string, { access_token, address }: Person, session: Session) {
  return async (method: string, path: string, body?: object): Promise<Json> => {
    const response = await fetch(url + path, {
      method,
      headers: headersOf(access_token, address),
      body: body && JSON.stringify(body),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${text}`);
    session.calls += 1;
    session.tokens += tokensOf(`${method} ${path}`) + (body ? tokensOf(body) : 0) + tokensOf(text);
    return text === '' ? undefined : JSON.parse(text);
  };
}

type Tools = ReturnType<typeof toolsOf>;
type Operations = ReturnType<typeof operationsOf>;

interface Job {
  what: string;
  byTools(call: Tools): Promise<unknown>;
  byOperations(send: Operations): Promise<unknown>;
}

const WEEK = { from: '2031-06-02', before: '2031-06-09' };
const projectNamed = async (send: Operations, name: string) =>
  (await send('GET', `/projects/?q=${encodeURIComponent(name)}`)).items.find(
    (one: Json) => one.name === name,
  );

/** The jobs, in the order in which they build on each other. Both kinds do them for another person. */
const jobsFor = (fellow: string): Job[] => [
  {
    what: 'create a project with five dated tasks',
    async byTools(call) {
      await call('create_project', { name: 'Kitchen' });
      await call('create_tasks', { project: 'Kitchen', tasks: planned });
    },
    async byOperations(send) {
      const { id } = await send('POST', '/projects/', { name: 'Kitchen' });
      for (const { assignee, ...task } of planned)
        await send('POST', `/tasks/projects/${id}`, { ...task, assignee_id: assignee });
    },
  },
  {
    what: 'what is due this week?',
    byTools: (call) =>
      call('find_tasks', { assignee: 'me', due_from: WEEK.from, due_before: WEEK.before }),
    byOperations: (send) =>
      send(
        'GET',
        `/tasks/?assignee_id=me&status=todo,in_progress&due_from=${WEEK.from}&due_before=${WEEK.before}&sort=due_at`,
      ),
  },
  {
    what: 'complete three of them',
    async byTools(call) {
      const { tasks } = await call('find_tasks', { project: 'Kitchen', limit: 3 });
      await call('complete_tasks', { tasks: refsOf(tasks) });
    },
    async byOperations(send) {
      const { items } = await send('GET', '/tasks/?q=kitchen&status=todo&sort=due_at&limit=3');
      for (const { id, version } of items)
        await send('PATCH', `/tasks/${id}`, { status: 'done', version });
    },
  },
  {
    what: 'move the overdue tasks to next Monday',
    async byTools(call) {
      const { tasks } = await call('find_tasks', { project: 'Kitchen', due_before: '2031-07-01' });
      await call('update_tasks', {
        tasks: refsOf(tasks).map((ref: Json) => ({ ...ref, due_on: '2031-07-07' })),
      });
    },
    async byOperations(send) {
      const { items } = await send(
        'GET',
        '/tasks/?q=kitchen&status=todo,in_progress&due_before=2031-07-01',
      );
      for (const { id, version } of items)
        await send('PATCH', `/tasks/${id}`, { due_on: '2031-07-07', version });
    },
  },
  {
    what: 'see who could take a task, and assign one',
    async byTools(call) {
      await call('list_members', { project: 'Kitchen' });
      const { tasks } = await call('find_tasks', { project: 'Kitchen', limit: 1 });
      await call('update_tasks', { tasks: [{ ...refsOf(tasks)[0], assignee: fellow }] });
    },
    async byOperations(send) {
      const { id } = await projectNamed(send, 'Kitchen');
      const { items: members } = await send('GET', `/projects/${id}/members`);
      const { items } = await send('GET', '/tasks/?q=kitchen&status=todo&limit=1');
      await send('PATCH', `/tasks/${items[0].id}`, {
        assignee_id: members.find((one: Json) => one.username === fellow).user_id,
      });
    },
  },
  {
    what: 'find a task by words and read it',
    async byTools(call) {
      const { tasks } = await call('find_tasks', { q: 'lamps', project: 'Kitchen' });
      await call('read_tasks', { ids: tasks.map(({ id }: Json) => id).slice(0, 1) });
    },
    byOperations: (send) => send('GET', '/tasks/?q=lamps&status=todo,in_progress'),
  },
  {
    what: 'move two tasks to another project',
    async byTools(call) {
      const { tasks } = await call('find_tasks', { project: 'Kitchen', limit: 2 });
      await call('move_tasks', { tasks: refsOf(tasks), project: 'Project 2' });
    },
    async byOperations(send) {
      const { items } = await send('GET', '/tasks/?q=kitchen&status=todo&limit=2');
      const { id: projectId } = await projectNamed(send, 'Project 2');
      for (const { id, version } of items)
        await send('PATCH', `/tasks/${id}`, { project_id: projectId, version });
    },
  },
  {
    what: 'what changed in a project lately, and who did it?',
    byTools: (call) => call('list_changes', { project: 'Kitchen', limit: 10 }),
    async byOperations(send) {
      const { id } = await projectNamed(send, 'Kitchen');
      await send('GET', `/projects/${id}/events?limit=10`);
      await send('GET', `/projects/${id}/members`);
    },
  },
  {
    what: 'which tasks of a project are not assigned?',
    byTools: (call) => call('find_tasks', { project: 'Project 1', assignee: 'none' }),
    async byOperations(send) {
      const { id } = await projectNamed(send, 'Project 1');
      await send('GET', `/tasks/projects/${id}?assignee_id=none&status=todo,in_progress&limit=25`);
    },
  },
  {
    what: 'comment on two tasks, and read what was said',
    async byTools(call) {
      const { tasks } = await call('find_tasks', { project: 'Project 2', limit: 2 });
      await call('comment', {
        comments: tasks.map(({ id: task }: Json) => ({ task, body: 'Moved here on Monday.' })),
      });
      await call('read_tasks', { ids: tasks.map(({ id }: Json) => id) });
    },
    async byOperations(send) {
      const { id: projectId } = await projectNamed(send, 'Project 2');
      const { items } = await send(
        'GET',
        `/tasks/projects/${projectId}?status=todo,in_progress&sort=due_at&limit=2`,
      );
      for (const { id } of items)
        await send('POST', `/tasks/${id}/comments`, { body: 'Moved here on Monday.' });
      for (const { id } of items) await send('GET', `/tasks/${id}/comments`);
    },
  },
  {
    what: 'delete what was done',
    async byTools(call) {
      const { tasks } = await call('find_tasks', { project: 'Kitchen', status: ['done'] });
      await call('delete_tasks', { tasks: refsOf(tasks) });
    },
    async byOperations(send) {
      const { items } = await send('GET', '/tasks/?q=kitchen&status=done');
      for (const { id } of items) await send('DELETE', `/tasks/${id}`);
    },
  },
];

const planned = ['Order the tiles', 'Call the plumber', 'Paint', 'Choose lamps', 'Clean up'].map(
  (title, day) => ({
    title: `${title}, kitchen`,
    description: `For the kitchen: ${title.toLowerCase()}.`,
    due_on: `2031-06-0${day + 3}`,
    assignee: 'me',
  }),
);

const refsOf = (tasks: Json[]) => tasks.map(({ id, version }) => ({ id, version }));

/** Returns the tokens of the tools that the converter makes of the committed document. */
async function countConverted(): Promise<{ tools: number; tokens: number }> {
  const folder = await mkdtemp(join(tmpdir(), 'mantou-converter-'));
  try {
    await Bun.$`npm install --silent --no-audit --no-fund --prefix ${folder} ${CONVERTER}`;
    const [name = ''] = CONVERTER.split(/(?<!^)@/);
    const client = new Client({ name: 'bench', version: '1.0.0' });
    await client.connect(
      new StdioClientTransport({
        command: 'node',
        args: [
          join(folder, 'node_modules', name, 'bin/mcp-server.js'),
          '--api-base-url',
          'http://127.0.0.1:9',
          '--openapi-spec',
          join(root, 'openapi.json'),
        ],
        stderr: 'ignore',
      }),
    );
    const { tools } = await client.listTools();
    await client.close();
    return { tools: tools.length, tokens: tokensOf(tools) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const tools = listTools({ scopes: ['read', 'write'] });
const withoutOutput = tools.map(({ outputSchema: _, ...tool }) => tool);
console.log('| tools of | tools | tokens |');
console.log('| --- | --- | --- |');
console.log(`| mantou | ${tools.length} | ${tokensOf(tools)} |`);
console.log(
  `| mantou, without schemas of results | ${tools.length} | ${tokensOf(withoutOutput)} |`,
);
if (process.argv.includes('--converter')) {
  const converted = await countConverted();
  console.log(`| ${CONVERTER} | ${converted.tools} | ${converted.tokens} |`);
}

await using fixed = await openFixedData();
const [one, two, fellow] = fixed.people as [Person, Person, Person];
const server = await startMantou(fixed.url, { LOG_LEVEL: 'silent' });
try {
  await walkJobs(server.url);
  if (!process.argv.includes('--jobs')) await measureLoad(server.url);
} finally {
  await server.stop();
}

async function walkJobs(url: string) {
  console.log('\n| job | tools: calls | tokens | operations: calls | tokens |');
  console.log('| --- | --- | --- | --- | --- |');
  const sums = [0, 0, 0, 0];
  for (const [index, job] of jobsFor(fellow.username).entries()) {
    const [byTools, byOperations] = [
      { calls: 0, tokens: 0 },
      { calls: 0, tokens: 0 },
    ];
    await job.byTools(toolsOf(url, one, byTools));
    await job.byOperations(operationsOf(url, two, byOperations));
    if (index === 0) for (const person of [one, two]) await addFellow(url, person);
    const figures = [byTools.calls, byTools.tokens, byOperations.calls, byOperations.tokens];
    figures.forEach((figure, n) => {
      sums[n] = (sums[n] ?? 0) + figure;
    });
    console.log(`| ${job.what} | ${figures.join(' | ')} |`);
  }
  console.log(`| all eleven | ${sums.join(' | ')} |`);
}

/** Adds a member to the project of the first job; no job counts it. */
async function addFellow(url: string, person: Person) {
  const send = operationsOf(url, person, { calls: 0, tokens: 0 });
  const { id } = await projectNamed(send, 'Kitchen');
  await send('POST', `/projects/${id}/members`, { username: fellow.username, role: 'editor' });
}

async function measureLoad(url: string) {
  requireLoadTool();
  const requests = (of: (person: Person) => { method: string; path: string; body?: object }) =>
    fixed.people.map((person) => {
      const { method, path, body } = of(person);
      return {
        method,
        path,
        headers: headersOf(person.access_token, person.address),
        ...(body && { body: JSON.stringify(body) }),
      };
    });
  const message = (name: string, args: object) => ({
    method: 'POST',
    path: '/mcp',
    body: messageOf(name, args),
  });
  const [project] = one.projects;
  if (!project) throw new Error('there is no project');
  const pairs = {
    'find 20 tasks of a project': [
      message('find_tasks', { project: 'Project 1' }),
      ({ projects }: Person) => ({
        method: 'GET',
        path: `/tasks/?project_id=${projects[0]?.id}&status=todo,in_progress&sort=due_at&limit=25`,
      }),
    ],
    'update a task': [
      ({ projects }: Person) =>
        message('update_tasks', { tasks: [{ id: projects[0]?.task_ids[0], priority: 2 }] }),
      ({ projects }: Person) => ({
        method: 'POST',
        path: '/tasks/batch',
        body: {
          operations: [{ op: 'update', task_id: projects[0]?.task_ids[0], priority: 2 }],
        },
      }),
    ],
    'the list of tools, and of projects': [
      { method: 'POST', path: '/mcp', body: { jsonrpc: '2.0', id: 1, method: 'tools/list' } },
      { method: 'GET', path: '/projects/' },
    ],
  };
  console.log(`\n| ${CONNECTIONS} connections | | requests a second | p50 ms | p99 ms | failed |`);
  console.log('| --- | --- | --- | --- | --- | --- |');
  for (const [what, pair] of Object.entries(pairs))
    for (const [index, of] of pair.entries()) {
      const sent = requests(typeof of === 'function' ? of : () => of);
      await load(url, sent, CONNECTIONS, WARM_UP_SECONDS);
      const {
        requests: done,
        seconds,
        p50_ms,
        p99_ms,
        failed,
      } = await load(url, sent, CONNECTIONS, SECONDS);
      console.log(
        `| ${what} | ${index === 0 ? 'MCP' : 'REST'} | ${Math.round(done / seconds)} | ${p50_ms.toFixed(1)} | ${p99_ms.toFixed(1)} | ${failed} |`,
      );
    }
}
