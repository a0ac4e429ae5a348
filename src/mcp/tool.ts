/** What a tool is: schemas, annotations, and a function that calls handlers. */
import type { Static, TObject, TProperties, TSchema } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { validationProblem } from '../errors/problem.ts';
import { findFieldErrors } from '../schemas/field-errors.ts';
import type { Caller } from './caller.ts';
import { problemResult } from './problem-result.ts';

/** What a tool returns: data for programs, and the same as a short text for clients that show a model the text alone. */
export interface Outcome<Data> {
  data: Data;
  text: string;
}

interface Definition<Input extends TProperties, Output extends TProperties> {
  /** What a model reads to choose the tool. It is the same for every caller: no text of a user is in it. */
  description: string;
  input: TObject<Input>;
  output: TObject<Output>;
  /** Whether the tool changes something: it needs the scope `write`. `destroys`: something is gone afterwards. */
  effect: 'reads' | 'writes' | 'destroys';
  run(caller: Caller, input: Static<TObject<Input>>): Promise<Outcome<Static<TObject<Output>>>>;
}

export interface Tool extends Definition<TProperties, TProperties> {
  readonly name: string;
}

/** Returns a tool. The types of its schemas are those of its function. */
export const defineTool = <Input extends TProperties, Output extends TProperties>(
  name: string,
  definition: Definition<Input, Output>,
): Tool => ({ name, ...definition }) as unknown as Tool;

/** Returns the tool as `tools/list` has it. Every write is safe to repeat: see `call-key.ts`. */
export const describeTool = ({ name, description, input, output, effect }: Tool) => ({
  name,
  description,
  inputSchema: publishedClosed(input),
  outputSchema: publishedClosed(output),
  annotations: {
    ...(effect === 'reads'
      ? { readOnlyHint: true }
      : { destructiveHint: effect === 'destroys', idempotentHint: true }),
    openWorldHint: false,
  },
});

/**
 * Validates the arguments of a call and runs the tool. It never throws: a problem is a result with `isError`, because a
 * client shows its model the result of a tool, and not an error of the protocol.
 */
export async function callTool(caller: Caller, tool: Tool, given: unknown = {}) {
  caller.noteTool(tool.name);
  try {
    if (tool.effect !== 'reads') caller.requireWriteScope();
    const { data, text } = await tool.run(caller, validInput(tool.input, given));
    if (tool.effect !== 'reads') caller.noteWrite();
    return { content: [{ type: 'text' as const, text }], structuredContent: data };
  } catch (error) {
    return problemResult(caller.problemOf(error));
  }
}

/** Returns the arguments with the defaults of the schema. @throws {Problem} `validation_failed`. */
function validInput(schema: TObject, given: unknown): Record<string, unknown> {
  const input = Value.Default(schema, structuredClone(given));
  const errors = findFieldErrors(Value.Errors(schema, input), 'body');
  if (errors.length > 0) throw validationProblem(errors);
  return input as Record<string, unknown>;
}

/** Says that there are no other fields in the arguments and the result, and not of the objects in them. */
const publishedClosed = (schema: TSchema) => ({
  ...published(schema),
  type: 'object' as const,
  additionalProperties: false,
});

/** What a model has to know of a schema. Every other bound is told by the message of the problem. */
const PUBLISHED = [
  'type',
  'enum',
  'items',
  'properties',
  'required',
  'anyOf',
  'default',
  'description',
] as const;

/** Returns a schema as JSON Schema, with no more than `PUBLISHED`: a client sends it to its model with every request. */
function published(schema: TSchema): Record<string, unknown> {
  const entries = PUBLISHED.filter((key) => schema[key] !== undefined).map((key) => {
    const value = schema[key];
    if (key === 'properties')
      return [
        key,
        Object.fromEntries(
          Object.entries(value as TProperties).map(([name, one]) => [name, published(one)]),
        ),
      ];
    if (key === 'items') return [key, published(value)];
    return key === 'anyOf' ? [key, value.map(published)] : [key, value];
  });
  return Object.fromEntries(entries);
}
