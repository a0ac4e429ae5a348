/**
 * `bun run bench:current-user`: the time to find the user of a token, in µs: of a token that was verified before, and of a
 * new one. Prints medians; asserts nothing. It leaves out the query, which runs once in four seconds for each credential.
 */

import { createTtlCache } from '../src/lib/ttl-cache.ts';
import { accessTokens } from '../src/plugins/access-tokens.ts';
import { readSettings } from '../src/settings.ts';
import { median } from './report.ts';

const ROUNDS = 9;
const WARM = 50_000;
const COLD = 2000;

const now = () => new Date();
const platform = {
  settings: readSettings({}),
  jwtSecret: 'for the bench alone, of 32 bytes',
  now,
};
const { tokens } = accessTokens(platform).decorator;
const sessions = createTtlCache(async (id) => ({ id, username: 'ada' }), {
  ttlMs: 4000,
  entriesMax: 10_000,
  now,
});

const newToken = () =>
  tokens.sign({ userId: crypto.randomUUID(), sessionId: crypto.randomUUID(), username: 'ada' });

async function identify(token: string) {
  const { sessionId } = await tokens.verify(token);
  return sessions.find(sessionId);
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
