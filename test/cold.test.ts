// Cold tiers: one contract on a directory (both kinds), Azurite, fake-gcs-server and versitygw,
// then what each medium can do to us beside: foreign roots, missing mounts, damaged files, broken
// networks.

import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, open, readdir, rename, rm } from 'node:fs/promises';
import { readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import type { Clock, Random } from '../appliance/model/clock.ts';
import type { BlobLocation, RemoteLocation } from '../appliance/model/location.ts';
import type { Tier } from '../appliance/model/tier.ts';
import { S3Client } from '../tiers/cold/s3/s3-client.ts';
import { buildS3Tier, type S3TierSettings } from '../tiers/cold/s3/s3-tier.ts';
import { buildAzureTier, type AzureTierSettings } from '../tiers/cold/azure/azure-tier.ts';
import {
  GLACIER_STANDARD_MS,
  pass,
  REHYDRATE_MS,
  startGlacierDouble,
  startProxy,
  startRehydrationDouble,
  withFault,
  type Fault,
} from './archive-double.ts';
import { buildGcsTier, type GcsTierSettings } from '../tiers/cold/gcs/gcs-tier.ts';
import { startFirn, type RunningFirn } from './firn-process.ts';
import {
  findGcs,
  findS3Gateway,
  startAzurite,
  startGcs,
  startS3Gateway,
  type Found,
} from './peers.ts';
import { buildColdTier, type ColdTierSettings } from '../tiers/cold/build.ts';
import { checksumOf } from '../tiers/checksum.ts';
import { DirectoryTier } from '../tiers/cold/directory/directory-tier.ts';
import { LateTier } from '../tiers/cold/late-tier.ts';
import {
  bytesOf,
  failsWith,
  freshId,
  reusedChunks,
  sampleBytes,
  tierContract,
  type TierHarness,
  type TierRegistrar,
} from './contract/tier.ts';

// Before the first test is declared: ava takes no declaration after a wait.
const [gatewayFound, gcsFound] = await Promise.all([findS3Gateway(), findGcs()]);

const random: Random = { bytes: (count) => randomBytes(count) };

class HandClock implements Clock {
  #offset = 0;
  wall(): number {
    return Date.now();
  }
  now(): number {
    return Date.now() + this.#offset;
  }
  advance(ms: number): void {
    this.#offset += ms;
  }
}

const nameOf = (location: BlobLocation): string => (location as RemoteLocation).name;
const owner = { bucketId: '00112233445566ff', key: 'k' };

async function scratch(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'firn-cold-'));
}

async function flipByte(path: string, at: number): Promise<void> {
  const file = await open(path, 'r+');
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, at);
  byte[0] = (byte[0] as number) ^ 0x10;
  await file.write(byte, 0, 1, at);
  await file.close();
}

// --- directory ---------------------------------------------------------------------------------

async function directoryHarness(retrieval: 'immediate' | 'staged'): Promise<TierHarness> {
  const base = await scratch();
  const directory = join(base, 'root');
  const clock = new HandClock();
  const settings = { kind: 'directory', name: 'cold', directory, retrieval } as const;
  const make = (): DirectoryTier =>
    new DirectoryTier({ ...settings, stageSeconds: 60 }, { clock, random });
  const tier = make();
  await tier.open();
  return {
    tier,
    cleanup: async () => {
      await tier.close();
      await rm(base, { recursive: true, force: true });
    },
    corrupt: (location) =>
      flipByte(join(directory, nameOf(location)), Math.floor(location.length * 0.7)),
    advance: (ms) => {
      clock.advance(ms);
      return Promise.resolve();
    },
    unopenable: () => new DirectoryTier({ ...settings, directory: tmpdir() }, { clock, random }),
    twin: async () => {
      const twin = make();
      await twin.open();
      return twin;
    },
  };
}

tierContract(test, 'directory', () => directoryHarness('immediate'), {
  refusesWrongChecksum: true,
});
tierContract(test, 'directory, staged', () => directoryHarness('staged'), {
  refusesWrongChecksum: true,
  stageMs: 60_000,
});

async function inDirectory(
  use: (tier: DirectoryTier, directory: string, clock: HandClock) => Promise<void>,
  more: { retrieval?: 'staged'; storeId?: string } = {},
): Promise<void> {
  const base = await scratch();
  const directory = join(base, 'root');
  const clock = new HandClock();
  const tier = new DirectoryTier(
    { kind: 'directory', name: 'cold', directory, ...more },
    { clock, random },
  );
  await tier.open();
  try {
    await use(tier, directory, clock);
  } finally {
    await tier.close();
    await rm(base, { recursive: true, force: true });
  }
}

const directoryTier = (directory: string, more: { name?: string; storeId?: string } = {}) =>
  new DirectoryTier(
    { kind: 'directory', name: 'cold', directory, ...more },
    { clock: new HandClock(), random },
  );

