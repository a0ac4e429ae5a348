/**
 * The tables. Names are those of the wire, so that rows need no renaming; constraints carry names because
 * `failure.ts` tells them apart by name. Ids are UUIDv7 made by the application.
 */
import {
  type Column,
  eq,
  getTableColumns,
  isNotNull,
  isNull,
  type SQLWrapper,
  sql,
} from 'drizzle-orm';
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

/** An instant, kept to the millisecond. Both drivers give a Date or a text; rows carry RFC 3339 in UTC. */
const instant = customType<{ data: string; driverData: Date | string }>({
  dataType: () => 'timestamp(3) with time zone',
  fromDriver: (value) => (value instanceof Date ? value : new Date(value)).toISOString(),
});

/** The words of a text, as `search.ts` writes them; null where a version without search wrote the row. */
const words = customType<{ data: string }>({ dataType: () => 'tsvector' });

/**
 * The version of a row that its words were made for. A version of this program that knows no words leaves it behind
 * when it changes a row, beside this one during a rolling upgrade. Null: no such change since the words were made.
 */
const words_version = () => integer();

interface Worded {
  version: Column;
  words_version: Column;
}

/** The condition that the words of a row are missing or those of an older text. */
export const hasOldWords = ({ version, words_version }: Worded, first_words: Column) =>
  sql`(${first_words} is null or ${words_version} <> ${version})`;

/** What a text is sorted by, the same whatever the database's locale. */
const sort_key = customType<{ data: string }>({ dataType: () => 'text collate "C"' });

function without<T extends object, Name extends keyof T>(columns: T, names: Name[]): Omit<T, Name> {
  const rest = { ...columns };
  for (const name of names) delete rest[name];
  return rest;
}

const created_at = () => instant().notNull().default(sql`now()`);
const updated_at = () => instant().notNull().default(sql`now()`);

/** A name as its index has it. Collation "C" folds ASCII alone, whatever the database's locale: names hold nothing else. */
const foldedName = (name: SQLWrapper | string) => sql`lower(${name} collate "C")`;

export const users = pgTable(
  'users',
  {
    id: uuid().primaryKey(),
    username: text().notNull(),
    email: text().notNull(),
    password_hash: text().notNull(),
    disabled_at: instant(),
    created_at: created_at(),
    updated_at: updated_at(),
  },
  (table) => [
    uniqueIndex('users_username_key').on(foldedName(table.username)),
    uniqueIndex('users_email_key').on(foldedName(table.email)),
  ],
);

/** The condition that a user has this name, or this email, in any case. */
export const isNamed = (
  column: typeof users.username | typeof users.email,
  name: SQLWrapper | string,
) => eq(foldedName(column), foldedName(name));

/** Which of the two a text is: a user name never holds an @. */
export const kindOfName = (name: string) => (name.includes('@') ? 'email' : 'username');

