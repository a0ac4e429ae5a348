import { Type } from '@sinclair/typebox';

/** Prometheus' text format, version 0.0.4. */
export const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

export const MetricsText = Type.String({
  $id: 'Metrics',
  description: "Prometheus' text format.",
  examples: [
    'http_request_duration_seconds_count{method="GET",route="/tasks/{task_id}",status="200"} 1',
  ],
});
