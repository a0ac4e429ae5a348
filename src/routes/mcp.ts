import { Elysia } from 'elysia';
import { publicUrl } from '../http/public-url.ts';
import { requestState } from '../http/request-state.ts';
import { answerMcp } from '../mcp/endpoint.ts';
import { operation } from '../openapi/operation.ts';
import type { Platform } from '../platform.ts';
import { assertScope } from '../plugins/current-user.ts';
import { noteProblem } from '../plugins/error-handler.ts';
import type { AgentRoutes } from '../plugins/route-groups.ts';
import { McpError, McpMessage, McpResponse } from '../schemas/mcp.ts';
import { Nothing } from '../schemas/types/object.ts';

export const mcp = (platform: Platform, group: AgentRoutes) => {
  const { database: db, settings } = platform;
  return new Elysia({ tags: ['MCP'] }).use(group).post(
    '/mcp',
    ({ request, set, body, user, authenticate }) => {
      const state = requestState(request);
      const caller = {
        db,
        user,
        eventsRetentionSeconds: settings.eventsRetentionSeconds,
        authenticate,
        requireWriteScope: () => assertScope('write', user),
        noteWrite: () => {
          state.hasWritten = true;
        },
        noteTool: (name: string) => {
          state.tool = name;
        },
        problemOf: (error: unknown) => noteProblem(platform, { request, set }, error),
        urlOf: (path: string) => publicUrl(platform, path),
      };
      return answerMcp(caller, request.headers, body);
    },
    {
      body: McpMessage,
      response: { 200: McpResponse, 202: Nothing, 400: McpError, 404: McpError },
      detail: operation('callMcp', 'Send a message of the Model Context Protocol', {
        description:
          'For agents. `tools/list` returns the tools that the token may call, and `tools/call` calls one; the guide "Agents" names the rest. A token with the scope `read` reads. A request whose `Origin` is another site is refused, unless `CORS_ORIGINS` names it.',
        problems: ['forbidden'],
        readScope: true,
      }),
    },
  );
};
