/** The rules of the house that a machine can check: who imports whom, and what only some rooms may touch. */
import { describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { Glob } from 'bun';

const root = join(import.meta.dir, '../src');
const transpiler = new Bun.Transpiler({ loader: 'ts' });

interface Source {
  /** Below src, without the ending: `handlers/tasks`. */
  name: string;
  /** The room: `handlers`; a file at the top is a room of its own. */
  room: string;
  text: string;
  imports: string[];
  packages: string[];
}

const sources: Source[] = [...new Glob('**/*.ts').scanSync(root)].sort().map((file) => {
  const text = readFileSync(join(root, file), 'utf8');
  // Types count too: whoever names a type knows its room. Bun's scanner would drop them.
  const specifiers = [...text.matchAll(/^(?:import|export)\b[^;]*?\bfrom '([^']+)';/gms)].map(
    ([, specifier]) => specifier ?? '',
  );
  const local = specifiers
    .filter((one) => one.startsWith('.'))
    .map((one) => normalize(join(dirname(file), one)).replace(/\.ts$/, ''));
  const name = file.replace(/\.ts$/, '');
  return {
    name,
    room: roomOf(name),
    text,
    imports: local,
    packages: specifiers.filter((one) => !one.startsWith('.')),
  };
});

function roomOf(name: string): string {
  return name.includes('/') ? (name.split('/')[0] ?? '') : name;
}

const inRoom = (room: string) => sources.filter((source) => source.room === room);

/** What each room may import, beside its own files. A room that is not here may import nothing of the house. */
const allowed: Record<string, string[]> = {
  server: [
    'cannot-start',
    'describe-error',
    'exit',
    'log',
    'serve',
    'settings',
    'siblings',
    'standard-error',
    'supervisor',
  ],
  supervisor: ['cannot-start', 'listen', 'log', 'relay', 'settings', 'siblings'],
  relay: ['metrics', 'platform', 'siblings'],
  siblings: ['platform'],
  listen: ['cannot-start', 'settings'],
  serve: [
    'app',
    'cannot-start',
    'data-folder',
    'db',
    'listen',
    'log',
    'passwords',
    'platform',
    'plugins',
    'settings',
    'shutdown',
    'standard-error',
  ],
  worker: ['edge', 'settings'],
  edge: ['app', 'cannot-start', 'db', 'log', 'passwords', 'platform', 'settings'],
  cli: [
    'app',
    'cannot-start',
    'db',
    'exit',
    'handlers',
    'passwords',
    'plugins',
    'problem',
    'schemas',
    'secrets',
    'settings',
    '../drizzle/meta/_journal.json',
  ],
  app: ['platform', 'plugins', 'routes', 'schemas'],
  routes: ['handlers', 'platform', 'plugins', 'problem', 'schemas'],
  plugins: [
    'bounded-concurrency',
    'db',
    'describe-error',
    'handlers',
    'log',
    'platform',
    'problem',
    'rate-limit',
    'schemas',
    'settings',
    '../package.json',
  ],
  handlers: [
    'bounded-concurrency',
    'db',
    'formats',
    'platform',
    'problem',
    'rate-limit',
    'schemas',
    'secrets',
    'timeouts',
    'words',
    '../drizzle/meta/_journal.json',
  ],
  formats: ['problem', 'schemas'],
  schemas: ['db', 'problem'],
  passwords: ['bounded-concurrency', 'platform', 'problem', 'timeouts'],
  platform: ['db', 'log', 'settings'],
  db: [
    'bounded-concurrency',
    'cannot-start',
    'data-folder',
    'problem',
    'settings',
    'timeouts',
    'words',
    '../drizzle/meta/_journal.json',
    '../package.json',
  ],
  'bounded-concurrency': ['problem', 'timeouts'],
  'describe-error': ['db'],
  metrics: ['platform', '../package.json'],
  shutdown: ['platform'],
  'data-folder': ['cannot-start', 'secrets'],
  'rate-limit': ['problem'],
  exit: ['cannot-start'],
  settings: ['cannot-start'],
  log: ['settings'],
  'standard-error': ['log', 'settings'],
};

