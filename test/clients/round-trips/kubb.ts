import { setConfig } from '@kubb/plugin-client/clients/axios';
import { isAxiosError } from 'axios';
import {
  createProject,
  createTask,
  deleteTask,
  listAllTasks,
  logIn,
  patchTask,
} from '../kubb/index.ts';
import { type OpenRoundTrip, STALE, titlesOf } from './round-trip.ts';

export const openRoundTrip: OpenRoundTrip = async (url, credentials) => {
  setConfig({ baseURL: url });
  const { access_token } = await logIn(credentials);
  setConfig({ baseURL: url, headers: { authorization: `Bearer ${access_token}` } });
  return {
    createProject: async (name) => (await createProject({ name })).id,
    createTask: async (projectId, title) =>
      (await createTask(projectId, { title, due_at: null })).id,
    listTitles: async (status) => titlesOf(await listAllTasks({ status })),
    async patchStale(taskId) {
      const error = await patchTask(taskId, {}, { 'If-Match': STALE }).catch((thrown) => thrown);
      return isAxiosError(error) ? (error.response?.status ?? 0) : 0;
    },
    async deleteTask(taskId) {
      await deleteTask(taskId);
    },
  };
};
