/** Proactive content negotiation (RFC 9110 §12.1). */
import Negotiator from 'negotiator';

/** Returns the media type that the client prefers; the first where it has no preference or accepts none. */
export const preferredType = <const T extends string>(
  request: Request,
  available: readonly [T, ...T[]],
): T => preferred(negotiator(request, 'accept').mediaType([...available]), available);

/** Returns the content coding that the client prefers among these; undefined if it accepts none of them. */
export const preferredEncoding = (request: Request, available: string[]): string | undefined =>
  negotiator(request, 'accept-encoding').encoding(available);

function negotiator(request: Request, field: string): Negotiator {
  return new Negotiator({ headers: { [field]: request.headers.get(field) ?? undefined } });
}

const preferred = <T extends string>(found: string | undefined, available: readonly [T, ...T[]]) =>
  available.find((one) => one === found) ?? available[0];
