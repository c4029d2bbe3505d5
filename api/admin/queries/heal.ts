// What stands short of full redundancy and how far its healing is, from rows that the workers keep:
// the primary that answers does no healing itself.

import type { HealAnswer } from '../../../appliance/model/drive-answers.ts';
import type { Row } from '../../../appliance/model/metadata-store.ts';
import { isNodeGroupTier } from '../../../appliance/model/node-group.ts';
import {
  SWEEP_AUDIT,
  upkeepRowId,
  type Checkpoint,
  type EndedUpkeep,
  type Heal,
  type UpkeepKind,
  type UpkeepState,
} from '../../../appliance/model/records.ts';
import type { AdminOptions } from '../contract/options.ts';
import { allRows, timeOf } from '../contract/rows.ts';
import { driveInfos } from './drives.ts';

/** A row says that it runs; if nobody wrote it for so long, who ran it is dead. */
const STALE_MS = 60_000;
const PACE_MS_MIN = 1000;

export interface Upkeep {
  running: NonNullable<UpkeepState['running']> | undefined;
  updatedAt: number;
  ended: readonly EndedUpkeep[];
}

export async function upkeepOf(
  { store, clock }: Pick<AdminOptions, 'store' | 'clock'>,
  kind: UpkeepKind,
  tier: string,
): Promise<Upkeep> {
  const row: Row<Checkpoint> | undefined = await store.get('checkpoints', upkeepRowId(kind, tier));
  const state = row?.value.data as UpkeepState | undefined;
  const updatedAt = row?.value.updatedAt ?? 0;
  const isFresh = clock.wall() - updatedAt < STALE_MS;
  return { running: isFresh ? state?.running : undefined, updatedAt, ended: state?.ended ?? [] };
}

/** The last pass that read every group back: its oldest part counts. */
export function lastPass(
  ended: readonly EndedUpkeep[],
  groups: readonly number[],
): EndedUpkeep[] | undefined {
  const parts = groups.map((group) => ended.findLast((part) => part.group === group));
  return groups.length > 0 && parts.every((part) => part !== undefined)
    ? (parts as EndedUpkeep[])
    : undefined;
}

export async function deficits({
  store,
}: Pick<AdminOptions, 'store'>): Promise<Pick<HealAnswer, 'waiting' | 'bytes' | 'oldestSince'>> {
  let waiting = 0;
  let bytes = 0;
  let oldest = Infinity;
  for await (const { value } of allRows<Heal>(store, 'heals')) {
    waiting += 1;
    bytes += value.location.length;
    oldest = Math.min(oldest, value.since);
  }
  return { waiting, bytes, oldestSince: waiting === 0 ? null : timeOf(oldest) };
}

export async function healAnswerOf(options: AdminOptions): Promise<Omit<HealAnswer, 'runs'>> {
  const infos = await driveInfos(options);
  const tiers = [...options.tiers.values()].filter(isNodeGroupTier).map(({ name }) => name);
  const heals = new Map<string, Upkeep>();
  for (const tier of tiers) heals.set(tier, await upkeepOf(options, 'heal', tier));
  return {
    ...(await deficits(options)),
    drives: infos
      .filter(({ state }) => state !== 'up')
      .map((drive) => ({
        tier: drive.tier,
        group: drive.group,
        position: drive.position,
        state: drive.state,
        path: drive.path,
        ...refillOf(drive, heals.get(drive.tier)),
      })),
    missing: await missingOf(options),
    scrub: await Promise.all(
      tiers.map(async (tier) => {
        const groups = new Set(infos.filter((one) => one.tier === tier).map(({ group }) => group));
        const pass = await passOf(options, tier);
        return { ...scrubOf(tier, await upkeepOf(options, 'scrub', tier), [...groups]), pass };
      }),
    ),
    leftovers: { candidates: await options.store.count('garbage') },
  };
}

async function missingOf({ store }: Pick<AdminOptions, 'store'>): Promise<HealAnswer['missing']> {
  const audit = await store.get<Checkpoint>('checkpoints', SWEEP_AUDIT);
  if (audit === undefined) return null;
  const { counts, updatedAt } = audit.value;
  return { objects: counts['lost'] ?? 0, at: timeOf(updatedAt) };
}

type Refill = Pick<
  HealAnswer['drives'][number],
  'share' | 'startedAt' | 'bytes' | 'bytesPerSecond' | 'endsAt'
>;

function refillOf(drive: { group: number; position: number }, heal: Upkeep | undefined): Refill {
  const running = heal?.running;
  const place = running?.place;
  const isHere = place?.group === drive.group && place.position === drive.position;
  if (heal === undefined || running === undefined || place === undefined || !isHere) {
    return { share: null, startedAt: null, bytes: null, bytesPerSecond: null, endsAt: null };
  }
  const startedAt = running.partStartedAt ?? running.startedAt;
  const bytes = running.partBytes ?? running.bytes;
  const elapsedMs = heal.updatedAt - startedAt;
  // The first moments say nothing of a pace.
  const isEarly = elapsedMs < PACE_MS_MIN || place.share < 0.01;
  const leftMs = isEarly ? undefined : (elapsedMs * (1 - place.share)) / place.share;
  return {
    share: place.share,
    startedAt: timeOf(startedAt),
    bytes,
    bytesPerSecond: isEarly ? null : (bytes / elapsedMs) * 1000,
    endsAt: leftMs === undefined ? null : timeOf(heal.updatedAt + leftMs),
  };
}

/** The worker's own cursor: a pass goes on in slices over days. */
async function passOf(
  { store }: Pick<AdminOptions, 'store'>,
  tier: string,
): Promise<HealAnswer['scrub'][number]['pass']> {
  const row: Row<Checkpoint> | undefined = await store.get('checkpoints', `scrub/${tier}`);
  if (row === undefined || row.value.cursor === 'done') return null;
  const { bytes = 0, totalBytes = 0 } = row.value.counts;
  const share = totalBytes > 0 ? Math.min(1, bytes / totalBytes) : 0;
  return { startedAt: timeOf(row.value.startedAt), share };
}

function scrubOf(
  tier: string,
  { running, updatedAt, ended }: Upkeep,
  groups: readonly number[],
): Omit<HealAnswer['scrub'][number], 'pass'> {
  const pass = lastPass(ended, groups);
  const sum = (of: (part: EndedUpkeep) => number): number =>
    (pass ?? []).reduce((all, part) => all + of(part), 0);
  const elapsedMs = running === undefined ? 0 : updatedAt - running.startedAt;
  return {
    tier,
    isRunning: running !== undefined,
    group: running?.place?.group ?? null,
    share: running?.place?.share ?? null,
    bytesPerSecond:
      running === undefined || elapsedMs < PACE_MS_MIN ? null : (running.bytes / elapsedMs) * 1000,
    repaired: running?.repaired ?? 0,
    lost: running?.lost ?? 0,
    last:
      pass === undefined
        ? null
        : {
            startedAt: timeOf(Math.min(...pass.map((part) => part.startedAt))),
            endedAt: timeOf(Math.min(...pass.map((part) => part.endedAt))),
            checked: sum((part) => part.checked),
            bytes: sum((part) => part.bytes),
            repaired: sum((part) => part.repaired),
            lost: sum((part) => part.lost),
          },
  };
}
