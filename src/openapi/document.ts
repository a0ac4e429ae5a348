/**
 * The OpenAPI document. `@elysiajs/swagger` generates it from the routes as 3.0.3, and not quite valid. This file turns it
 * into a valid 3.1.0 document: bodies and responses come from the schemas of the routes, by reference, and each operation
 * lists its headers and every problem that it can return. Another generator would change only this file.
 */
import { swagger } from '@elysiajs/swagger';
import type { TSchema } from '@sinclair/typebox';
import { type AnyElysia, Elysia } from 'elysia';
import { version } from '../../package.json';
import { catalogue, type ProblemCode } from '../errors/problem.ts';
import type { OpenApiDocument } from '../platform.ts';
import { isExemptFromRateLimit } from '../plugins/rate-limit.ts';
import { JSON_TYPE, MERGE_PATCH_TYPE } from '../plugins/request-body.ts';
import { ProblemDocument } from '../schemas/problems.ts';
import { guides } from './guides.ts';
import type { OperationOptions } from './operation.ts';

type Json = Record<string, unknown>;

/** The URL of a server that was started with the default settings. The server replaces it in the document that it serves. */
const DEFAULT_URL = 'http://127.0.0.1:3000';

/** The schemas of a route, as Elysia keeps them. */
interface Hooks {
  body?: TSchema;
  response?: Record<string, TSchema>;
}

/** Returns the document of an API. */
export async function buildDocument(api: AnyElysia): Promise<OpenApiDocument> {
  // By default the generator skips paths with a dot, such as the calendar's, as static files.
  const generator = new Elysia().use(api).use(swagger({ excludeStaticFile: false }));
  const answer = await generator.handle(new Request('http://localhost/swagger/json'));
  const generated = (await answer.json()) as OpenApiDocument;

  const schemas: Json = {};
  const responses: Json = {};
  const paths: OpenApiDocument['paths'] = {};
  for (const { method, path, hooks } of api.routes) {
    const verb = method.toLowerCase();
    const template = path.replace(/:(\w+)/g, '{$1}');
    const operation = generated.paths[template]?.[verb];
    if (!operation) continue;
    // A path is served with and without a trailing slash; the document has the form without.
    const name = template.replace(/\/$/, '');
    paths[name] = {
      ...paths[name],
      [verb]: buildOperation(operation, name, verb, hooks, schemas, responses),
    };
  }
  for (const [name, methods] of Object.entries(paths)) paths[name] = inMethodOrder(methods);
  const components = {
    ...securitySchemes,
    headers: headerComponents,
    responses: sorted(responses),
    schemas: sorted(openResponses(schemas, paths)),
  };
  return { openapi: '3.1.0', ...introduction, paths, components };
}

const METHODS = ['get', 'post', 'put', 'patch', 'delete'];

/** Readers expect to read a resource before they change it, in whatever order the routes are registered. */
const inMethodOrder = <T>(methods: Record<string, T>): Record<string, T> =>
  Object.fromEntries(
    Object.entries(methods).toSorted(([a], [b]) => METHODS.indexOf(a) - METHODS.indexOf(b)),
  );

/** Returns a valid operation. Adds the named schemas and the problem responses that it refers to. */
function buildOperation(
  generated: Json,
  path: string,
  verb: string,
  { body: parsedBody, response = {} }: Hooks,
  schemas: Json,
  problems: Json,
): Json {
  const {
    'x-mantou': kept,
    parameters: generatedParameters,
    requestBody,
    responses,
    ...rest
  } = generated;
  const options = kept as OperationOptions;
  const body = parsedBody ?? options.streamedBody;
  const codes = problemsOf(options, path, verb, body !== undefined);
  const content = (schema: TSchema, mediaTypes: string[]) => {
    const media = { schema: schemaRef(schema, schemas), example: exampleOf(schema) };
    return Object.fromEntries(mediaTypes.map((type) => [type, media]));
  };
  const contentOf = (schemasByType: Record<string, TSchema> = {}) =>
    Object.assign({}, ...Object.entries(schemasByType).map(([type, one]) => content(one, [type])));

  const parameters = [
    ...((generatedParameters as Json[] | undefined) ?? []).map((one) => parameter(one, schemas)),
    ...(options.produces === 'text/event-stream' ? [headerParameters.lastEventId] : []),
    ...(codes.includes('precondition_failed') && verb !== 'post' ? [headerParameters.ifMatch] : []),
    ...('304' in response ? [headerParameters.ifNoneMatch] : []),
    ...(codes.includes('idempotency_key_reused') ? [headerParameters.idempotencyKey] : []),
  ];
  const successes = Object.entries(response).map(([status, schema]) => {
    const empty = schema.type === 'undefined';
    return [
      status,
      {
        description: statusDescriptions[status],
        headers: headersOf(status, schema, '304' in response, options.produces === undefined, [
          ...(codes.includes('idempotency_key_reused') ? ['Idempotency-Replayed'] : []),
          ...(isExemptFromRateLimit(path) ? [] : limitHeaders),
        ]),
        ...(!empty && {
          content: {
            ...content(schema, [options.produces ?? JSON_TYPE]),
            ...contentOf(options.alsoProduces),
          },
        }),
      },
    ];
  });
  const accepted = [
    JSON_TYPE,
    ...(verb === 'patch' ? [MERGE_PATCH_TYPE] : []),
    ...(options.alsoConsumes ?? []),
  ];
  return {
    ...rest,
    security: options.public
      ? []
      : [{ bearer: [] }, { password: [] }, ...(options.basicAuth ? [{ basic: [] }] : [])],
    parameters,
    ...(body && {
      requestBody: {
        required: true,
        content: { ...content(body, accepted), ...contentOf(options.alsoStreams) },
      },
    }),
    responses: bothKinds(
      Object.fromEntries(successes),
      problemResponses(codes, schemas, problems),
      problems,
    ),
  };
}

