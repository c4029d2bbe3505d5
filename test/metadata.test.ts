// Metadata stores: the contract on LMDB and on a real MongoDB, then what is particular to each.

import test, { type ExecutionContext } from 'ava';
import { open as openLmdb, type RootDatabase } from 'lmdb';
import { BSON, MongoClient, ObjectId } from 'mongodb';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { inspect, isDeepStrictEqual } from 'node:util';
import { Packr } from 'msgpackr';
import { CommitQueue, type TableHandle } from '../appliance/metadata/lmdb/commit-queue.ts';
import { HeadReader } from '../appliance/metadata/lmdb/head-reader.ts';
import {
  decodeListing,
  decodeRecord,
  encodeRecord,
  stampRevision,
} from '../appliance/metadata/lmdb/record.ts';
import { decodeDocument, encodeDocument } from '../appliance/metadata/mongo/document.ts';
import { checkServer, databaseOf, redacted } from '../appliance/metadata/mongo/server.ts';
import { FirnError, isFirnError } from '../appliance/model/errors.ts';
import type { Location } from '../appliance/model/location.ts';
import type { CommitResult, MetadataStore, Row, Table } from '../appliance/model/metadata-store.ts';
import type { ObjectDocument } from '../appliance/model/object.ts';
import {
  Dice,
  metadataContract,
  rejectsWith,
  revisionOf,
  seedOf,
} from './contract/metadata-store.ts';
import {
  packedDocument,
  partsBlock,
  richDocument,
  sampleVersion,
  scratchDirectory,
  smallDocument,
} from './contract/metadata-store.ts';
import { withStore, type Bench, type Medium } from './contract/metadata-store.ts';
import { openPlace } from './contract/metadata-child.ts';
import { WireTap } from './contract/wire-tap.ts';
import { findMongod, startMongo, type Peer } from './peers.ts';

// Before the first test is declared: ava wants all of them in one turn.
const mongod = await findMongod();

const LMDB: Medium = {
  name: 'lmdb',
  async place() {
    const { path, remove } = await scratchDirectory();
    return { place: { dataDirectory: path }, cleanup: remove };
  },
};
metadataContract(test, LMDB);

const onLmdb = (title: string, use: (t: ExecutionContext, bench: Bench) => Promise<void>): void => {
  test.serial(`lmdb: ${title}`, (t) => withStore(LMDB, (bench) => use(t, bench)));
};

// ── Records ────────────────────────────────────

interface GoldenRecord {
  name: string;
  table: Table;
  id: string;
  epoch: number;
  commit: number;
  hex: string;
}

interface Golden {
  records: GoldenRecord[];
  /** Of earlier Firns: read, and written otherwise today. */
  old: GoldenRecord[];
  documents: { name: string; id: string; revision: string; stored: object }[];
}

const GOLDEN = JSON.parse(
  readFileSync(new URL('./metadata.golden.json', import.meta.url), 'utf8'),
) as Golden;
const GOLDEN_VALUES: Record<string, object> = {
  rich: richDocument(),
  single: { format: 1, sequence: 1, versions: [sampleVersion(1)], history: [] },
  emptied: { format: 1, sequence: 9, versions: [], history: [], operations: { o: 'v' } },
  bucket: {
    format: 1,
    id: '00112233445566ff',
    name: 'b',
    owner: 'root',
    createdAt: 1,
    n: [1, -1.5],
  },
  parts: partsBlock(3, 'SHA256'),
  small: smallDocument(),
  packed: packedDocument(),
};

