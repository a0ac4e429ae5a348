/** Versions as entity tags (RFC 9110 §8.8.3, §13.1): which version a client has, and which versions it may overwrite. */
import { Elysia } from 'elysia';
import { Problem } from '../errors/problem.ts';
import type { ExpectedVersions } from '../schemas/current-user.ts';

export interface Versioned {
  version: number;
}

const ENTITY_TAGS = /^\s*(?:W\/)?"[^"\s]*"\s*(?:,\s*(?:W\/)?"[^"\s]*"\s*)*$/;

/**
 * The forms that compressing proxies give to the tag `"1"`: nginx makes it weak, Apache and Jetty append the coding, Caddy and
 * others use another separator. A tag names a version here, not bytes, so all forms name the same version.
 */
const FORM = /^(?:W\/)?"(.*?)(?:[-;:+_]{1,2}(?:x-)?(?:gzip|gz|br|zstd|deflate|compress|df))?"$/i;

/**
 * Gives routes `expectVersion(body.version)`, which returns the versions that the request allows, and ways to return a row: with
 * its tag (200), with its tag or a 304 where the client has it, or as created (201 with its `Location`). A response that is not
 * a row uses `notModified` with a tag of its own.
 */
export const etag = new Elysia({ name: 'etag' }).derive({ as: 'scoped' }, ({ request, set }) => {
  const ifMatchVersions = readIfMatch(request.headers.get('if-match'));

  function setTag(tag: string | number) {
    set.headers.etag = `"${tag}"`;
    set.headers['cache-control'] = 'private, no-cache';
  }

  function withETag<Row extends Versioned>(row: Row): Row {
    setTag(row.version);
    return row;
  }

  function notModified(tag: string | number): boolean {
    setTag(tag);
    if (!includesTag(request.headers.get('if-none-match'), tag)) return false;
    set.status = 304;
    // RFC 9110 §15.4.5: a cache would replace the type of what it has.
    delete set.headers['content-type'];
    return true;
  }

  return {
    /** Returns the versions that both `If-Match` and the body allow. */
    expectVersion(version?: number): ExpectedVersions {
      if (version === undefined) return ifMatchVersions;
      return ifMatchVersions === undefined || ifMatchVersions.includes(version) ? [version] : [];
    },
    /** Returns the result of `write`. To a 412 it adds the present version, which `read` returns. */
    async orPresentVersion<T>(write: Promise<T>, read: () => Promise<Versioned>): Promise<T> {
      try {
        return await write;
      } catch (error) {
        if (!(error instanceof Problem) || error.code !== 'precondition_failed') throw error;
        const { version } = await read();
        const headers = { etag: `"${version}"` };
        throw new Problem(error.code, { ...error.particulars, headers, version });
      }
    },
    notModified,
    withETag,
    withETagOr304<Row extends Versioned>(row: Row): Row | undefined {
      return notModified(row.version) ? undefined : row;
    },
    createdWithETag<Row extends Versioned & { id: string }>(collection: string, row: Row): Row {
      set.status = 201;
      set.headers.location = `${collection}/${row.id}`;
      return withETag(row);
    },
  };
});

function readIfMatch(header: string | null): ExpectedVersions {
  if (header === null || header.trim() === '*') return undefined;
  if (!ENTITY_TAGS.test(header))
    throw new Problem('malformed_request', {
      detail: 'If-Match must be * or entity tags in quotes',
    });
  return header
    .split(',')
    .map((one) => /^[1-9]\d{0,8}$/.exec(bareTag(one))?.[0])
    .filter((version) => version !== undefined)
    .map(Number);
}

/** Returns whether a header lists the tag. A malformed header lists none: the client then gets the whole response. */
export function includesTag(header: string | null, tag: string | number): boolean {
  if (header === null) return false;
  const tags = header.split(',').map(bareTag);
  return tags.includes('*') || tags.includes(String(tag));
}

/** Returns the tag without quotes, in the form in which this server sent it; `*` and what is no tag as they are. */
function bareTag(text: string): string {
  const trimmed = text.trim();
  return FORM.exec(trimmed)?.[1] ?? (trimmed === '*' ? '*' : '');
}
