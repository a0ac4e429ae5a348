/** A client of the mantou API that is right about errors, races, retries and streams by itself. */
export type { components, operations, paths } from './api.ts';
export {
  type ChangePage,
  type Client,
  type ClientOptions,
  type Comment,
  type CreateOptions,
  createClient,
  type Event,
  type Member,
  type Operation,
  type Project,
  type ProjectExport,
  type Reference,
  type SignalOptions,
  type Snapshot,
  type Task,
  type User,
} from './client.ts';
export type { FollowOptions } from './follow.ts';
export { newId } from './new-id.ts';
export { type Problem, type ProblemCode, ProblemError, StartAfreshError } from './problem.ts';
export type { TokenStorage } from './session.ts';
