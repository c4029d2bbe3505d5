// Writes the inventories that are due: each enabled configuration once a day or once a week by the
// engine's clock, weekly ones from Sunday on, a new one at once. A row for each configuration says
// which day is done, so that a day's report is written once whoever looks, and an operator may ask
// for one more (`firn run inventory`). One that fails (its destination is gone, its quota used up)
// says so in the log and holds up no other.

import type { Core } from '../../appliance/engine/document/core.ts';
import { allBuckets } from '../../appliance/engine/document/inventory.ts';
import type { Bucket } from '../../appliance/model/bucket.ts';
import { DAY_MS } from '../../appliance/model/clock.ts';
import { isFirnError } from '../../appliance/model/errors.ts';
import { afterPrefix } from '../../appliance/model/ids.ts';
import {
  inventoryRowId,
  type Checkpoint,
  type InventoryState,
  type Run,
} from '../../appliance/model/records.ts';
import { floorDay } from '../../policies/base/dates.ts';
import { parseInventoryXml, type InventoryConfiguration } from '../../policies/inventory-xml.ts';
import { readCheckpoint, saveCheckpoint } from '../base/checkpoints.ts';
import type { Turn, Worker, WorkerLog } from '../base/worker.ts';
import { BucketRules, type RuleSettings } from '../lifecycle/rules.ts';
import { REPORT_ROWS, writeReport } from './report.ts';

const PREFIX = 'inventory/';
const ABANDONED_MS = 7 * DAY_MS;
const PAGE_ROWS = 1000;

export class InventoryWorker implements Worker {
  readonly name = 'inventory';
  readonly tranquility = 1;
  readonly #core: Core;
  readonly #rules: BucketRules;
  readonly #log: WorkerLog;

  constructor(core: Core, rules: RuleSettings, log: WorkerLog) {
    this.#core = core;
    this.#rules = new BucketRules(rules);
    this.#log = log;
  }

  leaseName(): string {
    return 'inventory';
  }

  /** `key`: of the row of a run that an operator asked for, else the schedule's. */
  async run(turn: Turn, key: string): Promise<void> {
    const { store } = this.#core.context;
    const asked = (await store.get<Run>('runs', key))?.value;
    const counts = { reports: 0, objects: 0, files: 0, failed: 0 };
    for await (const bucket of allBuckets(store)) {
      if (bucket.state !== 'live') continue;
      if (asked?.bucket !== undefined && asked.bucket !== bucket.name) continue;
      for (const configuration of this.#configurationsOf(bucket)) {
        const label = await this.#labelOf(bucket, configuration, asked);
        if (label === undefined) continue;
        const report = await this.#report(turn, { bucket, configuration, label });
        if (report === undefined) counts.failed += 1;
        else {
          counts.reports += 1;
          counts.objects += report.objects;
          counts.files += report.files;
        }
        turn.report(counts);
      }
    }
    await this.#dropAbandoned();
    turn.report(counts);
  }

  /** A report that no worker came to end on its day is never taken up again: its name was that day. */
  async #dropAbandoned(): Promise<void> {
    const { store, clock } = this.#core.context;
    const rows = await store.range<Checkpoint>({
      table: 'checkpoints',
      from: REPORT_ROWS,
      to: afterPrefix(REPORT_ROWS) as string,
      limit: PAGE_ROWS,
    });
    for (const { id, revision, value } of rows) {
      if (value.updatedAt + ABANDONED_MS > clock.now()) continue;
      await store.remove('checkpoints', id, revision);
    }
  }

  *#configurationsOf(bucket: Bucket): Generator<InventoryConfiguration> {
    for (const [name, xml] of Object.entries(bucket.configurations ?? {})) {
      if (!name.startsWith(PREFIX)) continue;
      try {
        yield parseInventoryXml(xml);
      } catch (error) {
        // It was checked when it was put: one that can't be read any more stops no other.
        if (!isFirnError(error)) throw error;
        const { name: of } = bucket;
        this.#log('error', `${name} can't be read: ${error.message}`, { bucket: of });
      }
    }
  }

  /** Names the report that is due; undefined: none is. */
  async #labelOf(
    bucket: Bucket,
    configuration: InventoryConfiguration,
    asked: Run | undefined,
  ): Promise<string | undefined> {
    if (!configuration.isEnabled) return undefined;
    const { store, clock } = this.#core.context;
    // The same name whoever takes the run up again.
    if (asked !== undefined) return labelOf(asked.requestedAt);
    const row = await readCheckpoint(store, inventoryRowId(bucket.id, configuration.id));
    const done = (row?.data as unknown as InventoryState | undefined)?.day ?? -Infinity;
    const today = floorDay(clock.now());
    return done < periodOf(configuration.frequency, today) ? labelOf(today) : undefined;
  }

  async #report(
    turn: Turn,
    of: { bucket: Bucket; configuration: InventoryConfiguration; label: string },
  ): Promise<{ objects: number; files: number } | undefined> {
    const { bucket, configuration } = of;
    const { store, clock } = this.#core.context;
    const day = floorDay(clock.now());
    try {
      const { evaluator } = await this.#rules.of(bucket);
      const report = await writeReport(this.#core, turn, { ...of, evaluator });
      const state: InventoryState = {
        day,
        manifestKey: report.manifestKey,
        destinationBucket: configuration.destinationBucket,
        totals: report.totals,
        isWhole: configuration.allVersions && configuration.prefix === '',
      };
      await saveCheckpoint(store, inventoryRowId(bucket.id, configuration.id), {
        at: clock.now(),
        data: { ...state },
      });
      return report;
    } catch (error) {
      if (!isFirnError(error) || error.retryable || error.code === 'LeaseLost') throw error;
      const fields = { bucket: bucket.name, inventory: configuration.id };
      this.#log('error', `an inventory was not written: ${error.message}`, fields);
      return undefined;
    }
  }
}

/** Since when a report counts for the present period: today, or the last Sunday. */
function periodOf(frequency: InventoryConfiguration['frequency'], today: number): number {
  return frequency === 'Daily' ? today : today - new Date(today).getUTCDay() * DAY_MS;
}

/** `2026-11-24T00-00Z`. */
function labelOf(at: number): string {
  return `${new Date(at).toISOString().slice(0, 16).replace(':', '-')}Z`;
}
