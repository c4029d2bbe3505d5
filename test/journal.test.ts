// The journal: what was announced is on m+1 drives and survives whatever happens to the index, to
// all drives but one and to the power; what was deleted does not come back with a drive that was
// away. On simulated drives; the last tests run it on LMDB.

import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import {
  directoryState,
  markSynced,
  markUnsynced,
} from '../appliance/metadata/lmdb/directory-state.ts';
import { loadConfig } from '../config.ts';
import { embeddedOf } from '../embedded.ts';
import { EngineClock } from '../appliance/process/clock.ts';
import type { Own } from '../wiring.ts';
import { EmbeddedStore, rebuildMetadata } from '../appliance/metadata/embedded.ts';
import type { EmbeddedOptions } from '../appliance/metadata/embedded.ts';
import type { FindSnapshot } from '../appliance/metadata/journal/bring-back.ts';
import { placeOf } from '../appliance/metadata/journal/format.ts';
import { Journal } from '../appliance/metadata/journal/journal.ts';
import { readManifest, type Manifest } from '../appliance/metadata/journal/manifest.ts';
import type { JournalEvent, JournalOptions } from '../appliance/metadata/journal/ports.ts';
import { keepSnapshot, keptSnapshots } from '../appliance/engine/upkeep/keep-snapshot.ts';
import { sweep } from '../appliance/engine/upkeep/sweep.ts';
import { house } from './engine-harness.ts';
import { buildColdTier } from '../tiers/cold/build.ts';
import { LocalDrive } from '../tiers/node-group/drive/local-drive.ts';
import { holdExclusively } from '../appliance/process/exclusive.ts';
import { Medium, Seeded, SimulatedDrive } from './contract/drive.ts';
import { MemoryIndex, type IndexImage } from './memory-index.ts';

const STORE = '00112233445566778899aabbccddeeff';

interface Rig {
  media: Medium[];
  index: MemoryIndex;
  events: JournalEvent[];
  random: Seeded;
}

const newRig = (drives: number, seed = 1): Rig => ({
  media: Array.from({ length: drives }, () => new Medium()),
  index: new MemoryIndex(),
  events: [],
  random: new Seeded(seed),
});

const optionsOf = (rig: Rig, more: Partial<JournalOptions> = {}): JournalOptions => ({
  store: STORE,
  drives: rig.media.map((medium, i) => new SimulatedDrive(`drive-${i}`, medium)),
  copies: 3,
  copiesMin: 2,
  index: rig.index,
  random: rig.random,
  logBytes: 64 * 1024,
  stretchBytes: 12 * 1024,
  notice: (event) => rig.events.push(event),
  ...more,
});

const recordOf = (text: string): Uint8Array => Buffer.from(text);

/** Commits a change and waits until it is announced. */
async function put(
  rig: Rig,
  journal: Journal,
  id: string,
  text: string | undefined,
): Promise<void> {
  const record = text === undefined ? undefined : recordOf(text);
  await journal.settled(rig.index.commit([['objects', id, record]]));
}

/** The index is lost: an empty one, with what the drives tell. */
async function rebuilt(rig: Rig): Promise<MemoryIndex> {
  const index = new MemoryIndex();
  const journal = await Journal.start({ ...optionsOf(rig), index }, { clean: false });
  await journal.close();
  return index;
}

function compare(
  t: ExecutionContext,
  index: MemoryIndex,
  told: Map<string, string | undefined>,
): void {
  for (const [id, text] of told) {
    const record = index.row('objects', id);
    t.is(record === undefined ? undefined : Buffer.from(record).toString(), text, id);
  }
}

test('what was announced is there after the index is lost, and what was removed is not', async (t) => {
  const rig = newRig(6);
  rig.index.commit([['settings', 'store', recordOf('made before the journal')]]);
  const journal = await Journal.found(optionsOf(rig));
  const told = new Map<string, string | undefined>();
  for (let i = 0; i < 300; i++) {
    const id = `key-${rig.random.below(50)}`;
    const text = rig.random.below(4) === 0 ? undefined : `text ${i} ${'x'.repeat(i * 7)}`;
    await put(rig, journal, id, text);
    told.set(id, text);
    if (i === 150) t.true(await journal.snapshot());
  }
  t.true(journal.status().logBytes > 64 * 1024, 'logs were sealed');
  await journal.close();
  const index = await rebuilt(rig);
  compare(t, index, told);
  t.is(Buffer.from(index.row('settings', 'store') ?? []).toString(), 'made before the journal');
});

