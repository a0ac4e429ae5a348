import { Elysia } from 'elysia';
import { exportAccount } from '../handlers/account-export.ts';
import type { ExportLimit } from '../handlers/export-limit.ts';
import {
  changePassword,
  deleteAccount,
  patchProfile,
  readProfile,
  registerUser,
} from '../handlers/users.ts';
import { requestState } from '../http/request-state.ts';
import { streamJson } from '../http/stream-response.ts';
import { operation } from '../openapi/operation.ts';
import type { Platform } from '../platform.ts';
import type { OpenRoutes, SessionRoutes, UserRoutes } from '../plugins/route-groups.ts';
import { AccountExport } from '../schemas/account-export.ts';
import { Nothing } from '../schemas/types/object.ts';
import {
  AccountDeletion,
  PasswordChange,
  Registration,
  User,
  UserPatch,
} from '../schemas/users.ts';

export const registration = ({ database: db, passwords, settings }: Platform, group: OpenRoutes) =>
  new Elysia({ prefix: '/users', tags: ['Users'] }).use(group).post(
    '/register',
    async ({ body, request, set, device, audit }) => {
      const rules = { ...settings, address: device.address };
      const { user, acceptance } = await registerUser(db, body, rules, passwords);
      audit('registered', { user_id: user.id });
      if (acceptance) {
        const { membership, invitation_id } = acceptance;
        const { project_id } = membership;
        requestState(request).hasWritten = true;
        audit('invitation_accepted', { user_id: user.id, project_id, invitation_id });
      }
      set.status = 201;
      return user;
    },
    {
      body: Registration,
      response: { 201: User },
      detail: operation('registerUser', 'Register', {
        description:
          'With the token of an `invitation`, the account is a member of its project from the start, also where registration is closed.',
        public: true,
        problems: [
          'registration_closed',
          'not_found',
          'conflict',
          'invitation_ended',
          'username_taken',
          'email_taken',
          'weak_password',
          'overloaded',
          'internal',
          'database_unavailable',
        ],
      }),
    },
  );

/** The routes that accept an API token too. */
export const profile = (
  { database: db, log, bindStream }: Platform,
  group: UserRoutes,
  limitExport: ExportLimit,
) =>
  new Elysia({ prefix: '/users', tags: ['Users'] })
    .use(group)
    .get('/me', ({ user }) => readProfile(db, user), {
      response: { 200: User },
      detail: operation('readProfile', 'Get your profile'),
    })
    .get(
      '/me/export',
      ({ request, user, set }) => {
        set.headers['content-disposition'] = 'attachment; filename="mantou-account.json"';
        const pieces = limitExport(user, (exported) => exportAccount(exported, user));
        return streamJson(request, bindStream(pieces), () =>
          log('error', 'export_cut', { request_id: set.headers['x-request-id'], user_id: user.id }),
        );
      },
      {
        response: { 200: AccountExport },
        detail: operation('exportAccount', 'Export your account', {
          description:
            'One JSON document with your profile and the projects that you own, with their members and tasks. The response is streamed.',
          problems: ['overloaded'],
        }),
      },
    );

export const account = ({ database: db, passwords, settings }: Platform, group: SessionRoutes) =>
  new Elysia({ prefix: '/users', tags: ['Users'] })
    .use(group)
    .patch(
      '/me',
      ({ user, body, device: { address } }) =>
        patchProfile(db, user, body, { address, rateLimit: settings.rateLimit }, passwords),
      {
        body: UserPatch,
        response: { 200: User },
        detail: operation('patchProfile', 'Update your profile', {
          description: 'A new email needs your password in `password`.',
          problems: [
            'invalid_credentials',
            'forbidden',
            'username_taken',
            'email_taken',
            'overloaded',
          ],
        }),
      },
    )
    .put(
      '/me/password',
      async ({ user, body }) => {
        await changePassword(db, user, body, settings.rateLimit, passwords);
      },
      {
        endsCredentials: 'password_changed',
        body: PasswordChange,
        response: { 204: Nothing },
        detail: operation('changePassword', 'Change your password', {
          description: 'Ends all other sessions. API tokens keep working.',
          problems: ['invalid_credentials', 'forbidden', 'weak_password'],
        }),
      },
    )
    .delete(
      '/me',
      async ({ user, body }) => {
        await deleteAccount(db, user, body, settings.rateLimit, passwords);
      },
      {
        endsCredentials: 'account_deleted',
        body: AccountDeletion,
        response: { 204: Nothing },
        detail: operation('deleteAccount', 'Delete your account', {
          description:
            'Deletes your projects with their tasks, also those in the trash, and ends your sessions and API tokens. Your tasks in projects of others stay. Projects with other members have to be handed over first, or named for deletion with `projects`.',
          problems: ['invalid_credentials', 'forbidden', 'shared_projects'],
        }),
      },
    );
