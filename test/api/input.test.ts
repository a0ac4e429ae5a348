/** Every field of every operation's body, read off the document, with everything that could be wrong about it. */
import { describe, expect, test } from 'bun:test';
import { type Client, useApi } from '../support/api.ts';
import { component, type Operation, operations } from '../support/document.ts';
import { WEBHOOK_URL } from '../support/requests.ts';

const api = useApi();

const UUID = '019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23';
/** Longer than any field, and shorter than a body of an operation without a log-in may be. */
const LONG = { public: 'x'.repeat(10_000), private: 'x'.repeat(20_001) };

interface Schema {
  $ref?: string;
  allOf?: Schema[];
  type?: string;
  anyOf?: Schema[];
  maxLength?: number;
  minLength?: number;
  maximum?: number;
  enum?: string[];
  format?: string;
}

/** A named schema stands for itself, or beside what describes it here. */
function resolve(schema: Schema): Schema {
  const name = (schema.$ref ?? schema.allOf?.[0]?.$ref)?.split('/').at(-1);
  return name === undefined ? schema : (component(name) as Schema);
}

/** What no field of this schema may be. */
function wrongValues(field: Schema, long: string): unknown[] {
  const schema = resolve(field);
  const nullable = schema.anyOf?.some(({ type }) => type === 'null') ?? false;
  const { type } = resolve(schema.anyOf?.[0] ?? schema);
  const ofType = {
    string: [1, true, 'a\0b', '\ud800', 'a\udc00', long],
    integer: ['1', '', 1.5, 1e21, -1, 2 ** 53, true],
    boolean: ['true', 0, ''],
    array: ['a', { 0: 'a' }, [null], [1], [['a']], ['a\0'], ['\ud800']],
  }[type as string] as unknown[];
  const objects = type === 'array' ? [{}] : [{}, []];
  return [...ofType, ...objects, ...(nullable ? [] : [null])];
}

function exampleBody(name: string): Record<string, unknown> {
  const properties = component(name).properties as Record<
    string,
    { examples?: unknown[]; anyOf?: { examples?: unknown[] }[]; const?: unknown }
  >;
  const required = (component(name).required ?? []) as string[];
  const entries = required.map((field) => [
    field,
    properties[field]?.examples?.[0] ?? properties[field]?.const,
  ]);
  return Object.fromEntries(entries);
}

/** The document's paths with ids that exist and may be written. */
async function aPlaceToWrite(): Promise<{
  client: Client;
  path: (operation: Operation) => string;
}> {
  const ada = await api.person();
  const project = await ada.createProject();
  const task = await ada.createTask(project.id);
  const { body: comment } = await ada.post(`/tasks/${task.id}/comments`, { body: 'Slate' });
  const { body: webhook } = await ada.post('/users/me/webhooks', { url: WEBHOOK_URL });
  return {
    client: ada,
    path: ({ path }) =>
      path
        .replace('{project_id}', project.id)
        .replace('{task_id}', task.id)
        .replace('{comment_id}', comment.id)
        .replace('{user_id}', ada.id)
        .replace('{label}', 'kitchen')
        // At the edge there is none.
        .replace('{webhook_id}', webhook.id ?? crypto.randomUUID()),
  };
}

/** The document that is imported has fields in fields, and a message of MCP is JSON-RPC: tests of their own try them. */
const ofTheirOwn = ['importProject', 'callMcp'];
const withBody = operations.filter(
  ({ requestBody, operationId = '' }) => requestBody && !ofTheirOwn.includes(operationId),
);

test('the document has operations with a body', () => {
  expect(withBody.map(({ operationId }) => operationId)).toEqual([
    'registerUser',
    'logIn',
    'refreshSession',
    'patchProfile',
    'deleteAccount',
    'changePassword',
    'createApiToken',
    'createCalendarAddress',
    'createWebhook',
    'patchWebhook',
    'replayWebhook',
    'rotateWebhookSecret',
    'createProject',
    'patchProject',
    'addMember',
    'patchMember',
    'createInvitation',
    'createTask',
    'batchTasks',
    'replaceTask',
    'patchTask',
    'createComment',
    'patchComment',
    'renameLabel',
  ]);
});

describe.each(withBody.map((operation) => [operation.operationId, operation] as const))(
  '%s',
  (_, operation) => {
    const schema =
      operation.requestBody?.content['application/json']?.schema.$ref.split('/').at(-1) ?? '';
    const fields = Object.entries(component(schema).properties as Record<string, Schema>);

    async function refuses(bodies: { raw: string; location: string | RegExp }[]) {
      const { client, path } = await aPlaceToWrite();
      const before = { rows: await api.countRows(), state: await snapshot() };
      for (const { raw, location } of bodies) {
        const { status, body } = await client.request(
          operation.method,
          path(operation),
          undefined,
          {
            raw,
            headers: { 'content-type': 'application/json' },
          },
        );
        expect([raw.slice(0, 80), status, body.code]).toEqual([
          raw.slice(0, 80),
          422,
          'validation_failed',
        ]);
        expect(
          body.errors.some((error: { location: string }) => error.location.match(location)),
        ).toBe(true);
      }
      expect({ rows: await api.countRows(), state: await snapshot() }).toEqual(before);
    }

    /** JSON of the body with one field set; lone surrogates survive JSON.stringify as escapes. */
    const bodyWith = (field: string, value: unknown) =>
      JSON.stringify({ ...exampleBody(schema), [field]: value });

    test('refuses each field that is null, has a wrong type, is too long or is invalid text, and writes no row', async () => {
      await refuses(
        fields.flatMap(([field, rules]) =>
          wrongValues(rules, operation.public ? LONG.public : LONG.private).map((value) => ({
            raw: bodyWith(field, value),
            location: new RegExp(`^body\\.${field}(\\.|$)`),
          })),
        ),
      );
    });

    test('refuses a body without a required field', async () => {
      const required = (component(schema).required ?? []) as string[];
      await refuses(
        required.map((field) => ({ raw: bodyWith(field, undefined), location: `body.${field}` })),
      );
      const mayBeEmpty =
        (operation.method === 'PATCH' && operation.operationId !== 'renameLabel') ||
        operation.operationId === 'rotateWebhookSecret';
      expect(required.length === 0).toBe(mayBeEmpty);
    });

    test('refuses unknown fields', async () => {
      // What is created may have an id that the client chooses.
      const isChosen = operation.method === 'POST' && fields.some(([name]) => name === 'id');
      const unknown = [...(isChosen ? [] : ['id']), 'version', 'owner_id', 'role', 'Title', ''];
      await refuses(
        unknown.map((field) => ({
          raw: bodyWith(field, UUID),
          location: /^body/,
        })),
      );
    });

    test('refuses a body that is not an object', async () => {
      await refuses(
        ['null', '[]', '[{}]', '"x"', '1', 'true'].map((raw) => ({ raw, location: 'body' })),
      );
    });
  },
);

async function snapshot() {
  const rows = await api.sql`
    select md5(string_agg(t::text, ',' order by t::text)) from (
      select to_jsonb(users) t from users union all select to_jsonb(projects) from projects
      union all select to_jsonb(webhooks) - '{lease_owner,lease_until}'::text[] from webhooks
      union all select to_jsonb(tasks) from tasks) everything`;
  return rows[0];
}
