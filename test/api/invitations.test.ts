/** Invitations: what their holders may do, until when, and that no use counts twice. */
import { describe, expect, test } from 'bun:test';
import { type Answer, Client, type Persona, useApi } from '../support/api.ts';
import { countWaiting, openTransaction, waitForBlockedQuery } from '../support/locks.ts';
import { waitFor } from '../support/process.ts';

const api = useApi();

const UNKNOWN = `mi_${'x'.repeat(43)}`;
const DAY_MS = 24 * 3600 * 1000;
const daysAhead = (days: number) => new Date(Date.now() + days * DAY_MS).toISOString();
/** Beyond every bound, whenever the test runs. */
const [PAST, TOO_LATE] = ['2020-01-01T00:00:00Z', '9999-01-01T00:00:00Z'];
const pathOf = (project: { id: string }) => `/projects/${project.id}/invitations`;

/** A project with a member in each role, and a user who has nothing to do with it. */
async function sharedProject() {
  const owner = await api.person('owner');
  const project = await owner.createProject();
  const [editor, viewer, stranger] = [await api.person(), await api.person(), await api.person()];
  await api.addMember(project.id, editor, 'editor');
  await api.addMember(project.id, viewer, 'viewer');
  return { owner, editor, viewer, stranger, project, path: pathOf(project) };
}

interface Invited {
  id: string;
  token: string;
}

async function invite(owner: Persona, path: string, fields: object = {}): Promise<Invited> {
  const { status, body } = await owner.post(path, { role: 'viewer', ...fields });
  expect(status).toBe(201);
  return body;
}

const accept = (who: Client, { token }: Pick<Invited, 'token'>) =>
  who.post(`/invitations/${token}/accept`);

const rowOf = async ({ id }: Pick<Invited, 'id'>) =>
  (await api.sql`select * from invitations where id = ${id}`)[0];
const rolesIn = async (project: { id: string }) =>
  Object.fromEntries(
    (await api.sql`select user_id, role from project_members where project_id = ${project.id}`).map(
      ({ user_id, role }: { user_id: string; role: string }) => [user_id, role],
    ),
  );
const statusesOf = (answers: Answer[]) => answers.map(({ status }) => status).toSorted();

