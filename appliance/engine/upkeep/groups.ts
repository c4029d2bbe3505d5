// Node groups as an operator changes them: which there are, which is being emptied, what a
// rebalance would move. One row of `settings` a tier (model/groups.ts), changed by
// compare-and-swap; every process follows it within a second. The dangers: a group that lost its
// place in the settings and is taken for another, one that leaves while objects are in it, a drain
// with nowhere to go. Numbers of groups are given here once and never again.

import type { Clock } from '../../model/clock.ts';
import { FirnError } from '../../model/errors.ts';
import {
  groupsRowId,
  type Excess,
  type GroupEntry,
  type GroupsRow,
  type Rebalance,
} from '../../model/groups.ts';
import { newId } from '../../model/ids.ts';
import type { MetadataStore } from '../../model/metadata-store.ts';
import { isNodeGroupTier, type GroupRoom, type NodeGroupTier } from '../../model/node-group.ts';
import type { Tier } from '../../model/tier.ts';
import type { EngineContext } from '../document/context.ts';

type Store = Pick<EngineContext, 'store'>;
export type GroupsContext = Pick<EngineContext, 'store' | 'tiers' | 'random'> & { clock: Clock };

const SWAPS_MAX = 64;
/** Below this the fill of groups is the same for all purposes. */
const PERCENT_MIN = 0.01;

/** One list of drives in the settings, and the number that its drives carry, if any does. */
export interface ListedGroup {
  drives: readonly string[];
  group: number | undefined;
}

export async function groupsRow(store: MetadataStore, tier: string): Promise<GroupsRow> {
  const row = await store.get<GroupsRow>('settings', groupsRowId(tier));
  return row?.value ?? { format: 1, tier, groups: [] };
}

/** `change` returns the row it wants, or the one it was given to leave all as it is. */
export async function changeGroups(
  store: MetadataStore,
  tier: string,
  change: (row: GroupsRow) => GroupsRow,
): Promise<GroupsRow> {
  const id = groupsRowId(tier);
  for (let i = 0; i < SWAPS_MAX; i += 1) {
    const row = await store.get<GroupsRow>('settings', id);
    const before: GroupsRow = row?.value ?? { format: 1, tier, groups: [] };
    const value = change(before);
    if (value === before || JSON.stringify(value) === JSON.stringify(before)) return before;
    const result =
      row === undefined
        ? await store.insert('settings', id, value)
        : await store.replace({ table: 'settings', id, expected: row.revision, value });
    if (result.outcome === 'done') return value;
  }
  throw new FirnError('SlowDown', 'the row of groups changes too fast', { subject: id });
}

/**
 * Gives each list of drives its number: the one that its drives carry, else the one it was listed
 * under before, else a new one. SettingsInvalid where a group is listed twice, or is not listed any
 * more and was not found empty. Every process that starts calls it; all get the same.
 */
export async function assignGroups(
  store: MetadataStore,
  tier: string,
  listed: readonly ListedGroup[],
): Promise<{ group: number; founded: boolean }[]> {
  let numbers: number[] = [];
  const row = await changeGroups(store, tier, (before) => {
    numbers = numbersOf(before, listed);
    const groups = before.groups
      .filter((one) => one.founded || numbers.includes(one.group))
      .map((one) => (numbers.includes(one.group) ? one : unlisted(tier, one)));
    for (const [i, group] of numbers.entries()) {
      const drives = [...(listed[i] as ListedGroup).drives];
      const at = groups.findIndex((one) => one.group === group);
      const known = groups[at];
      if (known === undefined) groups.push({ group, drives, founded: false, state: 'active' });
      // Back again, it is as it was: empty, until somebody ends its drain.
      else
        groups[at] = { ...known, drives, state: known.state === 'active' ? 'active' : 'draining' };
    }
    return { ...before, groups: groups.toSorted((a, b) => a.group - b.group) };
  });
  return numbers.map((group) => ({
    group,
    founded: row.groups.find((one) => one.group === group)?.founded ?? false,
  }));
}

function numbersOf({ tier, groups }: GroupsRow, listed: readonly ListedGroup[]): number[] {
  const taken = new Set<number>();
  for (const { group, drives } of listed) {
    if (group === undefined) continue;
    if (taken.has(group)) {
      throw new FirnError('SettingsInvalid', `tiers.${tier} lists group ${group} twice`, {
        subject: drives[0] ?? tier,
        hint: 'each group of drives is one list; a copy of a group is none',
      });
    }
    taken.add(group);
  }
  let next = Math.max(-1, ...taken, ...groups.map(({ group }) => group)) + 1;
  return listed.map(({ group, drives }) => {
    if (group !== undefined) return group;
    const known = groups.find(
      (one) =>
        one.state !== 'removed' &&
        !taken.has(one.group) &&
        one.drives.some((path) => drives.includes(path)),
    );
    const number = known?.group ?? next;
    if (known === undefined) next += 1;
    taken.add(number);
    return number;
  });
}

