/** Other checkouts of this project, such as the commit before, as servers to compare with. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Running, serverEnvironment, start } from './servers.ts';

/** Where a checkout has its entry, now and in earlier versions. */
const ENTRIES = ['src/server/main.ts', 'src/server.ts'];

/** Migrates a database as the checkout does. */
export async function migrateWith(folder: string, databaseUrl: string): Promise<void> {
  await Bun.$`${process.execPath} src/cli/migrate.ts`
    .cwd(folder)
    .env({ PATH: process.env.PATH, DATABASE_URL: databaseUrl })
    .quiet();
}

/** Starts the server of the checkout as it ships. Its packages must be installed. */
export function startCheckout(folder: string, databaseUrl: string): Promise<Running> {
  const entry = ENTRIES.find((path) => existsSync(join(folder, path)));
  if (entry === undefined) throw new Error(`${folder} has none of ${ENTRIES.join(', ')}`);
  return start([process.execPath, entry], serverEnvironment(databaseUrl), folder);
}
