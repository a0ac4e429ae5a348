import {
  createProject,
  createTask,
  deleteTask,
  listAllTasks,
  logIn,
  patchTask,
} from '../orval-fetch/client.ts';
import { type OpenRoundTrip, STALE, titlesOf } from './round-trip.ts';

/** The URL of the server is in the client: its configuration has it as `baseUrl`. */
export const openRoundTrip: OpenRoundTrip = async (_url, credentials) => {
  const tokens = await logIn(credentials);
  if (tokens.status !== 200) throw new Error(tokens.data.code);
  const headers = { authorization: `Bearer ${tokens.data.access_token}` };
  return {
    async createProject(name) {
      const project = await createProject({ name }, { headers });
      if (project.status !== 201) throw new Error(project.data.code);
      return project.data.id;
    },
    async createTask(projectId, title) {
      const task = await createTask(projectId, { title, due_at: null }, { headers });
      if (task.status !== 201) throw new Error(task.data.code);
      return task.data.id;
    },
    async listTitles(status) {
      const page = await listAllTasks({ status }, { headers });
      if (page.status !== 200) throw new Error(page.data.code);
      return titlesOf(page.data);
    },
    async patchStale(taskId) {
      const stale = { headers: { ...headers, 'If-Match': STALE } };
      return (await patchTask(taskId, {}, stale)).status;
    },
    async deleteTask(taskId) {
      const deleted = await deleteTask(taskId, { headers });
      if (deleted.status !== 204) throw new Error(deleted.data.code);
    },
  };
};