/** A group that the settings name no more: it had to be found empty before. */
function unlisted(tier: string, one: GroupEntry): GroupEntry {
  if (one.state === 'removed') return one;
  if (one.state === 'draining' && one.emptyAt !== undefined) return { ...one, state: 'removed' };
  throw new FirnError(
    'SettingsInvalid',
    `tiers.${tier} lacks group ${one.group}, and objects may be in it (${one.drives[0] ?? ''} …)`,
    {
      subject: `${tier} group ${one.group}`,
      hint:
        'put its list of drives back, dead drives too; to take it away, ' +
        `./firn group drain ${tier} ${one.group}, and wait until group list calls it empty`,
    },
  );
}

/** Notes which groups were taken into use: none of them is founded anew from then on. */
export async function noteFounded(store: MetadataStore, tier: NodeGroupTier): Promise<void> {
  const present = new Set<number>();
  for (const { group, state } of await tier.drives()) {
    if (state !== 'missing' && state !== 'foreign') present.add(group);
  }
  await changeGroups(store, tier.name, (row) => ({
    ...row,
    groups: row.groups.map((one) => (present.has(one.group) ? { ...one, founded: true } : one)),
  }));
}

export const drainingIn = ({ groups }: GroupsRow): Set<number> =>
  new Set(groups.filter(({ state }) => state !== 'active').map(({ group }) => group));

/** What every process does once a second, and whoever is about to move things before. */
export async function followGroups({ store }: Store, tier: NodeGroupTier): Promise<GroupsRow> {
  const row = await groupsRow(store, tier.name);
  tier.setDraining(drainingIn(row));
  return row;
}

export async function followAllGroups(store: MetadataStore, tiers: Iterable<Tier>): Promise<void> {
  for (const tier of tiers) if (isNodeGroupTier(tier)) await followGroups({ store }, tier);
}

function driveTier(context: GroupsContext, name: string): NodeGroupTier {
  const tier = context.tiers.get(name);
  if (tier !== undefined && isNodeGroupTier(tier)) return tier;
  const known = [...context.tiers.values()].filter(isNodeGroupTier).map((one) => one.name);
  throw new FirnError('InvalidArgument', `${name} is no tier of node groups`, {
    subject: name,
    hint: `those are: ${known.join(', ')}`,
  });
}

function entryOf(row: GroupsRow, group: number): GroupEntry {
  const entry = row.groups.find((one) => one.group === group && one.state !== 'removed');
  if (entry !== undefined) return entry;
  throw new FirnError('InvalidArgument', `tier ${row.tier} has no group ${group}`, {
    subject: `${row.tier} group ${group}`,
    hint: './firn group list shows them',
  });
}

const withEntry = (row: GroupsRow, entry: GroupEntry): GroupsRow => ({
  ...row,
  groups: row.groups.map((one) => (one.group === entry.group ? entry : one)),
});

/**
 * Begins to empty a group: nothing new goes there a second later, and workers move what is in it.
 * A repeat changes nothing. InvalidArgument where no other group can take writes.
 */
export async function drainGroup(
  context: GroupsContext,
  name: string,
  group: number,
): Promise<GroupsRow> {
  const tier = driveTier(context, name);
  const rooms = await tier.fill();
  const since = context.clock.now();
  return changeGroups(context.store, name, (row) => {
    const entry = entryOf(row, group);
    if (entry.state === 'draining') return row;
    const others = rooms.filter(
      (room) =>
        room.group !== group &&
        room.writable &&
        row.groups.find((one) => one.group === room.group)?.state === 'active',
    );
    if (others.length === 0) {
      throw new FirnError('InvalidRequest', `group ${group} is the last that takes writes`, {
        subject: `${name} group ${group}`,
        hint: `add a group to tiers.${name}.groups first, or bring drives of another back`,
      });
    }
    return withEntry(row, { ...entry, state: 'draining', drainingSince: since });
  });
}

/** Ends a drain: the group takes writes again. What was moved out stays where it is. */
export function undrainGroup(
  context: GroupsContext,
  name: string,
  group: number,
): Promise<GroupsRow> {
  driveTier(context, name);
  return changeGroups(context.store, name, (row) => {
    const { drainingSince: _since, emptyAt: _empty, ...entry } = entryOf(row, group);
    return withEntry(row, { ...entry, state: 'active' });
  });
}

