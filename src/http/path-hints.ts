/** Finds the path that a client has probably meant. */

const ID = '[^/]+';

const hints: [guess: RegExp, path: string][] = [
  [`/projects/${ID}/tasks`, '/tasks/projects/{project_id}'],
  [`/projects/${ID}/tasks/${ID}`, '/tasks/{task_id}'],
  ['/projects/tasks', '/tasks'],
  [`/projects/${ID}/(history|activity|changes)`, '/projects/{project_id}/events'],
  [`/tasks/${ID}/(history|activity|changes|events)`, '/projects/{project_id}/events'],
  ['/(events|feed|sync)', '/changes'],
  ['(/auth)?/(login|signin|sign-in|token)|/(oauth|oauth2)/token|/sessions', '/users/login'],
  ['(/auth)?/(register|signup|sign-up)|/users', '/users/register'],
  ['(/auth)?/(refresh|logout)', '/users/refresh and /users/logout'],
  ['(/auth)?/(me|user|profile|account|whoami)|/users/self', '/users/me'],
  ['/(tokens|api-tokens|api_tokens)|/users/tokens', '/users/me/tokens'],
  ['/(health|healthz|livez|readyz|ready|live|ping|status)', '/health/live and /health/ready'],
  ['/(openapi|swagger|api-docs)(\\.json|\\.yaml)?|/swagger\\.json', '/swagger/json'],
].map(([guess, path]) => [new RegExp(`^(?:${guess})/?$`), path as string]);

/** Prefixes that other APIs have, and that proxies should remove. */
const PREFIX = /^\/(api|v1|v2|rest)(?=\/)/;

/** Returns the sentence for a path that no route has. It holds no part of the path itself. */
export function describeUnknownPath(path: string): string {
  const bare = path.replace(PREFIX, '').replace(PREFIX, '');
  const hint = hints.find(([guess]) => guess.test(bare));
  if (hint) return `No such path. See ${hint[1]}`;
  if (bare !== path) return 'No such path. Paths begin without a prefix, as /projects';
  return 'No such path. /swagger/json lists the paths there are';
}
