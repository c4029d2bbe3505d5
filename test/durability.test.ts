// What people are told about the safety of their bytes: the figure against published tables, a drive's
// own warnings from recorded smartctl output, which drive to pull and whether it can be spared, and how
// far healing is. The dangers: a figure that is too good, a dying drive that nobody is told of, a living
// drive that is pulled because of a wrong line here.

import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import test from 'ava';
import { parse } from 'yaml';
import { drivesAnswerOf } from '../api/admin/queries/drives.ts';
import { durabilityOf } from '../api/admin/queries/durability.ts';
import { gauges } from '../api/admin/queries/gauges.ts';
import { healAnswerOf } from '../api/admin/queries/heal.ts';
import type { AdminOptions } from '../api/admin/contract/options.ts';
import { renderMetrics } from '../api/metrics.ts';
import { drivesText } from '../appliance/cli/terminal/drives-text.ts';
import { durabilityText } from '../appliance/cli/terminal/durability-text.ts';
import { healText } from '../appliance/cli/terminal/heal-text.ts';
import { paintFor } from '../appliance/cli/terminal/table.ts';
import type { Core } from '../appliance/engine/document/core.ts';
import { deviceOf, slotsOf, type DeviceTree } from '../appliance/health/device.ts';
import { HealthWatch } from '../appliance/health/health-watch.ts';
import { readSmart } from '../appliance/health/smart.ts';
import { smartctl } from '../appliance/health/smartctl.ts';
import { judge } from '../appliance/health/verdict.ts';
import type { DriveHealth, PathHealth } from '../appliance/model/drive-health.ts';
import {
  copiesNines,
  domainSizes,
  groupDurability,
  meanHoursToLoss,
  ninesOf,
  yearsUntilBeyond,
  type Chain,
} from '../appliance/model/durability.ts';
import {
  driveLogId,
  measuredRate,
  NO_DRIVES,
  observed,
  type DriveLog,
} from '../appliance/model/drive-log.ts';
import type {
  DriveInfo,
  NodeGroupTier,
  SpareInfo,
  StepProgress,
} from '../appliance/model/node-group.ts';
import {
  SWEEP_AUDIT,
  upkeepRowId,
  type Checkpoint,
  type UpkeepState,
} from '../appliance/model/records.ts';
import { UpkeepProgress } from '../workers/base/progress.ts';
import type { Turn } from '../workers/base/worker.ts';
import { DriveLogWorker } from '../workers/drive-log.ts';
import { MemoryMetadataStore } from './memory-store.ts';

const single = (drives: number): number[] => Array.from({ length: drives }, () => 1);
const TB = 1e12;
const MiB = 1024 * 1024;

// ── The figure ──

/** Published: nines by hours until a drive is whole again, one drive refilled at a time. */
const HOURS = [1, 6, 24, 72, 156, 336];
const TABLE: readonly [afr: number, k: number, m: number, nines: string][] = [
  [0.015, 4, 2, '11.3 9.7 8.5 7.6 6.9 6.2'],
  [0.015, 8, 4, '19.9 16.8 14.4 12.5 11.1 9.8'],
  [0.015, 12, 4, '19.2 16.0 13.6 11.7 10.4 9.1'],
  [0.015, 17, 3, '14.0 11.7 9.9 8.5 7.5 6.5'],
  [0.04, 4, 2, '10.0 8.4 7.2 6.3 5.6 4.9'],
  [0.04, 8, 4, '17.7 14.6 12.2 10.3 9.0 7.6'],
  [0.04, 12, 4, '17.0 13.9 11.5 9.6 8.2 6.9'],
];

test('nines of a group are those of the published tables, at every repair time', (t) => {
  for (const [afr, k, m, nines] of TABLE) {
    const found = HOURS.map((repairHours) =>
      ninesOf(yearsUntilBeyond(m, single(k + m), { afr, repairHours })).toFixed(1),
    );
    t.is(found.join(' '), nines, `${k}+${m} at ${afr}`);
  }
});

test('the chain gives what the formulas of the textbook give, worked out by hand', (t) => {
  // λ = 1e-5 an hour, that is 1 - e^-0.0876 a year; μ = 1/10 h.
  const failures = { afr: -Math.expm1(-0.0876), repairHours: 10 };
  // A mirror: (3λ + μ) / 2λ² = 0.10003 / 2e-10 = 500,150,000 h = 57,094.7 years.
  const mirror = yearsUntilBeyond(1, single(2), failures);
  t.is(mirror.toFixed(1), '57094.7');
  t.is(ninesOf(mirror).toFixed(3), '4.757');
  // 4+2, rates 6λ, 5λ, 4λ up: 1/a + 1/b + 1/c + μ/ab + μ/bc + μ²/abc
  // = 16,666.7 + 20,000 + 25,000 + 33,333,333 + 50,000,000 + 83,333,333,333 = 83,416,728,333 h.
  const six = yearsUntilBeyond(2, single(6), failures);
  t.is(Math.round(six * 8760), 83_416_728_333);
  t.is(ninesOf(six).toFixed(3), '6.979');
  // All on one device: the first failure is the loss, 1/λ = 100,000 h.
  t.is(Math.round(yearsUntilBeyond(2, [6], failures) * 8760), 100_000);
});

test('drives that share any device are one failure domain, also through a volume over several', (t) => {
  const sizes = (...on: string[][]): number[] => domainSizes(on).toSorted((a, b) => b - a);
  t.deepEqual(sizes(['sda'], ['sdb'], ['sdc']), [1, 1, 1]);
  t.deepEqual(sizes(['sda'], ['sda'], ['sdc']), [2, 1]);
  t.deepEqual(sizes(['sda'], ['sdb'], ['sda', 'sdb']), [3], 'a volume over both joins them');
  t.deepEqual(sizes(['sda', 'sdb'], ['sdb', 'sdc'], ['sdd'], ['sdc']), [3, 1]);
});

const HOUR_MS = 3_600_000;
const YEAR_MS = 8760 * HOUR_MS;