test('directory: a root of another tier, store, or of strangers is refused and left alone', async (t) => {
  await inDirectory(
    async (_, directory) => {
      await failsWith(t, 'DriveForeign', () => directoryTier(directory, { name: 'other' }).open());
      await failsWith(t, 'DriveForeign', () => directoryTier(directory, { storeId: 'b' }).open());
      await directoryTier(directory, { storeId: 'a' }).open();
      const strangers = await scratch();
      await writeFile(join(strangers, 'thesis.txt'), 'mine');
      await failsWith(t, 'DriveForeign', () => directoryTier(strangers).open());
      t.deepEqual(await readdir(strangers), ['thesis.txt']);
      await writeFile(join(strangers, 'firn-tier.json'), '{"kind":');
      await failsWith(t, 'DriveForeign', () => directoryTier(strangers).open());
      await rm(strangers, { recursive: true });
      const identity = join(directory, 'firn-tier.json');
      const text = await readFile(identity, 'utf8');
      await writeFile(identity, text.replace('"format":1', '"format":2'));
      await failsWith(t, 'FormatUnknown', () => directoryTier(directory).open());
    },
    { storeId: 'a' },
  );
});

test('directory: a missing mount is unavailable, not a lost object, and takes no bytes', async (t) => {
  await inDirectory(async (tier, directory) => {
    const bytes = sampleBytes(1000);
    const { location } = await tier.put({ id: freshId(), body: bytes, owner });
    await rename(directory, `${directory}.away`);
    await failsWith(t, 'TierUnavailable', () => tier.read(location));
    await mkdir(directory);
    await failsWith(t, 'TierUnavailable', () => tier.read(location));
    await failsWith(t, 'TierUnavailable', () => tier.put({ id: freshId(), body: bytes, owner }));
    t.deepEqual(await readdir(directory), [], 'nothing was written into the empty mount point');
    await rm(directory, { recursive: true });
    await rename(`${directory}.away`, directory);
    t.deepEqual(Buffer.from(await bytesOf(await tier.read(location))), Buffer.from(bytes));
  });
});

test('a known place that is away at the start holds nobody up, and is served once it is back', async (t) => {
  await inDirectory(async (tier, directory, clock) => {
    const bytes = sampleBytes(1000);
    const { location } = await tier.put({ id: freshId(), body: bytes, owner });
    const settings = { kind: 'directory', name: tier.name, directory } as const;
    await rename(directory, `${directory}.away`);
    const missing = new DirectoryTier({ ...settings, isKnown: true }, { clock, random });
    const told: string[] = [];
    const late = new LateTier(missing, { noticed: (event) => told.push(event), againMs: 20 });
    await late.open();
    t.deepEqual(told, ['away']);
    await failsWith(t, 'TierUnavailable', () => late.read(location));
    await failsWith(t, 'TierUnavailable', () => late.put({ id: freshId(), body: bytes, owner }));
    await failsWith(t, 'TierUnavailable', async () => {
      for await (const _ of late.list()) t.fail();
    });
    await mkdir(directory);
    await new Promise((resolve) => setTimeout(resolve, 100));
    t.deepEqual(await readdir(directory), [], 'an empty mount point is not made a new root');
    await rm(directory, { recursive: true });
    await rename(`${directory}.away`, directory);
    while (told.length === 1) await new Promise((resolve) => setTimeout(resolve, 10));
    t.deepEqual(told, ['away', 'back']);
    t.deepEqual(Buffer.from(await bytesOf(await late.read(location))), Buffer.from(bytes));
    await late.close();
    const known = { ...settings, isKnown: true };
    const foreign = await buildColdTier({ ...known, name: 'other' }, { clock, random });
    await failsWith(t, 'DriveForeign', () => foreign.open());
  });
});

test('directory: no key leads a path out of the root', async (t) => {
  await inDirectory(async (tier, directory) => {
    const keys = [
      '../../../x',
      '/etc/passwd',
      '..',
      '.',
      '',
      'a\u0000b',
      'ü'.repeat(500),
      '.hidden',
      'nul\r\n',
      '-rf',
      'x'.repeat(1024),
      'a/b/',
      'CON',
      '%2e%2e%2f',
    ];
    for (const key of keys) {
      const { location } = await tier.put({
        id: freshId(),
        body: sampleBytes(5),
        owner,
        name: key,
      });
      t.regex(
        nameOf(location),
        /^objects\/[0-9a-f]{2}\/[0-9a-f]{32}-[A-Za-z0-9_-][A-Za-z0-9._-]*$/,
      );
      t.is((await tier.verify(location)).sizeBytes, 5);
    }
    t.deepEqual((await readdir(directory)).toSorted(), [
      'drafts',
      'firn-tier.json',
      'objects',
      'packs',
      'staged',
    ]);
    const forged = { kind: 'remote', tier: 'cold', length: 5, id: freshId() } as const;
    for (const name of ['../../etc/passwd', `packs/zz/${forged.id}.zip`, 'firn-tier.json']) {
      await t.throwsAsync(tier.read({ ...forged, name }));
      await t.throwsAsync(tier.delete({ ...forged, name }));
    }
  });
});

test('directory: every kind of damage is Corrupt, never bytes', async (t) => {
  const damages: [string, (path: string) => Promise<void>][] = [
    ['data cut short', (path) => truncate(path, 100_000)],
    ['data emptied', (path) => truncate(path, 0)],
    ['data grown', (path) => writeFile(path, 'x', { flag: 'a' })],
    ['a bit of data', (path) => flipByte(path, 180_000)],
    ['label gone', (path) => rm(`${path}~label`)],
    ['label magic', (path) => flipByte(`${path}~label`, 2)],
    ['label header', (path) => flipByte(`${path}~label`, 40)],
    [
      'label sums cut',
      async (path) => truncate(`${path}~label`, (await sizeOf(`${path}~label`)) - 9),
    ],
    ['label emptied', (path) => truncate(`${path}~label`, 0)],
  ];
  for (const [what, damage] of damages) {
    await inDirectory(async (tier, directory) => {
      const bytes = sampleBytes(200_000);
      const id = freshId();
      const { location } = await tier.put({ id, body: bytes, owner });
      await damage(join(directory, nameOf(location)));
      await failsWith(t, 'Corrupt', async () => bytesOf(await tier.read(location)));
      await failsWith(t, 'Corrupt', () => tier.verify(location));
      t.pass(what);
    });
  }
});

