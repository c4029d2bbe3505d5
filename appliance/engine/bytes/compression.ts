// What moves compress on its way into a tier (settings: compression auto), and how one part is
// copied so. Only moves do: a PUT is never slower for it. The dangers: time spent on bytes that
// don't shrink, so type and key are asked first and a sample is compressed before the whole; and a
// source that is rotten, which the copy would hide behind sums of its own, so plain bytes are held
// against the part's checksum as they pass by.

import { FirnError, isFirnError } from '../../model/errors.ts';
import { GiB, KiB } from '../../model/limits.ts';
import type { Part, Version } from '../../model/object.ts';
import type { Body } from '../../model/tier.ts';
import {
  encodeFrames,
  encodeIfSmaller,
  FRAME_BYTES,
  sampleShrinks,
} from '../../model/zstd-frames.ts';
import type { Core } from '../document/core.ts';

/** What is smaller saves less than the fields that say so, and a few hundred bytes at best. */
const COMPRESSED_BYTES_MIN = 4 * KiB;
/** Of an object that goes alone: a cloud needs the length of what is larger before it begins. */
const ALONE_BYTES_MAX = 32 * GiB;
const SAMPLE_BYTES = 256 * KiB;

/** Compressed already, as far as a type tells. */
const DENSE_TYPE = new RegExp(
  '^(?:(?:image|video|audio)/(?!svg|bmp|x-ms-bmp|tiff|wav|x-wav|x-portable)' +
    '|font/woff|application/(?:(?:x-)?(?:zip|gzip|bzip2?|7z|xz|zstd|rar|lzma|lz4|brotli)\\b' +
    '|vnd\\.(?:rar|openxmlformats|oasis)|x-(?:7z|rar)-compressed|java-archive|epub))',
  'i',
);
const DENSE_NAME = new RegExp(
  '\\.(?:jpe?g|png|gif|webp|heic|avif|jxl|mp[34]|m4[av]|mkv|mov|avi|webm|aac|ogg|opus|flac' +
    '|g?zip|t?gz|bz2|t?xz|7z|rar|zst|lz4|br|lzma|jar|war|apk|docx|xlsx|pptx|od[tsp]|epub|woff2?)$',
  'i',
);

/** Whether a move into the tier tries it at all; what the bytes themselves say comes after. */
export function mayCompress(
  core: Core,
  tier: string,
  { key, version }: { key: string; version: Version },
): boolean {
  if (core.context.compressedTiers?.has(tier) !== true) return false;
  // Sealed bytes don't shrink; and their length would say what they hold.
  if (version.encryption !== undefined) return false;
  if (version.sizeBytes < COMPRESSED_BYTES_MIN) return false;
  const { 'content-type': type = '', 'content-encoding': encoding = '' } = version.headers;
  if (/\b(?:gzip|br|zstd|compress|deflate)\b/i.test(encoding)) return false;
  return !DENSE_TYPE.test(type) && !DENSE_NAME.test(key);
}

/** Whether the beginning of a part shrinks. What can't be read is not judged here: false. */
export async function sampleOf(core: Core, part: Part, signal?: AbortSignal): Promise<boolean> {
  const length = Math.min(SAMPLE_BYTES, part.sizeBytes);
  const more = signal === undefined ? {} : { signal };
  try {
    const body = await core.locations.read(part.location, {
      range: { offset: 0, length },
      ...more,
    });
    const chunks: Buffer[] = [];
    // A chunk is the reader's own only until the next one.
    for await (const chunk of body instanceof Uint8Array ? [body] : body) {
      chunks.push(Buffer.from(chunk));
    }
    return sampleShrinks(Buffer.concat(chunks));
  } catch (error) {
    if (isFirnError(error)) return false;
    throw error;
  }
}

/** Whether an object that goes alone is compressed: by its first part's beginning. */
export async function shrinksAlone(
  core: Core,
  moving: { key: string; version: Version; parts: readonly Part[] },
  options: { tier: string; signal?: AbortSignal },
): Promise<boolean> {
  const [first] = moving.parts;
  if (first === undefined || moving.version.sizeBytes > ALONE_BYTES_MAX) return false;
  if (!mayCompress(core, options.tier, moving)) return false;
  return sampleOf(core, first, options.signal);
}

/** Bytes of one part on their way, coded. */
export interface CodedBody {
  body: Body;
  /** Of the coded bytes; known once the body has passed. */
  sum(): { checksum: string; sizeBytes: number };
}

/** The part's body coded, or undefined where it does not pay: then the body is still unread. */
export async function codedBody(
  core: Core,
  part: Part,
  body: Body,
  options: { subject: string; signal?: AbortSignal },
): Promise<CodedBody | undefined> {
  const { checksums } = core.context;
  if (body instanceof Uint8Array && body.length <= FRAME_BYTES) {
    checkPlain(checksums.of(body), part, options.subject);
    const stored = await encodeIfSmaller(body);
    if (stored === undefined) return undefined;
    const sum = { checksum: checksums.of(stored), sizeBytes: stored.length };
    return { body: stored, sum: () => sum };
  }
  if (!(await sampleOf(core, part, options.signal))) return undefined;
  const sum = checksums.open();
  let sizeBytes = 0;
  return {
    body: passing(encodeFrames(checkedPlain(core, part, body, options.subject)), (chunk) => {
      sum.update(chunk);
      sizeBytes += chunk.length;
    }),
    sum: () => ({ checksum: sum.digest(), sizeBytes }),
  };
}

/** Tells of each chunk as it goes by. */
export async function* passing(
  body: AsyncIterable<Uint8Array>,
  tell: (chunk: Uint8Array) => void,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of body) {
    tell(chunk);
    yield chunk;
  }
}

function checkPlain(found: string, part: Part, subject: string): void {
  if (found === part.checksum) return;
  throw new FirnError('Corrupt', `part ${part.number} does not match its sum while it is moved`, {
    subject,
  });
}

/** The bytes as they are, held against the part's checksum. */
export async function* checkedPlain(
  core: Core,
  part: Part,
  body: Body,
  subject: string,
): AsyncGenerator<Uint8Array> {
  const sum = core.context.checksums.open();
  for await (const chunk of body instanceof Uint8Array ? [body] : body) {
    sum.update(chunk);
    yield chunk;
  }
  checkPlain(sum.digest(), part, subject);
}
