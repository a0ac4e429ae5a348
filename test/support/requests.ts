/** A fitting request for each operation of the document. */
import type { Client } from './api.ts';
import type { Operation } from './document.ts';

/** A webhook may have it, but the server does not deliver to it: the address is not a public one. */
export const WEBHOOK_URL = 'http://127.0.0.1:9/hook';

/** Bodies that pass validation. */
const bodies: Record<string, (ids: Ids) => unknown> = {
  registerUser: () => ({
    username: `n${crypto.randomUUID().slice(0, 8)}`,
    email: `${crypto.randomUUID()}@example.org`,
    password: 'correct horse',
  }),
  logIn: () => ({ username: 'nobody', password: 'correct horse' }),
  createProject: () => ({ name: 'Kitchen' }),
  patchProject: () => ({ name: 'Bath' }),
  createTask: () => ({ title: 'Tiles' }),
  replaceTask: () => ({ title: 'Tiles' }),
  patchTask: () => ({ title: 'Tiles' }),
  batchTasks: ({ task_id }) => ({ operations: [{ op: 'update', task_id, title: 'Tiles' }] }),
  refreshSession: () => ({ refresh_token: 'x' }),
  patchProfile: () => ({}),
  changePassword: () => ({ current_password: 'x', new_password: 'an entirely new phrase' }),
  deleteAccount: () => ({ password: 'x' }),
  addMember: () => ({ username: 'nobody', role: 'viewer' }),
  patchMember: () => ({ role: 'viewer' }),
  createInvitation: () => ({ role: 'viewer' }),
  importProject: () => ({
    format: 'mantou-project',
    format_version: 1,
    exported_at: '2026-11-25T00:00:00.000Z',
    project: {
      name: 'Kitchen',
      description: null,
      archived_at: null,
      created_at: '2026-11-01T00:00:00.000Z',
      updated_at: '2026-11-01T00:00:00.000Z',
    },
    tasks: [],
  }),
  createComment: () => ({ body: 'Slate' }),
  patchComment: () => ({ body: 'Terracotta' }),
  createCalendarAddress: () => ({ name: 'phone' }),
  createApiToken: () => ({ name: 'report', scopes: ['read'] }),
  renameLabel: () => ({ name: 'bath' }),
  createWebhook: () => ({ url: WEBHOOK_URL }),
  patchWebhook: () => ({ name: 'chat' }),
  replayWebhook: ({ cursor }) => ({ since: cursor }),
  rotateWebhookSecret: () => ({}),
  callMcp: () => ({ jsonrpc: '2.0', id: 1, method: 'tools/list' }),
};

/** What the parameters of paths stand for, and a cursor of the feed of changes. */
export type Ids = Record<
  | 'project_id'
  | 'task_id'
  | 'trash_id'
  | 'comment_id'
  | 'session_id'
  | 'token_id'
  | 'token'
  | 'invitation_id'
  | 'user_id'
  | 'webhook_id'
  | 'calendar_id'
  | 'file'
  | 'label'
  | 'code'
  | 'cursor',
  string
>;

const random = () => crypto.randomUUID();
/** Ids that nothing has. */
export const missingIds: Ids = {
  project_id: random(),
  task_id: random(),
  trash_id: random(),
  comment_id: random(),
  session_id: random(),
  token_id: random(),
  token: `mi_${'x'.repeat(43)}`,
  invitation_id: random(),
  user_id: random(),
  webhook_id: random(),
  calendar_id: random(),
  file: `${'x'.repeat(43)}.ics`,
  label: 'kitchen',
  code: 'conflict',
  cursor: 'x',
};

interface SendOptions {
  headers?: Record<string, string>;
  query?: string;
  body?: unknown;
  raw?: string;
}

/** Sends a request that fits the operation, with another body, query or headers where they are given. */
export function send(
  client: Client,
  operation: Operation,
  ids: Ids,
  { query = '', ...options }: SendOptions = {},
) {
  const path = operation.path.replaceAll(/\{(\w+)\}/g, (_, name) => ids[name as keyof Ids]);
  const { body = bodies[operation.operationId]?.(ids), ...rest } = options;
  const sent = options.raw === undefined ? body : undefined;
  return client.request(operation.method, path + query, sent, rest);
}
