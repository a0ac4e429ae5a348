/** Reads CSV row by row as it arrives, by the names of its columns, whichever separator a spreadsheet has chosen. */
import { type CsvError, type Info, parse } from 'csv-parse/stream';
import { faultAt } from './foreign-task.ts';
import { textOf } from './lines.ts';

const SEPARATORS = [',', ';', '\t'];
/** A header has names of columns alone. */
const HEADER_CHARACTERS_MAX = 16 * 1024;
/** A description of 20,000 characters has at most 80,000. */
const RECORD_CHARACTERS_MAX = 1024 ** 2;
/** Blank ones as well. */
const ROWS_MAX = 200_000;
const PIECE_CHARACTERS_MAX = 64 * 1024;

/** A row by the names of its columns, in lower case. */
export interface Row {
  /** The line on which it begins, from 1. */
  line: number;
  /** Its place among the rows below the header, from 0. */
  item: number;
  cells: Map<string, string>;
}

/**
 * Returns the names of the columns, in lower case with underscores, and the rows below them.
 * @throws {Problem} `validation_failed` with the line, also while the rows are read.
 */
export async function readTable(chunks: AsyncIterable<Uint8Array>) {
  const records = recordsOf(chunks);
  const first = await records.next();
  if (first.done) throw faultAt(1, 'must name the columns', 'required');
  const header = first.value.record.map((name) =>
    name
      .trim()
      .toLowerCase()
      .replaceAll(/[\s-]+/g, '_'),
  );

  async function* rows(): AsyncGenerator<Row> {
    let item = 0;
    let rowCount = 0;
    for await (const { record, line } of records) {
      rowCount += 1;
      if (rowCount > ROWS_MAX)
        throw faultAt(line, `at most ${ROWS_MAX} rows: divide the document`, 'too_many');
      // Rows of bare separators stand between groups.
      if (record.every((cell) => cell.trim() === '')) continue;
      const cells = new Map(record.map((cell, place) => [header[place] ?? '', cell]));
      yield { line, item: item++, cells };
    }
  }
  return { header, rows: rows() };
}

/** Yields the records and the line on which each begins. */
async function* recordsOf(chunks: AsyncIterable<Uint8Array>) {
  let line = 1;
  const texts = textOf(chunks, () => line);
  const start = await readStart(texts);
  // Excel names its separator in a line of its own.
  const [named = '', separator] = /^sep=(.)\r?\n/i.exec(start) ?? [];
  const linesBefore = named === '' ? 0 : 1;
  const parser = parse({
    bom: true,
    delimiter: separator ?? separatorOf(start),
    info: true,
    relax_column_count: true,
    relax_quotes: true,
    skip_empty_lines: true,
    max_record_size: RECORD_CHARACTERS_MAX,
  });
  try {
    for await (const { record, info } of parsed(parser, start.slice(named.length), texts)) {
      // The parser tells the line on which a record ends; its cells tell how many lines it has.
      const breaks = record.reduce(
        (sum, cell) => sum + (cell.match(/\r\n|\r|\n/g)?.length ?? 0),
        0,
      );
      const last = info.lines + linesBefore;
      line = last + 1;
      yield { record, line: Math.max(last - breaks, 1) };
    }
  } catch (error) {
    throw explain(error, line);
  }
}

interface Parsed {
  record: string[];
  info: Info;
}

/** Yields what the parser makes of the texts. It gets the next one when all of the last is read, so it holds no more. */
async function* parsed(parser: TransformStream, start: string, texts: AsyncIterable<string>) {
  const encoder = new TextEncoder();
  const reader = (parser.readable as ReadableStream<Parsed>).getReader();
  const writer = parser.writable.getWriter();
  let next = reader.read();

  /** Yields the records of what is written, until a turn of the event loop brings no more. */
  async function* until(write: Promise<void>) {
    // The reader reports the failure.
    let quiet: Promise<undefined> = write.then(noRecord, noRecord);
    for (let isThrough = false; ; ) {
      const read = await Promise.race([next, quiet]);
      if (read?.done || (!read && isThrough)) return;
      if (read) {
        yield read.value;
        next = reader.read();
      } else isThrough = true;
      if (isThrough) quiet = new Promise<void>(setImmediate).then(noRecord);
    }
  }

  for (const piece of piecesOf(start)) yield* until(writer.write(encoder.encode(piece)));
  for await (const text of texts)
    for (const piece of piecesOf(text)) yield* until(writer.write(encoder.encode(piece)));
  const closing = writer.close();
  closing.catch(noRecord);
  for (let last = await next; !last.done; last = await reader.read()) yield last.value;
}

const noRecord = () => undefined;

/** The parser drops the records of a piece in which it fails: a small one loses none of those before a long record. */
function* piecesOf(text: string) {
  let end = 0;
  for (let at = 0; at < text.length; at = end) {
    end = at + PIECE_CHARACTERS_MAX;
    // A surrogate pair stays together, because each piece is encoded by itself.
    if (/[\ud800-\udbff]/.test(text.charAt(end - 1))) end += 1;
    yield text.slice(at, end);
  }
}

/** Returns the text up to the end of its first line, with what came in the same chunk. */
async function readStart(texts: AsyncGenerator<string>): Promise<string> {
  let start = '';
  while (!/[^\r\n][\r\n]/.test(start) && start.length < HEADER_CHARACTERS_MAX) {
    const { done, value } = await texts.next();
    if (done) break;
    start += value;
  }
  return start;
}

/** Returns the separator that the header has most of. */
function separatorOf(start: string): string {
  const header = (/^[^\r\n]*/.exec(start.trimStart())?.[0] ?? '').replace(/"[^"]*"/g, '');
  const count = (separator: string) => header.split(separator).length;
  return SEPARATORS.reduce((best, one) => (count(one) > count(best) ? one : best));
}

/** Names the line of what the parser refuses. */
function explain(error: unknown, line: number): unknown {
  const { code } = error as Partial<CsvError>;
  if (code === 'CSV_QUOTE_NOT_CLOSED')
    return faultAt(line, 'begins a row with a quote that does not end: is the document cut?');
  if (code === 'CSV_MAX_RECORD_SIZE')
    return faultAt(line, 'begins a row that is longer than a mebibyte', 'too_long');
  return code?.startsWith('CSV_') ? faultAt(line, 'begins what is no row of a table') : error;
}
