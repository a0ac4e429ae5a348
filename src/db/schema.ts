/**
 * The tables. Names are those of the wire, so that rows need no renaming; constraints have names, by which `errors.ts` and
 * the handlers tell them apart. Ids are UUIDv7 made by the application.
 */
import { isNotNull, isNull, sql } from 'drizzle-orm';
import {
  bigint,
  boolean,
  check,
  customType,
  foreignKey,
  index,
  integer,
  json,
  jsonb,
  pgTable,
  primaryKey,
  smallint,
  text,
  uniqueIndex,
  uuid,
} from 'drizzle-orm/pg-core';
import {
  completedAscending,
  completedDescending,
  dueAscending,
  dueDescending,
  foldedName,
  isSearchStale,
  placeOf,
  taskSearchVector,
} from './index-expressions.ts';

/** An instant to the millisecond. The drivers return a Date or a text; rows hold RFC 3339 in UTC. */
const instant = customType<{ data: string; driverData: Date | string }>({
  dataType: () => 'timestamp(3) with time zone',
  fromDriver: (value) => (value instanceof Date ? value : new Date(value)).toISOString(),
});

/** A day. The drivers return a Date or a text; rows hold an RFC 3339 full-date. */
const day = customType<{ data: string; driverData: Date | string }>({
  dataType: () => 'date',
  fromDriver: (value) => (value instanceof Date ? value.toISOString().slice(0, 10) : value),
});

/** The words of a text, as `full-text.ts` writes them; null where a version without search wrote the row. */
const words = customType<{ data: string }>({ dataType: () => 'tsvector' });

/**
 * The negated version of a row that its words were made for; another value, or null, where an earlier release wrote the
 * words or changed the row (see `isSearchStale`).
 */
const wordsVersion = () => integer();

/** The sort key of a text, which does not depend on the database's locale. */
const sortKey = customType<{ data: string }>({ dataType: () => 'text collate "C"' });

const createdAt = () => instant().notNull().default(sql`now()`);
const updatedAt = () => instant().notNull().default(sql`now()`);

export const users = pgTable(
  'users',
  {
    id: uuid().primaryKey(),
    username: text().notNull(),
    email: text().notNull(),
    password_hash: text().notNull(),
    disabled_at: instant(),
    created_at: createdAt(),
    updated_at: updatedAt(),
  },
  (table) => [
    uniqueIndex('users_username_key').on(foldedName(table.username)),
    uniqueIndex('users_email_key').on(foldedName(table.email)),
  ],
);

/** A log-in. It ends by being deleted, and its refresh tokens with it. */
export const sessions = pgTable(
  'sessions',
  {
    id: uuid().primaryKey(),
    user_id: uuid().notNull(),
    user_agent: text(),
    address: text(),
    created_at: createdAt(),
    last_used_at: instant().notNull().default(sql`now()`),
    /** The session ends then, used or not. */
    expires_at: instant().notNull(),
  },
  (table) => [
    foreignKey({
      name: 'sessions_user_id_fkey',
      columns: [table.user_id],
      foreignColumns: [users.id],
    }).onDelete('cascade'),
    index('sessions_user_id_created_at_idx').on(table.user_id, table.created_at, table.id),
  ],
);

/** Every refresh token of a session, spent ones too: their reuse reveals a theft. */
export const refresh_tokens = pgTable(
  'refresh_tokens',
  {
    /** SHA-256 in base64url. */
    token_hash: text().primaryKey(),
    session_id: uuid().notNull(),
    user_id: uuid().notNull(),
    /** Each token of a session has the number after its predecessor's. */
    generation: integer().notNull(),
    created_at: createdAt(),
    spent_at: instant(),
  },
  (table) => [
    foreignKey({
      name: 'refresh_tokens_session_id_fkey',
      columns: [table.session_id],
      foreignColumns: [sessions.id],
    }).onDelete('cascade'),
    uniqueIndex('refresh_tokens_session_id_generation_key').on(table.session_id, table.generation),
  ],
);

export const scopes = ['read', 'write'] as const;
export type Scope = (typeof scopes)[number];

