/** The parameters that password hashes share on every runtime, so that accounts move freely between them. */
import type { HashStatus } from '../platform.ts';

/** OWASP's first choice for argon2id. */
export const MEMORY_KIB = 19_456;
export const PASSES = 2;
export const LANES = 1;

const CURRENT = `$argon2id$v=19$m=${MEMORY_KIB},t=${PASSES},p=${LANES}$`;

/** The hash of a random password that is not kept: verifying against it costs what verifying against a user's hash costs. */
export const DUMMY_HASH = `${CURRENT}pjOZjgrOYkeKmNqY/mUONh4502xkSWMD7s45by9h570$xZMqYj18NdjKy87ok2qn8ec12TdnTb3wm/SOJfUb+3Y`;

/** Argon2 as a PHC string, and bcrypt, from other programs. The PHC format fixes the order of m, t, p. */
const ARGON2 =
  /^\$argon2(?:id|i|d)\$v=\d{1,2}\$m=\d{1,7},t=\d{1,3},p=\d{1,3}\$[\w+/-]{11,}\$[\w+/-]{16,}$/;
const BCRYPT = /^\$2[aby]\$\d\d\$[\w./]{53}$/;

export function hashStatus(hash: string): HashStatus {
  if (!ARGON2.test(hash) && !BCRYPT.test(hash)) return 'unreadable';
  return hash.startsWith(CURRENT) ? 'current' : 'outdated';
}
