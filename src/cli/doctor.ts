/** `bun run doctor`: looks for what would go wrong in production, and names the cure. It changes nothing. */
import { stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { SQL } from 'bun';
import { entries } from '../../drizzle/meta/_journal.json';
import { loadSettings } from '../environment.ts';
import { StartupError } from '../errors/startup-error.ts';
import { describeError } from '../lib/describe-error.ts';
import { explainFailure, openConnection } from '../postgres/connection.ts';
import { findLacking } from '../postgres/engine.ts';
import { findFailingHosts, findStandby, nameSetting } from '../postgres/hosts.ts';
import { findLatestMigration } from '../postgres/migrate.ts';
import { isTransactionPooler, PREPARED_BEHIND_POOLER } from '../postgres/pooler.ts';
import { allTables } from '../postgres/tables.ts';
import type { Settings } from '../settings.ts';
import { runCommand, withConnection } from './command.ts';

const usage = `bun run doctor

Checks the settings, the secrets, the database, the clock, the disk and what a proxy needs, and names the cure for each
finding. It starts the embedded PostgreSQL where DATABASE_URL is unset and it does not run, and changes nothing.
The exit code is 0 without findings, 1 with some.`;

const POSTGRES_VERSION_MIN = 15;
/** The database's clock sets the times of tasks and sessions, this machine's those of tokens, which allow 30 s. */
const CLOCK_DIFFERENCE_SECONDS_MAX = 5;
const DISK_FREE_GIB_MIN = 1;
const DISK_FREE_PERCENT_MIN = 5;
/** 32 random bytes in hexadecimal have all 16 characters in 49 of 50 cases, and practically never fewer than 12. */
const SECRET_DISTINCT_CHARACTERS_MIN = 12;
const GIB = 1024 ** 3;
const REPLICA = 'DATABASE_REPLICA_URL';

/** Each finding says what is wrong and how to fix it. */
type Findings = string[];

await runCommand({ usage, arguments: 0 }, process.argv.slice(2), async () => {
  const settings = loadSettings();
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
  const { jwtSecret, jwtSecretPrevious, production, databaseUrl, dataDir } = settings;
  const findings: Findings = [];
  if (jwtSecret === undefined && production)
    findings.push('JWT_SECRET must be set in production: make one with "openssl rand -base64 48"');
  if (jwtSecret === undefined && !production && databaseUrl !== undefined)
    findings.push(
      `JWT_SECRET is not set, so each machine makes one of its own in ${dataDir}, and servers beside this one refuse its tokens: set the same for all`,
    );
  for (const [name, secret] of Object.entries({
    JWT_SECRET: jwtSecret,
    JWT_SECRET_PREVIOUS: jwtSecretPrevious,
  }))
    if (secret !== undefined && isGuessable(secret))
      findings.push(
        `${name} looks like words or a pattern: make one with "openssl rand -base64 48"`,
      );
  if (jwtSecret !== undefined && jwtSecret === jwtSecretPrevious)
    findings.push('JWT_SECRET_PREVIOUS is the same as JWT_SECRET: take it away');
  for (const name of ['jwt-secret', 'postgres-password']) {
    const file = join(dataDir, name);
    const found = await stat(file).catch(() => undefined);
    if (found && (found.mode & 0o077) !== 0)
      findings.push(`${file} can be read by others: chmod 600 ${file}`);
  }
  return findings;
}

/** Returns whether a secret is a word of a manual, or has too few different characters. */
function isGuessable(secret: string): boolean {
  return (
    new Set(secret).size < SECRET_DISTINCT_CHARACTERS_MIN ||
    /secret|change.?me|example|password|mantou/i.test(secret)
  );
}

function checkNetwork({
  host,
  trustedProxies,
  rateLimit,
  production,
  corsOrigins,
}: Settings): Findings {
  const findings: Findings = [];
  if (!/^(127\.|::1$|localhost$)/.test(host) && trustedProxies === 0)
    findings.push(
      `HOST=${host} is open to other machines and TRUST_PROXY is 0. Behind a proxy all clients share the limits of one address: set TRUST_PROXY to the number of proxies. Without one passwords travel in clear: put a proxy with TLS before it`,
    );
  if (!rateLimit) findings.push('RATE_LIMIT is off, so passwords can be guessed: turn it on');
  for (const origin of corsOrigins)
    if (production && origin.startsWith('http://'))
      findings.push(
        `CORS_ORIGINS names ${origin}, whose pages can be changed on the way: use https`,
      );
  return findings;
}

async function checkDisk({ databaseUrl, dataDir }: Settings): Promise<Findings> {
  const disk = await statfs(dataDir).catch(() => undefined);
  // With DATABASE_URL, the data folder holds no database.
  if (!disk) return [];
  const freeGib = (disk.bavail * disk.bsize) / GIB;
  const freePercent = (disk.bavail / disk.blocks) * 100;
  const needed =
    databaseUrl === undefined &&
    (freeGib < DISK_FREE_GIB_MIN || freePercent < DISK_FREE_PERCENT_MIN);
  return needed
    ? [
        `${freeGib.toFixed(1)} GiB (${freePercent.toFixed(0)} %) are free for DATA_DIR=${dataDir}: a full disk stops all writes. Free some, or move it to a larger disk`,
      ]
    : [];
}

// --- The database ----------------------------------------------------------------------------------------------

async function checkDatabase(settings: Settings): Promise<[string, Findings][]> {
  try {
    return await withConnection(settings, async (url, pooledUrl) => {
      const client = openConnection(url, 'doctor');
      try {
        return [
          [
            'database',
            [
              ...(await checkServer(client, settings)),
              ...(await checkEngine(url)),
              ...(await checkPooler(settings, pooledUrl)),
              ...(await checkHosts(settings)),
            ],
          ],
          ...(await checkReplica(settings)),
          ['privileges', await checkPrivileges(client)],
          ['migrations', await checkMigrations(client)],
          ['clock', await checkClock(client)],
          ...(await checkWebhooks(client)),
        ];
      } catch (error) {
        throw new StartupError(await explainFailure(error, url, 'examined'));
      } finally {
        await client.close({ timeout: 0 });
      }
    });
  } catch (error) {
    // The other findings may explain the failure.
    const reason =
      error instanceof StartupError ? error.message : JSON.stringify(describeError(error));
    return [['database', [reason]]];
  }
}

/** Returns the webhooks that fail; none where the migrations have not yet created their tables. */
async function checkWebhooks(client: SQL): Promise<[string, Findings][]> {
  const [table] = await client`select to_regclass('webhooks') as name`;
  if (table.name === null) return [];
  const [webhooks] = await client`
    select count(*) filter (where state = 'disabled')::int as disabled,
      count(*) filter (where state = 'active' and failing_since < now() - interval '1 day')::int as failing
    from webhooks`;
  const findings: Findings = [];
  if (webhooks.disabled > 0)
    findings.push(
      `${webhooks.disabled} are disabled: their receivers were gone or failed for days. Their owners set them active once those are back`,
    );
  if (webhooks.failing > 0)
    findings.push(`${webhooks.failing} have failed for a day or longer: tell their owners`);
  return findings.length > 0 ? [['webhooks', findings]] : [];
}

async function checkServer(
  client: SQL,
  { databasePoolSize, workers }: Settings,
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
  // A replacement runs one more worker for a while.
  const processes = workers === 1 ? 1 : workers + 1;
  const wanted = databasePoolSize * processes;
  if (wanted >= server.connections)
    findings.push(
      workers === 1
        ? `DATABASE_POOL_SIZE=${databasePoolSize} wants all ${server.connections} connections of the server: lower it, or raise max_connections, and count every process`
        : `DATABASE_POOL_SIZE=${databasePoolSize} for WORKERS=${workers}, and for one that replaces another, wants ${wanted} connections, and the server has ${server.connections}: lower one, or raise max_connections`,
    );
  return findings;
}

async function checkEngine(url: string): Promise<Findings> {
  const lacks = await findLacking(url);
  return lacks.map(
    (lack) => `on this engine ${lack}, so writes can be lost or doubled: use PostgreSQL`,
  );
}

/** Returns the hosts that do not answer. The API serves while the primary does, and cannot move to these. */
async function checkHosts({ databaseUrl, databaseSessionUrl }: Settings): Promise<Findings> {
  const urls = [databaseUrl, databaseSessionUrl].filter((url) => url !== undefined);
  return (await Promise.all(urls.map(findFailingHosts))).flat();
}

/** Returns no findings where no replica is set. */
async function checkReplica({ databaseReplicaUrl }: Settings): Promise<[string, Findings][]> {
  if (databaseReplicaUrl === undefined) return [];
  const findings = await findFailingHosts(databaseReplicaUrl);
  try {
    const url = await findStandby(databaseReplicaUrl, REPLICA);
    const client = openConnection(url, 'doctor');
    try {
      const [row] = await client`select pg_is_in_recovery() as standby`;
      if (!row.standby) findings.push(`${REPLICA} leads to no standby: name one, or unset it`);
    } catch (error) {
      findings.push(nameSetting(await explainFailure(error, url, 'read'), REPLICA));
    } finally {
      await client.close({ timeout: 0 });
    }
  } catch (error) {
    if (!(error instanceof StartupError)) throw error;
    findings.push(error.message);
  }
  return [['replica', findings]];
}

async function checkPooler(settings: Settings, pooledUrl: string): Promise<Findings> {
  const { databaseUrl, databaseSessionUrl, databasePrepare } = settings;
  if (databaseUrl === undefined || !(await isTransactionPooler(pooledUrl))) return [];
  if (databasePrepare) return [PREPARED_BEHIND_POOLER];
  return databaseSessionUrl === undefined
    ? [
        'DATABASE_URL leads to a pooler in transaction mode, where notifications do not arrive and change streams poll: set DATABASE_SESSION_URL to the server itself',
      ]
    : [];
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
  // The database read its clock at an instant between the two.
  const differenceMs = Math.max(before - row.now_ms, row.now_ms - after, 0);
  return differenceMs / 1000 > CLOCK_DIFFERENCE_SECONDS_MAX
    ? [
        `this machine and the database differ by ${(differenceMs / 1000).toFixed(0)} s: keep both by NTP (timedatectl set-ntp true)`,
      ]
    : [];
}