test('one copy of three is enough, whichever it is', async (t) => {
  for (const kept of [0, 1, 2]) {
    const rig = newRig(3);
    const journal = await Journal.found(optionsOf(rig));
    for (let i = 0; i < 40; i++) await put(rig, journal, `key-${i}`, `text ${i}`);
    await journal.close();
    const media = rig.media.map((medium, i) => (i === kept ? medium : new Medium()));
    const index = await rebuilt({ ...rig, media });
    compare(
      t,
      index,
      new Map([
        ['key-0', 'text 0'],
        ['key-39', 'text 39'],
      ]),
    );
  }
});

test('a drive that was away does not bring back what was removed meanwhile', async (t) => {
  const rig = newRig(4);
  const journal = await Journal.found(optionsOf(rig));
  for (let i = 0; i < 20; i++) await put(rig, journal, `key-${i}`, 'old');
  const [gone, ...others] = rig.media as [Medium, ...Medium[]];
  gone.faults.push({ operation: 'write', code: 'EIO' });
  for (let i = 0; i < 10; i++) await put(rig, journal, `key-${i}`, undefined);
  t.true(rig.events.some(({ kind }) => kind === 'drive-left'));
  t.is(journal.status().drives.length, 2);
  t.true(await journal.repair(), 'the fourth drive joins');
  t.is(journal.status().drives.length, 3);
  await put(rig, journal, 'key-10', undefined);
  await journal.close();
  // All that knew better are gone but one; the returned one has a longer log of an older epoch.
  gone.faults = [];
  const media = [gone, new Medium(), new Medium(), others[2] as Medium];
  const index = await rebuilt({ ...rig, media });
  for (let i = 0; i <= 10; i++) t.is(index.row('objects', `key-${i}`), undefined);
  t.truthy(index.row('objects', 'key-11'));
});

test('with too few drives nothing is announced, and with them back all of it is', async (t) => {
  const rig = newRig(3);
  const journal = await Journal.found(optionsOf(rig));
  await put(rig, journal, 'before', 'text');
  for (const medium of rig.media.slice(0, 2))
    medium.faults.push({ operation: 'write', code: 'EIO' });
  const error = await t.throwsAsync(put(rig, journal, 'during', 'text'));
  t.is((error as { code?: string }).code, 'MetadataUnavailable');
  t.false(journal.healthy);
  t.false(await journal.repair().catch(() => false));
  for (const medium of rig.media) medium.faults = [];
  t.true(await journal.repair());
  await put(rig, journal, 'after', 'text');
  await journal.close();
  compare(
    t,
    await rebuilt(rig),
    new Map([
      ['before', 'text'],
      ['during', 'text'],
      ['after', 'text'],
    ]),
  );
});

test('power lost at any moment, with any copies torn: nothing announced is lost', async (t) => {
  for (let seed = 1; seed <= 60; seed++) {
    const rig = newRig(4, seed);
    let image: IndexImage = rig.index.image();
    let journal = await Journal.found(optionsOf(rig));
    const told = new Map<string, string | undefined>();
    for (let life = 0; life < 4; life++) {
      const stop = 1 + rig.random.below(60);
      let writes = 0;
      for (const medium of rig.media) {
        medium.wrote = () => {
          writes += 1;
          if (writes >= stop) for (const one of rig.media) one.powered = false;
        };
      }
      for (let i = 0; rig.media[0]?.powered === true && i < 60; i++) {
        const id = `key-${rig.random.below(12)}`;
        const text = rig.random.below(3) === 0 ? undefined : `life ${life}, ${i}`;
        const record = text === undefined ? undefined : recordOf(text);
        const number = rig.index.commit([['objects', id, record]]);
        if (rig.random.below(6) === 0) image = rig.index.image();
        if (rig.random.below(15) === 0) void journal.snapshot().catch(() => undefined);
        const off = new Promise<false>((resolve) => {
          const look = (): void => {
            if (rig.media[0]?.powered === true) setImmediate(look);
            else resolve(false);
          };
          look();
        });
        const done = journal.settled(number).then(() => true as const);
        if (await Promise.race([done, off])) told.set(id, text);
        else told.delete(id);
      }
      // What still ran in that life ends here, at its next step.
      for (const medium of rig.media) medium.powered = false;
      for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
      for (const medium of rig.media) {
        medium.wrote = () => undefined;
        medium.crash(rig.random);
      }
      // The index reopens at an earlier commit, or is gone.
      rig.index = rig.random.below(3) === 0 ? new MemoryIndex() : new MemoryIndex(image);
      const options = optionsOf(rig);
      if ((await Journal.standing(options)) === 'other') {
        rig.index = new MemoryIndex();
        options.index = rig.index;
      }
      journal = await Journal.start(options, { clean: false }).catch((error: unknown) => {
        t.log(`seed ${seed}, life ${life}`, rig.events.slice(-6), error);
        throw error;
      });
      image = rig.index.image();
      for (const [id, text] of told) {
        const record = rig.index.row('objects', id);
        const found = record === undefined ? undefined : Buffer.from(record).toString();
        if (found !== text) t.fail(`seed ${seed}, life ${life}: ${id} is ${found}, told ${text}`);
      }
    }
    await journal.close();
  }
  t.pass();
});

