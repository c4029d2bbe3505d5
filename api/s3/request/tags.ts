// Tags of objects and of buckets: at most 10 and 50, checked alike whether they come as a header or
// as XML. The danger: a tag that is stored in another form than a rule or policy asks for makes the
// rule miss, or hit, the wrong objects; so nothing is trimmed, folded or left out.

import { FirnError } from '../../../appliance/model/errors.ts';
import { childrenOf, malformed, parseXml, textOf, type XmlElement } from '../xml/parse.ts';
import { element, wrap, xmlDocument } from '../xml/write.ts';

const OBJECT_TAGS_MAX = 10;
const BUCKET_TAGS_MAX = 50;
const KEY_CHARACTERS_MAX = 128;
const VALUE_CHARACTERS_MAX = 256;
const ALLOWED = /^[\p{L}\p{Z}\p{N}_.:/=+@-]*$/u;

export type Tags = Record<string, string>;
type Pairs = readonly (readonly [string, string])[];

const invalidTag = (message: string): FirnError => new FirnError('InvalidTag', message);

/** S3 counts characters, not UTF-16 units. */
function isWithin(text: string, characters: number): boolean {
  return text.length <= characters || Array.from(text).length <= characters;
}

function checked(pairs: Pairs): Tags {
  const tags: Tags = {};
  for (const [key, value] of pairs) {
    const isKey = key !== '' && isWithin(key, KEY_CHARACTERS_MAX) && ALLOWED.test(key);
    if (!isKey || key === '__proto__') {
      throw invalidTag('The TagKey you have provided is invalid.');
    }
    if (!isWithin(value, VALUE_CHARACTERS_MAX) || !ALLOWED.test(value)) {
      throw invalidTag('The TagValue you have provided is invalid.');
    }
    if (key.startsWith('aws:')) throw invalidTag('System tags cannot be added by a requester.');
    if (Object.hasOwn(tags, key)) {
      throw invalidTag('Cannot provide multiple Tags with the same key.');
    }
    tags[key] = value;
  }
  return tags;
}

/** Throws InvalidTag. */
export function objectTagsOf(pairs: Pairs): Tags {
  if (pairs.length > OBJECT_TAGS_MAX) {
    throw invalidTag('Object tags cannot be greater than 10.');
  }
  return checked(pairs);
}

/** Throws InvalidTag, BadRequest. */
export function bucketTagsOf(pairs: Pairs): Tags {
  if (pairs.length > BUCKET_TAGS_MAX) {
    throw new FirnError('BadRequest', 'Bucket tag count cannot be greater than 50.');
  }
  return checked(pairs);
}

/** The tags of a Tagging document, in order. Throws MalformedXML. */
export function tagPairsOf(bytes: Uint8Array): Pairs {
  const set = childrenOf(parseXml(bytes, 'Tagging'), ['TagSet']).one('TagSet');
  if (set === undefined) throw malformed('TagSet is missing');
  return tagPairsIn(set);
}

/** Of the element that holds them. Throws MalformedXML. */
export function tagPairsIn(set: XmlElement): Pairs {
  return childrenOf(set, [], ['Tag'])
    .all('Tag')
    .map((tag) => {
      const fields = childrenOf(tag, ['Key', 'Value']);
      const key = textOf(fields.one('Key'));
      const value = textOf(fields.one('Value'));
      if (key === undefined || value === undefined) throw malformed('a Tag has a Key and a Value');
      return [key, value] as const;
    });
}

/** In order of the keys. */
export function taggingXml(tags: Tags): string {
  let xml = '';
  for (const [key, value] of Object.entries(tags).toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    xml += wrap('Tag', element('Key', key) + element('Value', value));
  }
  return xmlDocument('Tagging', wrap('TagSet', xml));
}
