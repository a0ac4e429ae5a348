/** Parts of the schemas of tools: those of the API, with the few words that a model needs. */
import { type TNull, type TProperties, type TSchema, type TUnion, Type } from '@sinclair/typebox';
import { AllTasksQuery, TaskWrite } from '../schemas/tasks.ts';
import { Id } from '../schemas/types/id.ts';
import { annotated } from '../schemas/types/kind.ts';
import { Text } from '../schemas/types/text.ts';
import { ExpectedVersion } from '../schemas/types/version.ts';

/** An object without other fields. */
export const closed = <T extends TProperties>(properties: T) =>
  Type.Object(properties, { additionalProperties: false });

/** Returns the schema with another description, as an argument that may be left out. */
export const optional = <T extends TSchema>(schema: T, description?: string) =>
  Type.Optional(annotated(schema, { description }));

/** Returns the value of a schema that also takes null. A tool takes no null: models send it for what they leave out. */
export const nonNull = <T extends TSchema>(schema: TUnion<[T, TNull]>): T => schema.anyOf[0];

/** Returns the schema as a string to its reader. */
export const asString = <T extends TSchema>(schema: T): T => ({
  ...schema,
  type: 'string',
  anyOf: undefined,
});

export const integer = (minimum: number, maximum: number) => Type.Integer({ minimum, maximum });

export const taskId = annotated(Id(''), { description: undefined });

/** The name or id of a project. The longest name has 120 characters. */
export const projectName = Text({ minLength: 1, maxLength: 120 });

/** `me`, a user name or an id, which is longer than any user name. */
export const person = Text({ minLength: 1, maxLength: 36 });

export const version = optional(ExpectedVersion({}), 'As read');

export const cursor = optional(AllTasksQuery.properties.cursor, 'next_cursor of the last answer');

const { title, description, status, priority, due_on, due_at, labels } = TaskWrite.properties;

/** What a task is made of. */
export const taskFields = {
  title,
  description: optional(nonNull(description)),
  status: optional(status),
  priority: optional(priority, '0 none to 4 urgent'),
  due_on: optional(nonNull(due_on), 'YYYY-MM-DD'),
  due_at: optional(nonNull(due_at), 'RFC 3339, instead of due_on'),
  assignee: optional(person, 'me, user name or id'),
  labels: optional(labels),
};

/** Tasks by id, each perhaps with the version that was read. */
export const taskRefs = Type.Array(closed({ id: taskId, version }), { minItems: 1, maxItems: 100 });
