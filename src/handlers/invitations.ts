/**
 * Invitations: secrets of 256 random bits, of which only the hash is kept, with which their holders join a project. All that
 * changes one holds the lock of its project, as changes of members do.
 */
// Decision: docs/decisions/09-member-changes-lock-the-project.md
import {
  and,
  count,
  desc,
  eq,
  getTableColumns,
  isNull,
  notExists,
  type SQL,
  sql,
} from 'drizzle-orm';
import { v7 as uuidv7 } from 'uuid';
import {
  actorOf,
  assertPermitted,
  hasLiveSession,
  isPermitted,
  memberWriteLock,
  type Permission,
  projectAccess,
  projectArchived,
  projectWriteAccess,
  setActor,
} from '../db/authorization.ts';
import type { Database } from '../db/database.ts';
import { afterCursor, newestFirst, orderBy, parsePage, toPage } from '../db/pagination.ts';
import { columnsOf } from '../db/row-mapper.ts';
import { insertRow } from '../db/row-values.ts';
import {
  type invitationStates,
  invitations,
  left_projects,
  project_members,
  projects,
  trashed_projects,
  users,
} from '../db/schema.ts';
import { catalogue, Problem, validationProblem } from '../errors/problem.ts';
import { parseInstant } from '../lib/instant.ts';
import { digest, newSecret } from '../lib/secrets.ts';
import type { CurrentUser, LoggedInUser } from '../schemas/current-user.ts';
import {
  INVITATION_LIFETIME_DAYS,
  INVITATION_LIFETIME_MAX_DAYS,
  INVITATION_USES_DEFAULT,
  type Invitation,
  type InvitationCreate,
  type InvitationCreated,
  type InvitationPage,
} from '../schemas/invitations.ts';
import type { Membership } from '../schemas/members.ts';
import type { PageQuery } from '../schemas/types/page.ts';
import { consumeInvitationGuess, type NameLimits, refundUnlessWrong } from './login-limits.ts';
import { lockMembers, manages, memberRefusal, raiseVersion } from './members.ts';

const INVITATION_PREFIX = 'mi_';
/** Open invitations of a project. */
const INVITATIONS_OPEN_MAX = 100;
/** Invitations of a project that have ended, and still say so to their holders. */
const INVITATIONS_ENDED_MAX = 100;

type State = (typeof invitationStates)[number];

const sees: Permission = { ...manages, whileArchived: true };

const state = sql<State>`case
  when ${invitations.revoked_at} is not null then 'revoked'
  when ${invitations.uses} >= ${invitations.uses_max} then 'used_up'
  when ${invitations.expires_at} <= now() then 'expired'
  else 'open' end`;
const isOpen = sql`${state} = 'open'`;

const { project_id: _, token_hash: __, revoked_at: ___, ...stored } = getTableColumns(invitations);
const columns = { ...stored, state: state.as('state') };

/**
 * Makes an invitation to a project.
 * @throws {Problem} `not_found`, `forbidden`, `invalid_token`; `conflict` where the project is archived or has 100 open
 * invitations; `validation_failed` for an end that is not within the next 90 days.
 */
export async function createInvitation(
  db: Database,
  user: CurrentUser,
  projectId: string,
  { role, expires_at, uses_max = INVITATION_USES_DEFAULT }: InvitationCreate,
): Promise<InvitationCreated> {
  const token = INVITATION_PREFIX + newSecret();
  const tokenHash = await digest(token);
  const end =
    expires_at === undefined
      ? sql`now() + make_interval(days => ${INVITATION_LIFETIME_DAYS}::int)`
      : sql`${parseInstant(expires_at) as string}::timestamptz`;
  return db.transaction(async (tx) => {
    await lockMembers(tx, user, projectId);
    // A statement of its own after the lock: of two at once, the second counts when the first is done.
    const isOfProject = eq(invitations.project_id, projectId);
    const [found] = await tx
      .select({
        open: count(),
        is_past: sql<boolean>`${end} <= now()`,
        is_too_late: sql<boolean>`${end} > now() + make_interval(days => ${INVITATION_LIFETIME_MAX_DAYS}::int)`,
      })
      .from(invitations)
      .where(and(isOfProject, isOpen));
    if (found?.is_past) throw invalidEnd('in_the_past', 'must be in the future');
    if (found?.is_too_late)
      throw invalidEnd('too_late', `at most ${INVITATION_LIFETIME_MAX_DAYS} days ahead`);
    if (found && found.open >= INVITATIONS_OPEN_MAX)
      throw new Problem('conflict', {
        detail: `${INVITATIONS_OPEN_MAX} open invitations at most: revoke one`,
      });
    const ended = tx
      .select({ id: invitations.id })
      .from(invitations)
      .where(and(isOfProject, sql`not ${isOpen}`))
      .orderBy(desc(invitations.created_at), desc(invitations.id))
      .offset(INVITATIONS_ENDED_MAX);
    await tx.delete(invitations).where(sql`${invitations.id} in ${ended}`);
    const [row] = await tx
      .insert(invitations)
      .values({
        id: uuidv7(),
        project_id: projectId,
        role,
        token_hash: tokenHash,
        uses_max,
        expires_at: end as unknown as string,
      })
      .returning(stored);
    return { ...row, state: 'open', token } as InvitationCreated;
  });
}

