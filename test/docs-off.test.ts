import { expect, test } from 'bun:test';
import { useApi } from './support/api.ts';

const api = useApi({ docs: false });

test('DOCS=off leaves nothing of the docs', async () => {
  for (const path of ['/', '/swagger', '/swagger/json', '/swagger/swagger-ui.css'])
    expect((await api.anonymous.get(path)).status).toBe(404);
});
