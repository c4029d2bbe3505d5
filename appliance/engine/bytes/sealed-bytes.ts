// AES-256-CTR over the bytes of a part: as long sealed as they were plain, and any range of them
// opens by itself, so that sizes, ranges, packs and stripes are what they are without encryption.
// The danger is a counter block used twice under one key, which would give away both texts: a data
// key belongs to one object or upload, and each part of it starts at a random block of 128 bits (of
// 10,000 parts of 5 GiB two meet with a probability below 2^-70). Altered bytes are found by
// checksums (ENCRYPTION.md says what that is worth). About 1.5 GB/s a core.

import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  type Cipheriv,
  type Decipheriv,
} from 'node:crypto';
import { FirnError } from '../../model/errors.ts';
import type { Body } from '../../model/tier.ts';

const ALGORITHM = 'aes-256-ctr';
export const COUNTER_BYTES = 16;

/** What seals one part. */
export interface PartSeal {
  dataKey: Uint8Array;
  /** The first counter block: never two parts of a data key from the same. */
  counter: Uint8Array;
}

export function sealingCipher({ dataKey, counter }: PartSeal): Cipheriv {
  return createCipheriv(ALGORITHM, dataKey, counter);
}

export async function* sealStream(
  body: AsyncIterable<Uint8Array>,
  seal: PartSeal,
): AsyncGenerator<Uint8Array> {
  const cipher = sealingCipher(seal);
  for await (const chunk of body) yield cipher.update(chunk);
}

/**
 * ETag of bytes under SSE-C and SSE-KMS. S3 promises that it is not their MD5, which would tell
 * whoever may list what is in the object; and a part that a client sends again must keep it.
 */
export function keyedEtag(dataKey: Uint8Array, md5: string): string {
  return createHmac('sha256', dataKey).update(`etag ${md5}`).digest('hex').slice(0, md5.length);
}

/** The counter block of `blocks` further on: 128 bits, big-endian, around the end. */
function advanced(counter: Uint8Array, blocks: number): Uint8Array {
  const sum = Uint8Array.from(counter);
  let carry = blocks;
  for (let at = COUNTER_BYTES - 1; at >= 0 && carry > 0; at--) {
    carry += sum[at] as number;
    sum[at] = carry % 256;
    carry = Math.floor(carry / 256);
  }
  return sum;
}

/** A decipher that stands at byte `offset` of the part. */
function decipherAt({ dataKey, counter }: PartSeal, offset: number): Decipheriv {
  const block = Math.floor(offset / COUNTER_BYTES);
  const decipher = createDecipheriv(ALGORITHM, dataKey, advanced(counter, block));
  const within = offset % COUNTER_BYTES;
  if (within > 0) decipher.update(new Uint8Array(within));
  return decipher;
}

/** The seal of a part as its row has it. Corrupt where the row can't be right. */
export function sealOfPart(
  part: { nonce?: string; location: { id: string } },
  dataKey: Uint8Array | undefined,
): PartSeal | undefined {
  if (dataKey === undefined && part.nonce === undefined) return undefined;
  const counter = Buffer.from(part.nonce ?? '', 'base64');
  if (dataKey !== undefined && counter.length === COUNTER_BYTES) return { dataKey, counter };
  throw new FirnError('Corrupt', 'a part and its version differ on whether it is encrypted', {
    subject: part.location.id,
  });
}

/** Opens sealed bytes that begin at byte `offset` of their part. */
export function openBytes(body: Body, seal: PartSeal, offset: number): Body {
  const decipher = decipherAt(seal, offset);
  return body instanceof Uint8Array ? decipher.update(body) : opening(body, decipher);
}

async function* opening(
  body: AsyncIterable<Uint8Array>,
  decipher: Decipheriv,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of body) yield decipher.update(chunk);
}
