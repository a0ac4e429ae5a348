/**
 * The OpenAPI document. `@elysiajs/swagger` draws it from the routes, as 3.0.3 and not quite valid; here it becomes a
 * valid 3.1.0: bodies and answers come from the routes' own schemas, by reference, and each operation lists the
 * headers it takes and gives and every problem it can answer. Swapping the generator changes this file alone.
 */
import { swagger } from '@elysiajs/swagger';
import type { TSchema } from '@sinclair/typebox';
import { type AnyElysia, Elysia } from 'elysia';
import { version } from '../../package.json';
import { catalogue, type ProblemCode } from '../problem.ts';
import { ProblemDocument } from '../schemas/problems.ts';
import { isUnlimited } from './limits.ts';
import type { OperationNotes } from './operation.ts';
import { JSON_TYPE, MERGE_PATCH_TYPE } from './strict-input.ts';

type Json = Record<string, unknown>;

export interface OpenApiDocument extends Json {
  paths: Record<string, Record<string, Json>>;
}

/** What a route says of itself, as Elysia keeps it. */
interface Hooks {
  body?: TSchema;
  response?: Record<string, TSchema>;
}

/** Draws the document of an API. */
export async function buildDocument(api: AnyElysia): Promise<OpenApiDocument> {
  // It takes what has a dot in its path for a file.
  const generator = new Elysia().use(api).use(swagger({ excludeStaticFile: false }));
  const answer = await generator.handle(new Request('http://localhost/swagger/json'));
  const drawn = (await answer.json()) as OpenApiDocument;

  const schemas: Json = {};
  const paths: OpenApiDocument['paths'] = {};
  for (const { method, path, hooks } of api.routes) {
    const verb = method.toLowerCase();
    const template = path.replace(/:(\w+)/g, '{$1}');
    const operation = drawn.paths[template]?.[verb];
    if (!operation) continue;
    // Either form of a path is served; one is documented.
    const name = template.replace(/\/$/, '');
    paths[name] = { ...paths[name], [verb]: correct(operation, name, verb, hooks, schemas) };
  }
  const components = { ...securitySchemes, headers: headerComponents, schemas: sorted(schemas) };
  return { openapi: '3.1.0', ...introduction, paths, components };
}

/** Puts an operation right. Named schemas that it meets are added to `schemas`. */
function correct(
  drawn: Json,
  path: string,
  verb: string,
  { body: parsed_body, response = {} }: Hooks,
  schemas: Json,
): Json {
  const { 'x-notes': kept, parameters: drawn_parameters, requestBody, responses, ...rest } = drawn;
  const notes = kept as OperationNotes;
  const body = parsed_body ?? notes.streamed_body;
  const codes = problemsOf(notes, path, verb, body !== undefined);
  const content = (schema: TSchema, media_types: string[]) => {
    const media = { schema: reference(schema, schemas), example: exampleOf(schema) };
    return Object.fromEntries(media_types.map((type) => [type, media]));
  };

  const parameters = [
    ...((drawn_parameters as Json[] | undefined) ?? []).map(parameter),
    ...(codes.includes('precondition_failed') && verb !== 'post' ? [conditions.ifMatch] : []),
    ...('304' in response ? [conditions.ifNoneMatch] : []),
    ...(codes.includes('idempotency_key_reused') ? [conditions.idempotencyKey] : []),
  ];
  const answers = Object.entries(response).map(([status, schema]) => {
    const empty = schema.type === 'undefined';
    return [
      status,
      {
        description: statusWords[status],
        headers: headersOf(status, schema, '304' in response, [
          ...(codes.includes('idempotency_key_reused') ? ['Idempotency-Replayed'] : []),
          ...(isUnlimited(path) ? [] : limitHeaders),
        ]),
        ...(!empty && {
          content: {
            ...content(schema, [notes.answers_as ?? JSON_TYPE]),
            ...Object.fromEntries(
              Object.entries(notes.also_answers ?? {}).flatMap(([type, also]) =>
                Object.entries(content(also, [type])),
              ),
            ),
          },
        }),
      },
    ];
  });
  const accepted = [
    JSON_TYPE,
    ...(verb === 'patch' ? [MERGE_PATCH_TYPE] : []),
    ...(notes.also_accepts ?? []),
  ];
  return {
    ...rest,
    security: notes.public
      ? []
      : [{ password: [] }, { bearer: [] }, ...(notes.takes_basic ? [{ basic: [] }] : [])],
    parameters,
    ...(body && { requestBody: { required: true, content: content(body, accepted) } }),
    responses: { ...Object.fromEntries(answers), ...problemAnswers(codes, schemas) },
  };
}

// --- What is the same for all ----------------------------------------------------------------------------------

const introduction = {
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
    { name: 'Users', description: 'Accounts' },
    { name: 'Sessions', description: 'Log-in, and what it began' },
    { name: 'API tokens', description: 'Credentials for scripts' },
    { name: 'Projects', description: 'What tasks belong to' },
    { name: 'Members', description: 'Who is in a project' },
    { name: 'Tasks', description: 'What is to be done' },
    { name: 'Changes', description: 'What happened, and what happens now' },
    { name: 'Service', description: 'Health, metrics, and what the problems mean' },
  ],
};

const securitySchemes = {
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
      description: 'An access token from `POST /users/login`, or an API token (`mt_…`).',
    },
    basic: {
      type: 'http',
      scheme: 'basic',
      description: 'For calendar programs: any user name, and an API token as the password.',
    },
  },
};

