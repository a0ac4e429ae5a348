import createClient from 'openapi-fetch';
import type { paths } from '../openapi-typescript/schema.ts';
import { type OpenRoundTrip, present, STALE, titlesOf } from './round-trip.ts';

export const openRoundTrip: OpenRoundTrip = async (baseUrl, credentials) => {
  const client = createClient<paths>({ baseUrl });
  const { data } = await client.POST('/users/login', { body: credentials });
  const authorization = `Bearer ${present(data).access_token}`;
  client.use({
    onRequest({ request }) {
      request.headers.set('authorization', authorization);
      return request;
    },
  });
  return {
    createProject: async (name) =>
      present((await client.POST('/projects', { body: { name } })).data).id,
    async createTask(projectId, title) {
      const params = { path: { project_id: projectId } };
      const body = { title, due_at: null };
      const { data } = await client.POST('/tasks/projects/{project_id}', { params, body });
      return present(data).id;
    },
    async listTitles(status) {
      const { data } = await client.GET('/tasks', { params: { query: { status } } });
      return titlesOf(present(data));
    },
    async patchStale(taskId) {
      const params = { path: { task_id: taskId }, header: { 'If-Match': STALE } };
      const { error, response } = await client.PATCH('/tasks/{task_id}', {
        params,
        body: { due_at: null },
      });
      if (error?.code !== 'precondition_failed') throw new TypeError(error?.code);
      return response.status;
    },
    async deleteTask(taskId) {
      const { error } = await client.DELETE('/tasks/{task_id}', {
        params: { path: { task_id: taskId } },
      });
      if (error) throw new Error(error.code);
    },
  };
};