describe('making an invitation', () => {
  test('the owner gets the token once, and only its hash is stored', async () => {
    const { owner, path, project } = await sharedProject();
    const { status, body, headers } = await owner.post(path, { role: 'editor' });
    expect([status, headers.get('cache-control')]).toEqual([201, 'no-store']);
    const { token, ...shown } = body;
    expect(shown).toEqual({
      id: expect.any(String),
      role: 'editor',
      state: 'open',
      uses: 0,
      uses_max: 1,
      expires_at: expect.stringMatching(/Z$/),
      created_at: expect.stringMatching(/Z$/),
    });
    expect(token).toMatch(/^mi_[A-Za-z0-9_-]{43}$/);
    expect(Date.parse(shown.expires_at) - Date.parse(shown.created_at)).toBe(7 * DAY_MS);
    expect((await owner.get(path)).body).toEqual({ items: [shown], next_cursor: null });
    expect(JSON.stringify(await rowOf(body))).not.toContain(token.slice(3));
    expect((await rowOf(body)).project_id).toBe(project.id);
  });

  test('takes an end and a number of uses', async () => {
    const { owner, path } = await sharedProject();
    const fields = { role: 'viewer', expires_at: daysAhead(89), uses_max: 100 };
    const { status, body } = await owner.post(path, fields);
    expect([status, body]).toMatchObject([201, fields]);
  });

  test.each([
    [{ role: 'owner' }, 'body.role', 'not_allowed'],
    [{}, 'body.role', 'required'],
    [{ role: 'viewer', uses_max: 0 }, 'body.uses_max', undefined],
    [{ role: 'viewer', uses_max: 101 }, 'body.uses_max', undefined],
    [{ role: 'viewer', uses_max: 1.5 }, 'body.uses_max', undefined],
    [{ role: 'viewer', expires_at: '2026-02-30T00:00:00Z' }, 'body.expires_at', 'invalid_instant'],
    [{ role: 'viewer', expires_at: null }, 'body.expires_at', undefined],
    [{ role: 'viewer', expires_at: PAST }, 'body.expires_at', 'in_the_past'],
    [{ role: 'viewer', expires_at: TOO_LATE }, 'body.expires_at', 'too_late'],
    [{ role: 'viewer', surprise: 1 }, 'body.surprise', 'unknown_field'],
  ])('%j is 422', async (fields, location, code) => {
    const { owner, path } = await sharedProject();
    const { status, body } = await owner.post(path, fields);
    expect([status, body.errors?.[0].location]).toEqual([422, location]);
    if (code) expect(body.errors[0].code).toBe(code);
    expect((await owner.get(path)).body.items).toEqual([]);
  });

  test('a project has up to 100 open ones, also of requests at the same time', async () => {
    const { owner, path, project } = await sharedProject();
    await api.sql`insert into invitations (id, project_id, role, token_hash, uses_max, expires_at)
      select gen_random_uuid(), ${project.id}, 'viewer', gen_random_uuid(), 1, now() + interval '1 day'
      from generate_series(1, 97)`;
    const made = await Promise.all(
      Array.from({ length: 6 }, () => owner.post(path, { role: 'viewer' })),
    );
    expect(statusesOf(made)).toEqual([201, 201, 201, 409, 409, 409]);
    // One that has ended makes room.
    const { body } = await owner.get(path);
    expect((await owner.delete(`${path}/${body.items[0].id}`)).status).toBe(204);
    await invite(owner, path);
  });

  test('the latest 100 that have ended are kept', async () => {
    const { owner, path, project } = await sharedProject();
    await api.sql`insert into invitations (id, project_id, role, token_hash, uses_max, expires_at, created_at)
      select gen_random_uuid(), ${project.id}, 'viewer', 'old ' || n, 1, now() - interval '1 day', now() - n * interval '2 day'
      from generate_series(1, 103) n`;
    const { id } = await invite(owner, path);
    const kept =
      await api.sql`select id, token_hash from invitations where project_id = ${project.id}
      order by created_at desc`;
    expect(
      kept.map((row: { id: string; token_hash: string }) => (row.id === id ? id : row.token_hash)),
    ).toEqual([id, ...Array.from({ length: 100 }, (_, n) => `old ${n + 1}`)]);
  });
});

test('only the owner makes, lists and revokes invitations', async () => {
  const { owner, editor, viewer, stranger, path } = await sharedProject();
  const { id } = await invite(owner, path);
  for (const [who, status] of [
    [editor, 403],
    [viewer, 403],
    [stranger, 404],
    [api.anonymous, 401],
  ] as [Client, number][]) {
    expect((await who.get(path)).status).toBe(status);
    expect((await who.post(path, { role: 'viewer' })).status).toBe(status);
    expect((await who.delete(`${path}/${id}`)).status).toBe(status);
  }
  expect(await rowOf({ id })).toMatchObject({ revoked_at: null, uses: 0 });
  // An API token that writes does what its owner does.
  const scopes = ['read', 'write'];
  const { body } = await owner.post('/users/me/tokens', { name: 'script', scopes });
  const script = new Client(api, body.token);
  expect((await script.get(path)).body.items).toHaveLength(1);
  expect((await script.post(path, { role: 'viewer' })).status).toBe(201);
  expect((await script.delete(`${path}/${id}`)).status).toBe(204);
});

test('invitations are paged, latest first, with cursors of this project alone', async () => {
  const { owner, path } = await sharedProject();
  const ids: string[] = [];
  for (let n = 0; n < 3; n += 1) ids.unshift((await invite(owner, path)).id);
  const first = await owner.get(`${path}?limit=2`);
  const cursor = `cursor=${first.body.next_cursor}`;
  const second = await owner.get(`${path}?limit=2&${cursor}`);
  const items = [...first.body.items, ...second.body.items];
  expect(items.map(({ id }) => id)).toEqual(ids);
  expect(second.body.next_cursor).toBeNull();
  const other = await owner.createProject();
  expect((await owner.get(`${pathOf(other)}?${cursor}`)).body.code).toBe('invalid_cursor');
});