export const api_tokens = pgTable(
  'api_tokens',
  {
    id: uuid().primaryKey(),
    user_id: uuid().notNull(),
    name: text().notNull(),
    /** SHA-256 in base64url. */
    token_hash: text().notNull(),
    scopes: text({ enum: scopes }).array().notNull(),
    expires_at: instant(),
    last_used_at: instant(),
    created_at: createdAt(),
  },
  (table) => [
    foreignKey({
      name: 'api_tokens_user_id_fkey',
      columns: [table.user_id],
      foreignColumns: [users.id],
    }).onDelete('cascade'),
    uniqueIndex('api_tokens_token_hash_key').on(table.token_hash),
    index('api_tokens_user_id_created_at_idx').on(table.user_id, table.created_at, table.id),
  ],
);

/** Secret addresses under which a program reads the calendar of a user without a header. */
export const calendar_addresses = pgTable(
  'calendar_addresses',
  {
    id: uuid().primaryKey(),
    user_id: uuid().notNull(),
    name: text().notNull(),
    /** SHA-256 in base64url. */
    secret_hash: text().notNull(),
    last_used_at: instant(),
    created_at: createdAt(),
  },
  (table) => [
    foreignKey({
      name: 'calendar_addresses_user_id_fkey',
      columns: [table.user_id],
      foreignColumns: [users.id],
    }).onDelete('cascade'),
    uniqueIndex('calendar_addresses_secret_hash_key').on(table.secret_hash),
    index('calendar_addresses_user_id_created_at_idx').on(
      table.user_id,
      table.created_at,
      table.id,
    ),
  ],
);

/** Counters that replicas share. A row whose window is over does not count. */
export const rate_limits = pgTable(
  'rate_limits',
  {
    /** The limit's name and a hash of what it counts. */
    key: text().primaryKey(),
    hits: integer().notNull(),
    resets_at: instant().notNull(),
  },
  (table) => [index('rate_limits_resets_at_idx').on(table.resets_at)],
);

export const projects = pgTable(
  'projects',
  {
    id: uuid().primaryKey(),
    name: text().notNull(),
    description: text(),
    archived_at: instant(),
    created_at: createdAt(),
    updated_at: updatedAt(),
    version: integer().notNull().default(1),
    name_key: sortKey().notNull().default(''),
    name_words: words(),
    description_words: words(),
    name_runs: text(),
    description_runs: text(),
    words_version: wordsVersion(),
    /** Whether viewers write comments. */
    viewers_may_comment: boolean().notNull().default(false),
  },
  (table) => [
    index('projects_stale_search_idx').on(table.id).where(isSearchStale(table, table.name_words)),
  ],
);

export const roles = ['owner', 'editor', 'viewer'] as const;
export type Role = (typeof roles)[number];

export const project_members = pgTable(
  'project_members',
  {
    project_id: uuid().notNull(),
    user_id: uuid().notNull(),
    role: text({ enum: roles }).notNull(),
    created_at: createdAt(),
    /**
     * Set while the project is invisible, also to its owner: since when it is being imported, or `infinity` in the trash. The
     * name is from before there was a trash.
     */
    importing_since: instant(),
  },
  (table) => [
    primaryKey({ name: 'project_members_pkey', columns: [table.project_id, table.user_id] }),
    foreignKey({
      name: 'project_members_project_id_fkey',
      columns: [table.project_id],
      foreignColumns: [projects.id],
    }).onDelete('cascade'),
    foreignKey({
      name: 'project_members_user_id_fkey',
      columns: [table.user_id],
      foreignColumns: [users.id],
    }).onDelete('cascade'),
    index('project_members_user_id_idx').on(table.user_id, table.project_id),
    uniqueIndex('project_members_one_owner_key')
      .on(table.project_id)
      .where(sql`${table.role} = 'owner'`),
    index('project_members_importing_since_idx')
      .on(table.importing_since)
      .where(isNotNull(table.importing_since)),
    check('project_members_role_check', sql`${table.role} in ('owner', 'editor', 'viewer')`),
  ],
);

