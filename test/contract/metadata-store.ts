// What every metadata store owes its callers, run against each adapter on its real medium: LMDB
// files, a real mongod. Rules are those of appliance/metadata/DESIGN.md.

import type { ExecutionContext, TestFn } from 'ava';
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { createHash, randomInt } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import { checksumOf } from '../../appliance/model/checksum.ts';
import { isFirnError, type ErrorCode } from '../../appliance/model/errors.ts';
import { compareUtf8 } from '../../appliance/model/ids.ts';
import { TABLES } from '../../appliance/model/metadata-store.ts';
import type { Change, MetadataStore, RangeQuery } from '../../appliance/model/metadata-store.ts';
import type { CommitResult, Revision, Row } from '../../appliance/model/metadata-store.ts';
import type { Block, ChecksumAlgorithm, Part } from '../../appliance/model/object.ts';
import type { ObjectDocument, Version } from '../../appliance/model/object.ts';
import { increment, openPlace, type Place, type Task } from './metadata-child.ts';

export interface Medium {
  name: 'lmdb' | 'mongo';
  /** An empty place of its own for one test. */
  place(): Promise<{ place: Place; cleanup: () => Promise<void> }>;
}

export interface Bench {
  place: Place;
  store: MetadataStore;
  /** A further store on the same place, as another process of this host has one. Opened. */
  twin: () => Promise<MetadataStore>;
  /** A process of its own; killed at the end of the test if it still runs. */
  child: (task: TaskWithoutPlace) => Child;
}
type TaskWithoutPlace = {
  [K in Task['kind']]: Omit<Extract<Task, { kind: K }>, 'place'>;
}[Task['kind']];

export interface Child {
  process: ChildProcess;
  lines: string[];
  ended: Promise<number | null>;
}

const CHILD = fileURLToPath(new URL('./metadata-child.ts', import.meta.url));

/** Runs `use` on a fresh place with an open store, and puts everything away. */
export async function withStore(
  medium: Medium,
  use: (bench: Bench) => Promise<void>,
  launch: (file: string, args: string[]) => ChildProcess = (file, args) => spawn(file, args),
): Promise<void> {
  const { place, cleanup } = await medium.place();
  const stores: MetadataStore[] = [];
  const children: Child[] = [];
  const twin = async (): Promise<MetadataStore> => {
    const store = openPlace(place, `test-${stores.length}`);
    stores.push(store);
    await store.open();
    return store;
  };
  try {
    await use({
      place,
      store: await twin(),
      twin,
      child(task) {
        const child = follow(launch(process.execPath, [CHILD, JSON.stringify({ ...task, place })]));
        children.push(child);
        return child;
      },
    });
  } finally {
    for (const child of children) child.process.kill('SIGKILL');
    await Promise.all(children.map(({ ended }) => ended));
    await Promise.all(stores.map((store) => store.close()));
    await cleanup();
  }
}

function follow(process: ChildProcess): Child {
  const lines: string[] = [];
  let rest = '';
  process.stdout?.on('data', (chunk: Buffer) => {
    const parts = (rest + chunk.toString()).split('\n');
    rest = parts.pop() as string;
    lines.push(...parts);
  });
  process.stderr?.on('data', (chunk: Buffer) => lines.push(`stderr ${chunk.toString()}`));
  const ended = new Promise<number | null>((resolve) => process.once('close', resolve));
  return { process, lines, ended };
}

export async function scratchDirectory(): Promise<{ path: string; remove: () => Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'firn-metadata-'));
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}

export async function rejectsWith(
  t: ExecutionContext,
  promise: Promise<unknown>,
  code: ErrorCode,
): Promise<Error & { hint?: string }> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  t.true(isFirnError(error, code), `${code} expected, got ${String(error)}`);
  return error as Error;
}

export function revisionOf(result: CommitResult): Revision {
  assert.equal(result.outcome, 'done');
  return (result as { revision: Revision }).revision;
}

/** Reproducible: the same seed, the same run. */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0 || 1;
  }

  /** A whole number from 0 below `bound`. */
  roll(bound: number): number {
    let state = this.#state;
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    this.#state = state >>> 0;
    return this.#state % bound;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.roll(items.length)] as T;
  }
}

export function seedOf(t: ExecutionContext): number {
  const seed = Number(process.env['FIRN_TEST_SEED'] ?? randomInt(1, 2 ** 31));
  t.log(`seed ${seed} (FIRN_TEST_SEED repeats it)`);
  return seed;
}

