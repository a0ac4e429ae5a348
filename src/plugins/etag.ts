/** Versions as entity tags (RFC 9110 §8.8.3, §13.1): what a client read, and whether it may still write on it. */
import { Elysia } from 'elysia';
import type { ExpectedVersions } from '../db/access.ts';
import { Problem } from '../problem.ts';

interface Versioned {
  id: string;
  version: number;
}

const ENTITY_TAGS = /^\s*(?:W\/)?"[^"\s]*"\s*(?:,\s*(?:W\/)?"[^"\s]*"\s*)*$/;

/**
 * Gives routes `expected`, the versions that `If-Match` allows, and three ways to answer with a row: `tagged` (200),
 * `taggedOrUnmodified` (304 where the client has it) and `created` (201 with its `Location`). What is no row has a tag
 * of its own: `isUnmodified` tells whether the client has it, and sets the 304.
 */
export const etag = new Elysia({ name: 'etag' }).derive({ as: 'scoped' }, ({ request, set }) => {
  const expected = expectedVersions(request.headers.get('if-match'));

  function setTag(tag: string | number) {
    set.headers.etag = `"${tag}"`;
    set.headers['cache-control'] = 'private, no-cache';
  }

  function tag<Row extends Versioned>(row: Row): Row {
    setTag(row.version);
    return row;
  }

  function isUnmodified(tag: string | number): boolean {
    setTag(tag);
    if (!includesTag(request.headers.get('if-none-match'), tag)) return false;
    set.status = 304;
    return true;
  }

  return {
    expected,
    isUnmodified,
    tagged: tag,
    taggedOrUnmodified<Row extends Versioned>(row: Row): Row | undefined {
      return isUnmodified(row.version) ? undefined : row;
    },
    created<Row extends Versioned>(collection: string, row: Row): Row {
      set.status = 201;
      set.headers.location = `${collection}/${row.id}`;
      return tag(row);
    },
  };
});

/** A weak tag never matches here: RFC 9110 §13.1.1 asks for the strong comparison. */
function expectedVersions(header: string | null): ExpectedVersions {
  if (header === null || header.trim() === '*') return undefined;
  if (!ENTITY_TAGS.test(header))
    throw new Problem('malformed_request', {
      detail: 'If-Match must be * or entity tags in quotes',
    });
  const tags = header.split(',').map((one) => /^"([1-9]\d{0,8})"$/.exec(one.trim())?.[1]);
  return tags.filter((one) => one !== undefined).map(Number);
}

/** The weak comparison, and no error for a header that is no tag: it only decides whether bytes can be saved. */
function includesTag(header: string | null, tag: string | number): boolean {
  if (header === null) return false;
  const tags = header.split(',').map((one) => one.trim().replace(/^W\//, ''));
  return tags.includes('*') || tags.includes(`"${tag}"`);
}
