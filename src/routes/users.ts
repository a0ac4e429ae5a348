import { Elysia } from 'elysia';
import { exportAccount } from '../handlers/export.ts';
import {
  changePassword,
  deleteAccount,
  patchProfile,
  readProfile,
  registerUser,
} from '../handlers/users.ts';
import type { Platform } from '../platform.ts';
import { audit } from '../plugins/audit.ts';
import { noContent } from '../plugins/conventions.ts';
import { type CurrentUserPlugin, loggedInUser } from '../plugins/current-user.ts';
import { operation } from '../plugins/operation.ts';
import { streamJson } from '../plugins/stream.ts';
import { JSON_TYPE, strictInput } from '../plugins/strict-input.ts';
import { Nothing } from '../schemas/common.ts';
import { AccountExport } from '../schemas/export.ts';
import {
  AccountDeletion,
  PasswordChange,
  Registration,
  User,
  UserPatch,
} from '../schemas/users.ts';

export const users = (platform: Platform, current: CurrentUserPlugin) =>
  new Elysia({ prefix: '/users', tags: ['Users'] })
    .use(registration(platform))
    .use(profile(platform, current))
    .use(account(platform, current));

const registration = (platform: Platform) => {
  const { database: db, passwords, settings } = platform;
  return new Elysia()
    .use(audit(platform))
    .use(strictInput(settings.body_limit_bytes))
    .post(
      '/register',
      async ({ body, set, device, audit }) => {
        const rules = { ...settings, address: device.address };
        const user = await registerUser(db, passwords, rules, body);
        audit('registered', { user_id: user.id });
        set.status = 201;
        return user;
      },
      {
        body: Registration,
        response: { 201: User },
        detail: operation('registerUser', 'Make an account', {
          public: true,
          problems: [
            'registration_closed',
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
};

/** What an API token may read too. */
const profile = ({ database: db, settings, log, streamed }: Platform, current: CurrentUserPlugin) =>
  new Elysia()
    .use(current)
    .use(strictInput(settings.body_limit_bytes))
    .get('/me', ({ user }) => readProfile(db, user), {
      response: { 200: User },
      detail: operation('readProfile', 'Your own account'),
    })
    .get(
      '/me/export',
      ({ user, set }) => {
        set.headers['content-disposition'] = 'attachment; filename="mantou-account.json"';
        return streamJson(streamed(exportAccount(db, user)), () =>
          log('error', 'export_cut', { request_id: set.headers['x-request-id'], user_id: user.id }),
        );
      },
      {
        response: { 200: AccountExport },
        detail: operation('exportAccount', 'Everything you own, as one JSON document', {
          description:
            'Your profile, and your own projects with their members and tasks. Streamed.',
        }),
      },
    );

const account = (platform: Platform, current: CurrentUserPlugin) => {
  const { database: db, passwords, settings } = platform;
  return new Elysia()
    .use(current)
    .derive(loggedInUser)
    .use(audit(platform))
    .use(strictInput(settings.body_limit_bytes, [JSON_TYPE], ['PATCH', 'PUT', 'DELETE']))
    .patch('/me', ({ user, body }) => patchProfile(db, user, body), {
      body: UserPatch,
      response: { 200: User },
      detail: operation('patchProfile', 'Change your name or email', {
        problems: ['forbidden', 'username_taken', 'email_taken'],
      }),
    })
    .put(
      '/me/password',
      async ({ user, body, set, forgetCredentials, audit }) => {
        await changePassword(db, passwords, settings.rate_limit, user, body);
        await forgetCredentials();
        audit('password_changed', { user_id: user.id, session_id: user.session_id });
        return noContent(set);
      },
      {
        body: PasswordChange,
        response: { 204: Nothing },
        detail: operation('changePassword', 'Change your password', {
          description: 'Ends all other sessions. API tokens stay.',
          problems: ['invalid_credentials', 'forbidden', 'weak_password'],
        }),
      },
    )
    .delete(
      '/me',
      async ({ user, body, set, forgetCredentials, audit }) => {
        await deleteAccount(db, passwords, settings.rate_limit, user, body);
        await forgetCredentials();
        audit('account_deleted', { user_id: user.id });
        return noContent(set);
      },
      {
        body: AccountDeletion,
        response: { 204: Nothing },
        detail: operation('deleteAccount', 'Delete your account and all it owns', {
          description:
            'Your projects go with their tasks, your sessions and API tokens end. In shared projects your work stays.',
          problems: ['invalid_credentials', 'forbidden'],
        }),
      },
    );
};