/** As CompleteMultipartUpload writes them; the last part is shorter. */
export function partsBlock(count: number, algorithm: ChecksumAlgorithm | undefined): Block {
  const digits = (index: number, width: number): string =>
    createHash('sha512').update(`${index}/${width}`).digest('hex').slice(0, width);
  const parts = Array.from({ length: count }, (_, index): Part => {
    const sizeBytes = index === count - 1 ? 1000 : 16 * 2 ** 20;
    const part: Part = {
      number: index + 1,
      location: {
        kind: 'shards',
        id: digits(index, 32),
        tier: 'hot',
        group: 0,
        length: sizeBytes,
        code: '4+2',
        stripeBytes: 2 ** 20,
        empty: 0,
        unconfirmed: 0,
      },
      sizeBytes,
      etag: digits(index + count, 32),
      checksum: digits(index, 16),
      nonce: Buffer.from(digits(index, 32), 'hex').toString('base64'),
    };
    if (algorithm === undefined) return part;
    const value = checksumOf(algorithm, Buffer.from(digits(index, 8)));
    return { ...part, clientChecksum: { algorithm, type: 'FULL_OBJECT', value } };
  });
  return { format: 1, kind: 'parts', object: '00112233445566ff/k', parts };
}

export function sampleVersion(n: number, more: Partial<Version> = {}): Version {
  return {
    id: `${n.toString(16).padStart(12, '0')}00112233445566ff`,
    isNull: n % 2 === 0,
    deleteMarker: false,
    lastModified: 1_790_000_000_000 + n,
    sizeBytes: 5_368_709_120 + n,
    etag: '9e107d9d372bb6826bd81d3542a419d6',
    storageClass: 'STANDARD',
    parts: [
      {
        number: 1,
        location: {
          kind: 'segment',
          id: '018bcfe56800aabbccddeeff00112233',
          tier: 'hot',
          group: 0,
          segment: '018bcfe56800aabbccddeeff00112244',
          batch: 123_456,
          lane: 2,
          offset: 4096,
          length: 4096,
          empty: 0,
          unconfirmed: 8,
        },
        sizeBytes: 4096,
        etag: '9e107d9d372bb6826bd81d3542a419d6',
        checksum: 'aabbccddeeff0011',
      },
    ],
    headers: { 'content-type': 'text/plain; charset="utf-8"' },
    metadata: { mtime: '1700000000.123', 'a.b': '$x', $c: 'ü' },
    owner: 'root',
    operation: '018bcfe56800aabbccddeeff00112255',
    ...more,
  };
}

/** A document as nearly every key has it: one version, one part in a segment. */
export function smallDocument(): ObjectDocument {
  const etag = '9e107d9d372bb6826bd81d3542a419d6';
  const location = {
    kind: 'segment' as const,
    id: '01a20e51703b68360a996c584d851d6c',
    tier: 'hot',
    group: 0,
    segment: '01a20e517052912627d9cdd91edde787',
    batch: 1_234_944,
    lane: 3,
    offset: 4200,
    length: 4096,
    empty: 0,
    unconfirmed: 0,
  };
  return {
    format: 1,
    sequence: 28_728_584_767_601,
    versions: [
      {
        id: '1a20e51708718c96d98f40315da5',
        isNull: true,
        deleteMarker: false,
        lastModified: 1_795_536_547_973,
        sizeBytes: 4096,
        etag,
        storageClass: 'STANDARD',
        parts: [{ number: 1, location, sizeBytes: 4096, etag, checksum: 'b07b0402e3168285' }],
        headers: { 'content-type': 'image/jpeg' },
        metadata: {},
        owner: 'root',
        operation: location.id,
        checksum: { algorithm: 'CRC64NVME', type: 'FULL_OBJECT', value: 'DxeCydoWScI=' },
      },
    ],
    history: [],
  };
}

/** The same in a pack, with all that may go along. */
export function packedDocument(): ObjectDocument {
  const document = smallDocument();
  const [version] = document.versions;
  const [part] = version?.parts ?? [];
  assert(version !== undefined && part !== undefined);
  const location = {
    kind: 'pack' as const,
    id: '01a30e51703b68360a996c584d851d6c',
    tier: 'glacier-1',
    pack: '01a30e517052912627d9cdd91edde787',
    offset: 123_457,
    length: 999,
    codec: 'zstd' as const,
    plainBytes: 4096,
  };
  const { checksum: _, ...bare } = version;
  return {
    ...document,
    versions: [
      {
        ...bare,
        sizeBytes: 4095,
        storageClass: 'Deep one',
        parts: [{ ...part, location, etag: 'ab'.repeat(16), nonce: 'AAAA' }],
        headers: { 'content-type': 'x/y; z', 'cache-control': 'no-cache' },
        metadata: { mtime: '1700000000.123', 'a.b': '$x', ü: 'ü' },
        tags: { a: 'b' },
        lastAccessDay: 20_000,
      },
    ],
  };
}

