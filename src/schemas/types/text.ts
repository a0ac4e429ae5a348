/** Unicode text: lengths in code points, no NUL, no lone surrogates. */
import { Kind, Type } from '@sinclair/typebox';
import { type Annotations, defineKind, Rules, wrongType } from './kind.ts';

interface TextRules {
  /** Requires a letter, a number, a punctuation mark or a symbol. */
  visible?: boolean;
  /** Describes `pattern` in words, for the message. */
  expected?: string;
  /** Is normalized later (NFKC), which changes its length: only what no normal form can mend is refused here. */
  normalized?: boolean;
}

/** The keywords of JSON Schema, which OpenAPI shows. */
interface TextKeywords extends Annotations {
  minLength?: number;
  maxLength: number;
  pattern?: string;
}

/** Letters and symbols without ink: Hangul fillers and the blank Braille pattern. */
const BLANK_LETTERS = /[\u115f\u1160\u2800\u3164\uffa0]/gu;
const VISIBLE = /[\p{L}\p{N}\p{P}\p{S}]/u;

/** The most UTF-16 units that one code point of a normal form can stand for: a letter with its marks, or a surrogate pair. */
const UNITS_PER_CODE_POINT_MAX = 8;

/** Normalization sorts a run of marks, which takes more than linear time. UAX #15, "Stream-Safe Text Format", has this bound. */
const MARKS_MAX = 30;
const MARKS = new RegExp(`[\\p{M}\\uff9e\\uff9f]{${MARKS_MAX + 1}}`, 'u');
const ASCII = /^[\0-\x7f]*$/;

defineKind('Text', (schema, value) => {
  const { minLength = 0, maxLength, pattern } = schema as unknown as TextKeywords;
  const { visible, expected, normalized } = (schema as unknown as { [Rules]: TextRules })[Rules];
  if (typeof value !== 'string') return wrongType('a string');
  if (value.includes('\0') || !value.isWellFormed())
    return { code: 'invalid_text', message: 'must be Unicode text without NUL' };
  if (value.length > maxLength * (normalized ? UNITS_PER_CODE_POINT_MAX : 2))
    return { code: 'too_long', message: `at most ${maxLength} characters` };
  if (normalized && MARKS.test(value))
    return { code: 'invalid_text', message: `at most ${MARKS_MAX} combining marks in a row` };
  if (normalized && !ASCII.test(value)) return undefined;
  const length = codePoints(value);
  if (length < minLength)
    return {
      code: 'too_short',
      message: `at least ${minLength} character${minLength === 1 ? '' : 's'}`,
    };
  if (length > maxLength) return { code: 'too_long', message: `at most ${maxLength} characters` };
  if (visible && !isVisible(value))
    return { code: 'blank', message: 'must contain a visible character' };
  if (pattern && !new RegExp(pattern, 'u').test(value))
    return { code: 'invalid_format', message: `must be ${expected}` };
  return undefined;
});

/** Returns whether a text has a character that a reader sees. */
export const isVisible = (text: string) => VISIBLE.test(text.replace(BLANK_LETTERS, ''));

/** Returns the length as JSON Schema and PostgreSQL count it: an emoji is one character. */
export function codePoints(text: string): number {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

/** A string that is stored exactly as sent. */
export const Text = ({ visible, expected, normalized, ...keywords }: TextRules & TextKeywords) =>
  Type.Unsafe<string>({
    [Kind]: 'Text',
    [Rules]: { visible, expected, normalized },
    type: 'string',
    ...keywords,
  });