test('records of today are read by every later Firn, and written the same', (t) => {
  t.deepEqual(
    GOLDEN.records.map(({ name }) => name),
    Object.keys(GOLDEN_VALUES),
  );
  for (const { name, table, id, epoch, commit, hex } of GOLDEN.records) {
    const value = GOLDEN_VALUES[name] as object;
    const record = Buffer.from(hex, 'hex');
    const row = decodeRecord<object>(table, id, record);
    t.deepEqual(row, { id, revision: row.revision, value }, name);
    const written = encodeRecord(table, value);
    t.is(stampRevision(written, epoch, commit), row.revision);
    t.is(written.toString('hex'), hex, name);
    if (table === 'objects') {
      t.is(decodeListing<ObjectDocument>(table, id, record).revision, row.revision);
    }
  }
  for (const { name, table, id, hex } of GOLDEN.old) {
    const row = decodeRecord<object>(table, id, Buffer.from(hex, 'hex'));
    t.deepEqual(row.value, GOLDEN_VALUES[name], name);
    t.not(encodeRecord(table, row.value).length, hex.length / 2, 'stored anew, it is smaller');
  }
  for (const { name, id, revision, stored } of GOLDEN.documents) {
    const value = GOLDEN_VALUES[name] as object;
    const document = encodeDocument(id, new ObjectId(revision), value);
    t.deepEqual(BSON.EJSON.serialize(document), stored, name);
    const read = BSON.EJSON.deserialize(stored) as typeof document;
    t.deepEqual(decodeDocument<object>('objects', read), { id, revision, value }, name);
  }
});

for (const [name, value] of [
  ['by positions', { format: 1, sequence: 1, versions: [sampleVersion(1)], history: [] }],
  ['in bytes', smallDocument()],
] as const)
  test(`no single flipped bit of a record ${name} goes unnoticed, and none is served`, (t) => {
    const record = encodeRecord('objects', value);
    stampRevision(record, 1, 77);
    const whole = decodeRecord<object>('objects', 'k', record);
    t.deepEqual(whole.value, value);
    for (let bit = 0; bit < record.length * 8; bit += 1) {
      const flipped = Buffer.from(record);
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
      const error = t.throws(() => decodeRecord('objects', 'k', flipped), {
        instanceOf: FirnError,
      });
      if (!isFirnError(error, 'Corrupt') && !isFirnError(error, 'FormatUnknown'))
        t.fail(`bit ${bit}`);
    }
  });

test('every document comes back to the last field, whatever in it is unusual', (t) => {
  const small = encodeRecord('objects', smallDocument()).length;
  t.true(small < 110, `a small object takes ${small} bytes`);
  const random = new Dice(seedOf(t));
  const values: unknown[] = [
    0,
    1,
    -1,
    1.5,
    127,
    128,
    4096,
    2 ** 32,
    2 ** 50,
    2 ** 50 + 1,
    Number.MAX_SAFE_INTEGER,
    '',
    'x',
    'ü',
    'ab'.repeat(16),
    'AB'.repeat(16),
    'e'.repeat(28),
    'e'.repeat(300),
    '1-2',
    'STANDARD',
    'warm',
    'text/html',
    'AAAAAAAAAAA=',
    'AAAAAAAAAAB=',
    'zstd',
    'CRC32',
    'shards',
    true,
    false,
    null,
    [],
    [1],
    {},
    { a: 1 },
    { constructor: 'x', ü: [null] },
  ];
  for (let round = 0; round < 5000; round += 1) {
    const document = random.roll(2) === 0 ? smallDocument() : packedDocument();
    for (let changes = random.roll(3); changes >= 0; changes -= 1) {
      const places = placesOf(document);
      const { on, field } = places[random.roll(places.length)] as (typeof places)[number];
      const isNamed = !Array.isArray(on);
      const other = isNamed && random.roll(10) === 0 ? 'tomorrow' : field;
      if (isNamed && random.roll(10) === 0) delete on[field];
      else on[other] = structuredClone(values[random.roll(values.length)]);
    }
    document.format = 1;
    let record: Buffer;
    try {
      record = encodeRecord('objects', document);
    } catch (error) {
      t.fail(`${String(error)}: ${inspect(document, { depth: 9 })}`);
      return;
    }
    stampRevision(record, 1, 1);
    const { value } = decodeRecord<object>('objects', 'k', record);
    if (!isDeepStrictEqual(value, document)) return void t.deepEqual(value, document);
    if (record[0] !== 4) continue;
    const [newest] = document.versions;
    const listed = decodeListing<ObjectDocument>('objects', 'k', record).value.versions?.[0];
    if (newest === undefined) return void t.fail();
    t.like(listed, {
      id: newest.id,
      isNull: newest.isNull,
      lastModified: newest.lastModified,
      sizeBytes: newest.sizeBytes,
      etag: newest.etag,
      storageClass: newest.storageClass,
      owner: newest.owner,
    });
  }
  t.pass();
});

