// The node groups of every tier: room, state, and how far a drain or a rebalance is.

import { drainingIn, groupsRow } from '../../../appliance/engine/upkeep/groups.ts';
import type {
  GroupAnswer,
  GroupsAnswer,
  GroupUsageAnswer,
  RebalanceAnswer,
} from '../../../appliance/model/answers.ts';
import {
  groupWorkId,
  type GroupEntry,
  type GroupsRow,
  type GroupWork,
  type InGroup,
} from '../../../appliance/model/groups.ts';
import {
  isNodeGroupTier,
  type DriveInfo,
  type GroupRoom,
  type NodeGroupTier,
} from '../../../appliance/model/node-group.ts';
import type { Checkpoint } from '../../../appliance/model/records.ts';
import type { AdminOptions } from '../contract/options.ts';
import { timeOf } from '../contract/rows.ts';

type Sources = Pick<AdminOptions, 'store' | 'tiers' | 'clock'>;
const NOTHING: InGroup = { objects: 0, bytes: 0 };

const stateOf = ({ state, emptyAt }: GroupEntry): GroupAnswer['state'] =>
  state === 'draining' && emptyAt !== undefined ? 'empty' : state;

interface Seen {
  tier: NodeGroupTier;
  row: GroupsRow;
  rooms: readonly GroupRoom[];
  drives: readonly DriveInfo[];
  work: GroupWork | undefined;
  now: number;
}

async function look(options: Sources, tier: NodeGroupTier): Promise<Seen> {
  const row = await groupsRow(options.store, tier.name);
  tier.setDraining(drainingIn(row));
  const kept = await options.store.get<Checkpoint>('checkpoints', groupWorkId(tier.name));
  return {
    tier,
    row,
    rooms: await tier.fill(),
    drives: await tier.drives(),
    work: kept?.value.data as GroupWork | undefined,
    now: options.clock.now(),
  };
}

export async function groupsAnswerOf(options: Sources): Promise<GroupsAnswer> {
  const answer: GroupsAnswer = { groups: [], rebalances: [] };
  for (const tier of [...options.tiers.values()].filter(isNodeGroupTier)) {
    const seen = await look(options, tier);
    answer.groups.push(...seen.row.groups.map((entry) => groupAnswer(seen, entry)));
    answer.rebalances.push(rebalanceOf(seen));
  }
  return answer;
}

export async function rebalanceOfTier(options: Sources, name: string): Promise<RebalanceAnswer> {
  return rebalanceOf(await look(options, options.tiers.get(name) as NodeGroupTier));
}

function groupAnswer(seen: Seen, entry: GroupEntry): GroupAnswer {
  const { group } = entry;
  const room = seen.rooms.find((one) => one.group === group);
  const drives = seen.drives.filter((one) => one.group === group);
  return {
    tier: seen.tier.name,
    group,
    state: stateOf(entry),
    writable: room?.writable === true && entry.state === 'active',
    drives: drives.length,
    drivesUp: drives.filter(({ state }) => state !== 'missing' && state !== 'foreign').length,
    capacityBytes: room?.capacityBytes ?? 0,
    freeBytes: room?.freeBytes ?? 0,
    heldBytes: room?.heldBytes ?? 0,
    drain: drainOf(seen, entry),
  };
}

function drainOf({ work, now }: Seen, entry: GroupEntry): GroupAnswer['drain'] {
  const { group, drainingSince, emptyAt, state } = entry;
  if (state !== 'draining' || drainingSince === undefined) return null;
  const since = timeOf(drainingSince);
  const isOurs = work?.task.includes(`${group}@${drainingSince}`) === true;
  if (work === undefined || !isOurs || emptyAt !== undefined) {
    const phase = emptyAt === undefined ? 'counting' : 'done';
    const none = { objectsLeft: 0, bytesLeft: 0, movedObjects: 0, movedBytes: 0 };
    return { since, phase, ...none, bytesPerSecond: 0, movedBy: null, problems: [] };
  }
  const moved = work.moved[group] ?? NOTHING;
  const counted = work.phase === 'counting' ? work.found[group] : work.counted[group];
  const isMoved = work.phase === 'settling' || work.phase === 'done';
  const left = (of: (one: InGroup) => number): number =>
    isMoved ? 0 : Math.max(0, of(counted ?? NOTHING) - of(moved));
  const seconds = (now - work.movingSince) / 1000;
  const rate = work.phase === 'moving' && seconds > 0 ? moved.bytes / seconds : 0;
  const bytesLeft = left(({ bytes }) => bytes);
  return {
    since,
    phase: work.phase,
    objectsLeft: left(({ objects }) => objects),
    bytesLeft,
    movedObjects: moved.objects,
    movedBytes: moved.bytes,
    bytesPerSecond: Math.round(rate),
    movedBy: rate > 0 ? timeOf(now + (bytesLeft / rate) * 1000) : null,
    problems: work.problems,
  };
}

function rebalanceOf({ tier, row, work, now }: Seen): RebalanceAnswer {
  const { rebalance } = row;
  const isOurs = rebalance !== undefined && work?.task === `rebalance:${rebalance.id}`;
  const give = (rebalance?.plan ?? []).map(({ group, bytes }) => ({
    group,
    bytes,
    movedBytes: isOurs ? (work.moved[group]?.bytes ?? 0) : 0,
  }));
  const moved = give.reduce((sum, { movedBytes }) => sum + movedBytes, 0);
  const seconds = isOurs ? (now - work.movingSince) / 1000 : 0;
  return {
    tier: tier.name,
    state: rebalance?.state ?? 'none',
    untilPercent: rebalance?.untilPercent ?? 0,
    spreadPercent: null,
    give,
    take: rebalance?.take ?? [],
    bytesPerSecond: rebalance?.state === 'running' && seconds > 0 ? Math.round(moved / seconds) : 0,
  };
}

/** `counted`: bytes that are named, and that wait for their grace, where they were counted. */
export interface CountedBytes {
  live: ReadonlyMap<string, number>;
  waiting: ReadonlyMap<string, number>;
}

export const groupKey = (tier: string, group: number): string => `${tier}/${group}`;

/** Room of a tier's groups, split so that it adds up to what the drives hold. */
export async function groupUsage(
  options: Pick<AdminOptions, 'store'>,
  tier: NodeGroupTier,
  counted: CountedBytes | undefined,
): Promise<GroupUsageAnswer[]> {
  const { groups } = await groupsRow(options.store, tier.name);
  return (await tier.rooms()).map((room) => {
    const key = groupKey(tier.name, room.group);
    const stored = room.segmentBytes + room.shardBytes;
    const live = counted === undefined ? null : Math.min(stored, counted.live.get(key) ?? 0);
    const noted = room.deadBytes + (counted?.waiting.get(key) ?? 0);
    const dead = Math.min(noted, stored - (live ?? 0));
    const entry = groups.find((one) => one.group === room.group);
    const state = entry === undefined ? 'active' : stateOf(entry);
    const { group, capacityBytes, freeBytes, heldBytes, journalBytes, otherBytes, drives } = room;
    return {
      group,
      state: state === 'removed' ? 'empty' : state,
      capacityBytes,
      freeBytes,
      heldBytes,
      liveBytes: live,
      deadBytes: dead,
      redundancyBytes: stored - (live ?? 0) - dead,
      journalBytes,
      otherBytes,
      drives,
    };
  });
}
