/** The whole API on one screen. */
import { Elysia } from 'elysia';
import { createChangeFeed } from './handlers/change-feed.ts';
import { createChangePoll } from './handlers/change-poll.ts';
import { createChangeStream } from './handlers/change-stream.ts';
import { limitExports } from './handlers/export-limit.ts';
import { createStreamLimit } from './handlers/stream-limit.ts';
import { createWebhookDeliverer } from './handlers/webhook-delivery.ts';
import { allowedMethodsByPath } from './http/allowed-methods.ts';
import { createLastCalendars } from './http/last-calendars.ts';
import type { Platform } from './platform.ts';
import { accessTokens } from './plugins/access-tokens.ts';
import { announceChanges } from './plugins/announce-changes.ts';
import { cors } from './plugins/cors.ts';
import {
  agentUser,
  calendarUser,
  credentials,
  currentUser,
  davUser,
  streamUser,
} from './plugins/current-user.ts';
import { defaultHeaders } from './plugins/default-headers.ts';
import { docs } from './plugins/docs.ts';
import { errorHandler } from './plugins/error-handler.ts';
import { headRequests } from './plugins/head-requests.ts';
import { requestRateLimit } from './plugins/rate-limit.ts';
import { requestLog } from './plugins/request-log.ts';
import {
  agentRoutes,
  openRoutes,
  sessionRoutes,
  streamRoutes,
  tokenRoutes,
  userRoutes,
} from './plugins/route-groups.ts';
import { apiTokens } from './routes/api-tokens.ts';
import { caldav, caldavDiscovery } from './routes/caldav.ts';
import { calendar, secretCalendar } from './routes/calendar.ts';
import { calendarAddresses } from './routes/calendar-addresses.ts';
import { comments } from './routes/comments.ts';
import { changeStream, events } from './routes/events.ts';
import { health } from './routes/health.ts';
import { acceptances, invitations } from './routes/invitations.ts';
import { labels } from './routes/labels.ts';
import { leftProjects } from './routes/left-projects.ts';
import { mcp } from './routes/mcp.ts';
import { members } from './routes/members.ts';
import { metrics } from './routes/metrics.ts';
import { problemCatalogue } from './routes/problems.ts';
import { projectExports } from './routes/project-exports.ts';
import { projectImports } from './routes/project-imports.ts';
import { projects } from './routes/projects.ts';
import { logins, sessions } from './routes/sessions.ts';
import { tasks } from './routes/tasks.ts';
import { trash } from './routes/trash.ts';
import { account, profile, registration } from './routes/users.ts';
import { webhooks } from './routes/webhooks.ts';
import type { ClientApp } from './schemas/client-app.ts';
import { Parameters } from './schemas/types/object.ts';

/**
 * Unknown fields are refused, not dropped (`normalize`), and hosts of any length are accepted (`standardHostname`).
 */
const config = { normalize: false, handler: { standardHostname: false } } as const;

/** Returns the routes, without what every answer has in common. */
export function createApi(platform: Platform, calendars = createLastCalendars(platform.now)) {
  const jwt = accessTokens(platform);
  const cached = credentials(platform, calendars);
  const user = currentUser(jwt, cached);
  const feed = createChangeFeed(platform);
  const streamLimit = createStreamLimit(platform);
  const changes = createChangeStream(platform, feed, streamLimit);
  const poll = createChangePoll(platform, feed, streamLimit);
  const deliverer = createWebhookDeliverer(platform, feed);
  const limitExport = limitExports(platform);

  const open = openRoutes(platform);
  const withSession = sessionRoutes(platform, user, cached);
  const withUser = userRoutes(platform, user);

  const api = new Elysia(config)
    .use(announceChanges(changes))
    // Without a credential.
    .use(health(platform, open))
    .use(problemCatalogue(open))
    .use(registration(platform, open))
    .use(logins(platform, tokenRoutes(platform), jwt, cached))
    .use(secretCalendar(platform, open, cached, calendars))
    .use(caldavDiscovery(platform, open))
    // For a user who has logged in.
    .use(account(platform, withSession))
    .use(sessions(platform, withSession))
    .use(apiTokens(platform, withSession))
    .use(calendarAddresses(platform, withSession))
    .use(leftProjects(platform, withSession))
    .use(acceptances(platform, withSession))
    .use(webhooks(platform, withSession, deliverer))
    // For a user with a session or an API token.
    .use(profile(platform, withUser, limitExport))
    .use(projects(platform, withUser))
    .use(members(platform, withUser))
    .use(invitations(platform, withUser))
    .use(projectExports(platform, withUser, limitExport))
    .use(projectImports(platform, user))
    .use(calendar(platform, calendarUser(jwt, cached), calendars))
    .use(caldav(platform, davUser(jwt, cached)))
    .use(tasks(platform, withUser))
    .use(trash(platform, withUser))
    .use(comments(platform, withUser))
    .use(labels(platform, withUser))
    .use(events(platform, withUser, poll))
    .use(changeStream(platform, streamRoutes(platform, streamUser(jwt, cached)), changes))
    .use(mcp(platform, agentRoutes(platform, agentUser(jwt, cached))));
  // With a port of their own, metrics are not among the routes of the API.
  const here = platform.settings.metricsPort === undefined;
  return here ? api.use(metrics(platform, open)) : api;
}

/** Returns the app, built from what the runtime supplies. Nothing listens yet: give its `fetch` to a server. */
export function createApp(platform: Platform) {
  const calendars = createLastCalendars(platform.now);
  const api = createApi(platform, calendars);
  const app = new Elysia({ ...config, adapter: platform.adapter })
    .use(headRequests)
    .use(requestLog(platform))
    .use(cors(platform.settings))
    .use(defaultHeaders)
    .use(errorHandler(platform, () => allowedMethods, calendars))
    .use(requestRateLimit(platform))
    .guard({ query: Parameters({}) })
    .use(api);
  if (platform.settings.docs) app.use(docs(platform, api));
  const allowedMethods = allowedMethodsByPath(app.routes);
  return app;
}

/** The API for `treaty` of `@elysiajs/eden`: see docs/eden.md. */
export type App = ClientApp<ReturnType<typeof createApp>>;

/** Returns what `METRICS_PORT` serves. */
export function createMetricsApp(platform: Platform) {
  const app = new Elysia(config)
    .use(defaultHeaders)
    .use(errorHandler(platform, () => allowedMethods))
    .guard({ query: Parameters({}) })
    .use(metrics(platform, openRoutes(platform)));
  const allowedMethods = allowedMethodsByPath(app.routes);
  return app;
}