const sixDrives = (of: (position: number) => string | undefined): DriveInfo[] =>
  single(6).map((_, position) => {
    const drive = of(position);
    const rest = { path: `/srv/${position}`, state: 'up', errors: 0, note: '' } as const;
    const room = { capacityBytes: 1, freeBytes: 1, device: String(position) };
    const identity = drive === undefined ? {} : { drive };
    return { tier: 'hot', group: 0, position, ...identity, ...rest, ...room };
  });

test('who was replaced counts as a failure; who is away, swapped places or left with its group not', (t) => {
  const other = sixDrives((i) => `g${i}`).map((one) => ({ ...one, group: 1 }));
  let log = observed(NO_DRIVES, [...sixDrives((i) => `d${i}`), ...other], 0);
  t.is(log.drives.length, 12);
  // Drive 1 is away, 2 and 3 changed places: nobody died.
  const moved = sixDrives((i) => ['d0', undefined, 'd3', 'd2', 'd4', 'd5'][i]);
  log = observed(log, [...moved, ...other], YEAR_MS);
  t.is(log.gone.replaced, 0);
  t.is(log.drives.length, 12);
  // Another stands in its place; group 1 left the settings: its life counts, its end does not.
  const replaced = sixDrives((i) => ['d0', 'new', 'd3', 'd2', 'd4', 'd5'][i]);
  log = observed(log, replaced, 2 * YEAR_MS);
  t.deepEqual(log.gone, { years: 6, replaced: 1 });
  t.deepEqual(log.drives.map(({ drive }) => drive).toSorted(), [
    'd0',
    'd2',
    'd3',
    'd4',
    'd5',
    'new',
  ]);
  t.is(measuredRate(log, 0.015).driveYears, 6 + 5 * 2);
  t.is(observed(log, replaced, 2 * YEAR_MS).gone.replaced, 1, 'a second look counts nothing twice');
});

test('the failure rate starts at what is assumed and moves with what is seen, as by hand', (t) => {
  t.is(measuredRate(NO_DRIVES, 0.015).afr.toFixed(6), '0.015000');
  // 1.5 % a year is 0.0151136 an hour-of-life year, a weight of 66.165 drive-years; 33.835 more and
  // two deaths: (1 + 2) / 100 = 0.03 a year, so 1 - e^-0.03 = 2.9554 % die.
  const two: DriveLog = { drives: [], gone: { years: 33.8346, replaced: 2 } };
  t.is(measuredRate(two, 0.015).assumedYears.toFixed(3), '66.165');
  t.is(measuredRate(two, 0.015).afr.toFixed(5), '0.02955');
  // A lucky year of six drives promises little: 1 / 72.165.
  const lucky: DriveLog = { drives: [], gone: { years: 6, replaced: 0 } };
  t.is(measuredRate(lucky, 0.015).afr.toFixed(4), '0.0138');
});

/** Whole nodes are lost for good too (0.5 % a year, 72 h), shards spread evenly over them. */
function nodesChain(k: number, m: number, nodes: number): Chain {
  const each = (k + m) / nodes;
  const states = new Map<string, number>([['0,0', 0]]);
  const queue: [number, number][] = [[0, 0]];
  const rates: Chain['rates'] = [];
  const enter = (nodesLost: number, drivesLost: number): number => {
    if (nodesLost * each + drivesLost > m) return -1;
    const name = `${nodesLost},${drivesLost}`;
    if (!states.has(name)) {
      states.set(name, queue.length);
      queue.push([nodesLost, drivesLost]);
    }
    return states.get(name) as number;
  };
  const hourly = (afr: number): number => -Math.log1p(-afr) / 8760;
  for (let from = 0; from < queue.length; from++) {
    const [gone, drives] = queue[from] as [number, number];
    const left = k + m - gone * each - drives;
    if (gone < nodes) {
      rates.push({ from, to: enter(gone + 1, drives), rate: (nodes - gone) * hourly(0.005) });
    }
    if (left > 0) rates.push({ from, to: enter(gone, drives + 1), rate: left * hourly(0.015) });
    if (gone > 0) rates.push({ from, to: enter(gone - 1, drives), rate: 1 / 72 });
    if (drives > 0) rates.push({ from, to: enter(gone, drives - 1), rate: 1 / 24 });
  }
  const loss = queue.length;
  return { states: loss, rates: rates.map((one) => (one.to < 0 ? { ...one, to: loss } : one)) };
}

test('the solver agrees with the published table of nodes that die, in two dimensions', (t) => {
  const layouts = [
    [4, 2, 3, 4.9],
    [4, 2, 6, 7.9],
    [8, 4, 3, 4.6],
    [8, 4, 4, 5.6],
    [8, 4, 6, 8.0],
    [8, 4, 12, 13.5],
    [12, 4, 4, 4.3],
    [12, 4, 8, 7.6],
    [12, 4, 16, 12.8],
  ] as const;
  for (const [k, m, nodes, nines] of layouts) {
    const years = meanHoursToLoss(nodesChain(k, m, nodes)) / 8760;
    t.is(Math.log10(years).toFixed(1), nines.toFixed(1), `${k}+${m} on ${nodes}`);
  }
});

test('a simulated life of drives dies as early as the chain says, also where devices hold several', (t) => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  t.log(`seed ${seed}`);
  let state = seed;
  const random = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state + 0.5) / 2 ** 32;
  };
  const devices = [2, 1, 1, 2];
  const failures = { afr: 0.9, repairHours: 400, refillHours: 150 };
  const rate = -Math.log1p(-failures.afr) / 8760;
  const life = (): number => {
    const up = devices.map(() => true);
    for (let hours = 0; ;) {
      const down = devices.filter((_, at) => !up[at]);
      if (down.reduce((sum, size) => sum + size, 0) > 2) return hours;
      const dying = devices.length - down.length;
      const fullest = Math.max(0, ...down);
      const repair = fullest === 0 ? 0 : 1 / (400 + (fullest - 1) * 150);
      const total = dying * rate + repair;
      hours += -Math.log(random()) / total;
      const repaired = random() * total < repair;
      const candidates = devices.flatMap((size, at) =>
        repaired ? (!up[at] && size === fullest ? [at] : []) : up[at] ? [at] : [],
      );
      const chosen = candidates[Math.floor(random() * candidates.length)] as number;
      up[chosen] = repaired;
    }
  };
  const lives = 30_000;
  let sum = 0;
  for (let i = 0; i < lives; i++) sum += life();
  const simulated = sum / lives / 8760;
  const computed = yearsUntilBeyond(2, devices, failures);
  t.true(Math.abs(simulated / computed - 1) < 0.04, `${simulated} simulated, ${computed} computed`);
});

