import { configureStore } from '@reduxjs/toolkit';
import { client } from '../rtk/client.ts';
import { server } from '../rtk/empty.ts';
import { type OpenRoundTrip, STALE, titlesOf } from './round-trip.ts';

/** A store without a component. */
export const openRoundTrip: OpenRoundTrip = async (url, credentials) => {
  server.url = url;
  const store = configureStore({
    reducer: { [client.reducerPath]: client.reducer },
    middleware: (defaults) => defaults().concat(client.middleware),
  });
  const { createProject, createTask, deleteTask, listAllTasks, logIn, patchTask } =
    client.endpoints;
  server.token = (await store.dispatch(logIn.initiate({ credentials })).unwrap()).access_token;
  return {
    createProject: async (name) =>
      (await store.dispatch(createProject.initiate({ projectCreate: { name } })).unwrap()).id,
    async createTask(projectId, title) {
      const taskWrite = { title, due_at: null };
      return (await store.dispatch(createTask.initiate({ projectId, taskWrite })).unwrap()).id;
    },
    async listTitles(status) {
      const page = await store.dispatch(listAllTasks.initiate({ status })).unwrap();
      return titlesOf(page);
    },
    async patchStale(taskId) {
      const stale = { taskId, taskPatch: {}, 'If-Match': STALE };
      const { error } = await store.dispatch(patchTask.initiate(stale));
      return error && 'status' in error && typeof error.status === 'number' ? error.status : 0;
    },
    async deleteTask(taskId) {
      await store.dispatch(deleteTask.initiate({ taskId })).unwrap();
    },
  };
};
