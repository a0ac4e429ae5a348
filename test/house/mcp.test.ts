/** What every tool of the Model Context Protocol has, and what all of them cost a model. */
import { describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tiktoken } from 'js-tiktoken/lite';
import o200k from 'js-tiktoken/ranks/o200k_base';
import { listTools, tools } from '../../src/mcp/tools.ts';

const TOKENS_MAX = 3000;

const all = listTools({ scopes: ['read', 'write'] });
const reading = listTools({ scopes: ['read'] });

test('there are ten to fourteen tools, each with a name of its own', () => {
  const names = all.map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
  expect(names.length).toBeWithin(10, 15);
});

const tokenizer = new Tiktoken(o200k);
const tokensOf = (value: unknown) => tokenizer.encode(JSON.stringify(value)).length;

test(`all tools, with their schemas of results, take fewer than ${TOKENS_MAX} tokens`, () => {
  const tokens = tokensOf(all);
  console.log(`${all.length} tools: ${tokens} tokens (js-tiktoken, o200k_base)`);
  expect(tokens).toBeLessThan(TOKENS_MAX);
});

test('a token that reads is shown the tools that read', () => {
  expect(reading.length).toBeGreaterThan(5);
  expect(all.filter(({ annotations }) => 'readOnlyHint' in annotations)).toEqual(reading);
});

describe.each(all.map((tool) => [tool.name, tool] as const))('%s', (name, tool) => {
  test('says what it does, in up to three sentences', () => {
    expect(name).toMatch(/^[a-z]+(_[a-z]+)*$/);
    expect(tool.description).toMatch(/^[A-Z].*\.$/);
    expect(tool.description.split(/\. /).length).toBeLessThanOrEqual(3);
  });

  test('refuses unknown arguments, and states exactly what it returns', () => {
    expect(tool.inputSchema).toMatchObject({ type: 'object', additionalProperties: false });
    expect(tool.outputSchema).toMatchObject({ type: 'object', additionalProperties: false });
  });

  test('has annotations that agree with each other', () => {
    expect<object>(tool.annotations).toEqual({
      ...(reading.some((one) => one.name === name)
        ? { readOnlyHint: true }
        : { destructiveHint: name.startsWith('delete'), idempotentHint: true }),
      openWorldHint: false,
    });
  });
});

test('docs/mcp.md names every tool, and its figures are true', () => {
  const guide = readFileSync(join(import.meta.dir, '../../docs/mcp.md'), 'utf8');
  const table = guide.split('\n## Tools\n')[1]?.split('\n\n- ')[0] ?? '';
  const named = [...table.matchAll(/`([a-z_]+)`(?=[^|]*\| )/g)].map(([, name]) => name);
  expect(named.filter((name) => name !== 'status').sort()).toEqual(
    all.map(({ name }) => name).sort(),
  );
  const [, figure = ''] = /\| mantou \| 14 \| ([\d,]+) \|/.exec(guide) ?? [];
  expect(Number(figure.replace(',', ''))).toBe(tokensOf(all));
});

test('a schema that a client reads holds no null: models send null for what they leave out', () => {
  for (const { inputSchema } of all) expect(JSON.stringify(inputSchema)).not.toContain('null');
  expect(tools.length).toBe(all.length);
});
