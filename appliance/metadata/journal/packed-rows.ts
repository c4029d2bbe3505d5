// The rows of a batch of a snapshot, compressed: a snapshot stands on m+1 drives, and of ten
// million small objects it would be 1.7 GB on each instead of 1. Heads, ids and records lie
// apart, because what is alike is then near what it is like (a tenth smaller than row by row). The
// danger is bytes that don't open again, behind which the logs were cut: so each is opened right
// after it was made and compared.

import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { FirnError } from '../../model/errors.ts';

/** Higher ones take three times as long for a hundredth. */
const LEVEL = 3;
const SETTINGS = { params: { [constants.ZSTD_c_compressionLevel]: LEVEL } };

export const HEAD_BYTES = 8;

/** One row; without a record it is removed. */
export interface RowBytes {
  id: Uint8Array;
  record?: Uint8Array | undefined;
}

export interface PackedRows {
  bytes: Buffer;
  /** Before they were compressed. */
  plainBytes: number;
}

/** `writeHead` writes the HEAD_BYTES of a row. */
export function packRows<R extends RowBytes>(
  rows: readonly R[],
  writeHead: (row: R, into: Buffer, at: number) => void,
): PackedRows {
  const heads = Buffer.allocUnsafe(rows.length * HEAD_BYTES);
  for (const [i, row] of rows.entries()) writeHead(row, heads, i * HEAD_BYTES);
  const ids = rows.map(({ id }) => id);
  const records = rows.flatMap(({ record }) => (record === undefined ? [] : [record]));
  const plain = Buffer.concat([heads, ...ids, ...records]);
  const bytes = zstdCompressSync(plain, SETTINGS);
  if (!unpackRows(bytes, plain.length).equals(plain)) throw damaged('made');
  return { bytes, plainBytes: plain.length };
}

/** Of bytes whose checksum is right. Throws Corrupt. */
export function unpackRows(bytes: Uint8Array, plainBytes: number): Buffer {
  let plain: Buffer;
  try {
    plain = zstdDecompressSync(bytes, { maxOutputLength: Math.max(1, plainBytes) });
  } catch (cause) {
    throw damaged('read', cause);
  }
  if (plain.length !== plainBytes) throw damaged('read');
  return plain;
}

function damaged(when: string, cause?: unknown): FirnError {
  return new FirnError('Corrupt', `compressed rows of a snapshot don't open again when ${when}`, {
    cause,
    hint: 'memory or processor of this host fail: have both tested',
  });
}