const journalFiles = (medium: Medium, kind: string): string[] =>
  [...medium.names.keys()].filter((path) => path.startsWith(`journal/${kind}-`));

/** Flips a bit of what the medium holds. */
function rot(medium: Medium, path: string, position: number): void {
  const node = medium.names.get(path);
  if (node === undefined) throw new Error(`${path} is not there`);
  for (const bytes of [node.now, node.durable]) {
    if (position < bytes.length) bytes[position] = (bytes[position] as number) ^ 0x10;
  }
}

test('a bit that rots in one copy costs nothing, each copy another one neither', async (t) => {
  const rig = newRig(3);
  const journal = await Journal.found(optionsOf(rig));
  const told = new Map<string, string | undefined>();
  for (let i = 0; i < 12; i++) {
    await put(rig, journal, `key-${i}`, `text ${i}`);
    told.set(`key-${i}`, `text ${i}`);
  }
  await journal.close();
  // Batches are one block each: in each copy another one of the middle.
  for (const [i, medium] of rig.media.entries()) {
    rot(medium, journalFiles(medium, 'log').at(-1) as string, 4096 * (3 + i) + 70);
  }
  compare(t, await rebuilt(rig), told);
});

test('the same bit rotten in every copy is Corrupt, and never taken for the end', async (t) => {
  const rig = newRig(3);
  const journal = await Journal.found(optionsOf(rig));
  for (let i = 0; i < 12; i++) await put(rig, journal, `key-${i}`, `text ${i}`);
  await journal.close();
  for (const medium of rig.media) {
    rot(medium, journalFiles(medium, 'log').at(-1) as string, 4096 * 5 + 70);
  }
  const error = await t.throwsAsync(rebuilt(rig));
  t.is((error as { code?: string }).code, 'Corrupt');
});

test('a sync that failed is never tried again on the same file', async (t) => {
  const rig = newRig(4);
  const journal = await Journal.found(optionsOf(rig));
  const [first] = rig.media as [Medium];
  const log = journalFiles(first, 'log').at(-1) as string;
  await put(rig, journal, 'before', 'text');
  first.faults.push({ operation: 'write', code: 'EIO', path: log, times: 1 });
  await put(rig, journal, 'after', 'text');
  const before = first.names.get(log)?.now.toString('latin1');
  for (let i = 0; i < 5; i++) await put(rig, journal, `more-${i}`, 'text');
  t.is(first.names.get(log)?.now.toString('latin1'), before);
  t.is(first.syncsAfterError, 0);
  await journal.close();
  compare(
    t,
    await rebuilt(rig),
    new Map([
      ['before', 'text'],
      ['after', 'text'],
      ['more-4', 'text'],
    ]),
  );
});

/** Is asked for rows so often before a snapshot is given up: once a file of it. */
class StoppingIndex extends MemoryIndex {
  left = Infinity;
  stop = (): void => undefined;

  override async *rows(from: Uint8Array): ReturnType<MemoryIndex['rows']> {
    this.left -= 1;
    if (this.left < 0) this.stop();
    yield* super.rows(from);
  }
}

