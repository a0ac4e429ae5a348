/** The requests, the same for every server. */
import { PASSWORD, type Person } from './data.ts';
import type { LoadRequest } from './load.ts';

/** Enough requests that one is not repeated soon. */
const REQUESTS = 4096;

export type Mix = keyof typeof mixes;

/** @param n how many requests this person has sent before. */
type Make = (person: Person, n: number) => LoadRequest;

/** Each person has an address of their own, as behind a proxy: a single one would soon reach the rate limit. */
const from = ({ address }: Person) => ({ 'X-Forwarded-For': address });
const headersOf = (person: Person) => ({
  Authorization: `Bearer ${person.access_token}`,
  ...from(person),
});
const json = { 'Content-Type': 'application/json' };
const at = <T>(items: readonly T[], n: number) => items[n % items.length] as T;

const listProjects: Make = (person) => ({
  method: 'GET',
  path: '/projects/',
  headers: headersOf(person),
});
const listTasks: Make = (person, n) => ({
  method: 'GET',
  path: `/tasks/projects/${at(person.projects, n).id}`,
  headers: headersOf(person),
});
const taskPath = ({ projects }: Person, n: number) => `/tasks/${at(at(projects, n).task_ids, n)}`;
const read: Make = (person, n) => ({
  method: 'GET',
  path: taskPath(person, n),
  headers: headersOf(person),
});
const create: Make = (person, n) => ({
  method: 'POST',
  path: `/tasks/projects/${at(person.projects, n).id}`,
  headers: { ...headersOf(person), ...json },
  body: JSON.stringify({ title: `Paint wall ${n}`, description: 'Two coats, and let it dry' }),
});
const update: Make = (person, n) => ({
  method: 'PATCH',
  path: taskPath(person, n),
  headers: { ...headersOf(person), ...json },
  body: JSON.stringify({ title: `Paint wall ${n} again` }),
});
const logIn: Make = (person) => ({
  method: 'POST',
  path: '/users/login',
  headers: { ...json, ...from(person) },
  body: JSON.stringify({ username: person.username, password: PASSWORD }),
});

/** Twenty requests, of which eighteen read. */
const blend: readonly Make[] = [
  ...Array<Make>(8).fill(listTasks),
  ...Array<Make>(5).fill(listProjects),
  ...Array<Make>(5).fill(read),
  update,
  create,
];
const blended: Make = (person, n) => at(blend, n)(person, n);

export const mixes = {
  'list projects': { make: listProjects, connections: 32 },
  'list tasks': { make: listTasks, connections: 32 },
  read: { make: read, connections: 32 },
  blend: { make: blended, connections: 32 },
  /** One client, which never finds another request under way. */
  'blend alone': { make: blended, connections: 1 },
  update: { make: update, connections: 32 },
  create: { make: create, connections: 32 },
  'log in': { make: logIn, connections: 16 },
} satisfies Record<string, { make: Make; connections: number }>;

/** Returns the requests of a mix: each person in turn, and their projects one after the other. */
export const requestsOf = (mix: Mix, people: readonly Person[]): LoadRequest[] =>
  Array.from({ length: REQUESTS }, (_, n) =>
    mixes[mix].make(at(people, n), Math.floor(n / people.length) + (n % people.length)),
  );
