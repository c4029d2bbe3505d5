// Reading bucket rows. On LMDB every look is fresh (5 µs); on MongoDB a row may be up to `staleMs`
// old, an absence never is: who changes or removes a bucket waits that out before it answers. The
// danger: a PUT into a bucket that another process has begun to delete (A6 catches what this lets
// through).

import { setTimeout as sleep } from 'node:timers/promises';
import type { Bucket } from '../../model/bucket.ts';
import { FirnError } from '../../model/errors.ts';
import type { Row } from '../../model/metadata-store.ts';
import type { EngineContext } from './context.ts';

const CACHED_MAX = 10_000;

export function noSuchBucket(name: string): FirnError {
  return new FirnError('NoSuchBucket', 'The specified bucket does not exist', {
    subject: name,
    details: { BucketName: name },
  });
}

export class BucketRows {
  readonly #context: EngineContext;
  readonly #cached = new Map<string, { row: Row<Bucket>; at: number }>();

  constructor(context: EngineContext) {
    this.#context = context;
  }

  /** The bucket, live. NoSuchBucket when absent or being deleted. */
  async live(name: string): Promise<Bucket> {
    const row = await (this.#context.staleMs === 0 ? this.fresh(name) : this.#row(name));
    if (row === undefined || row.value.state !== 'live') throw noSuchBucket(name);
    return row.value;
  }

  /**
   * The bucket by now, after a body has streamed. NoSuchBucket also when another has taken its
   * name: the bytes were stored as the old one's, and its keys are asked whether they live.
   */
  async still(bucket: Bucket): Promise<Bucket> {
    const now = await this.live(bucket.name);
    if (now.id !== bucket.id) throw noSuchBucket(bucket.name);
    return now;
  }

  /** The row as it stands now, past every cache. */
  async fresh(name: string): Promise<Row<Bucket> | undefined> {
    // The store refuses ids that no bucket has: an empty one, a very long one, NUL.
    if (!BUCKET_NAME.test(name)) return undefined;
    // Its age counts from before the look: an answer may be long on its way.
    const at = performance.now();
    const row = await this.#context.store.get<Bucket>('buckets', name);
    if (this.#context.staleMs > 0) this.#keep(name, row, at);
    return row;
  }

  /** This process has changed the row. */
  forget(name: string): void {
    this.#cached.delete(name);
  }

  /** Waits until no process answers by an older row: before a change of one is acknowledged. */
  async settle(): Promise<void> {
    const { staleMs } = this.#context;
    if (staleMs > 0) await sleep(2 * staleMs);
  }

  #row(name: string): Promise<Row<Bucket> | undefined> {
    const { staleMs } = this.#context;
    if (staleMs === 0) return this.fresh(name);
    const cached = this.#cached.get(name);
    // By a clock that nobody can set back.
    if (cached !== undefined && performance.now() - cached.at < staleMs) {
      return Promise.resolve(cached.row);
    }
    return this.fresh(name);
  }

  #keep(name: string, row: Row<Bucket> | undefined, at: number): void {
    if (row === undefined) {
      this.#cached.delete(name);
      return;
    }
    if (this.#cached.size >= CACHED_MAX) this.#cached.clear();
    this.#cached.set(name, { row, at });
  }
}

/** What a bucket may be called, as far as one expression says it (isBucketName says all). */
const BUCKET_NAME = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
const RESERVED_START = /^(?:xn--|sthree-|amzn-s3-demo-)/;
const RESERVED_END = /(?:-s3alias|--ol-s3|\.mrap|--x-s3|--table-s3)$/;

/** S3's rules for names of general purpose buckets. */
export function isBucketName(name: string): boolean {
  if (!BUCKET_NAME.test(name) || name.includes('..')) return false;
  if (/^\d+\.\d+\.\d+\.\d+$/.test(name)) return false;
  return !RESERVED_START.test(name) && !RESERVED_END.test(name);
}
