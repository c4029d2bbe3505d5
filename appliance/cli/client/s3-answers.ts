// Reads the few XML answers that our S3 client needs: flat elements, looked up by name. Not an XML
// parser: what it doesn't recognise it doesn't see. Keys come url-encoded (encoding-type=url), so
// that also a key that XML cannot carry comes through.

const ENTITIES: Record<string, string> = { lt: '<', gt: '>', quot: '"', apos: "'", amp: '&' };

function unescape(text: string): string {
  return text.replace(/&(#x[0-9a-fA-F]+|#\d+|[a-z]+);/g, (whole, name: string) => {
    if (name.startsWith('#x')) return String.fromCodePoint(Number.parseInt(name.slice(2), 16));
    if (name.startsWith('#')) return String.fromCodePoint(Number(name.slice(1)));
    return ENTITIES[name] ?? whole;
  });
}

/**
 * The inner text of every element of this name, still escaped. Elements of one name must not nest.
 */
export function elementsOf(xml: string, name: string): string[] {
  const found: string[] = [];
  const open = new RegExp(`<${name}(?:\\s[^>]*)?>`, 'g');
  const close = `</${name}>`;
  for (let match = open.exec(xml); match !== null; match = open.exec(xml)) {
    const start = match.index + match[0].length;
    const end = xml.indexOf(close, start);
    if (end < 0) break;
    found.push(xml.slice(start, end));
    open.lastIndex = end + close.length;
  }
  return found;
}

/** The text of the first element of this name. */
export function textOf(xml: string, name: string): string | undefined {
  const inner = elementsOf(xml, name)[0];
  return inner === undefined ? undefined : unescape(inner);
}

export function escapeXml(text: string): string {
  return text.replace(/[<>&"]/g, (character) => `&#${character.charCodeAt(0)};`);
}

export interface ListedObject {
  key: string;
  sizeBytes: number;
  etag: string;
  lastModified: string;
  storageClass: string;
}

export interface ListedPage {
  objects: ListedObject[];
  prefixes: string[];
  /** continuation-token of the next page. */
  next: string | undefined;
}

const decodedKey = (text: string | undefined): string =>
  decodeURIComponent((text ?? '').replaceAll('+', ' '));

const bare = (etag: string | undefined): string => (etag ?? '').replaceAll('"', '');

export function readListPage(xml: string): ListedPage {
  return {
    objects: elementsOf(xml, 'Contents').map((one) => ({
      key: decodedKey(textOf(one, 'Key')),
      sizeBytes: Number(textOf(one, 'Size') ?? 0),
      etag: bare(textOf(one, 'ETag')),
      lastModified: textOf(one, 'LastModified') ?? '',
      storageClass: textOf(one, 'StorageClass') ?? 'STANDARD',
    })),
    prefixes: elementsOf(xml, 'CommonPrefixes').map((one) => decodedKey(textOf(one, 'Prefix'))),
    next: textOf(xml, 'NextContinuationToken'),
  };
}
