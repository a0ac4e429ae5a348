/** The rules of the house that a machine can check: who imports whom, and what only some rooms may touch. */
import { describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { Glob } from 'bun';

const root = join(import.meta.dir, '../../src');
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
  // Imports of types count too; Bun's scanner would drop them.
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

const JOURNAL = '../drizzle/meta/_journal.json';
const PACKAGE = '../package.json';

/** The rooms that each room may import, besides its own files. A room that is not listed imports no other room. */
const allowed: Record<string, string[]> = {
  app: ['handlers', 'http', 'platform', 'plugins', 'routes', 'schemas'],
  platform: ['db', 'lib', 'settings'],
  settings: ['errors', 'lib'],
  environment: ['errors', 'lib', 'settings'],
  routes: ['dav', 'errors', 'handlers', 'http', 'mcp', 'openapi', 'platform', 'plugins', 'schemas'],
  dav: ['db', 'errors', 'formats', 'handlers', 'http', 'schemas'],
  mcp: ['db', 'errors', 'handlers', 'platform', 'schemas', PACKAGE],
  plugins: ['db', 'errors', 'handlers', 'http', 'lib', 'platform', 'schemas', 'settings'],
  openapi: ['errors', 'platform', 'plugins', 'schemas', PACKAGE],
  handlers: ['db', 'errors', 'formats', 'http', 'lib', 'passwords', 'platform', 'schemas', JOURNAL],
  schemas: ['db', 'errors', 'lib'],
  formats: ['errors', 'lib', 'schemas'],
  passwords: ['errors', 'lib', 'platform'],
  http: ['errors', 'lib', 'platform'],
  db: ['errors', 'lib', 'schemas'],
  postgres: ['db', 'errors', 'lib', 'settings', JOURNAL, PACKAGE],
  lib: ['errors'],
  server: [
    'app',
    'errors',
    'http',
    'lib',
    'environment',
    'openapi',
    'passwords',
    'platform',
    'postgres',
    'settings',
    PACKAGE,
  ],
  edge: ['app', 'errors', 'lib', 'passwords', 'platform', 'postgres', 'settings'],
  cli: [
    'app',
    'db',
    'errors',
    'handlers',
    'lib',
    'environment',
    'openapi',
    'passwords',
    'plugins',
    'postgres',
    'schemas',
    'settings',
    JOURNAL,
  ],
};

test('the scan finds every import', () => {
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

test('no import is circular', () => {
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

test('plugins and schemas import only the files of db that they need', () => {
  const known = (room: string) =>
    new Set(
      inRoom(room).flatMap(({ imports }) => imports.filter((name) => name.startsWith('db/'))),
    );
  expect([...known('schemas')]).toEqual(['db/schema']);
  expect([...known('plugins')].sort()).toEqual(['db/errors', 'db/idempotency', 'db/schema']);
});

describe('handlers', () => {
  test('name no Elysia, no Request and no status', () => {
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
  test('contain no query', () => {
    for (const { name, packages } of inRoom('routes'))
      expect([name, packages]).toEqual([name, ['elysia']]);
  });

  test('have handlers and schemas of the same name', () => {
    const names = (room: string) => inRoom(room).map(({ name }) => name.split('/')[1]);
    for (const name of names('routes')) {
      expect(names('schemas')).toContain(name);
      // The catalogue of problems is read, metrics are counted, and the tools of MCP have a room of their own.
      if (!['problems', 'metrics', 'mcp'].includes(name ?? ''))
        expect(names('handlers')).toContain(name);
    }
  });
});

test('only files for one runtime use Bun, Node or the environment', () => {
  const runtime =
    /^(server\/.*|lib\/exit-with-reason|cli\/.*|settings|environment|lib\/data-dir|passwords\/(thread-priority|bun)|postgres\/(?!reindex-search|tables).*)$/;
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

test('there are no barrel files and no utils', () => {
  expect(
    sources.filter(({ name }) => /(^|\/)(index|utils?|helpers?|common\/.*)$/.test(name)),
  ).toEqual([]);
});