/** Joins the responses of a route with its problems. Where a status has both, its media type tells which it is. */
function bothKinds(own: Json, problems: Json, components: Json): Json {
  const joined = Object.entries(own).map(([status, response]) => {
    const { $ref } = (problems[status] ?? {}) as { $ref?: string };
    if ($ref === undefined) return [status, response];
    const problem = components[$ref.split('/').at(-1) ?? ''] as Record<string, Json>;
    const mine = response as Record<string, Json>;
    return [
      status,
      {
        description: `${mine.description} ${problem.description}`,
        headers: { ...mine.headers, ...problem.headers },
        content: { ...mine.content, ...problem.content },
      },
    ];
  });
  return { ...problems, ...Object.fromEntries(joined) };
}

// --- Static parts --------------------------------------------------------------------------------------------

const introduction = {
  info: {
    title: 'mantou',
    version,
    description: guides,
    license: { name: 'MIT', identifier: 'MIT' },
  },
  servers: [{ url: DEFAULT_URL, description: 'A server with the default settings' }],
  tags: [
    { name: 'Users', description: 'Accounts' },
    { name: 'Sessions', description: 'Log-in, refresh, log-out' },
    { name: 'API tokens', description: 'Credentials for scripts' },
    { name: 'Projects', description: 'Projects hold tasks and have members' },
    { name: 'Members', description: 'The members of a project and their roles' },
    { name: 'Invitations', description: 'Secrets with which their holders join a project' },
    { name: 'Tasks', description: 'Tasks, their lists, and changes in a batch' },
    { name: 'Comments', description: 'What people say about tasks' },
    { name: 'Trash', description: 'Deleted tasks and projects, until they are deleted for good' },
    {
      name: 'Calendars',
      description:
        'Due tasks for calendar programs. Programs that also write tasks use CalDAV at `/dav/`, whose methods OpenAPI cannot describe.',
    },
    { name: 'Labels', description: 'The labels of tasks, and new names for them' },
    { name: 'Changes', description: 'The history of a project and the change stream' },
    { name: 'Webhooks', description: 'Changes, sent to other programs' },
    { name: 'MCP', description: 'Tools for agents' },
    { name: 'Service', description: 'Health checks, metrics and problem codes' },
  ],
};

