/** The examples in `deploy/` parse, and name only settings, routes and metrics that exist. */
import { expect, test } from 'bun:test';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { YAML } from 'bun';
import { settingNames } from '../../src/settings.ts';

const folder = join(import.meta.dir, '../../deploy');
const read = (name: string) => readFileSync(join(folder, name), 'utf8');
// biome-ignore lint/suspicious/noExplicitAny: documents are looked into freely.
type Json = any;
const yaml = (name: string): Json => YAML.parse(read(name));

const metrics = [
  ...readFileSync(join(folder, '../src/server/metrics.ts'), 'utf8').matchAll(/name: '(\w+)'/g),
].map(([, name = '']) => name);

/** Every series that an expression names has its metric in the code. */
function expectKnownMetrics(expression: string) {
  const named = expression.match(/\b(?:mantou|http|process)_\w+/g) ?? [];
  expect([expression, named.length > 0]).toEqual([expression, true]);
  for (const name of named) expect(metrics).toContain(name.replace(/_(count|sum|bucket)$/, ''));
}

test('the table of the README has every file', () => {
  const listed = [...read('README.md').matchAll(/`([\w.-]+\.\w+|Caddyfile)`/g)].map(
    ([, name]) => name,
  );
  const files = readdirSync(folder).filter((name) => name !== 'README.md');
  expect(listed.sort()).toEqual(files.sort());
});

test('the alert rules are rules on metrics that exist', () => {
  const [{ rules }] = yaml('alerts.yml').groups;
  expect(rules.length).toBeGreaterThan(5);
  for (const { alert, expr, annotations } of rules) {
    expect(alert).toMatch(/^Mantou\w+$/);
    expect(annotations.summary).toEndWith('.');
    expectKnownMetrics(expr);
  }
});

test('the board of Grafana shows metrics that exist, and each panel has a place of its own', () => {
  const { panels, schemaVersion } = JSON.parse(read('grafana.json'));
  expect(schemaVersion).toBeGreaterThan(30);
  const places = panels.map(({ gridPos: { x, y } }: Json) => `${x} ${y}`);
  expect(new Set(places).size).toBe(panels.length);
  for (const { targets } of panels) for (const { expr } of targets) expectKnownMetrics(expr);
});

test('the manifest for Kubernetes is a cluster, a deployment and a service that belong together', () => {
  const documents: Json[] = read('kubernetes.yaml')
    .split(/^---$/m)
    .map((document) => YAML.parse(document));
  expect(documents.map(({ kind }) => kind)).toEqual(['Cluster', 'Deployment', 'Service']);
  const [cluster, deployment, service] = documents;
  const [container] = deployment.spec.template.spec.containers;
  for (const { name } of container.env)
    if (name !== 'PGSSLMODE') expect(settingNames()).toContain(name);
  const secret = container.env.find(({ name }: Json) => name === 'DATABASE_URL').valueFrom
    .secretKeyRef;
  // CloudNativePG makes the secret of the owner's connection under this name.
  expect(secret).toEqual({ name: `${cluster.metadata.name}-app`, key: 'uri' });
  expect(service.spec.selector).toEqual(deployment.spec.template.metadata.labels);
  const ports = container.ports.map(({ name }: Json) => name);
  for (const { targetPort } of service.spec.ports) expect(ports).toContain(targetPort);
});

test('Patroni loses no acknowledged write, and HAProxy ends connections to a former primary', () => {
  const { dcs } = yaml('patroni.yml').bootstrap;
  expect(dcs).toMatchObject({
    synchronous_mode: true,
    synchronous_mode_strict: true,
    failsafe_mode: true,
  });
  expect(dcs.ttl).toBeGreaterThanOrEqual(dcs.loop_wait + 2 * dcs.retry_timeout);
  const haproxy = read('haproxy.cfg');
  expect(haproxy).toMatch(/^ {2}default-server .*\bon-marked-down shutdown-sessions$/m);
  for (const line of haproxy.split('\n')) expect(line).toMatch(/^(#.*|\w[\w ]*|\s{2}\S.*|)$/);
});

test('PgBouncer lets the settings of the pool pass', () => {
  const settings = new Map(
    [...read('pgbouncer.ini').matchAll(/^(\w+) = (.*)$/gm)].map(([, name, value = '']) => [
      name,
      value,
    ]),
  );
  expect(settings.get('pool_mode')).toBe('transaction');
  const ignored = (settings.get('ignore_startup_parameters') ?? '').split(', ');
  for (const name of ['jit', 'statement_timeout', 'idle_in_transaction_session_timeout'])
    expect(ignored).toContain(name);
});

test('the unit of systemd sets settings that exist, and waits longer than a stop takes', () => {
  const lines = read('mantou.service').split('\n');
  for (const line of lines) expect(line).toMatch(/^(#.*|\[\w+\]|\w+=.+|)$/);
  const values = (name: string) =>
    lines.flatMap((line) =>
      line.startsWith(`${name}=`) ? line.slice(name.length + 1).split(' ') : [],
    );
  for (const pair of values('Environment'))
    expect(settingNames()).toContain(pair.split('=')[0] ?? '');
  expect(Number(values('TimeoutStopSec')[0])).toBeGreaterThan(10);
  expect(values('ExecStart').at(-1)).toBe('src/server/main.ts');
});

test('HAProxy before the API names clients, asks for readiness with a Host, and hides the metrics', () => {
  const haproxy = read('haproxy-http.cfg');
  for (const part of [
    'option forwardfor',
    'uri /health/ready ver HTTP/1.1 hdr Host ',
    'deny deny_status 404 if { path /metrics }',
    'server api1 127.0.0.1:3000',
  ])
    expect(haproxy).toContain(part);
});

test('nginx and Caddy have balanced blocks, take imports whole, and hide the metrics', () => {
  for (const [name, size] of [
    ['nginx.conf', 'client_max_body_size 64m;'],
    ['Caddyfile', 'max_size 64MiB'],
  ] as const) {
    const text = read(name).replaceAll(/^\s*#.*$/gm, '');
    expect([name, text.match(/\{/g)?.length]).toEqual([name, text.match(/\}/g)?.length]);
    expect(text).toContain(size);
    expect(text).toContain('/metrics');
    expect(text).toContain('127.0.0.1:3000');
  }
  const nginx = read('nginx.conf');
  expect(nginx).toContain('X-Forwarded-For $proxy_add_x_forwarded_for');
  for (const line of nginx.split('\n')) expect(line).toMatch(/^(\s*#.*|\s*|.*[{};])$/);
});