test('every import is seen', () => {
  for (const { name, text, imports, packages } of sources) {
    const scanned = transpiler.scanImports(text).filter(({ kind }) => kind === 'import-statement');
    for (const { path } of scanned) {
      const known = path.startsWith('.') ? imports : packages;
      const wanted = path.startsWith('.')
        ? normalize(join(dirname(name), path)).replace(/\.ts$/, '')
        : path;
      expect([name, known]).toEqual([name, expect.arrayContaining([wanted])]);
    }
  }
});

test.each(sources.map((source) => [source.name, source] as const))(
  '%s imports only what its room may',
  (_, source) => {
    const strange = source.imports
      .map((name) => (name.startsWith('..') ? name : roomOf(name)))
      .filter((room) => room !== source.room && !allowed[source.room]?.includes(room));
    expect(strange).toEqual([]);
  },
);

test('nothing imports in a circle', () => {
  const byName = new Map(sources.map((source) => [source.name, source]));
  const finished = new Set<string>();
  function visit(name: string, path: string[]) {
    expect(path).not.toContain(name);
    if (finished.has(name)) return;
    for (const next of byName.get(name)?.imports ?? []) visit(next, [...path, name]);
    finished.add(name);
  }
  for (const { name } of sources) visit(name, []);
});

test('of db, plugins and schemas know only what they need: the tables, the access, the failures', () => {
  const known = (room: string) =>
    new Set(
      inRoom(room).flatMap(({ imports }) => imports.filter((name) => name.startsWith('db/'))),
    );
  expect([...known('schemas')]).toEqual(['db/schema']);
  expect([...known('plugins')].sort()).toEqual(['db/access', 'db/failure', 'db/schema']);
  expect([...known('handlers')].sort()).toEqual([
    'db/access',
    'db/database',
    'db/rows',
    'db/schema',
    'db/search',
    'db/statement',
  ]);
});

describe('handlers', () => {
  test('know no Elysia, no request and no status', () => {
    for (const { name, text, packages } of inRoom('handlers')) {
      expect([name, packages.filter((one) => !/^(drizzle-orm|uuid)\b/.test(one))]).toEqual([
        name,
        [],
      ]);
      expect([
        name,
        text.match(/\bRequest\b|\bResponse\b|\bset\.status\b|\bstatus\(/)?.[0],
      ]).toEqual([name, undefined]);
    }
  });
});

describe('routes', () => {
  test('hold no query', () => {
    for (const { name, packages } of inRoom('routes'))
      expect([name, packages]).toEqual([name, ['elysia']]);
  });

  test('of a feature have handlers and schemas of the same name', () => {
    const names = (room: string) => inRoom(room).map(({ name }) => name.split('/')[1]);
    for (const name of names('routes')) {
      expect(names('schemas')).toContain(name);
      // The catalogue of problems is read, and metrics are counted, not worked out.
      if (!['problems', 'metrics'].includes(name ?? '')) expect(names('handlers')).toContain(name);
    }
  });
});

test('Bun, Node and the environment are touched only where a runtime is meant', () => {
  const runtime =
    /^(server|serve|supervisor|relay|siblings|listen|exit|metrics|standard-error|cli\/.*|settings|data-folder|passwords\/(background-threads|bun)|db\/(backup.*|client|connection|edge|embedded|migrate|restore))$/;
  for (const { name, text, packages } of sources) {
    if (runtime.test(name)) continue;
    // Without comments and types, which may name what they like.
    const touched = transpiler
      .transformSync(text)
      .match(/\bBun\.|\bprocess\.|\bBuffer\b|\bDeno\./)?.[0];
    expect([name, touched, packages.filter((one) => /^(bun|node):?/.test(one))]).toEqual([
      name,
      undefined,
      [],
    ]);
  }
});

test('no barrel files, no utils', () => {
  expect(
    sources.filter(({ name }) => /(^|\/)(index|utils?|helpers?|common\/.*)$/.test(name)),
  ).toEqual([]);
});
