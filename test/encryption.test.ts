// Encryption: what was to be sealed lies nowhere in the clear, opens for nobody without its key and
// for everybody with it, wherever a move, a pack or a restore has taken it.

import {
  createCipheriv,
  createDecipheriv,
  createHash,
  hkdfSync,
  randomBytes,
  randomInt,
} from 'node:crypto';
import { existsSync, readFileSync, readdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { CopyObjectCommand, GetObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { Upload as PartsUpload } from '@aws-sdk/lib-storage';
import test, { type ExecutionContext } from 'ava';

import { lineOf } from '../api/s3/access-line.ts';
import { moveVersions } from '../appliance/engine/move/move.ts';
import { FileKeys, lostKeys, proveKeys } from '../appliance/engine/bytes/named-keys.ts';
import { readKeys, writeKeys } from '../appliance/engine/bytes/named-keys.ts';
import { openEnvelope, unwrapKey, wrapKey } from '../appliance/engine/bytes/envelope.ts';
import { moveIntoPacks } from '../appliance/engine/move/pack-move.ts';
import { openBytes, sealingCipher, sealStream } from '../appliance/engine/bytes/sealed-bytes.ts';
import type { Encryption, EncryptionWish } from '../appliance/model/encryption.ts';
import { isFirnError, type ErrorCode } from '../appliance/model/errors.ts';
import { newLocationId, objectId } from '../appliance/model/ids.ts';
import { MiB } from '../appliance/model/limits.ts';
import type { ObjectDocument, Upload, UploadPart, Version } from '../appliance/model/object.ts';
import type { Pack } from '../appliance/model/location.ts';
import type { ByteRange } from '../appliance/model/tier.ts';
import { readPack, versionInPack } from '../tiers/pack/rebuild.ts';
import { RestoreWorker } from '../workers/restore.ts';
import { startFirn } from './firn-process.ts';
import { leaseOf, newRig, random, turnOf, versionsOf, wholeOf, type Rig } from './move-rig.ts';
import { checkRefusal, codeOf, elementOf, OWNER, REGION, send } from './s3-caller.ts';
import { startEndpoint, type Call } from './s3-caller.ts';
import { errorCode, s3Call } from './s3-fetch.ts';

const SEED = randomBytes(4).readUInt32BE();
const CANARY = Buffer.from('canary: nobody but its readers sees this line. ');
const CLIENT_KEY = Buffer.from('a client brings this key, 32 B..');
const OTHER_KEY = Buffer.from('and this is the key of another..');
const KEYS = new Map([
  ['backups', Buffer.from('the key that is called backups..')],
  ['media', Buffer.from('the key that is called media....')],
]);

const WISHES: EncryptionWish[] = [
  { kind: 'SSE-S3' },
  { kind: 'SSE-KMS', keyId: 'backups', context: 'eyJhIjoiYiJ9', bucketKey: true },
  { kind: 'SSE-C', clientKey: CLIENT_KEY },
];
const keyOf = (wish?: EncryptionWish): { clientKey?: Uint8Array } =>
  wish?.kind === 'SSE-C' ? { clientKey: wish.clientKey } : {};

const md5Of = (bytes: Uint8Array): string => createHash('md5').update(bytes).digest('hex');

/** Text that repeats a line which would be seen anywhere. */
function canary(sizeBytes: number): Uint8Array {
  const whole = new Uint8Array(sizeBytes);
  for (let at = 0; at < sizeBytes; at += CANARY.length) {
    whole.set(CANARY.subarray(0, Math.min(CANARY.length, sizeBytes - at)), at);
  }
  return whole;
}

async function rigWithKeys(): Promise<Rig> {
  const rig = await newRig();
  rig.context.namedKeys = new FileKeys({ keys: KEYS, defaultKeyId: 'media', random });
  return rig;
}

async function* inPieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length;) {
    const next = at + 1 + randomInt(200_000);
    yield bytes.subarray(at, next);
    await Promise.resolve();
    at = next;
  }
}

interface Put {
  key: string;
  body: Uint8Array;
  wish?: EncryptionWish | undefined;
  streams?: boolean;
}

async function put(rig: Rig, { key, body, wish, streams }: Put): Promise<Version> {
  const { version } = await rig.engine.putObject({
    bucket: 'data',
    key,
    body: streams === true ? inPieces(body) : body,
    owner: 'root',
    storageClass: 'STANDARD',
    headers: {},
    metadata: {},
    ...(wish !== undefined && { encryption: wish }),
  });
  return version;
}

interface Read {
  key: string;
  wish?: EncryptionWish | undefined;
  range?: ByteRange;
  partNumber?: number;
}

async function read(rig: Rig, { key, wish, ...of }: Read): Promise<Uint8Array> {
  const { body } = await rig.engine.getObject({ bucket: 'data', key, ...keyOf(wish), ...of });
  return wholeOf(body);
}

/** Whole, by ranges that begin and end anywhere, and around the edges of cipher blocks. */
async function readsBack(t: ExecutionContext, rig: Rig, what: Put): Promise<void> {
  const { key, body, wish } = what;
  const about = `${key} ${wish?.kind ?? 'plain'}`;
  t.is(Buffer.compare(await read(rig, { key, wish }), body), 0, about);
  const ranges: ByteRange[] = [15, 16, 17].map((offset) => ({ offset, length: 33 }));
  for (let i = 0; i < 12; i += 1) {
    ranges.push({ offset: randomInt(body.length), length: 1 + randomInt(body.length) });
  }
  ranges.push({ offset: -5, length: 5 });
  for (const range of ranges) {
    if (range.offset >= body.length) continue;
    const { offset, length } = range;
    const from = Math.max(0, offset < 0 ? body.length + offset : offset);
    const expected = body.subarray(from, from + length);
    const got = await read(rig, { key, wish, range });
    t.is(Buffer.compare(got, expected), 0, `${about} ${offset}+${length} SEED=${SEED}`);
  }
}

