import { expect, test } from 'bun:test';
import { useApi } from '../support/api.ts';

const api = useApi({ docs: false });

test('with DOCS=off each path of the docs gets 404', async () => {
  for (const path of ['/', '/docs', '/swagger', '/swagger/json', '/swagger/swagger-ui.css'])
    expect((await api.anonymous.get(path)).status).toBe(404);
});