test('drives on one device are worth one bare drive, and one copy of metadata is too', (t) => {
  const failures = { afr: 0.015, repairHours: 24 };
  const reading = { driveBytes: 4 * TB, scrubAgeDays: 7 };
  const one = groupDurability({ k: 4, m: 2, drivesByDevice: [6] }, failures, reading);
  t.is(one.nines.toFixed(1), '1.8');
  t.is(one.devicesLosable, 0);
  const three = groupDurability({ k: 4, m: 2, drivesByDevice: [2, 2, 2] }, failures, reading);
  t.is(three.devicesLosable, 1);
  t.true(three.nines > 5 && three.nines < 6);
  const six = groupDurability({ k: 4, m: 2, drivesByDevice: single(6) }, failures, reading);
  t.is(six.devicesLosable, 2);
  t.is(copiesNines(1, failures).toFixed(1), '1.8');
  t.true(copiesNines(3, failures) > 9);
});

test('bad sectors count against any object: more with more bytes, and more without a scrub', (t) => {
  const failures = { afr: 0.015, repairHours: 24 };
  const chance = (k: number, driveBytes: number, scrubAgeDays = 7): number =>
    groupDurability({ k, m: 4, drivesByDevice: single(k + 4) }, failures, {
      driveBytes,
      scrubAgeDays,
    }).unreadableChance;
  // Published for 4 TB and 16 TB drives.
  t.deepEqual(
    [4, 8, 12].map((k) => chance(k, 4 * TB).toFixed(2)),
    ['0.12', '0.23', '0.32'],
  );
  t.deepEqual(
    [4, 8, 12].map((k) => chance(k, 16 * TB).toFixed(2)),
    ['0.40', '0.64', '0.78'],
  );
  t.true(chance(4, 4 * TB, 140) > 5 * chance(4, 4 * TB));
  t.is(
    chance(4, 4 * TB, 0),
    chance(4, 4 * TB, 14),
    'a fresh scrub promises no more than data sheets',
  );
  const whole = groupDurability({ k: 4, m: 2, drivesByDevice: single(6) }, failures, {
    driveBytes: 4 * TB,
    scrubAgeDays: 7,
  });
  t.true(whole.anyObjectNines < whole.nines);
});

// ── What a drive says of itself ──

const samples = JSON.parse(
  readFileSync(join(import.meta.dirname, 'golden/smart.golden.json'), 'utf8'),
) as Record<string, unknown>;

test('recorded answers of smartctl are read: ATA, flash, NVMe, SAS', (t) => {
  t.like(readSmart(samples['ata-healthy']).reading, {
    kind: 'ata',
    model: 'ST16000NM001G-2KK103',
    serial: 'ZL2A0001',
    firmware: 'SN04',
    temperatureC: 34,
    powerOnHours: 25_839,
    reallocatedSectors: 0,
    pendingSectors: 0,
    uncorrectableErrors: 0,
    passed: true,
  });
  t.like(readSmart(samples['ssd-worn']).reading, { kind: 'ata', wearPercent: 94 });
  t.like(readSmart(samples['nvme-healthy']).reading, {
    kind: 'nvme',
    serial: 'S64FNE0R500001',
    wearPercent: 3,
    sparePercent: 100,
    spareThresholdPercent: 10,
    mediaErrors: 0,
    temperatureC: 41,
  });
  t.like(readSmart(samples['sas']).reading, {
    kind: 'scsi',
    model: 'HGST HUH728080AL5200',
    serial: 'VJG1ABCX',
    reallocatedSectors: 7,
    uncorrectableErrors: 0,
    powerOnHours: 41_277,
  });
});

const signs = (name: string): string[] =>
  judge(readSmart(samples[name])).map(({ level, sign }) => `${level} ${sign}`);

test('a drive is warned about before it dies, and a healthy one never', (t) => {
  t.deepEqual(signs('ata-healthy'), []);
  t.deepEqual(signs('nvme-healthy'), []);
  t.deepEqual(signs('ata-dying'), [
    'critical failing',
    'critical failing',
    'critical reallocated',
    'critical pending',
    'critical uncorrectable',
    'warning temperature',
  ]);
  t.deepEqual(signs('ssd-worn'), ['warning wear']);
  t.deepEqual(signs('nvme-worn'), [
    'critical failing',
    'critical wear',
    'critical spare',
    'critical critical-warning',
    'warning media',
  ]);
  t.deepEqual(signs('sas'), ['warning reallocated'], 'one sign alone');
});

test('each threshold stands where the table says, and not one below', (t) => {
  const nvme = (more: object): string[] => {
    const whole = samples['nvme-healthy'] as { nvme_smart_health_information_log: object };
    const log = { ...whole.nvme_smart_health_information_log, ...more };
    const answer = readSmart({ ...whole, nvme_smart_health_information_log: log });
    return judge(answer).map(({ level, sign }) => `${level} ${sign}`);
  };
  t.deepEqual(nvme({ percentage_used: 89 }), []);
  t.deepEqual(nvme({ percentage_used: 90 }), ['warning wear']);
  t.deepEqual(nvme({ percentage_used: 100 }), ['critical wear']);
  t.deepEqual(nvme({ available_spare: 11 }), []);
  t.deepEqual(nvme({ available_spare: 10 }), ['critical spare']);
  t.deepEqual(nvme({ media_errors: 1 }), ['warning media']);
  const bits = [1, 2, 4, 8, 16, 32].map((critical_warning) => nvme({ critical_warning }).join());
  t.deepEqual(bits, [
    'critical critical-warning',
    'warning critical-warning',
    'critical critical-warning',
    'critical critical-warning',
    'warning critical-warning',
    'warning critical-warning',
  ]);
});

