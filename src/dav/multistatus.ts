/** Responses with a status for each resource (RFC 4918 §13), written piece by piece. */
import { Problem, unmet } from '../errors/problem.ts';
import { childOf, XML_NAMESPACES, type XmlElement, xmlElement, xmlText } from '../formats/xml.ts';
import type { DavCaller } from './caller.ts';
import { d, type Properties } from './resources.ts';

export const XML_TYPE = 'application/xml';

const HEAD = `<?xml version="1.0" encoding="utf-8"?>\n<d:multistatus ${XML_NAMESPACES}>`;
const END = '</d:multistatus>\n';

/** Yields the document around its responses. @param tail what follows them. */
export async function* multistatus(
  responses: AsyncIterable<string> | Iterable<string>,
  tail = '',
): AsyncGenerator<string> {
  yield HEAD;
  for await (const one of responses) yield one;
  yield tail + END;
}

/** What a request asks about each resource. */
export interface Asked {
  /** Undefined: all that there are, or their names alone. */
  readonly names: readonly string[] | undefined;
  readonly isNamesOnly: boolean;
}

/** The clients of the test suite ask for up to twenty properties. */
const PROPERTIES_MAX = 100;

/**
 * Returns what a request asks for (RFC 4918 §14.20): some properties, all, or their names. Without a body it asks for all.
 * @throws {Problem} `malformed_request`.
 */
export function readAsked(element: XmlElement | undefined): Asked {
  const prop = childOf(element, d('prop'));
  const names = [...new Set(prop?.children.map(({ name }) => name))];
  if (names.length > PROPERTIES_MAX)
    throw new Problem('malformed_request', { detail: `At most ${PROPERTIES_MAX} properties` });
  const isNamesOnly = childOf(element, d('propname')) !== undefined;
  return { names: prop && names, isNamesOnly };
}

/** Returns the response for a resource: the properties that it has, and those that it has not. */
export function responseOf<Resource>(
  caller: DavCaller,
  href: string,
  { names, isNamesOnly }: Asked,
  properties: Properties<Resource>,
  resource: Resource,
): string {
  const found: string[] = [];
  const missing: string[] = [];
  for (const name of names ?? Object.keys(properties)) {
    const value = Object.hasOwn(properties, name)
      ? properties[name]?.(resource, caller)
      : undefined;
    if (value === undefined) missing.push(xmlElement(name));
    else found.push(xmlElement(name, isNamesOnly ? '' : value));
  }
  const showsMissing = names !== undefined && !caller.isBrief && missing.length > 0;
  return response(
    href,
    (found.length > 0 || !showsMissing ? propstat(200, found) : '') +
      (showsMissing ? propstat(404, missing) : ''),
  );
}

const STATUS: Record<number, string> = {
  200: 'OK',
  403: 'Forbidden',
  404: 'Not Found',
  424: 'Failed Dependency',
};

const status = (code: number) => `<d:status>HTTP/1.1 ${code} ${STATUS[code]}</d:status>`;

export const propstat = (code: number, elements: readonly string[]) =>
  `<d:propstat><d:prop>${elements.join('')}</d:prop>${status(code)}</d:propstat>`;

export const response = (href: string, content: string) =>
  `<d:response><d:href>${xmlText(href)}</d:href>${content}</d:response>\n`;

/** Returns the response for a resource that is not there. */
export const goneResponse = (href: string) => response(href, status(404));

/**
 * Returns how deep a request looks (RFC 4918 §10.2). Without the header it is the resource alone: clients mean that.
 * @throws {Problem} `webdav_condition` for `infinity`: a home with all its items is no answer to one request; `malformed_request`.
 */
export function readDepth(header: string | null): 0 | 1 {
  const depth = header?.trim().toLowerCase() || '0';
  if (depth === 'infinity') throw unmet('d:propfind-finite-depth');
  if (depth !== '0' && depth !== '1')
    throw new Problem('malformed_request', { detail: 'Depth must be 0 or 1' });
  return depth === '1' ? 1 : 0;
}