/** A document with every optional field, every kind of location, and fields of a later Firn. */
export function richDocument(): ObjectDocument {
  const [part] = sampleVersion(3).parts;
  assert(part !== undefined);
  const away = { ...part.location, away: 5 } as (typeof part)['location'];
  const shards = {
    kind: 'shards' as const,
    id: 'ab'.repeat(16),
    tier: 'warm',
    group: 1,
    length: 7,
    code: '4+2',
    stripeBytes: 1 << 20,
    empty: 12,
    unconfirmed: 0,
  };
  const remote = {
    kind: 'remote' as const,
    id: 'cd'.repeat(16),
    tier: 'cold',
    name: 'n/ü',
    length: 1,
  };
  const pack = {
    kind: 'pack' as const,
    id: 'ef'.repeat(16),
    tier: 'cold',
    pack: 'p',
    offset: 9,
    length: 8,
  };
  const later = { kind: 'quantum', id: 'q', where: { 'x.y': [1, 2] } } as unknown as typeof remote;
  const locations = [part.location, away, shards, remote, pack, later];
  const parts = locations.map((location, at) => ({ ...part, number: at + 1, location }));
  const restore = { state: 'ready' as const, requestId: 'r', tier: 'Bulk' as const, days: 3 };
  return {
    format: 1,
    sequence: 4_294_967_299,
    versions: [
      sampleVersion(3, {
        parts,
        partCount: 6,
        checksum: { algorithm: 'CRC64NVME', type: 'FULL_OBJECT', value: 'AAAAAAAAAAA=' },
        restore: { ...restore, requestedAt: 1, expiry: 2, copy: [shards] },
        tags: { 'a.b': '1', '': '2', $d: '3' },
        lastAccessDay: 20_000,
      }),
      sampleVersion(2, { deleteMarker: true, parts: [], sizeBytes: 0, etag: '' }),
      sampleVersion(1, { ...({ later: { deep: [null, true, -1.5] } } as object) }),
    ],
    history: [{ block: 'b1', count: 200, bytes: 99_999, newest: 'v', hasNull: true }],
    operations: { op1: 'v1', 'op.2': 'refused' },
    ...({ laterField: 'kept' } as object),
  };
}

/** Values that came back, with Buffers as the Uint8Arrays that they are. */
export function plain<T>(value: T): T {
  if (value instanceof Uint8Array) return new Uint8Array(value) as T;
  if (Array.isArray(value)) return value.map(plain) as T;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, held]) => [name, plain(held)])) as T;
}

export async function allRows<T>(
  store: MetadataStore,
  query: Omit<RangeQuery, 'limit'>,
): Promise<Row<T>[]> {
  const rows: Row<T>[] = [];
  for (;;) {
    const last = rows.at(-1)?.id;
    const from = last === undefined ? {} : query.reverse ? { to: last } : { after: last };
    const page = await store.range<T>({ ...query, ...from, limit: 7 });
    rows.push(...page);
    if (page.length < 7) return rows;
  }
}

export function metadataContract(test: TestFn, medium: Medium): void {
  const promise = (
    title: string,
    use: (t: ExecutionContext, bench: Bench) => Promise<void>,
  ): void => {
    test.serial(`${medium.name}: ${title}`, (t) => withStore(medium, (bench) => use(t, bench)));
  };
  basics(promise);
  races(promise);
  ranges(promise);
  failures(promise, medium);
  model(promise);
}

type Register = (title: string, use: (t: ExecutionContext, bench: Bench) => Promise<void>) => void;

