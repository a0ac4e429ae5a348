/** The facts that a route adds to its schemas for the OpenAPI document. */
import type { TSchema } from '@sinclair/typebox';
import type { DocumentDecoration } from 'elysia';
import type { ProblemCode } from '../errors/problem.ts';

export interface OperationOptions {
  /** Needs no credentials. */
  public?: true;
  /** The problems of this operation. Those that follow from its shape are added. */
  problems?: ProblemCode[];
  /** Media types of the request body besides JSON. */
  alsoConsumes?: string[];
  /** The media type of its responses, if it is not JSON. */
  produces?: string;
  /** Schemas of other media types of the response, by media type. */
  alsoProduces?: Record<string, TSchema>;
  /** The schema of a body that the handler reads as a stream, without validation by Elysia. */
  streamedBody?: TSchema;
  /** Schemas of other media types of that body, by media type. */
  alsoStreams?: Record<string, TSchema>;
  /** Needs the scope `read` alone, whatever its method. */
  readScope?: true;
  /** Beyond a limit on requests, it returns its last response or 503. */
  servesPolls?: true;
  /** Also accepts an API token as the password of HTTP Basic. */
  basicAuth?: true;
}

/** @param summary as a user expects to read it in a list of operations: `Add a member`. */
export function operation(
  operationId: string,
  summary: string,
  { description, ...options }: OperationOptions & { description?: string } = {},
): DocumentDecoration {
  return { operationId, summary, description, 'x-mantou': options } as DocumentDecoration;
}
