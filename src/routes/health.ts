import { Elysia } from 'elysia';
import { checkReadiness } from '../handlers/health.ts';
import type { Platform } from '../platform.ts';
import { operation } from '../plugins/operation.ts';
import { strictInput } from '../plugins/strict-input.ts';
import { Health } from '../schemas/health.ts';

export const health = ({ database, settings, shutdown }: Platform) =>
  new Elysia({ prefix: '/health', tags: ['Service'] })
    .use(strictInput(settings.body_limit_bytes))
    .get('/live', () => ({ status: 'ok' as const }), {
      response: { 200: Health },
      detail: operation('isLive', 'Is the process up?', { public: true }),
    })
    .get('/ready', () => checkReadiness(database, shutdown?.tell()), {
      response: { 200: Health },
      detail: operation('isReady', 'Is the database reachable and migrated?', {
        public: true,
        description: 'No, too, while the process stops.',
        problems: ['internal', 'database_unavailable', 'overloaded'],
      }),
    });