function basics(promise: Register): void {
  promise(
    'the list of 10,000 parts is one row, at once or not at all',
    async (t, { store, twin }) => {
      const other = await twin();
      const value = partsBlock(10_000, 'SHA512');
      t.is((await store.insert('blocks', 'parts', value)).outcome, 'done');
      const row = await other.get('blocks', 'parts');
      t.true(isDeepStrictEqual(row?.value, value));
    },
  );
  promise('what was put comes back exactly', async (t, { store, twin }) => {
    const other = await twin();
    const values: [id: string, value: object][] = [
      ['rich', richDocument()],
      ['empty', { format: 1, sequence: 9, versions: [], history: [], operations: { o: 'v' } }],
      ['single', { format: 1, sequence: 1, versions: [sampleVersion(1)], history: [] }],
      ['no document', { format: 1, versions: 'none', bytes: new Uint8Array([0, 255, 7]) }],
      ['half a version', { format: 1, sequence: 1, versions: [{ id: 'x' }], history: [] }],
      [
        'numbers',
        { n: [0, 1, -1, 255, 65_536, 2 ** 31, 2 ** 32, -(2 ** 33), 2 ** 53 - 1, 0.1, 1e300] },
      ],
      ['names', { '': 1, $a: { 'b.c': { d: [{ 'e.f': null }] } }, pairs: [['x', 1]] }],
      ['pairs', { pairs: [['x', 1]] }],
      ['nested pairs', { a: { pairs: [{ pairs: 1 }] } }],
      ['bson', { a: { _bsontype: 'ObjectId', id: 'x' }, $ref: 'c', $id: 1 }],
      ['text', { t: ['', '\0', 'ü', '\u{10ffff}'] }],
    ];
    for (const [id, value] of values) {
      const revision = revisionOf(await store.insert('objects', id, value));
      for (const reader of [store, other]) {
        const row = await reader.get('objects', id);
        t.deepEqual(plain(row), { id, revision, value: plain(value) }, id);
      }
    }
    for (const { id, value } of await allRows(store, { table: 'objects' })) {
      t.deepEqual(plain(value), new Map(plain(values)).get(id), id);
    }
    t.is(await store.count('objects', { from: '\u0001' }), values.length);
    const long = { format: 1, text: 'x'.repeat(3_000_000) };
    await store.insert('objects', 'long', long);
    t.true((await store.get<typeof long>('objects', 'long'))?.value.text === long.text);
  });

  promise(
    'an insert over a row, a change of a stale revision: conflicts that change nothing',
    async (t, { store }) => {
      const first = revisionOf(await store.insert('buckets', 'b', { format: 1, n: 1 }));
      t.is((await store.insert('buckets', 'b', { format: 1, n: 2 })).outcome, 'conflict');
      const change = {
        table: 'buckets',
        id: 'b',
        expected: first,
        value: { format: 1, n: 3 },
      } as const;
      const second = revisionOf(await store.replace(change));
      t.is((await store.replace(change)).outcome, 'conflict');
      t.is((await store.remove('buckets', 'b', first)).outcome, 'conflict');
      t.deepEqual(await store.get('buckets', 'b'), {
        id: 'b',
        revision: second,
        value: { format: 1, n: 3 },
      });
      t.is((await store.remove('buckets', 'b', second)).outcome, 'done');
      t.is((await store.remove('buckets', 'b', second)).outcome, 'conflict');
      t.is((await store.replace({ ...change, expected: second })).outcome, 'conflict');
      t.is(await store.get('buckets', 'b'), undefined);
      t.is(await store.get('buckets', 'b', { linearizable: true }), undefined);
      t.is((await store.replace({ ...change, expected: 'nonsense' })).outcome, 'conflict');
    },
  );

  promise('the same id in two tables is two rows', async (t, { store }) => {
    await store.insert('parts', 'same', { format: 1, n: 1 });
    await store.insert('uploads', 'same', { format: 1, n: 2 });
    t.deepEqual((await store.get('parts', 'same'))?.value, { format: 1, n: 1 });
    t.deepEqual((await store.get('uploads', 'same'))?.value, { format: 1, n: 2 });
    t.is(await store.get('packs', 'same'), undefined);
  });

  promise(
    'an id that could not come back is refused: empty, NUL, too long, half a surrogate',
    async (t, { store }) => {
      for (const id of ['', 'a\0b', 'x'.repeat(1501), 'ü'.repeat(751), 'a\ud800', '\udc00']) {
        await rejectsWith(t, store.get('objects', id), 'InvalidArgument');
        await rejectsWith(t, store.insert('objects', id, { format: 1 }), 'InvalidArgument');
        await rejectsWith(
          t,
          store.bulk([{ kind: 'insert', table: 'objects', id, value: { format: 1 } }]),
          'InvalidArgument',
        );
      }
      for (const id of ['x'.repeat(1500), 'ü'.repeat(750), '\u0001', '\u{10ffff}'.repeat(375)]) {
        t.is((await store.insert('objects', id, { format: 1 })).outcome, 'done');
        t.is((await store.get('objects', id))?.id, id);
      }
      t.is(await store.count('objects', { from: '\u0001' }), 4);
      for (const limit of [0, -1, 10_001, 1.5]) {
        await rejectsWith(t, store.range({ table: 'objects', limit }), 'InvalidArgument');
      }
    },
  );

  promise('a change whose time has passed does not happen (B3)', async (t, { store }) => {
    const past = { notAfter: Date.now() - 1 };
    const future = { notAfter: Date.now() + 60_000 };
    t.is((await store.insert('objects', 'k', { format: 1 }, past)).outcome, 'expired');
    t.is(await store.get('objects', 'k'), undefined);
    const expected = revisionOf(await store.insert('objects', 'k', { format: 1 }, future));
    const change = { table: 'objects', id: 'k', expected, value: { format: 1, n: 2 } } as const;
    t.is((await store.replace(change, past)).outcome, 'expired');
    t.is((await store.remove('objects', 'k', expected, past)).outcome, 'expired');
    t.deepEqual((await store.get('objects', 'k'))?.value, { format: 1 });
    t.is((await store.replace(change, future)).outcome, 'done');
  });

  promise('each change of a bulk is done or not on its own', async (t, { store }) => {
    const a = revisionOf(await store.insert('garbage', 'a', { format: 1, n: 0 }));
    const b = revisionOf(await store.insert('garbage', 'b', { format: 1, n: 0 }));
    const c = revisionOf(await store.insert('garbage', 'c', { format: 1, n: 0 }));
    const changes: Change[] = [
      { kind: 'insert', table: 'garbage', id: 'a', value: { format: 1, n: 1 } },
      { kind: 'replace', table: 'garbage', id: 'a', expected: a, value: { format: 1, n: 2 } },
      { kind: 'insert', table: 'heals', id: 'a', value: { format: 1, n: 3 } },
      { kind: 'replace', table: 'garbage', id: 'b', expected: a, value: { format: 1, n: 4 } },
      { kind: 'remove', table: 'garbage', id: 'c', expected: c },
      { kind: 'remove', table: 'garbage', id: 'nobody', expected: c },
      { kind: 'insert', table: 'garbage', id: 'd', value: { format: 1, n: 5 } },
    ];
    const results = await store.bulk(changes);
    t.deepEqual(
      results.map(({ outcome }) => outcome),
      ['conflict', 'done', 'done', 'conflict', 'done', 'conflict', 'done'],
    );
    const rows = await store.range({ table: 'garbage', limit: 10 });
    t.deepEqual(rows, [
      { id: 'a', revision: revisionOf(results[1] as CommitResult), value: { format: 1, n: 2 } },
      { id: 'b', revision: b, value: { format: 1, n: 0 } },
      { id: 'd', revision: revisionOf(results[6] as CommitResult), value: { format: 1, n: 5 } },
    ]);
    t.deepEqual(await store.bulk([]), []);
    const many: Change[] = Array.from({ length: 2500 }, (_, n) => ({
      kind: 'insert',
      table: 'usage',
      id: `u${n % 2400}`,
      value: { format: 1, n },
    }));
    const outcomes = (await store.bulk(many)).map(({ outcome }) => outcome);
    t.is(outcomes.filter((outcome) => outcome === 'done').length, 2400);
    t.is(await store.count('usage', { from: 'u' }), 2400);
    t.is(await store.count('usage'), 2400);
  });

  promise('a snapshot has every row of every table', async (t, { store }) => {
    const expected = new Set<string>();
    for (const table of TABLES) {
      for (let n = 0; n < 3; n += 1) {
        const revision = revisionOf(await store.insert(table, `id ${n}`, { format: 1, table, n }));
        expected.add(JSON.stringify([table, `id ${n}`, revision, { format: 1, table, n }]));
      }
    }
    const many = Array.from({ length: 600 }, (_, n): Change => {
      return { kind: 'insert', table: 'objects', id: `many ${n}`, value: { format: 1 } };
    });
    (await store.bulk(many)).forEach((result, n) => {
      expected.add(JSON.stringify(['objects', `many ${n}`, revisionOf(result), { format: 1 }]));
    });
    const seen = new Set<string>();
    for await (const { table, id, revision, value } of store.snapshot()) {
      seen.add(JSON.stringify([table, id, revision, value]));
      // Reads and writes beside it must not end it.
      if (seen.size === 1) await store.insert('usage', 'zz during', { format: 1 });
      if (seen.size % 50 === 0) await store.get('objects', 'many 1');
      if (id === 'zz during') seen.delete(JSON.stringify([table, id, revision, value]));
    }
    t.deepEqual([...seen].sort(), [...expected].sort());
  });
}