test('a snapshot that is given up between any two of its files: no change is lost', async (t) => {
  for (let made = 0; made < 8; made++) {
    const index = new StoppingIndex();
    const rig = { ...newRig(4), index };
    const told = new Map<string, string | undefined>();
    for (let i = 10; i < 50; i++) {
      index.commit([['objects', `key-${i}`, recordOf(`first ${i}`)]]);
      told.set(`key-${i}`, `first ${i}`);
    }
    const journal = await Journal.found(optionsOf(rig, { stretchBytes: 1 }));
    const change = async (life: string): Promise<void> => {
      for (let i = 10; i < 50; i += 1 + rig.random.below(4)) {
        const text = rig.random.below(3) === 0 ? undefined : `${life} ${i}`;
        await put(rig, journal, `key-${i}`, text);
        told.set(`key-${i}`, text);
      }
    };
    await change('before');
    index.left = made;
    index.stop = () => journal.interrupt();
    const ended = await journal.snapshot().catch(() => false);
    index.left = Infinity;
    const drive = new SimulatedDrive('drive', rig.media[0] as Medium);
    const { snapshot } = (await readManifest(drive)) as Manifest;
    t.is(new Set(snapshot.map(({ number }) => number)).size, ended || made === 0 ? 1 : 2);
    t.is(snapshot.length, 6, 'five of eight rows, and one behind them');
    await change('after');
    // A drive that joins now is given all of it, and alone brings it back.
    rig.media[0]?.faults.push({ operation: 'write', code: 'EIO', path: 'journal', times: 1 });
    await put(rig, journal, 'last', 'text');
    told.set('last', 'text');
    t.true(await journal.repair());
    await journal.close();
    rig.media = [rig.media[3] as Medium, new Medium()];
    compare(t, await rebuilt(rig), told);
  }
});

test('an index gives its rows from any place on, in the order of places', async (t) => {
  const { options, end } = embeddedRig();
  try {
    const { store, close } = await EmbeddedStore.open(options).then((embedded) => ({
      store: embedded.store,
      close: () => embedded.close(),
    }));
    for (const [table, id] of [
      ['usage', 'a'],
      ['contents', 'x'],
      ['objects', 'b'],
      ['objects', 'b/ü'],
      ['objects', 'bb'],
      ['accounts', 'z'],
    ] as const) {
      await store.insert(table, id, { format: 1 });
    }
    const placesFrom = async (from: Uint8Array): Promise<string[]> => {
      const places: string[] = [];
      for await (const page of store.index.rows(from)) {
        if (!('epoch' in page)) places.push(...page.map((row) => placeOf(row).toString('hex')));
      }
      return places;
    };
    const all = await placesFrom(Buffer.alloc(0));
    t.deepEqual(all, all.toSorted());
    t.is(all.length, 6);
    for (const [i, place] of all.entries()) {
      t.deepEqual(await placesFrom(Buffer.from(place, 'hex')), all.slice(i));
      t.deepEqual(await placesFrom(Buffer.from(`${place}00`, 'hex')), all.slice(i + 1));
    }
    await close();
  } finally {
    end();
  }
});

test('a second writer over the same data directory does not get the lock', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'firn-lock-'));
  const file = join(directory, 'primary.lock');
  const held = holdExclusively(file);
  t.truthy(held);
  t.is(holdExclusively(file), undefined);
  held?.release();
  const again = holdExclusively(file);
  t.truthy(again);
  again?.release();
  rmSync(directory, { recursive: true });
});

/**
 * Copies as a Firn wrote them: format 1 of snapshots; 2, whose rows are compressed; and a snapshot of
 * several files, of which one is newer than the others (format 2 of manifests).
 */
for (const format of ['journal', 'journal-2', 'journal-3']) {
  test(`a copy that an earlier Firn wrote is read, and given on: golden ${format}`, async (t) => {
    const golden = join(import.meta.dirname, 'golden', format);
    const files = readdirSync(golden).filter((name) => name !== 'manifest');
    const rig = newRig(2, 99);
    for (const medium of rig.media) {
      const drive = new SimulatedDrive('golden', medium);
      await drive.makeDirectory('journal');
      for (const name of ['manifest', ...files]) {
        const place = name === 'manifest' ? 'manifest.json' : name;
        const file = await drive.open(`journal/${place}`, { mode: 'create', durable: true });
        await file.write(readFileSync(join(golden, name)), 0);
      }
      await drive.syncDirectory('journal');
    }
    const index = await rebuilt(rig);
    compare(
      t,
      index,
      new Map([
        ['a/ü', 'old'],
        ['b', undefined],
        ['c', 'new'],
      ]),
    );
    t.is(index.state().number, 5);
    const third = new Medium();
    const joined = { ...rig, index, media: [...rig.media, third] };
    const journal = await Journal.start(optionsOf(joined), { clean: true });
    t.true(await journal.repair());
    const [line = ''] = readFileSync(join(golden, 'manifest'), 'utf8').split('\n');
    const { snapshot } = JSON.parse(line) as Pick<Manifest, 'snapshot'>;
    const bytes: Buffer[] = [];
    for (const { file } of [snapshot].flat()) {
      bytes.push(readFileSync(join(golden, `snapshot-${file}`)));
      t.deepEqual(third.names.get(`journal/snapshot-${file}`)?.now, bytes.at(-1));
    }
    const given: Uint8Array[] = [];
    for await (const piece of journal.snapshotBytes()) given.push(piece);
    t.deepEqual(Buffer.concat(given), Buffer.concat(bytes));
    await journal.close();
  });
}

