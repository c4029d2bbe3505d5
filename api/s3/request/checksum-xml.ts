// Checksums as elements of XML, both ways.

import { CHECKSUM_ALGORITHMS, isChecksumValue } from '../../../appliance/model/checksum.ts';
import type { ObjectChecksum } from '../../../appliance/model/object.ts';
import { malformed, textOf, type XmlElement } from '../xml/parse.ts';
import { element } from '../xml/write.ts';

/** ChecksumCRC32 and so on. */
export const CHECKSUM_ELEMENTS = CHECKSUM_ALGORITHMS.map((algorithm) => `Checksum${algorithm}`);

export function checksumXml(checksum: ObjectChecksum | undefined, withType = true): string {
  if (checksum === undefined) return '';
  const value = element(`Checksum${checksum.algorithm}`, checksum.value);
  return withType ? value + element('ChecksumType', checksum.type) : value;
}

/** The one checksum among the fields of a part. Throws MalformedXML where it can't be one. */
export function checksumOfFields(fields: {
  one(name: string): XmlElement | undefined;
}): ObjectChecksum | undefined {
  for (const algorithm of CHECKSUM_ALGORITHMS) {
    const value = textOf(fields.one(`Checksum${algorithm}`));
    if (value === undefined) continue;
    if (!isChecksumValue(algorithm, value)) throw malformed(`${value} is no ${algorithm}`);
    return { algorithm, type: 'FULL_OBJECT', value };
  }
  return undefined;
}