type Field = { on: Record<string, unknown>; field: string };

/** Every field of every object in a value. */
function placesOf(value: unknown): Field[] {
  if (typeof value !== 'object' || value === null) return [];
  const on = value as Record<string, unknown>;
  return Object.keys(on).flatMap((field) => [{ on, field }, ...placesOf(on[field])]);
}

test('an object of a thousand parts comes back from the archive: its restored copy is stored', (t) => {
  const [part] = sampleVersion(1).parts;
  const copy = Array.from({ length: 1000 }, () => part?.location as Location);
  const restore = {
    state: 'ready',
    requestId: 'r',
    tier: 'Bulk',
    days: 1,
    requestedAt: 1,
    copy,
  } as const;
  const newest = sampleVersion(1, { restore });
  const value = { format: 1, sequence: 2, versions: [newest, sampleVersion(2)], history: [] };
  const record = encodeRecord('objects', value);
  const revision = stampRevision(record, 1, 1);
  t.deepEqual(decodeRecord('objects', 'k', record), { id: 'k', revision, value });
  const { value: listed } = decodeListing<ObjectDocument>('objects', 'k', record);
  t.is(listed.versions.length, 1, 'a listing asks for the newest version only');
  t.like(listed.versions[0], { id: newest.id, parts: [], metadata: {}, operation: '' });
});

for (const [name, value] of [
  ['by positions', richDocument()],
  ['in bytes', smallDocument()],
] as const)
  test(`a record ${name} cut short is Corrupt`, (t) => {
    const record = encodeRecord('objects', value);
    stampRevision(record, 1, 1);
    for (let length = 0; length < record.length; length += 1) {
      const cut = record.subarray(0, length);
      t.true(
        isFirnError(
          t.throws(() => decodeRecord('objects', 'k', cut)),
          'Corrupt',
        ),
      );
      try {
        decodeListing('objects', 'k', cut);
      } catch (error) {
        if (!isFirnError(error, 'Corrupt')) t.fail(String(error));
      }
    }
  });

// ── LMDB ────────────────────────────────────

onLmdb('a bit that rots on the drive is Corrupt, never other data', async (t, { store, place }) => {
  const marker = 'find me in the file, please';
  await store.insert('objects', 'a', { format: 1, n: 1 });
  const versions = [sampleVersion(1, { operation: marker })];
  await store.insert('objects', 'b', { format: 1, sequence: 1, versions, history: [] });
  await store.close();
  const file = join(place.dataDirectory, 'metadata', 'data.mdb');
  const bytes = await readFile(file);
  let flips = 0;
  for (let at = bytes.indexOf(marker); at >= 0; at = bytes.indexOf(marker, at + 1)) {
    bytes[at + 3] = (bytes[at + 3] as number) ^ 4;
    flips += 1;
  }
  t.true(flips > 0);
  await writeFile(file, bytes);
  await store.open();
  await rejectsWith(t, store.get('objects', 'b'), 'Corrupt');
  await rejectsWith(t, store.range({ table: 'objects', limit: 5 }), 'Corrupt');
  t.deepEqual((await store.get('objects', 'a'))?.value, { format: 1, n: 1 });
});

onLmdb(
  'a store or a record of a newer Firn is refused before anything is changed',
  async (t, bench) => {
    const { store, place } = bench;
    await store.insert('objects', 'a', { format: 1 });
    await store.close();
    const raw = openLmdb(join(place.dataDirectory, 'metadata'), { noSubdir: false, maxDbs: 32 });
    const options = { keyEncoding: 'binary', encoding: 'binary' } as const;
    const objects = raw.openDB<Buffer, Buffer>('objects', options);
    const own = raw.openDB<Buffer, Buffer>('firn', options);
    t.is(own.get(Buffer.from('format'))?.toString(), '1');
    const record = Buffer.from(objects.get(Buffer.from('a')) as Buffer);
    record[0] = 9;
    await objects.put(Buffer.from('b'), record);
    await store.open();
    await rejectsWith(t, store.get('objects', 'b'), 'FormatUnknown');
    await rejectsWith(
      t,
      store.range({ table: 'objects', limit: 5, listing: true }),
      'FormatUnknown',
    );
    await store.close();
    await own.put(Buffer.from('format'), Buffer.from('2'));
    const error = await rejectsWith(t, store.open(), 'FormatUnknown');
    t.regex(error.hint ?? '', /newer/);
    t.is(own.get(Buffer.from('format'))?.toString(), '2');
    await raw.close();
  },
);

