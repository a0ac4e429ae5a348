/** `bun run users`: manages accounts by the rules of the API. */
import type { TSchema } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import type { Database } from '../db/database.ts';
import { loadSettings } from '../environment.ts';
import { Problem } from '../errors/problem.ts';
import { StartupError } from '../errors/startup-error.ts';
import {
  type Account,
  disableAccount,
  enableAccount,
  findAccount,
  listAccounts,
  resetPassword,
} from '../handlers/accounts.ts';
import { deleteUser, registerUser } from '../handlers/users.ts';
import { newSecret } from '../lib/secrets.ts';
import { bunPasswords } from '../passwords/bun.ts';
import { validate } from '../schemas/types/kind.ts';
import { Registration } from '../schemas/users.ts';
import { type Command, exitWithUsage, type Options, runCommand, withDatabase } from './command.ts';

const usage = `bun run users list | search | create | reset-password | disable | enable | delete

  list [--json]
      Prints every account, oldest first: user name, email, time of registration, time of disabling.
  search TEXT [--json]
      Prints the accounts whose user name or email contains TEXT, in any case.
  create USERNAME EMAIL [--password-stdin]
      Creates an account, even if registration is closed.
  reset-password USER [--password-stdin] [--revoke-tokens]
      Sets a password and ends all sessions. API tokens and addresses of calendars stay valid unless they are revoked.
  disable USER
      Ends all sessions and refuses log-ins and API tokens. Running servers follow within 5 seconds.
  enable USER
      Accepts log-ins and API tokens again. Sessions stay ended.
  delete USER --yes
      Deletes the account and every project it owns, with the tasks in it. There is no way back except a backup.

USER is a user name or an email. A password is generated and printed once on standard output; with --password-stdin it
is read from standard input. It is never an argument, because other users can see the list of processes.`;

interface Subcommand extends Command {
  work(db: Database, args: string[], options: Options): Promise<void>;
}

const passwordStdin = { type: 'boolean' } as const;

const subcommands: Record<string, Subcommand> = {
  list: {
    usage,
    arguments: 0,
    options: { json: { type: 'boolean' } },
    work: (db, _, { json }) => print(listAccounts(db), json === true),
  },
  search: {
    usage,
    arguments: 1,
    options: { json: { type: 'boolean' } },
    work: (db, [text = ''], { json }) => print(listAccounts(db, text), json === true),
  },
  create: {
    usage,
    arguments: 2,
    options: { 'password-stdin': passwordStdin },
    async work(db, [username = '', email = ''], options) {
      const { password, show } = await choosePassword(options);
      const input = { username, email, password };
      check(Registration, input);
      const rules = { registration: 'open', rateLimit: false, address: null } as const;
      const { user } = await registerUser(db, input, rules, bunPasswords());
      console.error(`Made the account ${user.username}`);
      show();
    },
  },
  'reset-password': {
    usage,
    arguments: 1,
    options: { 'password-stdin': passwordStdin, 'revoke-tokens': { type: 'boolean' } },
    async work(db, [name = ''], options) {
      const account = await findAccount(db, name);
      const { password, show } = await choosePassword(options);
      check(Registration.properties.password, password);
      const revokeTokens = options['revoke-tokens'] === true;
      await resetPassword(db, account, { password, revokeTokens }, bunPasswords());
      const revoked = revokeTokens ? ', and revoked the API tokens' : '';
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
  delete: {
    usage,
    arguments: 1,
    options: { yes: { type: 'boolean' } },
    async work(db, [name = ''], { yes }) {
      const account = await findAccount(db, name);
      if (!yes)
        throw new StartupError(
          `this deletes ${account.username} and every project they own: repeat it with --yes`,
        );
      await deleteUser(db, account, true);
      console.error(`Deleted ${account.username} and the projects they owned`);
    },
  },
};

const [name = '', ...line] = process.argv.slice(2);
const subcommand = Object.hasOwn(subcommands, name) ? subcommands[name] : undefined;
if (!subcommand) {
  // Without a subcommand, it prints its help.
  if (['--help', '-h'].includes(name))
    await runCommand({ usage, arguments: 0 }, ['--help'], async () => undefined);
  exitWithUsage({ usage }, name === '' ? 'too few arguments' : `there is no "users ${name}"`);
}
await runCommand(subcommand, line, async (args, options) => {
  try {
    await withDatabase(loadSettings(), (db) => subcommand.work(db, args, options));
  } catch (error) {
    throw explain(error);
  }
});

async function print(accounts: AsyncIterable<Account>, asJson: boolean) {
  for await (const account of accounts) {
    const { username, email, created_at, disabled_at } = account;
    const since = disabled_at ? `disabled ${disabled_at}` : '';
    console.log(
      asJson ? JSON.stringify(account) : [username, email, created_at, since].join('\t').trimEnd(),
    );
  }
}

/** Returns the password of standard input, or a new one, which `show` prints once it is stored. */
async function choosePassword(options: Options) {
  if (options['password-stdin'])
    return { password: (await Bun.stdin.text()).replace(/\r?\n$/, ''), show: () => undefined };
  const password = newSecret();
  return { password, show: () => console.log(password) };
}

/** @throws {StartupError} with the message of the API for an invalid value. */
function check(schema: TSchema, value: unknown) {
  const faults = [...Value.Errors(schema, value)].map((error) => {
    const field = error.path.slice(1) || 'password';
    return `${field}: ${validate(error.schema, error.value)?.message}`;
  });
  if (faults.length > 0) throw new StartupError(faults.join('; '));
}

function explain(error: unknown): unknown {
  const problem = error instanceof Error && error.cause instanceof Problem ? error.cause : error;
  if (!(problem instanceof Problem)) return error;
  const [fault] = problem.particulars.errors ?? [];
  return new StartupError(fault ? `password: ${fault.message}` : problem.message);
}
