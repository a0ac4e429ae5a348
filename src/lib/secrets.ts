/** Random secrets and their digests, by Web Crypto, which every runtime has. Text is base64url without padding. */
import { encodeBase64url } from './base64.ts';

const SECRET_BYTES = 32;

/** Returns a new secret: 256 random bits, 43 characters. */
export function newSecret(): string {
  return encodeBase64url(crypto.getRandomValues(new Uint8Array(SECRET_BYTES)));
}

/** Returns the SHA-256 of a secret of 256 random bits: such a secret cannot be guessed, so it needs no slow hash. */
export async function digest(text: string): Promise<string> {
  return encodeBase64url(new Uint8Array(await crypto.subtle.digest('SHA-256', encode(text))));
}

/** Returns the HMAC-SHA-256 of `text` under `key` (RFC 2104): 256 bits that only a holder of the key can compute. */
export async function keyedDigest(key: string, text: string): Promise<string> {
  const algorithm = { name: 'HMAC', hash: 'SHA-256' };
  const imported = await crypto.subtle.importKey('raw', encode(key), algorithm, false, ['sign']);
  return encodeBase64url(new Uint8Array(await crypto.subtle.sign('HMAC', imported, encode(text))));
}

/** Returns the HMAC-SHA-256 of a text under a key of bytes, in base64 (RFC 4648 §4), as in Standard Webhooks 1.0. */
export async function hmacBase64(key: Uint8Array, text: string): Promise<string> {
  const algorithm = { name: 'HMAC', hash: 'SHA-256' };
  const imported = await crypto.subtle.importKey(
    'raw',
    key as Uint8Array<ArrayBuffer>,
    algorithm,
    false,
    ['sign'],
  );
  return new Uint8Array(await crypto.subtle.sign('HMAC', imported, encode(text))).toBase64();
}

const encode = (text: string) => new TextEncoder().encode(text);