const spellings = (bytes: Uint8Array): Buffer[] => {
  const key = Buffer.from(bytes);
  const texts = ['hex', 'base64', 'base64url'] as const;
  return [key, ...texts.map((form) => Buffer.from(key.toString(form)))];
};

/** Everything that is durable: blobs of all tiers and rows of all tables, as one string of bytes. */
function everythingKept(rig: Rig): Buffer {
  const blobs = [rig.hot, rig.cold, rig.archive].flatMap((tier) =>
    [...tier.blobs.values()].map(({ bytes }) => Buffer.from(bytes)),
  );
  const tables = ['objects', 'uploads', 'parts', 'blocks', 'packs', 'settings'] as const;
  const rows = tables.flatMap((table) => rig.store.rowsOf<object>(table));
  return Buffer.concat([...blobs, Buffer.from(JSON.stringify(rows))]);
}

async function nothingLeaks(t: ExecutionContext, rig: Rig, when: string): Promise<void> {
  const kept = everythingKept(rig);
  t.false(kept.includes(CANARY), `${when}: the plain text`);
  const secrets: Uint8Array[] = [CLIENT_KEY, rig.context.masterKey, ...KEYS.values()];
  for (const { object, version } of await versionsOf(rig)) {
    const { encryption } = version;
    const clientKey = encryption?.kind === 'SSE-C' ? CLIENT_KEY : undefined;
    const dataKey = await openEnvelope(rig.context, { object, encryption, clientKey });
    t.truthy(dataKey, `${when}: ${object} is sealed`);
    if (dataKey !== undefined) secrets.push(dataKey);
  }
  secrets.push(createHash('md5').update(CLIENT_KEY).digest());
  for (const secret of secrets.flatMap(spellings)) t.false(kept.includes(secret), when);
}

async function refuses(
  t: ExecutionContext,
  work: Promise<unknown>,
  code: ErrorCode,
  what = '',
): Promise<void> {
  const error: unknown = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  t.true(isFirnError(error, code), `${what}: ${String(error)}`);
  const told = JSON.stringify(error, Object.getOwnPropertyNames(error ?? {}));
  for (const secret of [CLIENT_KEY, OTHER_KEY].flatMap(spellings))
    t.false(told.includes(`${secret}`));
}

test('what was sealed reads back whole and by any range, and is nowhere in the clear', async (t) => {
  const rig = await rigWithKeys();
  for (const wish of WISHES) {
    for (const sizeBytes of [1, 16, 1000, 300_001]) {
      const body = canary(sizeBytes);
      const key = `${wish.kind}/${sizeBytes}`;
      const version = await put(rig, { key, body, wish, streams: sizeBytes > 1000 });
      t.is(version.encryption?.kind, wish.kind);
      t.is(version.sizeBytes, sizeBytes);
      t.is(version.etag === md5Of(body), wish.kind === 'SSE-S3', 'clients compare one ETag only');
      t.regex(version.etag, /^[0-9a-f]{32}$/);
      await readsBack(t, rig, { key, body, wish });
    }
    const empty = await put(rig, { key: `${wish.kind}/empty`, body: new Uint8Array(0), wish });
    t.is(empty.encryption?.kind, wish.kind);
    t.is((await read(rig, { key: `${wish.kind}/empty`, wish })).length, 0);
  }
  await nothingLeaks(t, rig, 'put');
  // That the search finds what is there.
  await put(rig, { key: 'plain', body: canary(100) });
  t.true(everythingKept(rig).includes(CANARY));
  rig.close();
});

test('two objects, or two parts, of the same bytes never have the same sealed bytes', async (t) => {
  const rig = await rigWithKeys();
  const body = canary(1000);
  for (const key of ['a', 'a', 'b']) await put(rig, { key, body, wish: { kind: 'SSE-S3' } });
  const upload = await rig.engine.createUpload({
    ...newUpload('c'),
    encryption: { kind: 'SSE-S3' },
  });
  const part = { bucket: 'data', key: 'c', uploadId: upload.uploadId, body };
  const first = await rig.engine.putPart({ ...part, number: 1 });
  const again = await rig.engine.putPart({ ...part, number: 1 });
  await rig.engine.putPart({ ...part, number: 2 });
  t.is(first.etag, again.etag, 'a part that is sent again keeps its ETag');
  t.not(first.nonce, again.nonce);
  const blobs = [...rig.hot.blobs.values()].map(({ bytes }) => Buffer.from(bytes).toString('hex'));
  t.is(blobs.length, 6);
  t.is(new Set(blobs).size, blobs.length);
  rig.close();
});

function newUpload(key: string): Omit<Parameters<Rig['engine']['createUpload']>[0], 'encryption'> {
  const owner = { owner: 'root', storageClass: 'STANDARD', headers: {}, metadata: {} };
  return { bucket: 'data', key, ...owner };
}

