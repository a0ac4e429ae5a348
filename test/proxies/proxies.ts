/** Debian's nginx, Caddy and HAProxy on loopback, with the examples of `deploy/` or as plain as their manuals show them. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { $ } from 'bun';
import { freePort, makeFolder } from '../support/process.ts';

const examples = join(import.meta.dir, '../../deploy');
/** The name in the examples and in the certificate. */
const HOST = 'api.example.org';
const POLL_INTERVAL_MS = 20;

export const proxyNames = ['nginx', 'Caddy', 'HAProxy'] as const;
export type ProxyName = (typeof proxyNames)[number];

/**
 * - `deployed`: the example of `deploy/`, with other ports and another certificate
 * - `prefixed`: the same under `/api/`, as its comment says
 * - `chained`: the example behind a further proxy, which names the client
 * - `forwarding`: the example, writing `Forwarded` (RFC 7239) in place of `X-Forwarded-For`
 * - `plain`: what passes requests on, and compresses everything it can
 */
export type Configuration = 'deployed' | 'prefixed' | 'chained' | 'forwarding' | 'plain';

/** A pattern of a configuration, and what stands there instead. */
type Change = [from: string, to: string];

export interface Place {
  /** The URL of the API as its clients see it. */
  readonly url: string;
  readonly port: number;
}

export interface HttpProxy extends Place {
  /**
   * Sends a request to the proxy.
   * @param reference a path below the URL of the API, or an absolute URL of this proxy.
   */
  fetch(reference: string, options?: BunFetchRequestInit): Promise<Response>;
  /** The arguments that make curl reach the proxy under its name. */
  readonly curl: string[];
  stop(): Promise<void>;
}

/** Returns a place for a proxy, so that an API can be told its PUBLIC_URL before the proxy starts. */
export function choosePlace(configuration: Configuration): Place {
  const port = freePort();
  if (configuration === 'plain') return { port, url: `http://127.0.0.1:${port}` };
  const path = configuration === 'prefixed' ? '/api' : '';
  return { port, url: `https://${HOST}:${port}${path}` };
}

/** Starts a proxy at `place` before the API at `upstream`. @throws {Error} with its output where it does not start. */
export async function startProxy(
  name: ProxyName,
  configuration: Configuration,
  upstream: string,
  place = choosePlace(configuration),
): Promise<HttpProxy> {
  const folder = makeFolder();
  const certificate = join(folder, 'certificate.pem');
  const key = join(folder, 'key.pem');
  const both = join(folder, 'both.pem');
  const made = await makeCertificate();
  await writeFile(certificate, made.certificate);
  await writeFile(key, made.key, { mode: 0o600 });
  await writeFile(both, made.certificate + made.key, { mode: 0o600 });
  const command = await makers[name]({
    folder,
    configuration,
    port: place.port,
    upstream: new URL(upstream).host,
    certificate,
    key,
    both,
  });
  const stop = await run(command, folder, place.port);
  const isPlain = configuration === 'plain';
  return {
    ...place,
    fetch(reference, options = {}) {
      const { origin, pathname, search } = new URL(
        reference.startsWith('/') ? place.url + reference : reference,
      );
      if (origin !== new URL(place.url).origin) throw new Error(`${reference} is elsewhere`);
      const headers = new Headers(options.headers);
      if (!isPlain) headers.set('host', new URL(place.url).host);
      const target = new URL(place.url);
      target.hostname = '127.0.0.1';
      return fetch(target.origin + pathname + search, {
        redirect: 'manual',
        ...options,
        headers,
        ...(!isPlain && { tls: { ca: made.certificate, serverName: HOST } }),
      });
    },
    curl: isPlain ? [] : ['--cacert', certificate, '--resolve', `${HOST}:${place.port}:127.0.0.1`],
    stop,
  };
}

let latestCertificate: Promise<{ certificate: string; key: string }> | undefined;

/** Returns one certificate for all proxies, with its key, as PEM. */
function makeCertificate() {
  latestCertificate ??= (async () => {
    const folder = makeFolder();
    const [certificate, key] = [join(folder, 'certificate.pem'), join(folder, 'key.pem')];
    await $`openssl req -new -x509 -days 2 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -subj /CN=${HOST} -addext subjectAltName=DNS:${HOST} -keyout ${key} -out ${certificate}`.quiet();
    return {
      certificate: await readFile(certificate, 'utf8'),
      key: await readFile(key, 'utf8'),
    };
  })();
  return latestCertificate;
}

interface Making {
  folder: string;
  configuration: Configuration;
  port: number;
  /** Host and port. */
  upstream: string;
  certificate: string;
  key: string;
  /** A file with the certificate and its key. */
  both: string;
}

