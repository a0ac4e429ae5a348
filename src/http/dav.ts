/** HTTP of WebDAV and CalDAV without Elysia. */

/** Where CalDAV begins. A well-known address leads there (RFC 6764 §5). */
export const DAV_ROOT = '/dav';

/** RFC 4918 §10.1, RFC 4791 §5.1, RFC 5689 §3.1. Locks, class 2, are absent. */
const COMPLIANCE = '1, 3, calendar-access, extended-mkcol';

/** Returns the header that says what the server supports, for a path with these methods; none for one without WebDAV. */
export const davHeaders = (methods: readonly string[]) =>
  methods.includes('PROPFIND') ? { dav: COMPLIANCE } : {};

/** The methods of WebDAV that only read. */
export const READING_METHODS: readonly string[] = ['GET', 'HEAD', 'PROPFIND', 'REPORT'];

/** Returns the name that a percent-encoded segment of a path stands for; undefined for what is no UTF-8, and for a NUL. */
export function decodeSegment(segment: string): string | undefined {
  try {
    const name = decodeURIComponent(segment);
    return name.includes('\0') ? undefined : name;
  } catch {
    return undefined;
  }
}