const truncate = async (path: string, length: number): Promise<void> => {
  const file = await open(path, 'r+');
  await file.truncate(length);
  await file.close();
};
const sizeOf = async (path: string): Promise<number> => (await readFile(path)).length;

test('directory: labels written by earlier versions stay readable (golden file)', async (t) => {
  const golden = join(import.meta.dirname, '../tiers/cold/directory/example.golden.label');
  const bytes = sampleBytes(70_000, 99);
  const id = '019ad3f0c0000123456789abcdef0123';
  await inDirectory(async (tier, directory) => {
    const { location } = await tier.put({ id, body: bytes, owner });
    const label = join(directory, `${nameOf(location)}~label`);
    if (process.env['FIRN_WRITE_GOLDEN'] === '1') await writeFile(golden, await readFile(label));
    t.deepEqual(await readFile(label), await readFile(golden));
    await writeFile(label, await readFile(golden));
    t.is(checksumOf(await bytesOf(await tier.read(location))), checksumOf(bytes));
    const newer = Buffer.from(await readFile(golden));
    newer.writeUInt32LE(2, 8);
    await writeFile(label, newer);
    await failsWith(t, 'FormatUnknown', async () => bytesOf(await tier.read(location)));
  });
});

test('directory: putting the same bytes again heals what was damaged since', async (t) => {
  await inDirectory(async (tier, directory) => {
    const bytes = sampleBytes(200_000);
    const id = freshId();
    const { location } = await tier.put({ id, body: bytes, owner });
    await flipByte(join(directory, nameOf(location)), 3);
    await tier.put({ id, body: bytes, owner });
    t.deepEqual(Buffer.from(await bytesOf(await tier.read(location))), Buffer.from(bytes));
  });
});

test('directory: a crash at any step leaves nothing readable or the whole blob', async (t) => {
  await inDirectory(async (tier, directory) => {
    const bytes = sampleBytes(100_000);
    const id = freshId();
    const { location } = await tier.put({ id, body: bytes, owner });
    const path = join(directory, nameOf(location));
    // Between label and bytes: the name is claimed, nothing is there.
    await rm(path);
    await failsWith(t, 'TierMissing', () => tier.read(location));
    const listed = await Array.fromAsync(tier.list());
    t.deepEqual(listed, []);
    await failsWith(t, 'TierConflict', () =>
      tier.put({ id, body: sampleBytes(100_000, 2), owner }),
    );
    await tier.put({ id, body: bytes, owner });
    t.is((await tier.verify(location)).sizeBytes, bytes.length);
    // Drafts of a crash go at a later start, young ones stay.
    const old = new Date(Date.now() - 3 * 86_400_000);
    await writeFile(join(directory, 'drafts', 'old'), 'x');
    await utimes(join(directory, 'drafts', 'old'), old, old);
    await writeFile(join(directory, 'drafts', 'young'), 'x');
    await directoryTier(directory).open();
    t.deepEqual(await readdir(join(directory, 'drafts')), ['young']);
  });
});

test('directory: eight writers of one name with different bytes, one wins, all others know', async (t) => {
  await inDirectory(async (_, directory) => {
    for (let round = 0; round < 10; round += 1) {
      const id = freshId();
      const tiers = Array.from({ length: 8 }, () => directoryTier(directory));
      const results = await Promise.allSettled(
        tiers.map(async (tier, i) => {
          await tier.open();
          return tier.put({ id, body: sampleBytes(3000, i + 1), owner });
        }),
      );
      const won = results.flatMap((r) => (r.status === 'fulfilled' ? [r.value] : []));
      t.is(won.length, 1);
      for (const r of results) {
        if (r.status === 'rejected') t.is((r.reason as { code?: string }).code, 'TierConflict');
      }
      const first = won[0];
      const reader = tiers[0];
      if (first === undefined || reader === undefined) continue;
      t.is((await reader.verify(first.location)).checksum, first.checksum);
    }
  });
});

test('directory, staged: priorities differ, a raise brings it nearer, and a restart forgets nothing', async (t) => {
  await inDirectory(
    async (tier, directory, clock) => {
      const { location } = await tier.put({ id: freshId(), body: sampleBytes(10), owner });
      await tier.stage(location, { priority: 'Bulk', days: 1 });
      const bulk = await tier.stageStatus(location);
      await tier.stage(location, { priority: 'Expedited', days: 1 });
      const raised = await tier.stageStatus(location);
      await tier.stage(location, { priority: 'Bulk', days: 1 });
      t.deepEqual(await tier.stageStatus(location), raised, 'never made later again');
      t.true(bulk.state === 'staging' && raised.state === 'staging');
      if (bulk.state !== 'staging' || raised.state !== 'staging') return;
      t.true((raised.readyAt ?? 0) < (bulk.readyAt ?? 0));
      const again = new DirectoryTier(
        { kind: 'directory', name: 'cold', directory, retrieval: 'staged' },
        { clock, random },
      );
      await again.open();
      t.deepEqual(await again.stageStatus(location), raised);
      clock.advance(60_000);
      const ready = await again.stageStatus(location);
      t.is(ready.state, 'ready');
    },
    { retrieval: 'staged' },
  );
});