function races(promise: Register): void {
  promise(
    'of racers on one revision exactly one wins, from two stores (A1)',
    async (t, { store, twin }) => {
      const stores = [store, await twin()];
      let expected = revisionOf(await store.insert('objects', 'k', { format: 1, winner: -1 }));
      for (let round = 0; round < 30; round += 1) {
        const results = await Promise.all(
          Array.from({ length: 16 }, (_, racer) => {
            const value = { format: 1, winner: racer };
            const change = { table: 'objects', id: 'k', expected, value } as const;
            return (stores[racer % 2] as MetadataStore).replace(change);
          }),
        );
        const winners = results.flatMap((result, racer) =>
          result.outcome === 'done' ? [racer] : [],
        );
        t.is(winners.length, 1);
        const row = await store.get<{ winner: number }>('objects', 'k');
        t.is(row?.value.winner, winners[0]);
        expected = revisionOf(results[winners[0] as number] as CommitResult);
        t.is(row?.revision, expected);
        const inserts = await Promise.all(
          Array.from({ length: 8 }, (_, racer) =>
            (stores[racer % 2] as MetadataStore).insert('objects', `fresh ${round}`, { format: 1 }),
          ),
        );
        t.is(inserts.filter(({ outcome }) => outcome === 'done').length, 1);
      }
    },
  );

  promise('no increment by three processes is lost', async (t, { store, child }) => {
    await store.insert('settings', 'counter', { format: 1, count: 0 });
    const task = { kind: 'increment', id: 'counter', times: 40 } as const;
    const children = [child(task), child(task)];
    for (let n = 0; n < 40; n += 1) await increment(store, 'counter');
    for (const { ended, lines } of children) t.is(await ended, 0, lines.join('\n'));
    t.deepEqual((await store.get('settings', 'counter'))?.value, { format: 1, count: 120 });
  });

  promise('what another process was acknowledged is seen by the next read', async (t, bench) => {
    const { store, child, place } = bench;
    const file = join(place.dataDirectory, 'acknowledged');
    const acknowledged = (): number => statSync(file).size;
    writeFileSync(file, '');
    await store.insert('settings', 'count', { format: 1, count: 0 });
    const until = 150;
    const { lines } = child({ kind: 'count-up', id: 'count', file, until });
    let stale = 0;
    for (let before = 0; before < until; before = acknowledged()) {
      // Without leaving this turn of the event loop: a snapshot kept for the turn would be stale.
      const row = await store.get<{ count: number }>('settings', 'count');
      if (row === undefined || row.value.count < before) stale += 1;
      const limit = Date.now() + 20_000;
      let now = acknowledged();
      while (now <= before && now < until) {
        if (Date.now() > limit) return t.fail(lines.join('\n'));
        now = acknowledged();
      }
      const [ranged] = await store.range<{ count: number }>({ table: 'settings', limit: 1 });
      const again = await store.get<{ count: number }>('settings', 'count');
      for (const seen of [ranged, again]) if ((seen?.value.count ?? -1) < now) stale += 1;
    }
    t.is(stale, 0);
  });

  promise(
    'a revision never repeats, also not over removal and re-creation (A2)',
    async (t, { store, twin }) => {
      const stores = [store, await twin()];
      const seen = new Set<Revision>();
      let stale: Revision | undefined;
      for (let round = 0; round < 60; round += 1) {
        const writer = stores[round % 2] as MetadataStore;
        const born = revisionOf(await writer.insert('objects', 'k', { format: 1, round }));
        if (stale !== undefined) {
          // A mover paused since the last life of this key must not put its bytes under this one.
          const late = {
            table: 'objects',
            id: 'k',
            expected: stale,
            value: { format: 1 },
          } as const;
          t.is((await writer.replace(late)).outcome, 'conflict');
          t.is((await writer.remove('objects', 'k', stale)).outcome, 'conflict');
        }
        const value = { format: 1, round, more: true };
        const changed = revisionOf(
          await writer.replace({ table: 'objects', id: 'k', expected: born, value }),
        );
        for (const revision of [born, changed]) t.false(seen.has(revision));
        seen.add(born).add(changed);
        stale = born;
        t.is((await writer.remove('objects', 'k', changed)).outcome, 'done');
      }
      await store.close();
      await store.open();
      const reopened = revisionOf(await store.insert('objects', 'k', { format: 1 }));
      t.false(seen.has(reopened));
    },
  );
}

