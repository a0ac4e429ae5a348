/** Tells the format of a document by its media type and its shape, without reading more of it than its beginning. */
import { Problem, validationProblem } from '../../errors/problem.ts';
import { type ImportFormat, importFormatsOf, importTypes } from '../../schemas/import-reports.ts';
import { peek } from './peek.ts';

/** The fields that only documents of a format have, at the top of an object, or in the first item of an array. */
const fieldsOf: Record<'object' | 'array', [ImportFormat, readonly string[]][]> = {
  object: [
    ['mantou', ['format', 'format_version', 'exported_at', 'project', 'tasks']],
    [
      'trello',
      ['cards', 'lists', 'actions', 'checklists', 'idOrganization', 'shortLink', 'labelNames'],
    ],
    ['taskwarrior', ['uuid', 'entry']],
  ],
  array: [
    ['taskwarrior', ['uuid', 'entry']],
    ['github', ['number', 'html_url', 'repository_url', 'createdAt', 'stateReason', 'issue_url']],
  ],
};

/** A Trello board has a description of up to 16,384 characters before a field that tells. */
const PEEKED_BYTES_MAX = 64 * 1024;

/**
 * Returns the format, and all chunks.
 * @param asked the format that the client names.
 * @throws {Problem} `validation_failed` where the named format does not go with the media type; `unsupported_media_type`
 * for JSON that comes as plain text; what `chunks` throws.
 */
export async function detectFormat(
  chunks: AsyncIterable<Uint8Array>,
  mediaType: string,
  asked: ImportFormat | undefined,
): Promise<{ format: ImportFormat; all: AsyncIterable<Uint8Array> }> {
  const [fallback = 'mantou', ...others] = importFormatsOf[mediaType] ?? [];
  if (asked !== undefined) {
    if (![fallback, ...others].includes(asked)) throw otherType(asked);
    return { format: asked, all: chunks };
  }
  if (mediaType === 'application/json') {
    const { told, all } = await peek(chunks, PEEKED_BYTES_MAX, (begun) =>
      formatOfJson(new TextDecoder().decode(begun)),
    );
    return { format: told ?? fallback, all };
  }
  if (mediaType !== 'text/plain') return { format: fallback, all: chunks };
  // A program that forgets the media type of its JSON must not get a task of each line.
  const { told, all } = await peek(
    chunks,
    PEEKED_BYTES_MAX,
    (begun) => /\S/.exec(new TextDecoder().decode(begun))?.[0],
  );
  if (told === '{' || told === '[')
    throw new Problem('unsupported_media_type', { detail: 'Send JSON as application/json' });
  return { format: fallback, all };
}

function otherType(asked: ImportFormat): Problem {
  const types = importTypes.filter((type) => importFormatsOf[type]?.includes(asked));
  return validationProblem([
    {
      location: 'query.format',
      code: 'contradiction',
      message: `goes with the media type ${types.join(' or ')}`,
    },
  ]);
}

/** Returns the format that the first telling field names; undefined where the text has none so far. */
function formatOfJson(text: string): ImportFormat | undefined {
  const start = /[{[]/.exec(text);
  const kind = start?.[0] === '[' ? 'array' : 'object';
  for (const name of namesAt(text, kind === 'array' ? 2 : 1))
    for (const [format, names] of fieldsOf[kind]) if (names.includes(name)) return format;
  return undefined;
}

/** Yields the names of fields at a depth of brackets, in the order of a text that may break off. */
function* namesAt(text: string, wanted: number): Generator<string> {
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at];
    if (character === '{' || character === '[') depth += 1;
    else if (character === '}' || character === ']') depth -= 1;
    if (character !== '"') continue;
    const start = at + 1;
    for (at = start; at < text.length && text[at] !== '"'; at += 1) if (text[at] === '\\') at += 1;
    if (depth === wanted && /^\s*:/.test(text.slice(at + 1, at + 9))) yield text.slice(start, at);
  }
}
