import { Problem } from '../errors/problem.ts';
import { readXml, type XmlElement, XmlError } from '../formats/xml.ts';

/** Returns the root element of a body; undefined where there is none. @throws {Problem} `malformed_request`. */
export function readBody(body: string | undefined): XmlElement | undefined {
  if (body === undefined || body.trim() === '') return undefined;
  try {
    return readXml(body.replace(/^\ufeff/, ''));
  } catch (error) {
    if (!(error instanceof XmlError)) throw error;
    throw new Problem('malformed_request', { detail: `The XML is refused: ${error.message}` });
  }
}

/** @throws {Problem} `malformed_request`. */
export function requireBody(body: string | undefined): XmlElement {
  const element = readBody(body);
  if (!element) throw new Problem('malformed_request', { detail: 'The body is missing' });
  return element;
}
