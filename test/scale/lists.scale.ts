/**
 * `bun run test:scale`: a million tasks, and what each list reads of them. A page of L tasks may cost what has to be
 * read to find L matches on the way of the sort; or all that match, where those are few.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { Api, type Persona } from '../support/api.ts';
import { dropDatabase } from '../support/cluster.ts';
import { asked, type Dataset, fill, SHARED_PROJECTS } from '../support/dataset.ts';
import { type Lists, openLists, PAGE_ROWS } from '../support/statements.ts';

const TASKS = Number(process.env.SCALE_TASKS ?? 1_000_000);
/** The planner guesses. */
const TOLERANCE = 4;
/** Several words are guessed as if none had to do with another, so all that have them may be read and then sorted. */
const FEW = 1 / 10;
/** Below this, which way it takes makes no difference that anybody would notice. */
const ANY_WAY_ROWS = 1000;

/** A list is explained many times over. */
setDefaultTimeout(120_000);

let api: Api;
let reader: Persona;
let dataset: Dataset;
let lists: Lists;

beforeAll(async () => {
  api = await Api.start();
  reader = await api.person('reader');
  dataset = await fill(api.database_url, reader, TASKS);
  lists = openLists(api.database_url, reader.id);
}, 900_000);

afterAll(async () => {
  await lists.close();
  await api.stop();
  await dropDatabase(api.database_url);
});

describe.each(['large', 'small'] as const)('in the %s project', (which) => {
  test.each(Object.entries(asked))('%s', async (_, parameters) => {
    const found = await lists.list(dataset[which], parameters);
    expect(lists.latest.length).toBe(1);
    const tasks = which === 'large' ? TASKS / 5 : 1000;
    const matches = await lists.countMatches();
    expect(found).toBe(Math.min(matches, 50));
    const on_the_way = matches > PAGE_ROWS ? (PAGE_ROWS * tasks) / matches : tasks;
    const all = matches <= tasks * FEW ? matches : 0;
    const most = Math.max(TOLERANCE * Math.min(matches, on_the_way), all, ANY_WAY_ROWS);
    expect(await lists.rowsRead()).toBeLessThanOrEqual(most + PAGE_ROWS);
  });
});

describe('of all projects', () => {
  const whole = Object.entries(asked).filter(([, parameters]) =>
    /^(sort=[-\w]+)?$/.test(parameters),
  );

  test.each(whole)('%s', async (_, parameters) => {
    await lists.list(undefined, parameters);
    expect(lists.latest.length).toBe(1);
    // The first of each project, a page of each that is near, and the page itself.
    const projects = SHARED_PROJECTS + 1;
    const most = projects + projects * PAGE_ROWS + PAGE_ROWS + projects;
    expect(await lists.rowsRead()).toBeLessThanOrEqual(most + projects);
  });

  const filtered = Object.entries(asked).filter(
    ([name]) => !whole.some(([other]) => other === name),
  );

  test.each(filtered)('%s', async (_, parameters) => {
    await lists.list(undefined, parameters);
    expect(lists.latest.length).toBe(1);
    const matches = await lists.countMatches();
    // Never what does not match, but by the walk to a page in each project.
    const projects = SHARED_PROJECTS + 1;
    const most = TOLERANCE * Math.max(matches, projects * ANY_WAY_ROWS);
    expect(await lists.rowsRead()).toBeLessThanOrEqual(most);
  });
});