for (const wish of WISHES) {
  test(`multipart under ${wish.kind}: ranges over parts, parts by number, through packs`, async (t) => {
    const rig = await rigWithKeys();
    const upload = await rig.engine.createUpload({ ...newUpload('big'), encryption: wish });
    const name = { bucket: 'data', key: 'big', uploadId: upload.uploadId };
    const sizes = [5 * MiB + 1, 5 * MiB, 70_003];
    const parts = [];
    const bytes = sizes.map(canary);
    for (const [i, body] of bytes.entries()) {
      const part = { ...name, number: i + 1, ...keyOf(wish) };
      if (i === 1) await rig.engine.putPart({ ...part, body: random.bytes(body.length) });
      const { etag, encryption } = await rig.engine.putPart({ ...part, body: inPieces(body) });
      t.deepEqual(encryption, upload.encryption);
      t.is(etag === md5Of(body), wish.kind === 'SSE-S3');
      parts.push({ number: i + 1, etag });
    }
    const { version } = await rig.engine.completeUpload({
      ...name,
      ...keyOf(wish),
      parts,
      owner: 'root',
    });
    t.deepEqual(version.encryption, upload.encryption);
    t.regex(version.etag, /-3$/);
    const whole = { key: 'big', body: new Uint8Array(Buffer.concat(bytes)), wish };
    await readsBack(t, rig, whole);
    const second = await read(rig, { key: 'big', wish, partNumber: 2 });
    t.is(Buffer.compare(second, bytes[1] as Uint8Array), 0);
    const over = { offset: sizes[0] as number, length: 20 };
    t.is(
      Buffer.from(await read(rig, { key: 'big', wish, range: over })).indexOf(
        CANARY.subarray(0, 20),
      ),
      0,
    );
    await packInto(rig, 'cold');
    await readsBack(t, rig, whole);
    await nothingLeaks(t, rig, 'packed');
    rig.close();
  });
}

async function packInto(rig: Rig, tier: 'cold' | 'archive'): Promise<void> {
  const storageClass = tier === 'cold' ? 'GLACIER_IR' : 'GLACIER';
  const lease = await leaseOf(rig, 'pack', `packer-${rig.clock.now()}`);
  const options = { kind: 'transition', tier, storageClass, lease } as const;
  const due = (await versionsOf(rig)).filter(({ parts }) => parts.length > 0);
  const counts = await moveIntoPacks(rig.core, due, options);
  await lease.release();
  if (counts.moved !== due.length) throw new Error(JSON.stringify(counts));
}

test('moves need no key: packed, promoted, archived and restored bytes stay sealed and open', async (t) => {
  const rig = await rigWithKeys();
  const all: Put[] = [undefined, ...WISHES].flatMap((wish) =>
    [700, 90_000].map((size) => ({
      key: `${wish?.kind ?? 'plain'}/${size}`,
      body: wish === undefined ? random.bytes(size) : canary(size),
      wish,
    })),
  );
  const etags = new Map<string, string>();
  for (const one of all) etags.set(one.key, (await put(rig, one)).etag);
  const check = async (when: string): Promise<void> => {
    for (const one of all) await readsBack(t, rig, one);
    for (const { key, version } of await versionsOf(rig))
      t.is(version.etag, etags.get(key) ?? '', when);
    t.false(everythingKept(rig).includes(CANARY), when);
  };
  await packInto(rig, 'cold');
  await check('cold');
  const lease = await leaseOf(rig, 'promote');
  const up = { kind: 'promote', tier: 'hot', storageClass: 'STANDARD', lease } as const;
  t.is((await moveVersions(rig.core, await versionsOf(rig), up)).moved, all.length);
  await check('promoted');
  await packInto(rig, 'archive');
  for (const { key, wish } of all) {
    await refuses(t, read(rig, { key, wish }), 'InvalidObjectState');
    await rig.engine.restoreObject({
      bucket: 'data',
      key,
      days: 60,
      tier: 'Standard',
      owner: 'root',
    });
  }
  for (let i = 0; i < 3; i += 1) {
    const turn = await turnOf(rig, 'restore');
    await new RestoreWorker(rig.core, () => undefined).run(turn);
    await turn.lease.release();
    rig.clock.pass(61_000);
  }
  await check('restored');
  rig.close();
});

test('a pack tells what it takes to open it: a rebuild from packs alone reads sealed objects', async (t) => {
  const rig = await rigWithKeys();
  for (const wish of WISHES) await put(rig, { key: wish.kind, body: canary(500), wish });
  await packInto(rig, 'cold');
  const [row] = rig.store.rowsOf<Pack>('packs');
  const pack = row?.value as Pack;
  const bytes = rig.cold.blobs.get(pack.blob.id)?.bytes as Uint8Array;
  const source = {
    sizeBytes: bytes.length,
    read: ({ offset, length }: ByteRange) =>
      Promise.resolve(bytes.subarray(offset, offset + length)),
  };
  let entries = 0;
  for await (const one of readPack(source)) {
    if (one.state !== 'whole') throw new Error(one.state);
    const { entry } = one;
    const rebuilt = versionInPack(entry, pack, () => newLocationId(rig.clock, random));
    const object = objectId(entry.bucketId, entry.key);
    const { encryption } = rebuilt;
    const clientKey = encryption?.kind === 'SSE-C' ? CLIENT_KEY : undefined;
    const dataKey = await openEnvelope(rig.context, { object, encryption, clientKey });
    const counter = Buffer.from(rebuilt.parts[0]?.nonce ?? '', 'base64');
    const seal = { dataKey: dataKey as Uint8Array, counter };
    const plain = openBytes(one.bytes, seal, 0) as Uint8Array;
    t.is(Buffer.compare(plain, canary(500)), 0, entry.key);
    entries += 1;
  }
  t.is(entries, WISHES.length);
  rig.close();
});

test('damaged sealed bytes in a cloud pack are found without any key, and never handed out', async (t) => {
  const rig = await rigWithKeys();
  for (const wish of WISHES) await put(rig, { key: wish.kind, body: canary(500), wish });
  await packInto(rig, 'cold');
  const [blob] = rig.cold.blobs.values();
  for (const { version, parts } of await versionsOf(rig)) {
    const { location } = parts[0] as Version['parts'][number];
    if (location.kind !== 'pack' || blob === undefined) throw new Error(version.id);
    (blob.bytes[location.offset + 7] as number) ^= 1;
  }
  for (const wish of WISHES) await refuses(t, read(rig, { key: wish.kind, wish }), 'Corrupt');
  rig.close();
});