const NASTY_IDS = [
  'a',
  'a\u0001',
  'a\u001f',
  'a ',
  'a/',
  'a/b',
  'a0',
  'aa',
  'A',
  '\u0001',
  '\u007f',
  '\u0080',
  'é',
  'e\u0301',
  '\u07ff',
  '\u0800',
  '\ud7ff',
  '\ue000',
  '\uff5e',
  '\uffff',
  '\u{10000}',
  '\u{1f600}',
  '\u{10ffff}',
  '\ue000\u{10000}',
  '\u{10000}\ue000',
  '/',
  '//',
  '.',
  '..',
  '$',
  `${'long '.repeat(20)}\u0002`,
  `${'long '.repeat(20)}\u0001`,
  'long '.repeat(20),
  'long '.repeat(19),
  `${'x'.repeat(70)}\u0001y`,
  `${'x'.repeat(70)}y`,
  `${'x'.repeat(64)}\u001c`,
];

function ranges(promise: Register): void {
  promise(
    'rows come in the order of their UTF-8 bytes, in either direction',
    async (t, { store }) => {
      for (const id of NASTY_IDS) await store.insert('objects', id, { format: 1, id });
      const sorted = NASTY_IDS.toSorted(compareUtf8);
      const forward = await allRows(store, { table: 'objects' });
      t.deepEqual(
        forward.map(({ id }) => id),
        sorted,
      );
      const backward = await allRows(store, { table: 'objects', reverse: true });
      t.deepEqual(
        backward.map(({ id }) => id),
        sorted.toReversed(),
      );
      for (const row of forward) t.deepEqual(await store.get('objects', row.id), row);
    },
  );

  promise(
    'bounds longer than any id, with NUL, empty or crossed cut exactly',
    async (t, { store }) => {
      const long = 'k'.repeat(1500);
      const ids = ['a', 'k', 'k'.repeat(1499), long, `${'k'.repeat(1499)}l`, 'z'];
      for (const id of ids) await store.insert('objects', id, { format: 1 });
      const bounds = [
        ...ids,
        `${long}k`,
        `${long}\0`,
        `${long}${long}`,
        'k\0',
        'a\0\0',
        'zz',
        '\0',
      ];
      for (const reverse of [false, true]) {
        for (const low of [undefined, '', ...bounds]) {
          for (const high of [undefined, '', ...bounds]) {
            for (const lower of ['from', 'after'] as const) {
              const query = {
                ...(low === undefined ? {} : { [lower]: low }),
                ...(high === undefined ? {} : { to: high }),
              };
              const rows = await store.range({ table: 'objects', limit: 10, reverse, ...query });
              const expected = ids.filter(
                (id) =>
                  (low === undefined || compareUtf8(id, low) >= (lower === 'after' ? 1 : 0)) &&
                  (high === undefined || compareUtf8(id, high) < 0),
              );
              t.deepEqual(
                rows.map(({ id }) => id),
                reverse ? expected.toReversed() : expected,
              );
            }
          }
        }
      }
      t.is(await store.count('objects', { from: 'k', to: `${long}\0` }), 3);
      t.is(await store.count('objects', { to: '' }), 0);
    },
  );

  promise(
    'a listing shows the newest version as the whole document has it',
    async (t, { store }) => {
      const { operations, ...document } = richDocument();
      await store.insert('objects', 'b/rich', { ...document, operations });
      await store.insert('objects', 'b/emptied', { ...document, versions: [] });
      await store.insert('objects', 'b/single', { ...document, versions: [sampleVersion(8)] });
      const query = { table: 'objects', from: 'b/', to: 'b0', limit: 9 } as const;
      const whole = await store.range<ObjectDocument>(query);
      const listed = await store.range<ObjectDocument>({ ...query, listing: true });
      t.deepEqual(
        listed.map(({ id, revision }) => [id, revision]),
        whole.map(({ id, revision }) => [id, revision]),
      );
      const shown: string[] = [
        'id',
        'isNull',
        'deleteMarker',
        'lastModified',
        'sizeBytes',
        'etag',
        'storageClass',
        'owner',
        'checksum',
        'restore',
      ];
      const empty = { parts: [], headers: {}, metadata: {}, operation: '' };
      listed.forEach(({ value }, at) => {
        const expected = (whole[at]?.value.versions.slice(0, 1) ?? []).map((version) => ({
          ...Object.fromEntries(Object.entries(version).filter(([name]) => shown.includes(name))),
          ...empty,
        }));
        t.deepEqual(value.versions as unknown, expected);
      });
      const without = await store.range({ ...query, without: ['history', 'operations'] });
      t.deepEqual(
        without.map(({ id }) => id),
        whole.map(({ id }) => id),
      );
    },
  );
}

