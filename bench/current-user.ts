/**
 * `bun run bench:current-user`: what it costs to know who is asking, in µs: for a token that was seen before, and for one
 * that is new. Prints medians; asserts nothing. The database is not asked: that is once in four seconds a credential.
 */
import { accessTokens } from '../src/plugins/access-tokens.ts';
import { createCredentialCache } from '../src/plugins/credential-cache.ts';
import { readSettings } from '../src/settings.ts';
import { median } from './report.ts';

const ROUNDS = 9;
const WARM = 50_000;
const COLD = 2000;

const now = () => new Date();
const platform = {
  settings: readSettings({}),
  jwt_secret: 'for the bench alone, of 32 bytes',
  now,
};
const { tokens } = accessTokens(platform).decorator;
const sessions = createCredentialCache(async (id) => ({ id, username: 'ada' }), now);

const newToken = () =>
  tokens.sign({ user_id: crypto.randomUUID(), session_id: crypto.randomUUID(), username: 'ada' });

async function identify(token: string) {
  const { session_id } = await tokens.verify(token);
  return sessions.find(session_id);
}

async function microsecondsEach(list: string[]): Promise<number> {
  const begun = performance.now();
  for (const token of list) await identify(token);
  return ((performance.now() - begun) * 1000) / list.length;
}

const [warm, cold]: [number[], number[]] = [[], []];
for (let round = 0; round < ROUNDS; round += 1) {
  const seen = await newToken();
  await identify(seen);
  warm.push(await microsecondsEach(Array<string>(WARM).fill(seen)));
  cold.push(await microsecondsEach(await Promise.all(Array.from({ length: COLD }, newToken))));
}
console.log(
  `the current user, of a token seen before: ${median(warm).toFixed(2)} µs (median of ${ROUNDS})`,
);
console.log(
  `the current user, of a new token:         ${median(cold).toFixed(0)} µs (median of ${ROUNDS})`,
);
