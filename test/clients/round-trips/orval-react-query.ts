import { MutationObserver, QueryClient } from '@tanstack/react-query';
import {
  getCreateProjectMutationOptions,
  getCreateTaskMutationOptions,
  getDeleteTaskMutationOptions,
  getListAllTasksQueryOptions,
  getPatchTaskMutationOptions,
  logIn,
} from '../orval-react-query/client.ts';
import { type OpenRoundTrip, STALE, titlesOf } from './round-trip.ts';

/** The options of its hooks, run by TanStack Query without a component. Its configuration has the URL as `baseUrl`. */
export const openRoundTrip: OpenRoundTrip = async (_url, credentials) => {
  const tokens = await logIn(credentials);
  if (tokens.status !== 200) throw new Error(tokens.data.code);
  const headers = { authorization: `Bearer ${tokens.data.access_token}` };
  const options = { fetch: { headers } };
  const client = new QueryClient();
  return {
    async createProject(name) {
      const mutation = new MutationObserver(client, getCreateProjectMutationOptions(options));
      const project = await mutation.mutate({ data: { name } });
      if (project.status !== 201) throw new Error(project.data.code);
      return project.data.id;
    },
    async createTask(projectId, title) {
      const mutation = new MutationObserver(client, getCreateTaskMutationOptions(options));
      const task = await mutation.mutate({ projectId, data: { title, due_at: null } });
      if (task.status !== 201) throw new Error(task.data.code);
      return task.data.id;
    },
    async listTitles(status) {
      const page = await client.fetchQuery(getListAllTasksQueryOptions({ status }, options));
      if (page.status !== 200) throw new Error(page.data.code);
      return titlesOf(page.data);
    },
    async patchStale(taskId) {
      const stale = { fetch: { headers: { ...headers, 'If-Match': STALE } } };
      const mutation = new MutationObserver(client, getPatchTaskMutationOptions(stale));
      return (await mutation.mutate({ taskId, data: {} })).status;
    },
    async deleteTask(taskId) {
      const mutation = new MutationObserver(client, getDeleteTaskMutationOptions(options));
      const deleted = await mutation.mutate({ taskId });
      if (deleted.status !== 204) throw new Error(deleted.data.code);
    },
  };
};
