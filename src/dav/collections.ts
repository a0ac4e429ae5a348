/** Making and renaming lists: MKCALENDAR (RFC 4791 §5.3.1), extended MKCOL (RFC 5689) and PROPPATCH (RFC 4918 §9.2). */
import { Problem, unmet } from '../errors/problem.ts';
import { childOf, childrenOf, type XmlElement, xmlElement } from '../formats/xml.ts';
import { createCollection, findProjectId } from '../handlers/caldav.ts';
import { patchProject } from '../handlers/projects.ts';
import type { ProjectPatch } from '../schemas/projects.ts';
import { NAME_LENGTH_MAX, PROJECT_DESCRIPTION_LENGTH_MAX } from '../schemas/projects.ts';
import { codePoints, isVisible } from '../schemas/types/text.ts';
import { collectionHref, type DavCaller } from './caller.ts';
import { multistatus, propstat, response } from './multistatus.ts';
import { c, d } from './resources.ts';

const DISPLAYNAME = d('displayname');
const DESCRIPTION = c('calendar-description');

/** The properties that a request sets or removes. */
const propertiesIn = (update: XmlElement | undefined, action: 'set' | 'remove') =>
  childrenOf(update, d(action)).flatMap((one) => childOf(one, d('prop'))?.children ?? []);

/**
 * Creates a project as a list of tasks. Of the properties that a client sends, it keeps the name and the description.
 * @param body undefined for MKCALENDAR with nothing but a name in its path.
 * @throws {Problem} `method_not_allowed` where there is one; `webdav_condition` for a list that is not to hold tasks.
 */
export async function makeList(
  caller: DavCaller,
  name: string,
  method: 'MKCALENDAR' | 'MKCOL',
  body: XmlElement | undefined,
): Promise<void> {
  const properties = propertiesIn(body, 'set');
  const textOf = (property: string) =>
    properties.find((one) => one.name === property)?.text.trim() || undefined;
  const type = properties.find((one) => one.name === d('resourcetype'));
  if (method === 'MKCOL' && !childOf(type, c('calendar'))) throw unmet('d:valid-resourcetype');
  const components = childrenOf(
    properties.find((one) => one.name === c('supported-calendar-component-set')),
    c('comp'),
  ).map(({ attributes }) => attributes.name?.toUpperCase());
  if (components.length > 0 && !components.includes('VTODO'))
    throw unmet('c:supported-calendar-component');
  await createCollection(caller.db, caller.user, name, {
    displayname: textOf(DISPLAYNAME),
    description: textOf(DESCRIPTION),
  });
}

/**
 * Renames and describes a project, or changes nothing. Returns the pieces of the response: each property with its status.
 * @throws {Problem} `not_found`; `webdav_condition` where the client may not write.
 */
export async function patchList(caller: DavCaller, name: string, update: XmlElement) {
  const { db, user } = caller;
  const projectId = await findProjectId(db, user, name);
  const set = propertiesIn(update, 'set');
  const removed = propertiesIn(update, 'remove');
  const patch: ProjectPatch = {};
  const refused = new Set<string>();
  for (const { name: property, text } of set) {
    if (property === DISPLAYNAME && isName(text)) patch.name = text.trim();
    else if (property === DESCRIPTION && codePoints(text) <= PROJECT_DESCRIPTION_LENGTH_MAX)
      patch.description = text === '' ? null : text;
    else refused.add(property);
  }
  for (const { name: property } of removed)
    if (property === DESCRIPTION) patch.description = null;
    else refused.add(property);
  if (refused.size === 0)
    await patchProject(db, user, projectId, patch, undefined).catch((error) => {
      if (!(error instanceof Problem) || !['forbidden', 'conflict'].includes(error.code))
        throw error;
      for (const property of Object.keys(patch))
        refused.add(property === 'name' ? DISPLAYNAME : DESCRIPTION);
    });
  const asked = [...new Set([...set, ...removed].map((one) => one.name))];
  const elements = (isIn: (property: string) => boolean) =>
    asked.filter(isIn).map((property) => xmlElement(property));
  const statuses =
    refused.size === 0
      ? propstat(
          200,
          elements(() => true),
        )
      : propstat(
          403,
          elements((one) => refused.has(one)),
        ) +
        (asked.length > refused.size
          ? propstat(
              424,
              elements((one) => !refused.has(one)),
            )
          : '');
  return multistatus([response(collectionHref(caller, name), statuses)]);
}

/** Returns the pieces of the response for what has no property to change: each is refused. Some programs set theirs everywhere. */
export function patchNothing(href: string, update: XmlElement) {
  const asked = [...propertiesIn(update, 'set'), ...propertiesIn(update, 'remove')];
  const names = [...new Set(asked.map(({ name }) => name))];
  return multistatus([
    response(
      href,
      propstat(
        403,
        names.map((name) => xmlElement(name)),
      ),
    ),
  ]);
}

const isName = (text: string) => isVisible(text) && codePoints(text.trim()) <= NAME_LENGTH_MAX;
