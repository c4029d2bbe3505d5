// Tells webhooks what happened, in order, until they answer 2xx: at least once, so a consumer must
// bear a repeat (each record carries a sequencer). An address that is away holds up its own events
// and nobody else's; it is asked again after 1 s, 2 s, 4 s … 60 s. Redirects are not followed: the
// settings name the place that events may go to. Events that waited for longer than the settings
// keep them are dropped, and that is said.

import { createHmac } from 'node:crypto';

import { isAnyUntold, settleAnnounced } from '../appliance/engine/event/announce.ts';
import type { Core } from '../appliance/engine/document/core.ts';
import { eventMessage, eventRows } from '../appliance/engine/event/notifications.ts';
import type { EventRow } from '../appliance/model/event-sink.ts';
import type { Row } from '../appliance/model/metadata-store.ts';
import type { Turn, Worker, WorkerLog } from './base/worker.ts';

export interface WebhookSettings {
  url: string;
  /** Signs each body: x-firn-signature. */
  secret?: string;
  timeoutMs: number;
}

export interface NotifySettings {
  webhooks: ReadonlyMap<string, WebhookSettings>;
  region: string;
  keptMs: number;
}

const RECORDS_PER_REQUEST = 100;
/** A change that was announced and is not there yet is looked for again. */
const SETTLE_EVERY_MS = 60_000;
/** Looking for old events is a look at all. */
const DROP_EVERY_MS = 3_600_000;
const WAIT_MS_MIN = 1_000;
const WAIT_MS_MAX = 60_000;

interface Away {
  /** Wall ms. */
  until: number;
  waitMs: number;
}

export class NotifyWorker implements Worker {
  readonly name = 'notify';
  readonly tranquility = 0;
  readonly #core: Core;
  readonly #settings: NotifySettings;
  readonly #log: WorkerLog;
  readonly #away = new Map<string, Away>();
  #droppedAt = -Infinity;
  #settledAt = -Infinity;

  constructor(core: Core, settings: NotifySettings, log: WorkerLog) {
    this.#core = core;
    this.#settings = settings;
    this.#log = log;
  }

  leaseName(): string {
    return 'notify';
  }

  /** True if an event waits for a webhook that need not be left alone, or for a look. */
  async isNeeded(): Promise<boolean> {
    if (this.#isSettleDue && (await isAnyUntold(this.#core.context))) return true;
    for (const name of this.#settings.webhooks.keys()) {
      if (this.#isAway(name)) continue;
      for await (const _ of eventRows(this.#core.context.store, `webhook/${name}/`)) return true;
    }
    return false;
  }

  async run(turn: Turn): Promise<void> {
    const counts = { told: 0, dropped: 0 };
    let fault: unknown;
    if (this.#isSettleDue) {
      this.#settledAt = performance.now();
      // Whatever is wrong with one object, what is on record is told all the same.
      await settleAnnounced(this.#core.context).catch((error: unknown) => (fault = error));
    }
    for (const [name, webhook] of this.#settings.webhooks) {
      if (this.#isAway(name)) continue;
      counts.told += await this.#tell(name, webhook, turn);
      turn.report(counts);
    }
    if (performance.now() - this.#droppedAt > DROP_EVERY_MS) {
      this.#droppedAt = performance.now();
      for (const kind of ['webhook/', 'queue/']) counts.dropped += await this.#dropOld(kind, turn);
      turn.report(counts);
    }
    if (counts.dropped > 0) {
      const days = (this.#settings.keptMs / 86_400_000).toFixed(1);
      this.#log('warn', `${counts.dropped} events were dropped: nobody took them in ${days} days`);
    }
    if (fault !== undefined) throw fault;
  }

  get #isSettleDue(): boolean {
    return performance.now() - this.#settledAt > SETTLE_EVERY_MS;
  }

  #isAway(name: string): boolean {
    return (this.#away.get(name)?.until ?? 0) > this.#core.context.clock.wall();
  }

  async #tell(name: string, webhook: WebhookSettings, turn: Turn): Promise<number> {
    let told = 0;
    let batch: Row<EventRow>[] = [];
    const send = async (): Promise<boolean> => {
      await turn.lease.check();
      // Nobody is told of a change that a power failure could take back.
      await this.#core.context.store.settled();
      if (!(await this.#post(name, webhook, { batch, signal: turn.signal }))) return false;
      await this.#remove(batch);
      told += batch.length;
      batch = [];
      await turn.rest();
      return true;
    };
    for await (const row of eventRows(this.#core.context.store, `webhook/${name}/`)) {
      batch.push(row);
      if (batch.length === RECORDS_PER_REQUEST && !(await send())) return told;
    }
    if (batch.length > 0) await send();
    return told;
  }

  /** False: not taken, to be tried again later. */
  async #post(
    name: string,
    webhook: WebhookSettings,
    { batch, signal }: { batch: readonly Row<EventRow>[]; signal: AbortSignal },
  ): Promise<boolean> {
    const { region } = this.#settings;
    const body = JSON.stringify({ Records: batch.map(({ value }) => eventMessage(value, region)) });
    const headers: Record<string, string> = { 'content-type': 'application/json' };
    if (webhook.secret !== undefined) {
      headers['x-firn-signature'] = createHmac('sha256', webhook.secret).update(body).digest('hex');
    }
    let reason: string;
    try {
      const answer = await fetch(webhook.url, {
        method: 'POST',
        headers,
        body,
        redirect: 'manual',
        signal: AbortSignal.any([signal, AbortSignal.timeout(webhook.timeoutMs)]),
      });
      await answer.body?.cancel();
      if (answer.ok) {
        this.#away.delete(name);
        return true;
      }
      reason = `it answered ${answer.status}`;
    } catch {
      if (signal.aborted) return false;
      reason = 'it did not answer';
    }
    const waitMs = Math.min(WAIT_MS_MAX, 2 * (this.#away.get(name)?.waitMs ?? WAIT_MS_MIN / 2));
    this.#away.set(name, { until: this.#core.context.clock.wall() + waitMs, waitMs });
    this.#log('warn', `the webhook ${name} takes no events: ${reason}`, { waitMs });
    return false;
  }

  async #remove(rows: readonly Row<EventRow>[]): Promise<void> {
    await this.#core.context.store.bulk(
      rows.map(({ id, revision }) => ({ kind: 'remove', table: 'events', id, expected: revision })),
    );
  }

  async #dropOld(prefix: string, turn: Turn): Promise<number> {
    const { clock } = this.#core.context;
    let dropped = 0;
    let old: Row<EventRow>[] = [];
    for await (const row of eventRows(this.#core.context.store, prefix)) {
      if (row.value.at + this.#settings.keptMs > clock.now()) continue;
      old.push(row);
      if (old.length < RECORDS_PER_REQUEST) continue;
      await this.#remove(old);
      dropped += old.length;
      old = [];
      await turn.rest();
    }
    if (old.length > 0) await this.#remove(old);
    return dropped + old.length;
  }
}
