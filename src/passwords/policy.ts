/**
 * The password policy, after NIST SP 800-63B-4 §3.1.1.2: it refuses common passwords, and those that are little more than
 * names of the account. Case and the ways to write a character (NFKC) make no difference. It judges a password as a whole:
 * names in it do not matter as long as enough else remains. There are no rules about kinds of characters.
 */

import { Problem, validationProblem } from '../errors/problem.ts';
import type { Passwords } from '../platform.ts';

interface PasswordPlace {
  lengthMin: number;
  lengthMax: number;
  /** Where the password was given: `body.password`. */
  location: string;
}

/**
 * Returns the form that is judged and hashed: keyboards compose characters differently, and NFKC makes the same password
 * the same bytes. Lengths are those of this form (NIST SP 800-63B §3.1.1.2). Each request makes it once, of a text that its
 * schema has bounded, because normalization can take more than linear time.
 * @throws {Problem} `validation_failed`.
 */
export function normalizePassword(
  password: string,
  { lengthMin, lengthMax, location }: PasswordPlace,
): string {
  const normalized = password.normalize('NFKC');
  const { length } = [...normalized];
  const fault = (code: string, message: string) => validationProblem([{ location, code, message }]);
  if (length < lengthMin)
    throw fault('too_short', `at least ${lengthMin} character${lengthMin === 1 ? '' : 's'}`);
  if (length > lengthMax) throw fault('too_long', `at most ${lengthMax} characters`);
  return normalized;
}

/** As long as any password has to be, so that a name in it neither helps nor harms. */
const REST_LENGTH_MIN = 8;
/** Shorter names occur in too many words. */
const NAME_LENGTH_MIN = 3;
const SERVICE_NAME = 'mantou';

export interface PasswordContext {
  username: string;
  email: string;
  /** Where the password was given: `body.password`. */
  location: string;
}

/** @param password in its normal form. @throws {Problem} `weak_password` with the reason. */
export async function assertStrongPassword(
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
      `must contain at least ${REST_LENGTH_MIN} characters besides your name, your email and the service name, and must not be a common password`,
    );
}

function weak({ location }: PasswordContext, code: string, message: string): Problem {
  return new Problem('weak_password', { errors: [{ location, code, message }] });
}

/** Names are ASCII, and the password is in its normal form. */
const fold = (text: string) => text.toLowerCase();

/** Returns each name and the words in it, the longest first: of `Ada.Lovelace` also `lovelace` and `ada`. */
function namesOf({ username, email }: PasswordContext): string[] {
  const [local = '', domain = ''] = email.split('@');
  // Without its last label, such as `com`, which is not personal.
  const host = domain.slice(0, domain.lastIndexOf('.'));
  const names = [SERVICE_NAME, username, local, host];
  return [domain, ...names, ...names.flatMap((name) => name.split(/[^A-Za-z]+/))]
    .filter((name) => name.length >= NAME_LENGTH_MIN)
    .sort((one, other) => other.length - one.length)
    .map(fold);
}

/** Returns whether a password is in the list, with or without a sign at the end, or is a pattern, which no list can hold. */
function isCommon(common: ReadonlySet<string>, text: string): boolean {
  if (isRepetition(text) || isSequence(text)) return true;
  return common.has(text) || common.has(text.replace(/[^\p{L}\p{N}]$/u, ''));
}

/** A few characters, fewer than a password needs, repeated: `aaaaaaaa`, `12121212`. */
const isRepetition = (text: string) => REPETITION.test(text);
const REPETITION = new RegExp(`^(.{1,${REST_LENGTH_MIN - 1}}?)\\1+$`, 'su');

/** Consecutive characters, up or down: `abcdefgh`, `87654321`. */
function isSequence(text: string): boolean {
  const points = [...text].map((character) => character.codePointAt(0) ?? 0);
  const steps = points.slice(1).map((point, index) => point - (points[index] ?? 0));
  return Math.abs(steps[0] ?? 0) === 1 && steps.every((step) => step === steps[0]);
}
