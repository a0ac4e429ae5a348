import { Problem } from '../errors/problem.ts';
import { readXml, type XmlElement, XmlError } from '../formats/xml.ts';

/**
 * Returns the root element of a body; undefined where there is none.
 * @param root its name.
 * @throws {Problem} `malformed_request`.
 */
export function readBody(body: string | undefined, root: string): XmlElement | undefined {
  if (body === undefined || body.trim() === '') return undefined;
  const element = parse(body);
  if (element.name === root) return element;
  throw new Problem('malformed_request', { detail: `The root of the XML has to be ${root}` });
}

/** Returns the root element of a body that has to be there, whatever its name. @throws {Problem} `malformed_request`. */
export function requireBody(body: string | undefined): XmlElement {
  if (body === undefined || body.trim() === '')
    throw new Problem('malformed_request', { detail: 'The body is missing' });
  return parse(body);
}

function parse(body: string): XmlElement {
  try {
    return readXml(body.replace(/^\ufeff/, ''));
  } catch (error) {
    if (!(error instanceof XmlError)) throw error;
    throw new Problem('malformed_request', { detail: `The XML is refused: ${error.message}` });
  }
}