test("a listing's short way reads a head as the decoder does, or leaves it to the decoder", (t) => {
  const packr = new Packr({ useRecords: false });
  const reader = new HeadReader();
  const head = (
    sizeBytes: number,
    checksum: unknown = null,
    restore: unknown = null,
  ): unknown[] => {
    const [id, etag, at] = ['0123456789abcdef'.repeat(2).slice(4), 'f'.repeat(32), 1.76e12];
    return [id, 1, at + sizeBytes, sizeBytes, etag, 'STANDARD', 'root', checksum, restore];
  };
  const sizes = [0, 127, 128, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, 2 ** 52 + 1];
  const usual = [
    ...sizes.map((sizeBytes) => head(sizeBytes)),
    ['1'.repeat(99), 3, 1.5, 7, 'x-3', 'GLACIER_IR', 'ünü', null, null],
    [...head(7).slice(0, 5), 'STANDARE', 'roos', null, null],
  ];
  const other = [
    head(5, { algorithm: 'CRC32' }),
    head(5, null, { state: 'pending' }),
    [...head(5), 'a field of tomorrow'],
    head(5).slice(0, 8),
    ['x'.repeat(300), ...head(5).slice(1)],
    [undefined, ...head(5).slice(1)],
  ];
  const read = (bytes: Buffer): unknown => {
    const record = Buffer.concat([Buffer.alloc(15, 0x99), bytes, Buffer.alloc(40, 0xc0)]);
    return reader.read(record, 15, 15 + bytes.length);
  };
  for (const tuple of usual) t.deepEqual(read(packr.pack(tuple)), tuple);
  // Of a checksum a listing shows the kind, not the value.
  const summed = (value: string): unknown[] => head(5, ['CRC64NVME', 'FULL_OBJECT', value]);
  t.deepEqual(read(packr.pack(summed('AAECAwQFBgc='))), summed(''));
  t.deepEqual(read(packr.pack(summed('x'.repeat(90)))), summed(''));
  for (const tuple of other) t.is(read(packr.pack(tuple)), undefined);
  const whole = packr.pack(head(70_000));
  for (let end = 0; end < whole.length; end += 1) t.is(read(whole.subarray(0, end)), undefined);
});

onLmdb('a snapshot is of one instant, whatever is written beside it', async (t, { store }) => {
  for (let n = 0; n < 400; n += 1) await store.insert('objects', `k${n}`, { format: 1, n });
  const seen: string[] = [];
  for await (const { table, id, value } of store.snapshot()) {
    if (seen.length === 0) {
      const row = (await store.get('objects', 'k99')) as Row<object>;
      await store.replace({
        table: 'objects',
        id: 'k99',
        expected: row.revision,
        value: { format: 1 },
      });
      const last = (await store.get('objects', 'k98')) as Row<object>;
      await store.remove('objects', 'k98', last.revision);
      await store.insert('objects', 'zz', { format: 1 });
      await store.insert('usage', 'zz', { format: 1 });
    }
    seen.push(`${table} ${id} ${JSON.stringify(value)}`);
  }
  t.is(seen.length, 400);
  t.true(seen.includes('objects k99 {"format":1,"n":99}'));
  t.true(seen.includes('objects k98 {"format":1,"n":98}'));
});

