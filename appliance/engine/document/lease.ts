// A lease is the right to do one piece of background work, with an epoch that rises at each taking.
// It saves work, no more: a stopped process can wake up with a lease long lost, between its last
// look and its next write. What makes such a worker harmless are the compare-and-swap of a move and
// the look of the collector (protocol E, B3, B4); the lease keeps two workers from paying twice for
// one copy. Agenda's own locks are no substitute: they carry no epoch, and an expired job's body
// runs on.

import type { Clock } from '../../model/clock.ts';
import { FirnError } from '../../model/errors.ts';
import type { MetadataStore, Row } from '../../model/metadata-store.ts';
import type { Lease } from '../../model/records.ts';

export interface LeaseContext {
  store: MetadataStore;
  clock: Clock;
}

export interface LeaseRequest {
  name: string;
  /** Who asks: unique to the process and its start. */
  holder: string;
  /**
   * Beginning of the holders that were this process before its restart: dead, so that their leases
   * need not run out first.
   */
  predecessors?: string;
  /** From each look on; by wall time, as it bounds a process and not an object. */
  durationMs: number;
}

/** What side effects are given: they look, and never take or give. */
export interface LeaseGuard {
  readonly name: string;
  readonly epoch: number;
  /** Returns while the lease is held, renewing it in its second half; LeaseLost otherwise. */
  check(): Promise<void>;
}

export class HeldLease implements LeaseGuard {
  readonly name: string;
  readonly epoch: number;
  readonly #context: LeaseContext;
  readonly #request: LeaseRequest;
  #turn: Promise<void> = Promise.resolve();

  constructor(context: LeaseContext, request: LeaseRequest, epoch: number) {
    this.name = request.name;
    this.epoch = epoch;
    this.#context = context;
    this.#request = request;
  }

  check(): Promise<void> {
    // One at a time: two renewals of our own would take each other for a thief.
    const turn = this.#turn.then(() => this.#look());
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  async #look(): Promise<void> {
    const { store, clock } = this.#context;
    const { holder, durationMs } = this.#request;
    const row = await store.get<Lease>('leases', this.name);
    if (row === undefined || !this.#isOurs(row)) throw this.#lost();
    if (row.value.until - clock.wall() > durationMs / 2) return;
    const until = clock.wall() + durationMs;
    const renewed = await store.replace({
      table: 'leases',
      id: this.name,
      expected: row.revision,
      value: { format: 1, holder, epoch: this.epoch, until } satisfies Lease,
    });
    // Expired or not, nobody had taken it when the swap won.
    if (renewed.outcome !== 'done') throw this.#lost();
  }

  /** Free for the next one at once. Never throws for a lease that is lost already. */
  async release(): Promise<void> {
    await this.#turn;
    const { store } = this.#context;
    const row = await store.get<Lease>('leases', this.name);
    if (row === undefined || !this.#isOurs(row)) return;
    const value: Lease = { ...row.value, holder: '', until: 0 };
    // The row stays: an epoch never goes back. A conflict: somebody has it now.
    await store.replace({ table: 'leases', id: this.name, expected: row.revision, value });
  }

  #isOurs(row: Row<Lease>): boolean {
    return row.value.epoch === this.epoch && row.value.holder === this.#request.holder;
  }

  #lost(): FirnError {
    return new FirnError('LeaseLost', `another worker has taken ${this.name}`, {
      subject: this.name,
      retryable: true,
    });
  }
}

/** The lease, with an epoch above every earlier one; undefined while somebody else holds it. */
export async function takeLease(
  context: LeaseContext,
  request: LeaseRequest,
): Promise<HeldLease | undefined> {
  const { store, clock } = context;
  const { name, holder, durationMs, predecessors } = request;
  const row = await store.get<Lease>('leases', name);
  const now = clock.wall();
  const isDead = predecessors !== undefined && row?.value.holder.startsWith(predecessors) === true;
  const isOthers = row !== undefined && row.value.holder !== holder && !isDead;
  if (isOthers && row.value.until > now) return undefined;
  const epoch = (row?.value.epoch ?? 0) + 1;
  const value: Lease = { format: 1, holder, epoch, until: now + durationMs };
  const taken =
    row === undefined
      ? await store.insert('leases', name, value)
      : await store.replace({ table: 'leases', id: name, expected: row.revision, value });
  return taken.outcome === 'done' ? new HeldLease(context, request, epoch) : undefined;
}

/** True while the epoch may still be acting: its lease is the newest and has not run out. */
export async function isLeaseAlive(
  context: LeaseContext,
  lease: { name: string; epoch: number },
): Promise<boolean> {
  const row = await context.store.get<Lease>('leases', lease.name);
  return row?.value.epoch === lease.epoch && row.value.until > context.clock.wall();
}
