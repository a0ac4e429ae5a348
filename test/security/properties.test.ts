/**
 * Every operation of the document under generated input, valid and not. Whatever is sent: no 5xx, no answer that the
 * document does not declare (the client checks), no value repeated in an error, and no way for a stranger to learn
 * whether a thing exists.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import fc from 'fast-check';
import { type Answer, type Client, isUnserved, type Persona, useApi } from '../support/api.ts';
import { component, type Operation, operations } from '../support/document.ts';
import { casesOf } from '../support/generated.ts';

const api = useApi();
setDefaultTimeout(600_000);

/** Hashing a password takes as long as a hundred other requests. */
const HASHING = ['registerUser', 'logIn', 'changePassword', 'deleteAccount'];
const RUNS = casesOf(48, 800);
const RUNS_HASHING = casesOf(8, 64);
const REQUESTS_MIN = 25 * RUNS;
const BATCH = 8;

const runsOf = (operationId: string) => (HASHING.includes(operationId) ? RUNS_HASHING : RUNS);

/** In every generated value that an error could repeat. */
const MARKER = 'Zq9Marker';

let owner: Persona;
let stranger: Persona;
let ids: Record<string, string>;
let sent = 0;

beforeAll(meetNewPeople);

async function meetNewPeople() {
  [owner, stranger] = [await api.person('owner'), await api.person('stranger')];
  ids = await freshIds();
}

afterAll(() => console.log(`${sent} generated requests, none answered with a 5xx`));

async function freshIds() {
  const project = await owner.createProject();
  const task = await owner.createTask(project.id);
  // Of API tokens there is a limit.
  await api.sql`delete from api_tokens where user_id = ${owner.id}`;
  const { body: token } = await owner.post('/users/me/tokens', { name: 'x', scopes: ['read'] });
  const missing = crypto.randomUUID();
  return {
    project_id: project.id,
    task_id: task.id,
    session_id: missing,
    token_id: token.id,
    code: 'conflict',
  };
}

interface Schema {
  type?: string;
  anyOf?: Schema[];
  enum?: unknown[];
  const?: unknown;
  format?: string;
  items?: Schema;
  properties?: Record<string, Schema>;
  required?: string[];
  maxLength?: number;
  minimum?: number;
  maximum?: number;
}

const nasty = fc.constantFrom<unknown>(
  null,
  true,
  -0,
  1e308,
  -1e21,
  2 ** 53 + 1,
  '',
  `${MARKER}\0`,
  `${MARKER}\ud800`,
  `${MARKER}\r\nSet-Cookie: x=1`,
  `' or 1=1 -- ${MARKER}`,
  `\${7*7}{{7*7}}<script>${MARKER}`,
  `%s%n$1 ${MARKER}`,
  `../../${MARKER}`,
  MARKER.repeat(5000),
  `a${'\u0301\u0316'.repeat(4000)}${MARKER}`,
  [],
  {},
  [[[[MARKER]]]],
  { toString: MARKER },
  JSON.parse(`{"__proto__": {"admin": "${MARKER}"}}`),
);

const anything = fc.oneof(
  nasty,
  fc.jsonValue({ maxDepth: 3 }),
  fc.string({ unit: 'binary' }).map((text) => MARKER + text),
);

/** Values that a schema allows, most of the time. */
function allowed(schema: Schema): fc.Arbitrary<unknown> {
  if (schema.const !== undefined) return fc.constant(schema.const);
  if (schema.enum) return fc.constantFrom(...schema.enum);
  if (schema.anyOf) return fc.oneof(...schema.anyOf.map(allowed));
  switch (schema.type) {
    case 'integer':
      return fc.integer({ min: schema.minimum ?? 0, max: schema.maximum ?? 10 });
    case 'boolean':
      return fc.boolean();
    case 'null':
      return fc.constant(null);
    case 'array':
      return fc.uniqueArray(allowed(schema.items ?? {}), { maxLength: 5 });
    default:
      if (schema.format === 'uuid') return fc.uuid();
      if (schema.format === 'date-time')
        return fc
          .date({ noInvalidDate: true, min: new Date(0), max: new Date('9999-01-01') })
          .map((date) => date.toISOString());
      return fc.string({ unit: 'grapheme', maxLength: Math.min(schema.maxLength ?? 20, 60) });
  }
}

/** A body that fits, with at times a field that is wrong, missing or unknown; or something else altogether. */
function bodyOf(operation: Operation): fc.Arbitrary<string | undefined> {
  const name = operation.requestBody?.content['application/json']?.schema.$ref.split('/').at(-1);
  if (name === undefined) return fc.constant(undefined);
  const { properties = {} } = component(name) as Schema;
  const fields = Object.entries(properties);
  const fitting = fc.record(
    Object.fromEntries(fields.map(([field, schema]) => [field, allowed(schema)])),
    {
      requiredKeys: (component(name) as Schema).required ?? [],
    },
  );
  const field = fc.oneof(
    fc.constantFrom(...fields.map(([key]) => key)),
    fc.constantFrom('__proto__', 'constructor', 'extra', ''),
  );
  const spoiled = fc
    .tuple(fitting, field, anything)
    .map(([body, key, value]) => ({ ...body, [key]: value }));
  const raw = fc.constantFrom(
    '',
    '{',
    'null',
    '[]',
    '"x"',
    `${'['.repeat(200_000)}${']'.repeat(200_000)}`,
    `{"title":"a","title":"${MARKER}"}`,
    `{"name":1e999,"title":1e999}`,
    '{"a":'.repeat(5000),
    '\ufeff{}',
  );
  return fc.oneof(
    { weight: 4, arbitrary: fitting.map((body) => JSON.stringify(body)) },
    { weight: 4, arbitrary: spoiled.map((body) => JSON.stringify(body)) },
    { weight: 1, arbitrary: anything.map((value) => JSON.stringify(value)) },
    { weight: 1, arbitrary: raw },
  );
}