describe('revoking', () => {
  test('ends an invitation, and what has been accepted stays', async () => {
    const { owner, stranger, project, path } = await sharedProject();
    const invitation = await invite(owner, path, { uses_max: 2 });
    expect((await accept(stranger, invitation)).status).toBe(200);
    for (let times = 0; times < 2; times += 1)
      expect((await owner.delete(`${path}/${invitation.id}`)).status).toBe(204);
    expect((await owner.get(path)).body.items).toMatchObject([{ state: 'revoked', uses: 1 }]);
    expect((await accept(await api.person(), invitation)).body.code).toBe('invitation_ended');
    expect(await rolesIn(project)).toMatchObject({ [stranger.id]: 'viewer' });
  });

  test('of an unknown one, and of one of another project, gets 404', async () => {
    const { owner, path } = await sharedProject();
    const elsewhere = await owner.createProject();
    const { id } = await invite(owner, pathOf(elsewhere));
    for (const wrong of [id, crypto.randomUUID(), 'x'])
      expect((await owner.delete(`${path}/${wrong}`)).status).toBe(404);
    expect((await rowOf({ id })).revoked_at).toBeNull();
  });
});

describe('accepting', () => {
  test.each(['viewer', 'editor'])('makes the user a %s', async (role) => {
    const { owner, stranger, project, path } = await sharedProject();
    const [{ version }] = await api.sql`select version from projects where id = ${project.id}`;
    const invitation = await invite(owner, path, { role });
    const { status, body } = await accept(stranger, invitation);
    expect([status, body]).toEqual([
      200,
      {
        project_id: project.id,
        user_id: stranger.id,
        username: stranger.username,
        role,
        created_at: expect.stringMatching(/Z$/),
      },
    ]);
    const { project_id: _, ...member } = body;
    expect((await owner.get(`/projects/${project.id}/members?limit=1`)).body.items).toEqual([
      member,
    ]);
    const seen = await stranger.get(`/projects/${project.id}`);
    expect(seen.body).toMatchObject({ role, version: version + 1 });
    expect((await owner.get(path)).body.items).toMatchObject([{ state: 'used_up', uses: 1 }]);
  });

  test('is in the history as the act of the one who accepts', async () => {
    const { owner, stranger, project, path } = await sharedProject();
    await accept(stranger, await invite(owner, path));
    const { body } = await owner.get(`/projects/${project.id}/events`);
    const [added] = body.items.filter(
      ({ subject_id }: { subject_id: string }) => subject_id === stranger.id,
    );
    expect(added).toMatchObject({
      action: 'member.added',
      actor_id: stranger.id,
      actor_token: null,
      fields: { role: 'viewer' },
    });
    const changes = await stranger.get('/changes?snapshot=true');
    expect(changes.status).toBe(200);
  });

  test('again takes no further use, also after the last, and keeps the role', async () => {
    const { owner, editor, stranger, project, path } = await sharedProject();
    const invitation = await invite(owner, path);
    const first = await accept(stranger, invitation);
    const again = await accept(stranger, invitation);
    expect([again.status, again.body]).toEqual([200, first.body]);
    await owner.delete(`${path}/${invitation.id}`);
    expect((await accept(stranger, invitation)).body).toEqual(first.body);
    const wide = await invite(owner, path, { uses_max: 9 });
    expect((await accept(editor, wide)).body.role).toBe('editor');
    expect((await accept(owner, wide)).body.role).toBe('owner');
    expect((await rowOf(wide)).uses).toBe(0);
    expect(await rolesIn(project)).toMatchObject({ [owner.id]: 'owner', [editor.id]: 'editor' });
  });

  test('what was used up, has expired or was revoked says so to its holder', async () => {
    const { owner, path } = await sharedProject();
    const [used, expired, revoked] = [
      await invite(owner, path),
      await invite(owner, path),
      await invite(owner, path),
    ];
    await accept(await api.person(), used);
    await api.sql`update invitations set expires_at = now() where id = ${expired.id}`;
    await owner.delete(`${path}/${revoked.id}`);
    const bob = await api.person();
    for (const [invitation, detail] of [
      [used, 'The invitation was used up'],
      [expired, 'The invitation has expired'],
      [revoked, 'The invitation was revoked'],
    ] as const) {
      const { status, body } = await accept(bob, invitation);
      expect([status, body.code, body.detail]).toEqual([410, 'invitation_ended', detail]);
    }
    const { body } = await owner.get(path);
    const states = body.items.map(({ state }: { state: string }) => state);
    expect(states).toEqual(['revoked', 'expired', 'used_up']);
  });

  test('a wrong token is the 404 of an unknown path id', async () => {
    const { owner, stranger, path } = await sharedProject();
    const { token } = await invite(owner, path);
    const { body: unknown } = await stranger.get(`/projects/${crypto.randomUUID()}`);
    for (const wrong of [UNKNOWN, token.toUpperCase(), token.slice(3), 'x']) {
      const { status, body } = await accept(stranger, { token: wrong });
      expect([status, { ...body, request_id: '' }]).toEqual([404, { ...unknown, request_id: '' }]);
    }
  });

  test('needs a log-in: not an API token, and not the token alone', async () => {
    const { owner, stranger, project, path } = await sharedProject();
    const invitation = await invite(owner, path);
    const scopes = ['read', 'write'];
    const { body } = await stranger.post('/users/me/tokens', { name: 'script', scopes });
    expect((await accept(new Client(api, body.token), invitation)).status).toBe(403);
    expect((await accept(api.anonymous, invitation)).status).toBe(401);
    expect((await accept(new Client(api, invitation.token), invitation)).status).toBe(401);
    expect(await rolesIn(project)).not.toHaveProperty(stranger.id);
    expect((await rowOf(invitation)).uses).toBe(0);
  });

  test('brings a user back who has left, whom the owner cannot add', async () => {
    const { owner, editor, project, path } = await sharedProject();
    const members = `/projects/${project.id}/members`;
    await editor.delete(`${members}/${editor.id}`);
    const again = { username: editor.username, role: 'viewer' };
    expect((await owner.post(members, again)).status).toBe(409);
    expect((await accept(editor, await invite(owner, path))).status).toBe(200);
    expect((await editor.get('/users/me/left-projects')).body.items).toEqual([]);
    // Removed by the owner afterwards, they can be added again.
    await owner.delete(`${members}/${editor.id}`);
    expect((await owner.post(members, again)).status).toBe(201);
  });

  test('in an archived project is refused, as making and revoking are, but not listing', async () => {
    const { owner, stranger, project, path } = await sharedProject();
    const invitation = await invite(owner, path);
    await owner.patch(`/projects/${project.id}`, { archived: true });
    const answers = [
      await accept(stranger, invitation),
      await owner.post(path, { role: 'viewer' }),
      await owner.delete(`${path}/${invitation.id}`),
    ];
    for (const { status, body } of answers)
      expect([status, body.code, body.detail]).toEqual([
        409,
        'conflict',
        'The project is archived',
      ]);
    expect((await owner.get(path)).body.items).toMatchObject([{ state: 'open', uses: 0 }]);
    await owner.patch(`/projects/${project.id}`, { archived: false });
    expect((await accept(stranger, invitation)).status).toBe(200);
  });

  test('works after the project was handed over, and the new owner revokes', async () => {
    const { owner, editor, stranger, project, path } = await sharedProject();
    const invitation = await invite(owner, path, { uses_max: 2 });
    await owner.patch(`/projects/${project.id}/members/${editor.id}`, { role: 'owner' });
    expect((await accept(stranger, invitation)).status).toBe(200);
    expect((await owner.delete(`${path}/${invitation.id}`)).status).toBe(403);
    expect((await editor.delete(`${path}/${invitation.id}`)).status).toBe(204);
  });

  test('is not possible while the project is in the trash, and the invitation ends with the project', async () => {
    const { owner, stranger, project, path } = await sharedProject();
    const invitation = await invite(owner, path);
    await owner.delete(`/projects/${project.id}`);
    expect((await accept(stranger, invitation)).status).toBe(404);
    expect((await rowOf(invitation)).uses).toBe(0);
    await owner.post(`/trash/${project.id}/restore`);
    expect((await accept(stranger, invitation)).status).toBe(200);
    await api.sql`delete from projects where id = ${project.id}`;
    expect(await rowOf(invitation)).toBeUndefined();
  });
});

