/**
 * How text is searched and sorted, whatever its language and wherever the code runs: PostgreSQL's own parsers differ
 * with its version, locale and extensions. Text becomes folded words; scripts that put no spaces between words become
 * pairs of neighbouring characters, so that what stands inside a run is found too.
 */

/** Beyond this, words are told apart by their beginnings (PostgreSQL takes lexemes of up to 2,046 bytes). */
const WORD_LENGTH_MAX = 64;
/** A key of an index: 200 characters of up to 4 bytes are below the 2,704 bytes that PostgreSQL takes. */
const SORT_KEY_LENGTH_MAX = 200;
/** Normalizing takes time in the square of a run of marks; no language puts so many on one letter. */
const LONG_RUN_OF_MARKS = /(\p{M}{8})\p{M}+/gu;

/** Accents of Latin, Greek and Cyrillic, Hebrew points, Arabic vowel signs: what people leave out when they search. */
const ACCENTS = /[\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670]/gu;
/** Letters that people take for others, though Unicode does not decompose them. */
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

/** A run of letters, marks and digits, or one symbol; punctuation and spaces are between words. */
const WORD = /[\p{L}\p{M}\p{N}]+|\p{S}/gu;
const UNSPACED =
  /[\p{scx=Han}\p{scx=Hiragana}\p{scx=Katakana}\p{sc=Thai}\p{sc=Lao}\p{sc=Khmer}\p{sc=Myanmar}]/u
    .source;
const PART = new RegExp(`(${UNSPACED}+)|[^${UNSPACED.slice(1)}+`, 'gu');

/** Text without what a person who searches does not care about: case, accents, widths and forms of letters. */
export function fold(text: string): string {
  return text
    .replace(LONG_RUN_OF_MARKS, '$1')
    .normalize('NFKD')
    .replace(ACCENTS, '')
    .toLowerCase()
    .replace(LOOKALIKE, (letter) => LOOKALIKES[letter] ?? letter)
    .normalize('NFC');
}

/** What titles and names are sorted by, compared code point by code point. */
export function sortKey(text: string): string {
  return [...fold(text)].slice(0, SORT_KEY_LENGTH_MAX).join('');
}

/** A part of a text: a word, or a run of a script without spaces as its characters. */
type Part = { word: string } | { run: string[] };

function* partsOf(text: string): Generator<Part> {
  for (const [word] of fold(text).matchAll(WORD))
    for (const [part, unspaced] of word.matchAll(PART)) {
      const characters = [...part];
      if (unspaced) yield { run: characters };
      else yield { word: characters.slice(0, WORD_LENGTH_MAX).join('') };
    }
}

/** Each character of a run with the one after it; the last stands alone. */
const pairsOf = (run: string[]) =>
  run.map((character, index) => character + (run[index + 1] ?? ''));

/** The words of a text, each once, in no order. They hold letters, marks, digits and symbols alone. */
export function wordsOf(text: string): Set<string> {
  const words = new Set<string>();
  for (const part of partsOf(text))
    for (const word of 'word' in part ? [part.word] : pairsOf(part.run)) words.add(word);
  return words;
}

/** What a search asks for: every one of these words, and every one of these runs. */
export interface Wanted {
  /** A prefix stands for any word that it begins. */
  words: { text: string; prefix: boolean }[];
  /** Of three characters and more: their pairs are among the words, but may stand apart. In NFKC. */
  runs: string[];
}

/** Reads a search: every word has to occur, the last as a prefix, and runs of unspaced scripts anywhere. */
export function readSearch(text: string): Wanted {
  const parts = [...partsOf(text)];
  const words = parts.flatMap((part, index) => {
    if ('word' in part) return [{ text: part.word, prefix: index === parts.length - 1 }];
    // Of a run's pairs all but the last character's; a single character begins a pair wherever it stands.
    const [only, ...others] = part.run;
    if (others.length === 0) return [{ text: only ?? '', prefix: true }];
    return pairsOf(part.run)
      .slice(0, -1)
      .map((pair) => ({ text: pair, prefix: false }));
  });
  const runs = parts.flatMap((part) =>
    'run' in part && part.run.length > 2 ? [part.run.join('')] : [],
  );
  return { words, runs };
}
