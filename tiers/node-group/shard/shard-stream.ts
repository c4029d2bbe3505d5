// Hands out a large range as a stream, 1 MiB a step, into reused buffers. What is likely in
// memory is read when its turn comes, without leaving the thread; else four steps are read
// together, and the next four while they are being sent. The buffers come from one bounded pool a
// tier; when it is empty (many slow clients), a reader goes on in small steps with a buffer of
// its own, so nobody waits for nobody.

import type { ByteRange } from '../../../appliance/model/tier.ts';
import type { Filled, ShardReader, Span } from './shard-reader.ts';

const LEAN_BYTES = 64 * 1024;
const POOLED_BYTES_MIN = 256 * 1024;
/** Lean buffers kept for who comes next; one a reader, beyond the pool's bound. */
const LEAN_KEPT_MAX = 256;

/** Buffers of stripes, kept for reuse. */
export class StripeBuffers {
  readonly #bytesMax: number;
  #bytes = 0;
  readonly #free = new Map<number, Buffer[]>();
  readonly #lean: Buffer[] = [];

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

  takeLean(): Buffer {
    return this.#lean.pop() ?? Buffer.allocUnsafeSlow(LEAN_BYTES);
  }

  giveLean(buffer: Buffer): void {
    if (this.#lean.length < LEAN_KEPT_MAX) this.#lean.push(buffer);
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
  span: Span;
  /** What the reader made of it; undefined until it has. */
  filled: Filled | undefined;
}

/** Steps that are read together: four stripes, so that a lane is asked for 1 MiB at a time. */
const STEPS_MAX = 4;
/** About a step: whole pieces of a stripe, or a part of one. */
const STEP_BYTES = 1024 * 1024;

export class ShardStream {
  readonly #reader: ShardReader;
  readonly #range: ByteRange;
  readonly #buffers: StripeBuffers;
  readonly #stepBytes: number;
  #at = 0;
  #lean: Buffer | undefined;

  constructor(reader: ShardReader, range: ByteRange, buffers: StripeBuffers) {
    this.#reader = reader;
    this.#range = range;
    this.#buffers = buffers;
    // Whole pieces, so that no block is read twice.
    const { width } = reader.geometry;
    this.#stepBytes = width > STEP_BYTES ? STEP_BYTES : Math.round(STEP_BYTES / width) * width;
  }

  /** The next step, not yet read; undefined at the end, or when only a pooled buffer will do. */
  #next(pooledOnly: boolean): Step | undefined {
    const rest = this.#range.length - this.#at;
    if (rest === 0) return undefined;
    const { stripe, from, ...inStripe } = this.#reader.spanAt(this.#range.offset + this.#at, rest);
    const length = Math.min(inStripe.length, this.#stepBytes - (from % this.#stepBytes));
    const pooled = this.#buffers.take(Math.min(this.#stepBytes, roundUp(length)));
    if (pooled === undefined && pooledOnly) return undefined;
    if (pooled === undefined) this.#lean ??= this.#buffers.takeLean();
    const buffer = pooled ?? (this.#lean as Buffer);
    const target = buffer.subarray(0, Math.min(length, buffer.length));
    this.#at += target.length;
    const span = { stripe, from, target };
    return { buffer, pooled: pooled !== undefined, span, filled: undefined };
  }

  /** Steps that begin with this one and are read by one call a lane. */
  #window(first: Step): Step[] {
    const steps = [first];
    while (first.pooled && steps.length < STEPS_MAX) {
      const step = this.#next(true);
      if (step === undefined) break;
      steps.push(step);
    }
    return steps;
  }

  async #read(steps: readonly Step[]): Promise<void> {
    const filled = await this.#reader.readSpans(steps.map(({ span }) => span));
    for (const [i, step] of steps.entries()) step.filled = filled[i];
  }

  /** Its bytes have been sent, or never will be. */
  #end({ buffer, pooled, filled }: Step, failed: boolean): void {
    const late = failed && filled === undefined ? this.#reader.quiet() : filled?.busy;
    if (late !== undefined) {
      // Something may still write into it: a pooled one is lent again only then.
      if (!pooled) this.#lean = undefined;
      else void late.then(() => this.#buffers.give(buffer));
    } else if (pooled) this.#buffers.give(buffer);
  }

  /** Each chunk stays valid until the next one is asked for. */
  async *chunks(signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    const steps: Step[] = [];
    let ahead: { steps: Step[]; read: Promise<void> } | undefined;
    try {
      for (;;) {
        signal?.throwIfAborted();
        if (ahead !== undefined) {
          await ahead.read;
          steps.push(...ahead.steps);
          ahead = this.#ahead();
        } else {
          const step = this.#next(false);
          if (step === undefined) return;
          if (this.#reader.readNow(step.span)) {
            step.filled = { bytes: step.span.target, busy: undefined };
            steps.push(step);
          } else {
            steps.push(...this.#window(step));
            await this.#read(steps);
            ahead = this.#ahead();
          }
        }
        while (steps.length > 0) {
          const [step] = steps as [Step];
          yield (step.filled as Filled).bytes;
          steps.shift();
          this.#end(step, false);
        }
      }
    } finally {
      const left = [...steps, ...(ahead?.steps ?? [])];
      await ahead?.read.catch(() => undefined);
      for (const step of left) this.#end(step, true);
      if (this.#lean !== undefined) this.#buffers.giveLean(this.#lean);
      this.#lean = undefined;
    }
  }

  /** Reads on while what was read is being sent; nothing while no buffer is free. */
  #ahead(): { steps: Step[]; read: Promise<void> } | undefined {
    const first = this.#next(true);
    if (first === undefined) return undefined;
    const steps = this.#window(first);
    const read = this.#read(steps);
    // Awaited when its turn comes; until then a failure is nobody's unhandled one.
    read.catch(() => undefined);
    return { steps, read };
  }
}

/** Few sizes, so that buffers find a second use. */
function roundUp(bytes: number): number {
  let size = POOLED_BYTES_MIN;
  while (size < bytes) size *= 2;
  return size;
}
