// Gauges of the whole appliance for /metrics: cheap to ask for, as a scraper does so every few
// seconds. Nothing here scans the inventory.

import { keptSnapshots } from '../../../appliance/engine/upkeep/keep-snapshot.ts';
import { allQuotas, takenOf } from '../../../appliance/engine/account/quotas.ts';
import type { DriveAnswer } from '../../../appliance/model/drive-answers.ts';
import {
  SWEEP_AUDIT,
  type Checkpoint,
  type RestoreRequest,
  type Run,
} from '../../../appliance/model/records.ts';
import type { GaugeSample } from '../../metrics.ts';
import type { AdmissionState } from '../../s3/input/admission.ts';
import { drivesOf } from './drives.ts';
import { durabilityOf } from './durability.ts';
import { healAnswerOf } from './heal.ts';
import type { AdminOptions } from '../contract/options.ts';
import type { GroupUsageAnswer } from '../../../appliance/model/answers.ts';
import { tierUsage } from './usage.ts';

/** How many of the newest requests are looked at: those that are open are among them. */
const NEWEST_MAX = 200;

/** Quotas shown, buckets first. */
const QUOTAS_MAX = 500;

/** What doesn't answer is left out and counted: metrics matter most while something is broken. */
export async function gauges(options: AdminOptions): Promise<GaugeSample[]> {
  const groups = await Promise.allSettled([
    readiness(options),
    drives(options),
    redundancy(options),
    tiers(options),
    backlogs(options),
    requests(options),
    quotas(options),
    admission(options),
    metadata(options),
  ]);
  const samples = groups.flatMap((group) => (group.status === 'fulfilled' ? group.value : []));
  const missing = groups.filter((group) => group.status === 'rejected').length;
  const help = 'Groups of gauges that are missing here because what they ask does not answer.';
  return [...samples, { name: 'firn_gauges_missing', help, value: missing }];
}

async function readiness(options: AdminOptions): Promise<GaugeSample[]> {
  const reasons = await options.readiness();
  return [
    { name: 'firn_ready', help: '1 when everything serves.', value: reasons.length === 0 ? 1 : 0 },
  ];
}

async function drives(options: AdminOptions): Promise<GaugeSample[]> {
  const states = ['up', 'healing', 'full', 'failing', 'missing', 'foreign'];
  const counts = new Map<string, number>();
  const seen = new Set<string>();
  let errors = 0;
  const warnings: GaugeSample[] = [];
  for (const drive of await drivesOf(options)) {
    warnings.push(...healthGauges(drive));
    seen.add(drive.tier);
    const name = `${drive.tier}/${drive.state}`;
    counts.set(name, (counts.get(name) ?? 0) + 1);
    errors += drive.errors;
  }
  const samples = [...seen].flatMap((tier) =>
    states.map((state) => ({
      name: 'firn_drives',
      help: 'Drives by tier and state.',
      labels: { tier, state },
      value: counts.get(`${tier}/${state}`) ?? 0,
    })),
  );
  const help = 'Errors of drives seen by the processes that run now.';
  return [...samples, { name: 'firn_drive_errors', help, value: errors }, ...warnings];
}

/** Of one drive: what it says of itself, where it says anything. */
function healthGauges(drive: DriveAnswer): GaugeSample[] {
  const labels = {
    tier: drive.tier,
    group: String(drive.group),
    drive: String(drive.position),
  };
  const samples: GaugeSample[] = (['warning', 'critical'] as const).map((level) => ({
    name: 'firn_drive_warnings',
    help: 'Signs that a drive wears out or dies, by how grave they are.',
    labels: { ...labels, level },
    value: drive.warnings.filter((one) => one.level === level).length,
  }));
  const [physical] = drive.physical;
  const figures = [
    ['firn_drive_temperature_celsius', 'Temperature of a drive.', physical?.temperatureC],
    ['firn_drive_wear_percent', 'Promised endurance that is used up.', physical?.wearPercent],
  ] as const;
  for (const [name, help, value] of figures) {
    if (value !== null && value !== undefined) samples.push({ name, help, labels, value });
  }
  return samples;
}