test.serial(
  'lmdb: a commit that the drive refuses is told, and leaves neither row nor damage',
  (t) => {
    // A file-size limit is a full drive that needs no root.
    const launch = (file: string, args: string[]) =>
      spawn('sh', ['-c', 'ulimit -f 3000; exec "$@"', 'sh', file, ...args]);
    return withStore(
      LMDB,
      async ({ store, child }) => {
        const {
          lines,
          process: writer,
          ended,
        } = child({
          kind: 'write',
          prefix: 'k',
          inFlight: 16,
          bytes: 3000,
        });
        const limit = Date.now() + 20_000;
        const failed = (): string[] => lines.filter((line) => line.startsWith('failed'));
        while (failed().length < 60 && Date.now() < limit) await sleep(20);
        writer.kill('SIGKILL');
        await ended;
        t.true(failed().length >= 60, lines.slice(-5).join('\n'));
        const codes = new Set(failed().map((line) => line.split(' ')[2]));
        t.deepEqual([...codes], ['MetadataUnavailable']);
        const acknowledged = lines.filter((line) => /^\d+$/.test(line));
        t.true(acknowledged.length > 50);
        for (const n of acknowledged) t.truthy(await store.get('objects', `k${n}`), n);
        for (const line of failed()) {
          t.is(await store.get('objects', `k${line.split(' ')[1]}`), undefined, line);
        }
        t.is((await store.insert('objects', 'after', { format: 1 })).outcome, 'done');
      },
      launch,
    );
  },
);

test('a commit that failed and yet can be read fences the store', async (t) => {
  // lmdb synced before visible has never shown this; were it to, nothing read could be trusted.
  const rows = new Map<string, Buffer>();
  const handle: TableHandle = {
    getBinaryFast: (id) => rows.get(id),
    put(id, record) {
      rows.set(id, Buffer.from(record));
      return Object.assign(Promise.resolve(true), { result: true });
    },
    remove: (id) => Promise.resolve(rows.delete(id)),
    resetReadTxn: () => undefined,
  };
  const failure = new Error('not synced');
  const fenced: Error[] = [];
  let isVisible = true;
  const childTransaction = (callback: () => void): Promise<void> => {
    callback();
    if (!isVisible) rows.clear();
    return Promise.reject(failure);
  };
  const queue = new CommitQueue({
    environment: { childTransaction } as unknown as RootDatabase,
    own: handle,
    clock: { wall: () => 0, now: () => 0 },
    onFence: (cause) => fenced.push(cause),
  });
  const change = (): Promise<CommitResult> =>
    queue.commit({
      handle,
      table: 'objects',
      id: 'k',
      record: encodeRecord('objects', { format: 1 }),
    });
  await rejectsWith(t, change(), 'MetadataUnavailable');
  t.deepEqual(fenced, [failure]);
  isVisible = false;
  await rejectsWith(t, change(), 'MetadataUnavailable');
  t.is(fenced.length, 1, 'one that left nothing behind fences nothing');
  await queue.drain();
});

// ── MongoDB ────────────────────────────────────

let server: Peer;
let databases = 0;
const MONGO: Medium = {
  name: 'mongo',
  async place() {
    const { path, remove } = await scratchDirectory();
    databases += 1;
    const url = server.url.replace('/?', `/contract-${databases}?`);
    return { place: { url, dataDirectory: path }, cleanup: remove };
  },
};

if ('missing' in mongod) {
  test.skip(`mongo: the whole suite: ${mongod.missing}`, (t) => t.pass());
} else {
  test.before(async () => {
    server = await startMongo({ parameters: ['enableTestCommands=1'] });
  });
  test.after.always(() => server.stop());
  metadataContract(test, MONGO);
  refusals();
  doubts();
  outages();
}

function onMongo(title: string, use: (t: ExecutionContext, bench: Bench) => Promise<void>): void {
  test.serial(`mongo: ${title}`, (t) => withStore(MONGO, (bench) => use(t, bench)));
}

/** Runs `use` with a plain client on the server. */
async function withClient<T>(use: (client: MongoClient) => Promise<T>): Promise<T> {
  const client = new MongoClient(server.url);
  try {
    return await use(client);
  } finally {
    await client.close();
  }
}

