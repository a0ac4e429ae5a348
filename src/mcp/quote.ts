/**
 * Text of users in the text of a result. A title is data that anyone in the project may have written, so it stands between
 * quotes and on one line, and characters that draw nothing are shown by their number. Structured content has it as it is.
 */

/** Controls, and format characters but the joiners that scripts and emoji need. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;
const JOINERS = '\u200c\u200d';

const visible = (text: string): string =>
  text.replace(UNSEEN, (character) =>
    JOINERS.includes(character) ? character : `\\u{${character.codePointAt(0)?.toString(16)}}`,
  );

/** Returns a text between quotes, or another value as JSON, on one line. */
export const quote = (value: unknown): string => visible(JSON.stringify(value));

/** Returns the lines of a longer text, each behind `> `, so that none can pass for a line of the result. */
export const quoteLines = (text: string): string =>
  text
    .split(/\r\n|[\n\r\u0085\u2028\u2029\v\f]/)
    .map((line) => `> ${visible(line)}`)
    .join('\n');
