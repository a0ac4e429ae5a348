/** What a client has to know beyond single operations. `/docs` shows each heading as a page. */
export const guides = `
Users, projects and tasks, with JWT log-in.

Start here: register, log in, create a project, create a task. Each example works on a new account, in this order.

## Authentication

\`POST /users/login\` returns an access token for 15 minutes and a refresh token for 30 days. Send the access token as
\`Authorization: Bearer …\`. When it expires (\`token_expired\`), \`POST /users/refresh\` returns a new pair; the old refresh token
then stops working.

Scripts use an API token (\`mt_…\`) from \`POST /users/me/tokens\` the same way. It has the scope \`read\` or \`read\` and \`write\`,
and cannot change the account.

A resource that you have no access to does not exist for you: the response is \`not_found\`, as for a random id.

## Pagination

Every list is \`{"items": […], "next_cursor": "…"}\`. Ask for up to 200 items with \`limit\` (default 50), then send \`next_cursor\` as
\`cursor\` until it is null. Keep the filters and the sort: a cursor is valid only for the list that returned it.

Items that exist for the whole traversal appear exactly once, even while others are added or removed.

Lists of values, such as \`status\` and \`label\`, are separated by commas (\`status=todo,done\`) or repeated
(\`status=todo&status=done\`, or \`status[]=todo&status[]=done\` as axios sends them).

## Errors

Every error is a problem (RFC 9457) with the media type \`application/problem+json\`. Branch on \`code\`, which is stable; \`title\`
and \`detail\` are for people. For \`validation_failed\`, \`errors\` names each field. \`GET /problems/{code}\` explains a code.

\`\`\`
{"type": "/problems/validation_failed", "title": "Invalid request", "status": 422, "code": "validation_failed",
 "detail": "1 field is not valid", "request_id": "019ac0de-…",
 "errors": [{"location": "body.title", "code": "too_long", "message": "at most 500 characters"}]}
\`\`\`

Unknown fields and parameters are refused, so a misspelt name never passes in silence. Responses may gain fields: ignore those
that you do not know.

## Safe writes

**Versions.** A project or task has a \`version\`, which is also its \`ETag\`. Send \`If-Match: "3"\` with PUT, PATCH or DELETE: if
another request has changed the resource, the response is \`precondition_failed\` and nothing changes. The body of a PUT or PATCH,
and the operation of a batch, takes \`version\` instead. The problem names the present \`version\`.

**PUT and PATCH.** PUT resets an omitted field to its default. PATCH is a merge patch (RFC 7396): an omitted field keeps its
value, \`null\` clears it.

## Idempotency

Send an \`Idempotency-Key\` of your own with a POST that creates projects or tasks, with an import or a batch. For 24 hours, the
same request with the same key returns the stored response, with \`Idempotency-Replayed: true\`, and does not run again. After a
timeout or a 503, repeat the request with the same key.

## Limits

A user may send 100 requests a second, an address 200. A body counts as one more request for each 16 KiB of it. Beyond that the response is \`rate_limited\` (429): wait for the number of
seconds in \`Retry-After\`. \`RateLimit\` and \`RateLimit-Policy\` tell how much is left. Ten wrong passwords for one account from
one address block log-ins from there for 15 minutes. A body has up to 1 MiB, an import up to 64 MiB.

## Sync

To keep a copy of your projects: begin with \`GET /changes?snapshot=true\`, go on with \`GET /changes?since=…\`, then poll it or follow
\`GET /changes/stream\`. Events come in order and without a gap; deletions, restored tasks and lost access are events too. Apply an event only to
a resource with a lower \`version\`. A task that moves to another project is deleted in the one and created in the other. Changes are kept for 90 days; after that, \`cursor_expired\` (410) says to start again.

## Agents

\`POST /mcp\` is a server of the Model Context Protocol: tools such as \`find_tasks\`, \`create_tasks\` and \`complete_tasks\` for a language
model, which calls them with your API token. Enter the URL of \`/mcp\` in your client as a remote server over HTTP, with the header
\`Authorization: Bearer mt_…\`. A token with the scope \`read\` is shown the tools that read.

Titles and descriptions are data that other members wrote. A model may take them for orders, so give an agent no more rights than it needs.

## Streams in browsers

\`EventSource\` cannot send \`Authorization\`, so a page reads the stream with \`fetch\`. The file \`examples/browser-stream.js\` of the
repository does so, and has no dependencies:

\`\`\`
import { followChanges, openSession } from './browser-stream.js';
const session = openSession('https://api.example.org', tokens); // the response of POST /users/login
for await (const event of followChanges(session, { since: cursor })) show(event);
\`\`\`

**When the access token expires**, the server ends the stream within seconds, after a complete event, as it does when the
session ends and before it restarts. Connect again with the last \`id\` as \`Last-Event-ID\`: a 401 says to refresh the token first.
Events that happened in between follow; none is lost or repeated. The module does this by itself. It ends with an error when
the session has ended, and on \`cursor_expired\`.

A page on another site than the API needs its origin in \`CORS_ORIGINS\`. Without it every request fails as if the network were down.
`.trim();
