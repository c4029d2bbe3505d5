// Which bytes a request means, and in which parts they lie. S3 answers 416 for a range that begins
// past the end, also on an empty object, and cuts one that ends past it.

import { FirnError } from '../../model/errors.ts';
import type { Part, Version } from '../../model/object.ts';
import type { ByteRange } from '../../model/tier.ts';

/** A request's range against the size; a suffix has offset < 0 and length = -offset. */
export function resolveRange(range: ByteRange, sizeBytes: number, subject: string): ByteRange {
  const { offset, length } = range;
  const first = offset < 0 ? Math.max(0, sizeBytes + offset) : offset;
  const last = Math.min(sizeBytes, first + (offset < 0 ? -offset : length));
  if (last > first) return { offset: first, length: last - first };
  throw new FirnError('InvalidRange', 'The requested range is not satisfiable', {
    subject,
    details: {
      RangeRequested: offset < 0 ? `bytes=${offset}` : `bytes=${offset}-${offset + length - 1}`,
      ActualObjectSize: String(sizeBytes),
    },
  });
}

/** The range of a part of a multipart object; part 1 of any other object is all of it. */
export function rangeOfPart(version: Version, parts: readonly Part[], number: number): ByteRange {
  if (version.partCount === undefined && number === 1) {
    return { offset: 0, length: version.sizeBytes };
  }
  let offset = 0;
  for (const part of version.partCount === undefined ? [] : parts) {
    if (part.number === number) return { offset, length: part.sizeBytes };
    offset += part.sizeBytes;
  }
  // A last part without bytes is not among the parts of a version, but it was one.
  const following = (parts.at(-1)?.number ?? 0) + 1;
  if (version.partCount === parts.length + 1 && number === following) return { offset, length: 0 };
  throw new FirnError('InvalidPart', 'The requested part number does not exist', {
    details: { PartNumber: String(number) },
  });
}

/** A stretch of one part. */
export interface Stretch {
  /** Index in the version's parts. */
  index: number;
  offset: number;
  length: number;
}

/** The stretches that make up `range`, in order. */
export function stretchesOf(parts: readonly { sizeBytes: number }[], range: ByteRange): Stretch[] {
  const stretches: Stretch[] = [];
  const end = range.offset + range.length;
  let start = 0;
  for (let index = 0; index < parts.length && start < end; index++) {
    const size = (parts[index] as { sizeBytes: number }).sizeBytes;
    const offset = Math.max(0, range.offset - start);
    const length = Math.min(size, end - start) - offset;
    if (length > 0) stretches.push({ index, offset, length });
    start += size;
  }
  return stretches;
}