test('copies from every kind to every kind: the source opened, the copy sealed as asked', async (t) => {
  const rig = await rigWithKeys();
  const body = canary(40_000);
  for (const from of [undefined, ...WISHES]) {
    await put(rig, { key: 'source', body, wish: from });
    for (const to of [undefined, ...WISHES, { kind: 'SSE-KMS' } as const]) {
      const source = { bucket: 'data', key: 'source' };
      const { version } = await rig.engine.copyObject({
        bucket: 'data',
        key: 'copy',
        source,
        owner: 'root',
        ...(from?.kind === 'SSE-C' && { sourceClientKey: from.clientKey }),
        ...(to !== undefined && { encryption: to }),
      });
      const about = `${from?.kind} to ${to?.kind}`;
      t.is(version.encryption?.kind, to?.kind, about);
      if (to?.kind === 'SSE-KMS')
        t.is(version.encryption?.keyId, 'keyId' in to ? 'backups' : 'media');
      await readsBack(t, rig, { key: 'copy', body, wish: to });
    }
  }
  rig.close();
});

test('without the key, or with another, nothing of an SSE-C object is read, copied or added to', async (t) => {
  const rig = await rigWithKeys();
  const wish = WISHES[2] as EncryptionWish;
  await put(rig, { key: 'k', body: canary(100), wish });
  await put(rig, { key: 'plain', body: canary(100) });
  const source = { bucket: 'data', key: 'k' };
  const upload = await rig.engine.createUpload({ ...newUpload('up'), encryption: wish });
  const name = { bucket: 'data', key: 'up', uploadId: upload.uploadId };
  const good = { ...name, number: 1, clientKey: CLIENT_KEY };
  const { etag } = await rig.engine.putPart({ ...good, body: canary(9) });
  const end = { ...name, owner: 'root', parts: [{ number: 1, etag }] };
  for (const key of [undefined, OTHER_KEY]) {
    const brings = key === undefined ? {} : { clientKey: key };
    const forSource = key === undefined ? {} : { sourceClientKey: key };
    const tries: Promise<unknown>[] = [
      rig.engine.getObject({ ...source, ...brings }),
      rig.engine.headObject({ ...source, ...brings, asksKey: true }),
      rig.engine.copyObject({ bucket: 'data', key: 'l', source, owner: 'root', ...forSource }),
      rig.engine.copyPart({ ...good, source, ...forSource }),
      rig.engine.putPart({ ...name, number: 2, body: canary(9), ...brings }),
      rig.engine.completeUpload({ ...end, ...brings }),
    ];
    for (const [i, one] of tries.entries()) await refuses(t, one, 'InvalidRequest', `try ${i}`);
  }
  const idle = { bucket: 'data', key: 'plain', clientKey: CLIENT_KEY };
  await refuses(t, rig.engine.getObject(idle), 'InvalidRequest', 'a key for what needs none');
  // A part that is missing is told before the key is asked for, as S3 does; metadata needs no key.
  await refuses(t, rig.engine.getObject({ ...source, partNumber: 2 }), 'InvalidPart');
  t.is((await rig.engine.headObject(source)).version.sizeBytes, 100);
  const { version } = await rig.engine.completeUpload({ ...end, clientKey: CLIENT_KEY });
  t.is(version.encryption?.kind, 'SSE-C');
  rig.close();
});

test('an envelope that is altered, or moved to another object, opens nothing', async (t) => {
  const rig = await rigWithKeys();
  for (const wish of WISHES) {
    const version = await put(rig, { key: 'k', body: canary(100), wish });
    const encryption = version.encryption as Encryption;
    const object = objectId(rig.bucket.id, 'k');
    const clientKey = wish.kind === 'SSE-C' ? CLIENT_KEY : undefined;
    const code = wish.kind === 'SSE-C' ? 'InvalidRequest' : 'Corrupt';
    const open = (altered: Encryption, of = object): Promise<unknown> =>
      openEnvelope(rig.context, { object: of, encryption: altered, clientKey });
    t.truthy(await open(encryption));
    await refuses(t, open(encryption, objectId(rig.bucket.id, 'other')), code);
    await refuses(t, open({ ...encryption, context: 'e30=' }), code);
    await refuses(t, open({ ...encryption, bucketKey: false }), code);
    if (wish.kind === 'SSE-KMS') {
      await refuses(t, open({ ...encryption, keyId: 'media' }), code);
      await refuses(t, open({ ...encryption, keyId: 'gone' }), 'KMS.NotFoundException');
    }
    const bytes = Buffer.from(encryption.sealedKey, 'base64');
    for (let at = 1; at < bytes.length; at += 1) {
      const flipped = Buffer.from(bytes);
      (flipped[at] as number) ^= 1 << randomInt(8);
      await refuses(t, open({ ...encryption, sealedKey: flipped.toString('base64') }), code);
    }
    await refuses(t, open({ ...encryption, sealedKey: '' }), code);
    bytes[0] = 2;
    const newer = { ...encryption, sealedKey: bytes.toString('base64') };
    await refuses(t, open(newer), 'FormatUnknown');
  }
  // A version that has lost its envelope, and one whose part says that it is plain.
  const object = objectId(rig.bucket.id, 'k');
  for (const lost of ['encryption', 'nonce'] as const) {
    await put(rig, { key: 'k', body: canary(100), wish: { kind: 'SSE-S3' } });
    const row = await rig.store.get<ObjectDocument>('objects', object);
    if (row === undefined) throw new Error('no row');
    const value = structuredClone(row.value);
    const version = value.versions[0] as Version;
    if (lost === 'encryption') delete version.encryption;
    else delete (version.parts[0] as Version['parts'][number]).nonce;
    await rig.store.replace({ table: 'objects', id: object, expected: row.revision, value });
    await refuses(t, read(rig, { key: 'k' }), 'Corrupt', lost);
  }
  rig.close();
});

