/**
 * Sends events to webhooks, and opens no way into the server's own network: at every try it resolves the name itself, checks
 * every address, and connects to an address that it has checked.
 */
import { lookup } from 'node:dns/promises';
import http from 'node:http';
import https from 'node:https';
import ipaddr from 'ipaddr.js';
import { version } from '../../package.json';
import type { SendWebhook, WebhookAnswer } from '../platform.ts';
import type { Settings } from '../settings.ts';

const TRY_TIMEOUT_MS = 15_000;
const RESPONSE_BYTES_MAX = 1024;
const IDLE_SOCKETS_MAX = 256;
/** RFC 4291 §2.4: what is global unicast today. Everything else, such as addresses that embed an IPv4 one, is refused. */
const GLOBAL_UNICAST: [ipaddr.IPv6, number] = [ipaddr.IPv6.parse('2000::'), 3];
/** Public addresses that are not: documentation (RFC 9637), and the host of a virtual machine at Azure. */
const REFUSED = ['3fff::/20', '168.63.129.16/32'].map((network) => ipaddr.parseCIDR(network));

export interface ResolvedAddress {
  address: string;
  family: number;
}

/** What a test may replace. */
interface SenderOptions {
  resolve?: (name: string) => Promise<ResolvedAddress[]>;
  timeoutMs?: number;
  /** Certificates to trust besides those of the system. */
  ca?: string;
}

const resolveName = (name: string): Promise<ResolvedAddress[]> => lookup(name, { all: true });

export function createWebhookSender(
  { production, webhookAllow }: Pick<Settings, 'production' | 'webhookAllow'>,
  { resolve = resolveName, timeoutMs = TRY_TIMEOUT_MS, ca }: SenderOptions = {},
): SendWebhook {
  const allowed = webhookAllow.map(toNetwork);
  // A limit by host would let receivers that hang block others at the same host. A webhook has one delivery at a time, so
  // the number of webhooks that a process serves bounds the connections.
  const keepAlive = { keepAlive: true, maxFreeSockets: IDLE_SOCKETS_MAX };
  const agents = { 'http:': new http.Agent(keepAlive), 'https:': new https.Agent(keepAlive) };

  /** Returns the addresses of a name; none if one of them is refused, because a name with both kinds is a trick. */
  async function addressesOf(hostname: string): Promise<ResolvedAddress[]> {
    const name = hostname.replace(/^\[(.*)\]$/, '$1');
    const found = ipaddr.isValid(name)
      ? [{ address: name, family: ipaddr.parse(name).kind() === 'ipv6' ? 6 : 4 }]
      : await resolve(name);
    return found.every(({ address }) => isAllowedAddress(address, allowed)) ? found : [];
  }

  return async (text, headers, body) => {
    const begunMs = performance.now();
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), timeoutMs);
    const aborted = new Promise<never>((_, reject) =>
      abort.signal.addEventListener('abort', () => reject(new TimedOut())),
    );
    aborted.catch(() => undefined);
    try {
      const url = new URL(text);
      if (!(url.protocol in agents) || (production && url.protocol !== 'https:'))
        return failed('unreachable');
      const addresses = await Promise.race([addressesOf(url.hostname), aborted]);
      if (addresses.length === 0) return failed('unreachable');
      const answer = await Promise.race([post(url, addresses, abort.signal), aborted]);
      return { ...answer, durationMs: Math.round(performance.now() - begunMs) };
    } catch (error) {
      const kind = errorOf(error);
      // The time that a connection takes to fail would tell what is there.
      return failed(kind, kind === 'unreachable' ? null : performance.now() - begunMs);
    } finally {
      clearTimeout(timer);
      abort.abort();
    }

    function post(url: URL, addresses: ResolvedAddress[], signal: AbortSignal) {
      const { promise, resolve, reject } = Promise.withResolvers<WebhookAnswer>();
      const protocol = url.protocol as keyof typeof agents;
      const request = (protocol === 'https:' ? https : http).request({
        protocol,
        hostname: url.hostname.replace(/^\[(.*)\]$/, '$1'),
        port: url.port === '' ? undefined : Number(url.port),
        path: url.pathname + url.search,
        method: 'POST',
        agent: agents[protocol],
        signal,
        ...(ca && { ca }),
        headers: {
          ...headers,
          'content-length': String(Buffer.byteLength(body)),
          'user-agent': `mantou/${version}`,
        },
        lookup: (_name, options, found) => {
          const [first] = addresses as [ResolvedAddress];
          if (options.all) found(null, addresses);
          else found(null, first.address, first.family);
        },
      });
      request.on('error', reject);
      request.on('response', (response) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        const end = () => {
          const status = response.statusCode ?? 0;
          const text = new TextDecoder().decode(
            Buffer.concat(chunks).subarray(0, RESPONSE_BYTES_MAX),
          );
          resolve({
            status,
            error: errorOfStatus(status),
            durationMs: null,
            response: text.replaceAll('\0', '').toWellFormed(),
            retryAfterMs: retryAfterOf(response.headers['retry-after']),
          });
        };
        response.on('data', (chunk: Buffer) => {
          chunks.push(chunk);
          bytes += chunk.byteLength;
          if (bytes < RESPONSE_BYTES_MAX) return;
          end();
          request.destroy();
        });
        response.on('end', end);
        response.on('error', reject);
        response.on('aborted', () => reject(new Error('cut')));
      });
      request.end(body);
      return promise;
    }
  };
}

