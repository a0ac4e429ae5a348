/** The catalogue of problems against the tests: each code is named by a test. */
import { expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Glob } from 'bun';
import { catalogue } from '../../src/errors/problem.ts';

const root = join(import.meta.dir, '..');
const tests = [...new Glob('**/*.test.ts').scanSync(root)]
  .filter((file) => !file.endsWith('contract.test.ts'))
  .map((file) => readFileSync(join(root, file), 'utf8'))
  .join('\n');

test.each(Object.keys(catalogue))('%s is named by the source and by a test', (code) => {
  const source = [
    ...new Glob('{handlers,plugins,db,routes,passwords}/**/*.ts').scanSync(join(root, '../src')),
  ]
    .map((file) => readFileSync(join(root, '../src', file), 'utf8'))
    .join('\n');
  const says = (text: string) => new RegExp(`\\b${code}\\b`).test(text);
  expect([says(source), says(tests)]).toEqual([true, true]);
});
