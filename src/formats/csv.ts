/** Tables for spreadsheets: RFC 4180, in UTF-8, with CRLF. */
import { stringify } from 'csv-stringify/sync';

/** What a spreadsheet takes for the beginning of a formula, in either width (OWASP, "CSV Injection"). */
const FORMULA = /^['=+\-@\t\r\n＝＋－＠]/;

type Cell = string | number | null;

/** Lines of cells. Every text is in quotes, which a line break of any kind needs; null is nothing at all. */
export const csvLines = (rows: readonly (readonly Cell[])[]): string =>
  stringify(rows as Cell[][], { record_delimiter: 'windows', quoted_string: true });

/**
 * What somebody wrote, as a text that no spreadsheet runs: an apostrophe comes before what looks like a formula, and
 * before an apostrophe, so whoever takes away one at the beginning has exactly the text again.
 */
export const asText = (text: string | null): string | null =>
  text !== null && FORMULA.test(text) ? `'${text}` : text;
