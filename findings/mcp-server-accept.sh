#!/usr/bin/env bash
# RFC 9110 §8.3.1: the type and subtype of a media type are compared without regard to case. §12.5.1: `*/*` in Accept is every
# media type. The Model Context Protocol asks a client to accept both application/json and text/event-stream.
# @modelcontextprotocol/server looks for these names letter by letter when a request is of a version before 2026-07-28, so it
# answers 406 to `Application/JSON, Text/Event-Stream` and to `*/*`. The same package serves both headers to a request of
# 2026-07-28. A server that hands a request to it has to write `Accept` itself, and a client has to write both names in lower case.
# Prints the version and the status for each header and version of the protocol. Exits with 1 when that has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --save-exact @modelcontextprotocol/server@2.4.0

cat >check.mjs <<'SCRIPT'
import { readFileSync } from 'node:fs';
import { createMcpHandler, Server } from '@modelcontextprotocol/server';

const handler = createMcpHandler(() => {
  const server = new Server({ name: 'check', version: '1' }, { capabilities: { tools: {} } });
  server.setRequestHandler('tools/list', () => ({ tools: [] }));
  return server;
});
const META = 'io.modelcontextprotocol';
const version = '2026-07-28';
const eras = {
  '2025-11-25': { headers: {}, params: {} },
  [version]: {
    headers: { 'mcp-protocol-version': version, 'mcp-method': 'tools/list' },
    params: {
      _meta: {
        [`${META}/protocolVersion`]: version,
        [`${META}/clientInfo`]: { name: 'check', version: '1' },
        [`${META}/clientCapabilities`]: {},
      },
    },
  },
};

const file = new URL('node_modules/@modelcontextprotocol/server/package.json', import.meta.url);
console.log('@modelcontextprotocol/server', JSON.parse(readFileSync(file, 'utf8')).version);
const statuses = [];
for (const accept of ['application/json, text/event-stream', 'Application/JSON, Text/Event-Stream', '*/*'])
  for (const [era, { headers, params }] of Object.entries(eras)) {
    const request = new Request('http://localhost/mcp', {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept, ...headers },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list', params }),
    });
    const { status } = await handler.fetch(request);
    statuses.push(status);
    console.log(' ', era, accept, status);
  }

const same = statuses.join() === '200,200,406,200,406,200';
if (!same) console.log('changed: it was 200 200, 406 200, 406 200');
process.exit(same ? 0 : 1);
SCRIPT
node check.mjs