test('the formats are those of ENCRYPTION.md, and stay', async (t) => {
  const plan = [Buffer.alloc(16, 0x11), Buffer.alloc(12, 0x22)];
  const fixed = { bytes: (count: number) => plan.shift()?.subarray(0, count) as Uint8Array };
  const wrapping = Buffer.alloc(32, 0x33);
  const dataKey = Buffer.from(Array.from({ length: 32 }, (_, i) => i));
  const boundTo = '["0123456789abcdef/k","SSE-S3",null,null,null]';
  const sealedKey = wrapKey(wrapping, fixed, { dataKey, boundTo });
  t.is(sealedKey, GOLDEN_KEY);
  t.deepEqual(unwrapKey(wrapping, { sealedKey, boundTo }), dataKey);
  // Read by the document alone.
  const bytes = Buffer.from(GOLDEN_KEY, 'base64');
  t.is(bytes.length, 77);
  t.is(bytes[0], 1);
  const salt = bytes.subarray(1, 17);
  const derived = Buffer.from(hkdfSync('sha256', wrapping, salt, 'firn data key 1', 32));
  const gcm = createDecipheriv('aes-256-gcm', derived, bytes.subarray(17, 29));
  gcm.setAAD(Buffer.from(boundTo));
  gcm.setAuthTag(bytes.subarray(29, 45));
  const opened = Buffer.concat([gcm.update(bytes.subarray(45)), gcm.final()]);
  t.deepEqual(opened, dataKey);
  const sealed = sealingCipher({ dataKey, counter: Buffer.alloc(16, 0xff) }).update(CANARY);
  t.is(sealed.toString('hex'), GOLDEN_BYTES);
  const ecb = createCipheriv('aes-256-ecb', dataKey, null).setAutoPadding(false);
  const stream = ecb.update(Buffer.concat([Buffer.alloc(16, 0xff), Buffer.alloc(16)]));
  const xor = stream.map((byte, i) => byte ^ (CANARY[i] as number));
  t.deepEqual(sealed.subarray(0, 32), Buffer.from(xor));
  t.is(writeKeys(new Map([['a/b', wrapping]])), GOLDEN_KEYS);
  t.deepEqual(readKeys(GOLDEN_KEYS, 'f'), new Map([['a/b', wrapping]]));
});

const GOLDEN_KEY =
  'AREREREREREREREREREREREiIiIiIiIiIiIiIiISZRNJ2Fu0xdtVZJ3mJC0UYqCSM3Mu1GZ47x08Pq3LMQf+ZCj4hcaQcl2gZwlrU4w=';
const GOLDEN_BYTES =
  '8af88a7c3ede4afa3de8731439f6778c87e420df5e3abfa2cc92fe0faf5d57f39538058e3ed1f696869af25f2dec16';
const GOLDEN_KEYS = `firn-named-keys 1
key a/b 3333333333333333333333333333333333333333333333333333333333333333
sum d15d0b7e164a037e5948ca54becbb22ef1b14fd5442676c0f65ff560cdb7feed
`;

test('any stretch of sealed bytes opens by itself, over the end of the counter too', async (t) => {
  const dataKey = random.bytes(32);
  for (const start of [
    random.bytes(16),
    Buffer.alloc(16, 0xff),
    Buffer.from(`${'0'.repeat(14)}fffffffffffffffff0`, 'hex'),
  ]) {
    const seal = { dataKey, counter: start };
    const plain = random.bytes(5000);
    const sealed = sealingCipher(seal).update(plain);
    const streamed = Buffer.concat(await Array.fromAsync(sealStream(inPieces(plain), seal)));
    t.deepEqual(streamed, sealed);
    for (let i = 0; i < 200; i += 1) {
      const from = randomInt(plain.length);
      const to = from + 1 + randomInt(plain.length - from);
      const opened = openBytes(sealed.subarray(from, to), seal, from) as Uint8Array;
      t.is(Buffer.compare(opened, plain.subarray(from, to)), 0, `${from} to ${to} SEED=${SEED}`);
    }
  }
});

test('the bucket default seals every write that asks for nothing, and an own wish wins', async (t) => {
  const rig = await rigWithKeys();
  await rig.engine.updateBucket('data', (bucket) => ({
    ...bucket,
    encryption: { algorithm: 'aws:kms', keyId: 'backups' },
  }));
  const version = await put(rig, { key: 'a', body: canary(10) });
  t.like(version.encryption, { kind: 'SSE-KMS', keyId: 'backups' });
  const wish = { kind: 'SSE-S3' } as const;
  t.is((await put(rig, { key: 'b', body: canary(10), wish })).encryption?.kind, 'SSE-S3');
  t.is((await rig.engine.createUpload(newUpload('c'))).encryption?.keyId, 'backups');
  const source = { bucket: 'data', key: 'b' };
  const copy = { bucket: 'data', key: 'd', source, owner: 'root' };
  t.is((await rig.engine.copyObject(copy)).version.encryption?.keyId, 'backups');
  // The default is no change of its own: S3 refuses such a copy with any bucket.
  await refuses(t, rig.engine.copyObject({ ...copy, key: 'b' }), 'InvalidRequest');
  const anew = await rig.engine.copyObject({ ...copy, key: 'b', encryption: wish });
  t.is(anew.version.encryption?.kind, 'SSE-S3');
  await rig.engine.updateBucket('data', (bucket) => ({
    ...bucket,
    encryption: { algorithm: 'aws:kms', keyId: 'gone' },
  }));
  await refuses(t, put(rig, { key: 'e', body: canary(10) }), 'KMS.NotFoundException');
  t.is(rig.store.rowsOf('objects').length, 3, 'nothing was written in the clear instead');
  rig.close();
});

