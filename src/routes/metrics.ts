import { Elysia } from 'elysia';
import { Problem } from '../errors/problem.ts';
import { operation } from '../openapi/operation.ts';
import type { Platform } from '../platform.ts';
import type { OpenRoutes } from '../plugins/route-groups.ts';
import { METRICS_TYPE, MetricsText } from '../schemas/metrics.ts';

const NOT_COUNTED =
  'Each isolate would count only its own requests. Use the metrics of Cloudflare Workers, which cover all of them.';

export const metrics = ({ metrics: counted }: Platform, group: OpenRoutes) =>
  new Elysia({ tags: ['Service'] }).use(group).get(
    '/metrics',
    ({ set }) => {
      if (!counted) throw new Problem('not_implemented', { detail: NOT_COUNTED });
      set.headers['content-type'] = METRICS_TYPE;
      return counted.render();
    },
    {
      response: { 200: MetricsText },
      detail: operation('readMetrics', 'Metrics (Prometheus)', {
        description:
          'Served on a separate port if `METRICS_PORT` is set. Not available on Cloudflare Workers.',
        public: true,
        problems: ['not_implemented'],
        produces: 'text/plain',
      }),
    },
  );
