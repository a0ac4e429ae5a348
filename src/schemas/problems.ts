import { Type } from '@sinclair/typebox';
import { catalogue, ERRORS_MAX, type ProblemCode } from '../errors/problem.ts';
import { Parameters, StrictObject } from './types/object.ts';
import { OneOf } from './types/one-of.ts';

const codes = Object.keys(catalogue) as ProblemCode[];
const code = OneOf(codes, {
  title: 'ProblemCode',
  description: 'Identifies the kind of problem. Codes are stable.',
  examples: ['validation_failed'],
});

/** An RFC 9457 problem: the body of every error response. */
export const ProblemDocument = StrictObject('Problem', {
  type: Type.String({
    description: 'The path that explains the code.',
    examples: ['/problems/validation_failed'],
  }),
  title: Type.String({ examples: ['Invalid request'] }),
  status: Type.Integer({ minimum: 400, maximum: 599, examples: [422] }),
  code,
  detail: Type.String({ examples: ['1 field is not valid'] }),
  request_id: Type.String({
    description: 'The `X-Request-Id` of this response, for finding it in the log.',
    examples: ['019ac0de-7a11-7c3e-9d2f-4b6a8c0e1f23'],
  }),
  errors: Type.Optional(
    Type.Array(
      Type.Object(
        {
          location: Type.String({ examples: ['body.title'] }),
          code: Type.String({ examples: ['too_long'] }),
          message: Type.String({ examples: ['at most 500 characters'] }),
        },
        { additionalProperties: false, description: 'A field that is not valid.' },
      ),
      { maxItems: ERRORS_MAX },
    ),
  ),
  version: Type.Optional(
    Type.Integer({
      minimum: 1,
      description:
        'The present version of the resource, for `precondition_failed`: in a batch, of the task that `errors` locates.',
      examples: [4],
    }),
  ),
  error: Type.Optional(
    Type.String({
      description: 'The OAuth2 error (RFC 6749 §5.2), for requests with the OAuth2 form.',
    }),
  ),
  error_description: Type.Optional(
    Type.String({
      description: 'The OAuth2 error (RFC 6749 §5.2), for requests with the OAuth2 form.',
    }),
  ),
});

export const ProblemExplanation = StrictObject('ProblemExplanation', {
  code,
  status: Type.Integer({ minimum: 400, maximum: 599, examples: [422] }),
  title: Type.String({ examples: ['Invalid request'] }),
  explanation: Type.String({ examples: ['`errors` lists each field that is not valid.'] }),
});

export const ProblemPath = Parameters({ code });
