// The staged kind of a directory tier: bytes are offline until asked for, ready after a while, and
// offline again when their days are over, as with a tape library or Glacier, so that restores can
// be rehearsed on a laptop. What was asked for is a small file a blob; everything else follows from
// the engine's clock, so a restart forgets nothing and a sandbox clock carries it along.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DAY_MS, type Clock, type Random } from '../../../appliance/model/clock.ts';
import type { StagePriority, StageStatus } from '../../../appliance/model/tier.ts';
import { codeOf, removeIfThere, replaceFile } from './files.ts';

/** Share of the settings' stageSeconds that each priority takes. */
const SHARE: Record<StagePriority, number> = { Expedited: 0.25, Standard: 1, Bulk: 2 };

/** Fastest first. */
export const PRIORITIES: readonly StagePriority[] = ['Expedited', 'Standard', 'Bulk'];

interface StageRecord {
  format: 1;
  /** Engine ms. */
  readyAt: number;
  until: number;
}

export interface StageSettings {
  directory: string;
  draftDirectory: string;
  stageMs: number;
  clock: Clock;
  random: Random;
}

export class StageDesk {
  readonly #settings: StageSettings;

  constructor(settings: StageSettings) {
    this.#settings = settings;
  }

  /** Never makes an earlier promise worse: readiness only comes nearer, the end only moves away. */
  async stage(id: string, options: { priority: StagePriority; days: number }): Promise<void> {
    const { clock, stageMs, random, draftDirectory } = this.#settings;
    const now = clock.now();
    const held = await this.#read(id, now);
    const asked = now + Math.round(stageMs * SHARE[options.priority]);
    const readyAt = held === undefined ? asked : Math.min(held.readyAt, asked);
    const end = Math.max(readyAt, now) + options.days * DAY_MS;
    const record: StageRecord = {
      format: 1,
      readyAt,
      until: held === undefined ? end : Math.max(held.until, end),
    };
    const draft = Buffer.from(random.bytes(8)).toString('hex');
    await replaceFile(
      join(draftDirectory, `stage-${id}-${draft}`),
      this.#path(id),
      Buffer.from(JSON.stringify(record), 'utf8'),
    );
  }

  async status(id: string): Promise<StageStatus> {
    const now = this.#settings.clock.now();
    const held = await this.#read(id, now);
    if (held === undefined) return { state: 'offline' };
    if (now < held.readyAt) return { state: 'staging', readyAt: held.readyAt };
    return { state: 'ready', until: held.until };
  }

  async forget(id: string): Promise<void> {
    await removeIfThere(this.#path(id));
  }

  #path(id: string): string {
    return join(this.#settings.directory, `${id}.json`);
  }

  async #read(id: string, now: number): Promise<StageRecord | undefined> {
    let text: string;
    try {
      text = await readFile(this.#path(id), 'utf8');
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined;
      throw error;
    }
    const record = JSON.parse(text) as StageRecord;
    return now < record.until ? record : undefined;
  }
}
