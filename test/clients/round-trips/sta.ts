import { Api, TaskStatus } from '../sta/client.ts';
import { type OpenRoundTrip, STALE, titlesOf } from './round-trip.ts';

const statusOf = { todo: TaskStatus.Todo, done: TaskStatus.Done };

export const openRoundTrip: OpenRoundTrip = async (baseUrl, credentials) => {
  const client = new Api<string>({
    baseUrl,
    securityWorker: (token) => (token ? { headers: { authorization: `Bearer ${token}` } } : {}),
  });
  client.setSecurityData((await client.users.logIn(credentials)).data.access_token);
  return {
    createProject: async (name) => (await client.projects.createProject({ name })).data.id,
    createTask: async (projectId, title) =>
      (await client.tasks.createTask(projectId, { title, due_at: null })).data.id,
    async listTitles(statuses) {
      const status = statuses?.map((one) => statusOf[one]);
      return titlesOf((await client.tasks.listAllTasks({ status })).data);
    },
    // Header parameters are no part of its functions, and it throws the response.
    patchStale: (taskId) =>
      client.tasks.patchTask(taskId, {}, { headers: { 'If-Match': STALE } }).then(
        ({ status }) => status,
        ({ status }: Response) => status,
      ),
    async deleteTask(taskId) {
      await client.tasks.deleteTask(taskId);
    },
  };
};
