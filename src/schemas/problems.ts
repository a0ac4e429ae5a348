import { Type } from '@sinclair/typebox';
import { catalogue, type ProblemCode } from '../problem.ts';
import { OneOf, Parameters, StrictObject } from './common.ts';

const codes = Object.keys(catalogue) as ProblemCode[];
const code = OneOf(codes, {
  description: 'What went wrong, for programs. Codes are stable.',
  examples: ['validation_failed'],
});

/** RFC 9457, the only form of an error here. */
export const ProblemDocument = StrictObject('Problem', {
  type: Type.String({
    description: 'The path of a page that explains the code.',
    examples: ['/problems/validation_failed'],
  }),
  title: Type.String({ examples: ['The request is not valid'] }),
  status: Type.Integer({ minimum: 400, maximum: 599, examples: [422] }),
  code,
  detail: Type.String({ examples: ['1 field needs attention'] }),
  request_id: Type.String({
    description: 'The `X-Request-Id` of this answer, for the log.',
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
        { additionalProperties: false, description: 'A field that needs attention.' },
      ),
    ),
  ),
  error: Type.Optional(Type.String({ description: 'RFC 6749 §5.2, on the OAuth2 form.' })),
  error_description: Type.Optional(
    Type.String({ description: 'RFC 6749 §5.2, on the OAuth2 form.' }),
  ),
});

export const ProblemExplanation = StrictObject('ProblemExplanation', {
  code,
  status: Type.Integer({ minimum: 400, maximum: 599, examples: [422] }),
  title: Type.String({ examples: ['The request is not valid'] }),
  explanation: Type.String({ examples: ['`errors` lists each field that needs attention.'] }),
});

export const ProblemPath = Parameters({ code });
