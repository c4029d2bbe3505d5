// Identifiers. None is ever used twice: a paused process that wakes up late must not find its old
// name naming new bytes (protocol A2, A3, B3).

import type { Clock, Random } from './clock.ts';

const hex = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex');

/**
 * 8 random bytes as 16 hex digits: fixed length, so that object ids of buckets never interleave.
 */
export function newBucketId(random: Random): string {
  return hex(random.bytes(8));
}

export const BUCKET_ID_LENGTH = 16;

/**
 * 32 hex digits: 48 bits of engine-clock milliseconds, then 80 random bits. Age is read back from
 * the first 12 digits (rule B3), so a location needs no date of its own. A sandbox's clock may
 * stand between two milliseconds.
 */
export function newLocationId(clock: Clock, random: Random): string {
  return Math.floor(clock.now()).toString(16).padStart(12, '0') + hex(random.bytes(10));
}

export const LOCATION_ID_LENGTH = 32;

/** Engine-clock milliseconds at which the location's first byte was written. */
export function locationBirth(id: string): number {
  return Number.parseInt(id.slice(0, 12), 16);
}

/**
 * Version id: the key's own sequence number (12 hex digits) and 64 random bits. A version is looked
 * up by point, and ids never sort by accident: order is the order in the document.
 */
export function newVersionId(sequence: number, random: Random): string {
  return sequence.toString(16).padStart(12, '0') + hex(random.bytes(8));
}

/**
 * What a key's sequence begins at: 16 a millisecond, more than a key can be written. So a key that
 * is written again after it was gone goes on above what it had, and who orders its versions or
 * events by sequence is right for ever.
 */
export function firstSequence(nowMs: number): number {
  return Math.floor(nowMs) * 16;
}

/** How S3 names the version that was written while versioning was off or suspended. */
export const NULL_VERSION = 'null';

/** 32 hex digits for uploads, operations, runs, requests, moves: unique, unguessable. */
export function newId(random: Random): string {
  return hex(random.bytes(16));
}

/**
 * 32 hex digits in order of time (as newLocationId): rows that a worker finds by going on from the
 * last.
 */
export function newRequestId(clock: Clock, random: Random): string {
  return newLocationId(clock, random);
}

/** Id of the one document of a key in the table `objects` (protocol A1). */
export function objectId(bucketId: string, key: string): string {
  return `${bucketId}/${key}`;
}

export function keyOfObjectId(id: string): string {
  return id.slice(BUCKET_ID_LENGTH + 1);
}

/** Compares as S3 sorts keys: by UTF-8 bytes (JavaScript's < compares UTF-16 units). */
export function compareUtf8(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a, 'utf8'), Buffer.from(b, 'utf8'));
}

/**
 * The least string above every string that starts with `prefix`, in UTF-8 order; undefined if none.
 */
export function afterPrefix(prefix: string): string | undefined {
  const points = Array.from(prefix);
  while (points.length > 0) {
    const last = points.pop() as string;
    const point = last.codePointAt(0) as number;
    if (point >= 0x10ffff) continue;
    const next = point + 1 >= 0xd800 && point + 1 <= 0xdfff ? 0xe000 : point + 1;
    return points.join('') + String.fromCodePoint(next);
  }
  return undefined;
}
