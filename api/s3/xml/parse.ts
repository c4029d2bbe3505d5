// Reads the XML that clients send, strictly. The danger: a lenient parser makes another key of a
// key (the library's defaults turn `001` into 1, trim blanks, and drop `&#0;`), and DeleteObjects
// then deletes what nobody named. So the library only finds the elements; well-formedness is
// checked before it, text is decoded here, and every element must be one that the operation knows.

import { XMLParser, XMLValidator } from 'fast-xml-parser';
import { FirnError } from '../../../appliance/model/errors.ts';

export interface XmlElement {
  name: string;
  /** Decoded; empty where there are children. */
  text: string;
  children: XmlElement[];
}

type Ordered = Record<string, Ordered[] | string>;

const parser = new XMLParser({
  preserveOrder: true,
  ignoreAttributes: true,
  parseTagValue: false,
  trimValues: false,
  processEntities: false,
  ignoreDeclaration: true,
  ignorePiTags: true,
});

export function malformed(reason: string): FirnError {
  return new FirnError('MalformedXML', `The XML you provided is not usable: ${reason}.`);
}

// Elements of 10,000 parts with everything, and some: counted before the parser, which takes 24 s
// for half a million, builds anything.
const ELEMENTS_MAX = 80_000;

/** The root element, which must have one of these names. Throws MalformedXML. */
export function parseXml(bytes: Uint8Array, rootName: string): XmlElement {
  const text = decodeUtf8(bytes);
  // CDATA and DOCTYPE have no business here, and entities, bombs and files come by the latter.
  if (/<!(?!--)/.test(text)) throw malformed('declarations are not accepted');
  if (countElements(text) > ELEMENTS_MAX) throw malformed('too many elements');
  let tree: Ordered[];
  try {
    if (XMLValidator.validate(text) !== true) throw malformed('it is not well-formed');
    tree = parser.parse(text) as Ordered[];
  } catch (cause) {
    if (cause instanceof FirnError) throw cause;
    throw new FirnError('MalformedXML', 'The XML you provided is not well-formed.', { cause });
  }
  const roots = tree.map(toElement).filter((root) => root.name !== '#text');
  const root = roots[0];
  if (root === undefined || roots.length > 1) throw malformed('it must have one root element');
  if (root.name !== rootName) throw malformed(`the root element must be ${rootName}`);
  return root;
}

function decodeUtf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw malformed('it is not UTF-8');
  }
}

function countElements(text: string): number {
  let count = 0;
  for (let at = text.indexOf('<'); at >= 0; at = text.indexOf('<', at + 1)) {
    if (text[at + 1] !== '/') count++;
  }
  return count;
}

function toElement(node: Ordered): XmlElement {
  const name = Object.keys(node)[0] as string;
  const value = node[name] as Ordered[] | string;
  if (typeof value === 'string') return { name, text: decodeText(value), children: [] };
  const children: XmlElement[] = [];
  let text = '';
  for (const child of value.map(toElement)) {
    if (child.name === '#text') text += child.text;
    else children.push(child);
  }
  if (children.length > 0) {
    if (/[^ \t\r\n]/.test(text)) throw malformed(`${name} mixes text and elements`);
    text = '';
  }
  return { name, text, children };
}

const NAMED: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

/** Decodes references once: `&amp;#13;` is five characters, not a carriage return. */
function decodeText(raw: string): string {
  if (!raw.includes('&')) return raw;
  return raw.replace(/&(?:#x([0-9a-fA-F]{1,6});|#([0-9]{1,7});|([a-z]{2,4});)?/g, decodeReference);
}

function decodeReference(all: string, hex?: string, decimal?: string, name?: string): string {
  if (name !== undefined) {
    const char = NAMED[name];
    if (char !== undefined) return char;
  }
  const digits = hex ?? decimal;
  const point = digits === undefined ? 0 : Number.parseInt(digits, hex === undefined ? 10 : 16);
  const surrogate = point >= 0xd800 && point <= 0xdfff;
  if (point === 0 || point > 0x10ffff || surrogate) throw malformed(`${all} is no character`);
  return String.fromCodePoint(point);
}

/**
 * The children by name, each at most once unless named in `many`. Throws MalformedXML on any other
 * element: a dropped filter widens a delete.
 */
export function childrenOf(
  parent: XmlElement,
  once: readonly string[],
  many: readonly string[] = [],
): { one(name: string): XmlElement | undefined; all(name: string): XmlElement[] } {
  const found = new Map<string, XmlElement[]>();
  for (const child of parent.children) {
    const known = found.get(child.name);
    if (known === undefined) found.set(child.name, [child]);
    else known.push(child);
    const repeatable = many.includes(child.name);
    if (!repeatable && !once.includes(child.name)) {
      throw malformed(`${parent.name} has an unknown element ${child.name}`);
    }
    if (!repeatable && known !== undefined) throw malformed(`${child.name} is there twice`);
  }
  return { one: (name) => found.get(name)?.[0], all: (name) => found.get(name) ?? [] };
}

/** Text of an element that has no children; undefined where the element isn't there. */
export function textOf(leaf: XmlElement | undefined): string | undefined {
  if (leaf === undefined) return undefined;
  if (leaf.children.length > 0) throw malformed(`${leaf.name} must hold text only`);
  return leaf.text;
}

/** A whole number in decimal digits. */
export function integerOf(leaf: XmlElement | undefined): number | undefined {
  const text = textOf(leaf)?.trim();
  if (text === undefined) return undefined;
  if (!/^-?\d{1,15}$/.test(text)) throw malformed(`${leaf?.name} must be a whole number`);
  return Number(text);
}