const invalidEnd = (code: string, message: string) =>
  validationProblem([{ location: 'body.expires_at', code, message }]);

/** Returns a page of the invitations to a project, latest first. @throws {Problem} `not_found`, `forbidden`, `invalid_cursor`. */
export async function listInvitations(
  db: Database,
  user: CurrentUser,
  projectId: string,
  query: PageQuery,
): Promise<InvitationPage> {
  const order = newestFirst<Invitation>(invitations);
  const request = await parsePage(`invitations of ${projectId.toLowerCase()}`, query, order);
  const access = projectAccess(db, user, projectId);
  const page = db.$with('page').as(
    db
      .select(columns)
      .from(invitations)
      .where(and(eq(invitations.project_id, projectId), afterCursor(request.position, order)))
      .orderBy(...orderBy(order))
      .limit(request.count),
  );
  const rows = await db
    .with(access, page)
    .select({ access: columnsOf(access), invitation: columnsOf(page) })
    .from(access)
    .leftJoin(page, isPermitted(access, sees))
    .orderBy(...orderBy({ ...order, by: page.created_at, id: page.id }));
  assertPermitted(rows[0]?.access, sees);
  return toPage(
    request,
    rows.flatMap(({ invitation }) => invitation ?? []),
  );
}

/**
 * Revokes an invitation, also one that has ended already. Members stay.
 * @throws {Problem} `not_found`, `forbidden`, `invalid_token`; `conflict` where the project is archived.
 */
export async function revokeInvitation(
  db: Database,
  user: CurrentUser,
  projectId: string,
  invitationId: string,
): Promise<void> {
  const access = projectWriteAccess(db, actorOf(user), projectId);
  const locked = memberWriteLock(db, user, projectId, manages);
  const revoked = db.$with('revoked').as(
    db
      .update(invitations)
      .set({ revoked_at: sql`coalesce(${invitations.revoked_at}, now())` })
      .from(locked)
      .where(and(eq(invitations.id, invitationId), eq(invitations.project_id, locked.project_id)))
      .returning({ id: invitations.id }),
  );
  const [found] = await db
    .with(access, locked, revoked)
    .select({ access: columnsOf(access), locked: locked.project_id, revoked: revoked.id })
    .from(access)
    .leftJoin(locked, sql`true`)
    .leftJoin(revoked, sql`true`);
  assertPermitted(found?.access, manages);
  if (found?.locked === null) throw await memberRefusal(db, user, projectId);
  if (found?.revoked === null) throw new Problem('not_found');
}

/** A membership by an invitation. */
export interface Acceptance {
  membership: Membership;
  invitation_id: string;
  /** False: the user was a member before. */
  joined: boolean;
}

/**
 * Makes the user a member of the project that the invitation is for, and takes one of its uses; a member stays as they are.
 * @throws {Problem} `not_found`, `invitation_ended`, `invalid_token`, `rate_limited`; `conflict` where the project is archived.
 */
export async function acceptInvitation(
  db: Database,
  user: LoggedInUser,
  token: string,
  limits: NameLimits,
): Promise<Acceptance> {
  const tokenHash = await digest(token);
  const consumed = await consumeInvitationGuess(db, user.id, limits);
  const accepting = db.transaction(async (tx) => {
    const isKnown = await lockInvited(tx, user.id, tokenHash);
    return isKnown ? join(tx, user.id, tokenHash, hasLiveSession(user)) : undefined;
  });
  const acceptance = await refundUnlessWrong(db, consumed, accepting);
  if (!acceptance) throw new Problem('not_found');
  return acceptance;
}

/**
 * Checks, before any costly work, that a registration may use an invitation. @returns the hash of its token.
 * @throws {Problem} `not_found`, `invitation_ended`, `rate_limited`; `conflict` where the project is archived.
 */
export async function checkInvitation(
  db: Database,
  token: string,
  limits: NameLimits,
): Promise<string> {
  const tokenHash = await digest(token);
  const consumed = await consumeInvitationGuess(db, undefined, limits);
  const finding = db
    .select({ state, archived_at: projects.archived_at })
    .from(invitations)
    .innerJoin(projects, eq(projects.id, invitations.project_id))
    .where(hasToken(db, tokenHash))
    .then(([found]) => found);
  const found = await refundUnlessWrong(db, consumed, finding);
  if (!found) throw unknownInvitation();
  const reason = refusal(found);
  if (reason) throw reason;
  return tokenHash;
}

/**
 * Creates an account and makes it a member, in a transaction.
 * @param createAccount is called once the project is locked: the project comes before the user.
 * @throws {Problem} `not_found`, `invitation_ended`; `conflict` where the project is archived.
 */
