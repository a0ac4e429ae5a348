/** Reads and writes XML with namespaces (XML 1.0, "Namespaces in XML 1.0"). */
import sax from 'sax';

/** An element. Its name is that of its namespace in braces before the local name: `{DAV:}prop`. */
export interface XmlElement {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly children: readonly XmlElement[];
  /** The text that stands directly in the element. */
  readonly text: string;
}

/** The deepest request that CalDAV knows has about ten levels, the largest an element or two for each resource. */
const DEPTH_MAX = 32;
const NODES_MAX = 50_000;
/** In UTF-16 units, with its attributes: the parser compares each of these with all before it. */
const TAG_LENGTH_MAX = 4096;
/** The parser tells of a tag only once it has read all of it, so it gets the document in pieces of this length. */
const PIECE_LENGTH = 1024;

/** The types of the package do not know that it would take the entities of HTML as well. */
const options = { xmlns: true, strictEntities: true } as sax.SAXOptions;

/** Why a document is refused. */
export class XmlError extends Error {}

/**
 * Returns the root element of a document. A document type declaration is refused, so no entity is ever expanded but the five of
 * XML itself (§4.6).
 * @throws {XmlError} for what is not well-formed, nests too deeply or has too many elements and attributes.
 */
export function readXml(text: string): XmlElement {
  const parser = sax.parser(true, options);
  const open: Draft[] = [];
  let root: Draft | undefined;
  let nodes = 0;
  let tagStart: number | undefined;

  const count = () => {
    nodes += 1;
    if (nodes > NODES_MAX) throw new XmlError('too many elements and attributes');
  };
  parser.onerror = () => {
    throw new XmlError('not well-formed');
  };
  parser.ondoctype = () => {
    throw new XmlError('a document type declaration');
  };
  parser.onattribute = count;
  parser.onopentagstart = () => {
    tagStart = parser.position;
  };
  parser.onopentag = (tag) => {
    tagStart = undefined;
    count();
    if (open.length === DEPTH_MAX) throw new XmlError('too deep');
    // The parser would read on after the end of the document.
    if (root && open.length === 0) throw new XmlError('more than one element');
    const element = draftOf(tag as sax.QualifiedTag);
    open.at(-1)?.children.push(element);
    root ??= element;
    open.push(element);
  };
  parser.onclosetag = () => void open.pop();
  const addText = (piece: string) => void open.at(-1)?.pieces.push(piece);
  parser.ontext = addText;
  parser.oncdata = addText;

  for (let start = 0; start < text.length; start += PIECE_LENGTH) {
    parser.write(text.slice(start, start + PIECE_LENGTH));
    if (tagStart !== undefined && start + PIECE_LENGTH - tagStart > TAG_LENGTH_MAX)
      throw new XmlError('too long a tag');
  }
  parser.close();
  if (!root) throw new XmlError('no element');
  return finish(root);
}

interface Draft {
  name: string;
  attributes: Record<string, string>;
  children: Draft[];
  pieces: string[];
}

function draftOf({ uri, local, attributes }: sax.QualifiedTag): Draft {
  const own = Object.values(attributes).filter(({ prefix, name }) => !isDeclaration(prefix, name));
  return {
    name: `{${uri}}${local}`,
    attributes: Object.fromEntries(own.map((one) => [one.local, one.value])),
    children: [],
    pieces: [],
  };
}

const isDeclaration = (prefix: string, name: string) => prefix === 'xmlns' || name === 'xmlns';

const finish = ({ name, attributes, children, pieces }: Draft): XmlElement => ({
  name,
  attributes,
  children: children.map(finish),
  text: pieces.join(''),
});

/** Returns the first child with this name. */
export const childOf = (element: XmlElement | undefined, name: string) =>
  element?.children.find((child) => child.name === name);

/** Returns the children with this name. */
export const childrenOf = (element: XmlElement | undefined, name: string) =>
  element?.children.filter((child) => child.name === name) ?? [];

/** Returns a text as the content of an element. What no XML document may hold (§2.2) is left out. */
export const xmlText = (text: string) =>
  text
    // biome-ignore lint/suspicious/noControlCharactersInRegex: it removes them.
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, '')
    .replace(/[&<>\r]/g, (character) => ESCAPES[character] ?? character);

/** A carriage return is written as a reference: a parser would turn it into a line feed (§2.11). */
const ESCAPES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '\r': '&#13;' };

/** The namespaces of RFC 4918, RFC 4791 and Apple's caldav-ctag, with the prefixes that a document here has for them. */
export const DAV = 'DAV:';
export const CALDAV = 'urn:ietf:params:xml:ns:caldav';
export const CALENDARSERVER = 'http://calendarserver.org/ns/';
const PREFIXES: Record<string, string> = { [DAV]: 'd', [CALDAV]: 'c', [CALENDARSERVER]: 'cs' };

/** The declarations for the root element. */
export const XML_NAMESPACES = Object.entries(PREFIXES)
  .map(([uri, prefix]) => `xmlns:${prefix}="${uri}"`)
  .join(' ');

/** Returns an element of any namespace, by the name that `readXml` gives it. @param content XML. */
export function xmlElement(name: string, content = ''): string {
  const [, uri = '', local = ''] = /^\{(.*)\}(.+)$/s.exec(name) ?? [];
  const prefix = PREFIXES[uri] ?? 'x';
  const tag = uri === '' ? local : `${prefix}:${local}`;
  const declaration =
    prefix === 'x' && uri !== '' ? ` xmlns:x="${xmlText(uri).replaceAll('"', '&quot;')}"` : '';
  return content === '' ? `<${tag}${declaration}/>` : `<${tag}${declaration}>${content}</${tag}>`;
}