test('a drive that tells nothing says why, and rubbish is no warning', (t) => {
  const why = (name: string): string | undefined => readSmart(samples[name]).silence?.why;
  t.is(why('usb-refused'), 'unsupported');
  t.is(why('denied'), 'not-permitted');
  t.is(why('standby'), 'asleep');
  t.is(why('virtual'), 'unsupported');
  for (const rubbish of [null, 7, 'x', [], {}, { smartctl: 3 }, { smartctl: { messages: 1 } }]) {
    const answer = readSmart(rubbish);
    t.is(answer.reading, undefined);
    t.truthy(answer.silence);
    t.deepEqual(judge(answer), []);
  }
  const odd = readSmart({
    ata_smart_attributes: { table: [null, { id: 5, raw: { value: '9' } }, { id: 197, raw: {} }] },
    temperature: { current: 'hot' },
  });
  t.deepEqual(judge(odd), []);
});

test('smartctl is asked with a time limit, and its absence is an answer', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'firn-smart-'));
  const path = process.env['PATH'];
  const install = (script: string): void => {
    writeFileSync(join(folder, 'smartctl'), `#!/bin/sh\n${script}\n`);
    chmodSync(join(folder, 'smartctl'), 0o755);
  };
  try {
    process.env['PATH'] = `${folder}:${path}`;
    writeFileSync(join(folder, 'answer'), JSON.stringify(samples['ata-dying']));
    // Its exit status says that the drive is failing; the text is what counts.
    install(`cat ${folder}/answer; exit 24`);
    t.is((await smartctl()('sdc')).reading?.serial, 'ZL2A0002');
    install('echo not json; exit 1');
    t.is((await smartctl()('sdc')).silence?.why, 'failed');
    install('exec sleep 30');
    const begun = performance.now();
    const late = await smartctl(200)('sdc');
    t.regex(late.silence?.text ?? '', /did not answer in 0\.2 s/);
    t.true(performance.now() - begun < 10_000, 'a drive that hangs is not waited for');
  } finally {
    process.env['PATH'] = path;
    rmSync(folder, { recursive: true });
  }
});

// ── Which drive it is ──

/** A system's tree in a scratch folder: files by path, links by `->`. */
function treeOf(entries: Record<string, string>, paths: Record<string, string>): DeviceTree {
  const root = mkdtempSync(join(tmpdir(), 'firn-sys-'));
  trees.push(root);
  for (const [path, content] of Object.entries(entries)) {
    const full = join(root, path);
    mkdirSync(dirname(full), { recursive: true });
    if (content.startsWith('->')) symlinkSync(join(root, content.slice(2)), full);
    else if (content === 'dir') mkdirSync(full, { recursive: true });
    else writeFileSync(full, content);
  }
  const numbers = (text: string): { major: number; minor: number } => {
    const [major = 0, minor = 0] = text.split(':').map(Number);
    return { major, minor };
  };
  return {
    root,
    numbersOf: async (path) => {
      const found = paths[path];
      if (found === undefined) throw new Error(`ENOENT ${path}`);
      return { ...numbers(found), real: path };
    },
    deviceNumbers: async (file) => (file === '/dev/sdf1' ? { major: 8, minor: 81 } : undefined),
  };
}

const trees: string[] = [];
test.after.always(() => {
  for (const tree of trees) rmSync(tree, { recursive: true, force: true });
});

const system = (): DeviceTree => {
  const entries: Record<string, string> = {
    'sys/devices/pci/block/sdc/sdc1/partition': '1',
    'sys/devices/pci/block/sdd/size': '1',
    'sys/devices/pci/block/sde/size': '1',
    'sys/devices/pci/block/sdf/sdf1/partition': '1',
    'sys/devices/pci/nvme0/nvme0n1/nvme0n1p2/partition': '2',
    // A logical device over a mirror of two drives.
    'sys/devices/virtual/block/dm-0/slaves/md0': '->sys/devices/virtual/block/md0',
    'sys/devices/virtual/block/md0/slaves/sdd': '->sys/devices/pci/block/sdd',
    'sys/devices/virtual/block/md0/slaves/sde': '->sys/devices/pci/block/sde',
    'sys/devices/virtual/block/loop3/loop/backing_file': '/srv/one/image\n',
    'sys/dev/block/8:33': '->sys/devices/pci/block/sdc/sdc1',
    'sys/dev/block/8:81': '->sys/devices/pci/block/sdf/sdf1',
    'sys/dev/block/259:2': '->sys/devices/pci/nvme0/nvme0n1/nvme0n1p2',
    'sys/dev/block/253:0': '->sys/devices/virtual/block/dm-0',
    'sys/dev/block/7:3': '->sys/devices/virtual/block/loop3',
    'proc/self/mountinfo':
      '20 1 259:2 / / rw - ext4 /dev/nvme0n1p2 rw\n' +
      '31 20 0:44 /a /srv/b\\040c rw,noatime shared:1 - btrfs /dev/sdf1 rw\n' +
      '32 20 0:50 / /srv/tmp rw - tmpfs tmpfs rw\n',
    'sys/class/enclosure/6:0:8:0/Slot 05/slot': '5\n',
    'sys/class/enclosure/6:0:8:0/Slot 05/locate': '0\n',
    'sys/class/enclosure/6:0:8:0/Slot 05/device/block/sdc': 'dir',
    'sys/class/enclosure/6:0:8:0/ArrayDevice06/device/block/sdd': 'dir',
  };
  return treeOf(entries, {
    '/srv/one': '8:33',
    '/srv/one/image': '8:33',
    '/srv/fast': '259:2',
    '/srv/mirror': '253:0',
    '/srv/loop': '7:3',
    '/srv/b c/hot': '0:44',
    '/srv/tmp': '0:50',
  });
};

test('a directory is followed to the whole drives below it: partition, mirror, loop, btrfs', async (t) => {
  const tree = system();
  t.deepEqual(await deviceOf(tree, '/srv/one'), { device: 'sdc1', drives: ['sdc'] });
  t.deepEqual(await deviceOf(tree, '/srv/fast'), { device: 'nvme0n1p2', drives: ['nvme0n1'] });
  t.deepEqual(await deviceOf(tree, '/srv/mirror'), { device: 'dm-0', drives: ['sdd', 'sde'] });
  t.deepEqual(await deviceOf(tree, '/srv/loop'), { device: 'loop3', drives: ['sdc'] });
  t.deepEqual(await deviceOf(tree, '/srv/b c/hot'), { device: 'sdf1', drives: ['sdf'] });
  t.is(await deviceOf(tree, '/srv/tmp'), undefined, 'no drive is named where there is none');
});

