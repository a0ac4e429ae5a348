/**
 * Which new passwords are refused, after NIST SP 800-63B-4 §3.1.1.2: the common ones, and those that are little more
 * than names that go with the account. Case and the ways to write the same character (NFKC) make no difference. A
 * password is judged as a whole: words in it do not matter as long as enough else is there. There are no rules about
 * kinds of characters.
 */
import type { Passwords } from '../platform.ts';
import { Problem } from '../problem.ts';

/** Keyboards differ in how they compose; NFKC makes the same password the same bytes. */
export const normalizePassword = (password: string) => password.normalize('NFKC');

/** As long as a password has to be anyway, so a name in it adds nothing but does no harm. */
const REST_LENGTH_MIN = 8;
/** Shorter names are in too many words to mean anything. */
const NAME_LENGTH_MIN = 3;
const SERVICE_NAME = 'mantou';

export interface PasswordContext {
  username: string;
  email: string;
  /** Where the password was given: `body.password`. */
  location: string;
}

/** @throws {Problem} `weak_password` with the reason. */
export async function refuseWeakPassword(
  passwords: Pick<Passwords, 'common'>,
  password: string,
  context: PasswordContext,
): Promise<void> {
  const common = await passwords.common();
  const whole = fold(password);
  if (isCommon(common, whole))
    throw weak(context, 'common', 'is among the passwords that are tried first');
  const rest = namesOf(context).reduce((text, name) => text.replaceAll(name, ''), whole);
  if ([...rest].length < REST_LENGTH_MIN || isCommon(common, rest))
    throw weak(
      context,
      'contains_name',
      `beside your name, your email and the name of this service there must be ${REST_LENGTH_MIN} characters that are no common password`,
    );
}

function weak({ location }: PasswordContext, code: string, message: string): Problem {
  return new Problem('weak_password', { errors: [{ location, code, message }] });
}

const fold = (text: string) => text.normalize('NFKC').toLowerCase().normalize('NFKC');

/** Each name and the words in it, the longest first: of `Ada.Lovelace` also `lovelace` and `ada`. */
function namesOf({ username, email }: PasswordContext): string[] {
  const [local = '', domain = ''] = email.split('@');
  // Without its last label, such as `com`, which says nothing about anybody.
  const host = domain.slice(0, domain.lastIndexOf('.'));
  const names = [SERVICE_NAME, username, local, host];
  return [domain, ...names, ...names.flatMap((name) => name.split(/[^A-Za-z]+/))]
    .filter((name) => name.length >= NAME_LENGTH_MIN)
    .sort((one, other) => other.length - one.length)
    .map(fold);
}

/** In the list, with or without a sign at the end; or a pattern, which the list leaves out because there is no end of them. */
function isCommon(common: ReadonlySet<string>, text: string): boolean {
  if (isRepetition(text) || isSequence(text)) return true;
  return common.has(text) || common.has(text.replace(/[^\p{L}\p{N}]$/u, ''));
}

/** Some characters, fewer than a password needs, over and over: `aaaaaaaa`, `12121212`. */
const isRepetition = (text: string) => REPETITION.test(text);
const REPETITION = new RegExp(`^(.{1,${REST_LENGTH_MIN - 1}}?)\\1+$`, 'su');

/** Each character the next, or the one before: `abcdefgh`, `87654321`. */
function isSequence(text: string): boolean {
  const points = [...text].map((character) => character.codePointAt(0) ?? 0);
  const steps = points.slice(1).map((point, index) => point - (points[index] ?? 0));
  return Math.abs(steps[0] ?? 0) === 1 && steps.every((step) => step === steps[0]);
}
