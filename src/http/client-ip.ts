/**
 * Finds the address of a client. Only the entries that the operator's proxies add are trusted: they stand at the right end of
 * `X-Forwarded-For` or `Forwarded` (RFC 7239). The client may have written any entries to their left.
 */
import ipaddr from 'ipaddr.js';
import { BoundedMap } from '../lib/bounded-map.ts';
import { ownCopy } from '../lib/own-copy.ts';
import type { Platform } from '../platform.ts';
import { requestState } from './request-state.ts';

/** An IPv6 customer has at least a /64, so longer prefixes tell no clients apart. */
const IPV6_PREFIX_BYTES = 8;
/** An identifier that is no address is cut at this length, and loses its port, which differs for each connection. */
const IDENTIFIER_LENGTH_MAX = 64;
/** Texts whose address is remembered, and the longest of them. */
const ADDRESSES_MAX = 10_000;
const ADDRESS_LENGTH_MAX = 64;

type Source = Pick<Platform, 'settings' | 'remoteAddress' | 'log'>;

/**
 * Returns the address that sessions keep and limits count by: an IPv4 address or the /64 of an IPv6 address. Where the
 * proxy names a client by a text that is no address, that text is returned, so that such clients differ. Undefined where nothing
 * is known of the client: limits by address do not count such a request.
 */
export function clientIp(platform: Source, request: Request): string | undefined {
  const state = requestState(request);
  if (!('clientIp' in state)) state.clientIp = findClientIp(platform, request);
  return state.clientIp;
}

function findClientIp(platform: Source, request: Request): string | undefined {
  const { settings, remoteAddress } = platform;
  const connection = () => normalizeAddress(remoteAddress(request) ?? '');
  if (settings.trustedProxies === 0) return connection();
  const [header, entries] = forwardedEntries(request.headers);
  if (entries.length < settings.trustedProxies) {
    // The request bypassed a proxy, or there are fewer proxies than the setting says.
    logOnce(platform, 'forwarded_entries_missing', header);
    return connection();
  }
  const entry = entries.at(-settings.trustedProxies) ?? '';
  const address = normalizeAddress(entry);
  if (address !== undefined) return address;
  logOnce(platform, 'forwarded_not_understood', header);
  // RFC 7239 §6.2: the proxy does not know the client.
  if (/^(unknown)?$/i.test(entry)) return undefined;
  return entry.replace(/:\w+$/, '').slice(0, IDENTIFIER_LENGTH_MAX);
}

/**
 * Returns the clients that proxies name, and the header that names them. A proxy appends to one of the two headers and
 * passes on what the client wrote in the other, so one is read: `X-Forwarded-For`, unless it is missing.
 */
function forwardedEntries(headers: Headers): [header: string, entries: string[]] {
  // Lines of one name are one list (RFC 9110 §5.3), which `get` joins.
  const forwardedFor = headers.get('x-forwarded-for');
  if (forwardedFor !== null)
    return ['x-forwarded-for', forwardedFor.split(',').map((entry) => entry.trim())];
  const forwarded = headers.get('forwarded');
  return ['forwarded', forwarded === null ? [] : forwardedFor7239(forwarded)];
}

/** RFC 7239 §4: elements with commas between them, each of pairs with semicolons; a value is a token or a quoted string. */
const FORWARDED_TOKEN = /"(?:[^"\\]|\\.)*"|[,;]|[^",;]+/g;

function forwardedFor7239(header: string): string[] {
  const elements = [''];
  for (const [token] of header.matchAll(FORWARDED_TOKEN))
    if (token === ',') elements.push('');
    else elements[elements.length - 1] += token === ';' ? '\0' : token;
  return elements.map((element) => {
    const values = element.split('\0').map((pair) => /^\s*for\s*=\s*(.*?)\s*$/i.exec(pair)?.[1]);
    const value = values.find((one) => one !== undefined) ?? '';
    return value.replace(/^"(.*)"$/, '$1').replace(/\\(.)/g, '$1');
  });
}

const addresses = new BoundedMap<string, string | undefined>(ADDRESSES_MAX);

/** Does what `parseAddress` does. Clients send many requests, and to parse an address takes as long as to route a request. */
function normalizeAddress(text: string): string | undefined {
  if (text.length > ADDRESS_LENGTH_MAX) return parseAddress(text);
  let address = addresses.get(text);
  if (address === undefined && !addresses.has(text)) {
    address = parseAddress(text);
    addresses.set(ownCopy(text), address);
  }
  return address;
}

/**
 * Returns an address in one form, without what proxies write around it: quotes, the brackets of an IPv6 address, a port
 * (`192.0.2.7:51234`, `[2001:db8::5]:443`), a zone (RFC 4007 §11). Undefined where the text is no address.
 */
function parseAddress(text: string): string | undefined {
  const bare = text
    .replace(/^"(.*)"$/, '$1')
    .replace(/^\[(.*)\](?::\w+)?$/, '$1')
    // A port after an IPv4 address, or after all eight groups of an IPv6 address without brackets.
    .replace(/^(.*\.\d+|(?:[\da-f]{1,4}:){7}[\da-f]{1,4}):\d{1,5}$/i, '$1')
    .replace(/%.*$/, '');
  if (ipaddr.IPv4.isValidFourPartDecimal(bare)) return bare;
  if (!ipaddr.IPv6.isValid(bare)) return undefined;
  const address = ipaddr.IPv6.parse(bare);
  if (address.isIPv4MappedAddress()) return address.toIPv4Address().toString();
  const bytes = address.toByteArray();
  const network = new ipaddr.IPv6(bytes.fill(0, IPV6_PREFIX_BYTES));
  return `${network.toRFC5952String()}/64`;
}

/** The faults of proxies that are in the log already, for each server. */
const logged = new WeakMap<Source['settings'], Set<string>>();

function logOnce({ settings, log }: Source, event: string, header: string) {
  const events = logged.get(settings) ?? new Set();
  logged.set(settings, events);
  if (events.has(event)) return;
  events.add(event);
  log('warn', event, { header, setting: 'TRUST_PROXY' });
}
