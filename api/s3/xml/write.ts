// Writes XML: thirty lines, because the library's builder lets U+0001 and a raw carriage return
// through, and a key that comes back changed by a parser is a key that a client then deletes or
// misses.

// oxlint-disable-next-line no-control-regex
const SPECIAL = /[&<>\r\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\ufffe\uffff]/;
const EVERY_SPECIAL = new RegExp(SPECIAL, 'g');

// Control characters have no valid form in XML 1.0. A reference is what S3 itself sends, and what
// lenient parsers read back; careful clients ask for encoding-type=url.
function escapeOne(char: string): string {
  if (char === '&') return '&amp;';
  if (char === '<') return '&lt;';
  if (char === '>') return '&gt;';
  return `&#${char.charCodeAt(0)};`;
}

export function escapeText(text: string): string {
  return SPECIAL.test(text) ? text.replace(EVERY_SPECIAL, escapeOne) : text;
}

/** An element with a text in it. */
export function element(name: string, value: string | number | boolean): string {
  return `<${name}>${typeof value === 'string' ? escapeText(value) : value}</${name}>`;
}

/** The same, or nothing where there is no value. */
export function optional(name: string, value: string | number | boolean | undefined): string {
  return value === undefined ? '' : element(name, value);
}

/** An element with XML in it. */
export function wrap(name: string, content: string): string {
  return `<${name}>${content}</${name}>`;
}

const S3_NAMESPACE = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"';

export const XML_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n';

export function xmlDocument(name: string, content: string, attributes = S3_NAMESPACE): string {
  return `${XML_DECLARATION}<${name}${attributes}>${content}</${name}>`;
}

/** Characters that are encoded by one call: few calls, and texts that are still in the cache. */
const PIECE_CHARACTERS = 4096;
/** Of UTF-8, for a UTF-16 unit. */
const BYTES_A_CHARACTER_MAX = 3;

/**
 * A document that is encoded as it grows. A listing of 1,000 keys as one text is joined, flattened
 * and encoded in turn, 300 KB each time: a fifth of the whole request.
 */
export class LongXml {
  readonly #name: string;
  #bytes: Buffer;
  #length = 0;
  #text: string;

  constructor(name: string, bytesExpected: number) {
    this.#name = name;
    this.#bytes = Buffer.allocUnsafeSlow(bytesExpected);
    this.#text = `${XML_DECLARATION}<${name}${S3_NAMESPACE}>`;
  }

  add(xml: string): void {
    this.#text += xml;
    if (this.#text.length >= PIECE_CHARACTERS) this.#encode();
  }

  /** The whole document. */
  end(): Buffer {
    this.#text += `</${this.#name}>`;
    this.#encode();
    return this.#bytes.subarray(0, this.#length);
  }

  #encode(): void {
    const text = this.#text;
    this.#text = '';
    const needed = this.#length + text.length * BYTES_A_CHARACTER_MAX;
    if (needed > this.#bytes.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.#bytes.length));
      larger.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = larger;
    }
    this.#length += this.#bytes.write(text, this.#length, 'utf8');
  }
}
