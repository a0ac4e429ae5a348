/** Who sends a request of CalDAV, and what it needs to be answered. */
import type { Database } from '../db/database.ts';
import type { DavCollection } from '../handlers/caldav.ts';
import { DAV_ROOT } from '../http/dav.ts';
import type { CurrentUser } from '../schemas/current-user.ts';

export interface DavCaller {
  readonly db: Database;
  readonly user: CurrentUser;
  readonly eventsRetentionSeconds: number;
  /** The path under which clients reach the API, without a slash at its end. */
  readonly basePath: string;
  /** The largest item, in bytes. */
  readonly itemBytesMax: number;
  /** Whether the client wants no properties that are not there (RFC 8144 §2.1). */
  readonly isBrief: boolean;
}

type Place = Pick<DavCaller, 'basePath'>;

/** The paths of the resources. A collection ends in a slash (RFC 4918 §5.2). */
export const rootHref = ({ basePath }: Place) => `${basePath}${DAV_ROOT}/`;
export const principalHref = (place: Place) => `${rootHref(place)}me/`;
export const homeHref = (place: Place) => `${rootHref(place)}projects/`;
export const collectionHref = (place: Place, name: string) =>
  `${homeHref(place)}${encodeURIComponent(name)}/`;
export const itemHref = (place: Place, collectionName: string, name: string) =>
  collectionHref(place, collectionName) + encodeURIComponent(name);

/** Returns whether the user may write in a project: the privilege that `handlers` enforce. */
export const mayWrite = ({ user }: Pick<DavCaller, 'user'>, { project }: DavCollection) =>
  user.scopes.includes('write') && project.role !== 'viewer' && project.archived_at === null;