const embeddedRig = (): { options: EmbeddedOptions; metadata: string; end: () => void } => {
  const directory = mkdtempSync(join(tmpdir(), 'firn-journal-'));
  const drives = Array.from({ length: 3 }, (_, i) => {
    const path = join(directory, `drive-${i}`);
    mkdirSync(path);
    return new LocalDrive(path);
  });
  const options: EmbeddedOptions = {
    dataDirectory: directory,
    clock: { wall: () => Date.now(), now: () => Date.now() },
    random: new Seeded(7),
    drives,
    copies: 3,
    storesOnDrives: async () => Promise.resolve([]),
    isUsable: async () => Promise.resolve(true),
  };
  const end = (): void => rmSync(directory, { recursive: true, force: true });
  return { options, metadata: join(directory, 'metadata'), end };
};

test('LMDB that was not synced when the power failed is thrown away and made anew', async (t) => {
  const { options, metadata, end } = embeddedRig();
  try {
    const first = await EmbeddedStore.open(options);
    await first.store.insert('settings', 'store', { format: 1, id: STORE });
    await first.found(STORE);
    t.is((await first.store.insert('runs', 'a', { format: 1, n: 1 })).outcome, 'done');
    const row = await first.store.get('runs', 'a');
    t.is((await first.store.insert('runs', 'b', { format: 1, n: 2 })).outcome, 'done');
    await first.store.remove('runs', 'b', (await first.store.get('runs', 'b'))?.revision ?? '');
    await first.close();
    t.is(directoryState(metadata), 'synced');
    markUnsynced(metadata);
    t.is(directoryState(metadata), 'kept');
    // Another start of the system; and pages that were never written.
    writeFileSync(join(metadata, 'unsynced'), 'another start');
    writeFileSync(join(metadata, 'data.mdb'), Buffer.alloc(40_960, 0xee));
    t.is(directoryState(metadata), 'torn');
    const notices: string[] = [];
    const again = await EmbeddedStore.open({
      ...options,
      notice: ({ kind }) => notices.push(kind),
    });
    t.true(notices.includes('thrown-away'));
    t.deepEqual(await again.store.get('runs', 'a'), row, 'with its revision');
    t.is(await again.store.get('runs', 'b'), undefined);
    await again.store.settled();
    await again.close();
    const report = await rebuildMetadata(options);
    t.is(report.storeId, STORE);
    markSynced(metadata);
  } finally {
    end();
  }
});

test('the newest two snapshots are kept in another tier, and the sweep knows whose they are', async (t) => {
  const rig = newRig(3);
  const journal = await Journal.found(optionsOf(rig));
  const h = house();
  const { context } = h.engine.core;
  const tier = h.tiers.get('cold');
  if (tier === undefined) throw new Error('the house has a cold tier');
  for (let i = 0; i < 5; i++) {
    // The last one has the number and size of the one before, but it is of other files.
    if (i < 4) await put(rig, journal, `key-${i}`, `text ${i}`);
    t.true(await journal.snapshot());
    const { snapshot } = journal.status();
    const read = (): AsyncIterable<Uint8Array> => journal.snapshotBytes();
    await keepSnapshot(context, tier, { ...snapshot, read });
    await keepSnapshot(context, tier, { ...snapshot, read });
    t.is(tier.blobs.size, Math.min(2, i + 1));
  }
  const kept = await keptSnapshots(context.store);
  t.deepEqual(
    kept.map(({ number }) => number),
    [4, 4],
  );
  const blob = tier.blobs.get(kept[0]?.location.id ?? '');
  const [path] = journalFiles(rig.media[0] as Medium, 'snapshot');
  const onDrive = rig.media[0]?.names.get(path ?? '')?.now;
  t.deepEqual(Buffer.from(blob?.bytes ?? []), onDrive, 'byte for byte what the drives hold');
  h.clock.at += 10 * 86_400_000;
  const lease = { check: async (): Promise<void> => Promise.resolve() };
  t.is((await sweep(h.engine.core, { lease } as Parameters<typeof sweep>[1])).orphans, 0);
  await journal.close();
});

