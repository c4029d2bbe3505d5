// The contract of all background work. A worker does bounded steps and calls `rest()` between two;
// there it is throttled, renews its lease, keeps its job's lock, and is stopped. It keeps what it
// must remember in rows (checkpoints), so that another process goes on where it was ended.
// Everything it does may be done twice, or by two at once: what makes that harmless are the
// protocol's own comparisons.

import type { LeaseGuard } from '../../appliance/engine/document/lease.ts';

/**
 * busy: in a step. throttled: resting after one. idle: nothing to do, or another process does it.
 */
export type WorkerState = 'busy' | 'throttled' | 'idle';

export interface Turn {
  /** Looked at before each side effect. */
  readonly lease: LeaseGuard;
  /** Aborted when the lease is lost or the process stops. */
  readonly signal: AbortSignal;
  /** Between two steps. Throws when the work is to end: then the worker just ends. */
  rest(): Promise<void>;
  /** For status and metrics: what the worker has counted so far. */
  report(counts: Readonly<Record<string, number>>): void;
}

export interface Worker {
  /** Of the job; unique. */
  readonly name: string;
  /**
   * What is leased: workers of equal leases never run at once. `key`: of the job, where it has one.
   */
  leaseName(key: string): string;
  /** Rest as a multiple of work. */
  readonly tranquility: number;
  /** Does all there is to do now. */
  run(turn: Turn, key: string): Promise<void>;
}

/** Something that an operator should see. Never holds secrets or object bytes. */
export type WorkerLog = (
  level: 'debug' | 'info' | 'warn' | 'error',
  message: string,
  fields?: Readonly<Record<string, unknown>>,
) => void;

export interface WorkerStatus {
  name: string;
  state: WorkerState;
  /** Wall ms. */
  startedAt?: number;
  endedAt?: number;
  counts: Readonly<Record<string, number>>;
  /** Of its last run, if that failed. */
  error?: string;
}
