/** `bun run migrate`: brings the database to this version's schema and exits, before replicas start. */
import { migrate } from '../db/migrate.ts';
import { readSettings } from '../settings.ts';
import { runCommand, usingDatabase } from './command.ts';

const usage = `bun run migrate

Brings the database to the schema of this version and exits. Once is enough for all replicas; a start does it too.`;

await runCommand({ usage, arguments: 0 }, process.argv.slice(2), async () => {
  await usingDatabase(readSettings(process.env), migrate);
  console.log('The database is migrated');
});
