// How far heal and scrub are, and how they ended, in rows that the admin API shows: who waits for a
// refilled drive is told a share, a pace and an end, and `firn durability` counts by the pace that
// drives were really refilled at. Written once a second at most; a row that is lost costs only what
// people would have seen.

import type { Core } from '../../appliance/engine/document/core.ts';
import type { StepProgress } from '../../appliance/model/node-group.ts';
import {
  upkeepRowId,
  type EndedUpkeep,
  type UpkeepKind,
  type UpkeepState,
} from '../../appliance/model/records.ts';
import { readCheckpoint, saveCheckpoint } from './checkpoints.ts';

const SAVE_MS = 1000;
/** Of each kind and tier. */
const ENDED_KEPT = 10;

/** The part of a step's counts that belongs to one drive or group. */
interface Part {
  group: number;
  position: number | undefined;
  startedAt: number;
  checked: number;
  bytes: number;
  repaired: number;
  lost: number;
}

export class UpkeepProgress {
  readonly #core: Core;
  readonly #kind: UpkeepKind;
  readonly #tier: string;
  readonly #startedAt: number;
  readonly #parts: EndedUpkeep[] = [];
  #part: Part | undefined;
  #savedAt = -Infinity;
  #last: StepProgress | undefined;

  constructor(core: Core, kind: UpkeepKind, tier: string) {
    this.#core = core;
    this.#kind = kind;
    this.#tier = tier;
    this.#startedAt = core.context.clock.wall();
  }

  /** After each step: most calls do nothing. */
  async stepped(progress: StepProgress): Promise<void> {
    const { place } = progress;
    const part = this.#part;
    const isOther = place?.group !== part?.group || place?.position !== part?.position;
    if (isOther && part !== undefined) this.#endPart(part, this.#last ?? progress);
    if (isOther && place !== undefined) this.#part = this.#newPart(place, this.#last);
    this.#last = progress;
    const now = performance.now();
    if (now - this.#savedAt < SAVE_MS) return;
    this.#savedAt = now;
    await this.#save({
      startedAt: this.#startedAt,
      checked: progress.checked,
      bytes: progress.bytes,
      repaired: progress.repaired,
      lost: progress.lost.length,
      ...(place === undefined ? {} : { place }),
      ...(this.#part === undefined
        ? {}
        : { partStartedAt: this.#part.startedAt, partBytes: progress.bytes - this.#part.bytes }),
    });
  }

  /**
   * The job is over. `whole`: it came to its end, so that its counts are those of a full pass, and
   * of drives that are whole again.
   */
  async ended(isWhole: boolean): Promise<void> {
    if (this.#part !== undefined && this.#last !== undefined) this.#endPart(this.#part, this.#last);
    await this.#save(undefined, isWhole ? this.#parts : []);
  }

  /** A pass that was done in slices, by several runs: its counts are shared by the groups. */
  async passed(
    groups: readonly number[],
    pass: Omit<EndedUpkeep, 'group' | 'endedAt'>,
  ): Promise<void> {
    const endedAt = this.#core.context.clock.wall();
    const share = (count: number): number => Math.round(count / groups.length);
    await this.#save(
      undefined,
      groups.map((group) => ({
        group,
        startedAt: pass.startedAt,
        endedAt,
        checked: share(pass.checked),
        bytes: share(pass.bytes),
        repaired: share(pass.repaired),
        lost: pass.lost,
      })),
    );
  }

  #newPart(place: { group: number; position?: number }, before: StepProgress | undefined): Part {
    return {
      group: place.group,
      position: place.position,
      startedAt: this.#core.context.clock.wall(),
      checked: before?.checked ?? 0,
      bytes: before?.bytes ?? 0,
      repaired: before?.repaired ?? 0,
      lost: before?.lost.length ?? 0,
    };
  }

  #endPart(part: Part, at: StepProgress): void {
    this.#part = undefined;
    // The pass that finds nothing missing any more refilled nothing.
    if (this.#kind === 'heal' && at.bytes === part.bytes) return;
    this.#parts.push({
      group: part.group,
      ...(part.position === undefined ? {} : { position: part.position }),
      startedAt: part.startedAt,
      endedAt: this.#core.context.clock.wall(),
      checked: at.checked - part.checked,
      bytes: at.bytes - part.bytes,
      repaired: at.repaired - part.repaired,
      lost: at.lost.length - part.lost,
    });
  }

  async #save(running: UpkeepState['running'], ended: EndedUpkeep[] = []): Promise<void> {
    const { store, clock } = this.#core.context;
    const id = upkeepRowId(this.#kind, this.#tier);
    const old = (await readCheckpoint(store, id))?.data as UpkeepState | undefined;
    const state: UpkeepState = {
      ended: [...(old?.ended ?? []), ...ended].slice(-ENDED_KEPT),
      ...(running === undefined ? {} : { running }),
    };
    await saveCheckpoint(store, id, { at: clock.wall(), data: { ...state } });
  }
}