function failures(promise: Register, medium: Medium): void {
  promise(
    'a process killed while it writes loses no acknowledged row and tears none',
    async (t, bench) => {
      const { store, child } = bench;
      for (let round = 0; round < 2; round += 1) {
        const prefix = `round ${round} `;
        const writer = child({ kind: 'write', prefix, inFlight: 32, bytes: 300 });
        const limit = Date.now() + 15_000;
        while (writer.lines.length < 500 && Date.now() < limit) await sleep(10);
        writer.process.kill('SIGKILL');
        await writer.ended;
        t.true(writer.lines.length >= 500, writer.lines.slice(-3).join('\n'));
        const rows = await allRows<{ n: number; filling: string }>(store, {
          table: 'objects',
          from: prefix,
          to: `${prefix}~`,
        });
        const found = new Set(rows.map(({ id }) => id));
        const lost = writer.lines.filter((line) => !found.has(`${prefix}${line}`));
        t.deepEqual(lost, []);
        for (const { id, value } of rows) {
          assert.equal(id, `${prefix}${value.n}`);
          assert.equal(value.filling.length, 300);
        }
        // The lock that it held must not stay taken.
        t.is((await store.insert('objects', `after ${round}`, { format: 1 })).outcome, 'done');
      }
    },
  );

  promise(
    'a value of a newer format is refused, its neighbours are served',
    async (t, { store }) => {
      await store.insert('objects', 'a', { format: 1 });
      await store.insert('objects', 'b', { format: 2, versions: 'elsewhere' });
      await store.insert('objects', 'c', { format: 1 });
      await rejectsWith(t, store.get('objects', 'b'), 'FormatUnknown');
      const read = await Promise.allSettled(['a', 'b', 'c'].map((id) => store.get('objects', id)));
      t.deepEqual(
        read.map(({ status }) => status),
        ['fulfilled', 'rejected', 'fulfilled'],
      );
      await rejectsWith(t, store.range({ table: 'objects', limit: 9 }), 'FormatUnknown');
      t.is((await store.range({ table: 'objects', limit: 9, after: 'b' })).length, 1);
      t.is((await store.range({ table: 'objects', limit: 9, to: 'b' })).length, 1);
    },
  );

  promise(
    'close ends what was begun, twice is fine, and what was acknowledged is there again',
    async (t, bench) => {
      const { place } = bench;
      const store = openPlace(place, 'closing');
      await rejectsWith(
        t,
        Promise.resolve().then(() => store.get('objects', 'k')),
        'MetadataUnavailable',
      );
      t.false(store.healthy());
      await store.close();
      await store.open();
      t.true(store.healthy());
      const begun = Array.from({ length: 50 }, (_, n) =>
        store.insert('objects', `k${n}`, { format: 1 }),
      );
      const closing = store.close();
      for (const result of await Promise.all(begun)) t.is(result.outcome, 'done');
      await closing;
      await store.close();
      t.false(store.healthy());
      await rejectsWith(t, store.get('objects', 'k1'), 'MetadataUnavailable');
      await rejectsWith(t, store.insert('objects', 'late', { format: 1 }), 'MetadataUnavailable');
      t.is(await bench.store.count('objects', { from: 'k' }), 50);
      t.is(bench.store.name, medium.name);
    },
  );
}

/** The port as a Map. */
class Model {
  readonly #rows = new Map<string, { revision: Revision; value: object }>();

  apply(change: Change, result: CommitResult): void {
    const held = this.#rows.get(change.id);
    const fits = change.kind === 'insert' ? held === undefined : held?.revision === change.expected;
    assert.equal(result.outcome, fits ? 'done' : 'conflict', JSON.stringify(change));
    if (result.outcome !== 'done') return;
    if (change.kind === 'remove') this.#rows.delete(change.id);
    else this.#rows.set(change.id, { revision: result.revision, value: change.value });
  }

