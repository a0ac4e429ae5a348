import { Elysia } from 'elysia';
import type { Platform } from '../platform.ts';
import { operation } from '../plugins/operation.ts';
import { strictInput } from '../plugins/strict-input.ts';
import { Problem } from '../problem.ts';
import { METRICS_TYPE, MetricsText } from '../schemas/metrics.ts';

const NOT_COUNTED =
  'Each isolate would count for itself. Use the metrics of Cloudflare Workers, which count for all.';

export const metrics = ({ settings, metrics: counted }: Platform) =>
  new Elysia({ tags: ['Service'] }).use(strictInput(settings.body_limit_bytes)).get(
    '/metrics',
    ({ set }) => {
      if (!counted) throw new Problem('not_implemented', { detail: NOT_COUNTED });
      set.headers['content-type'] = METRICS_TYPE;
      return counted.print();
    },
    {
      response: { 200: MetricsText },
      detail: operation('readMetrics', 'What Prometheus reads', {
        description:
          'On a port of its own, and not here, where `METRICS_PORT` is set. Not on Cloudflare Workers.',
        public: true,
        problems: ['not_implemented'],
        answers_as: 'text/plain',
      }),
    },
  );
