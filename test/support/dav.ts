/** A CalDAV client: requests of WebDAV with an API token over Basic, and what their responses say. */
import { readXml, type XmlElement } from '../../src/formats/xml.ts';
import type { Answer, Api, Persona } from './api.ts';

export const DAV = '{DAV:}';
export const CALDAV = '{urn:ietf:params:xml:ns:caldav}';
const NAMESPACES =
  'xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav" xmlns:cs="http://calendarserver.org/ns/"';

/** A resource in a multistatus: its properties by status and name, as text or, with elements inside, as the element. */
export interface DavResponse {
  href: string;
  status: string | undefined;
  found: Record<string, XmlElement>;
  missing: string[];
}

export interface DavAnswer extends Answer {
  responses: DavResponse[];
  syncToken: string | undefined;
  /** The conditions that an error names. */
  conditions: string[];
}

export class DavClient {
  constructor(
    readonly api: Api,
    readonly token: string,
  ) {}

  async send(
    method: string,
    path: string,
    body?: string,
    headers: Record<string, string> = {},
  ): Promise<DavAnswer> {
    const answer = await this.api.anonymous.request(method, path, undefined, {
      undocumented: true,
      headers: {
        authorization: `Basic ${btoa(`ada:${this.token}`)}`,
        ...(body !== undefined && { 'content-type': typeOf(method) }),
        ...headers,
      },
      ...(body !== undefined && { raw: body }),
    });
    const isXml = /xml/.test(answer.headers.get('content-type') ?? '');
    const root = isXml && answer.text !== '' ? readXml(answer.text) : undefined;
    return {
      ...answer,
      responses: children(root, 'response').map(readResponse),
      syncToken: children(root, 'sync-token')[0]?.text,
      conditions: root?.name === `${DAV}error` ? root.children.map(({ name }) => name) : [],
    };
  }

  find = (path: string, properties = '<d:allprop/>', depth = '0', headers = {}) =>
    this.send('PROPFIND', path, `<d:propfind ${NAMESPACES}>${properties}</d:propfind>`, {
      depth,
      ...headers,
    });

  report = (path: string, name: string, content: string, depth = '1') =>
    this.send('REPORT', path, `<${name} ${NAMESPACES}>${content}</${name}>`, { depth });

  update = (path: string, content: string) =>
    this.send('PROPPATCH', path, `<d:propertyupdate ${NAMESPACES}>${content}</d:propertyupdate>`);

  /** Returns the tags of a list by the names of its items. */
  async tags(list: string): Promise<Record<string, string | undefined>> {
    const { responses } = await this.report(
      list,
      'c:calendar-query',
      '<d:prop><d:getetag/></d:prop><c:filter><c:comp-filter name="VCALENDAR"><c:comp-filter name="VTODO"/></c:comp-filter></c:filter>',
    );
    return Object.fromEntries(
      responses.map(({ href, found }) => [href.slice(list.length), found[`${DAV}getetag`]?.text]),
    );
  }

  sync = (list: string, token = '', properties = '<d:getetag/>') =>
    this.report(
      list,
      'd:sync-collection',
      `<d:sync-token>${token}</d:sync-token><d:sync-level>1</d:sync-level><d:prop>${properties}</d:prop>`,
      '0',
    );

  get = (path: string, headers = {}) => this.send('GET', path, undefined, headers);
  put = (path: string, text: string, headers = {}) => this.send('PUT', path, text, headers);
  delete = (path: string, headers = {}) => this.send('DELETE', path, undefined, headers);
}

const typeOf = (method: string) =>
  method === 'PUT' ? 'text/calendar; charset=utf-8' : 'application/xml; charset=utf-8';

const children = (element: XmlElement | undefined, name: string) =>
  element?.children.filter((child) => child.name === DAV + name) ?? [];

function readResponse(response: XmlElement): DavResponse {
  const found: Record<string, XmlElement> = {};
  const missing: string[] = [];
  for (const propstat of children(response, 'propstat')) {
    const properties = children(propstat, 'prop').flatMap((prop) => prop.children);
    const isFound = / 200 /.test(children(propstat, 'status')[0]?.text ?? '');
    for (const property of properties)
      if (isFound) found[property.name] = property;
      else missing.push(property.name);
  }
  return {
    href: children(response, 'href')[0]?.text ?? '',
    status: children(response, 'status')[0]?.text,
    found,
    missing,
  };
}

/** Returns a CalDAV client of a user. */
export async function davClient(
  api: Api,
  user: Persona,
  scopes: string[] = ['read', 'write'],
): Promise<DavClient> {
  const { body } = await user.post('/users/me/tokens', { name: 'caldav', scopes });
  return new DavClient(api, body.token);
}

/** Returns an item with some lines in its VTODO. */
export const todoText = (uid: string, ...lines: string[]) =>
  [
    'BEGIN:VCALENDAR',
    'VERSION:2.0',
    'PRODID:-//example//test//EN',
    'BEGIN:VTODO',
    `UID:${uid}`,
    'DTSTAMP:20260101T000000Z',
    ...lines,
    'END:VTODO',
    'END:VCALENDAR',
    '',
  ].join('\r\n');
