import { isAxiosError } from 'axios';
import { getMantou } from '../orval-axios/client.ts';
import { type OpenRoundTrip, STALE, titlesOf } from './round-trip.ts';

/** Its configuration has the URL as `baseUrl`. */
export const openRoundTrip: OpenRoundTrip = async (_url, credentials) => {
  const client = getMantou();
  const { data } = await client.logIn(credentials);
  const headers = { authorization: `Bearer ${data.access_token}` };
  return {
    createProject: async (name) => (await client.createProject({ name }, { headers })).data.id,
    createTask: async (projectId, title) =>
      (await client.createTask(projectId, { title, due_at: null }, { headers })).data.id,
    listTitles: async (status) =>
      titlesOf((await client.listAllTasks({ status }, { headers })).data),
    async patchStale(taskId) {
      const stale = { headers: { ...headers, 'If-Match': STALE } };
      const error = await client.patchTask(taskId, {}, stale).catch((thrown) => thrown);
      return isAxiosError(error) ? (error.response?.status ?? 0) : 0;
    },
    async deleteTask(taskId) {
      await client.deleteTask(taskId, { headers });
    },
  };
};