describe('at the same time', () => {
  test('of 21 who accept an invitation with 20 uses, 20 succeed', async () => {
    const { owner, project, path } = await sharedProject();
    const invitation = await invite(owner, path, { uses_max: 20 });
    const people = await Promise.all(Array.from({ length: 21 }, () => api.person()));
    const answers = await Promise.all(people.map((who) => accept(who, invitation)));
    expect(statusesOf(answers)).toEqual([...Array(20).fill(200), 410]);
    expect((await rowOf(invitation)).uses).toBe(20);
    const roles = await rolesIn(project);
    const joined = people.filter(({ id }) => id in roles);
    expect(joined.length).toBe(20);
  });

  test('20 requests of one user take one use', async () => {
    const { owner, stranger, path } = await sharedProject();
    const invitation = await invite(owner, path, { uses_max: 20 });
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => accept(stranger, invitation)),
    );
    expect(statusesOf(answers)).toEqual(Array(20).fill(200));
    expect((await rowOf(invitation)).uses).toBe(1);
  });

  test('a revocation that comes first is obeyed', async () => {
    const { owner, stranger, project, path } = await sharedProject();
    const invitation = await invite(owner, path);
    const unlock = await openTransaction(
      api,
      (sql) => sql`select from projects where id = ${project.id} for share`,
    );
    const revoked = owner.delete(`${path}/${invitation.id}`);
    await waitForBlockedQuery(api);
    const accepted = accept(stranger, invitation);
    await waitFor('both wait', async () => (await countWaiting(api.sql)) === 2);
    await unlock();
    expect((await revoked).status).toBe(204);
    expect((await accepted).body.detail).toBe('The invitation was revoked');
    expect(await rolesIn(project)).not.toHaveProperty(stranger.id);
  });

  test('a deletion of the project that comes first is obeyed', async () => {
    const { owner, stranger, project, path } = await sharedProject();
    const invitation = await invite(owner, path);
    const unlock = await openTransaction(
      api,
      (sql) => sql`select from projects where id = ${project.id} for share`,
    );
    const deleted = owner.delete(`/projects/${project.id}`);
    await waitForBlockedQuery(api);
    const accepted = accept(stranger, invitation);
    await waitFor('both wait', async () => (await countWaiting(api.sql)) === 2);
    await unlock();
    expect([(await deleted).status, (await accepted).status]).toEqual([204, 404]);
    expect(await rolesIn(project)).not.toHaveProperty(stranger.id);
  });

  test('a session that ends while the acceptance waits adds no member', async () => {
    const { owner, stranger, project, path } = await sharedProject();
    const invitation = await invite(owner, path);
    const unlock = await openTransaction(
      api,
      (sql) => sql`select from projects where id = ${project.id} for share`,
    );
    const accepted = accept(stranger, invitation);
    await waitForBlockedQuery(api);
    await api.sql`delete from sessions where user_id = ${stranger.id}`;
    await unlock();
    expect((await accepted).body.code).toBe('invalid_token');
    expect(await rolesIn(project)).not.toHaveProperty(stranger.id);
    expect((await rowOf(invitation)).uses).toBe(0);
  });

  test('accepting, adding, leaving, handing over and deleting end in a whole project or none', async () => {
    for (let round = 0; round < 5; round += 1) {
      const { owner, editor, viewer, stranger, project, path } = await sharedProject();
      const invitation = await invite(owner, path, { uses_max: 3 });
      const members = `/projects/${project.id}/members`;
      const answers = await Promise.all([
        accept(stranger, invitation),
        owner.post(members, { username: stranger.username, role: 'editor' }),
        accept(await api.person(), invitation),
        editor.delete(`${members}/${editor.id}`),
        owner.patch(`${members}/${viewer.id}`, { role: 'owner' }),
        stranger.request('DELETE', '/users/me', { password: stranger.password }),
        round % 2 === 0 ? owner.get(path) : owner.delete(`/projects/${project.id}`),
      ]);
      expect(
        answers.flatMap(({ status, body }, n) => (status < 500 ? [] : [[n, body.code]])),
      ).toEqual([]);
      const roles = Object.values(await rolesIn(project));
      const [exists] = await api.sql`select from projects where id = ${project.id}`;
      expect(roles.filter((role) => role === 'owner')).toHaveLength(exists ? 1 : 0);
    }
  });
});

