/** `bun run migrate`: brings the database to this version's schema and exits, before replicas start. */
import { joinDatabase } from '../db/embedded.ts';
import { migrate } from '../db/migrate.ts';
import { exitWithReason } from '../exit.ts';
import { readSettings } from '../settings.ts';

try {
  const database = await joinDatabase(readSettings(process.env));
  try {
    await migrate(database.url);
  } finally {
    await database.leave();
  }
  console.log('The database is migrated');
} catch (error) {
  exitWithReason(error);
}
