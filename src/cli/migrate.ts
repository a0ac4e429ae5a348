/** `bun run migrate`: brings the database to this version's schema and exits, before replicas start. */

import { joinEmbeddedPostgres } from '../db/embedded.ts';
import { migrate } from '../db/migrate.ts';
import { exitWithReason } from '../exit.ts';
import { readSettings } from '../settings.ts';

try {
  const settings = readSettings(process.env);
  const postgres = settings.database_url
    ? undefined
    : await joinEmbeddedPostgres(settings.data_dir);
  try {
    await migrate(settings.database_url ?? postgres?.url ?? '');
  } finally {
    await postgres?.leave();
  }
  console.log('The database is migrated');
} catch (error) {
  exitWithReason(error);
}
