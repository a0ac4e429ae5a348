/**
 * Requests that cost a server more than it gains, made from the OpenAPI document: for each operation its example, and the
 * largest and most costly values that pass the bounds of reading.
 */
import openapi from '../openapi.json';
import type { Person } from './speed/data.ts';

interface Schema {
  $ref?: string;
  type?: string | string[];
  anyOf?: Schema[];
  oneOf?: Schema[];
  enum?: unknown[];
  const?: unknown;
  format?: string;
  items?: Schema;
  properties?: Record<string, Schema>;
  maxLength?: number;
  maxItems?: number;
  maximum?: number;
}

interface Parameter {
  name: string;
  in: string;
  schema: Schema;
}

export interface DocumentedOperation {
  name: string;
  method: string;
  path: string;
  isPublic: boolean;
  parameters: Parameter[];
  /** The schemas of a body by media type. */
  bodies: Record<string, { schema: Schema; example?: unknown; examples?: object }>;
}

/** A request without the ids of its path. */
export interface Attack {
  name: string;
  query?: string;
  type?: string;
  body?: string;
}

/** The largest body of most operations, in bytes: the default of BODY_LIMIT is 1 MiB. */
const BODY_BYTES = 1024 * 1024 - 1024;
/** The largest body of a route without a log-in, in bytes. */
const OPEN_BODY_BYTES = 16 * 1024 - 64;
/** Numbers of values just below the bound of a body, and just above it. */
const NODES = 4900;
const TOO_MANY_NODES = 500_000;
const ITEMS_MAX = 1000;
const JSON_TYPE = 'application/json';
const FORM_TYPE = 'application/x-www-form-urlencoded';
/** A letter whose normalisation costs most among those tried: it decomposes into three code points. */
const COSTLY_LETTER = '\u1ED7';

export const documentedOperations: DocumentedOperation[] = Object.entries(openapi.paths).flatMap(
  ([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      name: operation.operationId,
      method: method.toUpperCase(),
      path,
      isPublic: operation.security.length === 0,
      parameters: operation.parameters ?? [],
      bodies: operation.requestBody?.content ?? {},
    })),
);

const resolve = (schema: Schema): Schema =>
  schema.$ref
    ? ((openapi.components.schemas as Record<string, Schema>)[
        schema.$ref.split('/').at(-1) ?? ''
      ] ?? {})
    : schema;

/** Returns the example of the document for a body, or `{}`. */
function exampleOf({ bodies }: DocumentedOperation): string | undefined {
  const body = bodies[JSON_TYPE];
  if (!body) return undefined;
  const [first] = Object.values((body.examples ?? {}) as Record<string, { value?: unknown }>);
  return JSON.stringify(body.example ?? first?.value ?? {});
}

/** Returns a value that the schema allows, as long as it allows. */
function largest(given: Schema): unknown {
  const schema = resolve(given);
  if (schema.const !== undefined) return schema.const;
  if (schema.enum) return schema.enum.at(-1);
  const choices = (schema.anyOf ?? schema.oneOf)?.filter((one) => resolve(one).type !== 'null');
  if (choices) return largest(choices[0] ?? {});
  switch (Array.isArray(schema.type) ? schema.type[0] : schema.type) {
    case 'object':
      return Object.fromEntries(
        Object.entries(schema.properties ?? {}).map(([name, one]) => [name, largest(one)]),
      );
    case 'array':
      return Array.from({ length: Math.min(schema.maxItems ?? ITEMS_MAX, ITEMS_MAX) }, (_, n) => {
        const item = largest(schema.items ?? {});
        return typeof item === 'string' ? unlike(item, n) : item;
      });
    case 'integer':
    case 'number':
      return schema.maximum ?? 1;
    case 'boolean':
      return true;
    default:
      if (schema.format === 'uuid') return crypto.randomUUID();
      if (schema.format === 'date-time') return '2026-12-24T18:00:00.000+01:00';
      if (schema.format === 'date') return '2026-12-24';
      return COSTLY_LETTER.repeat(schema.maxLength ?? 100);
  }
}

/** Returns a text of the same length with a number at its end, so that the texts of a list differ. */
const unlike = (text: string, n: number) => text.slice(0, -String(n).length) + n;

const times = (count: number, piece: (n: number) => string) =>
  Array.from({ length: count }, (_, n) => piece(n)).join(',');

