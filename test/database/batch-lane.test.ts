/** Which calls share a statement, and in which order, whatever the statements are. */
import { expect, test } from 'bun:test';
import { type Call, type Callers, createLane } from '../../src/db/batch-lane.ts';

/** Far beyond what a test takes. */
const LONG_MS = 60_000;

/** How long the lanes of some tests wait for a statement. */
const shortHold = { holdTimesMs: { alone: 5, together: 25 } };

/** A statement in flight: the names of its calls, and what ends it. */
interface Statement {
  names: unknown[];
  end(): void;
  fail(error: Error): void;
}

/** A lane whose statements stay in flight until the test ends them. */
function openLane({
  heldBack = new Set<string>(),
  waitTimeoutMs = LONG_MS,
  allowedMs = LONG_MS,
  holdTimesMs = { alone: LONG_MS, together: LONG_MS },
} = {}) {
  const statements: Statement[] = [];
  const served: (string | undefined)[] = [];
  let client: string | undefined;
  const callers: Callers = {
    holdTimesMs,
    waitTimeoutMs,
    currentClient: () => client,
    isHeldBack: () => client !== undefined && heldBack.has(client),
    runFor(one, _isShort, work) {
      served.push(one);
      return work();
    },
    runShort: (work) => work(),
    begin: () => ({ allowedMs, end: () => undefined }),
    deadlineMissed: () => new Error('deadline missed'),
  };
  const send = (calls: readonly unknown[][]) => {
    const { promise, resolve, reject } = Promise.withResolvers<unknown[][]>();
    const end = () => resolve(calls.map((scalars) => [scalars[0]]));
    statements.push({ names: calls.map(([name]) => name), end, fail: reject });
    return promise;
  };
  const lane = createLane(callers, {
    isShort: false,
    alone: async (scalars) => (await send([scalars]))[0] ?? [],
    together: send,
  });
  const call = (of: string, name: string, what: Omit<Call, 'scalars'> = {}) => {
    client = of;
    const answer = lane.run({ scalars: [name], ...what });
    return answer.then(
      ([row]) => row,
      (error) => error.code ?? error.message,
    );
  };
  const sent = () => statements.map(({ names }) => names);
  return { call, statements, sent, served };
}

/** Lets everything happen that needs no time. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

/** Waits until the condition holds. */
async function until(condition: () => boolean) {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}

const undone = (sqlstate: string) => Object.assign(new Error(sqlstate), { errno: sqlstate });
const names = (prefix: string, count: number) =>
  Array.from({ length: count }, (_, n) => `${prefix}${n}`);

test('a user who asks once goes with the next statement, however many calls of another wait', async () => {
  const { call, statements, sent } = openLane();
  call('flood', 'first');
  const flood = names('flood', 500).map((name) => call('flood', name));
  const once = call('once', 'once');
  statements[0]?.end();
  await settle();
  expect(sent()[1]).toContain('once');
  statements[1]?.end();
  expect(await once).toBe('once');
  for (let n = 2; statements.length > n; n += 1) {
    statements[n]?.end();
    await settle();
  }
  expect(await Promise.all(flood)).toEqual(names('flood', 500));
  expect(statements).toHaveLength(2 + Math.ceil((500 - 63) / 64));
});

test('clients take turns, and each has its calls in the order in which it made them', async () => {
  const { call, statements, sent } = openLane();
  call('a', 'first');
  for (const name of ['a1', 'a2', 'a3', 'b1', 'b2', 'c1']) call(name[0] as string, name);
  statements[0]?.end();
  await settle();
  expect(sent()[1]).toEqual(['a1', 'b1', 'c1', 'a2', 'b2', 'a3']);
});

test('a call in flight alone runs on behalf of its client, a batch on behalf of the process', async () => {
  const { call, statements, served } = openLane();
  call('a', 'first', { row: 1 });
  for (const name of ['a1', 'b1']) call(name[0] as string, name);
  statements[0]?.end();
  await settle();
  expect(served).toEqual([undefined]);
  call('c', 'c1');
  statements[1]?.end();
  await settle();
  expect(served).toEqual([undefined, 'c']);
});

test('a statement that does not end is not waited for any longer', async () => {
  const { call, statements, sent } = openLane(shortHold);
  const stuck = call('a', 'stuck');
  const others = ['b1', 'c1'].map((name) => call(name[0] as string, name));
  await until(() => statements.length > 1);
  expect(sent()[1]).toEqual(['b1', 'c1']);
  statements[1]?.end();
  expect(await Promise.all(others)).toEqual(['b1', 'c1']);
  statements[0]?.end();
  expect(await stuck).toBe('stuck');
});

test('up to four statements for several calls are in flight, however long they take', async () => {
  const { call, statements, sent } = openLane(shortHold);
  call('a', 'first');
  for (const name of names('a', 64 * 6)) call('a', name);
  await until(() => statements.length === 5);
  const other = openLane(shortHold);
  other.call('a', 'first');
  other.call('a', 'a1');
  other.call('a', 'a2');
  await until(() => other.statements.length === 2);
  other.call('a', 'later');
  // As long as a batch is waited for, in a lane that began later.
  await until(() => other.statements.length === 3);
  expect(sent().map(({ length }) => length)).toEqual([1, 64, 64, 64, 64]);
  statements[2]?.end();
  await until(() => statements.length === 6);
});