function refusals(): void {
  test.serial(
    'mongo: a standalone server is refused, and the message says what to do',
    async (t) => {
      const standalone = await startMongo({ standalone: true });
      try {
        const store = openPlace({ url: standalone.url, dataDirectory: 'none' }, 'test');
        const error = await rejectsWith(t, store.open(), 'SettingsInvalid');
        t.regex(`${error.message} ${error.hint}`, /standalone.*--replSet.*rs\.initiate/);
        await store.close();
      } finally {
        await standalone.stop();
      }
    },
  );

  test('mongo: a server too old, a broken URL, nobody there: each told plainly, no secret in it', async (t) => {
    const old = t.throws(() => checkServer({ setName: 'rs', maxWireVersion: 8 }, 'mongodb://h'));
    t.true(isFirnError(old, 'SettingsInvalid'));
    t.regex((old as FirnError).hint ?? '', /4\.4/);
    t.notThrows(() => checkServer({ msg: 'isdbgrid', maxWireVersion: 9 }, 'mongodb://h'));
    for (const url of [
      'mongodb://user:s3cret@',
      'postgres://user:s3cret@host/x',
      'mongodb://u:s3cret@h:99999/x',
    ]) {
      const store = openPlace({ url, dataDirectory: 'none' }, 'test');
      const error = await rejectsWith(t, store.open(), 'SettingsInvalid');
      t.notRegex(inspect(error, { depth: 9 }), /s3cret/);
    }
    const nobody = openPlace(
      { url: 'mongodb://u:s3cret@127.0.0.1:9/x', dataDirectory: 'none' },
      'test',
    );
    const error = await rejectsWith(t, nobody.open(), 'MetadataUnavailable');
    t.notRegex(inspect(error, { depth: 9 }), /s3cret/);
    t.is(redacted('mongodb://u:p%40@h1:1,h2:2/db?x=y'), 'mongodb://h1:1,h2:2');
    t.is(databaseOf('mongodb://h1,h2/some%2Fdb?x=/y'), 'some/db');
    t.is(databaseOf('mongodb://h/?x=y'), 'firn');
  });

  onMongo(
    'a store of a newer Firn is refused before anything is changed',
    async (t, { place, store }) => {
      await store.close();
      await withClient((client) =>
        client
          .db(databaseOf(place.url as string))
          .collection<{ _id: string; format: number }>('firn')
          .updateOne({ _id: 'store' }, { $set: { format: 2 } }),
      );
      await rejectsWith(t, store.open(), 'FormatUnknown');
      t.false(store.healthy());
    },
  );

  onMongo(
    'what waits in one turn of the event loop goes out as one command',
    async (t, { store }) => {
      const commands = (): Promise<Record<string, { total: number }>> =>
        withClient(async (client) => {
          const status = await client.db('admin').command({ serverStatus: 1 });
          return (status as { metrics: { commands: Record<string, { total: number }> } }).metrics
            .commands;
        });
      const ids = Array.from({ length: 64 }, (_, n) => `k${n}`);
      const before = await commands();
      const results = await Promise.all(
        ids.map((id) => store.insert('objects', id, { format: 1, id })),
      );
      const between = await commands();
      const rows = await Promise.all(ids.map((id) => store.get<{ id: string }>('objects', id)));
      const after = await commands();
      t.is(after['insert']?.total, between['insert']?.total);
      t.is(between['insert']?.total, (before['insert']?.total ?? 0) + 1);
      t.is(after['find']?.total, (between['find']?.total ?? 0) + 1);
      t.deepEqual(
        rows.map((row) => [row?.value.id, row?.revision]),
        ids.map((id, n) => [id, revisionOf(results[n] as CommitResult)]),
      );
    },
  );
}