  get(id: string): Row<object> | undefined {
    const held = this.#rows.get(id);
    return held && { id, ...held };
  }

  range({ from, after, to, limit, reverse }: RangeQuery): Row<object>[] {
    const ids = [...this.#rows.keys()].toSorted(compareUtf8).filter((id) => {
      if (after !== undefined ? compareUtf8(id, after) <= 0 : compareUtf8(id, from ?? '') < 0)
        return false;
      return to === undefined || compareUtf8(id, to) < 0;
    });
    if (reverse) ids.reverse();
    return ids.slice(0, limit).map((id) => this.get(id) as Row<object>);
  }
}

const LETTERS = ['a', 'b', '/', '\u0001', '\u007f', 'é', '\uffff', '\u{1f600}', '.', '$'];
const NAMES = ['format', 'n', 'a.b', '$c', '', 'pairs', 'x', '_bsontype', 'hasOwnProperty'];

function randomValue(dice: Dice, depth: number): unknown {
  switch (dice.roll(depth > 0 ? 9 : 6)) {
    case 0:
      return dice.roll(2) === 0;
    case 1:
      return null;
    case 2:
      return dice.roll(2 ** 31) * dice.pick([1, -1, 0.5, 4096, 2 ** 21]) + 1;
    case 3:
      return randomText(dice, 12);
    case 4:
      return randomText(dice, 40);
    case 5:
      return Uint8Array.from({ length: dice.roll(20) }, () => dice.roll(256));
    case 6:
      return Array.from({ length: dice.roll(4) }, () => randomValue(dice, depth - 1));
    default:
      return randomFields(dice, depth - 1);
  }
}

function randomFields(dice: Dice, depth: number): object {
  const names = Array.from({ length: dice.roll(4) }, () => dice.pick(NAMES));
  return Object.fromEntries(names.map((name) => [name, randomValue(dice, depth)]));
}

function randomText(dice: Dice, length: number): string {
  return Array.from({ length: dice.roll(length) }, () => dice.pick(LETTERS)).join('');
}

function randomDocument(dice: Dice): object {
  if (dice.roll(2) === 0) return { ...randomFields(dice, 3), format: 1 };
  const versions = Array.from({ length: dice.roll(4) }, (_, n) => {
    const version = { ...sampleVersion(n), ...randomFields(dice, 2) };
    return dice.roll(8) === 0 ? { ...version, parts: randomValue(dice, 2) } : version;
  });
  return {
    sequence: dice.roll(99),
    versions,
    history: [],
    ...Object.assign(randomFields(dice, 1), { format: 1 }),
  };
}

function model(promise: Register): void {
  promise('random changes and reads go as they go in a model', async (t, { store, twin }) => {
    const dice = new Dice(seedOf(t));
    const stores = [store, await twin()];
    const rows = new Model();
    const revisions: Revision[] = ['none'];
    const id = (): string => dice.pick(LETTERS) + randomText(dice, 4);
    const change = (): Change => {
      const target = id();
      const current = rows.get(target)?.revision;
      const expected = current !== undefined && dice.roll(5) > 0 ? current : dice.pick(revisions);
      const kind = dice.pick(['insert', 'insert', 'replace', 'replace', 'remove'] as const);
      const value = randomDocument(dice);
      if (kind === 'insert') return { kind, table: 'objects', id: target, value };
      if (kind === 'remove') return { kind, table: 'objects', id: target, expected };
      return { kind, table: 'objects', id: target, expected, value };
    };
    const learn = (each: Change, result: CommitResult): void => {
      rows.apply(each, result);
      if (result.outcome === 'done' && result.revision !== '') revisions.push(result.revision);
    };
    for (let step = 0; step < 500; step += 1) {
      const on = dice.pick(stores);
      const roll = dice.roll(10);
      if (roll < 5) {
        const each = change();
        if (each.kind === 'insert') learn(each, await on.insert('objects', each.id, each.value));
        else if (each.kind === 'replace') learn(each, await on.replace(each));
        else learn(each, await on.remove('objects', each.id, each.expected));
      } else if (roll < 6) {
        // A row once only: the changes of a bulk have no order.
        const each = new Map(
          Array.from({ length: dice.roll(8) }, change).map((one) => [one.id, one]),
        );
        const results = await on.bulk([...each.values()]);
        [...each.values()].forEach((one, at) => learn(one, results[at] as CommitResult));
      } else if (roll < 8) {
        const target = id();
        t.deepEqual(plain(await on.get<object>('objects', target)), plain(rows.get(target)));
      } else {
        const query: RangeQuery = {
          table: 'objects',
          limit: 1 + dice.roll(20),
          reverse: dice.roll(2) === 0,
        };
        if (dice.roll(2) === 0) query[dice.pick(['from', 'after'] as const)] = randomText(dice, 4);
        if (dice.roll(2) === 0) query.to = randomText(dice, 4);
        t.deepEqual(
          plain(await on.range<object>(query)),
          plain(rows.range(query)),
          JSON.stringify(query),
        );
      }
    }
  });
}