const securitySchemes = {
  securitySchemes: {
    password: {
      type: 'oauth2',
      description:
        'Log in with a user name (or email) and a password. Leave the client fields empty.',
      flows: {
        password: {
          tokenUrl: `${DEFAULT_URL}/users/login`,
          refreshUrl: `${DEFAULT_URL}/users/refresh`,
          scopes: {},
        },
      },
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

const statusDescriptions: Record<string, string> = {
  200: 'Success.',
  201: 'Created.',
  202: 'Accepted. The response has no body.',
  204: 'Success. The response has no body.',
  304: 'Not modified: `If-None-Match` names the current version.',
  400: 'The protocol refuses the message.',
  404: 'The protocol does not know the method.',
};

// --- Parameters and headers ------------------------------------------------------------------------------------

/** Returns a valid parameter. One with a default is not required; an id has no example, because no such id exists. */
function parameter({ description, examples, schema, ...rest }: Json, schemas: Json): Json {
  const { default: fallback, format, type } = schema as Json;
  const [example] = (examples as unknown[] | undefined) ?? [];
  return {
    ...rest,
    description,
    required: rest.in === 'path' || (rest.required === true && fallback === undefined),
    ...(type === 'array' && { style: 'form', explode: false }),
    ...(example !== undefined && format !== 'uuid' && { example }),
    schema: extractSchemas(schema, schemas),
  };
}

const headerParameters = {
  ifMatch: {
    name: 'If-Match',
    in: 'header',
    required: false,
    description: 'Write only if this is the current version: the `ETag` of an earlier response.',
    example: '"3"',
    schema: { type: 'string' },
  },
  idempotencyKey: {
    name: 'Idempotency-Key',
    in: 'header',
    required: false,
    description:
      'For 24 hours, a repeated request with the same key returns the stored response and does not run again. 1 to 255 visible ASCII characters.',
    schema: { type: 'string', minLength: 1, maxLength: 255, pattern: '^[!-~]+$' },
  },
  lastEventId: {
    name: 'Last-Event-ID',
    in: 'header',
    required: false,
    description:
      'The `id` of the last event that the client received. Takes precedence over `since`.',
    schema: { type: 'string' },
  },
  ifNoneMatch: {
    name: 'If-None-Match',
    in: 'header',
    required: false,
    description:
      'Return 304 without a body if this is the current version: the `ETag` of an earlier response.',
    example: '"3"',
    schema: { type: 'string' },
  },
};

const headerComponents = Object.fromEntries(
  Object.entries({
    'X-Request-Id': 'The id of this request in the log: the id that the client sent, or a new one.',
    ETag: 'The version, in quotes, for `If-Match` and `If-None-Match`.',
    Location: 'The path of the new resource.',
    'Idempotency-Replayed':
      '`true` if this is the stored response of an earlier request with the same key.',
    'WWW-Authenticate': 'How to authenticate (RFC 6750 §3).',
    'Retry-After': 'The number of seconds to wait before the next attempt.',
    RateLimit:
      'The remaining quota: `r` requests; the full quota is available again in `t` seconds.',
    'RateLimit-Policy': 'The rate limit: `q` requests in `w` seconds.',
  }).map(([name, description]) => [name, { description, schema: { type: 'string' } }]),
);

const headerReferences = (names: string[]) =>
  Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]));

const limitHeaders = ['RateLimit', 'RateLimit-Policy'];

/** @param canBeUnmodified whether the operation can return 304. */
function headersOf(
  status: string,
  schema: TSchema,
  canBeUnmodified: boolean,
  isJson: boolean,
  others: string[],
): Json {
  const { version, project } = schema.properties ?? {};
  const versioned = canBeUnmodified || (isJson && version !== undefined);
  return headerReferences([
    'X-Request-Id',
    ...(versioned ? ['ETag'] : []),
    ...((version ?? project) && status === '201' ? ['Location'] : []),
    ...others,
  ]);
}

// --- Problems --------------------------------------------------------------------------------------------------

/** Returns the problems that follow from the shape of an operation, and its own. */
function problemsOf(
  options: OperationOptions,
  path: string,
  verb: string,
  hasBody: boolean,
): ProblemCode[] {
  const ofBody = ['malformed_json', 'payload_too_large', 'unsupported_media_type'] as const;
  const ofUsers = ['unauthenticated', 'invalid_token', 'token_expired'] as const;
  const ofDatabase = ['internal', 'database_unavailable', 'overloaded'] as const;
  return [
    'malformed_request',
    ...(hasBody ? ofBody : []),
    ...(options.public ? [] : [...ofUsers, ...ofDatabase]),
    ...(options.public || options.readScope || verb === 'get'
      ? []
      : (['insufficient_scope'] as const)),
    ...(options.problems ?? []),
    'validation_failed',
    ...(isExemptFromRateLimit(path) || options.servesPolls ? [] : (['rate_limited'] as const)),
  ];
}

/** Returns a reference for each status. Operations with the same problems share one component. */
function problemResponses(codes: ProblemCode[], schemas: Json, problems: Json): Json {
  const inOrder = (Object.keys(catalogue) as ProblemCode[]).filter((code) => codes.includes(code));
  const byStatus = Object.groupBy(inOrder, (code) => catalogue[code].status);
  return Object.fromEntries(
    Object.entries(byStatus).map(([status, here = []]) => {
      const name = here.map(pascalCase).join('Or');
      problems[name] ??= problemResponse(status, here, schemas);
      return [status, { $ref: `#/components/responses/${name}` }];
    }),
  );
}

const pascalCase = (code: string) =>
  code.replace(/(?:^|_)(\w)/g, (_, letter: string) => letter.toUpperCase());