/** How far heal and scrub are, and how safe the bytes are by calculation. */
async function redundancy(options: AdminOptions): Promise<GaugeSample[]> {
  const heal = await healAnswerOf(options);
  const durability = await durabilityOf(options);
  const samples: GaugeSample[] = [
    {
      name: 'firn_heals_waiting_bytes',
      help: 'Bytes of locations stored short of full redundancy.',
      value: heal.bytes,
    },
  ];
  const since = heal.oldestSince;
  samples.push({
    name: 'firn_heals_oldest_seconds',
    help: 'How long the oldest of them has been waiting, 0 where none is.',
    value: since === null ? 0 : (options.clock.now() - Date.parse(since)) / 1000,
  });
  for (const { tier, lost, last } of heal.scrub) {
    const help = 'What the scrub could not repair, in this pass and in the last whole one.';
    const value = Math.max(lost, last?.lost ?? 0);
    samples.push({ name: 'firn_scrub_lost', help, labels: { tier }, value });
  }
  for (const { tier, group, position, share } of heal.drives) {
    if (share === null) continue;
    const labels = { tier, group: String(group), drive: String(position) };
    const help = 'How much of a replaced drive has been refilled, 0 to 1.';
    samples.push({ name: 'firn_heal_share', help, labels, value: share });
  }
  for (const { tier, last } of heal.scrub) {
    const seconds = last === null ? -1 : (options.clock.wall() - Date.parse(last.endedAt)) / 1000;
    const help = 'Seconds since everything was last read back whole, -1 before the first time.';
    samples.push({ name: 'firn_scrub_age_seconds', help, labels: { tier }, value: seconds });
  }
  for (const { tier, nines } of durability.tiers) {
    const help = 'Nines a year that firn durability computes for a tier.';
    samples.push({ name: 'firn_durability_nines', help, labels: { tier }, value: nines });
  }
  return samples;
}

async function tiers(options: AdminOptions): Promise<GaugeSample[]> {
  return (await tierUsage(options)).flatMap(({ tier, ...usage }) => [
    {
      name: 'firn_tier_used_bytes',
      help: 'Bytes that a tier takes up, redundancy included.',
      labels: { tier },
      value: usage.usedBytes,
    },
    {
      name: 'firn_tier_capacity_bytes',
      help: 'Bytes that a tier can take, 0 where unbounded.',
      labels: { tier },
      value: usage.capacityBytes,
    },
    {
      name: 'firn_tier_blobs',
      help: 'Blobs in a tier.',
      labels: { tier },
      value: usage.blobs,
    },
    {
      name: 'firn_tier_up',
      help: '1 when a tier answers.',
      labels: { tier },
      value: usage.error === null ? 1 : 0,
    },
    ...(usage.groups ?? []).flatMap((group) => groupGauges(tier, group)),
  ]);
}

function groupGauges(tier: string, group: GroupUsageAnswer): GaugeSample[] {
  const labels = { tier, group: String(group.group) };
  const figures = [
    ['firn_group_held_bytes', 'Raw bytes that a node group takes up.', group.heldBytes],
    ['firn_group_free_bytes', 'Raw bytes that a node group can still take.', group.freeBytes],
    ['firn_group_capacity_bytes', 'Raw bytes of a node group.', group.capacityBytes],
    ['firn_group_dead_bytes', 'Bytes of objects noted dead in segments.', group.deadBytes],
    ['firn_group_journal_bytes', 'Metadata journal and snapshots.', group.journalBytes],
    ['firn_group_draining', '1 while a group is emptied.', group.state === 'active' ? 0 : 1],
  ] as const;
  return [
    ...figures.map(([name, help, value]) => ({ name, help, labels, value })),
    ...group.drives.map((drive) => ({
      name: 'firn_drive_held_bytes',
      help: 'Raw bytes that our files take up on a drive.',
      labels: { ...labels, drive: String(drive.position) },
      value: drive.heldBytes,
    })),
  ];
}

async function backlogs(options: AdminOptions): Promise<GaugeSample[]> {
  const tables = [
    ['heals', 'firn_heals_waiting', 'Locations stored short of full redundancy.'],
    ['garbage', 'firn_garbage_waiting', 'Locations that wait for their grace to end.'],
    ['moves', 'firn_moves_open', 'Batches of moves begun and not ended.'],
    ['packs', 'firn_packs', 'Packs in all tiers.'],
  ] as const;
  return Promise.all(
    tables.map(async ([table, name, help]) => ({
      name,
      help,
      value: await options.store.count(table),
    })),
  );
}

async function quotas(options: AdminOptions): Promise<GaugeSample[]> {
  const samples: GaugeSample[] = [];
  let shown = 0;
  for await (const { kind, name, quota, usage } of allQuotas(options)) {
    if (++shown > QUOTAS_MAX) break;
    const taken = takenOf(usage);
    for (const [what, used, max] of [
      ['bytes', taken.bytes, quota.bytesMax],
      ['objects', taken.objects, quota.objectsMax],
    ] as const) {
      if (max === undefined) continue;
      const labels = { kind, name, what };
      const help = 'What a bucket or account with a quota holds.';
      samples.push({ name: 'firn_quota_used', help, labels, value: used });
      samples.push({ name: 'firn_quota_max', help: 'What it may hold.', labels, value: max });
    }
  }
  return samples;
}

