/**
 * Where a request comes from. Only the proxies of the operator are believed: the entries that they add stand at the
 * right end of `X-Forwarded-For`, whatever the client has written to their left.
 */
import type { Platform } from '../platform.ts';

/**
 * The address that sessions keep and limits count by.
 * @returns an IPv4 address, or the /64 of an IPv6 address: one customer has at least that, so no more tells apart.
 * Undefined where there is no connection.
 */
export function findClientAddress(
  { settings, address_of }: Pick<Platform, 'settings' | 'address_of'>,
  request: Request,
): string | undefined {
  const forwarded = settings.trusted_proxies > 0 && forwardedFor(request, settings.trusted_proxies);
  return normalizeAddress(forwarded || '') ?? normalizeAddress(address_of(request) ?? '');
}

/** Lines of one name are one list (RFC 9110 §5.3), which `get` joins. */
function forwardedFor(request: Request, trusted_proxies: number): string | undefined {
  const entries = request.headers.get('x-forwarded-for')?.split(',') ?? [];
  return entries.at(-trusted_proxies)?.trim();
}

const IPV4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/;
const IPV6_GROUP = /^[0-9A-Fa-f]{1,4}$/;
const IPV6_GROUPS = 8;
const NETWORK_GROUPS = 4;

/** @returns undefined for what is no address. */
function normalizeAddress(text: string): string | undefined {
  if (IPV4.test(text)) return text;
  const groups = text.includes(':') && groupsOf(text);
  return groups ? (mappedAddress(groups) ?? networkOf(groups)) : undefined;
}

/** The eight numbers of an IPv6 address in any of the forms of RFC 4291 §2.2. */
function groupsOf(text: string): number[] | undefined {
  const address = text
    // RFC 4007 §11: the zone of a link-local address means something on this machine alone.
    .replace(/%.*$/, '')
    .replace(/[^:]*\.[^:]*$/, (tail) => (IPV4.test(tail) ? hexGroups(tail) : ''));
  const [left = [], right, ...more] = address
    .split('::')
    .map((side) => (side === '' ? [] : side.split(':')));
  const missing = IPV6_GROUPS - left.length - (right ?? []).length;
  if (more.length > 0 || (right ? missing < 1 : missing !== 0)) return undefined;
  const groups = [...left, ...Array<string>(missing).fill('0'), ...(right ?? [])];
  if (!groups.every((group) => IPV6_GROUP.test(group))) return undefined;
  return groups.map((group) => Number.parseInt(group, 16));
}

function hexGroups(ipv4: string): string {
  const [a = 0, b = 0, c = 0, d = 0] = ipv4.split('.').map(Number);
  return `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
}

/** RFC 4291 §2.5.5.2: an IPv4 address, as a socket for both families shows it. */
function mappedAddress(groups: number[]): string | undefined {
  const [high = 0, low = 0] = groups.slice(-2);
  if (groups.slice(0, -2).join() !== '0,0,0,0,0,65535') return undefined;
  return [high >> 8, high & 255, low >> 8, low & 255].join('.');
}

/** In the form of RFC 5952. */
function networkOf(groups: number[]): string {
  const network = groups.slice(0, NETWORK_GROUPS).map((group) => group.toString(16));
  return `${network.join(':').replace(/(^|:)0(:0)*$/, '')}::/64`;
}
