import {
  ApiError,
  OpenAPI,
  ProjectsService,
  SessionsService,
  TaskStatus,
  TasksService,
} from '../otc/index.ts';
import { type OpenRoundTrip, STALE, titlesOf } from './round-trip.ts';

const statusOf = { todo: TaskStatus.TODO, done: TaskStatus.DONE };

export const openRoundTrip: OpenRoundTrip = async (url, credentials) => {
  OpenAPI.BASE = url;
  OpenAPI.TOKEN = (await SessionsService.logIn(credentials)).access_token;
  return {
    createProject: async (name) => (await ProjectsService.createProject({ name })).id,
    createTask: async (projectId, title) =>
      (await TasksService.createTask(projectId, { title, due_at: null })).id,
    // Its parameters have an order: limit, cursor, sort, expand, project, archived, status.
    listTitles: async (statuses) =>
      titlesOf(
        await TasksService.listAllTasks(
          ...([50, undefined, '-created_at', undefined, undefined, 'false'] as const),
          statuses?.map((status) => statusOf[status]),
        ),
      ),
    async patchStale(taskId) {
      const error = await TasksService.patchTask(taskId, {}, STALE).catch((thrown) => thrown);
      return error instanceof ApiError ? error.status : 0;
    },
    deleteTask: (taskId) => TasksService.deleteTask(taskId),
  };
};