test('no log line has a token; the audit log has who made, accepted and revoked an invitation', async () => {
  const { owner, stranger, project, path } = await sharedProject();
  const [events, requests] = [api.log.length, api.requests.length];
  const invitation = await invite(owner, path);
  await accept(stranger, invitation);
  await accept(stranger, invitation);
  await accept(await api.person(), invitation);
  await stranger.post(`/invitations/${invitation.token}/accept?surprise=1`);
  const { token } = invitation;
  await stranger.get(`/invitations/${token}/accept`, { undocumented: true });
  await stranger.get(`/invitations/${token}`, { undocumented: true });
  await owner.delete(`${path}/${invitation.id}`);
  const lines = [...api.log.slice(events), ...api.requests.slice(requests)];
  expect(JSON.stringify(lines)).not.toContain(token.slice(3));
  const audited = lines.filter(({ event }) => event.startsWith('invitation_'));
  expect(audited.map(({ event, fields }) => [event, fields.user_id])).toEqual([
    ['invitation_created', owner.id],
    ['invitation_accepted', stranger.id],
    ['invitation_revoked', owner.id],
  ]);
  for (const { fields } of audited)
    expect(fields).toMatchObject({ project_id: project.id, invitation_id: invitation.id });
  const accepted = lines.find(({ fields }) => fields.route === '/invitations/{token}/accept');
  expect(accepted?.fields).toMatchObject({ status: 200, user_id: stranger.id });
});

