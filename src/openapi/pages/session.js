// The log-in of this tab. It survives a reload, ends with the tab, and is refreshed when its access token has expired.
import { base } from './document.js';

const EXPIRY_MARGIN_MS = 5000;

const keep = (name, value) => sessionStorage.setItem(`mantou.${name}`, value);

/** Keeps a value for the next form: an id, or the language of the samples. */
export const remember = keep;
export const remembered = (name) => sessionStorage.getItem(`mantou.${name}`) ?? undefined;

export const session = {
  get() {
    const kept = remembered('session');
    return kept === undefined ? undefined : JSON.parse(kept);
  },
  /** @param tokens as `POST /users/login` returns them; undefined ends the session here. */
  set(tokens) {
    if (tokens === undefined) return sessionStorage.removeItem('mantou.session');
    const { access_token, expires_in, refresh_token } = tokens;
    keep('session', JSON.stringify({ access_token, expires_at: Date.now() + expires_in * 1000 }));
    keep('refresh_token', refresh_token);
  },
};

/** Returns what went wrong, in words; undefined after a log-in. */
export const logIn = (username, password) => grant('/users/login', { username, password });

export async function logOut() {
  const token = await currentToken();
  session.set(undefined);
  if (token === undefined) return;
  await fetch(`${base}/users/logout`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${token}` },
  });
}

/** Returns a token that is still valid; undefined without a log-in. */
export async function currentToken() {
  const kept = session.get();
  if (kept === undefined) return undefined;
  if (Date.now() + EXPIRY_MARGIN_MS < kept.expires_at) return kept.access_token;
  await grant('/users/refresh', { refresh_token: remembered('refresh_token') });
  return session.get()?.access_token;
}

async function grant(path, body) {
  const response = await fetch(base + path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) {
    if (response.status === 401) session.set(undefined);
    return answer.detail;
  }
  session.set(answer);
}
