/** The messages of the Model Context Protocol over HTTP: JSON-RPC 2.0, one message a request. */
import { Kind, type Static, Type } from '@sinclair/typebox';
import { defineKind } from './types/kind.ts';
import { StrictObject } from './types/object.ts';
import { Text } from './types/text.ts';

const ID_LENGTH_MAX = 255;

defineKind('RpcId', (_, value) =>
  Number.isSafeInteger(value) || (typeof value === 'string' && value.length <= ID_LENGTH_MAX)
    ? undefined
    : {
        code: 'invalid_id',
        message: `must be a whole number, or a string of up to ${ID_LENGTH_MAX} characters`,
      },
);

const id = Type.Unsafe<string | number>({
  [Kind]: 'RpcId',
  anyOf: [{ type: 'string', maxLength: ID_LENGTH_MAX }, { type: 'integer' }],
  description: 'Names the request in its response. A notification has none.',
  examples: [1],
});

const jsonrpc = Type.Literal('2.0');

export const McpMessage = StrictObject(
  'McpMessage',
  {
    jsonrpc,
    id: Type.Optional(id),
    method: Text({
      minLength: 1,
      maxLength: 128,
      description: 'For example `tools/list` or `tools/call`.',
      examples: ['tools/list'],
    }),
    params: Type.Optional(
      Type.Object({}, { additionalProperties: true, description: 'What the method takes.' }),
    ),
  },
  'A request or a notification of JSON-RPC 2.0. A batch of messages is refused.',
);
export type McpMessage = Static<typeof McpMessage>;

const RpcError = Type.Object(
  {
    code: Type.Integer({ examples: [-32601] }),
    message: Type.String({ examples: ['Method not found'] }),
    data: Type.Optional(Type.Object({}, { additionalProperties: true })),
  },
  { description: 'What the protocol refuses. A problem of a tool is a result with `isError`.' },
);

/** The response to a request. */
export const McpResponse = StrictObject('McpResponse', {
  jsonrpc,
  id,
  result: Type.Optional(Type.Object({}, { additionalProperties: true, examples: [{ tools: [] }] })),
  error: Type.Optional(RpcError),
});

/** The response to a message that the protocol refuses. */
export const McpError = StrictObject('McpError', {
  jsonrpc,
  id: Type.Union([id, Type.Null()], { examples: [1] }),
  error: RpcError,
});
