/** Password hashing where there is WebAssembly and nothing else: the reference argon2, and bcrypt for what others left. */
import bcrypt from 'bcryptjs';
import { boundedConcurrency } from '../bounded-concurrency.ts';
import type { Passwords } from '../platform.ts';
import { timeout } from '../timeouts.ts';
import { inspectHash, LANES, MEMORY_KIB, NOBODYS_HASH, PASSES } from './argon2id.ts';

/** As Bun's argon2 has them. */
const SALT_BYTES = 32;
const HASH_BYTES = 32;
/** A worker has 128 MB, and argon2 that fails to get its memory there ends the isolate with all its requests. */
const VERIFIED_MEMORY_KIB_MAX = 65_536;
/** bcrypt leaves out what is beyond, so other programs take two passwords for one there; Bun does not, nor do we. */
const BCRYPT_PASSWORD_BYTES_MAX = 72;

/**
 * A hash keeps the only thread. The line is what an isolate works off in a few seconds; beyond it, 503 is honest. A turn
 * is given back even if its client has gone: `edge.ts` has the runtime wait for every request.
 */
const HASHES_IN_FLIGHT_MAX = 1;
const HASHES_WAITING_MAX = 32;
/** Several times what the line takes, for a machine that is busy with other things. */
const HASH_WAIT_MAX_MS = 20_000;

/** From argon2.h of the reference implementation (P-H-C/phc-winner-argon2). */
const VERSION = 0x13;
const OK = 0;
const VERIFY_MISMATCH = -35;
const TYPES = { d: 0, i: 1, id: 2 } as const;

/** The C functions of argon2.h; strings and buffers are addresses in `memory`. */
interface Argon2 {
  memory: WebAssembly.Memory;
  _initialize(): void;
  malloc(bytes: number): number;
  free(address: number): void;
  argon2_hash(...inputs: number[]): number;
  argon2_verify(encoded: number, password: number, bytes: number, type: number): number;
  argon2_encodedlen(...parameters: number[]): number;
}

/**
 * Hashes with the module `argon2.wasm` of `@phi-ag/argon2`. Its JavaScript is left out: it hands the length of a
 * password in UTF-16 units to a function that counts bytes, and so would leave out the end of `pässword`.
 */
export function wasmPasswords(module: WebAssembly.Module, common: Passwords['common']): Passwords {
  // Made at the first hash: most isolates of a busy service answer without one.
  let made: Argon2 | undefined;
  const argon2 = () => {
    made ??= instantiate(module);
    return made;
  };
  const bound = boundedConcurrency(
    'passwords',
    HASHES_IN_FLIGHT_MAX,
    HASHES_WAITING_MAX,
    timeout(HASH_WAIT_MAX_MS),
  );
  const inTurn = <T>(work: () => T | Promise<T>) =>
    bound.run(async () => {
      await othersServed();
      return work();
    });
  return {
    hash: (password) => inTurn(() => hash(argon2(), password)),
    verify: (password, stored) => inTurn(() => verify(argon2(), password, stored)),
    // An isolate has a connection for each request.
    inTurn: (work) => work(),
    inspect: inspectHash,
    common,
    get in_flight() {
      return bound.in_flight;
    },
    get waiting() {
      return bound.waiting;
    },
  };
}

/** Between two hashes whatever else has arrived is read and answered; promises alone would leave no room for that. */
const othersServed = () => new Promise<void>((resolve) => setTimeout(resolve));

function instantiate(module: WebAssembly.Module): Argon2 {
  const exported = new WebAssembly.Instance(module).exports as unknown as Argon2;
  exported._initialize();
  return exported;
}

function hash(argon2: Argon2, password: string): string {
  const cost = [PASSES, MEMORY_KIB, LANES] as const;
  const encoded_bytes = argon2.argon2_encodedlen(...cost, SALT_BYTES, HASH_BYTES, TYPES.id);
  const given = encode(password);
  const salt = crypto.getRandomValues(new Uint8Array(SALT_BYTES));
  return withCopies(argon2, [given, salt, new Uint8Array(encoded_bytes)], (at, from, to) => {
    const [salt_bytes, no_raw_hash] = [salt.length, 0];
    const inputs = [at, given.length, from, salt_bytes, no_raw_hash, HASH_BYTES, to, encoded_bytes];
    const code = argon2.argon2_hash(...cost, ...inputs, TYPES.id, VERSION);
    if (code !== OK) throw new Error(`argon2 failed with code ${code}`);
    // C ends the text with a NUL.
    const text = new Uint8Array(argon2.memory.buffer, to, encoded_bytes - 1);
    return new TextDecoder().decode(text);
  });
}

async function verify(argon2: Argon2, password: string, stored?: string): Promise<boolean> {
  if (stored === undefined || inspectHash(stored) === 'unreadable') return refuse(argon2, password);
  const [, type, memory_kib] = /^\$argon2(d|id?)\$v=\d+\$m=(\d+),/.exec(stored) ?? [];
  if (type === undefined) return verifyBcrypt(password, stored);
  if (Number(memory_kib) > VERIFIED_MEMORY_KIB_MAX) return refuse(argon2, password);
  const code = verifyArgon2(argon2, password, stored, TYPES[type as keyof typeof TYPES]);
  // A hash that looks like one and cannot be.
  if (code !== OK && code !== VERIFY_MISMATCH) return refuse(argon2, password);
  return code === OK;
}

async function verifyBcrypt(password: string, stored: string): Promise<boolean> {
  const matches = await bcrypt.compare(password, stored);
  return matches && encode(password).length <= BCRYPT_PASSWORD_BYTES_MAX;
}

/** Says no, after the same work as a yes. */
function refuse(argon2: Argon2, password: string): false {
  verifyArgon2(argon2, password, NOBODYS_HASH, TYPES.id);
  return false;
}

function verifyArgon2(argon2: Argon2, password: string, stored: string, type: number): number {
  const given = encode(password);
  return withCopies(argon2, [encode(`${stored}\0`), given], (encoded, at) =>
    argon2.argon2_verify(encoded, at, given.length, type),
  );
}

/** Lends the module copies of these bytes, by their addresses, for as long as `work` takes. */
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
      // A password is not left behind for the next reader of freed memory.
      new Uint8Array(memory.buffer).fill(0, address, address + (copied[index]?.length ?? 0));
      free(address);
    }
  }
}

const encode = (text: string) => new TextEncoder().encode(text);
