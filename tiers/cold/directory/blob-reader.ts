// Reads a blob of a directory tier. Every byte that leaves has been held against its piece's
// checksum: a range is widened to whole pieces of 64 KiB, so a small read costs one label read and
// at most 128 KiB more than asked for.

import { open, type FileHandle } from 'node:fs/promises';
import { MiB } from '../../../appliance/model/limits.ts';
import type { ByteRange } from '../../../appliance/model/tier.ts';
import { corrupt, wrongLength } from '../base/bodies.ts';
import { codeOf, readUpTo } from './files.ts';
import {
  decodeLabel,
  FIRST_READ_BYTES,
  LABEL_SUFFIX,
  PIECE_BYTES,
  sumsRange,
  verifySpan,
  type DecodedLabel,
} from './label.ts';

const SPAN_BYTES = MiB;

export interface Blob {
  name: string;
  /** Of the data file. */
  path: string;
}

/** The label's header; ENOENT passes through. */
export async function readLabel({ name, path }: Blob): Promise<DecodedLabel> {
  await using file = await open(path + LABEL_SUFFIX, 'r');
  return decodeLabel(name, await readUpTo(file, 0, FIRST_READ_BYTES));
}

/**
 * The bytes of a range, in spans of at most 1 MiB in fresh buffers, each verified before it is
 * given.
 */
export async function* readSpans(
  blob: Blob,
  range: ByteRange,
  signal?: AbortSignal,
): AsyncGenerator<Buffer> {
  await using data = await open(blob.path, 'r');
  await using labelFile = await openLabel(blob);
  const first = await readUpTo(labelFile, 0, FIRST_READ_BYTES);
  const label = decodeLabel(blob.name, first);
  const { size } = await data.stat();
  if (size !== label.sizeBytes) throw wrongLength(blob.name, size, label.sizeBytes);
  if (label.pieceBytes !== PIECE_BYTES) throw corrupt(blob.name, 'its label is damaged');
  const end = range.offset + range.length;
  for (let at = range.offset; at < end;) {
    signal?.throwIfAborted();
    const from = at - (at % PIECE_BYTES);
    const upTo = Math.min(from + SPAN_BYTES, roundUp(end), size);
    const bytes = await readUpTo(data, from, upTo - from);
    if (bytes.length !== upTo - from) throw wrongLength(blob.name, from + bytes.length, size);
    const where = sumsRange(label, from, bytes.length);
    const sums =
      where.offset + where.length <= first.length
        ? first.subarray(where.offset, where.offset + where.length)
        : await readUpTo(labelFile, where.offset, where.length);
    verifySpan(blob.name, { offset: from, bytes }, sums);
    yield bytes.subarray(at - from, Math.min(end, upTo) - from);
    at = upTo;
  }
}

/** Bytes whose label is gone cannot be verified, so they are not served. */
function openLabel({ name, path }: Blob): Promise<FileHandle> {
  return open(path + LABEL_SUFFIX, 'r').catch((error: unknown) => {
    throw codeOf(error) === 'ENOENT' ? corrupt(name, 'its label is gone') : error;
  });
}

const roundUp = (offset: number): number => Math.ceil(offset / PIECE_BYTES) * PIECE_BYTES;