describe.each(['open', 'closed'] as const)('registering with REGISTRATION=%s', (registration) => {
  const here = useApi({ registration });
  const PASSWORD = 'correct horse battery staple';
  let names = 0;
  const newcomer = (fields: object) => {
    const username = `new-${++names}`;
    const body = { username, email: `${username}@example.org`, password: PASSWORD, ...fields };
    return here.anonymous.post('/users/register', body);
  };
  async function invitedTo(fields: object = {}) {
    const owner = await here.person();
    const project = await owner.createProject();
    const { body } = await owner.post(pathOf(project), { role: 'editor', ...fields });
    return { owner, project, invitation: body as Invited };
  }
  const countUsers = async () => (await here.countRows()).users;

  test('with an invitation makes an account that is a member', async () => {
    const { owner, project, invitation } = await invitedTo();
    const events = here.log.length;
    const { status, body } = await newcomer({ invitation: invitation.token });
    expect(status).toBe(201);
    const session = await here.anonymous.logIn(body.username, PASSWORD);
    const member = new Client(here, session.body.access_token);
    expect((await member.get('/projects')).body.items).toMatchObject([
      { id: project.id, role: 'editor' },
    ]);
    expect((await owner.get(pathOf(project))).body.items).toMatchObject([
      { state: 'used_up', uses: 1 },
    ]);
    const history = await owner.get(`/projects/${project.id}/events`);
    const added = history.body.items.find(
      ({ subject_id }: { subject_id: string }) => subject_id === body.id,
    );
    expect(added).toMatchObject({ action: 'member.added', actor_id: body.id });
    const ids = { user_id: body.id, project_id: project.id, invitation_id: invitation.id };
    expect(here.log.slice(events)).toMatchObject([
      { event: 'registered', fields: { user_id: body.id } },
      { event: 'invitation_accepted', fields: ids },
      { event: 'logged_in' },
    ]);
    expect(JSON.stringify([here.log, here.requests])).not.toContain(invitation.token.slice(3));
    // It is used up for the next.
    const before = await countUsers();
    const next = await newcomer({ invitation: invitation.token });
    expect([next.status, next.body.code]).toEqual([410, 'invitation_ended']);
    expect(await countUsers()).toBe(before);
  });

  test('with an unknown one makes no account', async () => {
    const before = await countUsers();
    for (const invitation of [UNKNOWN, 'x']) {
      const { status, body } = await newcomer({ invitation });
      expect([status, body.code, body.errors]).toEqual([
        404,
        'not_found',
        [{ location: 'body.invitation', code: 'not_found', message: 'Not found' }],
      ]);
    }
    for (const invitation of ['', 'x'.repeat(101), null])
      expect((await newcomer({ invitation })).status).toBe(422);
    expect(await countUsers()).toBe(before);
  });

  test('with one of an archived project makes no account', async () => {
    const { owner, project, invitation } = await invitedTo();
    await owner.patch(`/projects/${project.id}`, { archived: true });
    const before = await countUsers();
    const { status, body } = await newcomer({ invitation: invitation.token });
    expect([status, body.detail]).toEqual([409, 'The project is archived']);
    expect(await countUsers()).toBe(before);
  });

  test('under a name that is taken takes no use', async () => {
    const { owner, project, invitation } = await invitedTo();
    const taken = await newcomer({ invitation: invitation.token, username: owner.username });
    expect([taken.status, taken.body.code]).toEqual([409, 'username_taken']);
    expect((await owner.get(pathOf(project))).body.items).toMatchObject([{ uses: 0 }]);
    expect((await newcomer({ invitation: invitation.token })).status).toBe(201);
  });

  test('of 5 at the same time with an invitation for 3, 3 make an account', async () => {
    const { invitation } = await invitedTo({ uses_max: 3 });
    const before = await countUsers();
    const answers = await Promise.all(
      Array.from({ length: 5 }, () => newcomer({ invitation: invitation.token })),
    );
    expect(statusesOf(answers)).toEqual([201, 201, 201, 410, 410]);
    expect(await countUsers()).toBe(Number(before) + 3);
  });
});

