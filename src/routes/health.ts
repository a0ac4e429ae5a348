import { Elysia } from 'elysia';
import { assertNotStopping, assertReady, shareReadiness } from '../handlers/health.ts';
import { operation } from '../openapi/operation.ts';
import type { Platform } from '../platform.ts';
import type { OpenRoutes } from '../plugins/route-groups.ts';
import { Health } from '../schemas/health.ts';

export const health = ({ database, probe, countLosses, shutdown }: Platform, group: OpenRoutes) => {
  const checkReadiness =
    probe && countLosses ? shareReadiness(probe, countLosses) : () => assertReady(database);
  return new Elysia({ prefix: '/health', tags: ['Service'] })
    .use(group)
    .get('/live', () => ({ status: 'ok' as const }), {
      response: { 200: Health },
      detail: operation('isLive', 'Liveness check', { public: true }),
    })
    .get(
      '/ready',
      async () => {
        assertNotStopping(shutdown?.noteReadinessCheck());
        await checkReadiness();
        return { status: 'ok' as const };
      },
      {
        response: { 200: Health },
        detail: operation('isReady', 'Readiness check', {
          public: true,
          description:
            'Succeeds if the database is reachable, writable and migrated. Also fails while the process is shutting down.',
          problems: ['internal', 'database_unavailable', 'overloaded'],
        }),
      },
    );
};