/** What names all objects: copies of its journal, snapshots elsewhere, names without bytes. */
async function metadata({ store, clock, journalState }: AdminOptions): Promise<GaugeSample[]> {
  const audit = await store.get<Checkpoint>('checkpoints', SWEEP_AUDIT);
  const samples: GaugeSample[] = [
    {
      name: 'firn_named_missing',
      help: 'Objects that the last orphan sweep found to name bytes that are not there.',
      value: audit?.value.counts['lost'] ?? 0,
    },
  ];
  const journal = journalState?.();
  if (journal === undefined) return samples;
  const [kept] = await keptSnapshots(store);
  const figures = [
    ['firn_journal_copies', 'Drives that take the metadata journal.', journal.copies],
    ['firn_journal_copies_wanted', 'Drives that should take it.', journal.wanted],
    ['firn_journal_up', '1 while changes can be journaled.', journal.healthy ? 1 : 0],
    ['firn_journal_log_bytes', 'What a rebuild reads behind the snapshot.', journal.logBytes],
    [
      'firn_metadata_snapshot_age_seconds',
      'Age of the newest snapshot kept in a tier of no drives, -1 without one.',
      kept === undefined ? -1 : (clock.now() - kept.at) / 1000,
    ],
  ] as const;
  return [...samples, ...figures.map(([name, help, value]) => ({ name, help, value }))];
}

/** All api processes together: each refuses by its own bounds. */
async function admission(options: AdminOptions): Promise<GaugeSample[]> {
  const states = (await options.admissionStates?.()) ?? [];
  if (states.length === 0) return [];
  const sum = (of: (one: AdmissionState) => number): number =>
    states.reduce((all, one) => all + of(one), 0);
  const figures = [
    ['firn_s3_in_flight', 'S3 requests in flight.', sum((one) => one.inFlight)],
    ['firn_s3_in_flight_limit', 'S3 requests let in at once, as of now.', sum((one) => one.limit)],
    ['firn_s3_held_bytes', 'Bytes that requests in flight may hold.', sum((one) => one.bytes)],
    ['firn_s3_held_limit_bytes', 'The most that they may.', sum((one) => one.bytesMax)],
  ] as const;
  return [
    ...figures.map(([name, help, value]) => ({ name, help, value })),
    ...(['process', 'bucket', 'bytes'] as const).map((bound) => ({
      name: 'firn_s3_refused_total',
      help: 'S3 requests answered by SlowDown at the door, by the bound that they met.',
      isCounter: true as const,
      labels: { bound },
      value: sum((one) => one.refused[bound]),
    })),
  ];
}

const OPEN_RESTORES = new Set<RestoreRequest['state']>(['requested', 'staging', 'copying']);

async function requests(options: AdminOptions): Promise<GaugeSample[]> {
  const { store, clock } = options;
  const restores = await store.range<RestoreRequest>({
    table: 'restores',
    limit: NEWEST_MAX,
    reverse: true,
  });
  const open = restores.filter((row) => OPEN_RESTORES.has(row.value.state));
  const runs = await store.range<Run>({
    table: 'runs',
    from: 'lifecycle/',
    to: 'lifecycle0',
    limit: NEWEST_MAX,
    reverse: true,
  });
  const last = runs.find((row) => row.value.state === 'done')?.value;
  const ended = last?.finishedAt;
  return [
    { name: 'firn_restores_open', help: 'Restores that are under way.', value: open.length },
    {
      name: 'firn_lifecycle_age_seconds',
      help: 'Seconds since a lifecycle pass last ended, -1 before the first.',
      value: ended === undefined ? -1 : (clock.now() - ended) / 1000,
    },
    {
      name: 'firn_lifecycle_lag_seconds',
      help: 'How long overdue the most overdue object of the last lifecycle pass was.',
      value: (last?.counts['lagMsMax'] ?? 0) / 1000,
    },
    ...['moved', 'deleted', 'due', 'failed'].map((what) => ({
      name: 'firn_lifecycle_last_objects',
      help: 'Objects of the last lifecycle pass, by what became of them.',
      labels: { what },
      value: last?.counts[what] ?? 0,
    })),
  ];
}