const statusWords: Record<string, string> = {
  200: 'Done.',
  201: 'Made.',
  204: 'Done; there is nothing to say.',
  304: 'You have the current version: your `If-None-Match` names it.',
};

// --- Parameters and headers ------------------------------------------------------------------------------------

/** A parameter with a default need not be sent. An id gets no example: none would exist here. */
function parameter({ description, examples, schema, ...rest }: Json): Json {
  const { default: fallback, format } = schema as Json;
  const [example] = (examples as unknown[] | undefined) ?? [];
  return {
    ...rest,
    description,
    required: rest.in === 'path' || (rest.required === true && fallback === undefined),
    ...(example !== undefined && format !== 'uuid' && { example }),
    schema,
  };
}

const conditions = {
  ifMatch: {
    name: 'If-Match',
    in: 'header',
    required: false,
    description: 'Write only on this version: the `ETag` that was read.',
    schema: { type: 'string' },
  },
  idempotencyKey: {
    name: 'Idempotency-Key',
    in: 'header',
    required: false,
    description:
      'Makes the request safe to send again: for 24 hours it is done once, and answered alike, whatever has become of it since. 1 to 255 visible ASCII characters, new for each request.',
    schema: { type: 'string', minLength: 1, maxLength: 255, pattern: '^[!-~]+$' },
  },
  ifNoneMatch: {
    name: 'If-None-Match',
    in: 'header',
    required: false,
    description: 'Send nothing if this is still the version: the `ETag` that was read.',
    schema: { type: 'string' },
  },
};

const headerComponents = Object.fromEntries(
  Object.entries({
    'X-Request-Id': 'Names this request in the log: the id that was sent, or a new one.',
    ETag: 'The version, in quotes, for `If-Match` and `If-None-Match`.',
    Location: 'The path of what was made.',
    'Idempotency-Replayed': '`true` where an earlier request with the key has been answered so.',
    'WWW-Authenticate': 'How to authenticate (RFC 6750 §3).',
    'Retry-After': 'Seconds to wait before the next try.',
    RateLimit: 'What is left of the limit: `r` requests, whole again in `t` seconds.',
    'RateLimit-Policy': 'The limit: `q` requests in `w` seconds.',
  }).map(([name, description]) => [name, { description, schema: { type: 'string' } }]),
);

const headerReferences = (names: string[]) =>
  Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]));

const limitHeaders = ['RateLimit', 'RateLimit-Policy'];

/** @param can_be_unmodified whether the operation knows what the client has. */
function headersOf(
  status: string,
  schema: TSchema,
  can_be_unmodified: boolean,
  others: string[],
): Json {
  const { version, project } = schema.properties ?? {};
  const versioned = can_be_unmodified || version !== undefined;
  return headerReferences([
    'X-Request-Id',
    ...(versioned ? ['ETag'] : []),
    ...((version ?? project) && status === '201' ? ['Location'] : []),
    ...others,
  ]);
}

// --- Problems --------------------------------------------------------------------------------------------------

/** The problems that follow from the shape of an operation, and its own. */
function problemsOf(
  notes: OperationNotes,
  path: string,
  verb: string,
  has_body: boolean,
): ProblemCode[] {
  const of_body = ['malformed_json', 'payload_too_large', 'unsupported_media_type'] as const;
  const of_users = ['unauthenticated', 'invalid_token', 'token_expired'] as const;
  const of_database = ['internal', 'database_unavailable', 'overloaded'] as const;
  return [
    'malformed_request',
    ...(has_body ? of_body : []),
    ...(notes.public ? [] : [...of_users, ...of_database]),
    ...(notes.public || verb === 'get' ? [] : (['insufficient_scope'] as const)),
    ...(notes.problems ?? []),
    'validation_failed',
    ...(isUnlimited(path) ? [] : (['rate_limited'] as const)),
  ];
}

function problemAnswers(codes: ProblemCode[], schemas: Json): Json {
  const by_status = Object.groupBy(new Set(codes), (code) => catalogue[code].status);
  const answers = Object.entries(by_status).map(([status, here = []]) => {
    const examples = here.map((code) => [code, { value: exampleProblem(code) }]);
    const answer = {
      description: here.map((code) => `\`${code}\`: ${catalogue[code].title}.`).join(' '),
      headers: headerReferences([
        'X-Request-Id',
        ...(status === '401' ? ['WWW-Authenticate'] : []),
        ...(status === '429' || status === '503' ? ['Retry-After'] : []),
        ...(status === '429' ? limitHeaders : []),
      ]),
      content: {
        'application/problem+json': {
          schema: reference(ProblemDocument, schemas),
          examples: Object.fromEntries(examples),
        },
      },
    };
    return [status, answer];
  });
  return Object.fromEntries(answers);
}

function exampleProblem(code: ProblemCode): Json {
  const { status, title, explanation } = catalogue[code];
  const invalid = {
    detail: '1 field needs attention',
    errors: [
      {
        location: 'query.surprise',
        code: 'unknown_field',
        message: 'is not a field of this request',
      },
    ],
  };
  return {
    type: `/problems/${code}`,
    title,
    status,
    code,
    detail: explanation,
    request_id: '019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23',
    ...(code === 'validation_failed' && invalid),
  };
}

// --- Schemas ---------------------------------------------------------------------------------------------------

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

/** The schema as JSON, without TypeBox's symbols, and with a reference in place of each that has a name. */
function reference(schema: TSchema, schemas: Json): unknown {
  return hoist(JSON.parse(JSON.stringify(schema)), schemas);
}

function hoist(schema: unknown, schemas: Json): unknown {
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

const sorted = (record: Json) =>
  Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)));
