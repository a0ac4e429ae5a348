/** The resources: each project as a Markdown document, `mantou://projects/{project_id}`. */
import { validate as isUuid } from 'uuid';
import { Problem } from '../errors/problem.ts';
import { listProjects } from '../handlers/projects.ts';
import type { Caller } from './caller.ts';
import { projectMarkdown } from './markdown.ts';

const PREFIX = 'mantou://projects/';
const MARKDOWN = 'text/markdown';
const PAGE = 100;

/** Returns a page of the projects that the user sees. @throws {Problem} `invalid_cursor`. */
export async function listResources({ db, user }: Caller, cursor: string | undefined) {
  const query = { cursor, limit: PAGE, sort: 'name', archived: 'false' } as const;
  const { items, next_cursor } = await listProjects(db, user, query);
  return {
    resources: items.map(({ id, name }) => ({ uri: PREFIX + id, name, mimeType: MARKDOWN })),
    ...(next_cursor !== null && { nextCursor: next_cursor }),
  };
}

export const resourceTemplates = [
  {
    uriTemplate: `${PREFIX}{project_id}`,
    name: 'project',
    description: 'A project with its members and open tasks',
    mimeType: MARKDOWN,
  },
];

/** Returns the document of a project. @throws {Problem} `not_found`. */
export async function readResource(caller: Caller, uri: string) {
  const id = uri.startsWith(PREFIX) ? uri.slice(PREFIX.length) : '';
  if (!isUuid(id)) throw new Problem('not_found');
  const { markdown } = await projectMarkdown(caller, id);
  return { contents: [{ uri, mimeType: MARKDOWN, text: markdown }] };
}
