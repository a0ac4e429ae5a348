/** `bun run migrate`: brings the database to this version's schema and exits, before replicas start. */

import { loadSettings } from '../environment.ts';
import { migrate } from '../postgres/migrate.ts';
import { runCommand, withConnection } from './command.ts';

const usage = `bun run migrate

Brings the database to the schema of this version and exits. Once is enough for all replicas; a start does it too.`;

await runCommand({ usage, arguments: 0 }, process.argv.slice(2), async () => {
  await withConnection(loadSettings(), (url) => migrate(url));
  console.log('The database is migrated');
});