// --- s3 ----------------------------------------------------------------------------------------

/** Registers a suite, or as many skipped tests with the reason where its server cannot be had. */
function registerWith(found: Found, name: string): TierRegistrar {
  if ('path' in found) return test;
  process.stderr.write(`${name}: skipped, ${found.missing}\n`);
  return { serial: test.serial.skip };
}

let gateway: Awaited<ReturnType<typeof startS3Gateway>> | undefined;
let gcs: Awaited<ReturnType<typeof startGcs>> | undefined;
let azurite: Awaited<ReturnType<typeof startAzurite>>;

test.before(async () => {
  azurite = await startAzurite();
  if ('path' in gatewayFound) gateway = await startS3Gateway();
  if ('path' in gcsFound) gcs = await startGcs();
});
test.after.always(async () => {
  const firn = await secondFirn?.catch(() => undefined);
  await Promise.all([gateway?.stop(), gcs?.stop(), azurite?.stop(), firn?.dispose()]);
});

/** Quick to give up and to try again, so that faults are seen in test time. */
const quick = { timeoutMs: 10_000, backoffMs: 5, concurrency: 4 } as const;

interface S3Place {
  endpoint: string;
  accessKey: string;
  secretKey: string;
  region: string;
}

function gatewayPlace(): S3Place {
  if (gateway === undefined) throw new Error('the gateway is not running');
  const { url: endpoint, accessKey, secretKey, region } = gateway;
  return { endpoint, accessKey, secretKey, region };
}

/** Another Firn, started when it is first needed. */
let secondFirn: Promise<RunningFirn> | undefined;

async function firnPlace(): Promise<S3Place> {
  secondFirn ??= startFirn();
  const { endpoint, accessKey, secretKey } = await secondFirn;
  return { endpoint, accessKey, secretKey, region: 'us-east-1' };
}

async function freshBucket(
  at: S3Place = gatewayPlace(),
): Promise<{ settings: S3TierSettings; client: S3Client }> {
  const { endpoint, accessKey, secretKey, region } = at;
  const bucket = `cold-${randomBytes(6).toString('hex')}`;
  const place = { endpoint, bucket, accessKey, secretKey, region, prefix: 'a b/' };
  const client = new S3Client({ ...place, concurrency: 2, timeoutMs: 10_000 });
  await client.done({ method: 'PUT', signal: AbortSignal.timeout(10_000) });
  return {
    settings: { kind: 's3', name: 'cold', partBytes: 5 * 1024 * 1024, ...quick, ...place },
    client,
  };
}

async function opened(tier: Tier): Promise<Tier> {
  await tier.open();
  return tier;
}

async function s3Harness(kind: 'immediate' | 'staged'): Promise<TierHarness> {
  const { settings, client } = await freshBucket();
  const clock = new HandClock();
  const double =
    kind === 'staged' ? await startGlacierDouble(settings.endpoint, () => clock.now()) : undefined;
  const glacier = {
    retrieval: 'staged',
    storageClass: 'GLACIER',
    endpoint: double?.url ?? '',
  } as const;
  const make = (more: Partial<S3TierSettings> = {}): Tier =>
    buildS3Tier({ ...settings, ...(double === undefined ? {} : glacier), ...more }, { random });
  const tier = await opened(make());
  return {
    tier,
    cleanup: async () => {
      await tier.close();
      await client.close();
      await double?.stop();
    },
    corrupt: (location) =>
      flipByte(
        join(gateway?.directory ?? '', settings.bucket, 'a b', nameOf(location)),
        Math.floor(location.length * 0.7),
      ),
    advance: (ms) => {
      clock.advance(ms);
      return Promise.resolve();
    },
    unopenable: () => make({ bucket: 'no-such-bucket', retries: 0 }),
    twin: () => opened(make()),
  };
}

const clouds = {
  refusesWrongChecksum: true,
  verifiesRanges: false,
  largeBytes: 6 * 1024 * 1024 + 5,
} as const;
const withGateway = registerWith(gatewayFound, 's3');
tierContract(withGateway, 's3 (versitygw)', () => s3Harness('immediate'), clouds);
tierContract(withGateway, 's3, staged (Glacier double)', () => s3Harness('staged'), {
  ...clouds,
  stageMs: GLACIER_STANDARD_MS,
});

async function firnHarness(): Promise<TierHarness> {
  const { settings, client } = await freshBucket(await firnPlace());
  const make = (more: Partial<S3TierSettings> = {}): Tier =>
    buildS3Tier({ ...settings, ...more }, { random });
  const tier = await opened(make());
  return {
    tier,
    cleanup: async () => {
      await tier.close();
      await client.close();
    },
    unopenable: () => make({ bucket: 'no-such-bucket', retries: 0 }),
    twin: () => opened(make()),
  };
}

tierContract(test, 's3 (a second Firn)', firnHarness, clouds);

// --- azure -------------------------------------------------------------------------------------

async function freshContainer(): Promise<string> {
  const { account, accountKey, url } = azurite;
  const container = `cold-${randomBytes(6).toString('hex')}`;
  const { BlobServiceClient, StorageSharedKeyCredential } = await import('@azure/storage-blob');
  const credential = new StorageSharedKeyCredential(account, accountKey);
  await new BlobServiceClient(url, credential).createContainer(container);
  return container;
}

