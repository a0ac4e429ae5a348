/** Random secrets and their digests, with what every runtime has (Web Crypto). Text is base64url without padding. */

const SECRET_BYTES = 32;

/** A new secret: 256 random bits, 43 characters. */
export function newSecret(): string {
  return base64url(crypto.getRandomValues(new Uint8Array(SECRET_BYTES)));
}

/** SHA-256, for secrets of 256 random bits: nobody guesses those, so they need no slow hash. */
export async function digest(text: string): Promise<string> {
  return base64url(new Uint8Array(await crypto.subtle.digest('SHA-256', encode(text))));
}

/** HMAC-SHA-256 of `text` under `key` (RFC 2104): 256 bits that only the holder of the key can make again. */
export async function keyedDigest(key: string, text: string): Promise<string> {
  const algorithm = { name: 'HMAC', hash: 'SHA-256' };
  const imported = await crypto.subtle.importKey('raw', encode(key), algorithm, false, ['sign']);
  return base64url(new Uint8Array(await crypto.subtle.sign('HMAC', imported, encode(text))));
}

const encode = (text: string) => new TextEncoder().encode(text);

/** RFC 4648 §5, without padding. */
export const base64url = (bytes: Uint8Array) =>
  btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '');
