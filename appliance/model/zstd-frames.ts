// Compressed bytes that can be read from the middle: independent zstd frames of 1 MiB of plain
// bytes each, and behind more than one frame a table of their lengths, in the seekable format that
// zstd's own tools know (a skippable frame). So `zstd -d` opens the whole, and a range read
// decompresses only the frames it touches. The dangers: a codec that gives back other bytes than it
// took, years later; and stored bytes that swell without bound when they are read. So every frame
// is opened again right after it was made and compared, each carries zstd's own checksum of its
// plain bytes, and nothing ever decompresses to more than was recorded. 1 MiB: 7 ms in, 1.5 ms out.

import assert from 'node:assert/strict';
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { FirnError } from './errors.ts';
import { KiB, MiB } from './limits.ts';
import type { Body, ByteRange } from './tier.ts';

export const FRAME_BYTES = MiB;
/** Bytes that a frame of 1 MiB may take up when it can't be compressed, with room to spare. */
const STORED_FRAME_BYTES_MAX = FRAME_BYTES + 16 * KiB;
const LEVEL = 3;
/** What takes long enough to be felt by others: a fifth of a millisecond. */
const TURN_BYTES_MIN = 128 * KiB;
/** What compression must leave of bytes to be worth a decompression at each read. */
const STORED_SHARE_MAX = 0.9;
/** Of a sample: a little more, since samples err. */
const SAMPLE_SHARE_MAX = 0.93;
const SAMPLE_BYTES = 32 * KiB;

const SKIPPABLE_MAGIC = 0x18_4d_2a_5e;
const SEEKABLE_MAGIC = 0x8f_92_ea_b1;
const TABLE_HEAD_BYTES = 8;
const TABLE_FOOT_BYTES = 9;
const TABLE_ENTRY_BYTES = 8;

type Settings = NonNullable<Parameters<typeof zstdCompressSync>[1]>;

/**
 * On this thread: one of the pool takes twice the CPU (measured). After a large frame the others
 * have their turn.
 */
async function giveTurn(plainBytes: number): Promise<void> {
  if (plainBytes > TURN_BYTES_MIN) await new Promise<void>((resolve) => void setImmediate(resolve));
}

export function frameCount(plainBytes: number): number {
  return Math.ceil(plainBytes / FRAME_BYTES);
}

/** Bytes of the table behind the frames: none behind a single one. */
function tableBytes(frames: number): number {
  return frames < 2 ? 0 : TABLE_HEAD_BYTES + frames * TABLE_ENTRY_BYTES + TABLE_FOOT_BYTES;
}

/** Whether so few stored bytes are worth it. */
export function savesEnough(storedBytes: number, plainBytes: number): boolean {
  return storedBytes <= plainBytes * STORED_SHARE_MAX;
}

/** Looks at a stretch from the start and one from the middle. */
export function sampleShrinks(bytes: Uint8Array): boolean {
  if (bytes.length === 0) return false;
  const middle = bytes.length >>> 1;
  const samples = [bytes.subarray(0, SAMPLE_BYTES)];
  if (bytes.length > 2 * SAMPLE_BYTES) samples.push(bytes.subarray(middle, middle + SAMPLE_BYTES));
  let plain = 0;
  let stored = 0;
  for (const sample of samples) {
    plain += sample.length;
    stored += zstdCompressSync(sample, settingsFor(sample)).length;
  }
  return stored <= plain * SAMPLE_SHARE_MAX;
}

function settingsFor(plain: Uint8Array): Settings {
  return {
    params: {
      [constants.ZSTD_c_compressionLevel]: LEVEL,
      [constants.ZSTD_c_checksumFlag]: 1,
    },
    pledgedSrcSize: plain.length,
    chunkSize: plain.length + 4 * KiB,
  };
}

/** One frame, proved to open to the same bytes. `plain` stays as it is until this returns. */
async function encodeFrame(plain: Uint8Array): Promise<Buffer> {
  assert.ok(plain.length > 0 && plain.length <= FRAME_BYTES, 'bytes of a frame');
  const frame = zstdCompressSync(plain, settingsFor(plain));
  await giveTurn(plain.length);
  assert.ok(frame.length <= STORED_FRAME_BYTES_MAX, 'a frame never grows far beyond its bytes');
  const opened = await decodeFrame(frame, plain.length);
  assert.ok(Buffer.compare(opened, plain) === 0, 'a frame opens to the bytes that went in');
  return frame;
}