const query = fc.oneof(
  { weight: 6, arbitrary: fc.constant('') },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      '?limit=1',
      '?limit=200',
      '?limit=0',
      '?limit=1&limit=2',
      '?cursor=x',
      '?%',
      '?=&=',
      '?__proto__=1',
      '?a[b]=1',
      '?%00=%ff',
    ),
  },
  {
    weight: 1,
    arbitrary: fc
      .string({ unit: 'binary' })
      .map((text) => `?cursor=${encodeURIComponent(MARKER + text.toWellFormed())}`),
  },
);

const headers = fc.oneof(
  { weight: 6, arbitrary: fc.constant({}) },
  {
    weight: 1,
    arbitrary: fc.constantFrom<Record<string, string>>(
      { 'if-match': '"1"' },
      { 'if-match': `"${MARKER}"` },
      { 'if-none-match': '*' },
      { 'content-type': 'text/plain' },
      { 'content-type': `application/${MARKER}` },
      { 'content-type': 'application/merge-patch+json' },
      { 'x-request-id': `${MARKER} ${MARKER}` },
      { 'content-encoding': 'gzip' },
      { accept: 'text/html' },
      { 'x-http-method-override': 'DELETE' },
    ),
  },
);

const segment = fc.oneof(
  { weight: 5, arbitrary: fc.constant(undefined) },
  { weight: 1, arbitrary: fc.uuid() },
  {
    weight: 1,
    arbitrary: fc.constantFrom('x', '%00', '%ff', MARKER, 'null', '0', '%F0%9F%8E%89', "'--"),
  },
);

function send(
  client: Client,
  operation: Operation,
  path: string,
  body: string | undefined,
  extra: Record<string, string>,
): Promise<Answer> {
  sent += 1;
  const type: Record<string, string> =
    body === undefined ? {} : { 'content-type': 'application/json' };
  return client.request(operation.method, path, undefined, {
    raw: body,
    headers: { ...type, ...extra },
  });
}

function checkAnswer(operation: Operation, answer: Answer) {
  if (!(isUnserved(operation) && answer.status === 501)) expect(answer.status).toBeLessThan(500);
  if (answer.status >= 400) {
    expect(answer.text).not.toContain(MARKER);
    expect(answer.text).not.toMatch(
      /select |insert |\bat \/|drizzle|postgres|typebox|node_modules/i,
    );
  }
}

const withoutId = (answer: Answer) =>
  `${answer.status} ${answer.text.replace(/"request_id":"[^"]*"/, '')}`;

describe.each(
  operations.map((operation) => [`${operation.method} ${operation.path}`, operation] as const),
)('%s', (_, operation) => {
  test('holds under generated input', async () => {
    const runs = runsOf(operation.operationId);
    const request = fc.record({
      segment,
      query,
      headers,
      body: bodyOf(operation),
      who: fc.constantFrom('owner', 'owner', 'stranger', 'nobody'),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(request, { minLength: BATCH, maxLength: BATCH }), async (batch) => {
        await Promise.all(
          batch.map(async (one) => {
            const fill = (real: Record<string, string>) =>
              operation.path.replaceAll(
                /\{(\w+)\}/g,
                (_, name) => one.segment ?? real[name] ?? '',
              ) + one.query;
            const client = { owner, stranger, nobody: api.anonymous }[one.who] ?? owner;
            const answer = await send(client, operation, fill(ids), one.body, one.headers);
            checkAnswer(operation, answer);
            if (one.who === 'owner' || operation.public || !operation.path.includes('{')) return;
            // To others, what exists is as what does not.
            const missing = Object.fromEntries(
              Object.keys(ids).map((name) => [name, crypto.randomUUID()]),
            );
            expect(withoutId(answer)).toBe(
              withoutId(await send(client, operation, fill(missing), one.body, one.headers)),
            );
          }),
        );
        // Deleted things are made again, so that the next requests find something; ended sessions too.
        if ((await owner.get('/users/me')).status === 401) await meetNewPeople();
        else if (operation.method === 'DELETE') ids = await freshIds();
      }),
      { numRuns: Math.ceil(runs / BATCH) },
    );
  });
});

test(`at least ${REQUESTS_MIN} requests are sent`, () => {
  const planned = operations.map(({ operationId }) => runsOf(operationId));
  expect(planned.reduce<number>((sum, runs) => sum + runs, 0)).toBeGreaterThan(REQUESTS_MIN);
});
