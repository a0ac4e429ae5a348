import {
  createProject,
  createTask,
  defaults,
  deleteTask,
  listAllTasks,
  logIn,
  patchTask,
} from '../oazapfts/client.ts';
import { type OpenRoundTrip, STALE, titlesOf } from './round-trip.ts';

export const openRoundTrip: OpenRoundTrip = async (url, credentials) => {
  defaults.baseUrl = url;
  const tokens = await logIn(credentials);
  if (tokens.status !== 200) throw new Error(tokens.data.code);
  defaults.headers = { authorization: `Bearer ${tokens.data.access_token}` };
  return {
    async createProject(name) {
      const project = await createProject({ name });
      if (project.status !== 201) throw new Error(project.data.code);
      return project.data.id;
    },
    async createTask(projectId, title) {
      const task = await createTask(projectId, { title, due_at: null });
      if (task.status !== 201) throw new Error(task.data.code);
      return task.data.id;
    },
    async listTitles(statuses) {
      const page = await listAllTasks({ status: statuses });
      if (page.status !== 200) throw new Error(page.data.code);
      return titlesOf(page.data);
    },
    patchStale: async (taskId) => (await patchTask(taskId, {}, { ifMatch: STALE })).status,
    async deleteTask(taskId) {
      const deleted = await deleteTask(taskId);
      if (deleted.status !== 204) throw new Error(deleted.data.code);
    },
  };
};