function encodeTable(storedSizes: readonly number[], plainBytes: number): Buffer {
  const frames = storedSizes.length;
  const table = Buffer.alloc(tableBytes(frames));
  if (table.length === 0) return table;
  table.writeUInt32LE(SKIPPABLE_MAGIC, 0);
  table.writeUInt32LE(table.length - TABLE_HEAD_BYTES, 4);
  let at = TABLE_HEAD_BYTES;
  for (const [i, stored] of storedSizes.entries()) {
    table.writeUInt32LE(stored, at);
    table.writeUInt32LE(Math.min(FRAME_BYTES, plainBytes - i * FRAME_BYTES), at + 4);
    at += TABLE_ENTRY_BYTES;
  }
  table.writeUInt32LE(frames, at);
  // No checksums in the table: each frame has its own.
  table.writeUInt8(0, at + 4);
  table.writeUInt32LE(SEEKABLE_MAGIC, at + 5);
  return table;
}

/** Frames and table of a body, as they are to be stored. Holds about three frames at once. */
export async function* encodeFrames(body: Body): AsyncGenerator<Uint8Array> {
  const sizes: number[] = [];
  let plainBytes = 0;
  for await (const plain of piecesOf(body)) {
    const frame = await encodeFrame(plain);
    plainBytes += plain.length;
    sizes.push(frame.length);
    yield frame;
  }
  const table = encodeTable(sizes, plainBytes);
  if (table.length > 0) yield table;
}

/** Pieces of exactly a frame's plain bytes, the last one shorter. */
async function* piecesOf(body: Body): AsyncGenerator<Uint8Array> {
  if (body instanceof Uint8Array) {
    for (let at = 0; at < body.length; at += FRAME_BYTES) yield body.subarray(at, at + FRAME_BYTES);
    return;
  }
  const piece = Buffer.allocUnsafeSlow(FRAME_BYTES);
  let held = 0;
  for await (const chunk of body) {
    for (let at = 0; at < chunk.length;) {
      const taken = Math.min(chunk.length - at, FRAME_BYTES - held);
      piece.set(chunk.subarray(at, at + taken), held);
      held += taken;
      at += taken;
      if (held < FRAME_BYTES) continue;
      // Used up before the next one is asked for: encodeFrames waits for its frame.
      yield piece;
      held = 0;
    }
  }
  if (held > 0) yield piece.subarray(0, held);
}

/** Bytes in hand as they would be stored; undefined where that does not pay. */
export async function encodeIfSmaller(plain: Uint8Array): Promise<Buffer | undefined> {
  if (!sampleShrinks(plain)) return undefined;
  const chunks: Uint8Array[] = [];
  for await (const chunk of encodeFrames(plain)) chunks.push(chunk);
  const stored = Buffer.concat(chunks);
  return savesEnough(stored.length, plain.length) ? stored : undefined;
}

function corrupt(why: string, cause?: unknown): FirnError {
  return new FirnError('Corrupt', `compressed bytes are damaged: ${why}`, { cause });
}

/** Exactly `plainBytes` bytes or Corrupt; never takes more memory than that. */
async function decodeFrame(frame: Uint8Array, plainBytes: number): Promise<Buffer> {
  const settings = { chunkSize: plainBytes + 64, maxOutputLength: plainBytes };
  let plain: Buffer;
  try {
    plain = zstdDecompressSync(frame, settings);
  } catch (cause) {
    throw corrupt('a frame does not open', cause);
  }
  if (plain.length !== plainBytes) throw corrupt(`a frame opens to ${plain.length} bytes`);
  await giveTurn(plainBytes);
  return plain;
}

/** Where each frame ends in the stored bytes. */
export type FrameEnds = Float64Array;

/** Bytes as they are stored, and how to read them. */
export interface StoredFrames {
  storedBytes: number;
  plainBytes: number;
  /** A stretch of the stored bytes. */
  read(range: ByteRange): Promise<Body>;
  /** Of an earlier read of the same bytes. */
  ends?: FrameEnds | undefined;
  /** Told of the table once it was read: it may be kept. */
  learned?: (ends: FrameEnds) => void;
}

async function readEnds(from: StoredFrames): Promise<FrameEnds> {
  const frames = frameCount(from.plainBytes);
  const length = tableBytes(frames);
  if (length === 0) return Float64Array.of(from.storedBytes);
  const offset = from.storedBytes - length;
  if (offset < 0) throw corrupt('shorter than the table of its frames');
  const ends = parseTable(await wholeOf(await from.read({ offset, length }), length), from);
  from.learned?.(ends);
  return ends;
}

