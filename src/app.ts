/** The whole API on one screen. */
import { Elysia } from 'elysia';
import type { Platform } from './platform.ts';
import { accessTokens } from './plugins/access-tokens.ts';
import { announcing, createChangeStream } from './plugins/change-stream.ts';
import { conventions } from './plugins/conventions.ts';
import { cors } from './plugins/cors.ts';
import { calendarUser, credentials, currentUser } from './plugins/current-user.ts';
import { docs } from './plugins/docs.ts';
import { requestLimits } from './plugins/limits.ts';
import { methodsByPath } from './plugins/methods.ts';
import { observe } from './plugins/observe.ts';
import { problems } from './plugins/problems.ts';
import { apiTokens } from './routes/api-tokens.ts';
import { calendar } from './routes/calendar.ts';
import { events } from './routes/events.ts';
import { health } from './routes/health.ts';
import { members } from './routes/members.ts';
import { metrics } from './routes/metrics.ts';
import { problemCatalogue } from './routes/problems.ts';
import { projectExports } from './routes/project-exports.ts';
import { projectImports } from './routes/project-imports.ts';
import { projects } from './routes/projects.ts';
import { sessions } from './routes/sessions.ts';
import { tasks } from './routes/tasks.ts';
import { users } from './routes/users.ts';
import { Parameters } from './schemas/common.ts';

/**
 * Unknown fields are refused rather than dropped (`normalize`), and the path is found whatever the length of the host
 * (`standardHostname`).
 */
const config = { normalize: false, handler: { standardHostname: false } } as const;

/** The routes, without what every answer has in common. */
export function createApi(platform: Platform) {
  const tokens = accessTokens(platform);
  const known = credentials(platform);
  const current = currentUser(tokens, known);
  const changes = createChangeStream(platform);
  const api = new Elysia(config)
    .use(announcing(changes))
    .use(health(platform))
    .use(problemCatalogue(platform))
    .use(users(platform, current))
    .use(sessions(platform, tokens, known, current))
    .use(apiTokens(platform, current))
    .use(projects(platform, current))
    .use(members(platform, current))
    .use(projectExports(platform, current))
    .use(projectImports(platform, current))
    .use(calendar(platform, calendarUser(tokens, known)))
    .use(tasks(platform, current))
    .use(events(platform, current, changes));
  // On a port of its own, whoever can reach the API cannot read them.
  const here = platform.settings.metrics_port === undefined;
  return here ? api.use(metrics(platform)) : api;
}

/** Builds the app from what the runtime supplies. Nothing listens yet: hand `fetch` of the app to a server. */
export function createApp(platform: Platform) {
  const api = createApi(platform);
  const app = new Elysia({ ...config, adapter: platform.adapter })
    .use(observe(platform))
    .use(cors(platform.settings))
    .use(conventions)
    .use(problems(platform, (path) => allowedMethods(path)))
    .use(requestLimits(platform))
    .guard({ query: Parameters({}) })
    .use(api);
  if (platform.settings.docs) app.use(docs(platform, api));
  const allowedMethods = methodsByPath(app.routes);
  return app;
}

/** What `METRICS_PORT` serves. */
export function createMetricsApp(platform: Platform) {
  const app = new Elysia(config)
    .use(conventions)
    .use(problems(platform, (path) => allowedMethods(path)))
    .guard({ query: Parameters({}) })
    .use(metrics(platform));
  const allowedMethods = methodsByPath(app.routes);
  return app;
}