test('slots come from the enclosure, with the line that lights them', async (t) => {
  const tree = system();
  const slots = await slotsOf(tree);
  const locate = `echo 1 > ${tree.root}/sys/class/enclosure/6:0:8:0/Slot 05/locate`;
  t.deepEqual(slots.get('sdc'), { slot: '5 of enclosure 6:0:8:0', locate });
  t.deepEqual(slots.get('sdd'), { slot: 'ArrayDevice06 of enclosure 6:0:8:0' });
});

test('each drive is asked once a round; a warning is told once, and again when it grows', async (t) => {
  const answers: Record<string, string> = { sdc: 'ata-dying', sdd: 'denied', sde: 'denied' };
  const asked: string[] = [];
  const told: string[] = [];
  const notes: string[] = [];
  const tree = system();
  const watch = new HealthWatch({
    paths: ['/srv/one', '/srv/loop', '/srv/mirror', '/srv/tmp'],
    wall: () => 1000,
    warned: ({ name }, { sign }) => void told.push(`${name} ${sign}`),
    noted: (text) => void notes.push(text),
    tree,
    ask: (name) => {
      asked.push(name);
      return Promise.resolve(readSmart(samples[answers[name] as string]));
    },
  });
  await watch.look();
  t.deepEqual(asked, ['sdc', 'sdd', 'sde'], 'two directories on one drive are one question');
  t.is(told.length, 6);
  t.like(watch.report().byPath.get('/srv/one')?.drives[0], { name: 'sdc', readAt: 1000 });
  t.deepEqual(notes.length, 2, notes.join('\n'));
  t.regex(notes[0] as string, /^No health of sdd, sde: asking needs root/);
  await watch.look();
  t.is(told.length, 6, 'not told again');
  t.is(notes.length, 2);
  answers['sdc'] = 'standby';
  await watch.look();
  const [asleep] = watch.report().byPath.get('/srv/one')?.drives ?? [];
  t.is(asleep?.smart?.serial, 'ZL2A0002', 'asleep: what it said last holds');
  t.is(asleep?.warnings.length, 6);
  // Its directory is gone: whoever is sent to pull it still needs its serial number.
  tree.numbersOf = () => Promise.reject(new Error('ENOENT'));
  await watch.look();
  t.is(watch.report().byPath.get('/srv/one')?.drives[0]?.smart?.serial, 'ZL2A0002');
});

test('a directory that hangs holds up no round, and is not asked again while it hangs', async (t) => {
  const whole = system();
  const asked: string[] = [];
  const numbersOf: DeviceTree['numbersOf'] = (path) => {
    asked.push(path);
    return path === '/srv/one' ? new Promise(() => undefined) : whole.numbersOf(path);
  };
  const tree = { ...whole, numbersOf };
  const watch = new HealthWatch({
    paths: ['/srv/one', '/srv/mirror'],
    wall: () => 1000,
    warned: () => undefined,
    noted: () => undefined,
    tree,
    ask: () => Promise.resolve(readSmart(samples['ata-healthy'])),
    patienceMs: 50,
  });
  await watch.look();
  await watch.look();
  t.is(watch.report().byPath.get('/srv/mirror')?.drives.length, 2);
  t.is(asked.filter((path) => path === '/srv/one').length, 1);
});

// ── What people are told ──

const START = Date.parse('2026-11-24T06:00:00Z');

const healthOf = (name: string, sample: string, slot?: string): PathHealth => {
  const answer = readSmart(samples[sample]);
  return {
    device: `${name}1`,
    drives: [
      {
        name,
        ...(slot === undefined ? {} : { slot }),
        ...(answer.reading === undefined ? {} : { smart: answer.reading }),
        warnings: judge(answer),
        readAt: START,
      },
    ],
  };
};

interface Given {
  spares?: SpareInfo[];
  states?: Record<number, DriveInfo['state']>;
  health?: Record<number, PathHealth>;
  devices?: (position: number) => string;
  reports?: DriveInfo[][];
}

function optionsOf(given: Given = {}): AdminOptions & { store: MemoryMetadataStore } {
  const clock = { wall: () => START, now: () => START };
  const drives: DriveInfo[] = single(6).map((_, position) => ({
    tier: 'hot',
    group: 0,
    position,
    path: `/srv/${position}`,
    state: given.states?.[position] ?? 'up',
    errors: 0,
    note: '',
    capacityBytes: 4 * TB,
    freeBytes: 3 * TB,
    device: given.devices?.(position) ?? `8:${position}`,
  }));
  const byPath = new Map(
    Object.entries(given.health ?? {}).map(([position, one]) => [`/srv/${position}`, one]),
  );
  const health: DriveHealth = { report: () => ({ byPath, notes: [] }) };
  const tier = {
    kind: 'node-group',
    name: 'hot',
    drives: () => Promise.resolve(drives),
    spares: () => Promise.resolve(given.spares ?? []),
  };
  return {
    store: new MemoryMetadataStore(clock),
    clock,
    tiers: new Map([['hot', tier]]),
    codes: new Map([['hot', { k: 4, m: 2 }]]),
    health,
    durability: { afrPercent: 1.5, replaceHours: 24 },
    readiness: () => Promise.resolve([]),
    ...(given.reports === undefined
      ? {}
      : { driveReports: () => Promise.resolve(given.reports as DriveInfo[][]) }),
  } as unknown as AdminOptions & { store: MemoryMetadataStore };
}

const screen = {
  io: { stdout: { write: () => undefined, isTTY: false, colour: false, columns: 200 } },
  paint: paintFor({ write: () => undefined, isTTY: false, colour: false, columns: 200 }),
};

test('spares that stand ready or do not answer are told', async (t) => {
  const spares: SpareInfo[] = [
    { tier: 'hot', path: '/srv/a', state: 'ready' },
    { tier: 'hot', path: '/srv/b', state: 'missing' },
    { tier: 'hot', path: '/srv/3', state: 'taken' },
  ];
  const { notes } = await drivesAnswerOf(optionsOf({ spares }));
  t.is(notes.length, 2);
  t.is(notes[0], 'Spare of the tier hot: /srv/a stands ready.');
  t.regex(notes[1] ?? '', /\/srv\/b does not answer: mount it/);
});

