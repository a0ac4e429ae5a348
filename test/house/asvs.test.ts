/**
 * The tables of docs/asvs.md: every requirement of OWASP ASVS 5.0's chapters is there, and what its row refers to
 * exists.
 */
import { describe, expect, test } from 'bun:test';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dir, '../..');
const read = (file: string) => readFileSync(join(root, file), 'utf8');
const page = read('docs/asvs.md');
const promises = read('SECURITY.md');

/** The level of each requirement of a section, in order: V2.1 has three, of the levels 1, 2 and 2. */
const sections: Record<string, string> = {
  'V2.1': '122',
  'V2.2': '112',
  'V2.3': '12223',
  'V2.4': '23',
  'V4.1': '12233',
  'V4.2': '23333',
  'V4.3': '22',
  'V4.4': '1222',
  'V6.1': '122',
  'V6.2': '111111112222',
  'V6.3': '11223333',
  'V6.4': '112233',
  'V6.5': '22222333',
  'V6.6': '2223',
  'V6.7': '33',
  'V6.8': '2222',
  'V7.1': '222',
  'V7.2': '1111',
  'V7.3': '22',
  'V7.4': '11222',
  'V7.5': '223',
  'V7.6': '22',
  'V8.1': '1233',
  'V8.2': '1123',
  'V8.3': '133',
  'V8.4': '23',
  'V9.1': '111',
  'V9.2': '1222',
  'V13.1': '2333',
  'V13.2': '222223',
  'V13.3': '2233',
  'V13.4': '1222233',
  'V16.1': '2',
  'V16.2': '22222',
  'V16.3': '2222',
  'V16.4': '222',
  'V16.5': '2223',
};

const required = Object.entries(sections).flatMap(([section, levels]) =>
  [...levels].map((level, index) => `${section}.${index + 1} of level ${level}`),
);

const statuses = ['met', 'not applicable', 'not met'];

/** The cells of the tables under a heading, without the two lines at the top. */
const cellsUnder = (heading: string, text = page) =>
  (text.split(`\n${heading}\n`)[1]?.split('\n#')[0] ?? '')
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .slice(2)
    .map((line) => line.split('|').slice(1, -1))
    .map((cells) => cells.map((cell) => cell.trim()));

const chapters = [...page.matchAll(/^## (V\d+) .+$/gm)].map(([heading, name = '']) => ({
  name,
  rows: cellsUnder(heading).map(([id = '', level = '', asks = '', status = '', why = '']) => ({
    id,
    level,
    asks,
    status,
    why,
  })),
}));
const rows = chapters.flatMap((chapter) => chapter.rows);

/** Files, each with the words in it that are quoted after it. */
const referencesIn = (text: string) =>
  [...text.matchAll(/`((?:src|test)\/[^`]*|[A-Z]+\.md)`(?: "([^"]*)")?/g)].map(
    ([, file = '', words]) => ({ file, words }),
  );

describe('the tables', () => {
  test('have every requirement once, in order, with its level', () => {
    expect(rows.map(({ id, level }) => `${id} of level ${level}`)).toEqual(required);
  });

  test('hold what belongs to their chapter', () => {
    for (const { name, rows } of chapters)
      expect(rows.filter(({ id }) => !id.startsWith(`${name}.`))).toEqual([]);
  });

  test('end with the right counts', () => {
    const count = (status: string) => rows.filter((row) => row.status === status).length;
    const [met, notApplicable, notMet] = statuses.map(count);
    expect(page).toEndWith(
      `\n**Of ${rows.length} requirements ${met} are met, ${notApplicable} are not applicable and ${notMet} are not met.**\n`,
    );
  });

  test.each(rows.map((row) => [row.id, row] as const))('%s', (_, { asks, status, why }) => {
    expect(asks).not.toBe('');
    expect(why).not.toBe('');
    expect(statuses).toContain(status);
    const references = referencesIn(why);
    if (status === 'met') expect(references).not.toEqual([]);
    for (const { file, words } of references) {
      expect([file, existsSync(join(root, file))]).toEqual([file, true]);
      // Of a test its title, of SECURITY.md a heading: the words themselves stand in the row.
      if (!file.startsWith('src/')) expect(words ?? '').not.toBe('');
      if (words === undefined) continue;
      const place = file === 'SECURITY.md' ? `\n### ${words}\n` : words;
      expect([file, words, read(file).includes(place)]).toEqual([file, words, true]);
    }
  });
});

test('the table of limits has those of the code, with their quotas', () => {
  const code = read('src/handlers/login-limits.ts') + read('src/plugins/rate-limit.ts');
  const limits = [...code.matchAll(/name: '([a-z-]+)',\s+quota: (\d+),/g)];
  expect(limits.length).toBeGreaterThan(0);
  expect(
    cellsUnder('### Limits', promises).map(
      ([name, quota]) => `${name} ${quota?.replace(/ in .*/, '')}`,
    ),
  ).toEqual(limits.map(([, name, quota]) => `\`${name}\` ${quota}`));
});
