/**
 * How many generated cases a test tries: few in `bun run test`, so that it is soon done; many in `bun run test:long`,
 * which is part of `.ci/run`.
 */
export const isLongRun = process.env.TEST_LONG === '1';

/** Returns the number of cases for this run. */
export const casesOf = (few: number, many: number) => (isLongRun ? many : few);