async function azureHarness(accessTier: 'Cold' | 'Archive'): Promise<TierHarness> {
  const clock = new HandClock();
  const { account, accountKey, url } = azurite;
  const double =
    accessTier === 'Archive' ? await startRehydrationDouble(url, () => clock.now()) : undefined;
  const endpoint = double === undefined ? url : `${double.url}/${account}`;
  const container = await freshContainer();
  const settings: AzureTierSettings = {
    kind: 'azure',
    name: 'cold',
    prefix: 'a b/',
    partBytes: 1024 * 1024,
    ...quick,
    account,
    accountKey,
    endpoint,
    container,
    accessTier,
  };
  const make = (more: Partial<AzureTierSettings> = {}): Tier =>
    buildAzureTier({ ...settings, ...more }, { clock, random });
  const tier = await opened(make());
  return {
    tier,
    cleanup: async () => {
      await tier.close();
      await double?.stop();
    },
    corrupt: (location) => damageExtent(nameOf(location)),
    advance: (ms) => {
      clock.advance(ms);
      return Promise.resolve();
    },
    unopenable: () => make({ container: 'no-such-container', retries: 0 }),
    twin: () => opened(make()),
  };
}

/** Azurite appends blobs to extent files: damages the newest one near its end. */
async function damageExtent(name: string): Promise<void> {
  const folder = join(azurite.directory, '__blobstorage__');
  const files = await Promise.all(
    (await readdir(folder)).map(async (file) => {
      const path = join(folder, file);
      const { mtimeMs, size } = await stat(path);
      return { path, mtimeMs, size };
    }),
  );
  const newest = files.toSorted((a, b) => b.mtimeMs - a.mtimeMs)[0];
  if (newest === undefined) throw new Error(`no extent holds ${name}`);
  await flipByte(newest.path, newest.size - 1000);
}

tierContract(test, 'azure (Azurite)', () => azureHarness('Cold'), clouds);
tierContract(test, 'azure, Archive (rehydration double)', () => azureHarness('Archive'), {
  ...clouds,
  stageMs: REHYDRATE_MS,
});

// --- gcs ---------------------------------------------------------------------------------------

async function gcsHarness(): Promise<TierHarness> {
  if (gcs === undefined) throw new Error('the emulator is not running');
  const { url: endpoint, directory } = gcs;
  const bucket = `cold-${randomBytes(6).toString('hex')}`;
  await fetch(`${endpoint}/storage/v1/b?project=firn`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ name: bucket }),
  });
  const settings: GcsTierSettings = {
    kind: 'gcs',
    name: 'cold',
    projectId: 'firn',
    prefix: 'a b/',
    storageClass: 'ARCHIVE',
    partBytes: 1024 * 1024,
    ...quick,
    endpoint,
    bucket,
  };
  const make = (more: Partial<GcsTierSettings> = {}): Tier =>
    buildGcsTier({ ...settings, ...more }, { random });
  const tier = await opened(make());
  return {
    tier,
    cleanup: () => tier.close(),
    corrupt: async (location) => {
      const base = join(directory, bucket);
      const files = await readdir(base, { recursive: true });
      const file = files.find((path) => decodeURIComponent(path).endsWith(nameOf(location)));
      await flipByte(join(base, file ?? ''), Math.floor(location.length * 0.7));
    },
    unopenable: () => make({ bucket: 'no-such-bucket', retries: 0 }),
    twin: () => opened(make()),
  };
}

tierContract(registerWith(gcsFound, 'gcs'), 'gcs (fake-gcs-server)', gcsHarness, clouds);

// --- a bad network -----------------------------------------------------------------------------

interface Faulty {
  tier: Tier;
  /** Which requests meet which fault; undefined: none. */
  plan(fault: (number: number, method: string, repeat: number) => Fault | undefined): void;
  requests(): number;
  cleanup(): Promise<void>;
}

const impatient = { backoffMs: 2, restMs: 200, concurrency: 4 } as const;

/** An Azure or S3 tier whose every request passes a proxy that does as planned. */
async function faulty(kind: 'azure' | 's3', timeoutMs = 20_000): Promise<Faulty> {
  let plan: Parameters<Faulty['plan']>[0] = () => undefined;
  let count = 0;
  const seen = new Map<string, number>();
  const target = kind === 'azure' ? azurite.url : (gateway?.url ?? '');
  const proxy = await startProxy(target, async (exchange) => {
    count += 1;
    const { method, path, query } = exchange;
    const asked = `${method} ${path} ${query.toString()}`;
    seen.set(asked, (seen.get(asked) ?? 0) + 1);
    const fault = plan(count, method, seen.get(asked) ?? 0);
    await (fault === undefined ? pass(exchange) : withFault(fault, exchange));
  });
  let tier: Tier;
  let client: S3Client | undefined;
  if (kind === 'azure') {
    const { account, accountKey } = azurite;
    const container = await freshContainer();
    const endpoint = `${proxy.url}/${account}`;
    const place = { account, accountKey, container, endpoint, partBytes: 1024 * 1024 };
    const settings = { kind: 'azure', name: 'cold', ...place, ...impatient, timeoutMs } as const;
    tier = buildAzureTier(settings, { clock: new HandClock(), random });
  } else {
    const bucket = await freshBucket();
    ({ client } = bucket);
    tier = buildS3Tier(
      { ...bucket.settings, ...impatient, timeoutMs, endpoint: proxy.url },
      { random },
    );
  }
  await tier.open();
  return {
    tier,
    plan: (fault) => {
      count = 0;
      seen.clear();
      plan = fault;
    },
    requests: () => count,
    cleanup: async () => {
      await tier.close();
      await client?.close();
      await proxy.stop();
    },
  };
}