export const invitedRoles = ['editor', 'viewer'] as const;
export const invitationStates = ['open', 'used_up', 'expired', 'revoked'] as const;

/** Secrets with which their holders join a project. Those that have ended stay for a while, to say so to their holders. */
export const invitations = pgTable(
  'invitations',
  {
    id: uuid().primaryKey(),
    project_id: uuid().notNull(),
    role: text({ enum: invitedRoles }).notNull(),
    /** SHA-256 in base64url. */
    token_hash: text().notNull(),
    uses: integer().notNull().default(0),
    uses_max: integer().notNull(),
    expires_at: instant().notNull(),
    revoked_at: instant(),
    created_at: createdAt(),
  },
  (table) => [
    foreignKey({
      name: 'invitations_project_id_fkey',
      columns: [table.project_id],
      foreignColumns: [projects.id],
    }).onDelete('cascade'),
    uniqueIndex('invitations_token_hash_key').on(table.token_hash),
    index('invitations_project_id_created_at_idx').on(table.project_id, table.created_at, table.id),
    check('invitations_role_check', sql`${table.role} in ('editor', 'viewer')`),
    check('invitations_uses_check', sql`${table.uses} between 0 and ${table.uses_max}`),
  ],
);

/** The projects that a user has left: they are not added again until they remove the row. */
export const left_projects = pgTable(
  'left_projects',
  {
    user_id: uuid().notNull(),
    project_id: uuid().notNull(),
    name: text().notNull(),
    left_at: instant().notNull().default(sql`now()`),
  },
  (table) => [
    primaryKey({ name: 'left_projects_pkey', columns: [table.user_id, table.project_id] }),
    foreignKey({
      name: 'left_projects_user_id_fkey',
      columns: [table.user_id],
      foreignColumns: [users.id],
    }).onDelete('cascade'),
    foreignKey({
      name: 'left_projects_project_id_fkey',
      columns: [table.project_id],
      foreignColumns: [projects.id],
    }).onDelete('cascade'),
    index('left_projects_user_id_left_at_idx').on(table.user_id, table.left_at, table.project_id),
    index('left_projects_project_id_idx').on(table.project_id),
  ],
);

export const taskStatuses = ['todo', 'in_progress', 'done', 'cancelled'] as const;

