/** Who calls a tool, and what a tool may use: the rest of the app, without Elysia and without the request. */
import type { Problem } from '../errors/problem.ts';
import type { Platform } from '../platform.ts';
import type { CurrentUser } from '../schemas/current-user.ts';

export interface Caller {
  readonly db: Platform['database'];
  readonly user: CurrentUser;
  /** How long events are kept. */
  readonly eventsRetentionSeconds: number;
  /** Checks the credential again. @throws {Problem} once it has ended. */
  authenticate(): Promise<unknown>;
  /** @throws {Problem} `insufficient_scope`. */
  requireWriteScope(): void;
  /** Says that a tool has changed something, for those who follow the changes. */
  noteWrite(): void;
  /** Says which tool is called, for the log. */
  noteTool(name: string): void;
  /** Returns the problem that an error is. It is logged, counted and audited as that of a route is. */
  problemOf(error: unknown): Problem;
  /** Returns a path of the API as clients reach it. */
  urlOf(path: string): string;
}