const repeatedFaults: Fault[] = [
  'reply-lost',
  'unavailable',
  'reset-mid-body',
  'short-body',
  'refuse',
  'throttled',
];

for (const kind of ['azure', 's3'] as const) {
  const register: TierRegistrar = kind === 's3' ? withGateway : test;

  register.serial(
    `${kind}: every second request fails, and still no byte is lost or wrong`,
    async (t) => {
      const f = await faulty(kind);
      try {
        // Azurite is slow: it meets the faults that differ by client, the gateway all of them.
        const faults = kind === 's3' ? repeatedFaults : repeatedFaults.slice(0, 4);
        for (const fault of faults) {
          // A short answer to anything but a read is not what a connection can do to us.
          const onlyReads = fault === 'short-body' || fault === 'reset-mid-body';
          f.plan((_, method, repeat) => {
            if (onlyReads && method !== 'GET') return undefined;
            return repeat % 2 === 1 ? fault : undefined;
          });
          const small = sampleBytes(20_000, 3);
          const large = sampleBytes(kind === 's3' ? 6_000_000 : 2_500_000, 4);
          const a = await f.tier.put({ id: freshId(), body: small, owner });
          const b = await f.tier.put({ id: freshId(), body: reusedChunks(large), owner });
          t.is(a.checksum, checksumOf(small));
          t.is(b.checksum, checksumOf(large));
          const readSmall = await bytesOf(await f.tier.read(a.location));
          t.is(checksumOf(readSmall), checksumOf(small), fault);
          const readLarge = await bytesOf(await f.tier.read(b.location));
          t.is(checksumOf(readLarge), checksumOf(large), fault);
          const range = { offset: 1_000_000, length: 1_300_000 };
          const part = await bytesOf(await f.tier.read(b.location, { range }));
          t.is(checksumOf(part), checksumOf(large.subarray(1_000_000, 2_300_000)), fault);
          t.is((await f.tier.verify(b.location)).checksum, checksumOf(large));
          const listed = await Array.fromAsync(f.tier.list());
          t.is(listed.length, 2, `${fault}: an unknown outcome makes no second blob`);
          await f.tier.delete(a.location);
          await f.tier.delete(b.location);
          t.is((await f.tier.usage()).blobs, 0);
        }
      } finally {
        await f.cleanup();
      }
    },
  );

  register.serial(
    `${kind}: a service that is down gives no acknowledgement, and is given a rest`,
    async (t) => {
      const f = await faulty(kind);
      try {
        const bytes = sampleBytes(5000, 5);
        const { location } = await f.tier.put({ id: freshId(), body: bytes, owner });
        f.plan(() => 'unavailable');
        const id = freshId();
        for (let i = 0; i < 3; i += 1) {
          await failsWith(t, 'TierUnavailable', () => f.tier.put({ id, body: bytes, owner }));
        }
        const asked = f.requests();
        await failsWith(t, 'TierUnavailable', () => f.tier.read(location));
        t.is(f.requests(), asked, 'the breaker is open: nothing was asked');
        f.plan(() => undefined);
        await new Promise((resolve) => {
          setTimeout(resolve, 300);
        });
        t.is(checksumOf(await bytesOf(await f.tier.read(location))), checksumOf(bytes));
        t.is((await f.tier.put({ id, body: bytes, owner })).checksum, checksumOf(bytes));
      } finally {
        await f.cleanup();
      }
    },
  );

  register.serial(
    `${kind}: an answer that never comes is waited for no longer than allowed`,
    async (t) => {
      const f = await faulty(kind, 1000);
      try {
        const bytes = sampleBytes(5000, 7);
        const control = new AbortController();
        f.plan((_n, method, repeat) => (method !== 'HEAD' && repeat === 1 ? 'stall' : undefined));
        const { location } = await f.tier.put({ id: freshId(), body: bytes, owner });
        t.is(checksumOf(await bytesOf(await f.tier.read(location))), checksumOf(bytes));
        f.plan(() => 'stall');
        setTimeout(() => control.abort(new Error('the reader left')), 50);
        await t.throwsAsync(f.tier.verify(location, control.signal), {
          message: 'the reader left',
        });
      } finally {
        await f.cleanup();
      }
    },
  );

  register.serial(`${kind}: a bit that flips on the way is found by a whole read`, async (t) => {
    const f = await faulty(kind);
    try {
      for (const size of [5000, 3_000_000]) {
        const bytes = sampleBytes(size, 6);
        f.plan(() => undefined);
        const { location } = await f.tier.put({ id: freshId(), body: bytes, owner });
        f.plan((_, method) => (method === 'GET' ? 'flipped-bit' : undefined));
        await failsWith(t, 'Corrupt', async () => bytesOf(await f.tier.read(location)));
        const found = await f.tier.verify(location).catch(() => undefined);
        t.not(found?.checksum, checksumOf(bytes));
      }
    } finally {
      await f.cleanup();
    }
  });
}

