import { Elysia } from 'elysia';
import { logIn, readProfile, registerUser } from '../handlers/users.ts';
import type { Platform } from '../platform.ts';
import type { AccessTokensPlugin } from '../plugins/access-tokens.ts';
import { currentUser } from '../plugins/current-user.ts';
import { operation } from '../plugins/operation.ts';
import { FORM_TYPE, JSON_TYPE, strictInput } from '../plugins/strict-input.ts';
import { Login, Registration, Tokens, User } from '../schemas/users.ts';

export const users = (platform: Platform, tokens: AccessTokensPlugin) =>
  new Elysia({ prefix: '/users', tags: ['Users'] })
    .use(registration(platform))
    .use(login(platform, tokens))
    .use(profile(platform, tokens));

const registration = ({ database: db, passwords, settings }: Platform) =>
  new Elysia().use(strictInput(settings.body_limit_bytes)).post(
    '/register',
    ({ body, set }) => {
      set.status = 201;
      return registerUser(db, passwords, settings.registration, body);
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
          'internal',
          'database_unavailable',
          'overloaded',
        ],
      }),
    },
  );

const login = ({ database: db, passwords, settings }: Platform, tokens: AccessTokensPlugin) =>
  new Elysia()
    .use(tokens)
    .use(strictInput(settings.body_limit_bytes, [JSON_TYPE, FORM_TYPE]))
    .post('/login', ({ body, tokens }) => logIn(db, passwords, tokens, body), {
      body: Login,
      response: { 200: Tokens },
      detail: operation('logIn', 'Trade a name and a password for an access token', {
        description: 'Takes JSON, or the form of the OAuth2 password grant (RFC 6749 §4.3.2).',
        public: true,
        also_accepts: [FORM_TYPE],
        problems: ['invalid_credentials', 'internal', 'database_unavailable', 'overloaded'],
      }),
    });

const profile = ({ database: db, settings }: Platform, tokens: AccessTokensPlugin) =>
  new Elysia()
    .use(currentUser(tokens))
    .use(strictInput(settings.body_limit_bytes))
    .get('/me', ({ user }) => readProfile(db, user), {
      response: { 200: User },
      detail: operation('readProfile', 'Your own account'),
    });