test('a snapshot that no drive has whole is brought back from the tier that keeps it', async (t) => {
  const { options, metadata, end } = embeddedRig();
  const { clock, random, dataDirectory, drives } = options;
  const directory = join(dataDirectory, 'cold');
  mkdirSync(directory);
  const settings = { kind: 'directory', name: 'cold', directory, storeId: STORE } as const;
  const tier = await buildColdTier(settings, { clock, random });
  await tier.open();
  try {
    const first = await EmbeddedStore.open(options);
    await first.store.insert('settings', 'store', { format: 1, id: STORE });
    await first.found(STORE);
    const keep = async (): Promise<void> => {
      t.true(await first.journal.snapshot());
      const { snapshot } = first.journal.status();
      const read = (): AsyncIterable<Uint8Array> => first.journal.snapshotBytes();
      await keepSnapshot({ store: first.store, clock, random }, tier, { ...snapshot, read });
    };
    await first.store.insert('runs', 'a', { format: 1, n: 1 });
    await keep();
    await first.store.insert('runs', 'b', { format: 1, n: 2 });
    await keep();
    await first.store.insert('runs', 'c', { format: 1, n: 3 });
    const { value } = (await first.store.get('settings', 'metadata-snapshots')) ?? {};
    await first.close();
    rmSync(metadata, { recursive: true });
    const paths = drives.map(({ path }) => {
      const [name] = readdirSync(join(path, 'journal')).filter((one) => one.startsWith('snap'));
      return join(path, 'journal', name as string);
    });
    const [gone, rotten, short] = paths as [string, string, string];
    const bytes = readFileSync(rotten);
    rmSync(gone);
    truncateSync(short, 4100);
    const spoilt = Buffer.from(bytes);
    spoilt[4096 + 80] = (spoilt[4096 + 80] as number) ^ 1;
    writeFileSync(rotten, spoilt);
    const code = async (find?: FindSnapshot): Promise<unknown> => {
      const more = find === undefined ? {} : { findSnapshot: find };
      const made = rebuildMetadata({ ...options, ...more });
      return await made.then(
        ({ snapshot }) => snapshot.broughtFrom,
        ({ code: of }) => of as string,
      );
    };
    t.is(await code(), 'Corrupt', 'kept nowhere');
    t.is(
      await code(async () => ({ from: 'x', body: pieces([spoilt]), close: async () => {} })),
      'Corrupt',
      'rotten there',
    );
    // As the server looks for it: a tier that can't even be made keeps no other from giving it back.
    const file = join(dataDirectory, 'firn.yaml');
    const s3 = { kind: 's3', endpoint: 'http://127.0.0.1:1', bucket: 'b', accessKey: 'a' };
    const tiers = {
      hot: { kind: 'node-group', code: '1+2', groups: [drives.map(({ path }) => path)] },
      away: { ...s3, secretKeyFile: join(dataDirectory, 'none') },
      cold: { kind: 'directory', directory },
    };
    writeFileSync(
      file,
      stringify({ data: dataDirectory, tiers, storageClasses: { STANDARD: 'hot' } }),
    );
    const own: Own = { part: 'primary', name: 'test', clock: new EngineClock(), random };
    const find = (await embeddedOf(loadConfig(file, {}), own, {})).findSnapshot;
    t.is(await code(find), 'cold');
    for (const path of paths) t.deepEqual(readFileSync(path), bytes, path);
    const again = await EmbeddedStore.open(options);
    for (const [id, n] of [
      ['a', 1],
      ['b', 2],
      ['c', 3],
    ] as const) {
      t.deepEqual((await again.store.get('runs', id))?.value, { format: 1, n });
    }
    t.deepEqual((await again.store.get('settings', 'metadata-snapshots'))?.value, value);
    await again.close();
    // It is as large as all metadata: what is whole is read once.
    const opened: string[] = [];
    for (const drive of drives) {
      const opens = drive.open.bind(drive);
      drive.open = (path, how) => {
        if (path.startsWith('journal/snap')) opened.push(drive.path);
        return opens(path, how);
      };
    }
    t.is(await code(find), undefined);
    t.is(opened.length, new Set(opened).size);
  } finally {
    await tier.close();
    end();
  }
});

async function* pieces(all: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  for (const piece of all) yield await Promise.resolve(piece);
}
