/** Accounts on a server that runs as a process. */

export function registerAt(url: string, username = `somebody-${crypto.randomUUID().slice(0, 8)}`) {
  return fetch(`${url}/users/register`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ username, email: `${username}@example.org`, password: 'the password' }),
  });
}

/** Registers a user and logs in. @returns the access token. */
export async function signUpAt(url: string): Promise<string> {
  const { username } = (await (await registerAt(url)).json()) as { username: string };
  return logInAt(url, username, 'the password');
}

/** @returns the access token. */
export async function logInAt(url: string, username: string, password: string): Promise<string> {
  const answer = await fetch(`${url}/users/login`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ username, password }),
  });
  return ((await answer.json()) as { access_token: string }).access_token;
}