test('a file of named keys that is torn, edited or another is refused, not half read', async (t) => {
  const text = writeKeys(KEYS);
  t.deepEqual(readKeys(text, 'f'), KEYS);
  const bad = (altered: string): void => {
    const error = t.throws(() => readKeys(altered, 'f'));
    t.true(isFirnError(error), altered);
    t.false(error.message.includes(Buffer.from(KEYS.get('media') as Uint8Array).toString('hex')));
  };
  for (let at = 0; at < text.length; at += 7) bad(text.slice(0, at));
  for (let at = 0; at < text.length; at += 11) {
    bad(`${text.slice(0, at)}${text[at] === '0' ? '1' : '0'}${text.slice(at + 1)}`);
  }
  bad(`${text}key late ${'0'.repeat(64)}\n`);
  const rig = await newRig();
  const context = { store: rig.store, random };
  await proveKeys(context, KEYS);
  await proveKeys(context, KEYS);
  const swapped = new Map(KEYS).set('media', Buffer.alloc(32, 1));
  await refuses(t, proveKeys(context, swapped), 'SettingsInvalid');
  t.deepEqual(await lostKeys(context, ['media', 'new'], new Map()), ['media']);
  t.throws(() => new FileKeys({ keys: KEYS, defaultKeyId: 'absent', random }));
  rig.close();
});

// ── By S3 ─────────────────────────────────────────────────────────────────────────────────────────

const METHOD = 'x-amz-server-side-encryption';
const KEY_ID = `${METHOD}-aws-kms-key-id`;
const BY_CLIENT = clientHeaders('x-amz-', CLIENT_KEY);

function clientHeaders(prefix: string, key: Uint8Array): Record<string, string> {
  const name = `${prefix}server-side-encryption-customer-`;
  return {
    [`${name}algorithm`]: 'AES256',
    [`${name}key`]: Buffer.from(key).toString('base64'),
    [`${name}key-md5`]: createHash('md5').update(key).digest('base64'),
  };
}

const without = (headers: Record<string, string>, end: string): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => !name.endsWith(end)));
const replaced = (headers: Record<string, string>, end: string, value: string): typeof headers =>
  Object.fromEntries(
    Object.entries(headers).map(([name, old]) => [name, name.endsWith(end) ? value : old]),
  );

test('wishes that are half, double or wrong are refused before a byte is kept', async (t) => {
  const endpoint = await startEndpoint();
  const cases: [Record<string, string>, string][] = [
    [without(BY_CLIENT, 'algorithm'), '400 InvalidArgument'],
    [without(BY_CLIENT, 'customer-key'), '400 InvalidArgument'],
    [without(BY_CLIENT, 'md5'), '400 InvalidArgument'],
    [replaced(BY_CLIENT, 'algorithm', 'AES128'), '400 InvalidEncryptionAlgorithmError'],
    [replaced(BY_CLIENT, 'md5', `${'A'.repeat(22)}==`), '400 InvalidArgument'],
    [clientHeaders('x-amz-', Buffer.alloc(16, 7)), '400 InvalidArgument'],
    [replaced(BY_CLIENT, 'customer-key', 'no base64 at all'), '400 InvalidArgument'],
    [{ ...BY_CLIENT, [METHOD]: 'AES256' }, '400 InvalidArgument'],
    [{ ...BY_CLIENT, [METHOD]: 'aws:kms' }, '400 InvalidArgument'],
    [{ [METHOD]: 'aes:kms' }, '400 InvalidArgument'],
    [{ [METHOD]: '' }, '400 InvalidArgument'],
    [{ [METHOD]: 'aws:kms:dsse' }, '501 NotImplemented'],
    [{ [METHOD]: 'AES256', [KEY_ID]: 'backups' }, '400 InvalidArgument'],
    [{ [KEY_ID]: 'backups' }, '400 InvalidArgument'],
    [{ [METHOD]: 'aws:kms' }, '400 InvalidArgument'],
    [{ [METHOD]: 'aws:kms', [KEY_ID]: 'absent' }, '400 KMS.NotFoundException'],
    [{ [METHOD]: 'aws:kms', [`${METHOD}-context`]: 'W10=' }, '400 InvalidArgument'],
  ];
  const tries = cases.flatMap(([headers, expected]) => [
    { method: 'PUT', path: '/bucket/k', body: 'x', headers, expected },
    { method: 'POST', path: '/bucket/k', query: 'uploads=', headers, expected },
  ]);
  await Promise.all(
    tries.map(async ({ expected, ...call }) => {
      const answer = await send(endpoint, call);
      t.is(`${answer.status} ${codeOf(answer)}`, expected, JSON.stringify(call));
      const key = call.headers['x-amz-server-side-encryption-customer-key'];
      if (key !== undefined) t.false(answer.text.includes(key));
    }),
  );
  t.is(endpoint.tiers.get('hot')?.blobs.size, 0);
  // How it is sealed is not for the reader to say.
  await send(endpoint, { method: 'PUT', path: '/bucket/k', body: 'x' });
  for (const headers of [{ [METHOD]: 'AES256' }, { [METHOD]: 'aws:kms', [KEY_ID]: 'backups' }]) {
    const answer = await send(endpoint, { path: '/bucket/k', headers });
    checkRefusal(answer, 400, 'InvalidArgument');
  }
  const part = { path: '/bucket/k', query: 'partNumber=1&uploadId=' };
  const begun = await send(endpoint, { method: 'POST', path: '/bucket/k', query: 'uploads=' });
  part.query += elementOf(begun, 'UploadId');
  const asking = { ...part, method: 'PUT', body: 'x', headers: { [METHOD]: 'AES256' } };
  checkRefusal(await send(endpoint, asking), 400, 'InvalidArgument');
  await endpoint.close();
});

