/** Who sends a request, for plugins, handlers and queries alike. */
import type { Scope } from '../db/schema.ts';

/** The user of the request. */
export interface CurrentUser {
  id: string;
  username: string;
  /** What the credential allows; a session allows everything. */
  scopes: readonly Scope[];
  /** Missing where the credential is an API token. */
  sessionId?: string;
  /** Both missing where the credential is a session. */
  apiTokenId?: string;
  apiTokenName?: string;
}

/** Whom the history names for a write: the user, and the API token that the write came with; empty for a session. */
export interface Actor {
  id: string;
  token_name: string;
}

/** A user with a session: the request does not come with an API token. */
export interface LoggedInUser extends CurrentUser {
  sessionId: string;
}

/** The versions that `If-Match` allows (RFC 9110 §13.1.1); undefined allows any. */
export type ExpectedVersions = readonly number[] | undefined;