/** A log-in. It ends by being deleted, and its refresh tokens with it. */
export const sessions = pgTable(
  'sessions',
  {
    id: uuid().primaryKey(),
    user_id: uuid().notNull(),
    user_agent: text(),
    address: text(),
    created_at: created_at(),
    last_used_at: instant().notNull().default(sql`now()`),
    /** Not even a session in use outlives this. */
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

/** Every refresh token of a living session, spent ones too: using one of those gives a thief away. */
export const refresh_tokens = pgTable(
  'refresh_tokens',
  {
    /** SHA-256 in base64url. */
    token_hash: text().primaryKey(),
    session_id: uuid().notNull(),
    user_id: uuid().notNull(),
    /** Each token of a session has the number after its predecessor's. */
    generation: integer().notNull(),
    created_at: created_at(),
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
    created_at: created_at(),
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

/** Counters that replicas share. A row whose window is over counts as none. */
export const rate_limits = pgTable(
  'rate_limits',
  {
    /** The limit's name and a hash of whom it counts. */
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
    created_at: created_at(),
    updated_at: updated_at(),
    version: integer().notNull().default(1),
    name_key: sort_key().notNull().default(''),
    name_words: words(),
    description_words: words(),
    words_version: words_version(),
  },
  (table) => [
    index('projects_old_words_idx').on(table.id).where(hasOldWords(table, table.name_words)),
  ],
);

/** What a client sees of a project, beside his role. */
export const project_columns = without(getTableColumns(projects), [
  'name_key',
  'name_words',
  'description_words',
  'words_version',
]);

export const roles = ['owner', 'editor', 'viewer'] as const;
export type Role = (typeof roles)[number];

export const project_members = pgTable(
  'project_members',
  {
    project_id: uuid().notNull(),
    user_id: uuid().notNull(),
    role: text({ enum: roles }).notNull(),
    created_at: created_at(),
    /** Set while the project is being imported: until then it is not there for anybody, not even its owner. */
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

/** Due dates as keys that are never null: a task without one comes last in either direction. */
export const dueAscending = ({ due_at }: { due_at: Column }) =>
  sql`coalesce(${due_at}, 'infinity')`;
export const dueDescending = ({ due_at }: { due_at: Column }) =>
  sql`coalesce(${due_at}, '-infinity')`;

type WordColumns = Record<'title_words' | 'description_words' | 'label_words', Column>;

/** All that is found by a word or a label, as one index has it. */
export const wordsOfTask = ({ title_words, description_words, label_words }: WordColumns) =>
  sql`(${title_words} || ${description_words} || ${label_words})`;

export const task_statuses = ['todo', 'in_progress', 'done', 'cancelled'] as const;

export const tasks = pgTable(
  'tasks',
  {
    id: uuid().primaryKey(),
    project_id: uuid().notNull(),
    title: text().notNull(),
    description: text(),
    status: text({ enum: task_statuses }).notNull().default('todo'),
    priority: smallint().notNull().default(0),
    due_at: instant(),
    assignee_id: uuid(),
    labels: text().array().notNull().default(sql`'{}'`),
    completed_at: instant(),
    created_at: created_at(),
    updated_at: updated_at(),
    created_by: uuid(),
    version: integer().notNull().default(1),
    title_key: sort_key().notNull().default(''),
    title_words: words(),
    description_words: words(),
    label_words: words(),
    words_version: words_version(),
  },
  (table) => [
    foreignKey({
      name: 'tasks_project_id_fkey',
      columns: [table.project_id],
      foreignColumns: [projects.id],
    }).onDelete('cascade'),
    // An assignee is a member. Whoever leaves loses the assignment, not the task: the migration says
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
    // One for each sort, and one for each filter that leaves little of a large project.
    index('tasks_project_id_created_at_idx').on(table.project_id, table.created_at, table.id),
    index('tasks_project_id_updated_at_idx').on(table.project_id, table.updated_at, table.id),
    index('tasks_project_id_due_at_idx').on(table.project_id, dueAscending(table), table.id),
    index('tasks_project_id_due_at_descending_idx').on(
      table.project_id,
      dueDescending(table),
      table.id,
    ),
    index('tasks_project_id_priority_idx').on(table.project_id, table.priority, table.id),
    index('tasks_project_id_title_key_idx').on(table.project_id, table.title_key, table.id),
    index('tasks_project_id_status_idx').on(
      table.project_id,
      table.status,
      table.created_at,
      table.id,
    ),
    index('tasks_words_idx').using('gin', wordsOfTask(table)),
    index('tasks_old_words_idx').on(table.id).where(hasOldWords(table, table.title_words)),
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

/** What a client sees of a task. */
export const task_columns = without(getTableColumns(tasks), [
  'title_key',
  'title_words',
  'description_words',
  'label_words',
  'words_version',
]);

/** The answers to requests with an `Idempotency-Key`, for a day. */
export const idempotency_keys = pgTable(
  'idempotency_keys',
  {
    user_id: uuid().notNull(),
    key: text().notNull(),
    /** A digest of what was asked. */
    fingerprint: text().notNull(),
    /** As text, not jsonb: that would sort the fields. */
    answer: json().notNull(),
    created_at: created_at(),
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

export const subjects = ['project', 'member', 'task'] as const;
export const actions = [
  'project.created',
  'project.updated',
  'member.added',
  'member.updated',
  'member.removed',
  'task.created',
  'task.updated',
  'task.deleted',
  'access.granted',
  'access.lost',
] as const;

/**
 * Every change of a project, its members and its tasks. The triggers of the migration write it, in the statement that
 * makes the change, whoever sends that: a handler, a cascade, or a version of this program that knows no events.
 */
export const events = pgTable(
  'events',
  {
    id: uuid().primaryKey(),
    /** Of two events of one row, the later has the greater; it is given before the commit, so it is no place in the feed. */
    number: bigint({ mode: 'number' }).notNull().generatedByDefaultAsIdentity(),
    /** The place in the feed, given after the commit by `sequence_events`; null until then. */
    position: bigint({ mode: 'number' }),
    at: instant().notNull().default(sql`now()`),
    /** Null where nobody said who. No reference: a history outlives the accounts in it. */
    actor_id: uuid(),
    action: text({ enum: actions }).notNull(),
    project_id: uuid().notNull(),
    subject: text({ enum: subjects }).notNull(),
    subject_id: uuid().notNull(),
    /** Whom it is told alone; null: whoever sees the project. */
    recipient_id: uuid(),
    /** Of the task, or else of the project. */
    version: integer().notNull(),
    /** What has changed, as it is now. */
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
 * One row: how far the feed has come. It is made anew where there is none, and stays out of backups: whoever restores
 * one has another feed, whose positions would mislead a client that has seen more.
 */
export const feed = pgTable(
  'feed',
  {
    only: boolean().primaryKey().default(true),
    /** Cursors of another epoch are of another feed. */
    epoch: uuid().notNull(),
    last_position: bigint({ mode: 'number' }).notNull(),
    /** Up to here events may be gone. */
    pruned_position: bigint({ mode: 'number' }).notNull(),
  },
  (table) => [check('feed_only_check', sql`${table.only}`)],
);