test('build: settings make the tier they name, and nonsense is refused before anything is asked', async (t) => {
  const ports = { clock: new HandClock(), random };
  const keys = { accessKey: 'a', secretKey: 'b' };
  const s3 = { kind: 's3', name: 'x', bucket: 'b', ...keys } as const;
  const endpoint = 'https://s3.example.com';
  const kinds: [ColdTierSettings, 'immediate' | 'staged'][] = [
    [{ kind: 'directory', name: 'x', directory: '/nowhere' }, 'immediate'],
    [{ kind: 'directory', name: 'x', directory: '/nowhere', retrieval: 'staged' }, 'staged'],
    [{ ...s3, endpoint }, 'immediate'],
    [{ ...s3, endpoint, retrieval: 'staged', storageClass: 'GLACIER' }, 'staged'],
    [{ kind: 'gcs', name: 'x', bucket: 'b' }, 'immediate'],
    [{ kind: 'azure', name: 'x', account: 'a', accountKey: 'Zm9v', container: 'c' }, 'immediate'],
    [
      {
        kind: 'azure',
        name: 'x',
        account: 'a',
        accountKey: 'Zm9v',
        container: 'c',
        accessTier: 'Archive',
      },
      'staged',
    ],
  ];
  for (const [settings, retrieval] of kinds) {
    const tier = await buildColdTier(settings, ports);
    t.is(tier.name, 'x');
    t.is(tier.retrieval, retrieval);
    t.is(tier.capabilities.priorities.length > 0, retrieval === 'staged');
    await failsWith(t, 'TierUnavailable', () =>
      tier.put({ id: freshId(), body: sampleBytes(1), owner }),
    );
    await tier.close();
  }
  for (const wrong of ['s3.example.com', 'ftp://s3.example.com', 'https://s3.example.com/bucket']) {
    await failsWith(t, 'SettingsInvalid', () => buildColdTier({ ...s3, endpoint: wrong }, ports));
  }
  await failsWith(t, 'SettingsInvalid', () =>
    buildColdTier({ ...s3, endpoint, retrieval: 'staged' }, ports),
  );
});

withGateway.serial(
  's3: a place of another tier or store is refused, and create-only is known',
  async (t) => {
    const { settings, client } = await freshBucket();
    const mine = await opened(buildS3Tier({ ...settings, storeId: 'one' }, { random }));
    t.true(mine.capabilities.createOnly, 'versitygw honours If-None-Match');
    for (const other of [{ storeId: 'two' }, { name: 'another' }]) {
      const tier = buildS3Tier({ ...settings, storeId: 'one', ...other }, { random });
      await failsWith(t, 'DriveForeign', () => tier.open());
      await tier.close();
    }
    await mine.close();
    await client.close();
  },
);

withGateway.serial(
  's3: a service without create-only is found out, and looked at before each put',
  async (t) => {
    const { settings, client } = await freshBucket();
    const proxy = await startProxy(settings.endpoint, async (exchange) => {
      // As a service answers that has never heard of the header.
      if (exchange.headers['if-none-match'] === undefined) await pass(exchange);
      else exchange.reply({ status: 501, body: '<Error><Code>NotImplemented</Code></Error>' });
    });
    const tier = await opened(buildS3Tier({ ...settings, endpoint: proxy.url }, { random }));
    t.false(tier.capabilities.createOnly);
    const id = freshId();
    for (const size of [3000, 6_000_000]) {
      const body = sampleBytes(size, 1);
      const { location } = await tier.put({ id, body, owner, name: `${size}` });
      await tier.put({ id, body, owner, name: `${size}` });
      const other = sampleBytes(size, 2);
      await failsWith(t, 'TierConflict', () =>
        tier.put({ id, body: other, owner, name: `${size}` }),
      );
      t.is((await tier.verify(location)).checksum, checksumOf(body));
    }
    await tier.close();
    await client.close();
    await proxy.stop();
  },
);

withGateway.serial(
  's3: wrong keys, a wrong bucket and a missing blob are three different answers',
  async (t) => {
    const { settings, client } = await freshBucket();
    const tier = await opened(buildS3Tier(settings, { random }));
    const { location } = await tier.put({ id: freshId(), body: sampleBytes(10), owner });
    await tier.delete(location);
    await failsWith(t, 'TierMissing', () => tier.read(location));
    await failsWith(t, 'TierMissing', () =>
      tier.read(location, { range: { offset: 1, length: 2 } }),
    );
    await rm(join(gateway?.directory ?? '', settings.bucket, 'a b', 'firn-tier.json'));
    await failsWith(t, 'TierUnavailable', () => tier.read(location));
    await rm(join(gateway?.directory ?? '', settings.bucket), { recursive: true });
    await failsWith(t, 'TierUnavailable', () => tier.read(location));
    await failsWith(t, 'TierUnavailable', () =>
      tier.read(location, { range: { offset: 1, length: 2 } }),
    );
    await tier.close();
    const denied = buildS3Tier({ ...settings, secretKey: 'wrong-secret', retries: 0 }, { random });
    const error = await t.throwsAsync(denied.open());
    t.is((error as { code?: string }).code, 'TierUnavailable');
    t.regex((error as { hint?: string }).hint ?? '', /credentials/);
    t.notRegex(String(error?.message), /wrong-secret/);
    await denied.close();
    await client.close();
  },
);

