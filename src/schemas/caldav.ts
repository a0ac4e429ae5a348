/** What the bodies of CalDAV are made of. Their content is read by `dav/`, because schemas are for JSON. */
export const CALENDAR_TYPES = ['text/calendar'] as const;
export const XML_TYPES = ['application/xml', 'text/xml'] as const;

/** The largest item. Programs write up to ten kilobytes, most of it the history of a time zone; reports read items a page at a time. */
export const ITEM_BYTES_MAX = 256 * 1024;

/** The types of a body, by method. Those of others mean nothing. */
export const davBodyTypes: Readonly<Record<string, readonly string[]>> = {
  MKCALENDAR: XML_TYPES,
  MKCOL: XML_TYPES,
  PROPFIND: XML_TYPES,
  PROPPATCH: XML_TYPES,
  PUT: CALENDAR_TYPES,
  REPORT: XML_TYPES,
};
