/** `bun run doctor`: looks for what would go wrong in production, and names the cure. It changes nothing. */
import { stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { SQL } from 'bun';
import { entries } from '../../drizzle/meta/_journal.json';
import { CannotStart } from '../cannot-start.ts';
import { explainFailure, openConnection } from '../db/connection.ts';
import { findLatestMigration } from '../db/migrate.ts';
import { allTables } from '../db/tables.ts';
import { readSettings, type Settings } from '../settings.ts';
import { runCommand, usingDatabase } from './command.ts';

const usage = `bun run doctor

Checks the settings, the secrets, the database, the clock, the disk and what a proxy needs, and names the cure for each
finding. It starts the embedded PostgreSQL where DATABASE_URL is unset and nobody has, and changes nothing.
The exit code is 0 without findings, 1 with some.`;

const POSTGRES_VERSION_MIN = 15;
/** Tokens allow 30 s; times of tasks and sessions are of the database, times of tokens of this machine. */
const CLOCK_DIFFERENCE_SECONDS_MAX = 5;
const DISK_FREE_GIB_MIN = 1;
const DISK_FREE_PERCENT_MIN = 5;
/** Random bytes have more of them: 32 in hexadecimal, all 16 but once in fifty times, and never fewer than 12. */
const SECRET_DISTINCT_CHARACTERS_MIN = 12;
const GIB = 1024 ** 3;

/** What is wrong and what to do about it; nothing where all is well. */
type Findings = string[];

await runCommand({ usage, arguments: 0 }, process.argv.slice(2), async () => {
  const settings = readSettings(process.env);
  const results: [string, Findings][] = [
    ['secrets', await checkSecrets(settings)],
    ['network', checkNetwork(settings)],
    ...(await checkDatabase(settings)),
    ['disk', await checkDisk(settings)],
  ];
  for (const [subject, findings] of results) {
    if (findings.length === 0) console.log(`ok    ${subject}`);
    for (const finding of findings) console.log(`FIX   ${subject}: ${finding}`);
  }
  return results.some(([, findings]) => findings.length > 0) ? 1 : 0;
});

// --- Settings --------------------------------------------------------------------------------------------------

async function checkSecrets(settings: Settings): Promise<Findings> {
  const { jwt_secret, jwt_secret_previous, production, database_url, data_dir } = settings;
  const findings: Findings = [];
  if (jwt_secret === undefined && production)
    findings.push('JWT_SECRET must be set in production: make one with "openssl rand -base64 48"');
  if (jwt_secret === undefined && !production && database_url !== undefined)
    findings.push(
      `JWT_SECRET is not set, so each machine makes one of its own in ${data_dir}, and servers beside this one refuse its tokens: set the same for all`,
    );
  for (const [name, secret] of Object.entries({
    JWT_SECRET: jwt_secret,
    JWT_SECRET_PREVIOUS: jwt_secret_previous,
  }))
    if (secret !== undefined && isGuessable(secret))
      findings.push(
        `${name} looks like words or a pattern: make one with "openssl rand -base64 48"`,
      );
  if (jwt_secret !== undefined && jwt_secret === jwt_secret_previous)
    findings.push('JWT_SECRET_PREVIOUS is the same as JWT_SECRET: take it away');
  for (const name of ['jwt-secret', 'postgres-password']) {
    const file = join(data_dir, name);
    const found = await stat(file).catch(() => undefined);
    if (found && (found.mode & 0o077) !== 0)
      findings.push(`${file} can be read by others: chmod 600 ${file}`);
  }
  return findings;
}

/** Words of a manual, or too few different characters. That a secret looks random does not say that it is. */
function isGuessable(secret: string): boolean {
  return (
    new Set(secret).size < SECRET_DISTINCT_CHARACTERS_MIN ||
    /secret|change.?me|example|password|mantou/i.test(secret)
  );
}

function checkNetwork({
  host,
  trusted_proxies,
  rate_limit,
  production,
  cors_origins,
}: Settings): Findings {
  const findings: Findings = [];
  if (!/^(127\.|::1$|localhost$)/.test(host) && trusted_proxies === 0)
    findings.push(
      `HOST=${host} is open to other machines and TRUST_PROXY is 0. Behind a proxy all clients share the limits of one address: set TRUST_PROXY to the number of proxies. Without one passwords travel in clear: put a proxy with TLS before it`,
    );
  if (!rate_limit) findings.push('RATE_LIMIT is off, so passwords can be guessed: turn it on');
  for (const origin of cors_origins)
    if (production && origin.startsWith('http://'))
      findings.push(
        `CORS_ORIGINS names ${origin}, whose pages anybody on the way can change: use https`,
      );
  return findings;
}

async function checkDisk({ database_url, data_dir }: Settings): Promise<Findings> {
  const disk = await statfs(data_dir).catch(() => undefined);
  // Where the database is elsewhere nothing is kept here.
  if (!disk) return [];
  const free_gib = (disk.bavail * disk.bsize) / GIB;
  const free_percent = (disk.bavail / disk.blocks) * 100;
  const needed =
    database_url === undefined &&
    (free_gib < DISK_FREE_GIB_MIN || free_percent < DISK_FREE_PERCENT_MIN);
  return needed
    ? [
        `${free_gib.toFixed(1)} GiB (${free_percent.toFixed(0)} %) are free for DATA_DIR=${data_dir}: a full disk stops all writes. Free some, or move it to a larger disk`,
      ]
    : [];
}

// --- The database ----------------------------------------------------------------------------------------------

async function checkDatabase(settings: Settings): Promise<[string, Findings][]> {
  try {
    return await usingDatabase(settings, async (url) => {
      const client = openConnection(url, 'doctor');
      try {
        return [
          ['database', await checkServer(client, settings)],
          ['privileges', await checkPrivileges(client)],
          ['migrations', await checkMigrations(client)],
          ['clock', await checkClock(client)],
        ];
      } catch (error) {
        throw new CannotStart(explainFailure(error, url, 'examined'));
      } finally {
        await client.close({ timeout: 0 });
      }
    });
  } catch (error) {
    // Whatever it is, the other findings may explain it.
    return [['database', [(error as Error).message]]];
  }
}

async function checkServer(
  client: SQL,
  { database_pool_size, workers }: Settings,
): Promise<Findings> {
  const [server] = await client`
    select current_setting('server_version') as version, current_setting('server_version_num')::int as number,
      pg_encoding_to_char(encoding) as encoding, pg_is_in_recovery() as standby,
      current_setting('default_transaction_read_only')::bool as read_only,
      current_setting('fsync')::bool and current_setting('full_page_writes')::bool
        and current_setting('synchronous_commit') <> 'off' as durable,
      current_setting('max_connections')::int as connections
    from pg_database where datname = current_database()`;
  const findings: Findings = [];
  if (server.number < POSTGRES_VERSION_MIN * 10_000)
    findings.push(
      `PostgreSQL ${server.version} is too old: upgrade it to ${POSTGRES_VERSION_MIN} or later`,
    );
  if (server.encoding !== 'UTF8')
    findings.push(
      `the database's encoding is ${server.encoding}: create one with encoding 'UTF8', and restore a backup there`,
    );
  if (server.standby || server.read_only)
    findings.push('the database only reads: name the primary server in DATABASE_URL');
  if (!server.durable)
    findings.push(
      'a crash of the server can lose acknowledged writes: set fsync, full_page_writes and synchronous_commit to on',
    );
  // While they are replaced there is one more.
  const processes = workers === 1 ? 1 : workers + 1;
  const wanted = database_pool_size * processes;
  if (wanted >= server.connections)
    findings.push(
      workers === 1
        ? `DATABASE_POOL_SIZE=${database_pool_size} wants all ${server.connections} connections of the server: lower it, or raise max_connections, and count every process`
        : `DATABASE_POOL_SIZE=${database_pool_size} for WORKERS=${workers}, and for one that replaces another, wants ${wanted} connections, and the server has ${server.connections}: lower one, or raise max_connections`,
    );
  return findings;
}

async function checkPrivileges(client: SQL): Promise<Findings> {
  const findings: Findings = [];
  const [may] = await client`
    select has_schema_privilege(current_schema(), 'CREATE') and has_database_privilege(current_database(), 'CREATE') as create,
      quote_ident(current_user) as user, quote_ident(current_database()) as database`;
  if (!may.create)
    findings.push(
      `the user may not create tables, so migrations fail: grant create on database ${may.database} to ${may.user}; grant create on schema public to ${may.user}`,
    );
  for (const { name } of allTables()) {
    const [table] = await client`
      select bool_and(has_table_privilege(to_regclass(${name}), privilege)) as granted
      from unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE']) privilege where to_regclass(${name}) is not null`;
    if (table.granted === false)
      findings.push(
        `the user may not read and write ${name}: grant select, insert, update, delete on ${name} to ${may.user}`,
      );
  }
  return findings;
}

async function checkMigrations(client: SQL): Promise<Findings> {
  const latest = (await findLatestMigration(client)) ?? 0;
  const pending = entries.filter(({ when }) => when > latest);
  if (pending.length > 0)
    return [
      `${pending.length} of ${entries.length} are pending: run "bun run migrate", or start the server`,
    ];
  if (latest > (entries.at(-1)?.when ?? 0))
    return ['the database is of a later version than this program: run that version'];
  return [];
}

async function checkClock(client: SQL): Promise<Findings> {
  const before = Date.now();
  const [row] = await client`select extract(epoch from clock_timestamp())::float8 * 1000 as now_ms`;
  const after = Date.now();
  // The answer is of some instant between the two.
  const difference_ms = Math.max(before - row.now_ms, row.now_ms - after, 0);
  return difference_ms / 1000 > CLOCK_DIFFERENCE_SECONDS_MAX
    ? [
        `this machine and the database differ by ${(difference_ms / 1000).toFixed(0)} s: keep both by NTP (timedatectl set-ntp true)`,
      ]
    : [];
}
