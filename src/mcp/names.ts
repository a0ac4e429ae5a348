/** Names where the API has ids: a tool takes either, and the same text stands for the same thing in every tool. */
import { validate as isUuid } from 'uuid';
import { type FieldError, validationProblem } from '../errors/problem.ts';
import { findFellows } from '../handlers/members.ts';
import { findNamedProjects, type NamedProject } from '../handlers/projects.ts';
import type { Caller } from './caller.ts';

/** A name or id, and the argument that it stands in: `body.tasks.0.project`. */
export interface Reference {
  text: string;
  location: string;
}

/**
 * Returns the id of the project that the text names. An id is taken as it is: the handler that gets it decides who may see it.
 * @throws {Problem} `validation_failed` for a name that no project of the user has, or that several have.
 */
export async function resolveProject({ db, user }: Caller, text: string): Promise<string> {
  const reference = { text, location: 'body.project' };
  const names = namesOf([reference]);
  const found = names.length === 0 ? [] : await findNamedProjects(db, user, names);
  return resolve([reference], (name) => idsOfProjects(name, found)).get(text) ?? text;
}

/**
 * Returns the ids of people by the text that names them; `me` and `none` are left as they are.
 * @throws {Problem} `validation_failed` for a name that no member of the user's projects has.
 */
export async function resolvePeople(
  { db, user }: Caller,
  references: readonly Reference[],
): Promise<Map<string, string>> {
  const words = ['me', 'none'];
  const named = references.filter(({ text }) => !words.includes(text));
  const names = namesOf(named);
  const found = names.length === 0 ? [] : await findFellows(db, user, names);
  const ids = resolve(named, (name) =>
    found
      .filter(({ username }) => username.toLowerCase() === name.toLowerCase())
      .map(({ id }) => id),
  );
  for (const word of words) ids.set(word, word);
  return ids;
}

const namesOf = (references: readonly Reference[]) =>
  [...new Set(references.map(({ text }) => text))].filter((text) => !isUuid(text));

/** An exact name comes before one in another case, and a project in use before an archived one. */
function idsOfProjects(name: string, found: readonly NamedProject[]): string[] {
  const ranks: ((project: NamedProject) => boolean)[] = [
    (project) => project.name === name && project.archived_at === null,
    (project) => project.name === name,
    (project) => isSameName(project.name, name) && project.archived_at === null,
    (project) => isSameName(project.name, name),
  ];
  const best = ranks.map((rank) => found.filter(rank)).find((projects) => projects.length > 0);
  return (best ?? []).map(({ id }) => id);
}

const collator = new Intl.Collator('en', { sensitivity: 'base' });
const isSameName = (one: string, other: string) => collator.compare(one, other) === 0;

/** Of an ambiguous name, the problem lists up to this many ids. */
const IDS_LISTED_MAX = 5;

function resolve(
  references: readonly Reference[],
  idsOf: (name: string) => string[],
): Map<string, string> {
  const resolved = new Map<string, string>();
  const errors: FieldError[] = [];
  for (const { text, location } of references) {
    const [id, ...others] = isUuid(text) ? [text] : idsOf(text);
    if (id === undefined)
      errors.push({ location, code: 'not_found', message: 'is no name or id that you can see' });
    else if (others.length > 0)
      errors.push({
        location,
        code: 'ambiguous',
        message: `names several: use one of the ids ${[id, ...others].slice(0, IDS_LISTED_MAX).join(', ')}`,
      });
    else resolved.set(text, id);
  }
  if (errors.length > 0) throw validationProblem(errors);
  return resolved;
}
