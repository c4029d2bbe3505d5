// Hands out a large range as a stream: whole stripes into reused buffers, the next one read while
// the last is being sent. The buffers come from one bounded pool a tier; when it is empty (many
// slow clients), a reader goes on in small steps with a buffer of its own, so nobody waits for
// nobody.

import type { ByteRange } from '../../../appliance/model/tier.ts';
import type { ShardReader } from './shard-reader.ts';

const LEAN_BYTES = 256 * 1024;

/** Buffers of stripes, kept for reuse. */
export class StripeBuffers {
  readonly #bytesMax: number;
  #bytes = 0;
  readonly #free = new Map<number, Buffer[]>();

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** A buffer of that size, or undefined when too much is lent out already. */
  take(size: number): Buffer | undefined {
    const kept = this.#free.get(size)?.pop();
    if (kept !== undefined) return kept;
    if (this.#bytes + size > this.#bytesMax) this.#forget();
    if (this.#bytes + size > this.#bytesMax) return undefined;
    this.#bytes += size;
    return Buffer.allocUnsafeSlow(size);
  }

  /** Idle buffers of other sizes make room. */
  #forget(): void {
    for (const [size, kept] of this.#free) this.#bytes -= size * kept.length;
    this.#free.clear();
  }

  /** For a buffer that something may still write into: never lent out again. */
  lose(buffer: Buffer): void {
    this.#bytes -= buffer.length;
  }

  give(buffer: Buffer): void {
    const kept = this.#free.get(buffer.length);
    if (kept === undefined) this.#free.set(buffer.length, [buffer]);
    else kept.push(buffer);
  }
}

interface Step {
  buffer: Buffer;
  pooled: boolean;
  bytes: Buffer;
  ready: Promise<void>;
}

export class ShardStream {
  readonly #reader: ShardReader;
  readonly #range: ByteRange;
  readonly #buffers: StripeBuffers;
  #at = 0;
  #lean: Buffer | undefined;

  constructor(reader: ShardReader, range: ByteRange, buffers: StripeBuffers) {
    this.#reader = reader;
    this.#range = range;
    this.#buffers = buffers;
  }

  /** Starts reading the next bytes; undefined at the end, or when `ahead` and no buffer is free. */
  #begin(ahead: boolean): Step | undefined {
    const rest = this.#range.length - this.#at;
    if (rest === 0) return undefined;
    const span = this.#reader.spanAt(this.#range.offset + this.#at, rest);
    const size = Math.min(this.#reader.geometry.stripeData, roundUp(span.length));
    const pooled = this.#buffers.take(size);
    if (pooled === undefined && ahead) return undefined;
    this.#lean ??= pooled === undefined ? Buffer.allocUnsafeSlow(LEAN_BYTES) : undefined;
    const buffer = pooled ?? (this.#lean as Buffer);
    const bytes = buffer.subarray(0, Math.min(span.length, buffer.length));
    this.#at += bytes.length;
    const ready = this.#reader.readSpan(span.stripe, span.from, bytes);
    // Awaited when its turn comes; until then a failure is nobody's unhandled one.
    ready.catch(() => undefined);
    return { buffer, pooled: pooled !== undefined, bytes, ready };
  }

  #end(step: Step): void {
    if (!step.pooled) return;
    if (this.#reader.isStuck) this.#buffers.lose(step.buffer);
    else this.#buffers.give(step.buffer);
  }

  /** Each chunk stays valid until the next one is asked for. */
  async *chunks(signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    let now = this.#begin(false);
    let next: Step | undefined;
    try {
      while (now !== undefined) {
        signal?.throwIfAborted();
        await now.ready;
        next = this.#begin(true);
        yield now.bytes;
        this.#end(now);
        now = next ?? this.#begin(false);
        next = undefined;
      }
    } finally {
      for (const step of [now, next]) {
        if (step === undefined) continue;
        await step.ready.catch(() => undefined);
        this.#end(step);
      }
    }
  }
}

/** Few sizes, so that buffers find a second use. */
function roundUp(bytes: number): number {
  let size = LEAN_BYTES;
  while (size < bytes) size *= 2;
  return size;
}