export async function joinAsNewUser<Account>(
  tx: Database,
  userId: string,
  tokenHash: string,
  createAccount: () => Promise<Account>,
): Promise<{ user: Account; acceptance: Acceptance }> {
  if (!(await lockInvited(tx, userId, tokenHash))) throw unknownInvitation();
  const user = await createAccount();
  const acceptance = await join(tx, userId, tokenHash, sql`true`);
  if (!acceptance) throw unknownInvitation();
  return { user, acceptance };
}

const unknownInvitation = () =>
  new Problem('not_found', {
    errors: [
      { location: 'body.invitation', code: 'not_found', message: catalogue.not_found.title },
    ],
  });

/** The condition that an invitation has the token, and its project is not in the trash. */
const hasToken = (db: Database, tokenHash: string) =>
  and(
    eq(invitations.token_hash, tokenHash),
    notExists(
      db
        .select({ id: trashed_projects.id })
        .from(trashed_projects)
        .where(eq(trashed_projects.id, invitations.project_id)),
    ),
  );

const ends: Record<Exclude<State, 'open'>, string> = {
  used_up: 'The invitation was used up',
  expired: 'The invitation has expired',
  revoked: 'The invitation was revoked',
};

/** Returns why an invitation cannot be accepted; undefined where it can. */
function refusal({
  state,
  archived_at,
}: {
  state: State;
  archived_at: string | null;
}): Problem | undefined {
  if (state !== 'open') return new Problem('invitation_ended', { detail: ends[state] });
  return archived_at === null ? undefined : projectArchived();
}

/** Locks the project that an invitation is for, as the user who joins. @returns whether there is such an invitation. */
async function lockInvited(tx: Database, userId: string, tokenHash: string): Promise<boolean> {
  const locked = await tx
    .select({ id: projects.id })
    .from(invitations)
    .innerJoin(projects, eq(projects.id, invitations.project_id))
    .where(and(hasToken(tx, tokenHash), setActor({ id: userId, token_name: '' })))
    .for('no key update', { of: projects });
  return locked.length > 0;
}

/**
 * Adds the member, in the transaction that has locked the project: a statement of its own sees what happened meanwhile.
 * @returns undefined where the project is in the trash by now.
 */
async function join(
  tx: Database,
  userId: string,
  tokenHash: string,
  isLive: SQL,
): Promise<Acceptance | undefined> {
  const account = tx.$with('account').as(
    tx
      .select({ id: users.id, username: users.username })
      .from(users)
      .where(and(eq(users.id, userId), isNull(users.disabled_at), isLive))
      .for('key share', { of: users }),
  );
  const invited = tx.$with('invited').as(
    tx
      .select({
        id: invitations.id,
        project_id: invitations.project_id,
        state: columns.state,
        archived_at: projects.archived_at,
      })
      .from(invitations)
      .innerJoin(projects, eq(projects.id, invitations.project_id))
      .where(hasToken(tx, tokenHash)),
  );
  const present = tx
    .$with('present')
    .as(
      tx
        .select({ role: project_members.role, created_at: project_members.created_at })
        .from(invited)
        .innerJoin(project_members, eq(project_members.project_id, invited.project_id))
        .where(eq(project_members.user_id, userId)),
    );
  const used = tx.$with('used').as(
    tx
      .update(invitations)
      .set({ uses: sql`${invitations.uses} + 1` })
      .from(invited)
      .innerJoin(account, sql`true`)
      .where(
        and(
          eq(invitations.id, invited.id),
          isOpen,
          isNull(invited.archived_at),
          sql`not exists (select from ${present})`,
        ),
      )
      .returning({ project_id: invitations.project_id, role: invitations.role }),
  );
  const row = insertRow(project_members, {
    project_id: used.project_id,
    user_id: userId,
    role: used.role,
    created_at: sql`now()`,
    importing_since: null,
  });
  const added = tx
    .$with('added')
    .as(
      tx
        .insert(project_members)
        .select(tx.select(row).from(used))
        .returning(getTableColumns(project_members)),
    );
  // A user who has left comes back by themselves.
  const returned = tx.$with('returned').as(
    tx
      .delete(left_projects)
      .where(
        and(
          eq(left_projects.user_id, userId),
          sql`${left_projects.project_id} in (select ${added.project_id} from ${added})`,
        ),
      )
      .returning({ project_id: left_projects.project_id }),
  );
  const [found] = await tx
    .with(account, invited, present, used, added, raiseVersion(tx, added), returned)
    .select({
      invited: columnsOf(invited),
      username: account.username,
      present: columnsOf(present),
      added: columnsOf(added),
    })
    .from(invited)
    .leftJoin(account, sql`true`)
    .leftJoin(present, sql`true`)
    .leftJoin(added, sql`true`);
  if (!found) return undefined;
  if (!found.username) throw new Problem('invalid_token');
  const { invited: invitation, username } = found;
  const member = found.present ?? found.added;
  // Locked meanwhile, the invitation has the state that the statement has read.
  if (!member) throw refusal(invitation) ?? new Problem('conflict');
  const { role, created_at } = member;
  return {
    membership: { project_id: invitation.project_id, user_id: userId, username, role, created_at },
    invitation_id: invitation.id,
    joined: found.present === null,
  };
}
