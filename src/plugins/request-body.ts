/**
 * Reads the query and the body strictly. Elysia guesses the type of a body from one character, keeps the last of repeated query
 * keys, and parses before it derives. So it is configured not to parse, and this plugin reads the body once the user is known.
 */
// Decision: docs/decisions/07-body-after-authentication.md
import { Elysia } from 'elysia';
import { ERRORS_MAX, type FieldError, Problem, validationProblem } from '../errors/problem.ts';
import { requestState } from '../http/request-state.ts';
import { findJsonBreach } from '../lib/json-bounds.ts';
import { locate } from '../schemas/field-errors.ts';
import { integerParameters, listParameters } from '../schemas/query-parameters.ts';

export const JSON_TYPE = 'application/json';
export const MERGE_PATCH_TYPE = 'application/merge-patch+json';
export const FORM_TYPE = 'application/x-www-form-urlencoded';

/**
 * The bound of depth keeps checks that recurse from running out of stack. The largest valid body, a full batch, has about 3,200
 * values.
 */
const JSON_BOUNDS = { depthMax: 16, nodesMax: 5000 };
/** A form has up to ten fields, a query about thirty parameters, and lists may repeat theirs. */
const FORM_FIELDS_MAX = 64;
const PARAMETERS_MAX = 64;

/** No parameter takes a larger one. */
const INTEGER = /^\d{1,9}$/;

const METHODS_WITH_BODY = ['POST', 'PUT', 'PATCH'];

/**
 * Returns the plugin that reads bodies.
 * @param mediaTypes that bodies may have; PATCH also takes a JSON merge patch (RFC 7396).
 * @param methods whose bodies are read; those of others mean nothing (RFC 9110 §9.3).
 */
export const requestBody = (
  limitBytes: number,
  mediaTypes: readonly string[] = [JSON_TYPE],
  methods: readonly string[] = METHODS_WITH_BODY,
) =>
  new Elysia()
    .onParse({ as: 'scoped' }, () => null)
    .onTransform({ as: 'scoped' }, async (context) => {
      const { request, query } = context;
      readQuery({ request, query });
      const accepted = request.method === 'PATCH' ? [...mediaTypes, MERGE_PATCH_TYPE] : mediaTypes;
      context.body = methods.includes(request.method)
        ? await readBody(request, limitBytes, accepted)
        : undefined;
    });

/**
 * Returns the plugin that reads bodies as text.
 * @param putLimitBytes the limit of what PUT stores.
 * @param typesOf the media types of each method whose bodies are read. A body without a type is taken for one of them.
 */
export const textBody = (
  limitBytes: number,
  putLimitBytes: number,
  typesOf: Readonly<Record<string, readonly string[]>>,
) =>
  new Elysia()
    .onParse({ as: 'scoped' }, () => null)
    .onTransform({ as: 'scoped' }, async (context) => {
      const { request, query } = context;
      readQuery({ request, query });
      const accepted = typesOf[request.method];
      const limit = request.method === 'PUT' ? Math.min(limitBytes, putLimitBytes) : limitBytes;
      context.body = accepted && (await readText(request, limit, accepted));
    });

/**
 * Returns the plugin for a handler that reads the body itself. It gives routes the `mediaType` and `chunks`, which throws
 * `payload_too_large` and `malformed_request`.
 */
export const streamedBody = (limitBytes: number, mediaTypes: readonly string[]) =>
  new Elysia()
    .onParse({ as: 'scoped' }, () => null)
    .onTransform({ as: 'scoped' }, readQuery)
    .resolve({ as: 'scoped' }, ({ request }) => {
      // Workers set a stream for an empty body as well.
      if (request.body === null || request.headers.get('content-length') === '0')
        throw validationProblem([{ location: 'body', code: 'required', message: 'is required' }]);
      const mediaType = acceptedType(request, mediaTypes);
      return { mediaType, chunks: countedChunks(request, request.body, limitBytes) };
    });