function doubts(): void {
  const tapped = (
    title: string,
    use: (
      t: ExecutionContext,
      tap: WireTap,
      store: MetadataStore,
      direct: MetadataStore,
    ) => Promise<void>,
  ): void => {
    onMongo(title, async (t, { place, store }) => {
      const tap = new WireTap(server.port);
      const port = await tap.open();
      const database = databaseOf(place.url as string);
      const url = `mongodb://127.0.0.1:${port}/${database}?directConnection=true`;
      const through = openPlace({ ...place, url }, 'tapped');
      try {
        await through.open();
        await use(t, tap, through, store);
      } finally {
        await through.close();
        await tap.close();
      }
    });
  };
  // The driver asks twice; with both lost, the change is in doubt (B6).
  const twice = 2;

  tapped(
    'an answer lost: the one look finds the change, it is done and done once',
    async (t, tap, store, direct) => {
      tap.lose('answer', 'insert', twice);
      const inserted = revisionOf(await store.insert('objects', 'k', { format: 1, n: 1 }));
      t.is(tap.lost, twice);
      t.deepEqual(await direct.get('objects', 'k'), {
        id: 'k',
        revision: inserted,
        value: { format: 1, n: 1 },
      });
      tap.lose('answer', 'update', twice);
      const value = { format: 1, n: 2 };
      const replaced = revisionOf(
        await store.replace({ table: 'objects', id: 'k', expected: inserted, value }),
      );
      t.is(tap.lost, twice);
      t.deepEqual(await direct.get('objects', 'k'), { id: 'k', revision: replaced, value });
      tap.lose('answer', 'delete', twice);
      t.is((await store.remove('objects', 'k', replaced)).outcome, 'done');
      t.is(tap.lost, twice);
      t.is(await direct.get('objects', 'k'), undefined);
      tap.lose('answer', 'insert', twice);
      const many = Array.from({ length: 20 }, (_, n) =>
        store.insert('objects', `m${n}`, { format: 1, n }),
      );
      for (const result of await Promise.all(many)) t.is(result.outcome, 'done');
      t.is(tap.lost, twice);
      t.is(await direct.count('objects', { from: 'm' }), 20);
      tap.lose('answer', 'update', 1);
      const row = (await store.get('objects', 'm1')) as Row<object>;
      const once = { table: 'objects', id: 'm1', expected: row.revision, value } as const;
      t.is(
        (await store.replace(once)).outcome,
        'done',
        'the server tells the repeat from a second change',
      );
    },
  );

  tapped(
    'a request lost: in doubt it stays, is never repeated, and nothing came of it',
    async (t, tap, store, direct) => {
      const refused = async (promise: Promise<unknown>): Promise<void> => {
        const error = (await rejectsWith(t, promise, 'MetadataUnavailable')) as FirnError;
        t.true(error.retryable);
        t.is(tap.lost, twice);
      };
      tap.lose('request', 'insert', twice);
      await refused(store.insert('objects', 'k', { format: 1 }));
      await sleep(200);
      t.is(await direct.get('objects', 'k'), undefined);
      const expected = revisionOf(await store.insert('objects', 'k', { format: 1 }));
      // Another's row there is no conflict: ours may still be on its way.
      tap.lose('request', 'insert', twice);
      await refused(store.insert('objects', 'k', { format: 1, n: 2 }));
      tap.lose('request', 'update', twice);
      await refused(
        store.replace({ table: 'objects', id: 'k', expected, value: { format: 1, n: 3 } }),
      );
      tap.lose('request', 'delete', twice);
      await refused(store.remove('objects', 'k', expected));
      tap.lose('request', 'update', twice);
      await refused(
        store.bulk([
          { kind: 'replace', table: 'objects', id: 'k', expected, value: { format: 1, n: 4 } },
        ]),
      );
      await sleep(200);
      t.deepEqual(await direct.get('objects', 'k'), {
        id: 'k',
        revision: expected,
        value: { format: 1 },
      });
      t.is((await store.remove('objects', 'k', expected)).outcome, 'done');
    },
  );

  onMongo(
    'a majority that does not answer in time leaves a doubt, and the look settles it',
    async (t, { store }) => {
      const failInsert = (mode: object | string): Promise<unknown> =>
        failPoint(mode, {
          failCommands: ['insert'],
          writeConcernError: { code: 64, codeName: 'WriteConcernFailed', errmsg: 'timed out' },
        });
      await failInsert({ times: 1 });
      const results = await Promise.all(
        ['a', 'b', 'c'].map((id) => store.insert('objects', id, { format: 1, id })),
      );
      for (const result of results) t.is(result.outcome, 'done');
      await failInsert({ times: 1 });
      const bulk = await store.bulk([
        { kind: 'insert', table: 'objects', id: 'd', value: { format: 1 } },
        { kind: 'insert', table: 'objects', id: 'e', value: { format: 1 } },
      ]);
      t.deepEqual(
        bulk.map(({ outcome }) => outcome),
        ['done', 'done'],
      );
      t.is(await store.count('objects', { from: 'a' }), 5);
    },
  );
}

/** Has the server fail commands, as its own tests do. */
function failPoint(mode: object | string, data?: object): Promise<unknown> {
  return withClient((client) =>
    client.db('admin').command({ configureFailPoint: 'failCommand', mode, ...(data && { data }) }),
  );
}

