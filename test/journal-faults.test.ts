// The journal where drives are full, hang, can't be read or are the wrong ones. What a user would
// lose: deletes on a full store, every write behind one drive that hangs, and acknowledged changes
// when the drives that a start finds are those that had left.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { EmbeddedStore, rebuildMetadata } from '../appliance/metadata/embedded.ts';
import type { EmbeddedOptions } from '../appliance/metadata/embedded.ts';
import { keepJournal } from '../appliance/metadata/journal-upkeep.ts';
import { bringBackSnapshot, type FindSnapshot } from '../appliance/metadata/journal/bring-back.ts';
import { decodeFileHeader, encodeFileHeader } from '../appliance/metadata/journal/format.ts';
import type { FileHeader } from '../appliance/metadata/journal/format.ts';
import { Journal } from '../appliance/metadata/journal/journal.ts';
import { pathOf, type Manifest, type SealedFile } from '../appliance/metadata/journal/manifest.ts';
import type { JournalEvent, JournalOptions } from '../appliance/metadata/journal/ports.ts';
import { copyFile } from '../appliance/metadata/journal/snapshot.ts';
import { surveyDrives } from '../appliance/metadata/journal/survey.ts';
import type { Drive, DriveFile } from '../appliance/model/drive.ts';
import { FirnError } from '../appliance/model/errors.ts';
import { JournalLink } from '../appliance/process/journal-link.ts';
import { PatientDrive } from '../tiers/node-group/drive/patient-drive.ts';
import { LocalDrive } from '../tiers/node-group/drive/local-drive.ts';
import { Medium, Seeded, SimulatedDrive } from './contract/drive.ts';
import { MemoryIndex } from './memory-index.ts';

const STORE = '00112233445566778899aabbccddeeff';
const KiB = 1024;

class Rig {
  readonly media: Medium[];
  readonly index = new MemoryIndex();
  readonly events: JournalEvent[] = [];
  readonly options: JournalOptions;

  constructor(drives: number, more: Partial<JournalOptions> = {}) {
    this.media = Array.from({ length: drives }, () => new Medium());
    this.options = {
      store: STORE,
      drives: this.media.map((medium, i) => new SimulatedDrive(`drive-${i}`, medium)),
      copies: 3,
      copiesMin: 2,
      index: this.index,
      random: new Seeded(7),
      logBytes: 64 * KiB,
      notice: (event) => this.events.push(event),
      ...more,
    };
  }

  async put(journal: Journal, id: string, text: string): Promise<void> {
    await journal.settled(this.index.commit([['objects', id, Buffer.from(text)]]));
  }

  files(medium: number, kind: 'log' | 'snapshot'): string[] {
    const names = this.media[medium]?.names.keys() ?? [];
    return [...names].filter((name) => name.startsWith(`journal/${kind}-`));
  }
}

