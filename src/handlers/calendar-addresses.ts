/** Secret addresses of the calendar, for programs that can send no header: 256 random bits, of which only the hash is kept. */
import { and, eq, getTableColumns, isNull, sql } from 'drizzle-orm';
import { v7 as uuidv7 } from 'uuid';
import { hasLiveSession } from '../db/authorization.ts';
import type { Database } from '../db/database.ts';
import { afterCursor, newestFirst, orderBy, parsePage, toPage } from '../db/pagination.ts';
import { prepared, type QueryParams } from '../db/prepared.ts';
import { calendar_addresses, users } from '../db/schema.ts';
import { Problem } from '../errors/problem.ts';
import { digest, newSecret } from '../lib/secrets.ts';
import type {
  CalendarAddress,
  CalendarAddressCreate,
  CalendarAddressPage,
} from '../schemas/calendar-addresses.ts';
import type { CurrentUser, LoggedInUser } from '../schemas/current-user.ts';
import type { PageQuery } from '../schemas/types/page.ts';

const CALENDAR_ADDRESSES_MAX = 100;
/** Use is noted to the minute, as that of an API token is. */
const LAST_USED_RESOLUTION_SECONDS = 60;

const { user_id: _, secret_hash: __, ...columns } = getTableColumns(calendar_addresses);

/**
 * Makes an address. @returns it, and its secret.
 * @throws {Problem} `conflict` beyond 100 of them.
 */
export async function createCalendarAddress(
  db: Database,
  user: LoggedInUser,
  { name }: CalendarAddressCreate,
): Promise<{ address: CalendarAddress; secret: string }> {
  const secret = newSecret();
  const secretHash = await digest(secret);
  const [row] = await db.transaction(async (tx) => {
    // The user's row is the turnstile: of two at once, the second counts when the first is done.
    const [owner] = await tx
      .select({ id: users.id })
      .from(users)
      .where(and(eq(users.id, user.id), hasLiveSession(user)))
      .for('update');
    if (!owner) throw new Problem('invalid_token');
    const isMine = eq(calendar_addresses.user_id, user.id);
    if ((await tx.$count(calendar_addresses, isMine)) >= CALENDAR_ADDRESSES_MAX)
      throw new Problem('conflict', { detail: `${CALENDAR_ADDRESSES_MAX} addresses at most` });
    return tx
      .insert(calendar_addresses)
      .values({ id: uuidv7(), user_id: user.id, name, secret_hash: secretHash })
      .returning(columns);
  });
  return { address: row as CalendarAddress, secret };
}

/** The user's addresses, newest first. @throws {Problem} `invalid_cursor`. */
export async function listCalendarAddresses(
  db: Database,
  user: LoggedInUser,
  query: PageQuery,
): Promise<CalendarAddressPage> {
  const order = newestFirst(calendar_addresses);
  const page = await parsePage<CalendarAddress>('calendar addresses', query, order);
  const rows = await db
    .select(columns)
    .from(calendar_addresses)
    .where(and(eq(calendar_addresses.user_id, user.id), afterCursor(page.position, page.order)))
    .orderBy(...orderBy(page.order))
    .limit(page.count);
  return toPage(page, rows);
}

/** @throws {Problem} `not_found`. */
export async function deleteCalendarAddress(db: Database, user: LoggedInUser, addressId: string) {
  const deleted = await db
    .delete(calendar_addresses)
    .where(and(eq(calendar_addresses.id, addressId), eq(calendar_addresses.user_id, user.id)))
    .returning({ id: calendar_addresses.id });
  if (deleted.length === 0) throw new Problem('not_found');
}

/** The user behind an address, whose use is noted; undefined for one that is unknown, revoked, or of a disabled user. */
export async function findCalendarAddressUser(
  db: Database,
  secret: string,
): Promise<CurrentUser | undefined> {
  const [found] = await selectAddressUser(db, { secret_hash: await digest(secret) });
  return found && { ...found, scopes: ['read'] };
}

const selectAddressUser = prepared((db, { secret_hash }: QueryParams<{ secret_hash: string }>) => {
  const used = db.$with('used').as(
    db
      .update(calendar_addresses)
      .set({ last_used_at: sql`now()` })
      .where(
        and(
          eq(calendar_addresses.secret_hash, secret_hash),
          sql`(${calendar_addresses.last_used_at} is null or ${calendar_addresses.last_used_at}
            < now() - make_interval(secs => ${sql.raw(String(LAST_USED_RESOLUTION_SECONDS))}))`,
        ),
      )
      .returning({ id: calendar_addresses.id }),
  );
  return db
    .with(used)
    .select({ id: users.id, username: users.username })
    .from(calendar_addresses)
    .innerJoin(users, eq(users.id, calendar_addresses.user_id))
    .where(and(eq(calendar_addresses.secret_hash, secret_hash), isNull(users.disabled_at)));
});