class TimedOut extends Error {}

const failed = (error: WebhookAnswer['error'], ms: number | null = null): WebhookAnswer => ({
  status: null,
  error,
  durationMs: ms === null ? null : Math.round(ms),
  response: null,
  retryAfterMs: undefined,
});

function errorOf(error: unknown): WebhookAnswer['error'] {
  if (error instanceof TimedOut) return 'timed_out';
  const { code = '', name, message = '' } = error as NodeJS.ErrnoException;
  if (name === 'AbortError') return 'timed_out';
  if (/TLS|CERT|SSL|SELF_SIGNED|VERIFY/.test(code)) return 'tls_failed';
  // The receiver accepted the connection, and its response is not HTTP.
  if (/^(HPE_|ECONNRESET|EPIPE)/.test(code) || /HTTP|response|cut|closed/i.test(message))
    return 'invalid_response';
  return 'unreachable';
}

function errorOfStatus(status: number): WebhookAnswer['error'] {
  if (status >= 200 && status < 300) return null;
  return status >= 300 && status < 400 ? 'redirected' : 'status';
}

/** Parses `Retry-After`: seconds, or a date (RFC 9110 §10.2.3). */
function retryAfterOf(value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const ms = /^\d{1,9}$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isNaN(ms) || ms < 0 ? undefined : ms;
}

type Network = [ipaddr.IPv4 | ipaddr.IPv6, number];

const toNetwork = (text: string): Network =>
  text.includes('/')
    ? ipaddr.parseCIDR(text)
    : ipaddr.parseCIDR(`${text}/${ipaddr.parse(text).kind() === 'ipv6' ? 128 : 32}`);

const isIn = (address: ipaddr.IPv4 | ipaddr.IPv6, [network, bits]: Network) =>
  address.kind() === network.kind() &&
  (address.kind() === 'ipv6'
    ? (address as ipaddr.IPv6).match(network as ipaddr.IPv6, bits)
    : (address as ipaddr.IPv4).match(network as ipaddr.IPv4, bits));

/** Returns whether an address is public, or inside a network that the operator allows. */
export function isAllowedAddress(text: string, allowed: readonly Network[]): boolean {
  if (!ipaddr.isValid(text)) return false;
  const address = ipaddr.process(text);
  if (allowed.some((network) => isIn(address, network))) return true;
  if (address.range() !== 'unicast' || REFUSED.some((network) => isIn(address, network)))
    return false;
  return address.kind() === 'ipv4' || (address as ipaddr.IPv6).match(...GLOBAL_UNICAST);
}
