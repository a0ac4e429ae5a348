/** How a route describes itself to the OpenAPI document, beyond what its schemas say. */
import type { TSchema } from '@sinclair/typebox';
import type { DocumentDecoration } from 'elysia';
import type { ProblemCode } from '../problem.ts';

export interface OperationNotes {
  /** Needs no Bearer token. */
  public?: true;
  /** The problems of its own; those that follow from its shape are added. */
  problems?: ProblemCode[];
  /** Media types of the body other than JSON. */
  also_accepts?: string[];
  /** The media type of its answers, where that is not JSON. */
  answers_as?: string;
  /** What else it answers with 200, by media type. */
  also_answers?: Record<string, TSchema>;
  /** Its body, where the handler reads it piece by piece and no schema can be asked. */
  streamed_body?: TSchema;
  /** Takes an API token as the password of HTTP Basic too. */
  takes_basic?: true;
}

/** A unique id, a line for the list of operations, and notes. */
export function operation(
  operationId: string,
  summary: string,
  { description, ...notes }: OperationNotes & { description?: string } = {},
): DocumentDecoration {
  return { operationId, summary, description, 'x-notes': notes } as DocumentDecoration;
}
