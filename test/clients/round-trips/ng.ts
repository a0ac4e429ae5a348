// The compiler first: it reads the decorators of what follows, as a build would.
import '@angular/compiler';
import {
  HttpClient,
  HttpErrorResponse,
  provideHttpClient,
  withFetch,
  withInterceptors,
} from '@angular/common/http';
import {
  createEnvironmentInjector,
  type EnvironmentInjector,
  ɵINJECTOR_SCOPE as INJECTOR_SCOPE,
  Injector,
  inject,
  provideZonelessChangeDetection,
} from '@angular/core';
import { Api } from '../ng/api.ts';
import { ApiConfiguration, provideApiConfiguration } from '../ng/api-configuration.ts';
import {
  createProject,
  createTask,
  deleteTask,
  listAllTasks,
  logIn$Json,
  patchTask,
} from '../ng/functions.ts';
import { type OpenRoundTrip, STALE, titlesOf } from './round-trip.ts';

/** Angular's injector and its HTTP client, without an application. */
export const openRoundTrip: OpenRoundTrip = async (url, credentials) => {
  let token = '';
  const injector = createEnvironmentInjector(
    [
      // As an application's: it makes what is provided in the root.
      { provide: INJECTOR_SCOPE, useValue: 'root' },
      provideZonelessChangeDetection(),
      provideApiConfiguration(url),
      // An application is compiled ahead of time, which finds what the constructor takes.
      {
        provide: Api,
        useFactory: () => new Api(inject(ApiConfiguration), inject(HttpClient)),
      },
      provideHttpClient(
        withFetch(),
        withInterceptors([
          (request, next) =>
            next(
              token ? request.clone({ setHeaders: { authorization: `Bearer ${token}` } }) : request,
            ),
        ]),
      ),
    ],
    Injector.NULL as EnvironmentInjector,
  );
  const api = injector.get(Api);
  token = (await api.invoke(logIn$Json, { body: credentials })).access_token;
  return {
    createProject: async (name) => (await api.invoke(createProject, { body: { name } })).id,
    async createTask(projectId, title) {
      const body = { title, due_at: null };
      return (await api.invoke(createTask, { project_id: projectId, body })).id;
    },
    listTitles: async (status) => titlesOf(await api.invoke(listAllTasks, { status })),
    async patchStale(taskId) {
      const stale = { task_id: taskId, 'If-Match': STALE, body: {} };
      const error = await api.invoke(patchTask, stale).catch((thrown) => thrown);
      return error instanceof HttpErrorResponse ? error.status : 0;
    },
    deleteTask: (taskId) => api.invoke(deleteTask, { task_id: taskId }),
  };
};