/** By the workers: nothing is in it, nothing can come. Not if its drain was ended meanwhile. */
export function markEmpty(
  { store, clock }: Pick<EngineContext, 'store' | 'clock'>,
  tier: string,
  entry: GroupEntry,
): Promise<GroupsRow> {
  const emptyAt = clock.now();
  return changeGroups(store, tier, (row) => ({
    ...row,
    groups: row.groups.map((one) =>
      one.group === entry.group &&
      one.state === 'draining' &&
      one.drainingSince === entry.drainingSince
        ? { ...one, emptyAt }
        : one,
    ),
  }));
}

export const fillOf = ({ capacityBytes, freeBytes }: GroupRoom): number =>
  capacityBytes === 0 ? 0 : (capacityBytes - freeBytes) / capacityBytes;

/** Who gives how many bytes of objects, and who takes. Nobody, where the fill is even enough. */
export interface RebalancePlan {
  give: Excess[];
  /** Groups that take. */
  take: number[];
  spreadPercent: number;
}

/**
 * The least that must move so that the fullest and the emptiest group differ by at most so many
 * percent: the full are cut down to a level, the empty raised to one that much below it.
 */
export function planRebalance(rooms: readonly GroupRoom[], untilPercent: number): RebalancePlan {
  const usable = rooms.filter((room) => room.capacityBytes > 0 && !room.draining);
  const fills = usable.map(fillOf);
  const spread = usable.length < 2 ? 0 : Math.max(...fills) - Math.min(...fills);
  const plan: RebalancePlan = { give: [], take: [], spreadPercent: spread * 100 };
  const until = Math.max(PERCENT_MIN, untilPercent) / 100;
  if (spread <= until) return plan;
  const above = (room: GroupRoom, level: number): number =>
    (fillOf(room) - level) * room.capacityBytes;
  const excess = (level: number): number =>
    usable.reduce((sum, room) => sum + Math.max(0, above(room, level)), 0);
  const lack = (level: number): number =>
    usable.reduce((sum, room) => sum + Math.max(0, -above(room, level - until)), 0);
  let [low, high] = [0, 1];
  for (let i = 0; i < 60; i += 1) {
    const middle = (low + high) / 2;
    if (excess(middle) > lack(middle)) low = middle;
    else high = middle;
  }
  for (const room of usable) {
    const stored = (room.segmentBytes + room.shardBytes) * room.dataShare - room.deadBytes;
    const bytes = Math.floor(Math.min(above(room, high) * room.dataShare, stored));
    if (bytes > 0) plan.give.push({ group: room.group, bytes });
    else if (above(room, high - until) < 0) plan.take.push(room.group);
  }
  return plan;
}

/** The plan now; with `start` it is written down, and workers begin with it within a second. */
export async function rebalanceGroups(
  context: GroupsContext,
  name: string,
  options: { untilPercent: number; start: boolean },
): Promise<{ plan: RebalancePlan; rebalance: Rebalance | undefined }> {
  const tier = driveTier(context, name);
  await followGroups(context, tier);
  const { untilPercent, start } = options;
  const plan = planRebalance(await tier.rooms(), untilPercent);
  if (!start || plan.give.length === 0) return { plan, rebalance: undefined };
  const rebalance: Rebalance = {
    id: newId(context.random),
    requestedAt: context.clock.now(),
    untilPercent,
    state: 'running',
    plan: plan.give,
    take: plan.take,
  };
  await changeGroups(context.store, name, (row) => {
    if (row.rebalance?.state === 'running') {
      throw new FirnError('InvalidRequest', `tier ${name} is being rebalanced already`, {
        subject: name,
        hint: `./firn group rebalance ${name} --stop ends that`,
      });
    }
    return { ...row, rebalance };
  });
  return { plan, rebalance };
}

/** Stopped, it may be resumed where it was; done, it is over. Nothing where there is none. */
export function setRebalance(
  context: Pick<EngineContext, 'store' | 'clock'>,
  name: string,
  state: Rebalance['state'],
  id?: string,
): Promise<GroupsRow> {
  const finishedAt = context.clock.now();
  return changeGroups(context.store, name, (row) => {
    const { rebalance } = row;
    if (rebalance === undefined || rebalance.state === 'done') return row;
    if (id !== undefined && rebalance.id !== id) return row;
    const ended = state === 'done' ? { finishedAt } : {};
    return { ...row, rebalance: { ...rebalance, ...ended, state } };
  });
}
