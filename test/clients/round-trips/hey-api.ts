import { client } from '../hey-api/client.gen.ts';
import {
  createProject,
  createTask,
  deleteTask,
  listAllTasks,
  logIn,
  patchTask,
} from '../hey-api/sdk.gen.ts';
import { type OpenRoundTrip, present, STALE, titlesOf } from './round-trip.ts';

export const openRoundTrip: OpenRoundTrip = async (baseUrl, credentials) => {
  client.setConfig({ baseUrl });
  const tokens = present((await logIn({ body: credentials })).data);
  client.setConfig({ auth: () => tokens.access_token });
  return {
    createProject: async (name) => present((await createProject({ body: { name } })).data).id,
    async createTask(projectId, title) {
      const body = { title, due_at: null };
      return present((await createTask({ path: { project_id: projectId }, body })).data).id;
    },
    listTitles: async (status) =>
      titlesOf(present((await listAllTasks({ query: { status } })).data)),
    async patchStale(taskId) {
      const headers = { 'If-Match': STALE };
      const { error, response } = await patchTask({ path: { task_id: taskId }, body: {}, headers });
      if (error?.code !== 'precondition_failed') throw new TypeError(error?.code);
      return present(response).status;
    },
    async deleteTask(taskId) {
      await deleteTask({ path: { task_id: taskId }, throwOnError: true });
    },
  };
};
