import { isAxiosError } from 'axios';
import { createApiClient } from '../zodios/client.ts';
import { type OpenRoundTrip, STALE, titlesOf } from './round-trip.ts';

/** It validates requests and responses with zod. */
export const openRoundTrip: OpenRoundTrip = async (url, credentials) => {
  const client = createApiClient(url);
  const { access_token } = await client.post('/users/login', credentials);
  const headers = { authorization: `Bearer ${access_token}` };
  return {
    createProject: async (name) => (await client.post('/projects', { name }, { headers })).id,
    async createTask(projectId, title) {
      const task = await client.post(
        '/tasks/projects/:project_id',
        { title, due_at: null },
        { headers, params: { project_id: projectId } },
      );
      return task.id;
    },
    listTitles: async (status) =>
      titlesOf(await client.get('/tasks', { headers, queries: { status } })),
    async patchStale(taskId) {
      const stale = { headers: { ...headers, 'If-Match': STALE }, params: { task_id: taskId } };
      const error = await client.patch('/tasks/:task_id', {}, stale).catch((thrown) => thrown);
      return isAxiosError(error) ? (error.response?.status ?? 0) : 0;
    },
    async deleteTask(taskId) {
      await client.delete('/tasks/:task_id', undefined, { headers, params: { task_id: taskId } });
    },
  };
};
