/** Tables for spreadsheets (RFC 4180), in UTF-8, with CRLF. */
import { stringify } from 'csv-stringify/sync';

/** Characters with which a spreadsheet begins a formula, in either width (OWASP, "CSV Injection"). */
const FORMULA = /^['=+\-@\t\r\n＝＋－＠]/;

type Cell = string | number | null;

/** Returns the lines of cells. Every text is in quotes, because it may hold a line break of any kind; null is an empty cell. */
export const csvLines = (rows: readonly (readonly Cell[])[]): string =>
  stringify(rows as Cell[][], { record_delimiter: 'windows', quoted_string: true });

/** Returns whether a spreadsheet might run the text, or take an apostrophe away from it. */
export const isFormula = (text: string) => FORMULA.test(text);

/**
 * Returns the text in a form that no spreadsheet runs: a text that looks like a formula or begins with an apostrophe gets an
 * apostrophe before it. A reader that takes one apostrophe from the beginning has the original text.
 */
export const asText = (text: string | null): string | null =>
  text !== null && isFormula(text) ? `'${text}` : text;
