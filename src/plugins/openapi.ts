/**
 * The OpenAPI document. `@elysiajs/swagger` draws it from the routes, as 3.0.3 and not quite valid; `correct` makes it
 * a valid 3.1.0: the bodies and answers come from the routes' own schemas, by reference, and each operation lists
 * every problem it can give. Swapping the generator changes this file alone.
 */
import { swagger } from '@elysiajs/swagger';
import type { TSchema } from '@sinclair/typebox';
import { type AnyElysia, type DocumentDecoration, Elysia } from 'elysia';
import { version } from '../../package.json';
import { catalogue, type ProblemCode } from '../problem.ts';
import { ProblemDocument } from '../schemas/problems.ts';
import { JSON_TYPE, MERGE_PATCH_TYPE } from './strict-input.ts';

type Json = Record<string, unknown>;

interface Operation extends Json {
  responses: Record<string, Json>;
  parameters?: Json[];
  requestBody?: Json;
}

export interface OpenApiDocument extends Json {
  openapi: string;
  paths: Record<string, Record<string, Operation>>;
}

interface OperationNotes {
  description?: string;
  /** Needs no Bearer token. */
  public?: true;
  /** The problems of its own; those that follow from its shape are added. */
  problems?: ProblemCode[];
  /** Media types of the body other than JSON. */
  also_accepts?: string[];
}

/** How a route describes itself: a unique id, a line, and what its schemas cannot say. */
export function operation(
  operationId: string,
  summary: string,
  notes: OperationNotes = {},
): DocumentDecoration {
  const { description, ...rest } = notes;
  return { operationId, summary, description, 'x-notes': rest } as DocumentDecoration;
}

const documentation = {
  info: {
    title: 'mantou',
    version,
    description: [
      'Users, projects and tasks, with JWT log-in.',
      'Try it: `POST /users/register`, then *Authorize* with the user name and password, then *Try it out*.',
      'Every error is a problem (RFC 9457) with a stable `code`; `GET /problems/{code}` explains it.',
    ].join('\n\n'),
    license: { name: 'MIT', identifier: 'MIT' },
  },
  servers: [{ url: '/', description: 'This server' }],
  tags: [
    { name: 'Users', description: 'Accounts and log-in' },
    { name: 'Projects', description: 'What tasks belong to' },
    { name: 'Tasks', description: 'What is to be done' },
    { name: 'Service', description: 'Health, and what the problems mean' },
  ],
  components: {
    securitySchemes: {
      password: {
        type: 'oauth2',
        description:
          'Log in with a user name (or email) and a password. Leave the client fields empty.',
        flows: { password: { tokenUrl: '/users/login', scopes: {} } },
      },
      bearer: {
        type: 'http',
        scheme: 'bearer',
        bearerFormat: 'JWT',
        description: 'An access token from `POST /users/login`.',
      },
    },
  },
};

/** Draws the document of an API. */
export async function buildDocument(api: AnyElysia): Promise<OpenApiDocument> {
  const generator = new Elysia().use(api).use(swagger());
  const answer = await generator.handle(new Request('http://localhost/swagger/json'));
  return correct((await answer.json()) as OpenApiDocument, api);
}

function correct(generated: OpenApiDocument, api: AnyElysia): OpenApiDocument {
  const schemas: Record<string, unknown> = {};
  const paths: OpenApiDocument['paths'] = {};
  for (const { method, path, hooks } of api.routes) {
    const verb = method.toLowerCase();
    const drawn_path = path.replace(/:(\w+)/g, '{$1}');
    const drawn = generated.paths[drawn_path]?.[verb];
    if (!drawn) continue;
    const {
      'x-notes': notes,
      parameters = [],
      requestBody: _,
      responses: __,
      ...described
    } = drawn;
    // Either form of a path is served; one is documented.
    const name = drawn_path.replace(/\/$/, '');
    paths[name] = {
      ...paths[name],
      [verb]: describe(described, parameters, hooks, notes as OperationNotes, verb, schemas),
    };
  }
  return {
    openapi: '3.1.0',
    ...documentation,
    paths,
    components: { ...documentation.components, schemas: sorted(schemas) },
  };
}

interface RouteHooks {
  body?: TSchema;
  response?: Record<string, TSchema>;
}

