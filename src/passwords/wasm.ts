/** Password hashing in WebAssembly, for Cloudflare Workers: the reference argon2, and bcrypt for hashes of other programs. */
import bcrypt from 'bcryptjs';
import { limitConcurrency } from '../lib/concurrency-limit.ts';
import { sleep } from '../lib/sleep.ts';
import { timeout } from '../lib/timeout.ts';
import type { Passwords } from '../platform.ts';
import { DUMMY_HASH, hashStatus, LANES, MEMORY_KIB, PASSES } from './argon2id.ts';

/** The same as in Bun's argon2. */
const SALT_BYTES = 32;
const HASH_BYTES = 32;
/** A worker has 128 MB, and argon2 that fails to get its memory there ends the isolate with all its requests. */
const VERIFIED_MEMORY_KIB_MAX = 65_536;
/** bcrypt ignores bytes beyond these, so other programs accept different passwords there; Bun and this module do not. */
const BCRYPT_PASSWORD_BYTES_MAX = 72;

/**
 * A hash occupies the only thread. The queue holds what an isolate computes in a few seconds; beyond that, 503 is better
 * than a long wait. A slot is released even if its client has gone: the runtime waits for every request.
 */
const HASHES_IN_FLIGHT_MAX = 1;
const HASHES_WAITING_MAX = 32;
/** Several times the time that the queue takes, for a busy machine. */
const HASH_WAIT_MAX_MS = 20_000;

/** From argon2.h of the reference implementation (P-H-C/phc-winner-argon2). */
const VERSION = 0x13;
const OK = 0;
const VERIFY_MISMATCH = -35;
const NO_RAW_HASH = 0;
const TYPES = { d: 0, i: 1, id: 2 } as const;

/** The C functions of argon2.h; strings and buffers are addresses in `memory`. */
interface Argon2 {
  memory: WebAssembly.Memory;
  _initialize(): void;
  malloc(bytes: number): number;
  free(address: number): void;
  argon2_hash(...inputs: Argon2Hash): number;
  argon2_verify(encoded: number, pwd: number, pwdlen: number, type: number): number;
  argon2_encodedlen(
    tCost: number,
    mCost: number,
    parallelism: number,
    saltlen: number,
    hashlen: number,
    type: number,
  ): number;
}

/** The parameters of `argon2_hash`, named as argon2.h names them. */
type Argon2Hash = [
  t_cost: number,
  m_cost: number,
  parallelism: number,
  pwd: number,
  pwdlen: number,
  salt: number,
  saltlen: number,
  /** 0: do not write the raw hash. */
  hash: number,
  hashlen: number,
  encoded: number,
  encodedlen: number,
  type: number,
  version: number,
];

/**
 * Hashes with the module `argon2.wasm` of `@phi-ag/argon2`. Its JavaScript is left out: it hands the length of a
 * password in UTF-16 units to a function that counts bytes, and so would leave out the end of `pässword`.
 */
export function wasmPasswords(module: WebAssembly.Module, common: Passwords['common']): Passwords {
  // Created at the first hash: most isolates of a busy service never hash.
  let made: Argon2 | undefined;
  const argon2 = () => {
    made ??= instantiate(module);
    return made;
  };
  const bound = limitConcurrency(
    'passwords',
    HASHES_IN_FLIGHT_MAX,
    HASHES_WAITING_MAX,
    timeout(HASH_WAIT_MAX_MS),
  );
  const inTurn = <T>(work: () => T | Promise<T>) =>
    bound.run(async () => {
      // The event loop reads and answers other requests between two hashes; a promise alone would leave no room for that.
      await sleep();
      return work();
    });
  return {
    hash: (password) => inTurn(() => hash(argon2(), password)),
    verify: (password, stored) => inTurn(() => verify(argon2(), password, stored)),
    // An isolate has a connection for each request.
    limitLogins: (work) => work(),
    inspect: hashStatus,
    common,
    get inFlight() {
      return bound.inFlight;
    },
    get waiting() {
      return bound.waiting;
    },
  };
}

function instantiate(module: WebAssembly.Module): Argon2 {
  const exported = new WebAssembly.Instance(module).exports as unknown as Argon2;
  exported._initialize();
  return exported;
}

function hash(argon2: Argon2, password: string): string {
  const cost = [PASSES, MEMORY_KIB, LANES] as const;
  const encodedlen = argon2.argon2_encodedlen(...cost, SALT_BYTES, HASH_BYTES, TYPES.id);
  const bytes = encode(password);
  const salt = crypto.getRandomValues(new Uint8Array(SALT_BYTES));
  const copied = [bytes, salt, new Uint8Array(encodedlen)];
  return withCopies(argon2, copied, (pwd, saltAddress, encoded) => {
    const given = [pwd, bytes.length, saltAddress, salt.length] as const;
    const wanted = [NO_RAW_HASH, HASH_BYTES, encoded, encodedlen] as const;
    const code = argon2.argon2_hash(...cost, ...given, ...wanted, TYPES.id, VERSION);
    if (code !== OK) throw new Error(`argon2 failed with code ${code}`);
    // C ends the text with a NUL.
    const text = new Uint8Array(argon2.memory.buffer, encoded, encodedlen - 1);
    return new TextDecoder().decode(text);
  });
}

async function verify(argon2: Argon2, password: string, stored?: string): Promise<boolean> {
  if (stored === undefined || hashStatus(stored) === 'unreadable') return refuse(argon2, password);
  const [, type, memoryKib] = /^\$argon2(d|id?)\$v=\d+\$m=(\d+),/.exec(stored) ?? [];
  if (type === undefined) return verifyBcrypt(password, stored);
  if (Number(memoryKib) > VERIFIED_MEMORY_KIB_MAX) return refuse(argon2, password);
  const code = verifyArgon2(argon2, password, stored, TYPES[type as keyof typeof TYPES]);
  // The text has the form of a hash and impossible values.
  if (code !== OK && code !== VERIFY_MISMATCH) return refuse(argon2, password);
  return code === OK;
}

async function verifyBcrypt(password: string, stored: string): Promise<boolean> {
  const matches = await bcrypt.compare(password, stored);
  return matches && encode(password).length <= BCRYPT_PASSWORD_BYTES_MAX;
}

/** Returns false after the same work as a match. */
function refuse(argon2: Argon2, password: string): false {
  verifyArgon2(argon2, password, DUMMY_HASH, TYPES.id);
  return false;
}

function verifyArgon2(argon2: Argon2, password: string, stored: string, type: number): number {
  const given = encode(password);
  return withCopies(argon2, [encode(`${stored}\0`), given], (encoded, at) =>
    argon2.argon2_verify(encoded, at, given.length, type),
  );
}

/** Copies bytes into the module's memory, and passes their addresses to `work`, after which they are freed. */
function withCopies<T>(
  { memory, malloc, free }: Argon2,
  copied: Uint8Array[],
  work: (...addresses: number[]) => T,
): T {
  const addresses = copied.map((bytes) => {
    // An empty one has an address too.
    const address = malloc(bytes.length || 1);
    if (address === 0) throw new Error('argon2 has no memory left');
    new Uint8Array(memory.buffer).set(bytes, address);
    return address;
  });
  try {
    return work(...addresses);
  } finally {
    for (const [index, address] of addresses.entries()) {
      // No password stays in freed memory.
      new Uint8Array(memory.buffer).fill(0, address, address + (copied[index]?.length ?? 0));
      free(address);
    }
  }
}

const encode = (text: string) => new TextEncoder().encode(text);