export const tasks = pgTable(
  'tasks',
  {
    id: uuid().primaryKey(),
    project_id: uuid().notNull(),
    title: text().notNull(),
    description: text(),
    status: text({ enum: taskStatuses }).notNull().default('todo'),
    priority: smallint().notNull().default(0),
    due_at: instant(),
    /** The due date of a task without a time. At most one of the two is set. */
    due_on: day(),
    assignee_id: uuid(),
    labels: text().array().notNull().default(sql`'{}'`),
    /** A trigger keeps it in the same project, without a cycle, and within `TREE_LEVELS_MAX`. */
    parent_id: uuid(),
    /** Tasks of any project; an id of one that was deleted blocks nothing. */
    blocked_by: uuid().array().notNull().default(sql`'{}'`),
    /** Where a user has put the task; null: after those that were created before it (see `placeOf`). */
    position: sortKey(),
    completed_at: instant(),
    created_at: createdAt(),
    updated_at: updatedAt(),
    created_by: uuid(),
    version: integer().notNull().default(1),
    title_key: sortKey().notNull().default(''),
    title_words: words(),
    description_words: words(),
    label_words: words(),
    title_runs: text(),
    description_runs: text(),
    words_version: wordsVersion(),
    /** Kept by triggers on `comments`. It changes without a new version of the task. */
    comment_count: integer().notNull().default(0),
  },
  (table) => [
    foreignKey({
      name: 'tasks_project_id_fkey',
      columns: [table.project_id],
      foreignColumns: [projects.id],
    }).onDelete('cascade'),
    // Decision: docs/decisions/18-assignee-foreign-key.md
    // An assignee is a member. When a member leaves, the task stays without an assignee: the migration says
    // SET NULL (assignee_id), a list of columns that Drizzle cannot express.
    foreignKey({
      name: 'tasks_assignee_id_fkey',
      columns: [table.project_id, table.assignee_id],
      foreignColumns: [project_members.project_id, project_members.user_id],
    }).onDelete('set null'),
    foreignKey({
      name: 'tasks_created_by_fkey',
      columns: [table.created_by],
      foreignColumns: [users.id],
    }).onDelete('set null'),
    // Decision: docs/decisions/44-subtasks.md
    foreignKey({
      name: 'tasks_parent_id_fkey',
      columns: [table.parent_id],
      foreignColumns: [table.id],
    }).onDelete('cascade'),
    // Tasks without a parent or a blocker cost them nothing.
    index('tasks_parent_id_idx').on(table.parent_id).where(isNotNull(table.parent_id)),
    index('tasks_blocked_by_idx')
      .using('gin', table.blocked_by)
      .where(sql`${table.blocked_by} <> '{}'`),
    // One for each sort, and one for each filter that selects little of a large project.
    index('tasks_project_id_created_at_idx').on(table.project_id, table.created_at, table.id),
    index('tasks_project_id_updated_at_idx').on(table.project_id, table.updated_at, table.id),
    index('tasks_project_id_due_at_idx').on(table.project_id, dueAscending(table), table.id),
    index('tasks_project_id_due_at_descending_idx').on(
      table.project_id,
      dueDescending(table),
      table.id,
    ),
    index('tasks_project_id_completed_at_idx').on(
      table.project_id,
      completedAscending(table),
      table.id,
    ),
    index('tasks_project_id_completed_at_descending_idx').on(
      table.project_id,
      completedDescending(table),
      table.id,
    ),
    index('tasks_project_id_priority_idx').on(table.project_id, table.priority, table.id),
    index('tasks_project_id_title_key_idx').on(table.project_id, table.title_key, table.id),
    index('tasks_project_id_position_idx').on(table.project_id, placeOf(table), table.id),
    index('tasks_project_id_status_idx').on(
      table.project_id,
      table.status,
      table.created_at,
      table.id,
    ),
    // Every search reads the list of pending entries from end to end, so it is kept short.
    index('tasks_words_idx')
      .using('gin', taskSearchVector(table))
      .with({ gin_pending_list_limit: 64 }),
    index('tasks_stale_search_idx').on(table.id).where(isSearchStale(table, table.title_words)),
    index('tasks_assignee_id_created_at_idx').on(
      table.assignee_id,
      table.project_id,
      table.created_at,
      table.id,
    ),
    index('tasks_created_by_idx').on(table.created_by),
    check(
      'tasks_status_check',
      sql`${table.status} in ('todo', 'in_progress', 'done', 'cancelled')`,
    ),
    check('tasks_priority_check', sql`${table.priority} between 0 and 4`),
    check(
      'tasks_completed_at_check',
      sql`(${table.status} = 'done') = (${table.completed_at} is not null)`,
    ),
  ],
);

/** Deleted tasks. A trigger moves each row of `tasks` here in the statement that deletes it. */
// Decision: docs/decisions/41-trash.md
export const trashed_tasks = pgTable(
  'trashed_tasks',
  {
    id: uuid().primaryKey(),
    project_id: uuid().notNull(),
    deleted_at: instant().notNull().default(sql`now()`),
    /** No reference, as in `events`. */
    deleted_by: uuid(),
    /** The whole row of `tasks`, with the columns of the release that deleted it. */
    task: jsonb().$type<Record<string, unknown>>().notNull(),
  },
  (table) => [
    foreignKey({
      name: 'trashed_tasks_project_id_fkey',
      columns: [table.project_id],
      foreignColumns: [projects.id],
    }).onDelete('cascade'),
    index('trashed_tasks_project_id_deleted_at_idx').on(
      table.project_id,
      table.deleted_at,
      table.id,
    ),
    index('trashed_tasks_deleted_at_idx').on(table.deleted_at),
  ],
);

