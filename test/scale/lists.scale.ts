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
/** Below this number of rows the plan does not matter. */
const ANY_WAY_ROWS = 1000;
/** A search walks up to this many rows in the order of the list, reading each twice, before it reads the index of words. */
const WALKED_ROWS_MAX = 8000;
/** With labels, a search in comments reads up to this many tasks that have them, before it reads the comments. */
const LABELLED_ROWS_MAX = 20_000;
/** Among the rows that it walks, a search in comments reads the comments once. */
function walkedRows(parameters: string, tasks: number) {
  const [isSearch, inComments, hasLabels] = [/\b(q|label)=/, /\bin=\S*comments/, /\blabel=/].map(
    (pattern) => pattern.test(parameters),
  );
  if (!isSearch) return 0;
  const walked = (inComments ? 3 : 2) * Math.min(tasks, WALKED_ROWS_MAX);
  // The tasks, and their rows once more with their comments.
  return walked + (inComments && hasLabels ? 3 * Math.min(tasks, LABELLED_ROWS_MAX) : 0);
}

/** A list is explained many times over. */
setDefaultTimeout(300_000);

let api: Api;
let reader: Persona;
let dataset: Dataset;
let lists: Lists;

beforeAll(async () => {
  api = await Api.start();
  reader = await api.person('reader');
  dataset = await fill(api.databaseUrl, reader, TASKS);
  lists = openLists(api.databaseUrl, reader.id);
}, 900_000);

afterAll(async () => {
  await lists.close();
  await api.stop();
  await dropDatabase(api.databaseUrl);
});

describe.each(['large', 'small'] as const)(
  'a list in the %s project reads little more than its page',
  (which) => {
    test.each(Object.entries(asked))('%s', async (_, parameters) => {
      const found = await lists.list(dataset[which], parameters);
      expect(lists.latest.length).toBe(1);
      const tasks = which === 'large' ? TASKS / 5 : 1000;
      const matches = await lists.countMatches();
      expect(found).toBe(Math.min(matches, 50));
      const onTheWay = matches > PAGE_ROWS ? (PAGE_ROWS * tasks) / matches : tasks;
      const all = matches <= tasks * FEW ? matches : 0;
      const walked = walkedRows(parameters, tasks);
      const most = walked + Math.max(TOLERANCE * Math.min(matches, onTheWay), all, ANY_WAY_ROWS);
      expect(await lists.rowsRead()).toBeLessThanOrEqual(most + PAGE_ROWS);
    });
  },
);

describe('a list of all projects reads little more than its page', () => {
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
    // A part of each project, however many of its tasks match, and the walk of a search.
    const projects = SHARED_PROJECTS + 1;
    const walked = walkedRows(parameters, TASKS);
    const most = TOLERANCE * projects * ANY_WAY_ROWS + walked;
    expect(await lists.rowsRead()).toBeLessThanOrEqual(most);
  });
});
