/** Holds answers against the OpenAPI document: the status is declared, the type is, and the body fits its schema. */
import Ajv2020, { type ValidateFunction } from 'ajv/dist/2020';
import addFormats from 'ajv-formats';
import openapi from '../../openapi.json';
import type { Answer } from './api.ts';

export interface Operation {
  operationId: string;
  method: string;
  /** As documented: `/projects/{project_id}`. */
  path: string;
  public: boolean;
  statuses: number[];
  responses: Record<
    string,
    {
      description?: string;
      content?: Record<string, { schema: object; example?: unknown; examples?: unknown }>;
    }
  >;
  summary: string;
  tags: string[];
  security: object[];
  requestBody?: { content: Record<string, { schema: { $ref: string }; example: unknown }> };
  parameters: { name: string; in: string; required: boolean; schema: { type?: string } }[];
}

const ajv = new Ajv2020({ strict: false, allErrors: true });
addFormats(ajv);
ajv.addSchema({ $id: 'openapi', components: closed(openapi.components) as object });
const validators = new Map<string, ValidateFunction>();

/** Clients have to accept fields that are not documented; in a test such a field is one that leaked. */
function closed(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(closed);
  if (typeof schema !== 'object' || schema === null) return schema;
  const inner = Object.fromEntries(Object.entries(schema).map(([key, one]) => [key, closed(one)]));
  return inner.type === 'object' && inner.properties
    ? { additionalProperties: false, ...inner }
    : inner;
}

/** Every operation of the document. */
export const operations: Operation[] = Object.entries(openapi.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({
    ...operation,
    responses: resolveResponses(operation.responses),
    method: method.toUpperCase(),
    path,
    public: operation.security.length === 0,
    statuses: Object.keys(operation.responses).map(Number),
  })),
);

/** Returns the responses of an operation with each reference replaced by what it refers to. */
function resolveResponses(responses: object): Operation['responses'] {
  const shared = openapi.components.responses as Operation['responses'];
  return Object.fromEntries(
    Object.entries(
      responses as Record<string, Operation['responses'][string] & { $ref?: string }>,
    ).map(([status, response]) => [
      status,
      (response.$ref ? shared[response.$ref.split('/').at(-1) ?? ''] : response) ?? {},
    ]),
  );
}

/** A schema among the components, by name. */
export const component = (name: string): Record<string, unknown> =>
  (openapi.components.schemas as Record<string, Record<string, unknown>>)[name] ?? {};

export function findOperation(method: string, path: string): Operation | undefined {
  const asked = path.replace(/[?#].*$/, '').replace(/(.)\/$/, '$1');
  const verb = method === 'HEAD' ? 'GET' : method;
  return operations.find(
    (one) =>
      one.method === verb && new RegExp(`^${one.path.replace(/\{\w+\}/g, '[^/]+')}$`).test(asked),
  );
}

/** Throws unless the document foresees this answer. An error of any path has to be a problem. */
export function matchDocument(method: string, path: string, answer: Answer): void {
  const operation = findOperation(method, path);
  const what = `${method} ${path} answered ${answer.status}`;
  if (!operation) {
    if (answer.status >= 400 && method !== 'HEAD')
      check({ $ref: '#/components/schemas/Problem' }, answer.body, what);
    return;
  }
  const response = operation.responses[answer.status];
  if (!response) throw new Error(`${what}, which the document does not declare: ${answer.text}`);
  if (!response.content) {
    if (answer.text !== '') throw new Error(`${what} with a body, where the document has none`);
    return;
  }
  if (method === 'HEAD') return;
  const type = (answer.headers.get('content-type') ?? '').split(';')[0] ?? '';
  const media = response.content[type];
  if (!media) throw new Error(`${what} as ${type}, which the document does not declare`);
  if (type === 'text/event-stream') {
    for (const data of answer.text.matchAll(/^data: (.*)$/gm))
      check(media.schema, JSON.parse(data[1] ?? ''), what);
    return;
  }
  check(media.schema, answer.body ?? answer.text, what);
}

function check(schema: object, value: unknown, what: string) {
  const key = JSON.stringify(schema);
  const validate =
    validators.get(key) ?? ajv.compile(JSON.parse(key.replaceAll('"#/', '"openapi#/')));
  validators.set(key, validate);
  if (!validate(value)) throw new Error(`${what}, but ${ajv.errorsText(validate.errors)}`);
}