function problemResponse(status: string, codes: ProblemCode[], schemas: Json): Json {
  return {
    description: codes.map((code) => `\`${code}\`: ${catalogue[code].title}.`).join(' '),
    headers: headerReferences([
      'X-Request-Id',
      ...(status === '401' ? ['WWW-Authenticate'] : []),
      ...(status === '429' || status === '503' || codes.includes('idempotency_in_flight')
        ? ['Retry-After']
        : []),
      ...(status === '429' ? limitHeaders : []),
    ]),
    content: {
      'application/problem+json': {
        schema: schemaRef(ProblemDocument, schemas),
        examples: Object.fromEntries(codes.map((code) => [code, { value: exampleProblem(code) }])),
      },
    },
  };
}

function exampleProblem(code: ProblemCode): Json {
  const { status, title, explanation } = catalogue[code];
  const invalid = {
    detail: '1 field is not valid',
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

/** Returns an example of a schema, built from the examples of its parts, without optional fields that would be null. */
function exampleOf(schema: TSchema): unknown {
  if (schema.examples) return schema.examples[0];
  if (schema.const !== undefined) return schema.const;
  if (schema.anyOf) return exampleOf(schema.anyOf[0]);
  if (schema.type === 'array') return [exampleOf(schema.items)];
  if (schema.type !== 'object') return undefined;
  const properties = Object.entries(schema.properties as Record<string, TSchema>).filter(
    ([, inner]) => !inner.readOnly,
  );
  const required: string[] = schema.required ?? [];
  return Object.fromEntries(
    properties
      .map(([name, inner]) => [name, exampleOf(inner)] as const)
      .filter(([name, example]) => example !== null || required.includes(name)),
  );
}

/** Returns the schema as JSON, without TypeBox's symbols, and with a reference in place of each named schema. */
function schemaRef(schema: TSchema, schemas: Json): unknown {
  return extractSchemas(JSON.parse(JSON.stringify(schema)), schemas);
}

function extractSchemas(schema: unknown, schemas: Json): unknown {
  if (Array.isArray(schema)) return schema.map((inner) => extractSchemas(inner, schemas));
  if (typeof schema !== 'object' || schema === null) return schema;
  const { $id, ...rest } = schema as Json;
  const inner = completed(
    Object.fromEntries(
      Object.entries(rest).map(([key, value]) => [key, extractSchemas(value, schemas)]),
    ),
  );
  if (typeof $id === 'string') return addSchema($id, inner, schemas);
  return inner.enum && inner.title ? extractEnum(inner, schemas) : inner;
}

function addSchema(name: string, schema: Json, schemas: Json): Json {
  schemas[name] = schema;
  return { $ref: `#/components/schemas/${name}` };
}

/** A named enum is one schema for all of its uses, so that generated clients have one type. */
function extractEnum({ title, type, enum: values, ...annotations }: Json, schemas: Json): Json {
  return { ...addSchema(String(title), { type, enum: values }, schemas), ...annotations };
}

/** Adds what client generators need: a format for integers, `enum` beside `const`, and a mapping for discriminators. */
function completed(schema: Json): Json {
  if (schema.type === 'integer') return { format: 'int32', ...schema };
  if (typeof schema.const === 'string') return { ...schema, enum: [schema.const] };
  const { anyOf, discriminator, ...rest } = schema;
  if (!discriminator) return schema;
  return { ...rest, oneOf: anyOf, discriminator };
}

/** A client must ignore fields that it does not know, so schemas that occur only in responses allow more fields. */
function openResponses(schemas: Json, paths: OpenApiDocument['paths']): Json {
  const bodies = Object.values(paths)
    .flatMap((operations) => Object.values(operations))
    .map(({ requestBody }) => requestBody);
  const closed = new Set<string>();
  const close = (part: unknown) => {
    for (const name of referredBy(part)) {
      if (closed.has(name)) continue;
      closed.add(name);
      close(schemas[name]);
    }
  };
  close(bodies);
  return Object.fromEntries(
    Object.entries(schemas).map(([name, schema]) => [
      name,
      closed.has(name) ? schema : JSON.parse(JSON.stringify(schema), withoutClosedObjects),
    ]),
  );
}

const referredBy = (part: unknown) =>
  [...(JSON.stringify(part) ?? '').matchAll(/"#\/components\/schemas\/(\w+)"/g)].map(
    ([, name]) => name ?? '',
  );

const withoutClosedObjects = (key: string, value: unknown) =>
  key === 'additionalProperties' && value === false ? undefined : value;

const sorted = (record: Json) =>
  Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)));
