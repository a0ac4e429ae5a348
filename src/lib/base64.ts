/** Base64 (RFC 4648) with what every runtime has. */

/** Returns bytes as base64url without padding (§5). */
export const encodeBase64url = (bytes: Uint8Array): string =>
  bytes.toBase64({ alphabet: 'base64url', omitPadding: true });

/** Returns the bytes of a base64url text. @throws {SyntaxError} where the text is not base64url. */
export const decodeBase64url = (text: string): Uint8Array =>
  Uint8Array.fromBase64(text, { alphabet: 'base64url' });

/** Returns the bytes of a base64 text with the standard alphabet (§4). @throws {SyntaxError} where the text is not base64. */
export const decodeBase64 = (text: string): Uint8Array => Uint8Array.fromBase64(text);
