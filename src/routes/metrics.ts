import { Elysia } from 'elysia';
import type { Metrics, Platform } from '../platform.ts';
import { operation } from '../plugins/operation.ts';
import { strictInput } from '../plugins/strict-input.ts';
import { METRICS_TYPE, MetricsText } from '../schemas/metrics.ts';

export const metrics = ({ settings }: Pick<Platform, 'settings'>, { print }: Metrics) =>
  new Elysia({ tags: ['Service'] }).use(strictInput(settings.body_limit_bytes)).get(
    '/metrics',
    ({ set }) => {
      set.headers['content-type'] = METRICS_TYPE;
      return print();
    },
    {
      response: { 200: MetricsText },
      detail: operation('readMetrics', 'What Prometheus reads', {
        description: 'On a port of its own, and not here, where `METRICS_PORT` is set.',
        public: true,
        answers_as: 'text/plain',
      }),
    },
  );
