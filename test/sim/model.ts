// What clients did and were told, and so what any later read may answer. Of one key: what was
// acknowledged last, unless something begun since may have happened. An unacknowledged change is
// wholly there or wholly absent.

import { hash } from 'node:crypto';
import { isFirnError } from '../../appliance/model/errors.ts';
import type { Scheduler } from './scheduler.ts';

export interface Content {
  bytes: Uint8Array;
  etag: string;
}

export type Effect = Content | 'absent';

export interface ClientStep {
  key: string;
  effect: Effect;
  begin: number;
  /** Infinity: never answered. */
  end: number;
  /** acked: it happened. refused: it did not. unknown: nobody can tell. */
  outcome: 'acked' | 'refused' | 'unknown';
  /** It asked for a key that is not there yet. */
  isNew?: boolean;
  /** It was told that the key is there. */
  sawKey?: boolean;
}

/** Refusals that say for certain that nothing happened. */
const REFUSALS = new Set([
  'PreconditionFailed',
  'ConditionalRequestConflict',
  'NoSuchKey',
  'NoSuchUpload',
  'InvalidPart',
  'InvalidPartOrder',
  'NoSuchBucket',
]);

export const contentOf = (bytes: Uint8Array, etag?: string): Content => ({
  bytes,
  etag: etag ?? hash('md5', bytes),
});

export class Model {
  readonly steps: ClientStep[] = [];
  readonly #scheduler: Scheduler;
  #byKey = new Map<string, ClientStep[]>();

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler;
  }

  /** Keeps book of one request of a client. Errors that a client would see are swallowed. */
  async did<T>(
    key: string,
    effect: Effect,
    request: () => Promise<T>,
    isNew = false,
  ): Promise<T | undefined> {
    const begin = this.#scheduler.mark(`${this.#scheduler.phase}/asked/${key}`);
    const step: ClientStep = { key, effect, begin, end: Infinity, outcome: 'unknown', isNew };
    this.steps.push(step);
    const known = this.#byKey.get(key);
    if (known === undefined) this.#byKey.set(key, [step]);
    else known.push(step);
    try {
      const answer = await request();
      step.outcome = 'acked';
      return answer;
    } catch (error) {
      if (!isFirnError(error)) throw error;
      if (REFUSALS.has(error.code)) step.outcome = 'refused';
      if (isNew && error.code === 'PreconditionFailed') step.sawKey = true;
      return undefined;
    } finally {
      step.end = this.#scheduler.mark(`${this.#scheduler.phase}/answered/${key}`);
    }
  }

  get keys(): string[] {
    return [...this.#byKey.keys()];
  }

  /** Everything that a read of the key may find if the world ended before position `p`. */
  allowed(key: string, p: number): Effect[] {
    const known = (this.#byKey.get(key) ?? []).filter((step) => step.begin < p);
    const isAcked = (step: ClientStep): boolean => step.outcome === 'acked' && step.end < p;
    // Something acknowledged began after it had ended: nobody may see it any more.
    const covered = (end: number): boolean =>
      known.some((other) => isAcked(other) && other.begin > end);
    // Somebody was told that it was there, after this could have happened: then it did not stay so.
    const denied = (end: number): boolean =>
      known.some((other) => other.sawKey === true && other.end < p && other.begin > end);
    const effects: Effect[] = covered(-1) || denied(-1) ? [] : ['absent'];
    for (const step of known) {
      if (step.outcome === 'refused' && step.end < p) continue;
      const end = step.end < p ? step.end : Infinity;
      if (covered(end) || (step.effect === 'absent' && denied(end))) continue;
      effects.push(step.effect);
    }
    return effects;
  }

  /** The read found what was acknowledged, not what merely was under way. */
  isAcked(key: string, p: number, found: Effect): boolean {
    return (this.#byKey.get(key) ?? []).some(
      (step) => step.outcome === 'acked' && step.end < p && isSame(step.effect, found),
    );
  }

  allows(key: string, p: number, found: Effect): boolean {
    return this.allowed(key, p).some((one) => isSame(one, found));
  }

  /** The last client event before `p` that concerns the key; -1: none. */
  touchedAt(key: string, p: number): number {
    let last = -1;
    for (const step of this.#byKey.get(key) ?? []) {
      if (step.begin < p) last = Math.max(last, step.begin);
      if (step.end < p) last = Math.max(last, step.end);
    }
    return last;
  }
}

export function isSame(a: Effect, b: Effect): boolean {
  if (a === 'absent' || b === 'absent') return a === b;
  return a.etag === b.etag && Buffer.compare(a.bytes, b.bytes) === 0;
}