function parseTable(table: Buffer, from: StoredFrames): FrameEnds {
  const frames = frameCount(from.plainBytes);
  const foot = table.length - TABLE_FOOT_BYTES;
  if (
    table.readUInt32LE(0) !== SKIPPABLE_MAGIC ||
    table.readUInt32LE(4) !== table.length - TABLE_HEAD_BYTES ||
    table.readUInt32LE(foot) !== frames ||
    table.readUInt8(foot + 4) !== 0 ||
    table.readUInt32LE(foot + 5) !== SEEKABLE_MAGIC
  ) {
    throw corrupt('the table of its frames is none');
  }
  const ends = new Float64Array(frames);
  let end = 0;
  for (let i = 0; i < frames; i++) {
    const at = TABLE_HEAD_BYTES + i * TABLE_ENTRY_BYTES;
    const stored = table.readUInt32LE(at);
    const plain = Math.min(FRAME_BYTES, from.plainBytes - i * FRAME_BYTES);
    if (stored > STORED_FRAME_BYTES_MAX || table.readUInt32LE(at + 4) !== plain) {
      throw corrupt(`frame ${i} of its table`);
    }
    end += stored;
    ends[i] = end;
  }
  if (end + table.length !== from.storedBytes) throw corrupt('its frames do not add up');
  return ends;
}

async function wholeOf(body: Body, length: number): Promise<Buffer> {
  const whole = Buffer.allocUnsafeSlow(length);
  let at = 0;
  for await (const chunk of body instanceof Uint8Array ? [body] : body) {
    if (at + chunk.length > length) throw corrupt('more bytes than were asked for');
    whole.set(chunk, at);
    at += chunk.length;
  }
  if (at !== length) throw corrupt(`${at} of ${length} bytes were there`);
  return whole;
}

/**
 * The plain bytes of the range. Within one frame an array that is the caller's, otherwise a stream
 * of a frame a chunk, of which the first is opened before this returns. Reads the table if there is
 * one and it isn't known, and then exactly the frames of the range. Throws Corrupt for anything but
 * the bytes that went in (a frame's 32-bit checksum), and what `read` throws.
 */
export async function decodeFrames(from: StoredFrames, range: ByteRange): Promise<Body> {
  assert.ok(range.offset >= 0 && range.offset + range.length <= from.plainBytes, 'range of bytes');
  if (range.length === 0) return new Uint8Array(0);
  const ends = from.ends ?? (await readEnds(from));
  const first = Math.floor(range.offset / FRAME_BYTES);
  const last = Math.floor((range.offset + range.length - 1) / FRAME_BYTES);
  const begin = first === 0 ? 0 : (ends[first - 1] as number);
  const length = (ends[last] as number) - begin;
  const body = await from.read({ offset: begin, length });
  const frames = framesOf(body, { ends, begin, first, last, plainBytes: from.plainBytes });
  const opened = await frames.next();
  if (opened.done === true) throw corrupt('no frame is there');
  const cutFirst = cutOf(opened.value, first, range);
  if (first === last) return cutFirst;
  return following(cutFirst, frames, { first, range });
}

function cutOf(plain: Buffer, frame: number, { offset, length }: ByteRange): Buffer {
  const start = frame * FRAME_BYTES;
  return plain.subarray(Math.max(0, offset - start), offset + length - start);
}

async function* following(
  cutFirst: Buffer,
  frames: AsyncGenerator<Buffer>,
  { first, range }: { first: number; range: ByteRange },
): AsyncGenerator<Uint8Array> {
  try {
    yield cutFirst;
    let frame = first;
    for await (const plain of frames) {
      frame += 1;
      yield cutOf(plain, frame, range);
    }
  } finally {
    await frames.return(undefined);
  }
}

interface FrameRun {
  ends: FrameEnds;
  begin: number;
  first: number;
  last: number;
  plainBytes: number;
}

/** Each frame's plain bytes, in order; exactly those of the run or Corrupt. */
async function* framesOf(body: Body, run: FrameRun): AsyncGenerator<Buffer> {
  const { ends, begin, first, last, plainBytes } = run;
  let frame = first;
  let from = begin;
  let held = 0;
  let stored = Buffer.allocUnsafeSlow((ends[frame] as number) - from);
  for await (const chunk of body instanceof Uint8Array ? [body] : body) {
    for (let at = 0; at < chunk.length;) {
      if (frame > last) throw corrupt('more bytes than were asked for');
      const taken = Math.min(chunk.length - at, stored.length - held);
      stored.set(chunk.subarray(at, at + taken), held);
      held += taken;
      at += taken;
      if (held < stored.length) continue;
      yield await decodeFrame(stored, Math.min(FRAME_BYTES, plainBytes - frame * FRAME_BYTES));
      from = ends[frame] as number;
      frame += 1;
      held = 0;
      if (frame <= last) stored = Buffer.allocUnsafeSlow((ends[frame] as number) - from);
    }
  }
  if (frame <= last) throw corrupt('the bytes end before its frames do');
}
