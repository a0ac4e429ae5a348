/** PROPFIND (RFC 4918 §9.1) of each kind of resource. Each returns the pieces of the response. */
import { findCollection, findProjectId, listCollections } from '../handlers/caldav.ts';
import { listItems, listTags, readItemNamed } from '../handlers/caldav-items.ts';
import {
  collectionHref,
  type DavCaller,
  homeHref,
  itemHref,
  principalHref,
  rootHref,
} from './caller.ts';
import { type Asked, multistatus, responseOf } from './multistatus.ts';
import {
  collectionProperties,
  homeProperties,
  itemProperties,
  principalProperties,
  rootProperties,
  tagProperties,
} from './resources.ts';

/** What is asked, and whether of what is inside as well. */
export interface Find {
  asked: Asked;
  depth: 0 | 1;
}

export function findRoot(caller: DavCaller, { asked, depth }: Find) {
  const root = responseOf(caller, rootHref(caller), asked, rootProperties, null);
  const inside = [
    responseOf(caller, principalHref(caller), asked, principalProperties, null),
    responseOf(caller, homeHref(caller), asked, homeProperties, null),
  ];
  return multistatus(depth === 0 ? [root] : [root, ...inside]);
}

export const findPrincipal = (caller: DavCaller, { asked }: Find) =>
  multistatus([responseOf(caller, principalHref(caller), asked, principalProperties, null)]);

export function findHome(caller: DavCaller, { asked, depth }: Find) {
  async function* responses() {
    yield responseOf(caller, homeHref(caller), asked, homeProperties, null);
    if (depth === 0) return;
    const { db, user, eventsRetentionSeconds } = caller;
    for await (const collection of listCollections(db, user, eventsRetentionSeconds)) {
      const href = collectionHref(caller, collection.name);
      yield responseOf(caller, href, asked, collectionProperties, collection);
    }
  }
  return multistatus(responses());
}

/** @throws {Problem} `not_found`. */
export async function findList(caller: DavCaller, name: string, { asked, depth }: Find) {
  const { db, user, eventsRetentionSeconds } = caller;
  const collection = await findCollection(db, user, name, eventsRetentionSeconds);
  const projectId = collection.project.id;
  async function* responses() {
    yield responseOf(caller, collectionHref(caller, name), asked, collectionProperties, collection);
    if (depth === 1) yield* items();
  }
  async function* items() {
    const href = (item: string) => itemHref(caller, name, item);
    // Only a text says how long it is.
    const needsText = asked.names?.some(
      (property) => property in itemProperties && !(property in tagProperties),
    );
    if (needsText)
      for await (const page of listItems(db, user, projectId))
        yield page
          .map((item) => responseOf(caller, href(item.name), asked, itemProperties, item))
          .join('');
    else
      for await (const page of listTags(db, user, projectId))
        yield page
          .map((tag) => responseOf(caller, href(tag.name), asked, tagProperties, tag))
          .join('');
  }
  return multistatus(responses());
}

/** @throws {Problem} `not_found`. */
export async function findItem(caller: DavCaller, listName: string, name: string, { asked }: Find) {
  const { db, user } = caller;
  const projectId = await findProjectId(db, user, listName);
  const item = await readItemNamed(db, user, projectId, name);
  const href = itemHref(caller, listName, name);
  return multistatus([responseOf(caller, href, asked, itemProperties, item)]);
}
