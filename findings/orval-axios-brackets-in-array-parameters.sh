#!/usr/bin/env bash
# OpenAPI 3.1, "Style Values": an array in the query has the style `form` with `explode: true` unless the document says
# otherwise, so `status` with two values is sent as `status=todo&status=done`. orval's default client (axios) passes the
# array to axios, whose own default adds brackets to the name, and the generated code sets no serializer. So the server gets
# a parameter `status[]`, which the document does not have. orval's `fetch` client writes the same document's array without
# brackets. A server that is strict about unknown parameters has to take both names, or its users have to set
# `paramsSerializer: { indexes: null }`.
# Prints the versions and the query that each client sends. Exits with 1 when that has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --save-exact orval@8.38.0 axios@1.13.2 esbuild@0.25.12

cat >openapi.json <<'JSON'
{
  "openapi": "3.1.0",
  "info": { "title": "Tasks", "version": "1" },
  "paths": {
    "/tasks": {
      "get": {
        "operationId": "listTasks",
        "parameters": [
          { "name": "status", "in": "query", "schema": { "type": "array", "items": { "type": "string" } } }
        ],
        "responses": { "200": { "description": "OK", "content": { "application/json": { "schema": { "type": "object" } } } } }
      }
    }
  }
}
JSON
for client in axios fetch; do
  npx orval --input ./openapi.json --output "./$client.ts" --client "$client" >/dev/null 2>&1
  npx esbuild "$client.ts" --format=cjs --platform=node --bundle --outfile="$client.cjs" --log-level=error
done

cat >check.cjs <<'SCRIPT'
const { createServer } = require('node:http');
const version = (name) => require(`./node_modules/${name}/package.json`).version;

const seen = [];
const server = createServer((request, response) => {
  seen.push(decodeURIComponent(request.url.split('?')[1] ?? ''));
  response.setHeader('content-type', 'application/json');
  response.end('{}');
});
server.listen(0, '127.0.0.1', async () => {
  const origin = `http://127.0.0.1:${server.address().port}`;
  const ofAxios = require('./axios.cjs');
  const list = ofAxios.listTasks ?? Object.values(ofAxios).find((one) => typeof one === 'function')().listTasks;
  await list({ status: ['todo', 'done'] }, { baseURL: origin });
  const send = globalThis.fetch;
  globalThis.fetch = (url, options) => send(new URL(url, origin), options);
  await require('./fetch.cjs').listTasks({ status: ['todo', 'done'] });
  server.close();
  server.closeAllConnections();

  console.log('orval', version('orval'), 'axios', version('axios'));
  console.log('  axios:', seen[0]);
  console.log('  fetch:', seen[1]);
  const same = seen[0] === 'status[]=todo&status[]=done' && seen[1] === 'status=todo&status=done';
  if (!same) console.log('changed: it was status[]=todo&status[]=done and status=todo&status=done');
  process.exit(same ? 0 : 1);
});
SCRIPT
node check.cjs
