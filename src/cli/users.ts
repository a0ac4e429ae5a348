/** `bun run users`: what an operator does to accounts, by the rules of the API. */
import type { TSchema } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { CannotStart } from '../cannot-start.ts';
import type { Database } from '../db/database.ts';
import {
  disableAccount,
  enableAccount,
  findAccount,
  listAccounts,
  resetPassword,
} from '../handlers/accounts.ts';
import { registerUser } from '../handlers/users.ts';
import { bunPasswords } from '../passwords/bun.ts';
import { Problem } from '../problem.ts';
import { findFault } from '../schemas/common.ts';
import { Registration } from '../schemas/users.ts';
import { newSecret } from '../secrets.ts';
import { readSettings } from '../settings.ts';
import {
  type Command,
  exitNotUnderstood,
  type Options,
  runCommand,
  usingTables,
} from './command.ts';

const usage = `bun run users list | create | reset-password | disable | enable

  list [--json]
      Every account, oldest first: user name, email, since when, and since when disabled.
  create USERNAME EMAIL [--password-stdin]
      Makes an account, also where registration is closed.
  reset-password USER [--password-stdin] [--revoke-tokens]
      Sets a password and ends all sessions. API tokens stay unless they are revoked.
  disable USER
      Ends all sessions and lets the user in no more, not by API tokens either; running servers follow in 5 seconds.
  enable USER
      Takes that back. API tokens work again, sessions stay ended.

USER is a user name or an email. A password is made, and printed this once on standard output; with --password-stdin it
is read from standard input. It is never an argument, because those show in the list of processes.`;

interface Subcommand extends Command {
  work(db: Database, args: string[], options: Options): Promise<void>;
}

const password_stdin = { type: 'boolean' } as const;

const subcommands: Record<string, Subcommand> = {
  list: {
    usage,
    arguments: 0,
    options: { json: { type: 'boolean' } },
    async work(db, _, { json }) {
      for await (const account of listAccounts(db)) {
        const { username, email, created_at, disabled_at } = account;
        const since = disabled_at ? `disabled ${disabled_at}` : '';
        console.log(
          json
            ? JSON.stringify(account)
            : [username, email, created_at, since].join('\t').trimEnd(),
        );
      }
    },
  },
  create: {
    usage,
    arguments: 2,
    options: { 'password-stdin': password_stdin },
    async work(db, [username = '', email = ''], options) {
      const { password, show } = await choosePassword(options);
      const input = { username, email, password };
      check(Registration, input);
      const rules = { registration: 'open', rate_limit: false, address: null } as const;
      const user = await registerUser(db, bunPasswords(), rules, input);
      console.error(`Made the account ${user.username}`);
      show();
    },
  },
  'reset-password': {
    usage,
    arguments: 1,
    options: { 'password-stdin': password_stdin, 'revoke-tokens': { type: 'boolean' } },
    async work(db, [name = ''], options) {
      const account = await findAccount(db, name);
      const { password, show } = await choosePassword(options);
      check(Registration.properties.password, password);
      const revoke_tokens = options['revoke-tokens'] === true;
      await resetPassword(db, bunPasswords(), account, { password, revoke_tokens });
      const revoked = revoke_tokens ? ', and revoked the API tokens' : '';
      console.error(`Set the password of ${account.username}, ended the sessions${revoked}`);
      show();
    },
  },
  disable: {
    usage,
    arguments: 1,
    async work(db, [name = '']) {
      const account = await findAccount(db, name);
      await disableAccount(db, account);
      console.error(`Disabled ${account.username} and ended the sessions`);
    },
  },
  enable: {
    usage,
    arguments: 1,
    async work(db, [name = '']) {
      const account = await findAccount(db, name);
      await enableAccount(db, account);
      console.error(`Enabled ${account.username}`);
    },
  },
};

const [name = '', ...line] = process.argv.slice(2);
const subcommand = Object.hasOwn(subcommands, name) ? subcommands[name] : undefined;
if (!subcommand) {
  // Alone, it only explains itself.
  if (['--help', '-h'].includes(name))
    await runCommand({ usage, arguments: 0 }, ['--help'], async () => undefined);
  exitNotUnderstood({ usage }, name === '' ? 'too few arguments' : `there is no "users ${name}"`);
}
await runCommand(subcommand, line, async (args, options) => {
  try {
    await usingTables(readSettings(process.env), (db) => subcommand.work(db, args, options));
  } catch (error) {
    throw explain(error);
  }
});

/** The password of standard input, or one that is made. `show` prints the latter, once it counts. */
async function choosePassword(options: Options) {
  if (options['password-stdin'])
    return { password: (await Bun.stdin.text()).replace(/\r?\n$/, ''), show: () => undefined };
  const password = newSecret();
  return { password, show: () => console.log(password) };
}

/** @throws {CannotStart} with the words that the API has for what does not fit. */
function check(schema: TSchema, value: unknown) {
  const faults = [...Value.Errors(schema, value)].map((error) => {
    const field = error.path.slice(1) || 'password';
    return `${field}: ${findFault(error.schema, error.value)?.message}`;
  });
  if (faults.length > 0) throw new CannotStart(faults.join('; '));
}

function explain(error: unknown): unknown {
  const problem = error instanceof Error && error.cause instanceof Problem ? error.cause : error;
  if (!(problem instanceof Problem)) return error;
  const [fault] = problem.particulars.errors ?? [];
  return new CannotStart(fault ? `password: ${fault.message}` : problem.message);
}