function outages(): void {
  onMongo(
    'without a majority for 3 s reads are refused too, and served again after',
    async (t, { store }) => {
      await store.insert('objects', 'k', { format: 1 });
      await failPoint('alwaysOn', {
        failCommands: ['update'],
        writeConcernError: { code: 64, codeName: 'WriteConcernFailed', errmsg: 'no majority' },
      });
      try {
        const limit = Date.now() + 8000;
        while (store.healthy() && Date.now() < limit) await sleep(50);
        t.false(store.healthy());
        const since = Date.now();
        await rejectsWith(t, store.get('objects', 'k'), 'MetadataUnavailable');
        await rejectsWith(t, store.range({ table: 'objects', limit: 1 }), 'MetadataUnavailable');
        await rejectsWith(t, store.insert('objects', 'l', { format: 1 }), 'MetadataUnavailable');
        t.true(Date.now() - since < 2500, "refused before any of the server's own time-outs");
      } finally {
        await failPoint('off');
      }
      const limit = Date.now() + 8000;
      while (!store.healthy() && Date.now() < limit) await sleep(50);
      t.deepEqual((await store.get('objects', 'k'))?.value, { format: 1 });
      t.is(await store.get('objects', 'l'), undefined);
    },
  );

  onMongo(
    'a server that hangs: what waits is refused, not kept waiting, and close ends',
    async (t, bench) => {
      const store = await bench.twin();
      await store.insert('objects', 'k', { format: 1 });
      server.pause();
      // The signal reaches a thread that runs just now a little later.
      await sleep(200);
      try {
        const calls = [store.get('objects', 'k'), store.insert('objects', 'l', { format: 1 })];
        const since = Date.now();
        for (const call of calls) await rejectsWith(t, call, 'MetadataUnavailable');
        t.true(Date.now() - since < 8000, `${Date.now() - since} ms`);
        await store.close();
      } finally {
        server.resume();
      }
      const limit = Date.now() + 10_000;
      while (!bench.store.healthy() && Date.now() < limit) await sleep(50);
      t.deepEqual((await bench.store.get('objects', 'k'))?.value, { format: 1 });
    },
  );

  onMongo(
    'the server killed and started again under load: no acknowledged row lost',
    async (t, { store }) => {
      const acknowledged: string[] = [];
      const errors: unknown[] = [];
      let next = 0;
      let isStopping = false;
      const writer = async (): Promise<void> => {
        while (!isStopping) {
          const id = `k${next++}`;
          try {
            const expected = revisionOf(await store.insert('objects', id, { format: 1, n: 0 }));
            const change = { table: 'objects', id, expected, value: { format: 1, n: 1 } } as const;
            revisionOf(await store.replace(change));
            acknowledged.push(id);
            await store.get('objects', id);
          } catch (error) {
            errors.push(error);
            await sleep(50);
          }
        }
      };
      const writers = Array.from({ length: 16 }, writer);
      const until = async (count: number): Promise<void> => {
        const limit = Date.now() + 20_000;
        while (acknowledged.length < count && Date.now() < limit) await sleep(20);
        t.true(acknowledged.length >= count, `${acknowledged.length} of ${count}`);
      };
      await until(300);
      await server.kill();
      const before = acknowledged.length;
      const limit = Date.now() + 8000;
      while (store.healthy() && Date.now() < limit) await sleep(50);
      t.false(store.healthy());
      await server.restart();
      await until(before + 300);
      isStopping = true;
      await Promise.all(writers);
      t.true(errors.length > 0);
      for (const error of errors) {
        if (!isFirnError(error, 'MetadataUnavailable') || !error.retryable) t.fail(String(error));
      }
      const found = new Map<string, number>();
      for (let after = ''; ;) {
        const rows = await store.range<{ n: number }>({ table: 'objects', after, limit: 1000 });
        for (const { id, value } of rows) found.set(id, value.n);
        const last = rows.at(-1)?.id;
        if (last === undefined) break;
        after = last;
      }
      t.deepEqual(
        acknowledged.filter((id) => found.get(id) !== 1),
        [],
      );
    },
  );
}