test('a write waits for one of the same row and for no other', async () => {
  const { call, statements, sent } = openLane(shortHold);
  const first = call('a', 'x1', { row: 'x' });
  const again = call('b', 'x2', { row: 'x' });
  call('b', 'y1', { row: 'y' });
  await until(() => statements.length > 1);
  expect(sent()).toEqual([['x1'], ['y1']]);
  statements[1]?.end();
  await settle();
  // The lane is free, the row is not.
  call('c', 'x3', { row: 'x' });
  expect(statements).toHaveLength(2);
  statements[0]?.end();
  expect(await first).toBe('x1');
  await settle();
  expect(sent()[2]).toEqual(['x2']);
  statements[2]?.end();
  expect(await again).toBe('x2');
  await settle();
  expect(sent()[3]).toEqual(['x3']);
});

test('calls with one key go in statements of their own, one after the other', async () => {
  const { call, statements, sent } = openLane();
  call('a', 'first');
  for (const name of ['a1', 'a2', 'a3']) call('a', name, { key: 'k' });
  call('b', 'b1', { key: 'l' });
  statements[0]?.end();
  await settle();
  expect(sent()[1]).toEqual(['a1', 'b1']);
  statements[1]?.end();
  await settle();
  expect(sent()[2]).toEqual(['a2']);
});

test('after a batch that was undone each call goes alone, and one that waits holds up no row of the others', async () => {
  const { call, statements, sent } = openLane(shortHold);
  call('a', 'first');
  const answers = ['x', 'y', 'z'].map((row) => call(row, `${row}1`, { row }));
  statements[0]?.end();
  await settle();
  statements[1]?.fail(undone('55P03'));
  await settle();
  expect(sent().slice(2)).toEqual([['x1'], ['y1'], ['z1']]);
  for (const n of [2, 3]) statements[n]?.end();
  expect(await Promise.all(answers.slice(0, 2))).toEqual(['x1', 'y1']);
  const [x, z] = ['x', 'z'].map((row) => call('d', `${row}2`, { row }));
  await until(() => statements.length > 5);
  expect(sent()[5]).toEqual(['x2']);
  statements[5]?.end();
  expect(await x).toBe('x2');
  expect(statements).toHaveLength(6);
  statements[4]?.end();
  await until(() => statements.length > 6);
  statements[6]?.end();
  expect(await z).toBe('z2');
});

test.each([
  ['08006', 'a lost connection'],
  ['57P01', 'a server that stops'],
  ['53300', 'a server without room'],
  ['25006', 'a server that only reads'],
])('%s, %s, fails all calls of a batch, and none is sent again', async (sqlstate) => {
  const { call, statements } = openLane();
  call('a', 'first');
  const answers = ['a1', 'a2'].map((name) => call('a', name, { row: name }));
  statements[0]?.end();
  await settle();
  statements[1]?.fail(undone(sqlstate));
  expect(await Promise.all(answers)).toEqual([sqlstate, sqlstate]);
  expect(statements).toHaveLength(2);
});

test('a client that holds all connections that it may hold is not waited for', async () => {
  const { call, statements, sent } = openLane({ heldBack: new Set(['flood']) });
  for (const name of ['f1', 'f2', 'f3']) call('flood', name);
  expect(sent()).toEqual([['f1'], ['f2'], ['f3']]);
  const once = call('once', 'once');
  expect(statements).toHaveLength(4);
  statements[3]?.end();
  expect(await once).toBe('once');
});

test('beyond those that may wait, the client with the most calls loses its latest', async () => {
  const { call } = openLane();
  call('a', 'first');
  const flood = names('f', 999).map((name) => call('flood', name));
  call('once', 'o1');
  expect(await call('flood', 'one more')).toBe('overloaded');
  call('once', 'o2');
  expect(await flood.at(-1)).toBe('overloaded');
});

test('a call that has waited too long is refused, and is in no statement', async () => {
  const { call, statements, sent } = openLane({ waitTimeoutMs: 1 });
  const first = call('a', 'first');
  expect(await call('b', 'b1')).toBe('overloaded');
  statements[0]?.end();
  expect(await first).toBe('first');
  await settle();
  expect(sent()).toEqual([['first']]);
});

test('a call whose request has waited as long as it may is refused, and goes with no statement', async () => {
  const { call, statements, sent } = openLane({ allowedMs: 5 });
  const first = call('ada', 'first');
  expect(await call('bob', 'late')).toBe('deadline missed');
  statements[0]?.end();
  expect(await first).toBe('first');
  await settle();
  expect(sent()).toEqual([['first']]);
});

test('a call in a statement is refused once its request has waited as long as it may, and the lane goes on', async () => {
  const { call, statements, sent } = openLane({ allowedMs: 50 });
  call('ada', 'first');
  const calls = ['bob', 'eve'].map((of) => call(of, `of ${of}`));
  statements[0]?.end();
  await settle();
  expect(sent()).toEqual([['first'], ['of bob', 'of eve']]);
  expect(await Promise.all(calls)).toEqual(['deadline missed', 'deadline missed']);
  const next = call('ada', 'next');
  statements[1]?.end();
  await settle();
  statements[2]?.end();
  expect(await next).toBe('next');
});
