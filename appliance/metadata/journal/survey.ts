// What the drives know of the journal, and what of it holds. Of all copies the highest epoch
// counts; copies of earlier ones are ignored for ever, however long their logs (D6): their drive
// was away when the others went on without it.

import type { Drive } from '../../model/drive.ts';
import { readManifest, shownBy, type Manifest } from './manifest.ts';
import type { IndexState } from './ports.ts';

export interface Survey {
  /** What holds; undefined: no copy on any drive at hand. */
  manifest: Manifest | undefined;
  /** Drives that belong to it. */
  holders: Drive[];
  /** Every holder has the newest generation. */
  even: boolean;
  /** No epoch up to this one may be begun: seen or reserved on any drive. */
  reserved: number;
  /** Every manifest found, by drive. */
  manifests: Map<Drive, Manifest>;
  /** Drives that could not be read. */
  away: { drive: Drive; error: unknown }[];
  /** Stores other than the one asked for. */
  foreign: Set<string>;
}

/** `store` undefined: whatever store is found, if it is only one. */
export async function surveyDrives(
  drives: readonly Drive[],
  store: string | undefined,
): Promise<Survey> {
  const survey: Survey = {
    manifest: undefined,
    holders: [],
    even: true,
    reserved: 0,
    manifests: new Map(),
    away: [],
    foreign: new Set(),
  };
  const read = await Promise.allSettled(drives.map((drive) => readManifest(drive)));
  for (const [i, one] of read.entries()) {
    const drive = drives[i] as Drive;
    if (one.status === 'rejected') {
      if (isFormat(one.reason)) throw one.reason as Error;
      survey.away.push({ drive, error: one.reason });
    } else if (one.value !== undefined) {
      if (store !== undefined && one.value.store !== store) survey.foreign.add(one.value.store);
      else survey.manifests.set(drive, one.value);
    }
  }
  for (const { epoch, reserved } of survey.manifests.values()) {
    survey.reserved = Math.max(survey.reserved, epoch, reserved);
  }
  choose(survey);
  return survey;
}

const isFormat = (error: unknown): boolean =>
  (error as { code?: string } | undefined)?.code === 'FormatUnknown';

function choose(survey: Survey): void {
  // Epoch 0: only a reservation, of an epoch that was never begun here.
  const real = [...survey.manifests].filter(([, { epoch }]) => epoch > 0);
  const epoch = Math.max(0, ...real.map(([, manifest]) => manifest.epoch));
  const current = real.filter(([, manifest]) => manifest.epoch === epoch);
  const newest = current.toSorted(([, a], [, b]) => b.generation - a.generation)[0]?.[1];
  if (newest === undefined) return;
  survey.manifest = newest;
  survey.holders = current.map(([drive]) => drive);
  survey.even = current.every(([, { generation }]) => generation === newest.generation);
}

/**
 * Whether an index is a beginning of what the manifest tells: then it only lacks what came later.
 * `false`: it is of another past (it was put back from before a rebuild, or is of a time before the
 * snapshot) and must be thrown away.
 */
export function isBeginningOf(
  manifest: Manifest,
  state: IndexState,
  openIsEmpty: boolean,
): boolean {
  if (state.number < shownBy(manifest)) return false;
  if (state.epoch === manifest.epoch) return true;
  const ended = manifest.ended.find(({ epoch }) => epoch === state.epoch);
  if (ended === undefined) return false;
  // Beyond the end of its epoch, an index may still be the one with which the next was begun, if it
  // died before it heard of it: then nothing was journaled since.
  const isLast = ended === manifest.ended.at(-1);
  return state.number <= ended.number || (isLast && openIsEmpty);
}