test('a dying drive is named by slot and serial, and is called safe to pull only while it is', async (t) => {
  const health = { 3: healthOf('sdc', 'ata-dying', '5 of enclosure 6:0:8:0') };
  const [spared] = (await drivesAnswerOf(optionsOf({ health }))).groups;
  t.is(spared?.losable, 2);
  t.is(spared?.advice.length, 1);
  t.regex(
    spared?.advice[0] ?? '',
    /^Drive sdc \(slot 5 of enclosure 6:0:8:0, serial ZL2A0002\), drive 3 here, warns of its end: the drive says .*, 3 more signs\. Replace it; it is safe to pull now\. The group can lose 2 more\.$/,
  );
  const states = { 0: 'missing', 5: 'healing' } as const;
  const [bare] = (await drivesAnswerOf(optionsOf({ health, states }))).groups;
  t.like(bare, { whole: 4, losable: 0 });
  t.regex(
    bare?.advice[0] ?? '',
    /^Drive 0 is missing: .* at \/srv\/0; .* can lose no more\. Pull no/,
  );
  t.regex(bare?.advice[1] ?? '', /Do not pull it yet: hot group 0 could not spare it/);
});

test('a dying drive that more lies on than can be spared is never called safe to pull', async (t) => {
  const on = (positions: number[]): Record<number, PathHealth> =>
    Object.fromEntries(positions.map((one) => [one, healthOf('sda', 'ata-dying')]));
  const advice = async (options: AdminOptions): Promise<string> =>
    (await drivesAnswerOf(options)).groups.flatMap((group) => group.advice).join('\n');
  const all = await advice(optionsOf({ health: on([0, 1, 2, 3, 4, 5]) }));
  t.regex(all, /^All 6 drives lie on sda: losing it loses everything/);
  t.regex(all, /Do not pull it: hot group 0 has 6 drives on it and can lose 2\. Copy/);
  t.is(all.split('warns of its end').length, 2, 'said once');
  const three = await advice(optionsOf({ health: on([0, 1, 2]) }));
  t.regex(three, /^Drives 0, 1, 2 lie on sda and die together\./);
  t.regex(three, /Do not pull it: hot group 0 has 3/);
  t.regex(await advice(optionsOf({ health: on([0, 1]) })), /safe to pull now/);
  const lame = { states: { 5: 'healing' as const }, health: on([0, 1]) };
  t.regex(await advice(optionsOf(lame)), /Do not pull it yet/);
  const metadataPath = '/srv/0';
  t.regex(
    await advice({ ...optionsOf({ health: on([0]) }), metadataPath }),
    /Do not pull it while Firn runs: the data folder/,
  );
});

test('what one process found out about a drive is told, though the others have not noticed', async (t) => {
  const [known] = (await drivesAnswerOf(optionsOf())).drives;
  const report = { ...known, state: 'failing', note: 'a write failed: EROFS', errors: 3 };
  const answer = await drivesAnswerOf(optionsOf({ reports: [[report as unknown as DriveInfo]] }));
  t.like(answer.drives[0], { state: 'failing', note: 'a write failed: EROFS', errors: 3 });
  t.is(answer.groups[0]?.losable, 1);
});

