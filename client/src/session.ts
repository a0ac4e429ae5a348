/** The credential of a client: an API token, or the tokens of a log-in, which it refreshes. */
import type { components } from './api.ts';
import { ProblemError } from './problem.ts';

/** Where tokens are kept: `localStorage` fits. Tabs that share it share the log-in. */
export interface TokenStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

interface Tokens {
  access_token: string;
  refresh_token: string;
  /** When the access token ends, in milliseconds since 1970, by this machine's clock. */
  ends_at: number;
}

export interface Session {
  /** Returns the token for a request; undefined without a log-in. @throws {ProblemError} where the session has ended. */
  token(): Promise<string | undefined>;
  /** Replaces a token that the server has refused. @returns whether there is another one to try. */
  replace(refused: string | undefined): Promise<boolean>;
  /** Keeps what a log-in returned. */
  keep(granted: components['schemas']['Tokens']): void;
  forget(): void;
}

/** An access token is refreshed this long before it ends, so that it does not end on its way. */
const MARGIN_MS = 10_000;

/** The part of `navigator.locks` that is needed: tabs take turns with it. */
interface Locks {
  request<T>(name: string, work: () => Promise<T>): Promise<T>;
}

/** @param send sends a request without a token. @throws {ProblemError} for any other status than success. */
export function createSession(
  url: string,
  apiToken: string | undefined,
  storage: TokenStorage | undefined,
  send: (request: Request) => Promise<Response>,
): Session {
  const key = `mantou ${url}`;
  let tokens = stored();
  let refreshing: Promise<void> | undefined;

  function stored(): Tokens | undefined {
    try {
      return JSON.parse(storage?.getItem(key) ?? 'null') ?? undefined;
    } catch {
      return undefined;
    }
  }

  function keep(granted: components['schemas']['Tokens']) {
    const { access_token, refresh_token, expires_in } = granted;
    tokens = { access_token, refresh_token, ends_at: Date.now() + expires_in * 1000 };
    storage?.setItem(key, JSON.stringify(tokens));
  }

  function forget() {
    tokens = undefined;
    storage?.removeItem(key);
  }

  /** Takes the tokens that another tab has stored in place of those that were used. @returns whether there are others. */
  function adopt(used: Tokens): boolean {
    const others = stored();
    if (!others || others.refresh_token === used.refresh_token) return false;
    tokens = others;
    return true;
  }

  async function refreshOnce(): Promise<void> {
    const used = tokens;
    if (!used || adopt(used)) return;
    const request = new Request(`${url}/users/refresh`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ refresh_token: used.refresh_token }),
    });
    try {
      const granted = (await (await send(request)).json()) as components['schemas']['Tokens'];
      // A log-out while this was under way stays one.
      if (tokens === used) keep(granted);
    } catch (error) {
      // Where tabs cannot take turns, another may have been faster.
      if (adopt(used)) return;
      if (error instanceof ProblemError && error.status === 401 && tokens === used) forget();
      throw error;
    }
  }

  /** Requests that meet the end of a token together refresh it once, and so do tabs that share a storage. */
  function refresh(): Promise<void> {
    const { locks } = (globalThis.navigator ?? {}) as { locks?: Locks };
    refreshing ??= (storage && locks ? locks.request(key, refreshOnce) : refreshOnce()).finally(
      () => {
        refreshing = undefined;
      },
    );
    return refreshing;
  }

  return {
    async token() {
      if (apiToken !== undefined) return apiToken;
      const isAboutToEnd = tokens && tokens.ends_at - Date.now() < MARGIN_MS;
      if (isAboutToEnd)
        await refresh().catch((error) => {
          // The log-in is gone, or has ended; otherwise the token serves until it does.
          if (!tokens || tokens.ends_at <= Date.now()) throw error;
        });
      return tokens?.access_token;
    },
    async replace(refused) {
      if (apiToken !== undefined || !tokens) return false;
      if (tokens.access_token === refused) await refresh();
      return tokens !== undefined;
    },
    keep,
    forget,
  };
}
