/** Who may do what: every role on every operation, from the route table and a rule, not from a list by hand. */
import { beforeAll, describe, expect, test } from 'bun:test';
import { Client, type Persona, useApi } from '../support/api.ts';
import { type Operation, operations } from '../support/document.ts';
import { type Ids, missingIds, send } from '../support/requests.ts';

const api = useApi();

const roles = [
  'anonymous',
  'stranger',
  'viewer',
  'editor',
  'owner',
  'reading token',
  'writing token',
] as const;
type Role = (typeof roles)[number];

let people: Record<'stranger' | 'viewer' | 'editor' | 'owner' | 'guest', Persona>;
let clients: Record<Role, Client>;

beforeAll(async () => {
  const [stranger, viewer, editor, owner, guest] = [
    await api.person(),
    await api.person(),
    await api.person(),
    await api.person(),
    await api.person(),
  ];
  people = { stranger, viewer, editor, owner, guest };
  const tokenOf = async (scopes: string[]) => {
    const { body } = await owner.post('/users/me/tokens', { name: 'x', scopes });
    return new Client(api, body.token);
  };
  clients = {
    ...people,
    anonymous: api.anonymous,
    'reading token': await tokenOf(['read']),
    'writing token': await tokenOf(['read', 'write']),
  };
});

/** A project of the owner with a viewer, an editor, a guest for others to act upon, and a task in it with a comment of the editor. */
async function place(): Promise<Ids> {
  const { owner, viewer, editor, guest } = people;
  const project = await owner.createProject();
  await api.addMember(project.id, viewer, 'viewer');
  await api.addMember(project.id, editor, 'editor');
  await api.addMember(project.id, guest, 'viewer');
  const { id: taskId } = await owner.createTask(project.id);
  const { body: comment } = await editor.post(`/tasks/${taskId}/comments`, { body: 'Slate' });
  const { body } = await owner.post(`/projects/${project.id}/invitations`, { role: 'viewer' });
  const invitation = { invitation_id: body.id, token: body.token };
  const ids = {
    project_id: project.id,
    task_id: taskId,
    comment_id: comment.id,
    user_id: guest.id,
  };
  return { ...missingIds, ...invitation, ...ids };
}

const reads = ({ method }: Operation) => method === 'GET';
const isOfTasks = ({ path }: Operation) => /^\/(tasks|comments)|\/labels\//.test(path);
const isOfInvitations = ({ path }: Operation) => /\/invitations/.test(path);
/** What only a log-in may do: all about the account but to read and to take along what it owns. */
const isOfAccount = ({ path }: Operation) =>
  /^\/(users\/(me|logout)|webhooks|invitations)/.test(path) &&
  !/^\/users\/me(\/export)?$/.test(path);
const isOfProject = (operation: Operation) =>
  /\{(project|task|comment)_id\}|batch/.test(operation.path) && !isOfAccount(operation);

/** The rule of the contract. @returns the status that stops this role, or undefined where it may. */
function refusal(operation: Operation, role: Role): number | undefined {
  if (operation.public) return undefined;
  if (role === 'anonymous') return 401;
  const byToken = role.endsWith('token');
  // A token that reads may send messages: it is shown the tools that read.
  if (operation.operationId === 'callMcp') return undefined;
  if (role === 'reading token' && !reads(operation)) return 403;
  if (byToken && (isOfAccount(operation) || (operation.path === '/users/me' && !reads(operation))))
    return 403;
  if (byToken || !isOfProject(operation) || role === 'owner')
    return operation.operationId === 'patchComment' ? 403 : undefined;
  if (role === 'stranger') return 404;
  if (reads(operation) && !isOfInvitations(operation)) return undefined;
  return role === 'editor' && isOfTasks(operation) ? undefined : 403;
}

/** Bodies that have to name an existing user. */
const bodyOf = ({ operationId }: Operation) =>
  operationId === 'addMember' && {
    body: { username: people.stranger.username, role: 'viewer' },
  };

// Those that end the very credential they are sent with have tests of their own.
const tried = operations.filter(
  ({ operationId }) => !['logOut', 'endOtherSessions', 'deleteAccount'].includes(operationId),
);

describe.each(
  tried.map((operation) => [`${operation.method} ${operation.path}`, operation] as const),
)('%s', (_, operation) => {
  test.each([...roles])('%s', async (role) => {
    const { status, body } = await send(
      clients[role],
      operation,
      await place(),
      bodyOf(operation) || {},
    );
    const stopped = refusal(operation, role);
    if (stopped !== undefined) expect([status, body.status]).toEqual([stopped, stopped]);
    else
      expect(
        [401, 403].includes(status) &&
          body?.code !== 'invalid_credentials' &&
          body?.code !== 'invalid_refresh_token',
      ).toBe(false);
    // A user who may see the resource gets no 404.
    if (stopped === undefined && isOfProject(operation)) expect(status).toBeLessThan(300);
  });
});
