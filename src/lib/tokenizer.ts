/**
 * Makes of text in any language what is searched and sorted. It gives the same result everywhere, while PostgreSQL's own parsers
 * differ with version, locale and extensions. Text becomes folded words. A run of a script without spaces becomes pairs of
 * neighbouring characters, so that a search finds what stands inside the run.
 */
// Decision: docs/decisions/12-full-text-search.md
import { cutText } from './cut-text.ts';

/** Words are cut at this length (PostgreSQL takes lexemes of up to 2,046 bytes). */
const WORD_LENGTH_MAX = 64;
/** A key of an index: 200 characters of up to 4 bytes are below the 2,704 bytes that PostgreSQL takes. */
const SORT_KEY_LENGTH_MAX = 200;
/** Characters that draw nothing (Unicode's Default_Ignorable_Code_Point), and the one among them that parts words. */
const IGNORABLE = /\p{Default_Ignorable_Code_Point}/gu;
const ZERO_WIDTH_SPACE = /\u200b/g;
/** Normalization takes time in the square of a run of marks; no language puts so many on one letter. */
const LONG_RUN_OF_MARKS = /(\p{M}{8})\p{M}+/gu;

/** Accents of Latin, Greek and Cyrillic, Hebrew points, Arabic vowel signs: what people leave out when they search. */
const ACCENTS = /[\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670]/gu;
/** Letters that readers take for others, though Unicode does not decompose them. */
const LOOKALIKES: Record<string, string> = {
  ß: 'ss',
  æ: 'ae',
  œ: 'oe',
  ø: 'o',
  đ: 'd',
  ð: 'd',
  þ: 'th',
  ł: 'l',
  ħ: 'h',
  ı: 'i',
  ς: 'σ',
};
const LOOKALIKE = new RegExp(`[${Object.keys(LOOKALIKES).join('')}]`, 'gu');

/** Of these characters, folding changes the case alone. */
const ASCII = /^[\0-\x7f]*$/;

/** A run of letters, marks and digits, or one symbol; punctuation and spaces are between words. */
const WORD = /[\p{L}\p{M}\p{N}]+|\p{S}/gu;
const UNSPACED =
  /[\p{scx=Han}\p{scx=Hiragana}\p{scx=Katakana}\p{sc=Thai}\p{sc=Lao}\p{sc=Khmer}\p{sc=Myanmar}]/u
    .source;
const HAS_UNSPACED = new RegExp(UNSPACED, 'u');
const PART = new RegExp(`(${UNSPACED}+)|[^${UNSPACED.slice(1)}+`, 'gu');

/** The text of the runs of a description of 20,000 characters, with room for those that fold to several. */
const RUNS_LENGTH_MAX = 24_000;
/** Shorter runs are found by their pairs. */
const LONG_RUN_LENGTH_MIN = 3;

/** Returns the text without what a search ignores: case, accents, widths and forms of letters, invisible characters. */
export function fold(text: string): string {
  if (ASCII.test(text)) return text.toLowerCase();
  return (
    text
      .replace(ZERO_WIDTH_SPACE, ' ')
      // Before the marks are counted, because an invisible character between them would hide how many there are.
      .replace(IGNORABLE, '')
      .replace(LONG_RUN_OF_MARKS, '$1')
      .normalize('NFKD')
      .replace(ACCENTS, '')
      .toLowerCase()
      .replace(LOOKALIKE, (letter) => LOOKALIKES[letter] ?? letter)
      .normalize('NFC')
  );
}

/** Returns the key that titles and names are sorted by, compared code point by code point: numbers by their value. */
export function sortKey(text: string): string {
  return cutText(fold(text).replace(NUMBER, numberKey), SORT_KEY_LENGTH_MAX);
}

const NUMBER = /\p{Nd}+/gu;

/** Returns the digits after their number, so that `2` comes before `10`: `12` and `210`. One digit counts up to 8 of them. */
function numberKey(number: string): string {
  const digits = [...number]
    .map(digitOf)
    .join('')
    .replace(/^0+(?=.)/, '');
  const { length } = digits;
  return `${length <= 8 ? length : `9${String(length).padStart(3, '0')}`}${digits}`;
}

/** Unicode gives the ten digits of every script consecutive code points, zero first, at a multiple of ten or sixteen. */
function digitOf(character: string): string {
  if (character >= '0' && character <= '9') return character;
  let zero = character.codePointAt(0) ?? 0;
  const value = zero;
  while (value - zero < 9 && DIGIT.test(String.fromCodePoint(zero - 1))) zero -= 1;
  return String(value - zero);
}

const DIGIT = /\p{Nd}/u;

/** A part of a text: a word, or a run of a script without spaces as its characters. */
type Part = { word: string } | { run: string[] };

function* partsOf(text: string): Generator<Part> {
  const folded = fold(text);
  const hasRuns = HAS_UNSPACED.test(folded);
  for (const [word] of folded.matchAll(WORD))
    if (!hasRuns) yield { word: cutText(word, WORD_LENGTH_MAX) };
    else
      for (const [part, unspaced] of word.matchAll(PART))
        if (unspaced) yield { run: [...part] };
        else yield { word: cutText(part, WORD_LENGTH_MAX) };
}

/** Returns each character of a run with the one after it; the last stands alone. */
const pairsOf = (run: string[]) =>
  run.map((character, index) => character + (run[index + 1] ?? ''));

/** The words and runs by which a search finds a text. */
export interface TokenizedText {
  /** Its words, each once, in no order. They hold letters, marks, digits and symbols alone. */
  words: Set<string>;
  /** Its runs of three characters and more, one a line: a search for such a run looks here. */
  runs: string;
}

export function tokenize(text: string): TokenizedText {
  const words = new Set<string>();
  const runs: string[] = [];
  for (const part of partsOf(text)) {
    for (const word of 'word' in part ? [part.word] : pairsOf(part.run)) words.add(word);
    if ('run' in part && part.run.length >= LONG_RUN_LENGTH_MIN) runs.push(part.run.join(''));
  }
  return { words, runs: runs.join('\n').slice(0, RUNS_LENGTH_MAX).toWellFormed() };
}

/** A parsed search: a match has every one of these words and of these runs. */
export interface ParsedSearch {
  /** A prefix matches every word that begins with it. */
  words: { text: string; prefix: boolean }[];
  /** Of three characters and more: their pairs are among the words, but may stand apart. */
  runs: string[];
}

/** Parses a search: every word has to occur, the last as a prefix, and runs of unspaced scripts anywhere. */
export function parseSearch(text: string): ParsedSearch {
  const parts = [...partsOf(text)];
  const words = parts.flatMap((part, index) => {
    if ('word' in part) return [{ text: part.word, prefix: index === parts.length - 1 }];
    // All pairs of the run, without the last character alone. A single character is a prefix of the pair that it begins.
    const [only, ...others] = part.run;
    if (others.length === 0) return [{ text: only ?? '', prefix: true }];
    return pairsOf(part.run)
      .slice(0, -1)
      .map((pair) => ({ text: pair, prefix: false }));
  });
  const runs = parts.flatMap((part) =>
    'run' in part && part.run.length >= LONG_RUN_LENGTH_MIN ? [part.run.join('')] : [],
  );
  return { words, runs };
}