/** Refuses a malformed query, and makes arrays and numbers of the parameters that are such. Elysia keeps the last of repeated ones. */
function readQuery({
  request: { url },
  query,
}: {
  request: Request;
  query: Record<string, unknown>;
}) {
  const start = url.indexOf('?');
  if (start === -1) return;
  if (hasMoreThan(PARAMETERS_MAX, '&', url))
    throw tooMany(`at most ${PARAMETERS_MAX} parameters`, 'query');
  // Elysia would take an invalid percent-encoding (RFC 3986 §2.5) for literal characters.
  try {
    decodeURIComponent(url.slice(start));
  } catch {
    throw new Problem('malformed_request', { detail: 'The query is not percent-encoded UTF-8' });
  }
  const parameters = new URLSearchParams(url.slice(start));
  const single = [...parameters.keys()].filter(
    (name) => !listParameters.has(name.replace(/\[\]$/, '')),
  );
  const errors = findRepeated(single, 'query');
  if (errors.length > 0) throw validationProblem(errors);
  for (const name of listParameters) {
    // axios sends each item of an array with brackets after the name.
    const bracketed = `${name}[]`;
    const values = [...parameters.getAll(name), ...parameters.getAll(bracketed)];
    if (values.length > 0) query[name] = values.flatMap((value) => value.split(','));
    delete query[bracketed];
  }
  for (const name of integerParameters) {
    const text = query[name];
    if (typeof text === 'string' && INTEGER.test(text)) query[name] = Number(text);
  }
}

function findRepeated(names: Iterable<string>, where: string): FieldError[] {
  const seen = new Set<string>();
  const repeated = new Set<string>();
  for (const name of names) (seen.has(name) ? repeated : seen).add(name);
  return [...repeated].slice(0, ERRORS_MAX).map((name) => ({
    location: locate(where, name),
    code: 'repeated',
    message: 'must be given once',
  }));
}

/** Returns the parsed body; undefined where the request has none. */
async function readBody(
  request: Request,
  limitBytes: number,
  accepted: readonly string[],
): Promise<unknown> {
  if (request.body === null) return undefined;
  const bytes = await readBytes(request, request.body, limitBytes);
  requestState(request).countBody?.(bytes.length);
  if (bytes.length === 0) return undefined;
  return acceptedType(request, accepted) === FORM_TYPE
    ? parseForm(decodeUtf8(bytes, 'malformed_request'))
    : parseJson(bytes);
}

async function readText(
  request: Request,
  limitBytes: number,
  accepted: readonly string[],
): Promise<string | undefined> {
  if (request.body === null) return undefined;
  const bytes = await readBytes(request, request.body, limitBytes).catch((error) => {
    // RFC 4791 §5.3.2.1.
    throw request.method === 'PUT' && error instanceof Problem && error.code === 'payload_too_large'
      ? new Problem(error.code, { condition: 'c:max-resource-size' })
      : error;
  });
  requestState(request).countBody?.(bytes.length);
  if (bytes.length === 0) return undefined;
  if (mediaType(request) !== '') acceptedType(request, accepted);
  return decodeUtf8(bytes, 'malformed_request');
}

/** Returns the media type of the body, if it is accepted. @throws {Problem} `unsupported_media_type`. */
function acceptedType(request: Request, accepted: readonly string[]): string {
  const type = mediaType(request);
  if (!accepted.includes(type))
    throw new Problem('unsupported_media_type', {
      detail: `Send the body as ${accepted.join(' or ')}`,
    });
  if (!isUtf8(request))
    throw new Problem('unsupported_media_type', { detail: 'Send the body in UTF-8' });
  // RFC 9110 §8.4: without this check, a compressed body would be read as text.
  if (!/^(identity)?$/i.test(request.headers.get('content-encoding') ?? ''))
    throw new Problem('unsupported_media_type', {
      detail: 'Send the body without a content coding',
    });
  return type;
}

/** Returns the media type in lower case, without its parameters. */
export function mediaType(request: Request): string {
  const [type = ''] = (request.headers.get('content-type') ?? '').split(';');
  return type.trim().toLowerCase();
}

