/** The official client of the Model Context Protocol, in each era of the protocol. */
import { Client as McpClient, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import type { Api, Persona } from './api.ts';

/** The version that a client speaks, and how the official client is told to. */
export const eras = { '2025-11-25': 'legacy', '2026-07-28': 'auto' } as const;
export type Era = keyof typeof eras;

/** Creates an API token. */
export async function apiToken(
  person: Persona,
  scopes: ('read' | 'write')[] = ['read', 'write'],
  name = 'planner',
): Promise<{ id: string; token: string }> {
  return (await person.post('/users/me/tokens', { name, scopes })).body;
}

// biome-ignore lint/suspicious/noExplicitAny: tests look into results freely; the client holds them against the schema of the tool.
type Json = any;

/** A connected client. */
export class Agent {
  private constructor(readonly client: McpClient) {}

  static async connect(api: Api, token: string, era: Era = '2026-07-28'): Promise<Agent> {
    const client = new McpClient(
      { name: 'test', version: '1.0.0' },
      { versionNegotiation: { mode: eras[era] } },
    );
    const transport = new StreamableHTTPClientTransport(new URL('/mcp', api.url), {
      requestInit: { headers: { authorization: `Bearer ${token}` } },
      // Read anew for each request: the edge replaces it.
      fetch: (url, options) => fetch(url, options),
    });
    await client.connect(transport);
    return new Agent(client);
  }

  /** Calls a tool. @returns its structured content. @throws when the result is a problem. */
  async call(name: string, args: object = {}): Promise<Json> {
    const result = await this.raw(name, args);
    if (result.isError) throw new Error(`${name}: ${result.text}`);
    return result.data;
  }

  /** Calls a tool. @returns the problem. @throws when the result is none. */
  async problem(name: string, args: object = {}): Promise<Json> {
    const { isError, text } = await this.raw(name, args);
    if (!isError) throw new Error(`${name} succeeded: ${text}`);
    return JSON.parse(text);
  }

  async raw(name: string, args: object = {}) {
    const result: Json = await this.client.callTool({ name, arguments: args as Json });
    const [content] = result.content;
    return {
      isError: result.isError === true,
      text: content.text as string,
      data: result.structuredContent,
    };
  }

  /** Returns the text of a document. */
  async read(uri: string): Promise<string> {
    const { contents } = await this.client.readResource({ uri });
    const [content] = contents;
    if (content?.mimeType !== 'text/markdown' || !('text' in content))
      throw new Error(`${uri} is no Markdown`);
    return content.text;
  }

  close = () => this.client.close();
}

const META = 'io.modelcontextprotocol';

/** Returns the body and headers of a request as a client of the latest version sends it. */
export const modernRequest = (method: string, params: object = {}, version = '2026-07-28') => ({
  headers: {
    'mcp-protocol-version': version,
    'mcp-method': method,
    ...('name' in params && { 'mcp-name': String(params.name) }),
  },
  body: {
    jsonrpc: '2.0',
    id: 1,
    method,
    params: {
      ...params,
      _meta: {
        [`${META}/protocolVersion`]: version,
        [`${META}/clientInfo`]: { name: 'test', version: '1.0.0' },
        [`${META}/clientCapabilities`]: {},
      },
    },
  },
});
