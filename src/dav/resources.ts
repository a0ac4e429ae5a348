/** What a client finds: the root, the principal, the home, the lists and the items, each with its properties. */
import { CALDAV, CALENDARSERVER, DAV, xmlElement, xmlText } from '../formats/xml.ts';
import type { DavCollection } from '../handlers/caldav.ts';
import type { DavItem, DavItemTag } from '../handlers/caldav-items.ts';
import { type DavCaller, homeHref, mayWrite, principalHref, rootHref } from './caller.ts';

export const d = (name: string) => `{${DAV}}${name}`;
export const c = (name: string) => `{${CALDAV}}${name}`;

/** The properties of a kind of resource, by name. Each returns its value in XML; undefined where the resource has none. */
export type Properties<Resource> = Record<
  string,
  (resource: Resource, caller: DavCaller) => string | undefined
>;

export const ITEM_TYPE = 'text/calendar; charset=utf-8; component=vtodo';

const href = (path: string) => `<d:href>${xmlText(path)}</d:href>`;

/** RFC 3744 §5.4: a privilege that is made of others is granted with them. */
const privileges = (names: readonly string[]) =>
  names.map((name) => `<d:privilege>${xmlElement(d(name))}</d:privilege>`).join('');

const READ = ['read', 'read-current-user-privilege-set'];
const WRITE = ['write', 'write-content', 'write-properties', 'bind', 'unbind'];

/** RFC 1123, as RFC 4918 §15.7 has it. */
const httpDate = (instant: string) => new Date(instant).toUTCString();

const ofEverything: Properties<unknown> = {
  [d('current-user-principal')]: (_, caller) => href(principalHref(caller)),
};

export const rootProperties: Properties<null> = {
  ...ofEverything,
  [d('resourcetype')]: () => '<d:collection/>',
  [d('displayname')]: () => 'mantou',
  [d('principal-collection-set')]: (_, caller) => href(rootHref(caller)),
};

export const principalProperties: Properties<null> = {
  ...ofEverything,
  [d('resourcetype')]: () => '<d:collection/><d:principal/>',
  [d('displayname')]: (_, { user }) => xmlText(user.username),
  [d('principal-URL')]: (_, caller) => href(principalHref(caller)),
  [c('calendar-home-set')]: (_, caller) => href(homeHref(caller)),
  // Without one, a client does not offer invitations.
  [c('calendar-user-address-set')]: () => '',
};

export const homeProperties: Properties<null> = {
  ...ofEverything,
  [d('resourcetype')]: () => '<d:collection/>',
  [d('displayname')]: () => 'Projects',
  [d('owner')]: (_, caller) => href(principalHref(caller)),
  [c('calendar-home-set')]: (_, caller) => href(homeHref(caller)),
  [d('current-user-privilege-set')]: (_, { user }) =>
    privileges(user.scopes.includes('write') ? [...READ, 'bind'] : READ),
};

const REPORTS = [c('calendar-query'), c('calendar-multiget'), d('sync-collection')];

export const collectionProperties: Properties<DavCollection> = {
  ...ofEverything,
  [d('resourcetype')]: () => '<d:collection/><c:calendar/>',
  [d('displayname')]: ({ project }) => xmlText(project.name),
  [d('owner')]: ({ project }, caller) =>
    project.role === 'owner' ? href(principalHref(caller)) : undefined,
  [d('current-user-privilege-set')]: (collection, caller) =>
    privileges(mayWrite(caller, collection) ? [...READ, ...WRITE] : READ),
  [d('supported-report-set')]: () =>
    REPORTS.map(
      (name) => `<d:supported-report><d:report>${xmlElement(name)}</d:report></d:supported-report>`,
    ).join(''),
  [d('sync-token')]: ({ token }) => tokenUri(token),
  [`{${CALENDARSERVER}}getctag`]: ({ token }) => tokenUri(token),
  [d('creationdate')]: ({ project }) => project.created_at,
  [d('getlastmodified')]: ({ project }) => httpDate(project.updated_at),
  [c('calendar-description')]: ({ project }) =>
    project.description === null ? undefined : xmlText(project.description),
  [c('supported-calendar-component-set')]: () => '<c:comp name="VTODO"/>',
  [c('supported-calendar-data')]: () =>
    '<c:calendar-data content-type="text/calendar" version="2.0"/>',
  [c('max-resource-size')]: (_, { itemBytesMax }) => String(itemBytesMax),
};

/** A token of synchronization is a URI (RFC 6578 §6.2). */
const TOKEN_PREFIX = 'urn:x-mantou:sync:';
export const tokenUri = (token: string) => TOKEN_PREFIX + token;

/** Returns the token in a URI. What is no token of this server comes back as it is, and no reader of tokens takes it. */
export const tokenIn = (uri: string) => uri.trim().replace(TOKEN_PREFIX, '');

/** What a client can ask about an item without its text. */
export const tagProperties: Properties<DavItemTag> = {
  ...ofEverything,
  [d('resourcetype')]: () => '',
  [d('getetag')]: ({ tag }) => `"${tag}"`,
  [d('getcontenttype')]: () => ITEM_TYPE,
  [d('creationdate')]: ({ created_at }) => created_at,
  [d('getlastmodified')]: ({ updated_at }) => httpDate(updated_at),
};

export const itemProperties: Properties<DavItem> = {
  ...tagProperties,
  [d('getcontentlength')]: ({ text }) => String(new TextEncoder().encode(text).length),
};

/** Reports return the item itself, too (RFC 4791 §9.6). It is no property, so PROPFIND does not. */
export const reportProperties: Properties<DavItem> = {
  ...itemProperties,
  [c('calendar-data')]: ({ text }) => xmlText(text),
};