/** Deleted projects. The row, the tasks and the history of a project stay where they are, and no member sees it. */
export const trashed_projects = pgTable(
  'trashed_projects',
  {
    id: uuid().primaryKey(),
    deleted_at: instant().notNull().default(sql`now()`),
    /** No reference, as in `events`. */
    deleted_by: uuid(),
    /** Set where the owner deleted it from the trash as well: it is purged next. */
    discarded_at: instant(),
  },
  (table) => [
    foreignKey({
      name: 'trashed_projects_id_fkey',
      columns: [table.id],
      foreignColumns: [projects.id],
    }).onDelete('cascade'),
    index('trashed_projects_deleted_at_idx').on(table.deleted_at),
  ],
);

/** The names that a user's CalDAV clients have given to projects. Any other project has its id for a name. */
export const dav_collections = pgTable(
  'dav_collections',
  {
    user_id: uuid().notNull(),
    name: text().notNull(),
    project_id: uuid().notNull(),
  },
  (table) => [
    primaryKey({ name: 'dav_collections_pkey', columns: [table.user_id, table.name] }),
    foreignKey({
      name: 'dav_collections_user_id_fkey',
      columns: [table.user_id],
      foreignColumns: [users.id],
    }).onDelete('cascade'),
    foreignKey({
      name: 'dav_collections_project_id_fkey',
      columns: [table.project_id],
      foreignColumns: [projects.id],
    }).onDelete('cascade'),
    uniqueIndex('dav_collections_project_id_user_id_key').on(table.project_id, table.user_id),
  ],
);

/**
 * Tasks that a CalDAV client has written: what it named them, and what it wrote. Any other task has its id for a name. The row
 * stays when the task leaves the project, so that a client that was away learns which name is gone.
 */
export const dav_items = pgTable(
  'dav_items',
  {
    project_id: uuid().notNull(),
    /** No reference: the row outlives the task. */
    task_id: uuid().notNull(),
    name: text().notNull(),
    uid: text().notNull(),
    /** iCalendar, as the client wrote it; null once the task has left the project and cannot be restored. */
    text: text(),
    /** That of the task, which the text describes. */
    version: integer().notNull(),
    /** The UID of the parent that the text names. */
    parent_uid: text(),
    /** The parent that the task had then; null where no task had that UID, or none that could be the parent. */
    parent_id: uuid(),
    written_at: instant().notNull().default(sql`now()`),
    removed_at: instant(),
  },
  (table) => [
    primaryKey({ name: 'dav_items_pkey', columns: [table.task_id, table.project_id] }),
    foreignKey({
      name: 'dav_items_project_id_fkey',
      columns: [table.project_id],
      foreignColumns: [projects.id],
    }).onDelete('cascade'),
    uniqueIndex('dav_items_project_id_name_key').on(table.project_id, table.name),
    uniqueIndex('dav_items_project_id_uid_key').on(table.project_id, table.uid),
    index('dav_items_project_id_parent_uid_idx')
      .on(table.project_id, table.parent_uid)
      .where(sql`${table.parent_uid} is not null and ${table.parent_id} is null`),
    index('dav_items_removed_at_idx').on(table.removed_at).where(isNotNull(table.removed_at)),
  ],
);

// Decision: docs/decisions/45-comments.md
/**
 * What people say about tasks. A trigger deletes the comments of a task that is gone for good: no reference does it, so that
 * they can outlast the row of their task.
 */
export const comments = pgTable(
  'comments',
  {
    id: uuid().primaryKey(),
    /** That of the task, with which it changes. */
    project_id: uuid().notNull(),
    task_id: uuid().notNull(),
    author_id: uuid(),
    /** Markdown, as the author wrote it. */
    body: text().notNull(),
    created_at: createdAt(),
    /** Null: never. */
    edited_at: instant(),
    version: integer().notNull().default(1),
    words: words(),
    runs: text(),
    words_version: wordsVersion(),
  },
  (table) => [
    foreignKey({
      name: 'comments_project_id_fkey',
      columns: [table.project_id],
      foreignColumns: [projects.id],
    }).onDelete('cascade'),
    foreignKey({
      name: 'comments_author_id_fkey',
      columns: [table.author_id],
      foreignColumns: [users.id],
    }).onDelete('set null'),
    index('comments_task_id_created_at_idx').on(table.task_id, table.created_at, table.id),
    index('comments_project_id_created_at_idx').on(table.project_id, table.created_at, table.id),
    index('comments_author_id_idx').on(table.author_id),
    index('comments_words_idx').using('gin', table.words).with({ gin_pending_list_limit: 64 }),
    index('comments_stale_search_idx').on(table.id).where(isSearchStale(table, table.words)),
  ],
);