function describe(
  described: Json,
  parameters: Json[],
  { body, response = {} }: RouteHooks,
  notes: OperationNotes,
  verb: string,
  schemas: Record<string, unknown>,
): Operation {
  const reference = (schema: TSchema) => hoist(JSON.parse(JSON.stringify(schema)), schemas);
  const media_types = [
    JSON_TYPE,
    ...(verb === 'patch' ? [MERGE_PATCH_TYPE] : []),
    ...(notes.also_accepts ?? []),
  ];
  const content = (schema: TSchema, types: string[]) => {
    const value = { schema: reference(schema), example: exampleOf(schema) };
    return Object.fromEntries(types.map((type) => [type, value]));
  };
  const answers = Object.entries(response).map(([status, schema]) => [
    status,
    schema.type === 'undefined'
      ? { description: STATUS_WORDS[status] }
      : { description: STATUS_WORDS[status], content: content(schema, [JSON_TYPE]) },
  ]);
  const requestBody = body && { required: true, content: content(body, media_types) };
  return {
    ...described,
    security: notes.public ? [] : [{ password: [] }, { bearer: [] }],
    parameters: parameters.map(parameter),
    ...(requestBody && { requestBody }),
    responses: {
      ...Object.fromEntries(answers),
      ...problemAnswers(problemsOf(notes, body !== undefined), reference),
    },
  };
}

const STATUS_WORDS: Record<string, string> = {
  200: 'Done.',
  201: 'Made. `Location` says where it is.',
  204: 'Done; there is nothing to say.',
  304: 'The client has the current version: its `If-None-Match` names it.',
};

/** A parameter with a default need not be sent. */
function parameter({ description, examples, schema, ...rest }: Json): Json {
  const { default: fallback } = schema as { default?: unknown };
  const [example] = (examples as unknown[] | undefined) ?? [];
  return {
    ...rest,
    description,
    required: rest.in === 'path' || (rest.required === true && fallback === undefined),
    ...(example !== undefined && { example }),
    schema,
  };
}

/** What follows from the shape of an operation, beside its own problems. */
function problemsOf(notes: OperationNotes, has_body: boolean): ProblemCode[] {
  return [
    'malformed_request',
    ...(has_body
      ? (['malformed_json', 'payload_too_large', 'unsupported_media_type'] as const)
      : []),
    ...(notes.public
      ? []
      : ([
          'unauthenticated',
          'invalid_token',
          'token_expired',
          'internal',
          'database_unavailable',
        ] as const)),
    ...(notes.problems ?? []),
    'validation_failed',
  ];
}

function problemAnswers(
  codes: ProblemCode[],
  reference: (schema: TSchema) => unknown,
): Record<string, Json> {
  const answers: Record<string, Json> = {};
  for (const status of new Set(codes.map((code) => catalogue[code].status))) {
    const here = [...new Set(codes.filter((code) => catalogue[code].status === status))];
    answers[status] = {
      description: here.map((code) => `\`${code}\`: ${catalogue[code].title}.`).join(' '),
      content: {
        'application/problem+json': {
          schema: reference(ProblemDocument),
          examples: Object.fromEntries(here.map((code) => [code, { value: exampleProblem(code) }])),
        },
      },
    };
  }
  return answers;
}

function exampleProblem(code: ProblemCode) {
  const { status, title } = catalogue[code];
  const errors = [
    {
      location: 'query.limit',
      code: 'out_of_range',
      message: 'must be a whole number from 1 to 200',
    },
  ];
  return {
    type: `/problems/${code}`,
    title,
    status,
    code,
    detail: code === 'validation_failed' ? '1 field needs attention' : title,
    request_id: '019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23',
    ...(code === 'validation_failed' && { errors }),
  };
}

/** An example of a schema, put together from the examples of its parts. */
function exampleOf(schema: TSchema): unknown {
  if (schema.examples) return schema.examples[0];
  if (schema.const !== undefined) return schema.const;
  if (schema.anyOf) return exampleOf(schema.anyOf[0]);
  if (schema.type === 'array') return [exampleOf(schema.items)];
  if (schema.type !== 'object') return undefined;
  const properties = Object.entries(schema.properties as Record<string, TSchema>);
  return Object.fromEntries(properties.map(([name, inner]) => [name, exampleOf(inner)]));
}

/** Moves every schema that has a name to the components and leaves a reference in its place. */
function hoist(schema: unknown, schemas: Record<string, unknown>): unknown {
  if (Array.isArray(schema)) return schema.map((inner) => hoist(inner, schemas));
  if (typeof schema !== 'object' || schema === null) return schema;
  const { $id, ...rest } = schema as Json;
  const inner = Object.fromEntries(
    Object.entries(rest).map(([key, value]) => [key, hoist(value, schemas)]),
  );
  if (typeof $id !== 'string') return inner;
  schemas[$id] = inner;
  return { $ref: `#/components/schemas/${$id}` };
}

const sorted = (record: Record<string, unknown>) =>
  Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)));
