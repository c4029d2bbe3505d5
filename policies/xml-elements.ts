// XML as a tree of elements that must be accounted for. The parser beneath is lenient, which is
// dangerous where a dropped filter widens a delete: so well-formedness is checked first, document
// types are refused outright, values stay text as they were written, and whoever walks the tree
// names every element it takes. What it did not name is MalformedXML, never ignored.

import { XMLParser, XMLValidator } from 'fast-xml-parser';
import { FirnError } from '../appliance/model/errors.ts';
import { XML_BYTES_MAX } from '../appliance/model/limits.ts';

const TEXT = '#text';
const ATTRIBUTES = ':@';

type RawNode = Record<string, unknown>;

const PARSER = new XMLParser({
  preserveOrder: true,
  ignoreAttributes: false,
  parseTagValue: false,
  parseAttributeValue: false,
  trimValues: false,
  htmlEntities: true,
  processEntities: true,
  ignoreDeclaration: true,
  ignorePiTags: true,
});

export function malformed(message: string, subject?: string): FirnError {
  const hint = 'compare the request with the S3 API reference';
  return new FirnError(
    'MalformedXML',
    message,
    subject === undefined ? { hint } : { subject, hint },
  );
}

/** One element. Its children are taken by name; `end` refuses what was not taken. */
export class XmlElement {
  readonly name: string;
  readonly #nodes: readonly RawNode[];
  readonly #known = new Set<string>();

  constructor(name: string, nodes: readonly RawNode[]) {
    this.name = name;
    this.#nodes = nodes;
  }

  /** The root of a document; MalformedXML if it is not `rootName` or not well-formed XML at all. */
  static parse(xml: string, rootName: string): XmlElement {
    if (Buffer.byteLength(xml) > XML_BYTES_MAX) throw malformed('the XML is larger than 1 MiB');
    if (/<!(?:DOCTYPE|ENTITY)/i.test(xml)) throw malformed('a document type is not allowed');
    if (xml.trim() === '' || XMLValidator.validate(xml) !== true) {
      throw malformed('the XML is not well-formed');
    }
    let nodes: RawNode[];
    try {
      nodes = PARSER.parse(xml) as RawNode[];
    } catch (cause) {
      throw new FirnError('MalformedXML', 'the XML is not well-formed', { cause });
    }
    const elements = nodes.filter((node) => nameOf(node) !== TEXT);
    const [root] = elements;
    if (elements.length !== 1 || root === undefined || nameOf(root) !== rootName) {
      throw malformed(`the document's element is not ${rootName}`);
    }
    return new XmlElement(rootName, root[rootName] as RawNode[]);
  }

  /** All children of this name. */
  many(name: string): XmlElement[] {
    this.#known.add(name);
    return this.#nodes
      .filter((node) => nameOf(node) === name)
      .map((node) => new XmlElement(name, node[name] as RawNode[]));
  }

  /** The child of this name, if there is one; MalformedXML if there are more. */
  maybe(name: string): XmlElement | undefined {
    const [first, second] = this.many(name);
    if (second !== undefined) throw malformed(`${name} stands twice in ${this.name}`);
    return first;
  }

  one(name: string): XmlElement {
    const found = this.maybe(name);
    if (found === undefined) throw malformed(`${name} is missing in ${this.name}`);
    return found;
  }

  /** The text of an element without children, exactly as written. */
  text(): string {
    let text = '';
    for (const node of this.#nodes) {
      const name = nameOf(node);
      if (name !== TEXT) throw malformed(`unexpected ${name} in ${this.name}`);
      text += String(node[TEXT]);
    }
    return text;
  }

  maybeText(name: string): string | undefined {
    return this.maybe(name)?.text();
  }

  /** To be called after all children were taken: anything else in it is MalformedXML. */
  end(): void {
    for (const node of this.#nodes) {
      const name = nameOf(node);
      if (name === TEXT) {
        if (String(node[TEXT]).trim() !== '') throw malformed(`text in ${this.name}`);
      } else if (!this.#known.has(name)) {
        throw malformed(`unknown element ${name} in ${this.name}`);
      }
    }
  }
}

function nameOf(node: RawNode): string {
  return Object.keys(node).find((key) => key !== ATTRIBUTES) ?? TEXT;
}

/** Text for an element's content. A carriage return would be lost on the way if written raw. */
export function escapeXml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('\r', '&#13;');
}

/** Whether XML 1.0 can carry this text at all. */
export function isXmlText(text: string): boolean {
  // eslint-disable-next-line no-control-regex
  return !/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/.test(text) && text.isWellFormed();
}
