/** `client/`: its types are those of the document, and the package is small and of the version of the server. */
import { expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import clientPackage from '../../client/package.json';
import { keyedPath } from '../../client/src/client.ts';
import { clientTypes } from '../../client/types.ts';
import rootPackage from '../../package.json';
import { bundleClient } from '../support/client-bundle.ts';
import { operations } from '../support/document.ts';

const SIZE_BYTES_MAX = 15_000;
const root = join(import.meta.dir, '../..');

test('the types are those of openapi.json: after a change, run "bun run openapi"', async () => {
  const committed = readFileSync(join(root, 'client/src/api.ts'), 'utf8');
  expect(committed === (await clientTypes())).toBe(true);
});

test('the client with all that it needs is smaller than 15,000 bytes, minified and gzipped', async () => {
  const bytes = Bun.gzipSync(new TextEncoder().encode(await bundleClient())).byteLength;
  expect(bytes).toBeGreaterThan(1000);
  expect(bytes).toBeLessThan(SIZE_BYTES_MAX);
});

test('the package has the version of the server, and one dependency, at the version that is tested', () => {
  expect(clientPackage.version).toBe(rootPackage.version);
  expect(Object.entries(clientPackage.dependencies)).toEqual([
    ['openapi-fetch', rootPackage.devDependencies['openapi-fetch']],
  ]);
});

test('a key is made for the operations that take one, and for no other', () => {
  const posts = operations.filter(({ method }) => method === 'POST');
  const takesKey = ({ parameters }: (typeof posts)[number]) =>
    parameters.some(({ name }) => name === 'Idempotency-Key');
  expect(posts.filter(takesKey).length).toBeGreaterThan(3);
  for (const operation of posts) {
    const path = operation.path.replaceAll(/\{\w+\}/g, 'id');
    expect([path, keyedPath.test(`/prefix${path}`)]).toEqual([path, takesKey(operation)]);
  }
});
