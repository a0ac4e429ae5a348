/**
 * The JWT plugin: `@elysiajs/jwt`, held to RFC 9068 and to the advice of RFC 8725. By itself its `verify` takes
 * tokens without `exp`, of any issuer, type and HMAC, and answers every failure with a bare false.
 */
import { jwt } from '@elysiajs/jwt';
import { Elysia } from 'elysia';
import { validate as isUuid, v7 as uuidv7 } from 'uuid';
import type { Platform } from '../platform.ts';
import { Problem } from '../problem.ts';

const TYPE = 'at+jwt';
const REQUIRED_CLAIMS = ['iss', 'aud', 'sub', 'sid', 'username', 'iat', 'exp', 'jti'];
/** How far clocks of replicas may differ, for `iat` and `nbf`; `exp` gets no leeway. */
const CLOCK_LEEWAY_SECONDS = 30;
const CENTURY_SECONDS = 100 * 365 * 86_400;
/** Ours are about 450 characters long. Longer ones are not even decoded. */
const TOKEN_LENGTH_MAX = 4096;
/** Tokens of about 600 bytes each. */
const VERIFIED_MAX = 10_000;
/** RFC 7515 §7.1, without the padding, white space and further parts that lenient decoders allow. */
const COMPACT = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;

/** What an access token says. */
export interface AccessClaims {
  user_id: string;
  username: string;
  session_id: string;
}

export interface AccessTokens {
  readonly ttl_seconds: number;
  /** Signs an access token. */
  sign(claims: AccessClaims): Promise<string>;
  /** @throws {Problem} `token_expired` for a token that was valid once, `invalid_token` for any other. */
  verify(token: string): Promise<AccessClaims>;
}

interface Verified {
  claims: AccessClaims;
  expires_at_seconds: number;
}

type Signing = Pick<Platform, 'settings' | 'jwt_secret' | 'now'>;

export const accessTokens = (platform: Signing) =>
  new Elysia({ name: 'access-tokens' }).decorate('tokens', createAccessTokens(platform));

export type AccessTokensPlugin = ReturnType<typeof accessTokens>;

function createAccessTokens({ settings, jwt_secret, now }: Signing): AccessTokens {
  const signer = (secret: string) => jwt({ secret, alg: 'HS256', typ: TYPE }).decorator.jwt;
  const current = signer(jwt_secret);
  // Whoever rotates the secret keeps the old one for as long as its tokens live.
  const previous = settings.jwt_secret_previous ? signer(settings.jwt_secret_previous) : undefined;
  /** Verifying takes a hundred times as long as looking here, and what was signed stays signed. */
  const verified = new Map<string, Verified>();
  const nowSeconds = () => Math.floor(now().getTime() / 1000);

  return {
    ttl_seconds: settings.access_token_ttl_seconds,

    sign: ({ user_id, username, session_id }) =>
      current.sign({
        iss: settings.jwt_issuer,
        aud: settings.jwt_audience,
        sub: user_id,
        sid: session_id,
        username,
        jti: uuidv7(),
        exp: nowSeconds() + settings.access_token_ttl_seconds,
      }),

    async verify(token) {
      const known = verified.get(token) ?? remember(token, await check(token));
      if (known.expires_at_seconds > nowSeconds()) return known.claims;
      verified.delete(token);
      throw new Problem('token_expired');
    },
  };

  function remember(token: string, checked: Verified): Verified {
    // A Map keeps the order of insertion, so the first is the oldest.
    const oldest = verified.size >= VERIFIED_MAX ? verified.keys().next().value : undefined;
    if (oldest !== undefined) verified.delete(oldest);
    verified.set(token, checked);
    return checked;
  }

  /** Everything but whether the token has expired. */
  async function check(token: string): Promise<Verified> {
    if (token.length > TOKEN_LENGTH_MAX || !COMPACT.test(token) || !hasOurHeader(token))
      throw new Problem('invalid_token');
    const checks = {
      algorithms: ['HS256'],
      typ: TYPE,
      issuer: settings.jwt_issuer,
      audience: settings.jwt_audience,
      requiredClaims: REQUIRED_CLAIMS,
      // The times are checked here, where an expired token can be told from an invalid one.
      clockTolerance: CENTURY_SECONDS,
    };
    const claims = (await current.verify(token, checks)) || (await previous?.verify(token, checks));
    if (!claims) throw new Problem('invalid_token');

    const { sub, sid, username, jti, aud, iat, nbf, exp } = claims as Record<string, unknown>;
    const latest = nowSeconds() + CLOCK_LEEWAY_SECONDS;
    const isPast = (time: unknown) => isSeconds(time) && time <= latest;
    if (!isPast(iat) || !(nbf === undefined || isPast(nbf)) || !isSeconds(exp))
      throw new Problem('invalid_token');
    // jose is content with an audience among others.
    if (aud !== settings.jwt_audience) throw new Problem('invalid_token');
    if (!isId(sub) || !isId(sid) || !isText(username) || !isText(jti))
      throw new Problem('invalid_token');
    return {
      claims: { user_id: sub, session_id: sid, username },
      expires_at_seconds: exp,
    };
  }
}

/** Only `alg` and `typ`: no `crit` to understand, no `jku` or `kid` to be led astray by (RFC 8725 §3.1, §3.10). */
function hasOurHeader(token: string): boolean {
  try {
    const encoded = token.slice(0, token.indexOf('.'));
    const header: unknown = JSON.parse(atob(encoded.replaceAll('-', '+').replaceAll('_', '/')));
    const { alg, typ, ...others } = header as Record<string, unknown>;
    return alg === 'HS256' && typ === TYPE && Object.keys(others).length === 0;
  } catch {
    return false;
  }
}

const isSeconds = (value: unknown): value is number =>
  Number.isSafeInteger(value) && Number(value) >= 0;
const isText = (value: unknown): value is string => typeof value === 'string' && value !== '';
const isId = (value: unknown): value is string => typeof value === 'string' && isUuid(value);