/** Reads an example and changes it. @throws {Error} where it lacks what is to be changed. */
async function example(file: string, ...changes: Change[]): Promise<string> {
  let text = await readFile(join(examples, file), 'utf8');
  for (const [from, to] of changes) {
    const line = text.split('\n').find((one) => one.includes(from) && !/^\s*#/.test(one));
    if (line === undefined) throw new Error(`deploy/${file} has no ${from}`);
    text = text.replace(
      line,
      line.replace(from, () => to),
    );
  }
  return text;
}

/** Each writes a configuration into the folder. @returns the command that serves it in the foreground. */
const makers: Record<ProxyName, (making: Making) => Promise<string[]>> = {
  async nginx({ folder, configuration, port, upstream, certificate, key }) {
    const variants: Record<Configuration, Change[]> = {
      plain: [],
      deployed: [],
      prefixed: [
        ['location / {', 'location /api/ {'],
        ['proxy_pass http://mantou;', 'proxy_pass http://mantou/;'],
        ['location = /metrics', 'location = /api/metrics'],
      ],
      chained: [],
      forwarding: [
        [
          'proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;',
          'proxy_set_header X-Forwarded-For ""; proxy_set_header Forwarded "for=\\"$remote_addr:$remote_port\\"";',
        ],
      ],
    };
    const plain = `gzip on; gzip_types *;
      server { listen 127.0.0.1:${port}; location / { proxy_pass http://${upstream}; } }`;
    const site =
      configuration === 'plain'
        ? plain
        : await example(
            'nginx.conf',
            ['server 127.0.0.1:3000;', `server ${upstream};`],
            ['listen 443 ssl;', `listen 127.0.0.1:${port} ssl;`],
            ['/etc/ssl/certs/api.example.org.pem', certificate],
            ['/etc/ssl/private/api.example.org.key', key],
            ...variants[configuration],
          );
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
      .map((one) => `${one}_temp_path ${folder}/${one};`)
      .join(' ');
    const file = join(folder, 'nginx.conf');
    await writeFile(
      file,
      `${process.getuid?.() === 0 ? 'user root;' : ''} daemon off; pid ${folder}/pid; error_log stderr warn;
events {}
http { access_log off; ${temporary}
${site}
}
`,
    );
    return ['nginx', '-p', folder, '-e', 'stderr', '-c', file];
  },

  async Caddy({ folder, configuration, port, upstream, certificate, key }) {
    const variants: Record<Configuration, Change[]> = {
      plain: [],
      deployed: [],
      prefixed: [['respond /metrics 404', 'handle_path /api/* {\n\trespond /metrics 404']],
      chained: [['health_uri', 'trusted_proxies 127.0.0.1/32\n\t\thealth_uri']],
      forwarding: [
        [
          'health_uri',
          'header_up -X-Forwarded-For\n\t\theader_up Forwarded "for={remote_host}"\n\t\thealth_uri',
        ],
      ],
    };
    const plain = `:${port} {\n\tbind 127.0.0.1\n\tencode gzip\n\treverse_proxy ${upstream}\n}\n`;
    let site = plain;
    if (configuration !== 'plain')
      site = await example(
        'Caddyfile',
        ...variants[configuration],
        ['reverse_proxy 127.0.0.1:3000', `reverse_proxy ${upstream}`],
        [`${HOST} {`, `${HOST}:${port} {\n\tbind 127.0.0.1\n\ttls ${certificate} ${key}`],
      );
    if (configuration === 'prefixed') site = site.replace(/\}\s*$/, '}\n}\n');
    const file = join(folder, 'Caddyfile');
    const options = `{\n\tadmin off\n\tauto_https disable_redirects\n\tstorage file_system ${folder}\n}\n`;
    await writeFile(file, options + site);
    return ['caddy', 'run', '--config', file, '--adapter', 'caddyfile'];
  },

  async HAProxy({ folder, configuration, port, upstream, both }) {
    const variants: Record<Configuration, Change[]> = {
      plain: [],
      deployed: [],
      prefixed: [
        ['default_backend mantou', 'use_backend mantou if { path_beg /api/ }'],
        ['path /metrics', 'path /api/metrics'],
        ['option httpchk', 'http-request replace-path ^/api/(.*) /\\1\n  option httpchk'],
      ],
      chained: [],
      forwarding: [
        [
          'option forwardfor',
          'http-request del-header X-Forwarded-For\n  http-request set-header Forwarded "for=\\"%[src]:%[src_port]\\""',
        ],
      ],
    };
    const plain = `defaults
  mode http
  timeout connect 5s
  timeout client 50s
  timeout server 50s
  compression algo gzip
  compression type application/json text/html text/event-stream
frontend web
  bind 127.0.0.1:${port}
  default_backend api
backend api
  server api1 ${upstream}
`;
    const site =
      configuration === 'plain'
        ? plain
        : await example(
            'haproxy-http.cfg',
            ...variants[configuration],
            ['bind :443', `bind 127.0.0.1:${port}`],
            ['/etc/haproxy/api.example.org.pem', both],
            ['server api1 127.0.0.1:3000', `server api1 ${upstream}`],
          );
    const file = join(folder, 'haproxy.cfg');
    await writeFile(file, site);
    return ['haproxy', '-db', '-f', file];
  },
};

const packages: Record<string, string> = {
  nginx: 'nginx-light',
  caddy: 'caddy',
  haproxy: 'haproxy',
};

/** Starts a program and waits until it listens. @returns what stops it. */
async function run(command: string[], folder: string, port: number): Promise<() => Promise<void>> {
  const [program = ''] = command;
  // Debian's administrators have `sbin` in their path, and other users do not.
  const PATH = `${process.env.PATH}:/usr/sbin`;
  if (!Bun.which(program, { PATH }))
    throw new Error(`${program} is not installed: apt-get install ${packages[program]}`);
  const child = Bun.spawn(command, {
    cwd: folder,
    env: { PATH, HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder },
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
  });
  let said = '';
  const collect = async (output: ReadableStream<Uint8Array>) => {
    const decoder = new TextDecoder();
    for await (const bytes of output) said += decoder.decode(bytes, { stream: true });
  };
  const ended = Promise.all([child.exited, collect(child.stdout), collect(child.stderr)]);
  for (;;) {
    const reached = await Bun.connect({
      hostname: '127.0.0.1',
      port,
      socket: { data() {} },
    }).catch(() => undefined);
    reached?.end();
    if (reached) break;
    if (child.exitCode !== null) {
      await ended;
      throw new Error(`${command.join(' ')} ended with ${child.exitCode}: ${said}`);
    }
    await Bun.sleep(POLL_INTERVAL_MS);
  }
  return async () => {
    child.kill('SIGTERM');
    await ended;
  };
}
