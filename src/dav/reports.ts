/** REPORT of a list: which items it has, the items with some names, and what has changed (RFC 4791 §7.8, §7.9; RFC 6578 §3.2). */
import { Problem, unmet } from '../errors/problem.ts';
import { readFilter } from '../formats/calendar-filter.ts';
import { childOf, childrenOf, type XmlElement, xmlElement } from '../formats/xml.ts';
import { findProjectId } from '../handlers/caldav.ts';
import {
  type DavItem,
  type DavItemTag,
  findItems,
  listItems,
  listTags,
  pauseBetweenItems,
  readItemChanges,
  readItemsById,
} from '../handlers/caldav-items.ts';
import { decodeSegment } from '../http/dav.ts';
import { collectionHref, type DavCaller, itemHref } from './caller.ts';
import { type Asked, goneResponse, multistatus, readAsked, responseOf } from './multistatus.ts';
import { c, d, reportProperties, tagProperties, tokenIn, tokenUri } from './resources.ts';

/** Items are read in pages, so that a report takes little memory. */
const PAGE = 100;

/** A list, as the request names it. */
interface List {
  caller: DavCaller;
  name: string;
  projectId: string;
}

/**
 * Returns the pieces of the response to a report.
 * @throws {Problem} `not_found`; `webdav_condition` for another report, a filter or a token that is refused.
 */
export async function reportList(caller: DavCaller, name: string, report: XmlElement) {
  const projectId = await findProjectId(caller.db, caller.user, name);
  const list = { caller, name, projectId };
  const asked = readAsked(report);
  if (report.name === c('calendar-query')) return query(list, asked, report);
  if (report.name === c('calendar-multiget')) return multiget(list, asked, report);
  if (report.name === d('sync-collection')) return syncCollection(list, asked, report);
  throw unmet('d:supported-report');
}

/** Without a list of properties, a report says which items there are and returns them (RFC 4791 §7.8, "allprop"). */
const responseFor = ({ caller, name }: List, asked: Asked, item: DavItem, href?: string) =>
  responseOf(caller, href ?? itemHref(caller, name, item.name), asked, reportProperties, item);

const needsText = ({ names }: Asked) =>
  names === undefined || names.some((name) => !(name in tagProperties));

function query(list: List, asked: Asked, report: XmlElement) {
  const filter = readFilter(childOf(report, c('filter')));
  return multistatus(filter.matchesNone ? [] : responsesFor(list, asked, filter));
}

/** Yields the responses for the items that match. Their texts are read only where something in them is asked for. */
async function* responsesFor(list: List, asked: Asked, filter = readFilter(undefined)) {
  const { caller, name, projectId } = list;
  const { db, user } = caller;
  if (filter.needsText || needsText(asked)) {
    for await (const page of listItems(db, user, projectId)) {
      const pause = pauseBetweenItems();
      for (const item of page) {
        if (!filter.needsText || filter.matches(item.text)) yield responseFor(list, asked, item);
        await pause(item.text);
      }
    }
    return;
  }
  for await (const page of listTags(db, user, projectId)) {
    const href = (tag: DavItemTag) => itemHref(caller, name, tag.name);
    yield page.map((tag) => responseOf(caller, href(tag), asked, tagProperties, tag)).join('');
  }
}

/** An href that names no item of the list gets a 404 of its own, and its own text back. Each item comes once, whatever leads to it. */
function multiget(list: List, asked: Asked, report: XmlElement) {
  const { caller, projectId } = list;
  const written = childrenOf(report, d('href')).map(({ text }) => text.trim());
  const hrefs = new Map(
    written.map((href) => {
      const name = nameIn(list, href);
      return [name === undefined ? href : itemHref(caller, list.name, name), { href, name }];
    }),
  );
  async function* responses() {
    const all = [...hrefs.values()];
    for (let start = 0; start < all.length; start += PAGE) {
      const page = all.slice(start, start + PAGE);
      const names = page.flatMap(({ name }) => name ?? []);
      const items = await findItems(caller.db, caller.user, projectId, names);
      for (const { href, name } of page) {
        const item = name === undefined ? undefined : items.get(name);
        yield item ? responseFor(list, asked, item, href) : goneResponse(href);
      }
    }
  }
  return multistatus(responses());
}

/** Returns the name of the item of the list that an href leads to: a path, or a URL with one. */
function nameIn({ caller, name }: List, href: string): string | undefined {
  const path = href.replace(/^https?:\/\/[^/]*/i, '');
  const slash = path.lastIndexOf('/');
  const isOfList =
    decodeSegment(path.slice(0, slash + 1)) === decodeSegment(collectionHref(caller, name));
  return isOfList ? decodeSegment(path.slice(slash + 1)) : undefined;
}

async function syncCollection(list: List, asked: Asked, report: XmlElement) {
  const { caller, name, projectId } = list;
  const { db, user, eventsRetentionSeconds } = caller;
  const written = childOf(report, d('sync-token'));
  if (!written) throw new Problem('malformed_request', { detail: 'sync-token is missing' });
  const known = written.text.trim() === '' ? undefined : tokenIn(written.text);
  const { token, changedIds } = await readItemChanges(
    db,
    user,
    projectId,
    known,
    eventsRetentionSeconds,
  );
  refuseLimit(report, changedIds);
  async function* responses() {
    if (changedIds === undefined) yield* responsesFor(list, asked);
    else
      for await (const { present, goneNames } of readItemsById(db, user, projectId, changedIds)) {
        for (const item of present) yield responseFor(list, asked, item);
        yield goneNames.map((gone) => goneResponse(itemHref(caller, name, gone))).join('');
      }
  }
  return multistatus(responses(), xmlElement(d('sync-token'), tokenUri(token)));
}

/** A client that wants no more than some results is told that there are more, and asks again without a limit (§3.7). */
function refuseLimit(report: XmlElement, changedIds: readonly string[] | undefined) {
  const limit = childOf(childOf(report, d('limit')), d('nresults'))?.text;
  if (limit === undefined || (changedIds && changedIds.length <= Number(limit))) return;
  throw unmet('d:number-of-matches-within-limits');
}