test('drives read on a terminal as a person needs them', async (t) => {
  const health = {
    0: healthOf('nvme0n1', 'nvme-healthy'),
    3: healthOf('sdc', 'ata-dying', '5 of enclosure 6:0:8:0'),
  };
  const text = drivesText(await drivesAnswerOf(optionsOf({ health })), screen);
  const lines = text.split('\n');
  t.is(lines[0], 'hot group 0 · 4+2 · all 6 drives whole · can lose 2 more');
  t.regex(
    lines[1] ?? '',
    /DRIVE +STATE +DEVICE +SLOT +MODEL +SERIAL +TEMP +WEAR +MEDIA +USED +FREE/,
  );
  t.regex(lines[2] ?? '', /S64FNE0R500001 +41 °C +3 % +0 errors, 100 % spare +██░░░░░░ 931 GiB/);
  t.regex(lines[5] ?? '', /ZL2A0002 +61 °C +184 realloc, 8 pending/);
  t.regex(lines[8] ?? '', /^ {2}→ Drive sdc \(slot 5/);
  const bare = drivesText(await drivesAnswerOf(optionsOf()), screen);
  t.notRegex(bare, /TEMP|WEAR|MEDIA|SLOT/, 'no columns of what nobody knows');
});

test('warnings of drives are gauges that an alert can stand on', async (t) => {
  const samplesOf = await gauges(optionsOf({ health: { 3: healthOf('sdc', 'ata-dying') } }));
  const find = (name: string, labels: object): number | undefined =>
    samplesOf.find(
      (one) =>
        one.name === name &&
        Object.entries(labels).every(([label, value]) => one.labels?.[label] === value),
    )?.value;
  t.is(find('firn_drive_warnings', { drive: '3', level: 'critical' }), 5);
  t.is(find('firn_drive_warnings', { drive: '2', level: 'critical' }), 0);
  t.is(find('firn_drive_temperature_celsius', { drive: '3' }), 61);
  t.is(find('firn_scrub_age_seconds', { tier: 'hot' }), -1);
  t.true((find('firn_durability_nines', { tier: 'hot' }) ?? 0) > 7);
});

test('who is let in and who is sent away are metrics, of all api processes together', async (t) => {
  const one = { inFlight: 3, limit: 384, bytes: 10, bytesMax: 100 };
  const states = [
    { ...one, refused: { process: 1, bucket: 2, bytes: 0 } },
    { ...one, limit: 288, refused: { process: 4, bucket: 0, bytes: 0 } },
  ];
  const samples = await gauges({ ...optionsOf(), admissionStates: async () => states });
  const text = await renderMetrics([], samples);
  t.regex(text, /^firn_s3_in_flight 6$/m);
  t.regex(text, /^firn_s3_in_flight_limit 672$/m);
  t.regex(text, /^firn_s3_held_limit_bytes 200$/m);
  t.regex(text, /^# TYPE firn_s3_refused_total counter$/m);
  t.regex(text, /^firn_s3_refused_total\{bound="process"\} 5$/m);
  t.regex(text, /^firn_s3_refused_total\{bound="bucket"\} 2$/m);
});

test('each state that loses data has a metric, and each alert stands on metrics and sections there are', async (t) => {
  const options = {
    ...optionsOf(),
    journalState: () => ({ copies: 2, wanted: 3, healthy: true, logBytes: 7 }),
  };
  const { store, clock } = options;
  const heal = { format: 1, location: { length: 5 }, since: clock.now() - 7_200_000 };
  await store.insert('heals', 'a', { ...heal, attempts: 0 });
  const audit = {
    format: 1,
    cursor: '',
    startedAt: 0,
    updatedAt: 0,
    counts: { asked: 9, lost: 4 },
  };
  await store.insert('checkpoints', SWEEP_AUDIT, audit);
  const text = await renderMetrics([], await gauges(options));
  t.regex(text, /^firn_journal_copies 2$/m);
  t.regex(text, /^firn_journal_copies_wanted 3$/m);
  t.regex(text, /^firn_metadata_snapshot_age_seconds -1$/m);
  t.regex(text, /^firn_named_missing 4$/m);
  const healed = { ...(await healAnswerOf(options)), runs: [] };
  const [alarm] = healText(healed, screen, START).split('\n');
  t.is(
    alarm,
    '4 objects named bytes that are not there when the sweep looked, 1970-01-01 00:00 UTC: ' +
      'the log has their keys; deploy/OPERATIONS.md, "Something is lost"',
  );
  t.regex(text, /^firn_scrub_lost\{tier="hot"\} 0$/m);
  t.regex(text, /^firn_heals_oldest_seconds 7[12]\d\d/m);
  const root = join(import.meta.dirname, '..');
  const told = readFileSync(join(root, 'api/admin/queries/gauges.ts'), 'utf8');
  const guide = readFileSync(join(root, 'deploy/OPERATIONS.md'), 'utf8');
  const rules = parse(readFileSync(join(root, 'deploy/alerts.yml'), 'utf8')) as {
    groups: { rules: { alert: string; expr: string; annotations: { section: string } }[] }[];
  };
  const all = rules.groups.flatMap((one) => one.rules);
  t.true(all.length > 12);
  for (const { alert, expr, annotations } of all) {
    const names = expr.match(/firn_\w+/g) ?? [];
    t.true(names.length > 0, alert);
    for (const name of names) t.true(told.includes(`'${name}'`), `${alert}: no metric ${name}`);
    t.true(guide.includes(`\n## ${annotations.section}\n`), `${alert}: ${annotations.section}`);
  }
});

test('durability says the worst first: one device, then one copy of metadata', async (t) => {
  const onOne = await durabilityOf(optionsOf({ devices: () => '8:0' }));
  t.regex(onOne.statement, /^One device can take everything with it: all 6 drives of hot group 0/);
  t.is(onOne.nines?.toFixed(1), '1.8');
  t.is(onOne.raises[0]?.what, 'a device of its own for each drive of hot group 0');
  t.true((onOne.raises[0]?.nines ?? 0) > 7);
  const text = durabilityText(onOne, screen);
  t.true(text.startsWith('One device can take everything'));
  for (const part of ['It assumes', 'What caps it', 'What would raise it', 'Common causes']) {
    t.true(text.includes(part), part);
  }
  const partitions = Object.fromEntries(
    single(6).map((_, i) => [i, healthOf(i < 2 ? 'sda' : `sd${i}`, 'ata-healthy')]),
  );
  const [group] = (await durabilityOf(optionsOf({ health: partitions }))).tiers[0]?.groups ?? [];
  t.like(group, { devices: 5, devicesLosable: 1 }, 'two partitions of one drive die together');
  const copied = { metadataDrives: () => ['/srv/0', '/srv/1', '/srv/2'] };
  const together = await durabilityOf({ ...optionsOf({ health: partitions }), ...copied });
  t.like(together.metadata, { devices: 2 }, 'copies on partitions of one drive are one copy');
  const apart = await durabilityOf(optionsOf());
  t.regex(
    apart.statement,
    /^Objects are safer than what names them: metadata stands on 1 device, 1\.8/,
  );
  const journal = { metadataDrives: () => ['/srv/0', '/srv/1', '/srv/2'] };
  const whole = await durabilityOf({ ...optionsOf(), ...journal });
  t.like(whole.metadata, { devices: 3 });
  t.regex(whole.statement, /^[78]\.\d nines a year .* nothing survives losing it/);
  t.is(whole.nines?.toFixed(1), whole.tiers[0]?.nines.toFixed(1));
});

test('replaced drives make the answer worse, and the answer says what it was measured from', async (t) => {
  const options = optionsOf();
  const before = await durabilityOf(options);
  t.like(before.tiers[0], { driveYears: 0, drivesReplaced: 0 });
  t.regex(before.assumptions[0]?.source ?? '', /^durability\.afrPercent of the settings/);
  const clock = { wall: () => START };
  const core = { context: { store: options.store, clock } } as unknown as Core;
  const drives = { name: 'hot', drives: async () => sixDrives((i) => `d${i}`) };
  const worker = new DriveLogWorker(core, [drives as unknown as NodeGroupTier]);
  const turn = { lease: { check: async () => undefined }, report: () => undefined };
  const look = (): Promise<void> => worker.run(turn as unknown as Turn);
  await look();
  clock.wall = () => START + 2 * YEAR_MS;
  await look();
  drives.drives = async () => sixDrives((i) => (i < 3 ? `new ${i}` : `d${i}`));
  await look();
  const row = (await options.store.get<Checkpoint>('checkpoints', driveLogId('hot')))?.value;
  const log = row?.data as unknown as DriveLog | undefined;
  t.deepEqual(log?.gone, { years: 6, replaced: 3 });
  const after = await durabilityOf(options);
  t.like(after.tiers[0], { driveYears: 12, drivesReplaced: 3 });
  t.true((after.nines ?? 9) <= (before.nines ?? 0));
  t.true((after.tiers[0]?.nines ?? 9) < (before.tiers[0]?.nines ?? 0) - 1);
  t.regex(after.assumptions[0]?.source ?? '', /measured: 3 replaced in 12\.0 drive-years here/);
  // One host: said in the first line where no device is worse, and always among the caps.
  t.true(after.caps.some((cap) => cap.includes('no claim above 2.3 nines')));
  t.like(after, { hosts: 1 });
  t.is(after.hostNines.toFixed(1), '2.3');
});

const upkeep = async (
  store: MemoryMetadataStore,
  kind: 'heal' | 'scrub',
  state: UpkeepState,
  updatedAt = START,
): Promise<void> => {
  const counts = {};
  const value = { format: 1, cursor: '', startedAt: START, updatedAt, counts, data: { ...state } };
  await store.insert('checkpoints', upkeepRowId(kind, 'hot'), value);
};

const part = { group: 0, checked: 10, repaired: 2, lost: 0 };

test('the rebuild rate is measured from drives that were refilled, and said to be', async (t) => {
  const options = optionsOf();
  const hour = 3_600_000;
  const ended = [
    // 5 bytes moved for each byte of the drive: 100 MiB/s of it.
    { ...part, position: 1, startedAt: START - hour, endedAt: START, bytes: 5 * 3600 * 100 * MiB },
    // Too little to say anything.
    { ...part, position: 2, startedAt: START - 1000, endedAt: START, bytes: MiB },
  ];
  await upkeep(options.store, 'heal', { ended });
  const [group] = (await durabilityOf(options)).tiers[0]?.groups ?? [];
  t.like(group, { refillMeasured: true, refillBytesPerSecond: 100 * MiB });
  const [assumed] = (await durabilityOf(optionsOf())).tiers[0]?.groups ?? [];
  t.like(assumed, { refillMeasured: false, scrubAgeDays: null });
  t.true((assumed?.nines ?? 0) < (group?.nines ?? 0));
});

test('a spare that stands ready is counted, and said; a pass of the scrub shows where it is', async (t) => {
  const options = optionsOf();
  const [bare] = (await durabilityOf(options)).tiers;
  const code = { k: 4, m: 2, spares: 1, spareAfterHours: 0.25 };
  const spared = await durabilityOf({ ...options, codes: new Map([['hot', code]]) });
  t.true((spared.tiers[0]?.nines ?? 0) > (bare?.nines ?? 0) + 0.2);
  t.true(spared.assumptions.some(({ value }) => value === '15 min'));
  const counts = { bytes: 300, totalBytes: 1000 };
  const row = { format: 1, cursor: 'abc', startedAt: START, updatedAt: START, counts };
  await options.store.insert('checkpoints', 'scrub/hot', row);
  const answer = { ...(await healAnswerOf(options)), runs: [] };
  t.like(answer.scrub[0], { isRunning: false, pass: { share: 0.3 } });
  t.regex(
    healText(answer, screen, START),
    /hot {2}\[█+░+\] {2}30 % of the pass begun 2026-11-24 06:00/,
  );
});

test('heal status tells share, pace and end, and does not believe a row of a dead worker', async (t) => {
  const options = optionsOf({ states: { 2: 'healing', 4: 'missing' } });
  const running = {
    startedAt: START - 100_000,
    partStartedAt: START - 60_000,
    checked: 50,
    bytes: 600 * MiB,
    repaired: 7,
    lost: 0,
    place: { group: 0, position: 2, share: 0.25 },
  };
  await upkeep(options.store, 'heal', { running, ended: [] });
  const scrubbed = {
    ...part,
    startedAt: START - 9_000_000,
    endedAt: START - 7_200_000,
    bytes: MiB,
  };
  await upkeep(options.store, 'scrub', { ended: [scrubbed] });
  const answer = { ...(await healAnswerOf(options)), runs: [] };
  t.like(answer.drives[0], {
    position: 2,
    share: 0.25,
    bytesPerSecond: 10 * MiB,
    endsAt: '2026-11-24T06:03:00Z',
  });
  t.like(answer.drives[1], { position: 4, share: null });
  t.deepEqual(healText(answer, screen, START).split('\n').slice(0, 6), [
    'What is written now has full redundancy; older bytes wait for these drives:',
    '  hot group 0 drive 2  [██████░░░░░░░░░░░░░░░░░░]  25 %  600 MiB at 10.0 MiB/s  about 3 min 00 s left',
    '  hot group 0 drive 4 is missing  /srv/4',
    '',
    'Scrub',
    '  hot  read back whole 2 h 00 min ago (10 files, 1.00 MiB, 2 repaired, 0 lost)',
  ]);
  const later = { ...options, clock: { wall: () => START + 120_000, now: () => START } };
  t.is((await healAnswerOf(later)).drives[0]?.share, null);
});

test('a worker writes how far it is, and for each drive what its refill took', async (t) => {
  const clock = { at: START, wall: () => clock.at, now: () => clock.at };
  const store = new MemoryMetadataStore(clock);
  const progress = new UpkeepProgress(
    { context: { store, clock } } as unknown as Core,
    'heal',
    'hot',
  );
  const step = async (position: number, share: number, bytes: number): Promise<void> => {
    clock.at += 1000;
    const place = { group: 0, position, share };
    const counts = { checked: bytes, bytes, repaired: bytes, lost: [], suspects: [], done: false };
    await progress.stepped({ ...counts, place } as StepProgress);
  };
  await step(1, 0, 0);
  const row = async (): Promise<UpkeepState> =>
    (await store.get<Checkpoint>('checkpoints', upkeepRowId('heal', 'hot')))?.value
      .data as unknown as UpkeepState;
  t.like((await row()).running, { place: { group: 0, position: 1, share: 0 } });
  await step(1, 0.5, 100);
  await step(4, 0, 300);
  await step(4, 1, 350);
  await progress.ended(true);
  const { running, ended } = await row();
  t.is(running, undefined);
  t.deepEqual(
    ended.map(({ position, bytes, startedAt, endedAt }) => [position, bytes, endedAt - startedAt]),
    [
      [1, 100, 2000],
      [4, 250, 1000],
    ],
  );
});