/** The responses to requests with an `Idempotency-Key`, for a day. */
export const idempotency_keys = pgTable(
  'idempotency_keys',
  {
    user_id: uuid().notNull(),
    key: text().notNull(),
    /** A digest of the request. */
    fingerprint: text().notNull(),
    /** As text, not jsonb: that would sort the fields. */
    answer: json().notNull(),
    created_at: createdAt(),
  },
  (table) => [
    primaryKey({ name: 'idempotency_keys_pkey', columns: [table.user_id, table.key] }),
    foreignKey({
      name: 'idempotency_keys_user_id_fkey',
      columns: [table.user_id],
      foreignColumns: [users.id],
    }).onDelete('cascade'),
    index('idempotency_keys_created_at_idx').on(table.created_at),
  ],
);

export const subjects = ['project', 'member', 'task', 'comment'] as const;
export const actions = [
  'project.created',
  'project.updated',
  'project.deleted',
  'project.restored',
  'member.added',
  'member.updated',
  'member.removed',
  'task.created',
  'task.updated',
  'task.deleted',
  'task.restored',
  'comment.created',
  'comment.updated',
  'comment.deleted',
  'access.granted',
  'access.lost',
] as const;

/**
 * Every change of a project, its members, tasks and comments. Triggers write it in the statement that makes the change: that of
 * a handler, a cascade, or a release that knows no events.
 */
export const events = pgTable(
  'events',
  {
    id: uuid().primaryKey(),
    /** Increases per row. Assigned before the commit, so it is not the order of the feed. */
    number: bigint({ mode: 'number' }).notNull().generatedByDefaultAsIdentity(),
    /** The position in the feed, assigned after the commit by `sequence_events`; null until then. */
    position: bigint({ mode: 'number' }),
    at: instant().notNull().default(sql`now()`),
    /** Null where the statement named no actor. No reference: a history outlives the accounts in it. */
    actor_id: uuid(),
    /** The name of the API token that the write came with. Null: it came with a session, or from an earlier release. */
    actor_token: text().default(sql`nullif(current_setting('mantou.actor_token', true), '')`),
    action: text({ enum: actions }).notNull(),
    project_id: uuid().notNull(),
    subject: text({ enum: subjects }).notNull(),
    subject_id: uuid().notNull(),
    /** The only user who sees the event; null: all who see the project. */
    recipient_id: uuid(),
    /** That of the task or comment, or of the project where the subject is neither. */
    version: integer().notNull(),
    /** The fields that changed, with their new values. */
    fields: jsonb().$type<Record<string, unknown>>().notNull(),
  },
  (table) => [
    foreignKey({
      name: 'events_recipient_id_fkey',
      columns: [table.recipient_id],
      foreignColumns: [users.id],
    }).onDelete('cascade'),
    index('events_without_position_idx').on(table.number).where(isNull(table.position)),
    index('events_project_id_position_idx').on(table.project_id, table.position),
    index('events_recipient_id_position_idx')
      .on(table.recipient_id, table.position)
      .where(isNotNull(table.recipient_id)),
    index('events_at_idx').on(table.at),
  ],
);

/**
 * One row: the last position of the feed. It is created where it is missing, and backups leave it out: a restored database
 * has another feed, whose positions would mislead a client that has seen more.
 */
export const feed = pgTable(
  'feed',
  {
    only: boolean().primaryKey().default(true),
    /** The first timeline of this feed. Cursors of another feed name a timeline that is not here. */
    epoch: uuid().notNull(),
    last_position: bigint({ mode: 'number' }).notNull(),
    /** Events at or below this position may have been pruned. */
    pruned_position: bigint({ mode: 'number' }).notNull(),
    /** Which start of which database server last assigned positions. */
    server_run: text(),
  },
  (table) => [check('feed_only_check', sql`${table.only}`)],
);

