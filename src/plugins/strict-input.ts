/**
 * Reads what the client sends, by the letter. Elysia guesses a body's type from one character, takes the last of
 * repeated query keys, and parses before it derives; so it is told not to parse, and the body is read here, once the
 * user is known.
 */
import { Elysia } from 'elysia';
import { ERRORS_MAX, type FieldError, invalid, Problem } from '../problem.ts';
import { locate } from '../schemas/faults.ts';

export const JSON_TYPE = 'application/json';
export const MERGE_PATCH_TYPE = 'application/merge-patch+json';
export const FORM_TYPE = 'application/x-www-form-urlencoded';

/** No schema here goes deeper than a list in an object; checks that recurse must not run out of stack. */
const JSON_DEPTH_MAX = 16;

const METHODS_WITH_BODY = ['POST', 'PUT', 'PATCH'];

/**
 * @param media_types what bodies may be sent as; PATCH also takes a JSON merge patch (RFC 7396).
 * @param methods whose bodies are read; those of others mean nothing (RFC 9110 §9.3).
 */
export const strictInput = (
  limit_bytes: number,
  media_types: readonly string[] = [JSON_TYPE],
  methods: readonly string[] = METHODS_WITH_BODY,
) =>
  new Elysia()
    .onParse({ as: 'scoped' }, () => null)
    .onTransform({ as: 'scoped' }, async (context) => {
      const { request } = context;
      refuseCarelessQuery(request.url);
      const accepted =
        request.method === 'PATCH' ? [...media_types, MERGE_PATCH_TYPE] : media_types;
      context.body = methods.includes(request.method)
        ? await readBody(request, limit_bytes, accepted)
        : undefined;
    });

/**
 * For a body that is read by the handler, piece by piece: gives routes `chunks`, in which `payload_too_large` and
 * `malformed_request` are thrown.
 */
export const streamedInput = (limit_bytes: number) =>
  new Elysia()
    .onParse({ as: 'scoped' }, () => null)
    .onTransform({ as: 'scoped' }, ({ request }) => refuseCarelessQuery(request.url))
    .resolve({ as: 'scoped' }, ({ request }) => {
      // Workers give a stream for it too.
      if (request.body === null || request.headers.get('content-length') === '0')
        throw invalid([{ location: 'body', code: 'required', message: 'is required' }]);
      acceptedType(request, [JSON_TYPE]);
      return { chunks: countedChunks(request, request.body, limit_bytes) };
    });

/** What is no percent-encoded UTF-8 (RFC 3986 §2.5) would be taken for the characters that it is written with. */
function refuseCarelessQuery(url: string) {
  const start = url.indexOf('?');
  if (start === -1) return;
  try {
    decodeURIComponent(url.slice(start));
  } catch {
    throw new Problem('malformed_request', { detail: 'The query is not percent-encoded UTF-8' });
  }
  const errors = findRepeated(new URLSearchParams(url.slice(start)).keys(), 'query');
  if (errors.length > 0) throw invalid(errors);
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

/** @returns the parsed body, or undefined where the request has none. */
async function readBody(
  request: Request,
  limit_bytes: number,
  accepted: readonly string[],
): Promise<unknown> {
  if (request.body === null) return undefined;
  const bytes = await readBytes(request, request.body, limit_bytes);
  if (bytes.length === 0) return undefined;
  return acceptedType(request, accepted) === FORM_TYPE
    ? parseForm(decodeUtf8(bytes, 'malformed_request'))
    : parseJson(bytes);
}

/** The media type of the body, among those accepted. @throws {Problem} `unsupported_media_type`. */
function acceptedType(request: Request, accepted: readonly string[]): string {
  const media_type = mediaType(request);
  if (media_type === undefined || !accepted.includes(media_type))
    throw new Problem('unsupported_media_type', {
      detail: `Send the body as ${accepted.join(' or ')}`,
    });
  // RFC 9110 §8.4: a coding that is not undone here would pass for the text itself.
  if (!/^(identity)?$/i.test(request.headers.get('content-encoding') ?? ''))
    throw new Problem('unsupported_media_type', {
      detail: 'Send the body without a content coding',
    });
  return media_type;
}

/** The media type without parameters; undefined for another charset than UTF-8. */
export function mediaType(request: Request): string | undefined {
  const [type = '', ...parameters] = (request.headers.get('content-type') ?? '').split(';');
  const charset = parameters
    .map((one) => /^\s*charset\s*=\s*"?([^"]*?)"?\s*$/i.exec(one)?.[1])
    .find(Boolean);
  return charset && charset.toLowerCase() !== 'utf-8' ? undefined : type.trim().toLowerCase();
}

async function readBytes(request: Request, body: ReadableStream<Uint8Array>, limit_bytes: number) {
  const named = Number(request.headers.get('content-length') ?? Number.NaN);
  // HTTP/1.1 ends a body at the length that it names, unless it comes in chunks (RFC 9112 §6.3).
  if (named <= limit_bytes && !request.headers.has('transfer-encoding'))
    return readWhole(request, limit_bytes);
  const chunks: Uint8Array[] = [];
  for await (const chunk of countedChunks(request, body, limit_bytes)) chunks.push(chunk);
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}

async function readWhole(request: Request, limit_bytes: number) {
  const bytes = await request.bytes().catch(() => {
    throw new Problem('malformed_request');
  });
  if (bytes.length > limit_bytes) throw new Problem('payload_too_large');
  return bytes;
}

/** Counts as it reads: a chunked body names no length, and a named one may lie. */
async function* countedChunks(
  request: Request,
  body: ReadableStream<Uint8Array>,
  limit_bytes: number,
): AsyncGenerator<Uint8Array> {
  if (Number(request.headers.get('content-length') ?? 0) > limit_bytes)
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
      if (length > limit_bytes) throw new Problem('payload_too_large');
      yield chunk.value;
    }
  } finally {
    // What is left of it is read by nobody.
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
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Problem('malformed_json');
  }
  if (isDeeperThan(JSON_DEPTH_MAX, value))
    throw new Problem('malformed_json', { detail: 'The body nests too deeply' });
  return value;
}

function isDeeperThan(levels: number, value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return levels === 0 || Object.values(value).some((inner) => isDeeperThan(levels - 1, inner));
}

function parseForm(text: string): Record<string, string> {
  const fields = new URLSearchParams(text);
  const errors = findRepeated(fields.keys(), 'body');
  if (errors.length > 0) throw invalid(errors);
  return Object.fromEntries(fields);
}