test('the log of a real drive has room ahead of its end that nobody else gets', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'firn-ahead-'));
  try {
    const drives = [0, 1].map((i) => new LocalDrive(join(directory, `drive-${i}`)));
    for (const drive of drives) await drive.makeDirectory('');
    const rig = new Rig(0, { drives, copies: 2, logBytes: 8 * KiB * KiB });
    const journal = await Journal.found(rig.options);
    for (let i = 0; i < 20; i++) await rig.put(journal, `key-${i}`, 'text');
    for (const drive of drives) {
      const logs = (await drive.list('journal')).filter((name) => name.startsWith('log-'));
      const { allocatedBytes } = await drive.stat(`journal/${logs[0]}`);
      t.true(allocatedBytes > 3 * KiB * KiB, `${allocatedBytes} bytes`);
    }
    await journal.close();
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test('drives without room for a next log go on in the old one, and use up no epoch', async (t) => {
  const rig = new Rig(3);
  const journal = await Journal.found(rig.options);
  const { epoch } = journal.status();
  for (let i = 0; i < 5; i++) await rig.put(journal, `key-${i}`, 'text');
  for (const medium of rig.media) medium.capacityBytes = medium.usedBytes + 40 * KiB;
  for (let i = 0; i < 20; i++) await rig.put(journal, `key-${i}`, 'deleted');
  t.true(journal.healthy);
  t.is(journal.status().epoch, epoch);
  for (const medium of rig.media) medium.capacityBytes = 1e12;
  for (let i = 0; i < 60; i++) await rig.put(journal, `more-${i}`, 'text');
  t.is(rig.files(0, 'log').length > 1, true, 'with room again it is rolled');
  await journal.close();
});

test('drives that stay full for days use up no epochs, and all goes on when there is room', async (t) => {
  const rig = new Rig(3);
  const journal = await Journal.found(rig.options);
  for (const medium of rig.media) medium.capacityBytes = medium.usedBytes;
  await t.throwsAsync(async () => {
    for (let i = 0; i < 40; i++) await rig.put(journal, `key-${i}`, 'text');
  });
  t.false(journal.healthy);
  for (let i = 0; i < 50; i++) await journal.repair().catch(() => false);
  for (const medium of rig.media) medium.capacityBytes = 1e12;
  t.true(await journal.repair());
  await rig.put(journal, 'after', 'text');
  t.true(journal.status().epoch < 10, `epoch ${journal.status().epoch}`);
  await journal.close();
});

test('a snapshot without room leaves nothing, and the journal as it was', async (t) => {
  const rig = new Rig(3);
  for (let i = 0; i < 200; i++) {
    rig.index.commit([['objects', `old-${i}`, Buffer.alloc(1000, i)]]);
  }
  const journal = await Journal.found(rig.options);
  await rig.put(journal, 'key', 'text');
  for (const medium of rig.media) medium.capacityBytes = medium.usedBytes + 100 * KiB;
  const before = rig.files(0, 'snapshot');
  for (let i = 0; i < 3; i++) t.false(await journal.snapshot().catch(() => false));
  t.deepEqual(rig.files(0, 'snapshot'), before);
  await rig.put(journal, 'key', 'again');
  t.is(journal.status().drives.length, 3);
  await journal.close();
});

test('one drive that hangs and one that is slow: commits go on when two have them', async (t) => {
  let waitMs = 10_000;
  const patience = (): Promise<void> =>
    new Promise((resolve) => void setTimeout(resolve, waitMs).unref());
  const rig = new Rig(3, { patience });
  const journal = await Journal.found(rig.options);
  await rig.put(journal, 'before', 'text');
  waitMs = 30;
  const [hanging, slow] = rig.options.drives.slice(1) as [SimulatedDrive, SimulatedDrive];
  const turn = slow.turn.bind(slow);
  slow.turn = async (...args) => {
    await new Promise((resolve) => setTimeout(resolve, 80));
    await turn(...args);
  };
  setTimeout(() => {
    slow.turn = turn;
    waitMs = 10_000;
  }, 70);
  hanging.medium.faults.push({ operation: 'write', code: 'HANG' });
  await rig.put(journal, 'during', 'text');
  t.is(journal.status().drives.length, 2);
  await journal.close();
});

test('a log whose end no copy lets be read is not taken for one that ends there', async (t) => {
  const rig = new Rig(3);
  const journal = await Journal.found(rig.options);
  await rig.put(journal, 'key', 'x'.repeat(300 * KiB));
  await journal.close();
  // Of each file that is opened the first read is answered, the rest of a log is not.
  for (const drive of rig.options.drives as SimulatedDrive[]) {
    const turn = drive.turn.bind(drive);
    let reads = 0;
    drive.turn = async (operation, path) => {
      if (operation === 'open') reads = 0;
      if (operation === 'read' && path.includes('/log-') && (reads += 1) > 1) {
        throw Object.assign(new Error('EIO: simulated'), { code: 'EIO' });
      }
      await turn(operation, path);
    };
  }
  const start = Journal.start({ ...rig.options, index: new MemoryIndex() }, { clean: false });
  t.is(((await t.throwsAsync(start)) as { code?: string }).code, 'Corrupt');
});

test('a drive that hangs in the middle of a read is away: a start, a merge and upkeep go on', async (t) => {
  const rig = new Rig(3);
  const journal = await Journal.found(rig.options);
  for (let i = 0; i < 20; i++) await rig.put(journal, `key-${i}`, 'x'.repeat(20 * KiB));
  t.true(await journal.snapshot());
  await rig.put(journal, 'last', 'text');
  await journal.close();
  const [first, ...others] = rig.options.drives as SimulatedDrive[];
  if (first === undefined) throw new Error('three drives');
  // Its manifest is read, and no file of the journal.
  for (const kind of ['log', 'snapshot']) {
    first.medium.faults.push({ operation: 'read', path: `journal/${kind}-`, code: 'HANG' });
  }
  const drives = [new PatientDrive(first, 20, true), ...others];
  const index = new MemoryIndex();
  const again = await Journal.start({ ...rig.options, drives, index }, { clean: false });
  t.deepEqual(Buffer.from(index.row('objects', 'last') ?? []).toString(), 'text');
  t.false(again.status().drives.includes(first.path), 'it is out: its end is not known');
  t.is(again.status().drives.length, 2);
  while (!(await again.scrub(64 * KiB)));
  await again.close();
});

test('a file that was given up is closed, once what hung in it has ended', async (t) => {
  const drive = new SimulatedDrive('drive', new Medium());
  const open = drive.open.bind(drive);
  const log: string[] = [];
  drive.open = async (path, options) => {
    const file = await open(path, options);
    const close = file.close.bind(file);
    file.close = async () => {
      log.push(`closed ${path}`);
      await close();
    };
    return file;
  };
  const patient = new PatientDrive(drive, 500, true);
  await patient.makeDirectory('journal');
  const [written, read] = await Promise.all(
    ['written', 'read'].map((path) => patient.open(path, { mode: 'create' })),
  );
  const { promise: hangs, resolve: answer } = Promise.withResolvers<void>();
  drive.turn = async (operation) => {
    await hangs;
    log.push(`${operation} ended`);
  };
  await t.throwsAsync(
    Promise.all([written?.write(Buffer.alloc(10), 0), read?.read(Buffer.alloc(1), 0)]),
  );
  for (const file of [written, read]) await t.throwsAsync(async () => file?.close());
  t.deepEqual(log, [], 'its number could be given to another file, and the write goes there');
  answer();
  await new Promise((resolve) => setTimeout(resolve, 20));
  t.deepEqual(log.slice(0, 2).toSorted(), ['read ended', 'write ended']);
  t.deepEqual(log.slice(2).toSorted(), ['closed read', 'closed written']);
});

/** Turns a bit of a file of the journal, as a platter does it. */
function rot(medium: Medium, path: string, at: number): void {
  const node = medium.names.get(path);
  if (node === undefined) throw new Error(`no ${path}`);
  node.now[at] = (node.now[at] as number) ^ 16;
}

/** A journal with sealed logs behind a snapshot, on three of four drives. */
async function sealedRig(): Promise<{ rig: Rig; journal: Journal; files: string[] }> {
  const rig = new Rig(4);
  const journal = await Journal.found(rig.options);
  for (let i = 0; i < 20; i++) await rig.put(journal, `key-${i}`, `${i}`.repeat(5 * KiB));
  if (!(await journal.snapshot())) throw new Error('no snapshot');
  for (let i = 0; i < 20; i++) await rig.put(journal, `more-${i}`, `${i}`.repeat(5 * KiB));
  // The newest log is open, and read at every start.
  const logs = rig.files(0, 'log').filter((_, i, all) => i < all.length - 1);
  return { rig, journal, files: [...rig.files(0, 'snapshot'), ...logs] };
}

test('rot in one copy of a sealed file is found, and written anew from the others', async (t) => {
  const { rig, journal, files } = await sealedRig();
  t.true(files.length > 2);
  const epoch = journal.status().epoch;
  for (const [i, path] of files.entries()) {
    const medium = rig.media[i % 3] as Medium;
    const whole = Buffer.from(medium.names.get(path)?.now ?? []);
    rot(medium, path, 4096 + 80);
    rig.events.length = 0;
    while (!(await journal.scrub(16 * KiB)));
    t.deepEqual(medium.names.get(path)?.now, whole, path);
    t.deepEqual(
      rig.events.map(({ kind }) => kind),
      ['mended'],
    );
  }
  // And one that is gone altogether.
  rig.media[1]?.names.delete(files[0] as string);
  while (!(await journal.scrub(16 * KiB)));
  t.true(rig.media[1]?.names.has(files[0] as string));
  t.is(journal.status().epoch, epoch, 'it took no epoch');
  t.is(journal.status().drives.length, 3);
  await journal.close();
});

test('a drive that takes no file anew leaves the journal', async (t) => {
  const { rig, journal, files } = await sealedRig();
  rot(rig.media[2] as Medium, files[0] as string, 4096 + 80);
  rig.media[2]?.faults.push({ operation: 'write', path: `${files[0]}.copy`, code: 'EIO' });
  while (!(await journal.scrub(64 * KiB)));
  t.deepEqual(journal.status().drives, ['drive-0', 'drive-1']);
  await rig.put(journal, 'after', 'text');
  await journal.close();
});

test('what rotted in every copy is said, and a new snapshot takes its place', async (t) => {
  const { rig, journal, files } = await sealedRig();
  for (const medium of rig.media.slice(0, 3)) rot(medium, files[0] as string, 4096 + 80);
  const scrubbed = async (): Promise<void> => {
    while (!(await journal.scrub(64 * KiB)));
  };
  t.is(((await t.throwsAsync(scrubbed())) as { code?: string }).code, 'Corrupt');
  t.true(await journal.snapshot());
  await scrubbed();
  await journal.close();
  const index = new MemoryIndex();
  const again = await Journal.start({ ...rig.options, index }, { clean: false });
  t.is(index.row('objects', 'key-7')?.length, 5 * KiB);
  await again.close();
});

/** What is opened of these paths from here on, and is not closed yet. */
function openFiles(drives: readonly Drive[], path: string): Set<DriveFile> {
  const open = new Set<DriveFile>();
  for (const drive of drives) {
    const opens = drive.open.bind(drive);
    drive.open = async (name, options) => {
      const file = await opens(name, options);
      if (!name.startsWith(path)) return file;
      open.add(file);
      const close = file.close.bind(file);
      file.close = async () => {
        await close();
        open.delete(file);
      };
      return file;
    };
  }
  return open;
}

test('a file that a snapshot replaced is let go by the scrub: its room is others’', async (t) => {
  const { rig, journal, files } = await sealedRig();
  const open = openFiles(rig.options.drives, files[0] as string);
  await journal.scrub(1);
  t.is(open.size, 1);
  t.true(await journal.snapshot());
  await journal.scrub(1);
  t.is(open.size, 0);
  await journal.close();
});

test('a file of a newer Firn among the copies is refused, and nothing stays open', async (t) => {
  const { rig, journal, files } = await sealedRig();
  const [path] = files as [string];
  const { drives } = rig.options;
  const { manifest } = await surveyDrives(drives, STORE);
  const sealed = manifest?.snapshot[0] as SealedFile;
  t.is(pathOf(sealed), path);
  const newer = rig.media[1]?.names.get(path)?.now as Buffer;
  const header = decodeFileHeader(newer.subarray(0, 4096), path) as FileHeader;
  newer.set(encodeFileHeader({ ...header, format: 99 }).bytes);
  const open = openFiles(drives, path);
  const copied = copyFile(drives[3] as Drive, sealed, { drives: drives.slice(0, 3), store: STORE });
  t.is(((await t.throwsAsync(copied)) as { code?: string }).code, 'FormatUnknown');
  t.is(open.size, 0);
  await journal.close();
});

test('a snapshot that is kept elsewhere comes back also where the first drive has no room', async (t) => {
  const { rig, journal, files } = await sealedRig();
  await journal.close();
  const [path] = files as [string];
  const whole = Buffer.from(rig.media[0]?.names.get(path)?.now ?? []);
  const drives = rig.options.drives.slice(0, 3);
  for (const medium of rig.media.slice(0, 3)) rot(medium, path, 4096 + 80);
  const fault = { path: `${path}.copy`, times: 1 } as const;
  rig.media[0]?.faults.push({ operation: 'write', code: 'ENOSPC', ...fault });
  rig.media[1]?.faults.push({ operation: 'open', code: 'EIO', ...fault });
  let open = 0;
  const find: FindSnapshot = async () => {
    open += 1;
    async function* body(): AsyncGenerator<Uint8Array> {
      yield await Promise.resolve(whole);
    }
    return { from: 'cold', body: body(), close: async () => void (open -= 1) };
  };
  const { manifest } = await surveyDrives(drives, STORE);
  t.is(await bringBackSnapshot(manifest as Manifest, drives, find), 'cold');
  t.deepEqual(rig.media[2]?.names.get(path)?.now, whole);
  t.is(open, 0, 'the tier is closed, also where the body was not begun');
});

test('what rotted for good is told, whatever becomes of the snapshot in its place', async (t) => {
  const told: string[] = [];
  const all = Promise.withResolvers<void>();
  let snapshots = 0;
  let fault = 'Corrupt';
  const journal = {
    status: () => ({ logBytes: 0, snapshot: { sizeBytes: 0 } }),
    repair: async () => false,
    scrub: () => Promise.reject(new FirnError(fault as 'Corrupt', `scrub ${fault}`)),
    snapshot() {
      snapshots += 1;
      fault = 'ServiceUnavailable';
      return Promise.reject(new Error('no room'));
    },
    interrupt: () => undefined,
  } as unknown as Journal;
  const stop = keepJournal({
    journal,
    snapshotMs: 5,
    now: () => 0,
    failed(_, error) {
      told.push((error as Error).message);
      if (told.length === 4) all.resolve();
    },
  });
  await all.promise;
  await stop();
  t.deepEqual(told.slice(0, 3), ['no room', 'scrub Corrupt', 'scrub ServiceUnavailable']);
  t.is(snapshots, 1, 'no snapshot mends what is away for a moment');
});

test('a child whose primary is gone waits for nothing', async (t) => {
  const link = new JournalLink(() => undefined);
  const waits = link.settled(1);
  link.end('gone');
  await t.throwsAsync(waits);
  const late = await t.throwsAsync(link.settled(2));
  t.is((late as { code?: string }).code, 'MetadataUnavailable');
});

test('while the journal takes nothing, nothing is changed that would be seen and yet refused', async (t) => {
  const link = new JournalLink(() => undefined);
  t.is(link.refusal(), undefined);
  const waits = link.settled(1);
  link.failed('full');
  await t.throwsAsync(waits);
  t.is(link.refusal()?.code, 'MetadataUnavailable');
  link.heard(0);
  t.is(link.refusal(), undefined, 'heard of again, it takes changes again');
});

/** The index is lost: what the drives tell. */
async function rebuilt(rig: Rig, drives = rig.options.drives): Promise<MemoryIndex> {
  const index = new MemoryIndex();
  const journal = await Journal.start({ ...rig.options, drives, index }, { clean: false });
  await journal.close();
  return index;
}

for (const failing of [2, 3]) {
  test(`of three drives ${failing} do not take the manifest of a snapshot: nothing is announced`, async (t) => {
    const rig = new Rig(3);
    const journal = await Journal.found(rig.options);
    await rig.put(journal, 'before', 'text');
    const told: string[] = [];
    const put = (id: string): Promise<unknown> =>
      rig.put(journal, id, 'text').then(
        () => told.push(id),
        () => false,
      );
    const path = 'journal/manifest';
    for (const { faults } of rig.media.slice(0, failing)) {
      faults.push({ operation: 'write', code: 'ENOSPC', path, times: 1 });
    }
    let ended = false;
    const snapshot = journal.snapshot().finally(() => (ended = true));
    snapshot.catch(() => undefined);
    // Some wait behind it, some come later.
    const during: Promise<unknown>[] = [];
    for (let i = 0; !ended; i++) {
      during.push(put(`during-${i}`));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await t.throwsAsync(snapshot);
    await Promise.all(during);
    t.false(journal.healthy);
    await put('after');
    t.false(told.includes('after'));
    t.true(await journal.repair());
    await put('again');
    t.true(told.includes('again'));
    t.is(journal.status().drives.length, 3);
    await journal.close();
    const index = await rebuilt(rig);
    for (const id of told) t.truthy(index.row('objects', id), id);
  });
}

test('a snapshot that is due while too few drives take the journal removes nothing', async (t) => {
  const rig = new Rig(3);
  const journal = await Journal.found(rig.options);
  for (const { faults } of rig.media.slice(0, 2)) {
    faults.push({ operation: 'write', code: 'EIO', path: 'journal/manifest', times: 1 });
  }
  let last = 0;
  await t.throwsAsync(async () => {
    for (let i = 0; i < 40; i++) {
      await rig.put(journal, `key-${i}`, 'text');
      last = i;
    }
  });
  await journal.snapshot().catch(() => false);
  await journal.close();
  t.truthy((await rebuilt(rig)).row('objects', `key-${last}`));
});

test('what is committed while a journal is founded is in it', async (t) => {
  class BusyIndex extends MemoryIndex {
    asked = 0;
    override async *rows(from: Uint8Array): ReturnType<MemoryIndex['rows']> {
      if ((this.asked += 1) === 3) this.commit([['objects', 'key-10', Buffer.from('changed')]]);
      yield* super.rows(from);
    }
  }
  const index = new BusyIndex();
  for (let i = 10; i < 50; i++) index.commit([['objects', `key-${i}`, Buffer.from('first')]]);
  const rig = new Rig(3, { index, stretchBytes: 1 });
  const journal = await Journal.found(rig.options);
  await journal.settled(index.state().number);
  await journal.close();
  const record = (await rebuilt(rig)).row('objects', 'key-10') ?? [];
  t.is(Buffer.from(record).toString(), 'changed');
});

test('a drive whose log power tore while it was away is given that log anew when it joins', async (t) => {
  const rig = new Rig(3);
  const { drives, index } = rig.options;
  const journal = await Journal.found(rig.options);
  await rig.put(journal, 'before', 'text');
  await rig.put(journal, 'torn', 'text');
  await journal.close();
  const [medium] = rig.media as [Medium];
  const log = medium.names.get(rig.files(0, 'log').at(-1) as string);
  t.true(log?.now.includes('torn'));
  log?.now.fill(0, 8 * KiB, 12 * KiB);
  // It is away when the others go on.
  const options = { ...rig.options, drives: drives.slice(1) };
  await (await Journal.start(options, { clean: false })).close();
  const again = await Journal.start({ ...rig.options, index }, { clean: false });
  for (let i = 0; i < 4 && again.status().drives.length < 3; i++) await again.repair();
  t.is(again.status().drives.length, 3);
  await again.close();
  const alone = [medium, new Medium()].map((one, i) => new SimulatedDrive(`alone-${i}`, one));
  t.truthy((await rebuilt(rig, alone)).row('objects', 'torn'));
});

test('a snapshot ends soon when Firn stops, and leaves nothing', async (t) => {
  const rig = new Rig(3);
  for (let i = 0; i < 400; i++) rig.index.commit([['objects', `key-${i}`, Buffer.alloc(100, i)]]);
  const journal = await Journal.found(rig.options);
  const before = rig.files(0, 'snapshot');
  const snapshot = journal.snapshot();
  journal.interrupt();
  await t.throwsAsync(snapshot);
  t.deepEqual(rig.files(0, 'snapshot'), before);
  await rig.put(journal, 'key', 'text');
  await journal.close();
});

for (const torn of [false, true]) {
  const index = torn ? 'torn metadata' : 'sound metadata';
  test(`${index} over drives that left the journal before: refused, until the others are back`, async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'firn-older-'));
    const media = Array.from({ length: 4 }, () => new Medium());
    const drives = media.map((medium, i) => new SimulatedDrive(`drive-${i}`, medium));
    const options: EmbeddedOptions = {
      dataDirectory: directory,
      clock: { now: () => 1, wall: () => 1 } as EmbeddedOptions['clock'],
      random: new Seeded(3),
      drives,
      copies: 3,
      storesOnDrives: async () => Promise.resolve([STORE]),
      isUsable: async () => Promise.resolve(true),
    };
    try {
      const first = await EmbeddedStore.open({ ...options, storesOnDrives: async () => [] });
      await first.store.insert('settings', 'store', { format: 1, id: STORE });
      await first.found(STORE);
      const left = media[2] as Medium;
      left.faults.push({ operation: 'write', code: 'EIO' });
      t.is((await first.store.insert('runs', 'told', { format: 1 })).outcome, 'done');
      await first.close();
      left.faults = [];
      if (torn) writeFileSync(join(directory, 'metadata', 'unsynced'), 'another start');
      const only = { ...options, drives: drives.slice(2) };
      const error = await t.throwsAsync(EmbeddedStore.open({ ...only }));
      t.is((error as { code?: string }).code, 'MetadataUnavailable', String(error));
      const again = await EmbeddedStore.open(options);
      t.truthy(await again.store.get('runs', 'told'), 'what was told is there');
      await again.close();
      t.true((await rebuildMetadata(options)).epoch > 2);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
}