test('answers tell how an object is sealed, to whoever wrote it and whoever reads it', async (t) => {
  const endpoint = await startEndpoint();
  const md5 = BY_CLIENT['x-amz-server-side-encryption-customer-key-md5'];
  const told = async (call: Call): Promise<unknown[]> => {
    const { status, headers } = await send(endpoint, call);
    const name = 'x-amz-server-side-encryption-customer-';
    return [status, headers[METHOD], headers[`${name}algorithm`], headers[`${name}key-md5`]];
  };
  const sealed = [200, 'AES256', undefined, undefined];
  const byClient = [200, undefined, 'AES256', md5];
  const putS3 = { method: 'PUT', path: '/bucket/s3', body: 'x', headers: { [METHOD]: 'AES256' } };
  t.deepEqual(await told(putS3), sealed);
  t.deepEqual(await told({ path: '/bucket/s3' }), sealed);
  t.deepEqual(await told({ method: 'HEAD', path: '/bucket/s3' }), sealed);
  const putC = { method: 'PUT', path: '/bucket/c', body: 'x', headers: BY_CLIENT };
  t.deepEqual(await told(putC), byClient);
  t.deepEqual(await told({ path: '/bucket/c', headers: BY_CLIENT }), byClient);
  t.deepEqual(await told({ path: '/bucket/c', headers: BY_CLIENT, auth: 'presigned' }), byClient);
  checkRefusal(await send(endpoint, { path: '/bucket/c' }), 400, 'InvalidRequest');
  t.is((await send(endpoint, { method: 'HEAD', path: '/bucket/c' })).status, 400);
  const copy = {
    method: 'PUT',
    path: '/bucket/copy',
    headers: {
      'x-amz-copy-source': '/bucket/c',
      ...clientHeaders('x-amz-copy-source-', CLIENT_KEY),
      [METHOD]: 'AES256',
    },
  };
  t.deepEqual(await told(copy), sealed);
  t.is((await send(endpoint, { path: '/bucket/copy' })).text, 'x');
  const seen = JSON.stringify(endpoint.records);
  for (const spelling of spellings(CLIENT_KEY)) t.false(seen.includes(`${spelling}`));
  await endpoint.close();
});

test('the line of an access log holds neither the key nor the signature of a presigned URL', async (t) => {
  const rig = await newRig();
  const name = 'X-Amz-Server-Side-Encryption-Customer-Key';
  const secret = Buffer.from(CLIENT_KEY).toString('hex');
  for (const spelled of [
    name,
    name.toLowerCase(),
    name.replaceAll('-', '%2D'),
    'X-Amz-Signature',
  ]) {
    const line = lineOf(
      {
        bucket: rig.bucket,
        key: 'k',
        place: { method: 'GET', level: 'object', subresource: undefined },
        url: `/data/k?a=1&${spelled}=${secret}&b=2`,
        httpVersion: '1.1',
        requester: 'root',
        requestId: 'R',
        status: 200,
        code: undefined,
        sentBytes: 1,
        durationMs: 1,
        remoteAddress: undefined,
        referer: undefined,
        userAgent: undefined,
        versionId: undefined,
        authentication: 'QueryString',
        host: undefined,
      },
      0,
    );
    t.false(line.includes(secret), spelled);
    t.regex(line, /a=1&.*=REDACTED&b=2/);
  }
  rig.close();
});

test('the bucket default by S3: strict in, canonical out, gone without a trace', async (t) => {
  const namedKeys = new FileKeys({ keys: KEYS, random });
  const endpoint = await startEndpoint({ namedKeys });
  const at = { path: '/bucket', query: 'encryption=' };
  const xml = (rule: string): string =>
    `<ServerSideEncryptionConfiguration><Rule>${rule}</Rule></ServerSideEncryptionConfiguration>`;
  const applied = (terms: string): string =>
    `<ApplyServerSideEncryptionByDefault>${terms}</ApplyServerSideEncryptionByDefault>`;
  const missing = 'ServerSideEncryptionConfigurationNotFoundError';
  checkRefusal(await send(endpoint, at), 404, missing);
  const aes = '<SSEAlgorithm>AES256</SSEAlgorithm>';
  const kms = '<SSEAlgorithm>aws:kms</SSEAlgorithm>';
  const bad: [string, string][] = [
    ['', '400 MalformedXML'],
    [applied(''), '400 MalformedXML'],
    [applied('<SSEAlgorithm>AES128</SSEAlgorithm>'), '400 MalformedXML'],
    [`${applied(aes)}<Other/>`, '400 MalformedXML'],
    [`${applied(aes)}${applied(aes)}`, '400 MalformedXML'],
    [`${applied(aes)}<BucketKeyEnabled>yes</BucketKeyEnabled>`, '400 MalformedXML'],
    [applied(`${aes}<KMSMasterKeyID>media</KMSMasterKeyID>`), '400 InvalidArgument'],
    [applied(`${kms}<KMSMasterKeyID>absent</KMSMasterKeyID>`), '400 KMS.NotFoundException'],
    [applied(kms), '400 InvalidArgument'],
  ];
  await Promise.all(
    bad.map(async ([rule, expected]) => {
      const answer = await send(endpoint, { ...at, method: 'PUT', body: xml(rule) });
      t.is(`${answer.status} ${codeOf(answer)}`, expected, rule);
    }),
  );
  checkRefusal(await send(endpoint, at), 404, missing);
  const rule = `${applied(`${kms}<KMSMasterKeyID>media</KMSMasterKeyID>`)}<BucketKeyEnabled>true</BucketKeyEnabled>`;
  t.is((await send(endpoint, { ...at, method: 'PUT', body: xml(rule) })).status, 200);
  t.true((await send(endpoint, at)).text.includes(`<Rule>${rule}</Rule>`));
  for (let twice = 0; twice < 2; twice += 1) {
    t.is((await send(endpoint, { ...at, method: 'DELETE' })).status, 204);
  }
  checkRefusal(await send(endpoint, at), 404, missing);
  await endpoint.close();
});