/** The names that clients give to UTF-8, and to ASCII, which is a part of it (WHATWG Encoding, "names and labels"). */
const utf8Labels = ['utf-8', 'utf8', 'unicode-1-1-utf-8', 'us-ascii', 'ascii'];

/** Returns whether the body is in UTF-8: it is, unless its type names another charset. */
function isUtf8(request: Request): boolean {
  const [, ...parameters] = (request.headers.get('content-type') ?? '').split(';');
  const charset = parameters
    .map((one) => /^\s*charset\s*=\s*["']?([^"']*?)["']?\s*$/i.exec(one)?.[1])
    .find(Boolean);
  return charset === undefined || utf8Labels.includes(charset.toLowerCase());
}

async function readBytes(request: Request, body: ReadableStream<Uint8Array>, limitBytes: number) {
  const named = Number(request.headers.get('content-length') ?? Number.NaN);
  // HTTP/1.1 ends a body at the length that it names, unless it comes in chunks (RFC 9112 §6.3).
  if (named <= limitBytes && !request.headers.has('transfer-encoding'))
    return readWhole(request, limitBytes);
  const chunks: Uint8Array[] = [];
  for await (const chunk of countedChunks(request, body, limitBytes)) chunks.push(chunk);
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}

async function readWhole(request: Request, limitBytes: number) {
  const bytes = await request.bytes().catch(() => {
    throw new Problem('malformed_request');
  });
  if (bytes.length > limitBytes) throw new Problem('payload_too_large');
  return bytes;
}

/** Yields the chunks, and counts their bytes: a chunked body names no length, and a named length may be wrong. */
async function* countedChunks(
  request: Request,
  body: ReadableStream<Uint8Array>,
  limitBytes: number,
): AsyncGenerator<Uint8Array> {
  if (Number(request.headers.get('content-length') ?? 0) > limitBytes)
    throw new Problem('payload_too_large');
  let length = 0;
  const chunks = body[Symbol.asyncIterator]();
  const next = async () => {
    try {
      return await chunks.next();
    } catch {
      // The client went away in the middle, or sent broken chunks.
      throw new Problem('malformed_request');
    }
  };
  try {
    for (let chunk = await next(); !chunk.done; chunk = await next()) {
      length += chunk.value.length;
      if (length > limitBytes) throw new Problem('payload_too_large');
      yield chunk.value;
    }
  } finally {
    // The rest of the body is not read.
    await chunks.return?.().catch(() => undefined);
  }
}

function decodeUtf8(bytes: Uint8Array, code: 'malformed_json' | 'malformed_request'): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new Problem(code);
  }
}

function parseJson(bytes: Uint8Array): unknown {
  const text = decodeUtf8(bytes, 'malformed_json');
  const breach = findJsonBreach(text, JSON_BOUNDS);
  if (breach === 'depthMax')
    throw new Problem('malformed_json', { detail: 'The body nests too deeply' });
  if (breach === 'nodesMax') throw tooMany(`at most ${JSON_BOUNDS.nodesMax} values`);
  try {
    return JSON.parse(text);
  } catch {
    throw new Problem('malformed_json');
  }
}

const tooMany = (message: string, location = 'body') =>
  validationProblem([{ location, code: 'too_many', message }]);

function parseForm(text: string): Record<string, string> {
  if (hasMoreThan(FORM_FIELDS_MAX, '&', text)) throw tooMany(`at most ${FORM_FIELDS_MAX} fields`);
  const fields = new URLSearchParams(text);
  const errors = findRepeated(fields.keys(), 'body');
  if (errors.length > 0) throw validationProblem(errors);
  return Object.fromEntries(fields);
}

/** Returns whether the text has more than `countMax` parts. It stops counting there. */
function hasMoreThan(countMax: number, separator: string, text: string): boolean {
  let count = 0;
  for (let at = text.indexOf(separator); at !== -1; at = text.indexOf(separator, at + 1)) {
    count += 1;
    if (count >= countMax) return true;
  }
  return false;
}
