// Bodies on their way in and out of a cold tier. A stream's chunks may be overwritten as soon as
// the next one is asked for, so whatever is kept (a part being sent, bytes to be retried) is copied
// first; and every byte that enters or leaves is counted and checksummed on the way.

import { FirnError } from '../../../appliance/model/errors.ts';
import { MiB } from '../../../appliance/model/limits.ts';
import type { ByteRange, PutRequest } from '../../../appliance/model/tier.ts';
import { ChecksumStream } from '../../checksum.ts';

/** Reads up to this resolve to bytes, larger ones to a stream. */
export const WHOLE_READ_BYTES_MAX = MiB;

/** Counts and checksums what passes, and holds it against the announced size. */
export class Meter {
  readonly #sum = new ChecksumStream();
  readonly #expected: number | undefined;
  readonly #checksum: string | undefined;
  readonly #id: string;
  sizeBytes = 0;

  constructor({ id, sizeBytes, checksum }: Pick<PutRequest, 'id' | 'sizeBytes' | 'checksum'>) {
    this.#id = id;
    this.#expected = sizeBytes;
    this.#checksum = checksum;
  }

  add(bytes: Uint8Array): void {
    this.sizeBytes += bytes.length;
    if (this.#expected !== undefined && this.sizeBytes > this.#expected) throw this.#wrong();
    this.#sum.update(bytes);
  }

  /** Throws IncompleteBody or Corrupt unless exactly the announced bytes have passed. */
  end(): { sizeBytes: number; checksum: string } {
    if (this.#expected !== undefined && this.sizeBytes !== this.#expected) throw this.#wrong();
    const checksum = this.#sum.digest();
    if (this.#checksum !== undefined && checksum !== this.#checksum) {
      throw new FirnError('Corrupt', `the body has checksum ${checksum}, not ${this.#checksum}`, {
        subject: this.#id,
        hint: 'the bytes were damaged where they came from; nothing was stored',
      });
    }
    return { sizeBytes: this.sizeBytes, checksum };
  }

  #wrong(): FirnError {
    const counted = this.sizeBytes;
    return new FirnError(
      'IncompleteBody',
      `the body has ${counted} bytes or more, announced were ${this.#expected}`,
      { subject: this.#id },
    );
  }
}

/** The body's chunks, metered; each valid until the next is asked for. */
export async function* metered(
  request: Pick<PutRequest, 'body' | 'signal'>,
  meter: Meter,
): AsyncGenerator<Uint8Array> {
  const { body, signal } = request;
  for await (const chunk of body instanceof Uint8Array ? [body] : body) {
    signal?.throwIfAborted();
    if (chunk.length === 0) continue;
    meter.add(chunk);
    yield chunk;
  }
}

/**
 * Cuts a stream into owned buffers of exactly `pieceBytes`, the last one shorter; none for no
 * bytes.
 */
export async function* pieces(
  chunks: AsyncIterable<Uint8Array>,
  pieceBytes: number,
): AsyncGenerator<Buffer> {
  let held: Buffer[] = [];
  let heldBytes = 0;
  for await (const chunk of chunks) {
    let from = 0;
    while (heldBytes + chunk.length - from >= pieceBytes) {
      const upTo = from + pieceBytes - heldBytes;
      held.push(Buffer.from(chunk.subarray(from, upTo)));
      from = upTo;
      const piece = held.length === 1 ? (held[0] as Buffer) : Buffer.concat(held, pieceBytes);
      held = [];
      heldBytes = 0;
      yield piece;
    }
    if (from < chunk.length) {
      held.push(Buffer.from(chunk.subarray(from)));
      heldBytes += chunk.length - from;
    }
  }
  if (heldBytes > 0) yield Buffer.concat(held, heldBytes);
}

/** The range asked for within `length` bytes, whole without one. Past the end: InvalidRange. */
export function rangeWithin(length: number, range: ByteRange | undefined, name: string): ByteRange {
  const wanted = range ?? { offset: 0, length };
  if (wanted.offset >= 0 && wanted.length >= 0 && wanted.offset + wanted.length <= length) {
    return wanted;
  }
  throw new FirnError(
    'InvalidRange',
    `bytes ${wanted.offset}+${wanted.length} of a blob of ${length}`,
    { subject: name },
  );
}

/** Everything of a body whose length is known; throws Corrupt if it is another one. */
export async function collectExactly(
  body: AsyncIterable<Uint8Array>,
  length: number,
  name: string,
): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(length);
  let at = 0;
  for await (const chunk of body) {
    if (at + chunk.length > length) throw wrongLength(name, at + chunk.length, length);
    bytes.set(chunk, at);
    at += chunk.length;
  }
  if (at !== length) throw wrongLength(name, at, length);
  return bytes;
}

export function wrongLength(name: string, got: number, wanted: number): FirnError {
  return corrupt(name, `${got} bytes came, ${wanted} were asked for`);
}

export function corrupt(name: string, what: string): FirnError {
  return new FirnError('Corrupt', what, {
    subject: name,
    hint: 'the bytes at this tier are damaged: take them from another copy, and keep this one for inspection',
  });
}

export function missing(tier: string, name: string, cause?: unknown): FirnError {
  return new FirnError('TierMissing', `${tier} does not have ${name}`, {
    subject: name,
    ...(cause === undefined ? {} : { cause }),
    hint: 'a blob that was acknowledged is gone: look at what else writes to this place',
  });
}

export function offline(tier: string, name: string): FirnError {
  return new FirnError('TierOffline', `${name} of ${tier} is offline`, {
    subject: name,
    hint: 'restore it first: its bytes must be staged by the provider before they can be read',
  });
}

export function conflict(tier: string, name: string): FirnError {
  return new FirnError('TierConflict', `${tier} holds other bytes as ${name}`, {
    subject: name,
    hint: 'names are never used twice: something else writes to this place',
  });
}