test('the SDK: an upload in parts under a client key, its digest made by the SDK, and back', async (t) => {
  const endpoint = await startEndpoint();
  const client = new S3Client({
    endpoint: `http://${endpoint.host}`,
    region: REGION,
    forcePathStyle: true,
    maxAttempts: 1,
    credentials: { accessKeyId: OWNER.accessKey, secretAccessKey: OWNER.secretKey },
  });
  const byClient = {
    SSECustomerAlgorithm: 'AES256',
    SSECustomerKey: CLIENT_KEY.toString('base64'),
  };
  const name = { Bucket: 'bucket', Key: 'large' };
  const body = random.bytes(11 * MiB + 5);
  await new PartsUpload({ client, params: { ...name, Body: body, ...byClient } }).done();
  const got = await client.send(new GetObjectCommand({ ...name, ...byClient }));
  t.is(got.SSECustomerAlgorithm, 'AES256');
  const back = await got.Body?.transformToByteArray();
  t.is(Buffer.compare(Buffer.from(back ?? []), body), 0);
  await t.throwsAsync(client.send(new GetObjectCommand(name)), { name: 'InvalidRequest' });
  const copied = await client.send(
    new CopyObjectCommand({
      Bucket: 'bucket',
      Key: 'copy',
      CopySource: 'bucket/large',
      CopySourceSSECustomerAlgorithm: 'AES256',
      CopySourceSSECustomerKey: byClient.SSECustomerKey,
      ServerSideEncryption: 'AES256',
    }),
  );
  t.is(copied.CopyObjectResult?.ETag, `"${md5Of(body)}"`);
  client.destroy();
  await endpoint.close();
});

// ── The real appliance ────────────────────────────────────────────────────────────────────────────

/** Every file below a folder that holds one of the needles, read once: segments are long. */
function filesWith(folder: string, needles: readonly Buffer[]): string[] {
  const names = readdirSync(folder, { recursive: true, withFileTypes: true });
  return names
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => {
      const bytes = readFileSync(path);
      return needles.some((needle) => bytes.includes(needle));
    });
}

test('on real drives, in metadata and in logs there is neither plain text nor key', async (t) => {
  const settings = {
    processes: 1,
    logLevel: 'debug',
    encryption: { keys: ['backups'], defaultKey: 'backups' },
  };
  let firn = await startFirn({ settings });
  t.teardown(() => firn.dispose());
  const data = join(firn.directory, 'data');
  const keyFile = join(data, 'key-ring');
  const wishes = [{ [METHOD]: 'AES256' }, { [METHOD]: 'aws:kms' }, BY_CLIENT];
  t.is((await s3Call(firn, { method: 'PUT', path: '/data' })).status, 200);
  const bodies = [canary(3000), canary(400_000)];
  for (const [i, headers] of wishes.entries()) {
    for (const body of bodies) {
      const path = `/data/${i}-${body.length}`;
      t.is((await s3Call(firn, { method: 'PUT', path, headers, body })).status, 200);
    }
  }
  const readAll = async (): Promise<void> => {
    for (const [i, headers] of wishes.entries()) {
      for (const body of bodies) {
        const path = `/data/${i}-${body.length}`;
        const brings = headers === BY_CLIENT ? { headers: BY_CLIENT } : {};
        const answer = await s3Call(firn, { method: 'GET', path, ...brings });
        t.is(Buffer.compare(answer.body, body), 0, path);
      }
    }
  };
  await readAll();
  const wrong = { headers: clientHeaders('x-amz-', OTHER_KEY) };
  const refused = await s3Call(firn, { method: 'GET', path: '/data/2-3000', ...wrong });
  t.is(errorCode(refused), 'InvalidRequest');
  const named = readKeys(readFileSync(keyFile, 'utf8'), keyFile).get('backups') as Uint8Array;
  const secrets = [CLIENT_KEY, OTHER_KEY, named].flatMap(spellings);
  t.deepEqual(filesWith(data, [CANARY, ...secrets]), [keyFile]);
  for (const secret of secrets) t.false(firn.output().includes(`${secret}`));
  // That the search finds what is there.
  const plain = { method: 'PUT', path: '/data/plain', body: canary(3000) };
  t.is((await s3Call(firn, plain)).status, 200);
  t.true(filesWith(data, [CANARY]).length > 0);
  await firn.stop();
  renameSync(keyFile, `${keyFile}.lost`);
  await t.throwsAsync(firn.restart(), { message: /has lost backups/ });
  t.false(existsSync(keyFile), 'a lost key is not made anew');
  renameSync(`${keyFile}.lost`, keyFile);
  firn = await firn.restart();
  await readAll();
});

test('no row of an upload or of its parts holds a key', async (t) => {
  const rig = await rigWithKeys();
  const wish = WISHES[2] as EncryptionWish;
  const upload = await rig.engine.createUpload({ ...newUpload('k'), encryption: wish });
  const name = { bucket: 'data', key: 'k', uploadId: upload.uploadId, clientKey: CLIENT_KEY };
  await rig.engine.putPart({ ...name, number: 1, body: canary(5000) });
  const rows = [...rig.store.rowsOf<Upload>('uploads'), ...rig.store.rowsOf<UploadPart>('parts')];
  t.is(rows.length, 2);
  const kept = everythingKept(rig);
  for (const secret of spellings(CLIENT_KEY)) t.false(kept.includes(secret));
  t.false(kept.includes(CANARY));
  rig.close();
});