describe('guessing', () => {
  const limited = useApi({ rateLimit: true, registration: 'closed' });
  const guess = (who: Client) =>
    accept(who, { token: `mi_${crypto.randomUUID()}${'x'.repeat(7)}` });
  const register = (invitation: string) => {
    const username = `n${crypto.randomUUID().slice(0, 8)}`;
    const email = `${username}@example.org`;
    const password = 'correct horse battery staple';
    return limited.anonymous.post('/users/register', { username, email, password, invitation });
  };
  const setHits = (limit: string, hits: number) =>
    limited.sql`update rate_limits set hits = ${hits} where key like ${`${limit}:%`}`;
  const hitsOf = async (limit: string) =>
    (await limited.sql`select hits from rate_limits where key like ${`${limit}:%`}`).map(
      ({ hits }: { hits: number }) => hits,
    );

  test('is refused after 10 wrong tokens of a user; a right one counts nothing', async () => {
    const [owner, bob] = [await limited.person(), await limited.person()];
    const project = await owner.createProject();
    const [used, open] = [
      await invite(owner, pathOf(project)),
      await invite(owner, pathOf(project)),
    ];
    await accept(owner, used);
    expect(await hitsOf('invitation')).toEqual([0]);
    const guesses = await Promise.all(Array.from({ length: 20 }, () => guess(bob)));
    expect(statusesOf(guesses)).toEqual([...Array(10).fill(404), ...Array(10).fill(429)]);
    const { status, headers } = await accept(bob, open);
    expect([status, Number(headers.get('retry-after')) > 0]).toEqual([429, true]);
    expect((await accept(await limited.person(), open)).status).toBe(200);
    // Its holder is told that it has ended, and has not guessed.
    const before = await hitsOf('invitation-address');
    expect((await accept(await limited.person(), open)).status).toBe(410);
    expect(await hitsOf('invitation-address')).toEqual(before);
  });

  test('is refused after 100 wrong tokens from an address, before any hash', async () => {
    const owner = await limited.person();
    const project = await owner.createProject();
    const { token } = await invite(owner, pathOf(project));
    expect((await register(UNKNOWN)).status).toBe(404);
    expect(await hitsOf('register')).toEqual([]);
    await setHits('invitation-address', 99);
    expect((await register(UNKNOWN)).status).toBe(404);
    const { status, body } = await register(token);
    expect([status, body.code]).toEqual([429, 'rate_limited']);
    await limited.sql`delete from rate_limits`;
    expect((await register(token)).status).toBe(201);
    // Used up by now: its holder is told before a hash, too, and has not guessed.
    const counted = await hitsOf('register');
    expect((await register(token)).status).toBe(410);
    expect([await hitsOf('register'), await hitsOf('invitation-address')]).toEqual([counted, [0]]);
  });
});
