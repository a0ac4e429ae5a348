/** The documents name only what exists: files, links, commands, settings, terms. */
import { describe, expect, test } from 'bun:test';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Glob } from 'bun';
import { scripts } from '../../package.json';

const root = join(import.meta.dir, '../..');
const read = (file: string) => readFileSync(join(root, file), 'utf8');

const found = (pattern: string) => [...new Glob(pattern).scanSync(root)];
const documents = [
  ...found('*.md'),
  ...['bench', 'client', 'deploy', 'docs', 'examples', 'findings', 'src', 'test'].flatMap(
    (folder) => found(`${folder}/**/*.md`),
  ),
].sort();
const sources = found('src/**/*.ts').map((file) => ({ file, text: read(file) }));

/** The text without fenced code. */
const prose = (text: string) => text.replaceAll(/^ *```[\s\S]*?^ *```$/gm, '');
const codeSpans = (text: string) =>
  [...prose(text).matchAll(/`([^`\n]+)`/g)].map(([, code = '']) => code);

/** The text between a heading and the next of its level. */
const section = (text: string, heading: string) =>
  text.split(`\n## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';

/** GitHub's anchor of a heading. */
const anchorOf = (heading: string) =>
  heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');

describe.each(documents)('%s', (file) => {
  const text = read(file);

  test('links to files and headings that exist', () => {
    const targets = [...prose(text).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target);
    for (const target of targets.filter((one) => !/^https?:/.test(one))) {
      const [path = '', anchor] = target.split('#');
      const linked = path ? join(dirname(file), path) : file;
      expect([target, existsSync(join(root, linked))]).toEqual([target, true]);
      if (anchor === undefined) continue;
      const headings = [...read(linked).matchAll(/^#+ (.+)$/gm)].map(([, one = '']) => one);
      expect(headings.map(anchorOf)).toContain(anchor);
    }
  });

  test('names files that exist', () => {
    // A path may begin at the root, in src or test, or beside the document. Results of benches are not committed.
    const places = ['', 'src', 'test', dirname(file)];
    const named = codeSpans(text).filter((code) =>
      /^(?:[\w.-]+\/)+[\w.-]+\.(?:ts|tsx|md|sql|json|jsonc|yaml|sh|svg|txt)$|^(?:src|test|bench|docs|drizzle|examples)\/(?!results)[\w/-]*$/.test(
        code,
      ),
    );
    for (const path of named)
      expect([path, places.some((place) => existsSync(join(root, place, path)))]).toEqual([
        path,
        true,
      ]);
  });

  test('names commands that exist', () => {
    for (const [, name = ''] of text.matchAll(/\bbun run ([a-z][\w:-]*)/g))
      expect(Object.keys(scripts)).toContain(name);
  });
});

test('documents and sources speak of persons as "they", and of a subject that acts', () => {
  // The rule itself names the words.
  const texts = documents.map((file) => ({
    file,
    text: prose(read(file)).replaceAll(/`[^`\n]+`|"[^"\n]+"/g, ''),
  }));
  for (const { file, text } of [...texts, ...sources]) {
    const words = text.toLowerCase().match(/\b(?:whoever|nobody|somebody|anybody|he|his|him)\b/g);
    expect([file, words]).toEqual([file, null]);
  }
});

test('a setting that a document names exists', () => {
  const settings = [...read('.env').matchAll(/^([A-Z_]+)=/gm)].map(([, name]) => name);
  const known = new Set<string | undefined>([...settings, 'NODE_ENV']);
  // Of the house's own look: words in capitals with an underscore that end as settings do.
  const ours =
    /^(?:DATABASE|JWT|ACCESS_TOKEN|REFRESH_TOKEN|RATE|TRUST|CORS|BODY|EVENTS|LOG|METRICS|DATA)_[A-Z_]+$/;
  for (const file of documents)
    for (const code of codeSpans(read(file))) {
      const name = code.split('=')[0] ?? '';
      if (ours.test(name)) expect([file, name, known.has(name)]).toEqual([file, name, true]);
    }
});

describe('ARCHITECTURE.md', () => {
  const text = read('ARCHITECTURE.md');

  test('has exactly the rooms of src', () => {
    const rooms = section(text, 'The rooms of `src`').matchAll(/^\| `([\w.]+)\/?` \|/gm);
    const entries = readdirSync(join(root, 'src')).filter((name) => name !== 'README.md');
    expect([...rooms].map(([, room = '']) => room).sort()).toEqual(entries.sort());
  });

  test('counts the transactions that handlers open', () => {
    const opened = sources
      .filter(({ file }) => file.startsWith('src/handlers/'))
      .flatMap(({ text: source }) => source.match(/\.transaction\(/g) ?? []);
    const words = [
      'six',
      'seven',
      'eight',
      'nine',
      'ten',
      'eleven',
      'twelve',
      'thirteen',
      'fourteen',
      'fifteen',
    ];
    expect(text).toContain(`these ${words[opened.length - 6]} are transactions`);
  });

  test('fits two screens', () => {
    expect(text.split('\n').length).toBeLessThanOrEqual(120);
  });

  test('has a glossary of terms that the code uses', () => {
    const rows = [...section(text, 'Glossary').matchAll(/^\| ([^|]+) \|/gm)].slice(2);
    const terms = rows.flatMap(([, cell = '']) => cell.split(', '));
    expect(terms.length).toBeGreaterThan(15);
    const words = sources
      .map((source) => source.text)
      .join('\n')
      .replaceAll(/\n\s*(?:\*|\/\/) /g, ' ')
      .toLowerCase();
    // The code writes `apiToken`, `rate_limit`, "worker process" or `prepared-queries`.
    for (const term of terms) {
      const pattern = new RegExp(
        term.toLowerCase().split(' ').join('[ _-]?').replace(/y$/, '(?:y|ies)'),
      );
      expect([term, pattern.test(words)]).toEqual([term, true]);
    }
  });
});

test('every room has a README of up to twelve lines', () => {
  const rooms = readdirSync(join(root, 'src'), { withFileTypes: true });
  for (const { name } of rooms.filter((entry) => entry.isDirectory()))
    expect([name, read(`src/${name}/README.md`).split('\n').length <= 12]).toEqual([name, true]);
});

test('every decision is listed, and named by the code that obeys it', () => {
  const index = read('docs/decisions/README.md');
  for (const file of readdirSync(join(root, 'docs/decisions'))) {
    if (file === 'README.md') continue;
    expect(index).toContain(`](${file})`);
    const obeyed = sources.some(({ text }) => text.includes(`docs/decisions/${file}`));
    expect([file, obeyed]).toEqual([file, true]);
  }
});

test('a decision has a number of its own', () => {
  const files = readdirSync(join(root, 'docs/decisions')).filter((file) => file !== 'README.md');
  const numbers = files.map((file) => Number.parseInt(file, 10));
  expect(numbers.toSorted((a, b) => a - b)).toEqual(files.map((_, index) => index + 1));
  for (const file of files)
    expect(read(`docs/decisions/${file}`)).toStartWith(`# ${Number.parseInt(file, 10)}. `);
});

test('code names only decisions that exist', () => {
  for (const { file, text } of sources)
    for (const [, name = ''] of text.matchAll(/docs\/decisions\/([\w.-]+)/g))
      expect([file, name, existsSync(join(root, 'docs/decisions', name))]).toEqual([
        file,
        name,
        true,
      ]);
});
