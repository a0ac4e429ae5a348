/**
 * Access tokens: `@elysiajs/jwt` (which is jose), held to RFC 9068 and to the advice of RFC 8725. By itself its `verify`
 * accepts tokens without `exp`, of any issuer, type and HMAC, and answers every failure with `false`.
 *
 * Calling jose's `jwtVerify` directly would tell an expired token from an invalid one, and so save the tolerance below.
 * The other checks would stay, because jose has no option for them: the shape of the token before it is decoded, a header
 * of `alg` and `typ` alone, one audience and not one among others, leeway for `iat` but none for `exp`, ids that are UUIDs.
 */
import { jwt } from '@elysiajs/jwt';
import { Elysia } from 'elysia';
import { validate as isUuid, v7 as uuidv7 } from 'uuid';
import { Problem } from '../errors/problem.ts';
import { decodeBase64url } from '../lib/base64.ts';
import { BoundedMap } from '../lib/bounded-map.ts';
import type { Platform } from '../platform.ts';

const TYPE = 'at+jwt';
const REQUIRED_CLAIMS = ['iss', 'aud', 'sub', 'sid', 'username', 'iat', 'exp', 'jti'];
/** How far the clocks of replicas may differ, for `iat` and `nbf`; `exp` gets no leeway. */
const CLOCK_LEEWAY_SECONDS = 30;
const CENTURY_SECONDS = 100 * 365 * 86_400;
/** Tokens of this server have about 450 characters. Longer ones are not decoded. */
const TOKEN_LENGTH_MAX = 4096;
/** Each entry holds a token of about 600 bytes. */
const VERIFIED_TOKENS_MAX = 10_000;
/** RFC 7515 §7.1, without the padding, white space and further parts that lenient decoders allow. */
const COMPACT = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;

/** The claims of an access token. */
export interface AccessClaims {
  userId: string;
  username: string;
  sessionId: string;
}

export interface AccessTokens {
  readonly ttlSeconds: number;
  /** Returns a signed access token. */
  sign(claims: AccessClaims): Promise<string>;
  /** Returns the claims of a valid token. @throws {Problem} `token_expired` for an expired one, `invalid_token` for any other. */
  verify(token: string): Promise<AccessClaims>;
}

interface VerifiedToken {
  claims: AccessClaims;
  expiresAtSeconds: number;
}

type Signing = Pick<Platform, 'settings' | 'jwtSecret' | 'now'>;

type Jwt = ReturnType<typeof jwt>['decorator']['jwt'];

/** Returns the JWT plugin. It gives routes `tokens`, which signs with the secret and verifies with it or the previous one. */
export const accessTokens = (platform: Signing) => {
  const { jwtSecret, settings } = platform;
  const options = { alg: 'HS256', typ: TYPE } as const;
  // During a rotation, tokens that the previous secret signed stay valid for as long as they live.
  const previousSecret = settings.jwtSecretPrevious ?? jwtSecret;
  return new Elysia({ name: 'access-tokens' })
    .use(jwt({ ...options, name: 'jwt', secret: jwtSecret }))
    .use(jwt({ ...options, name: 'previousJwt', secret: previousSecret }))
    .decorate(({ jwt, previousJwt }) => ({
      tokens: createAccessTokens(platform, jwt, previousJwt),
    }));
};

export type AccessTokensPlugin = ReturnType<typeof accessTokens>;

function createAccessTokens({ settings, now }: Signing, jwt: Jwt, previousJwt: Jwt): AccessTokens {
  /** Tokens that were verified. A look-up takes a hundredth of the time, and a signature stays valid. */
  const verified = new BoundedMap<string, VerifiedToken>(VERIFIED_TOKENS_MAX);
  const nowSeconds = () => Math.floor(now().getTime() / 1000);

  return {
    ttlSeconds: settings.accessTokenTtlSeconds,

    sign: ({ userId, username, sessionId }) =>
      jwt.sign({
        iss: settings.jwtIssuer,
        aud: settings.jwtAudience,
        sub: userId,
        sid: sessionId,
        username,
        jti: uuidv7(),
        exp: nowSeconds() + settings.accessTokenTtlSeconds,
      }),

    async verify(token) {
      let entry = verified.get(token);
      if (!entry) {
        entry = await check(token);
        verified.set(token, entry);
      }
      if (entry.expiresAtSeconds > nowSeconds()) return entry.claims;
      verified.delete(token);
      throw new Problem('token_expired');
    },
  };

  /** Checks everything but whether the token has expired. */
  async function check(token: string): Promise<VerifiedToken> {
    if (token.length > TOKEN_LENGTH_MAX || !COMPACT.test(token) || !hasOurHeader(token))
      throw new Problem('invalid_token');
    const checks = {
      algorithms: ['HS256'],
      typ: TYPE,
      issuer: settings.jwtIssuer,
      audience: settings.jwtAudience,
      requiredClaims: REQUIRED_CLAIMS,
      // The times are checked below, where an expired token can be told from an invalid one.
      clockTolerance: CENTURY_SECONDS,
    };
    const claims = (await jwt.verify(token, checks)) || (await previousJwt.verify(token, checks));
    if (!claims) throw new Problem('invalid_token');

    const { sub, sid, username, jti, aud, iat, nbf, exp } = claims as Record<string, unknown>;
    const latest = nowSeconds() + CLOCK_LEEWAY_SECONDS;
    const isPast = (time: unknown) => isSeconds(time) && time <= latest;
    if (!isPast(iat) || !(nbf === undefined || isPast(nbf)) || !isSeconds(exp))
      throw new Problem('invalid_token');
    // jose accepts an audience among others.
    if (aud !== settings.jwtAudience) throw new Problem('invalid_token');
    if (!isId(sub) || !isId(sid) || !isText(username) || !isText(jti))
      throw new Problem('invalid_token');
    return { claims: { userId: sub, sessionId: sid, username }, expiresAtSeconds: exp };
  }
}

/** Returns whether the header has `alg` and `typ` alone: no `crit`, and no `jku` or `kid` to follow (RFC 8725 §3.1, §3.10). */
function hasOurHeader(token: string): boolean {
  try {
    const bytes = decodeBase64url(token.slice(0, token.indexOf('.')));
    const header: unknown = JSON.parse(new TextDecoder().decode(bytes));
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
