/**
 * Client generators read `openapi.json`: each generates a client with its default settings, the client compiles strictly with
 * a program that uses it, and the program logs in and works with a live server. Importers make collections of it. Run by
 * `bun run test:clients`; the packages are installed outside the project, at the versions of `packages.lock`.
 */
import { beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { limitConcurrency } from '../../src/lib/concurrency-limit.ts';
import { useApi } from '../support/api.ts';
import type { OpenRoundTrip } from './round-trips/round-trip.ts';

const STEP_TIMEOUT_MS = 600_000;
const root = join(import.meta.dir, '../..');
const folder = process.env.CLIENTS_DIR || join(root, '.data/clients');
const DOCUMENT = 'openapi.json';

interface Generator {
  command: string[];
  /** Files that it reads beside the document. */
  files?: (url: string) => Record<string, string>;
}

const orval = (name: string, client: string, httpClient = 'fetch'): Generator => ({
  command: ['orval', '--config', `orval-${name}.config.mjs`],
  files: (url) => ({
    [`orval-${name}.config.mjs`]: `export default { api: { input: './${DOCUMENT}', output: { target: './orval-${name}/client.ts', client: '${client}', httpClient: '${httpClient}', baseUrl: '${url}' } } };`,
  }),
});

/** By the folder that each writes into, and by its program in `round-trips`. Those that take longest begin. */
const generators: Record<string, Generator> = {
  zodios: { command: ['openapi-zod-client', DOCUMENT, '-o', 'zodios/client.ts'] },
  rtk: {
    command: ['rtk-query-codegen-openapi', 'rtk.config.cjs'],
    files: () => ({
      'rtk.config.cjs': `module.exports = { schemaFile: './${DOCUMENT}', apiFile: './rtk/empty.ts', apiImport: 'empty', outputFile: './rtk/client.ts', exportName: 'client' };`,
      'rtk/empty.ts': `import { createApi, fetchBaseQuery } from '@reduxjs/toolkit/query';
export const server = { url: '', token: '' };
export const empty = createApi({
  baseQuery: (query: Parameters<ReturnType<typeof fetchBaseQuery>>[0], api, options) =>
    fetchBaseQuery({
      baseUrl: server.url,
      prepareHeaders: (headers) => server.token ? headers.set('authorization', \`Bearer \${server.token}\`) : undefined,
    })(query, api, options),
  endpoints: () => ({}),
});
`,
    }),
  },
  ng: { command: ['ng-openapi-gen', '--input', DOCUMENT, '--output', 'ng'] },
  kubb: {
    command: ['kubb', 'generate', '--config', 'kubb.config.ts'],
    files: () => ({
      'kubb.config.ts': `import { defineConfig } from '@kubb/core'; import { pluginOas } from '@kubb/plugin-oas'; import { pluginTs } from '@kubb/plugin-ts'; import { pluginClient } from '@kubb/plugin-client';
export default defineConfig({ root: '.', input: { path: './${DOCUMENT}' }, output: { path: './kubb', clean: true }, plugins: [pluginOas(), pluginTs(), pluginClient()] });`,
    }),
  },
  'orval-react-query': orval('react-query', 'react-query'),
  'orval-axios': orval('axios', 'axios'),
  'orval-fetch': orval('fetch', 'fetch'),
  sta: {
    command: [
      ...['swagger-typescript-api', 'generate', '-p', DOCUMENT],
      ...['-o', 'sta', '-n', 'client.ts'],
    ],
  },
  'hey-api': { command: ['openapi-ts', '-i', `./${DOCUMENT}`, '-o', 'hey-api'] },
  'openapi-typescript': {
    command: ['openapi-typescript', DOCUMENT, '-o', 'openapi-typescript/schema.ts'],
  },
  oazapfts: { command: ['oazapfts', DOCUMENT, 'oazapfts/client.ts'] },
  otc: { command: ['openapi', '--input', DOCUMENT, '--output', 'otc'] },
};
const names = Object.keys(generators);

/** What a command printed, and whether it succeeded. */
interface Outcome {
  code: number;
  output: string;
}

const generated: Record<string, Promise<Outcome>> = {};
let compiled: Promise<Outcome>;
const importers: Record<string, Promise<Outcome>> = {};
const importerCommands: Record<string, string[]> = {
  postman: ['openapi2postmanv2', '-s', DOCUMENT, '-o', 'postman.json'],
  portman: ['portman', '-l', DOCUMENT, '-o', 'portman.json', '--runNewman', 'false'],
};

const api = useApi();
setDefaultTimeout(STEP_TIMEOUT_MS);

/** Installs the packages, and starts every generator and importer, as many at a time as there are processors. */
beforeAll(async () => {
  mkdirSync(folder, { recursive: true });
  for (const name of [...names, 'round-trips'])
    rmSync(join(folder, name), { recursive: true, force: true });
  // Under other names here: tools that read a package.json would take this folder for a React project.
  cpSync(join(import.meta.dir, 'packages.json'), join(folder, 'package.json'));
  cpSync(join(import.meta.dir, 'packages.lock'), join(folder, 'bun.lock'));
  cpSync(join(import.meta.dir, 'round-trips'), join(folder, 'round-trips'), { recursive: true });
  cpSync(join(root, DOCUMENT), join(folder, DOCUMENT));
  const install = ['install', '--frozen-lockfile', '--ignore-scripts'];
  expect(await run(process.execPath, ...install)).toMatchObject({ code: 0 });

  const commands = names.length + Object.keys(importerCommands).length;
  const processors = limitConcurrency('commands', availableParallelism(), commands);
  const start = ([tool = '', ...rest]: string[]) =>
    processors.run(() => run(`node_modules/.bin/${tool}`, ...rest));
  for (const [name, { command, files }] of Object.entries(generators)) {
    mkdirSync(join(folder, name));
    for (const [file, text] of Object.entries(files?.(api.url) ?? {}))
      await Bun.write(join(folder, file), text);
    generated[name] = start(command);
  }
  compiled = Promise.all(Object.values(generated)).then(compileAll);
  for (const [name, command] of Object.entries(importerCommands)) importers[name] = start(command);
}, STEP_TIMEOUT_MS);

describe.each(names)('%s', (name) => {
  test('generates a client', async () => {
    expect(await generated[name]).toMatchObject({ code: 0 });
  });

  test('compiles strictly, and so does a program that uses the client', async () => {
    const { code, output } = await compiled;
    const errors = output.split('\n').filter((line) => line.includes('error TS'));
    const isOf = (path: string) => (line: string) => line.startsWith(path);
    const own = [`${name}/`, `round-trips/${name}.ts`];
    expect(errors.filter((line) => own.some((path) => isOf(path)(line)))).toEqual([]);
    // An error of the compiler itself names no file.
    const places = ['round-trips/', ...names.map((one) => `${one}/`)];
    expect(errors.filter((line) => !places.some((path) => isOf(path)(line)))).toEqual([]);
    expect(code === 0).toBe(errors.length === 0);
  });

  test('makes a round trip with a live server', async () => {
    await generated[name];
    const { openRoundTrip } = (await import(join(folder, `round-trips/${name}.ts`))) as {
      openRoundTrip: OpenRoundTrip;
    };
    const ada = await api.person('ada');
    const client = await openRoundTrip(api.url, {
      username: ada.username,
      password: ada.password,
    });
    const project = await client.createProject('Kitchen');
    const task = await client.createTask(project, 'Tiles');
    const finished = await client.createTask(project, 'Sink');
    await ada.patch(`/tasks/${finished}`, { status: 'done' });
    expect(await client.listTitles()).toEqual(['Sink', 'Tiles']);
    expect(await client.listTitles(['todo', 'done'])).toEqual(['Sink', 'Tiles']);
    expect(await client.listTitles(['done'])).toEqual(['Sink']);
    expect(await client.patchStale(task)).toBe(412);
    expect((await ada.get(`/tasks/${task}`)).body).toMatchObject({ due_at: null, version: 1 });
    await client.deleteTask(task);
    expect(await client.listTitles(['todo'])).toEqual([]);
  });
});

describe('importers', () => {
  /** These prove a password or a refresh token, which no example can hold. */
  const proving = /\/users\/(login|refresh|me)$/;

  test.each(Object.keys(importerCommands))(
    '%s sends a Bearer token, and no request gets a 401 that the document caused',
    async (name) => {
      expect(await importers[name]).toMatchObject({ code: 0 });
      expect(await Bun.file(join(folder, `${name}.json`)).text()).not.toContain('"oauth2"');
      const ada = await api.person('ada');
      const token = await ada.post('/users/me/tokens', {
        name: 'import',
        scopes: ['read', 'write'],
      });
      const report = `${name}-report.json`;
      // Its exit code says whether the assertions hold that Portman adds: they expect 2xx of examples with random ids.
      await run(
        ...['node_modules/.bin/newman', 'run', `${name}.json`, '--timeout-request', '5000'],
        ...['--env-var', `baseUrl=${api.url}`, '--env-var', `bearerToken=${token.body.token}`],
        ...['--reporters', 'json', '--reporter-json-export', report],
      );
      const { run: result } = (await Bun.file(join(folder, report)).json()) as NewmanReport;
      expect(result.executions.length).toBeGreaterThan(35);
      const paths = (status: number) =>
        result.executions
          .filter(({ response }) => response?.code === status)
          .map(({ request }) => `/${request.url.path.join('/')}`);
      // Those without an id succeed.
      expect(paths(200).length).toBeGreaterThan(5);
      expect(paths(401).filter((path) => !proving.test(path))).toEqual([]);
    },
  );

  test('Bruno imports each request with a Bearer token', async () => {
    const { openApiToBruno } = await import(join(folder, 'node_modules/@usebruno/converters'));
    const collection = await openApiToBruno(await Bun.file(join(folder, DOCUMENT)).json());
    const modes: Record<string, number> = {};
    JSON.stringify(collection, (key, value) => {
      if (key === 'request' && value?.auth)
        modes[value.auth.mode] = (modes[value.auth.mode] ?? 0) + 1;
      return value;
    });
    expect(modes.bearer).toBeGreaterThan(30);
    expect(modes).not.toHaveProperty('oauth2');
  });
});

interface NewmanReport {
  run: { executions: { request: { url: { path: string[] } }; response?: { code: number } }[] };
}

/** Runs a program in the folder. */
async function run(...command: string[]): Promise<Outcome> {
  const child = Bun.spawn(command, { cwd: folder, stdout: 'pipe', stderr: 'pipe' });
  const [output, errors, code] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  return { code, output: output + errors };
}

/** Compiles all clients at once, because most of the time is for the types of the packages. */
async function compileAll(): Promise<Outcome> {
  const config = {
    compilerOptions: {
      strict: true,
      noEmit: true,
      skipLibCheck: true,
      target: 'ES2022',
      module: 'ESNext',
      moduleResolution: 'bundler',
      allowImportingTsExtensions: true,
      // Of Angular alone.
      experimentalDecorators: true,
      lib: ['ES2023', 'DOM', 'DOM.Iterable'],
      types: [],
    },
    include: [...names, 'round-trips'].map((name) => `${name}/**/*.ts`),
  };
  await Bun.write(join(folder, 'tsconfig.json'), JSON.stringify(config));
  return run('node_modules/.bin/tsc', '--pretty', 'false');
}
