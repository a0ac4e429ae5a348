import { expect, test } from 'bun:test';
import { useApi } from '../support/api.ts';

const api = useApi({ docs: false });

test('with DOCS=off each path of the docs gets 404', async () => {
  // CalDAV programs look at `/` with other methods.
  const root = await api.anonymous.get('/', { undocumented: true });
  expect([root.status, root.headers.get('allow')?.includes('GET')]).toEqual([405, false]);
  for (const path of ['/docs', '/swagger', '/swagger/json', '/swagger/swagger-ui.css'])
    expect((await api.anonymous.get(path)).status).toBe(404);
});
