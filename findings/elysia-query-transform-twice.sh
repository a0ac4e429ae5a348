#!/usr/bin/env bash
# A TypeBox Transform in the schema of a query decodes each value twice where Elysia compiles the route (`aot`, its default): the
# handler calls `Decode` on the query, and again on what that returned. A Transform that leaves its own result as it is, such as Number,
# hides it; with any other, the handler gets a wrong value. In a body the Transform runs once, and so it does in a query without `aot`.
# A schema of a query that needs a Transform has to accept its result, too, or a hook converts the value before it is validated.
# Prints the version and what the handlers got. Exits with 1 when that has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --save-exact elysia@1.4.30 @sinclair/typebox@0.34.52 bun@1.4.5

cat >check.ts <<'SCRIPT'
import { Elysia, t } from 'elysia';

const { version } = await import('elysia/package.json');
const exclaimed = t.Transform(t.String()).Decode((text) => `${text}!`).Encode((text) => text.slice(0, -1));
const fields = t.Object({ word: exclaimed });

async function wordsOf(aot: boolean) {
  const app = new Elysia({ aot })
    .get('/', ({ query }) => query.word, { query: fields })
    .post('/', ({ body }) => body.word, { body: fields });
  const asked = await app.handle(new Request('http://localhost/?word=hey'));
  const sent = await app.handle(
    new Request('http://localhost/', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"word":"hey"}',
    }),
  );
  return `query ${await asked.text()}, body ${await sent.text()}`;
}

const [compiled, interpreted] = [await wordsOf(true), await wordsOf(false)];
console.log('elysia', version);
console.log('aot:', compiled);
console.log('without aot:', interpreted);
const same = compiled === 'query hey!!, body hey!' && interpreted === 'query hey!, body hey!';
if (!same) console.log('changed: only the compiled route decoded the query twice');
process.exit(same ? 0 : 1);
SCRIPT
npx bun check.ts