test.serial(
  'clouds: blobs go into the class that was set, the identity stays where it can be read',
  async (t) => {
    const container = await freshContainer();
    const { account, accountKey, url } = azurite;
    const place = { account, accountKey, container, endpoint: url, accessTier: 'Archive' } as const;
    const archive = await opened(
      buildAzureTier(
        { kind: 'azure', name: 'cold', ...quick, ...place },
        { clock: new HandClock(), random },
      ),
    );
    const azureBlob = await archive.put({ id: freshId(), body: sampleBytes(9), owner });
    const { BlobServiceClient, StorageSharedKeyCredential } = await import('@azure/storage-blob');
    const client = new BlobServiceClient(url, new StorageSharedKeyCredential(account, accountKey));
    const tierOf = async (name: string): Promise<string | undefined> =>
      (await client.getContainerClient(container).getBlobClient(name).getProperties()).accessTier;
    t.is(await tierOf(nameOf(azureBlob.location)), 'Archive');
    t.not(await tierOf('firn-tier.json'), 'Archive');
    await archive.close();
    if (gcs === undefined) return;
    const h = await gcsHarness();
    for (const size of [9, 3_000_000])
      await h.tier.put({ id: freshId(), body: sampleBytes(size), owner });
    const stored = (await Array.fromAsync(h.tier.list())).map(({ location }) => nameOf(location));
    const classes = await gcsClasses();
    t.deepEqual(
      stored.map((name) => classes.get(`a b/${name}`)),
      ['ARCHIVE', 'ARCHIVE'],
    );
    t.is(classes.get('a b/firn-tier.json'), 'STANDARD');
    await h.cleanup();
  },
);

/** Storage class of every object of the emulator, by name. */
async function gcsClasses(): Promise<Map<string, string>> {
  const items = async (path: string): Promise<{ name: string; storageClass: string }[]> => {
    const answer = (await (await fetch(`${gcs?.url}/storage/v1/${path}`)).json()) as {
      items?: { name: string; storageClass: string }[];
    };
    return answer.items ?? [];
  };
  const buckets = await items('b?project=firn');
  const objects = await Promise.all(buckets.map(({ name }) => items(`b/${name}/o`)));
  return new Map(objects.flat().map(({ name, storageClass }) => [name, storageClass]));
}

// --- the real services -------------------------------------------------------------------------

const real = (...names: string[]): Record<string, string> | undefined => {
  const values = names.map((name) => [name, process.env[name] ?? '']);
  const absent = values.filter(([, value]) => value === '').map(([name]) => name);
  if (absent.length === 0) return Object.fromEntries(values) as Record<string, string>;
  process.stderr.write(`cold: the real service is not tested, ${absent.join(', ')} not set\n`);
  return undefined;
};

/**
 * A place of its own below the bucket, emptied afterwards; a lifecycle rule there should expire it.
 */
const realPrefix = (): string => `firn-test/${randomBytes(6).toString('hex')}/`;

async function realHarness(make: () => Tier): Promise<TierHarness> {
  const tier = await opened(make());
  return {
    tier,
    cleanup: async () => {
      if (!(await tier.usage().catch(() => undefined))) await tier.open();
      for await (const { location } of tier.list()) await tier.delete(location);
      await tier.close();
    },
    twin: () => opened(make()),
  };
}

const S3_REAL = ['ENDPOINT', 'REGION', 'BUCKET', 'ACCESS_KEY', 'SECRET_KEY'].map(
  (name) => `FIRN_TEST_REAL_S3_${name}`,
);
const realS3 = real(...S3_REAL);
if (realS3 !== undefined) {
  const [endpoint, region, bucket, accessKey, secretKey] = S3_REAL.map(
    (name) => realS3[name] ?? '',
  );
  const make = (): Promise<TierHarness> => {
    const place = { endpoint, region, bucket, accessKey, secretKey, prefix: realPrefix() };
    const settings = { kind: 's3', name: 'cold', ...place } as S3TierSettings;
    return realHarness(() => buildS3Tier(settings, { random }));
  };
  tierContract(test, 's3 (real)', make, clouds);
}

const realGcs = real('FIRN_TEST_REAL_GCS_BUCKET', 'FIRN_TEST_REAL_GCS_KEY_FILE');
if (realGcs !== undefined) {
  const make = (): Promise<TierHarness> => {
    const settings: GcsTierSettings = {
      kind: 'gcs',
      name: 'cold',
      bucket: realGcs['FIRN_TEST_REAL_GCS_BUCKET'] ?? '',
      keyFile: realGcs['FIRN_TEST_REAL_GCS_KEY_FILE'],
      prefix: realPrefix(),
    };
    return realHarness(() => buildGcsTier(settings, { random }));
  };
  tierContract(test, 'gcs (real)', make, clouds);
}

const AZURE_REAL = ['ACCOUNT', 'ACCOUNT_KEY', 'CONTAINER'].map(
  (name) => `FIRN_TEST_REAL_AZURE_${name}`,
);
const realAzure = real(...AZURE_REAL);
if (realAzure !== undefined) {
  const [account = '', accountKey = '', container = ''] = AZURE_REAL.map((name) => realAzure[name]);
  const make = (): Promise<TierHarness> => {
    const place = { account, accountKey, container, prefix: realPrefix() };
    const settings: AzureTierSettings = {
      kind: 'azure',
      name: 'cold',
      accessTier: 'Hot',
      ...place,
    };
    return realHarness(() => buildAzureTier(settings, { clock: new HandClock(), random }));
  };
  tierContract(test, 'azure (real)', make, clouds);
}