/**
 * Which positions were assigned by which run of a database server. A server that was promoted or restored may lack the
 * latest positions that clients have seen, and assigns them again: to other events, but in a timeline of its own. A
 * position belongs to the latest timeline that began below it.
 */
export const feed_timelines = pgTable('feed_timelines', {
  id: uuid().primaryKey(),
  began_position: bigint({ mode: 'number' }).notNull(),
});

export const webhookStates = ['active', 'paused', 'disabled'] as const;
/** Why a hook is disabled: it answered 410, it failed for days, or what it has not had is not kept any more. */
export const webhookDisabledReasons = ['gone', 'failing', 'cursor_expired'] as const;
/** Few, and none that says what is there inside the network. */
export const webhookErrors = [
  'unreachable',
  'tls_failed',
  'timed_out',
  'invalid_response',
  'redirected',
  'status',
] as const;

/** Where other programs want to hear of a user's changes. */
export const webhooks = pgTable(
  'webhooks',
  {
    id: uuid().primaryKey(),
    user_id: uuid().notNull(),
    url: text().notNull(),
    name: text(),
    /** Null: all projects. No reference: a hook outlives its project. */
    project_id: uuid(),
    /** Null: all actions. */
    actions: text({ enum: actions }).array(),
    /** Needed as it is, to sign; so not a hash. */
    secret: text().notNull(),
    /** Signs too, until its time is over. */
    previous_secret: text(),
    previous_secret_until: instant(),
    state: text({ enum: webhookStates }).notNull().default('active'),
    disabled_reason: text({ enum: webhookDisabledReasons }),
    /** Of the last event that was delivered or that the hook does not want: the next one comes after it. */
    cursor: text().notNull(),
    /** Tries of the event that is due, and since when they fail. */
    tries: integer().notNull().default(0),
    failing_since: instant(),
    next_try_at: instant().notNull().default(sql`now()`),
    last_success_at: instant(),
    last_failure_at: instant(),
    last_failure_status: integer(),
    last_failure_error: text({ enum: webhookErrors }),
    /** Raised by every change of the hook by its owner: a process that delivers for an earlier one stops. */
    revision: integer().notNull().default(1),
    /** Which process delivers, and until when without a word from it. */
    lease_owner: uuid(),
    lease_until: instant(),
    created_at: createdAt(),
    updated_at: createdAt(),
  },
  (table) => [
    foreignKey({
      name: 'webhooks_user_id_fkey',
      columns: [table.user_id],
      foreignColumns: [users.id],
    }).onDelete('cascade'),
    index('webhooks_user_id_created_at_idx').on(table.user_id, table.created_at, table.id),
    index('webhooks_next_try_at_idx').on(table.next_try_at).where(sql`${table.state} = 'active'`),
    check('webhooks_state_check', sql`${table.state} in ('active', 'paused', 'disabled')`),
  ],
);

/** The latest deliveries of a hook, one row an event. */
export const webhook_deliveries = pgTable(
  'webhook_deliveries',
  {
    webhook_id: uuid().notNull(),
    event_id: uuid().notNull(),
    action: text().notNull(),
    tries: integer().notNull(),
    /** Of the answer; null where there was none. */
    status: integer(),
    error: text({ enum: webhookErrors }),
    duration_ms: integer(),
    /** How the answer begins. */
    response: text(),
    at: instant().notNull().default(sql`now()`),
  },
  (table) => [
    primaryKey({ columns: [table.webhook_id, table.event_id] }),
    foreignKey({
      name: 'webhook_deliveries_webhook_id_fkey',
      columns: [table.webhook_id],
      foreignColumns: [webhooks.id],
    }).onDelete('cascade'),
    index('webhook_deliveries_webhook_id_at_idx').on(table.webhook_id, table.at, table.event_id),
  ],
);
