/** What each generated client does with a live server, whatever it calls its functions. */
export interface RoundTrip {
  /** @returns the id. */
  createProject(name: string): Promise<string>;
  /** Creates a task that is never due: `due_at` is null. @returns the id. */
  createTask(projectId: string, title: string): Promise<string>;
  /** @returns the titles of the tasks with one of these statuses, or of all. */
  listTitles(statuses?: ('todo' | 'done')[]): Promise<string[]>;
  /** Patches with a stale `If-Match`. @returns the status. */
  patchStale(taskId: string): Promise<number>;
  /** The response has no body. */
  deleteTask(taskId: string): Promise<void>;
}

/** Logs in with the client's own function and uses the access token from then on. */
export type OpenRoundTrip = (
  url: string,
  credentials: { username: string; password: string },
) => Promise<RoundTrip>;

export const STALE = '"7"';

/** @throws {TypeError} where the client returns no data. */
export function present<T>(data: T | undefined): T {
  if (data === undefined) throw new TypeError('The response has no data.');
  return data;
}

export const titlesOf = ({ items }: { items: { title: string }[] }): string[] =>
  items.map(({ title }) => title);