/** Bodies that every JSON operation must refuse, and whose check costs most. */
const junk = (bytes: number): Record<string, string> => ({
  'unknown fields': `{${times(NODES, (n) => `"f${n}":0`)}}`.slice(0, bytes),
  numbers: `[${times(Math.min(TOO_MANY_NODES, bytes / 2 - 8), () => '1')}]`,
  'nested lists': `${'['.repeat(bytes / 2)}${']'.repeat(bytes / 2)}`,
  'one text of escapes': `{"x":"${'\\u1ed7'.repeat(Math.floor((bytes - 10) / 6))}"}`,
  'one text of backslashes': `{"x":"${'\\\\'.repeat(Math.floor((bytes - 10) / 2))}"}`,
  'one long text': `{"x":"${COSTLY_LETTER.repeat(Math.floor((bytes - 10) / 3))}"}`,
});

/** Puts a list of junk, or a long text, at one field of a body that is right otherwise. */
function spoiled(schema: Schema, bytes: number): Record<string, string> {
  const fields = Object.keys(resolve(schema).properties ?? {});
  const texts: Record<string, string> = {};
  for (const field of fields) {
    texts[`${field}: texts`] = JSON.stringify({ [field]: Array(NODES).fill(COSTLY_LETTER) });
    texts[`${field}: a long text`] = JSON.stringify({
      [field]: COSTLY_LETTER.repeat(Math.floor((bytes - 100) / 3)),
    });
  }
  return texts;
}

/** Returns the costly requests of an operation. */
export function attacksOf(operation: DocumentedOperation): Attack[] {
  const bytes = operation.isPublic ? OPEN_BODY_BYTES : BODY_BYTES;
  const { schema } = operation.bodies[JSON_TYPE] ?? {};
  const bodies = schema && {
    largest: JSON.stringify(largest(schema)),
    ...junk(bytes),
    ...spoiled(schema, bytes),
  };
  const attacks: Attack[] = Object.entries(bodies ?? {}).map(([name, body]) => ({
    name,
    type: JSON_TYPE,
    body,
  }));
  if (operation.bodies[FORM_TYPE])
    attacks.push({
      name: 'a form of unknown fields',
      type: FORM_TYPE,
      body: times(bytes / 4, () => 'a=').replaceAll(',', '&'),
    });
  const queries = operation.parameters.filter((one) => one.in === 'query');
  if (queries.length > 0) attacks.push({ name: 'all parameters', query: queryOf(queries) });
  for (const one of queries)
    if (resolve(one.schema).type === 'string' || resolve(one.schema).type === 'array')
      attacks.push({ name: `${one.name} at its longest`, query: queryOf([one]) });
  attacks.push({ name: 'a long query', query: `?x=${'%E1%BB%97'.repeat(1500)}` });
  return attacks;
}

/** Returns a query with the longest values of these parameters. */
function queryOf(parameters: Parameter[]): string {
  const pairs = parameters.map(({ name, schema }) => {
    const value = largest(schema);
    return `${name}=${encodeURIComponent(Array.isArray(value) ? value.join(',') : String(value))}`;
  });
  // The server reads up to 16 KiB of headers, so it reads no longer query.
  return `?${pairs.join('&')}`.slice(0, 14_000).replace(/%[0-9A-F]?$/, '');
}

/** Returns what sends the attack on an operation as a person, or its example. */
export function attackRequest(
  operation: DocumentedOperation,
  url: string,
  person: Person,
  attack?: Attack,
) {
  const [project] = person.projects;
  const ids: Record<string, string> = {
    project_id: project?.id ?? '',
    task_id: project?.task_ids[0] ?? '',
    user_id: person.id,
    code: 'conflict',
  };
  const path = operation.path.replaceAll(/\{(\w+)\}/g, (_, name) =>
    encodeURIComponent(ids[name] ?? crypto.randomUUID()),
  );
  const body = attack ? attack.body : exampleOf(operation);
  const type = attack?.type ?? (body === undefined ? undefined : 'application/json');
  return () =>
    fetch(url + path + (attack?.query ?? ''), {
      method: operation.method,
      headers: {
        authorization: `Bearer ${person.access_token}`,
        'x-forwarded-for': person.address,
        ...(type && { 'content-type': type }),
      },
      body,
    });
}
