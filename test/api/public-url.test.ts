/** Behind a proxy that serves the API under a path, references point to where clients reach it. */
import { expect, test } from 'bun:test';
import { useApi } from '../support/api.ts';

const base = 'https://example.org/api';
const api = useApi({ publicUrl: base });
const undocumented = { undocumented: true } as const;

test('Location of what is created, the type of a problem and the redirect are below PUBLIC_URL', async () => {
  const ada = await api.person();
  const project = await ada.post('/projects', { name: 'Kitchen' });
  expect(project.headers.get('location')).toBe(`${base}/projects/${project.body.id}`);
  const task = await ada.post(`/tasks/projects/${project.body.id}`, { title: 'Tiles' });
  expect(task.headers.get('location')).toBe(`${base}/tasks/${task.body.id}`);
  const exported = await ada.get(`/projects/${project.body.id}/export`);
  const imported = await ada.post('/projects/import', undefined, {
    raw: exported.text,
    headers: { 'content-type': 'application/json' },
  });
  const { id } = imported.body.project;
  expect(imported.headers.get('location')).toBe(`${base}/projects/${id}`);
  expect((await ada.get('/nothing')).body.type).toBe(`${base}/problems/not_found`);
  const { headers } = await ada.get('/', undocumented);
  expect(headers.get('location')).toBe(`${base}/docs`);
});
