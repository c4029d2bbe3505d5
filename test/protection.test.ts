// Object lock, tags, what is told of an object, websites, and configurations that are kept. What a
// user would lose: a record that had to stay and was removed by a side door, a page that nobody
// published, a setting that was half understood.

import { randomBytes } from 'node:crypto';
import test, { type ExecutionContext } from 'ava';

import { commitObject } from '../appliance/engine/document/commit.ts';
import { expireVersion } from '../appliance/engine/object/expire.ts';
import { moveVersions } from '../appliance/engine/move/move.ts';
import { moveIntoPacks } from '../appliance/engine/move/pack-move.ts';
import type { Engine } from '../appliance/engine/engine.ts';
import type { Bucket } from '../appliance/model/bucket.ts';
import { DAY_MS } from '../appliance/model/clock.ts';
import { isFirnError } from '../appliance/model/errors.ts';
import { objectId } from '../appliance/model/ids.ts';
import type { Retention, Version, VersionAttributes } from '../appliance/model/object.ts';
import type { HeadAnswer } from '../appliance/model/requests.ts';
import { house, NOON, seeded, type House } from './engine-harness.ts';
import { leaseOf, newRig, put as putInRig, putParts, versionsOf, wholeOf } from './move-rig.ts';
import {
  codeOf,
  elementOf,
  OWNER,
  send,
  sendWire,
  startEndpoint,
  STRANGER,
  type Answer,
  type Call,
  type Endpoint,
} from './s3-caller.ts';

const WEB = 'web.test';
let shared: Endpoint;

test.before(async () => {
  shared = await startEndpoint({ websiteDomain: WEB });
});

test.after.always(() => shared.close());

const call = (one: Call): Promise<Answer> => send(shared, one);
const newName = (): string => `b-${randomBytes(6).toString('hex')}`;
const iso = (ms: number): string => new Date(ms).toISOString();
const soon = (): number => Math.floor(Date.now() / 1000) * 1000 + 30 * DAY_MS;

async function ok(one: Call, status = 200): Promise<Answer> {
  const answer = await call(one);
  if (answer.status !== status) {
    throw new Error(`${one.method ?? 'GET'} ${one.path}?${one.query ?? ''}: ${answer.text}`);
  }
  return answer;
}

/** A bucket with object lock. */
async function lockedBucket(): Promise<string> {
  const name = newName();
  const headers = { 'x-amz-bucket-object-lock-enabled': 'true' };
  await ok({ method: 'PUT', path: `/${name}`, headers });
  return name;
}

async function put(
  path: string,
  headers: Record<string, string> = {},
  body = 'record',
): Promise<string> {
  const answer = await ok({ method: 'PUT', path, headers, body });
  return answer.headers['x-amz-version-id'] as string;
}

const BYPASS = { 'x-amz-bypass-governance-retention': 'true' };
const lockHeaders = (mode: string, until = soon()): Record<string, string> => ({
  'x-amz-object-lock-mode': mode,
  'x-amz-object-lock-retain-until-date': iso(until),
});
const HELD = { 'x-amz-object-lock-legal-hold': 'ON' };

const deleteXml = (key: string, versionId: string): string =>
  `<Delete><Object><Key>${key}</Key><VersionId>${versionId}</VersionId></Object></Delete>`;
const retentionXml = (mode: string, until: number): string =>
  `<Retention><Mode>${mode}</Mode><RetainUntilDate>${iso(until)}</RetainUntilDate></Retention>`;
const holdXml = (status: string): string => `<LegalHold><Status>${status}</Status></LegalHold>`;

/** Every way in which the api lets somebody try to be rid of a version. */
async function tryToRemove(bucket: string, key: string, versionId: string): Promise<void> {
  const path = `/${bucket}/${key}`;
  const version = `versionId=${versionId}`;
  const denied = async (one: Call): Promise<void> => {
    const answer = await call(one);
    if (codeOf(answer) !== 'AccessDenied') throw new Error(`${one.query}: ${answer.text}`);
  };
  await denied({ method: 'DELETE', path, query: version });
  await denied({
    method: 'POST',
    path: `/${bucket}`,
    query: 'delete',
    body: deleteXml(key, versionId),
  });
  // These succeed, and take away nothing.
  await put(path, {}, 'other');
  await ok({ method: 'PUT', path, headers: { 'x-amz-copy-source': `${path}?${version}` } });
  const upload = elementOf(await ok({ method: 'POST', path, query: 'uploads' }), 'UploadId');
  const part = await ok({
    method: 'PUT',
    path,
    query: `partNumber=1&uploadId=${upload}`,
    body: 'part',
  });
  await ok({
    method: 'POST',
    path,
    query: `uploadId=${upload}`,
    body: `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${part.headers.etag}</ETag></Part></CompleteMultipartUpload>`,
  });
  await ok({ method: 'DELETE', path }, 204);
}

async function judgedByLifecycle(bucket: string, key: string, versionId: string): Promise<string> {
  return expireVersion(shared.engine.core, {
    bucket: await shared.engine.getBucket(bucket),
    key,
    versionId,
    effect: 'remove-version',
    place: 'noncurrent',
  });
}

for (const [name, headers] of [
  ['COMPLIANCE', lockHeaders('COMPLIANCE')],
  ['GOVERNANCE', lockHeaders('GOVERNANCE')],
  ['a legal hold', HELD],
] as const) {
  test(`a version under ${name} is not removed by any path`, async (t) => {
    const bucket = await lockedBucket();
    const path = `/${bucket}/record`;
    const versionId = await put(path, headers);
    await tryToRemove(bucket, 'record', versionId);
    t.is(await judgedByLifecycle(bucket, 'record', versionId), 'locked');
    const query = `versionId=${versionId}`;
    if (name !== 'GOVERNANCE') {
      const answer = await call({ method: 'DELETE', path, query, headers: BYPASS });
      t.is(codeOf(answer), 'AccessDenied', 'nor by who passes over GOVERNANCE');
    }
    const answer = await call({ method: 'DELETE', path: `/${bucket}` });
    t.is(codeOf(answer), 'BucketNotEmpty');
    t.is((await ok({ path, query })).text, 'record');
    // And who may, may: else the tries above would show nothing.
    if (name === 'GOVERNANCE') {
      await ok({ method: 'DELETE', path, query, headers: BYPASS }, 204);
      t.is((await call({ path, query })).status, 404);
    }
  });
}

test('retention ends by its date, and lifecycle then does what it was kept from', async (t) => {
  const endpoint = await startEndpoint();
  const { engine, clock } = endpoint;
  await engine.createBucket({
    name: 'lock',
    owner: 'owner',
    region: 'r',
    with: { versioning: 'enabled', objectLock: {} },
  });
  const retention: Retention = { mode: 'COMPLIANCE', until: clock.now() + DAY_MS };
  const { version } = await putAt(engine, 'lock', 'k', { retention });
  await putAt(engine, 'lock', 'k', {});
  const expiry = {
    bucket: await engine.getBucket('lock'),
    key: 'k',
    versionId: version.id,
    effect: 'remove-version',
    place: 'noncurrent',
  } as const;
  t.is(await expireVersion(engine.core, expiry), 'locked');
  clock.offsetMs += DAY_MS + 1000;
  t.is(await expireVersion(engine.core, expiry), 'expired');
  await endpoint.close();
});

function putAt(
  engine: Engine,
  bucket: string,
  key: string,
  attributes: VersionAttributes,
): Promise<HeadAnswer> {
  return engine
    .putObject({
      bucket,
      key,
      body: Buffer.from('bytes'),
      owner: 'owner',
      storageClass: 'STANDARD',
      headers: {},
      metadata: {},
      ...attributes,
    })
    .then(({ version }) => engine.headObject({ bucket, key, versionId: idOf(version) }));
}

const idOf = (version: Version): string => (version.isNull ? 'null' : version.id);

async function codeOfRejection(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'done';
  } catch (error) {
    if (isFirnError(error)) return error.code;
    throw error;
  }
}

// The api suspends no bucket with object lock: this is what the engine does if one is suspended all
// the same, by a race or by hand.
test('a locked null version is not replaced where versioning is suspended', async (t) => {
  const { engine } = house();
  await engine.createBucket({ name: 'data', owner: 'owner', region: 'r' });
  const lock: VersionAttributes = { legalHold: true };
  for (const state of ['off', 'suspended'] as const) {
    const key = `k-${state}`;
    const held = await putAt(engine, 'data', key, lock);
    await engine.updateBucket('data', (bucket) => ({ ...bucket, versioning: state }));
    await putAt(engine, 'data', 'source', {});
    const name = { bucket: 'data', key };
    const source = { bucket: 'data', key: 'source' };
    const created = { ...name, owner: 'owner', storageClass: 'STANDARD', headers: {} };
    const upload = await engine.createUpload({ ...created, metadata: {} });
    const { uploadId } = upload;
    const part = await engine.putPart({ ...name, uploadId, number: 1, body: Buffer.from('p') });
    const parts = [{ number: 1, etag: part.etag }];
    const tries: [string, () => Promise<unknown>][] = [
      ['put', () => putAt(engine, 'data', key, {})],
      ['copy', () => engine.copyObject({ ...name, source, owner: 'owner' })],
      ['complete', () => engine.completeUpload({ ...name, uploadId, owner: 'owner', parts })],
      ['delete', () => engine.deleteObject({ ...name, owner: 'owner' })],
      [
        'delete null',
        () =>
          engine.deleteObject({ ...name, versionId: 'null', owner: 'o', bypassGovernance: true }),
      ],
    ];
    for (const [what, work] of tries) {
      t.is(await codeOfRejection(work()), 'AccessDenied', `${what} where ${state}`);
    }
    const bucket = await engine.getBucket('data');
    const expiry = { bucket, key, versionId: held.version.id, place: 'current' } as const;
    for (const effect of ['remove-version', 'add-delete-marker'] as const) {
      t.is(await expireVersion(engine.core, { ...expiry, effect }), 'locked', effect);
    }
    const { body } = await engine.getObject(name);
    t.is(Buffer.from(await wholeOf(body)).toString(), 'bytes');
  }
});

/** Puts what no release of ours writes where a lock should be. */
async function spoil(house: House, bucket: Bucket, lock: Record<string, unknown>): Promise<void> {
  const id = objectId(bucket.id, 'k');
  const row = await house.store.get<{ versions: Version[] }>('objects', id);
  if (row === undefined) throw new Error('no row');
  const [version, ...older] = row.value.versions as [Version];
  const value = { ...row.value, versions: [{ ...version, ...lock }, ...older] };
  await house.store.replace({ table: 'objects', id, expected: row.revision, value });
}

test('a lock that can not be read holds for ever', async (t) => {
  const until = NOON - DAY_MS;
  const unreadable: Record<string, unknown>[] = [
    { retention: null },
    { retention: {} },
    { retention: 'COMPLIANCE' },
    { retention: { mode: 'governance', until } },
    { retention: { mode: 'GOVERNANCE' } },
    { retention: { mode: 'GOVERNANCE', until: '2020-01-01' } },
    { legalHold: null },
    { legalHold: 'OFF' },
    { legalHold: 0 },
  ];
  for (const lock of unreadable) {
    const home = house();
    const { engine } = home;
    const bucket = await engine.createBucket({
      name: 'data',
      owner: 'owner',
      region: 'r',
      with: { versioning: 'enabled', objectLock: {} },
    });
    const { version } = await putAt(engine, 'data', 'k', {});
    await spoil(home, bucket, lock);
    const name = { bucket: 'data', key: 'k', versionId: version.id };
    const what = JSON.stringify(lock);
    const removal = engine.deleteObject({ ...name, owner: 'owner', bypassGovernance: true });
    t.is(await codeOfRejection(removal), 'AccessDenied', what);
    const expiry = { bucket, key: 'k', versionId: version.id, place: 'current' } as const;
    t.is(await expireVersion(engine.core, { ...expiry, effect: 'remove-version' }), 'locked', what);
    const loosened = engine.updateVersion({
      ...name,
      bypassGovernance: true,
      change: () => ({}),
    });
    t.is(await codeOfRejection(loosened), 'AccessDenied', what);
  }
  // The same road is open where nothing is in the way.
  const home = house();
  const { engine } = home;
  const bucket = await engine.createBucket({ name: 'data', owner: 'owner', region: 'r' });
  const { version } = await putAt(engine, 'data', 'k', {});
  await spoil(home, bucket, { retention: { mode: 'COMPLIANCE', until }, legalHold: false });
  const name = { bucket: 'data', key: 'k', versionId: idOf(version) };
  t.is(await codeOfRejection(engine.deleteObject({ ...name, owner: 'owner' })), 'done');
});

test('a default that can not be read lets nothing in unlocked', async (t) => {
  for (const rule of [
    { mode: 'GOVERNANCE' },
    { mode: 'x', days: 1 },
    { mode: 'GOVERNANCE', days: '' },
  ]) {
    const { engine } = house();
    await engine.createBucket({
      name: 'data',
      owner: 'owner',
      region: 'r',
      with: { versioning: 'enabled', objectLock: { default: rule as never } },
    });
    t.is(await codeOfRejection(putAt(engine, 'data', 'k', {})), 'FormatUnknown');
    t.is(await codeOfRejection(engine.headObject({ bucket: 'data', key: 'k' })), 'NoSuchKey');
  }
});

test('what moves bytes can not lose a lock on the way', async (t) => {
  const { engine } = house();
  const bucket = await engine.createBucket({ name: 'data', owner: 'owner', region: 'r' });
  const retention: Retention = { mode: 'GOVERNANCE', until: NOON + DAY_MS };
  const { version } = await putAt(engine, 'data', 'k', { retention, legalHold: true });
  for (const drop of ['retention', 'legalHold'] as const) {
    await t.throwsAsync(
      commitObject(engine.core, {
        object: objectId(bucket.id, 'k'),
        reason: 'overwrite',
        change: (draft) => {
          const { [drop]: _gone, ...rest } = draft.current as Version;
          return draft.replace(rest);
        },
      }),
      { message: /locks/ },
    );
  }
  const after = (await engine.headObject({ bucket: 'data', key: 'k' })).version;
  t.deepEqual(after, version);
  // Nor can a change of something else.
  const dropped = engine.updateVersion({
    bucket: 'data',
    key: 'k',
    change: () => ({ tags: { a: '1' }, retention }),
  });
  t.is(await codeOfRejection(dropped), 'AccessDenied', 'a hold goes only by being said to be off');
});

test('COMPLIANCE is only ever extended, GOVERNANCE loosened only by who may, at random', async (t) => {
  const seed = Number(process.env['SEED'] ?? randomBytes(4).readUInt32BE());
  t.log(`SEED=${seed}`);
  const random = seeded(seed);
  const { engine, clock } = house();
  await engine.createBucket({
    name: 'data',
    owner: 'owner',
    region: 'r',
    with: { versioning: 'enabled', objectLock: {} },
  });
  const tally = { done: 0, AccessDenied: 0 };
  for (let round = 0; round < 12; round += 1) {
    const key = `k-${round}`;
    await putAt(engine, 'data', key, {});
    let now: Retention | undefined;
    for (let step = 0; step < 60; step += 1) {
      if (random() < 0.1) clock.at += Math.floor(random() * 4) * DAY_MS;
      const mode = random() < 0.6 ? 'GOVERNANCE' : 'COMPLIANCE';
      const until = clock.at + (1 + Math.floor(random() * 6)) * DAY_MS;
      const next: Retention | undefined = random() < 0.15 ? undefined : { mode, until };
      const bypass = random() < 0.3;
      const code = await codeOfRejection(
        engine.updateVersion({
          bucket: 'data',
          key,
          bypassGovernance: bypass,
          change: ({ retention: _old, ...kept }) => ({
            ...kept,
            ...(next !== undefined && { retention: next }),
          }),
        }),
      );
      // The rule, said another way than the engine says it.
      const inForce = now !== undefined && now.until > clock.at;
      const loosens = next?.mode !== now?.mode || (next?.until ?? 0) < (now?.until ?? 0);
      const allowed = !inForce || !loosens || (now?.mode === 'GOVERNANCE' && bypass);
      t.is(code, allowed ? 'done' : 'AccessDenied', `SEED=${seed} round ${round} step ${step}`);
      if (allowed) now = next;
      tally[allowed ? 'done' : 'AccessDenied'] += 1;
    }
    const { version } = await engine.headObject({ bucket: 'data', key });
    t.deepEqual(version.retention, now);
  }
  t.true(tally.done > 100 && tally.AccessDenied > 100, JSON.stringify(tally));
});

test('a lock and a removal at the same instant: one of them is refused', async (t) => {
  const home = house();
  const engines = [home.engine, home.process()] as const;
  await home.engine.createBucket({
    name: 'data',
    owner: 'owner',
    region: 'r',
    with: { versioning: 'enabled', objectLock: {} },
  });
  const tally = { locked: 0, removed: 0 };
  for (let round = 0; round < 120; round += 1) {
    const [one, other] = round % 2 === 0 ? engines : [engines[1], engines[0]];
    const key = `k-${round}`;
    const { version } = await putAt(one, 'data', key, {});
    const name = { bucket: 'data', key, versionId: version.id };
    const lock = async (): Promise<unknown> => {
      // From before the removal to behind it, step by step.
      for (let step = 0; step < round % 30; step += 1) await Promise.resolve();
      return one.updateVersion({ ...name, change: (now) => ({ ...now, legalHold: true }) });
    };
    const removal = other.deleteObject({ ...name, owner: 'owner' });
    const [locked, removed] = await Promise.all([
      codeOfRejection(lock()),
      codeOfRejection(removal),
    ]);
    const left = await codeOfRejection(home.engine.headObject(name));
    if (locked === 'done') t.is(`${removed} ${left}`, 'AccessDenied done', String(round));
    else t.is(`${removed} ${left}`, 'done NoSuchVersion', String(round));
    tally[locked === 'done' ? 'locked' : 'removed'] += 1;
  }
  t.true(tally.locked > 0 && tally.removed > 0, JSON.stringify(tally));
});

test('locks are read exactly, and what is wrong is written nowhere', async (t) => {
  const bucket = await lockedBucket();
  const path = `/${bucket}/never`;
  const until = iso(soon());
  const wrong: [Record<string, string>, string][] = [
    [{ ...lockHeaders('governance') }, 'InvalidArgument'],
    [{ 'x-amz-object-lock-mode': 'GOVERNANCE' }, 'InvalidArgument'],
    [{ 'x-amz-object-lock-retain-until-date': until }, 'InvalidArgument'],
    [lockHeaders('GOVERNANCE', Date.now() - 1000), 'InvalidArgument'],
    [
      { ...lockHeaders('GOVERNANCE'), 'x-amz-object-lock-retain-until-date': '2040' },
      'InvalidArgument',
    ],
    [
      { ...lockHeaders('GOVERNANCE'), 'x-amz-object-lock-retain-until-date': '2040-02-01' },
      'InvalidArgument',
    ],
    [
      {
        ...lockHeaders('GOVERNANCE'),
        'x-amz-object-lock-retain-until-date': '2040-02-01T00:00:00',
      },
      'InvalidArgument',
    ],
    [{ 'x-amz-object-lock-legal-hold': 'on' }, 'InvalidArgument'],
  ];
  for (const [headers, code] of wrong) {
    const what = JSON.stringify(headers);
    t.is(codeOf(await call({ method: 'PUT', path, headers, body: 'x' })), code, what);
    t.is(codeOf(await call({ method: 'POST', path, query: 'uploads', headers })), code, what);
    const copy = { ...headers, 'x-amz-copy-source': '/bucket/source' };
    await put('/bucket/source');
    t.is(codeOf(await call({ method: 'PUT', path, headers: copy })), code, what);
  }
  t.is((await call({ path })).status, 404);
  for (const one of [lockHeaders('GOVERNANCE'), HELD]) {
    const answer = await call({ method: 'PUT', path: '/bucket/never', headers: one, body: 'x' });
    t.is(codeOf(answer), 'InvalidRequest', 'a bucket without object lock');
  }
  await put(path);
  for (const body of [
    '<Retention><Mode>GOVERNANCE</Mode></Retention>',
    `<Retention><RetainUntilDate>${until}</RetainUntilDate></Retention>`,
    '<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>soon</RetainUntilDate></Retention>',
    `<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>${until}</RetainUntilDate><X/></Retention>`,
  ]) {
    const answer = await call({ method: 'PUT', path, query: 'retention', body });
    t.is(codeOf(answer), 'MalformedXML', body);
  }
  const head = await ok({ method: 'HEAD', path });
  t.is(head.headers['x-amz-object-lock-mode'], undefined);
  t.is(codeOf(await call({ path, query: 'retention' })), 'NoSuchObjectLockConfiguration');
  t.is(codeOf(await call({ path, query: 'legal-hold' })), 'NoSuchObjectLockConfiguration');
});

test('a bucket default locks whatever comes in, by every way in', async (t) => {
  const bucket = await lockedBucket();
  const body =
    '<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>' +
    '<DefaultRetention><Mode>COMPLIANCE</Mode><Years>1</Years></DefaultRetention></Rule>' +
    '</ObjectLockConfiguration>';
  await put(`/${bucket}/before`);
  await ok({ method: 'PUT', path: `/${bucket}`, query: 'object-lock', body });
  t.regex((await ok({ path: `/${bucket}`, query: 'object-lock' })).text, /<Years>1<\/Years>/);
  await put(`/${bucket}/put`);
  const source = { 'x-amz-copy-source': `/${bucket}/before` };
  await ok({ method: 'PUT', path: `/${bucket}/copy`, headers: source });
  const path = `/${bucket}/parts`;
  const upload = elementOf(await ok({ method: 'POST', path, query: 'uploads' }), 'UploadId');
  const query = `partNumber=1&uploadId=${upload}`;
  const part = await ok({ method: 'PUT', path, query, body: 'x' });
  await ok({
    method: 'POST',
    path,
    query: `uploadId=${upload}`,
    body: `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${part.headers.etag}</ETag></Part></CompleteMultipartUpload>`,
  });
  const inAYear = new Date();
  inAYear.setUTCFullYear(inAYear.getUTCFullYear() + 1);
  for (const key of ['put', 'copy', 'parts']) {
    const { headers } = await ok({ method: 'HEAD', path: `/${bucket}/${key}` });
    t.is(headers['x-amz-object-lock-mode'], 'COMPLIANCE', key);
    const until = Date.parse(headers['x-amz-object-lock-retain-until-date'] as string);
    t.true(Math.abs(until - inAYear.getTime()) < 60_000, key);
  }
  const before = await ok({ method: 'HEAD', path: `/${bucket}/before` });
  t.is(before.headers['x-amz-object-lock-mode'], undefined);
  // What is asked for comes first.
  await put(`/${bucket}/own`, lockHeaders('GOVERNANCE'));
  const own = await ok({ method: 'HEAD', path: `/${bucket}/own` });
  t.is(own.headers['x-amz-object-lock-mode'], 'GOVERNANCE');
  const suspend = '<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>';
  const answer = await call({
    method: 'PUT',
    path: `/${bucket}`,
    query: 'versioning',
    body: suspend,
  });
  t.is(codeOf(answer), 'InvalidBucketState');
});

/** Lets the stranger do these things in a bucket. */
async function allow(bucket: string, ...actions: string[]): Promise<void> {
  const policy = {
    Version: '2012-10-17',
    Statement: [
      {
        Effect: 'Allow',
        Principal: { AWS: '*' },
        Action: actions,
        Resource: [`arn:aws:s3:::${bucket}`, `arn:aws:s3:::${bucket}/*`],
      },
    ],
  };
  await shared.engine.updateBucket(bucket, ({ publicAccessBlock: _open, ...row }) => ({
    ...row,
    policy: JSON.stringify(policy),
  }));
}

test('who may delete, write or tag may not therefore unlock or lock', async (t) => {
  const bucket = await lockedBucket();
  const path = `/${bucket}/record`;
  const versionId = await put(path, lockHeaders('GOVERNANCE'));
  const query = `versionId=${versionId}`;
  await allow(
    bucket,
    's3:DeleteObject',
    's3:DeleteObjectVersion',
    's3:PutObject',
    's3:PutObjectRetention',
    's3:PutObjectTagging',
    's3:GetObject',
  );
  const as = STRANGER;
  const denied = async (one: Call): Promise<void> => {
    t.is(codeOf(await call({ ...one, as })), 'AccessDenied', JSON.stringify(one));
  };
  await denied({ method: 'DELETE', path, query, headers: BYPASS });
  await denied({ method: 'DELETE', path, query });
  const body = deleteXml('record', versionId);
  await denied({ method: 'POST', path: `/${bucket}`, query: 'delete', headers: BYPASS, body });
  const shorter = retentionXml('GOVERNANCE', soon() - DAY_MS);
  await denied({ method: 'PUT', path, query: 'retention', headers: BYPASS, body: shorter });
  await denied({ method: 'PUT', path, query: 'retention', body: shorter });
  await denied({ method: 'PUT', path, query: 'retention', body: '<Retention/>' });
  await denied({ method: 'PUT', path, query: 'legal-hold', body: holdXml('ON') });
  await denied({ method: 'PUT', path: `/${bucket}/new`, headers: HELD, body: 'x' });
  await denied({ method: 'POST', path: `/${bucket}/new`, query: 'uploads', headers: HELD });
  await denied({ path, query: 'retention' });
  await denied({ path: `/${bucket}`, query: 'object-lock' });
  // Longer is allowed by PutObjectRetention; and what is not to be seen is not shown.
  const longer = retentionXml('GOVERNANCE', soon() + DAY_MS);
  await ok({ method: 'PUT', path, query: 'retention', body: longer, as });
  const head = await ok({ method: 'HEAD', path, as });
  t.is(head.headers['x-amz-object-lock-mode'], undefined);
  await allow(bucket, 's3:DeleteObjectVersion', 's3:BypassGovernanceRetention');
  await ok({ method: 'DELETE', path, query, headers: BYPASS, as }, 204);
});

test('a policy that bounds a lock or a tag bounds what the body says', async (t) => {
  const bucket = await lockedBucket();
  const path = `/${bucket}/record`;
  await put(path);
  await allow(bucket, 's3:PutObjectRetention', 's3:PutObjectLegalHold', 's3:PutObjectTagging');
  await shared.engine.updateBucket(bucket, (row) => {
    const policy = JSON.parse(row.policy as string) as { Statement: Record<string, unknown>[] };
    const [statement] = policy.Statement;
    policy.Statement = [
      [
        's3:PutObjectRetention',
        { NumericLessThan: { 's3:object-lock-remaining-retention-days': '10' } },
      ],
      ['s3:PutObjectLegalHold', { StringEquals: { 's3:object-lock-legal-hold': 'ON' } }],
      ['s3:PutObjectTagging', { StringEquals: { 's3:RequestObjectTag/color': 'blue' } }],
    ].map(([Action, Condition]) => ({ ...statement, Action, Condition }));
    return { ...row, policy: JSON.stringify(policy) };
  });
  const as = STRANGER;
  const change = async (query: string, body: string): Promise<string> => {
    const answer = await call({ method: 'PUT', path, query, body, as });
    return answer.status === 200 ? 'done' : codeOf(answer);
  };
  const inDays = (days: number): string => retentionXml('GOVERNANCE', Date.now() + days * DAY_MS);
  t.is(await change('retention', inDays(30)), 'AccessDenied');
  t.is(await change('retention', inDays(5)), 'done');
  t.is(await change('legal-hold', holdXml('ON')), 'done');
  t.is(await change('legal-hold', holdXml('OFF')), 'AccessDenied');
  t.is(await change('tagging', taggingXml([['color', 'red']])), 'AccessDenied');
  t.is(await change('tagging', taggingXml([])), 'AccessDenied');
  t.is(await change('tagging', taggingXml([['color', 'blue']])), 'done');
  const asked = { path, as, method: 'PUT', body: holdXml('ON') } as const;
  const absent = await call({ ...asked, path: `/${bucket}/absent`, query: 'legal-hold' });
  t.is(codeOf(absent), 'AccessDenied', 'who may not list is not told what is there');
});

test('a hold is on until who may says off; nobody else does', async (t) => {
  const bucket = await lockedBucket();
  const path = `/${bucket}/record`;
  const versionId = await put(path);
  await ok({ method: 'PUT', path, query: 'legal-hold', body: holdXml('ON') });
  await allow(bucket, 's3:*Object*');
  await shared.engine.updateBucket(bucket, (row) => ({
    ...row,
    policy: (row.policy as string).replace('s3:*Object*', 's3:PutObjectTagging'),
  }));
  const as = STRANGER;
  const off = await call({ method: 'PUT', path, query: 'legal-hold', body: holdXml('OFF'), as });
  t.is(codeOf(off), 'AccessDenied');
  const tagging = '<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>';
  await ok({ method: 'PUT', path, query: 'tagging', body: tagging, as });
  t.regex((await ok({ path, query: 'legal-hold' })).text, /<Status>ON</);
  await ok({ method: 'PUT', path, query: 'legal-hold', body: holdXml('OFF') });
  t.regex((await ok({ path, query: 'legal-hold' })).text, /<Status>OFF</);
  await ok({ method: 'DELETE', path, query: `versionId=${versionId}` }, 204);
});

const taggingXml = (tags: [string, string][]): string =>
  `<Tagging><TagSet>${tags
    .map(([key, value]) => `<Tag><Key>${key}</Key><Value>${value}</Value></Tag>`)
    .join('')}</TagSet></Tagging>`;

const tagsIn = ({ text }: Answer): [string, string][] =>
  [...text.matchAll(/<Key>([^<]*)<\/Key><Value>([^<]*)<\/Value>/g)].map((match) => [
    match[1] as string,
    match[2] as string,
  ]);

test('tags belong to a version: read, replaced and deleted there', async (t) => {
  const bucket = await lockedBucket();
  const path = `/${bucket}/k`;
  const first = await put(path, { 'x-amz-tagging': 'b=2&a=1' });
  const second = await put(path);
  const old = `tagging&versionId=${first}`;
  t.deepEqual(tagsIn(await ok({ path, query: old })), [
    ['a', '1'],
    ['b', '2'],
  ]);
  t.deepEqual(tagsIn(await ok({ path, query: 'tagging' })), []);
  await ok({
    method: 'PUT',
    path,
    query: 'tagging',
    body: taggingXml([
      ['10', 'x'],
      ['9', ''],
    ]),
  });
  const answer = await ok({ path, query: 'tagging' });
  t.deepEqual(tagsIn(answer), [
    ['10', 'x'],
    ['9', ''],
  ]);
  t.is(answer.headers['x-amz-version-id'], second);
  t.is((await ok({ method: 'HEAD', path })).headers['x-amz-tagging-count'], '2');
  await ok({ method: 'DELETE', path, query: old }, 204);
  t.deepEqual(tagsIn(await ok({ path, query: old })), []);
  t.is(tagsIn(await ok({ path, query: 'tagging' })).length, 2);
  const head = await ok({ method: 'HEAD', path, query: `versionId=${first}` });
  t.is(head.headers['x-amz-tagging-count'], undefined);
  // A copy takes them along, or what it says in their place.
  const copied = { 'x-amz-copy-source': path };
  await ok({ method: 'PUT', path: `/${bucket}/copy`, headers: copied });
  t.is(tagsIn(await ok({ path: `/${bucket}/copy`, query: 'tagging' })).length, 2);
  const replaced = { ...copied, 'x-amz-tagging-directive': 'REPLACE', 'x-amz-tagging': 'only=one' };
  await ok({ method: 'PUT', path: `/${bucket}/copy`, headers: replaced });
  t.deepEqual(tagsIn(await ok({ path: `/${bucket}/copy`, query: 'tagging' })), [['only', 'one']]);
  t.is(codeOf(await call({ path: `/${bucket}/none`, query: 'tagging' })), 'NoSuchKey');
});

test('tags that S3 refuses are refused, and the old ones stay', async (t) => {
  await put('/bucket/tagged', { 'x-amz-tagging': 'kept=yes' });
  const many = (count: number): [string, string][] =>
    Array.from({ length: count }, (_, index) => [`k${index}`, 'v']);
  const wrong: [string, string][] = [
    [taggingXml(many(11)), 'InvalidTag'],
    [
      taggingXml([
        ['a', '1'],
        ['a', '2'],
      ]),
      'InvalidTag',
    ],
    [taggingXml([['', '1']]), 'InvalidTag'],
    [taggingXml([['k'.repeat(129), '1']]), 'InvalidTag'],
    [taggingXml([['k', 'v'.repeat(257)]]), 'InvalidTag'],
    [taggingXml([['aws:own', '1']]), 'InvalidTag'],
    [taggingXml([['a&lt;b', '1']]), 'InvalidTag'],
    [taggingXml([['__proto__', '1']]), 'InvalidTag'],
    ['<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>', 'MalformedXML'],
    ['<Tagging><TagSet><Tag><Value>a</Value></Tag></TagSet></Tagging>', 'MalformedXML'],
    ['<Tagging/>', 'MalformedXML'],
    ['<Tagging><TagSet><Label/></TagSet></Tagging>', 'MalformedXML'],
  ];
  for (const [body, code] of wrong) {
    const one: Call = { method: 'PUT', path: '/bucket/tagged', query: 'tagging', body };
    t.is(codeOf(await call(one)), code, body.slice(0, 90));
  }
  t.deepEqual(tagsIn(await ok({ path: '/bucket/tagged', query: 'tagging' })), [['kept', 'yes']]);
  const fine = taggingXml([['ä-._:/=+@ ', '𝔘'.repeat(200)]]);
  await ok({ method: 'PUT', path: '/bucket/tagged', query: 'tagging', body: fine });
  const bucket: Call = { method: 'PUT', path: '/bucket', query: 'tagging' };
  t.is(codeOf(await call({ path: '/bucket', query: 'tagging' })), 'NoSuchTagSet');
  t.is(codeOf(await call({ ...bucket, body: taggingXml(many(51)) })), 'BadRequest');
  await ok({ ...bucket, body: taggingXml(many(50)) }, 204);
  t.is(tagsIn(await ok({ path: '/bucket', query: 'tagging' })).length, 50);
  await ok({ method: 'DELETE', path: '/bucket', query: 'tagging' }, 204);
  await ok({ method: 'DELETE', path: '/bucket', query: 'tagging' }, 204);
  t.is(codeOf(await call({ path: '/bucket', query: 'tagging' })), 'NoSuchTagSet');
});

test('tags and locks go wherever the bytes go, and part lists are told in full', async (t) => {
  const rig = await newRig();
  await rig.engine.updateBucket('data', (row) => ({ ...row, objectLock: {} }));
  await putInRig(rig, 'k', 700);
  await putParts(rig, 'many', 130);
  const attributes: VersionAttributes = {
    tags: { team: 'records' },
    retention: { mode: 'COMPLIANCE', until: rig.clock.now() + DAY_MS },
    legalHold: true,
  };
  for (const key of ['k', 'many']) {
    await rig.engine.updateVersion({ bucket: 'data', key, change: () => attributes });
  }
  const check = async (when: string): Promise<void> => {
    for (const key of ['k', 'many']) {
      const { version, parts } = await rig.engine.headObject({
        bucket: 'data',
        key,
        asksParts: true,
      });
      const { tags, retention, legalHold } = version;
      t.deepEqual({ tags, retention, legalHold }, attributes, `${key} ${when}`);
      t.is(parts?.length, key === 'many' ? 130 : 1, `${key} ${when}`);
      t.is(
        await codeOfRejection(rig.engine.deleteObject({ bucket: 'data', key, owner: 'root' })),
        'AccessDenied',
        `${key} ${when}`,
      );
    }
  };
  await check('as written');
  const lease = await leaseOf(rig);
  const down = { kind: 'transition', tier: 'cold', storageClass: 'GLACIER_IR', lease } as const;
  await moveIntoPacks(rig.core, await versionsOf(rig), down);
  await check('in a pack');
  const up = { kind: 'promote', tier: 'hot', storageClass: 'STANDARD', lease } as const;
  await moveVersions(rig.core, await versionsOf(rig), up);
  await check('back again');
  rig.close();
});

test('attributes are told as asked for, and parts in pages', async (t) => {
  const path = '/bucket/attributes';
  const upload = elementOf(await ok({ method: 'POST', path, query: 'uploads' }), 'UploadId');
  const part = Buffer.alloc(5 * 1024 * 1024, 1);
  let list = '';
  for (const number of [2, 5, 9]) {
    const query = `partNumber=${number}&uploadId=${upload}`;
    const { headers } = await ok({ method: 'PUT', path, query, body: part });
    list += `<Part><PartNumber>${number}</PartNumber><ETag>${headers.etag}</ETag></Part>`;
  }
  const body = `<CompleteMultipartUpload>${list}</CompleteMultipartUpload>`;
  const done = await ok({ method: 'POST', path, query: `uploadId=${upload}`, body });
  const ask = (headers: Record<string, string>): Promise<Answer> =>
    call({ path, query: 'attributes', headers });
  const all = { 'x-amz-object-attributes': 'ETag,ObjectParts,StorageClass,ObjectSize,Checksum' };
  const first = await ask({ ...all, 'x-amz-max-parts': '2' });
  t.is(elementOf(first, 'ETag'), elementOf(done, 'ETag')?.replaceAll(/&quot;|"/g, ''));
  t.is(elementOf(first, 'ObjectSize'), String(3 * part.length));
  t.is(elementOf(first, 'StorageClass'), 'STANDARD');
  const numbers = ({ text }: Answer): string[] =>
    [...text.matchAll(/<PartNumber>(\d+)</g)].map((match) => match[1] as string);
  t.deepEqual(numbers(first), ['2', '5']);
  t.is(elementOf(first, 'IsTruncated'), 'true');
  t.is(elementOf(first, 'PartsCount'), '3');
  const marker = elementOf(first, 'NextPartNumberMarker') as string;
  const next = await ask({ ...all, 'x-amz-part-number-marker': marker });
  t.deepEqual(numbers(next), ['9']);
  t.is(elementOf(next, 'IsTruncated'), 'false');
  const one = await ask({ 'x-amz-object-attributes': 'ObjectSize' });
  t.is(elementOf(one, 'ETag'), undefined);
  t.is(elementOf(one, 'PartsCount'), undefined);
  for (const headers of [
    {},
    { 'x-amz-object-attributes': '' },
    { 'x-amz-object-attributes': 'etag' },
    { ...all, 'x-amz-max-parts': '-1' },
    { ...all, 'x-amz-part-number-marker': 'x' },
  ]) {
    t.is(codeOf(await ask(headers)), 'InvalidArgument', JSON.stringify(headers));
  }
  await ok({ method: 'DELETE', path }, 204);
  t.is(codeOf(await ask(all)), 'NoSuchKey');
  t.is(codeOf(await call({ path, query: 'torrent' })), 'NoSuchKey');
});

// --- Websites -----------------------------------------------------------------------------------

interface Visit {
  method?: string;
  headers?: Record<string, string>;
  host?: string;
}

function visit(bucket: string, url: string, options: Visit = {}): Promise<Answer> {
  const host = options.host ?? `${bucket}.${WEB}`;
  const headers = { host, ...options.headers };
  const wire = { method: options.method ?? 'GET', url, headers, body: Buffer.alloc(0) };
  return sendWire(shared, wire);
}

const websiteXml = (content: string): string =>
  `<WebsiteConfiguration>${content}</WebsiteConfiguration>`;
const PAGES =
  '<IndexDocument><Suffix>index.html</Suffix></IndexDocument>' +
  '<ErrorDocument><Key>error.html</Key></ErrorDocument>';

async function site(content = PAGES): Promise<string> {
  const name = newName();
  await ok({ method: 'PUT', path: `/${name}` });
  const body = websiteXml(content);
  await ok({ method: 'PUT', path: `/${name}`, query: 'website', body });
  return name;
}

/** Lets everybody read what is below `prefix`; and list, where absence is to be told. */
async function publish(bucket: string, prefix: string, lists = false): Promise<void> {
  const statement = (action: string, resource: string): unknown => ({
    Effect: 'Allow',
    Principal: '*',
    Action: action,
    Resource: `arn:aws:s3:::${bucket}${resource}`,
  });
  const statements = [statement('s3:GetObject', `/${prefix}*`)];
  if (lists) statements.push(statement('s3:ListBucket', ''));
  const policy = JSON.stringify({ Version: '2012-10-17', Statement: statements });
  await shared.engine.updateBucket(bucket, ({ publicAccessBlock: _open, ...row }) => ({
    ...row,
    policy,
  }));
}

function checkPage(t: ExecutionContext, answer: Answer, status: number, code: string): void {
  t.is(answer.status, status, answer.text);
  t.is(answer.headers['content-type'], 'text/html; charset=utf-8');
  t.true(answer.text.includes(code), answer.text);
  t.notRegex(answer.text, /\.ts:\d|node:internal/);
}

test('a website never shows what a visitor may not read', async (t) => {
  const bucket = await site();
  const secret = 'the secret';
  for (const key of ['index.html', 'error.html', 'secret.txt', 'dir/index.html']) {
    await put(`/${bucket}/${key}`, {}, secret);
  }
  await put(`/${bucket}/away`, { 'x-amz-website-redirect-location': '/secret-place' }, secret);
  const all = ['/', '/secret.txt', '/absent', '/dir', '/dir/', '/away', '/error.html'];
  for (const url of all) {
    const answer = await visit(bucket, url);
    checkPage(t, answer, 403, 'AccessDenied');
    t.false(answer.text.includes(secret));
    t.is(answer.headers.location, undefined, 'nor where it would be');
  }
  // Not even to its owner, whose browser, or whose signed URL, means nothing here.
  const path = '/secret.txt';
  const signed = await send({ ...shared, host: `${bucket}.${WEB}` }, { path, as: OWNER });
  checkPage(t, signed, 403, 'AccessDenied');
  const presigned = { path, as: OWNER, auth: 'presigned' } as const;
  checkPage(t, await send({ ...shared, host: `${bucket}.${WEB}` }, presigned), 403, 'AccessDenied');
  for (const query of ['?acl', '?versions', '?website', '?policy', '?list-type=2', '?tagging']) {
    const answer = await visit(bucket, `/${query}`);
    checkPage(t, answer, 403, 'AccessDenied');
  }
  // One prefix is published: nothing else is, not as an error page either.
  await publish(bucket, 'dir/');
  t.is((await visit(bucket, '/dir/')).text, secret);
  checkPage(t, await visit(bucket, '/secret.txt'), 403, 'AccessDenied');
  checkPage(t, await visit(bucket, '/dir/absent'), 403, 'AccessDenied');
  // And a public access block shuts it all again.
  await shared.engine.updateBucket(bucket, (row) => ({
    ...row,
    publicAccessBlock: {
      blockPublicAcls: true,
      ignorePublicAcls: true,
      blockPublicPolicy: true,
      restrictPublicBuckets: true,
    },
  }));
  checkPage(t, await visit(bucket, '/dir/'), 403, 'AccessDenied');
});

test('a website shows index, folders, errors and redirects as they were set', async (t) => {
  const bucket = await site();
  await publish(bucket, '', true);
  await put(`/${bucket}/index.html`, { 'content-type': 'text/html' }, 'home');
  await put(`/${bucket}/docs/index.html`, {}, 'docs');
  await put(`/${bucket}/error.html`, { 'content-type': 'text/html' }, 'sorry');
  await put(`/${bucket}/old`, {
    'x-amz-website-redirect-location': 'https://example.com/%C3%A4?x=1',
  });
  const home = await visit(bucket, '/?utm_source=x&versionId=null&response-content-type=a');
  t.is(`${home.status} ${home.text}`, '200 home');
  t.is(home.headers['content-type'], 'text/html');
  t.is((await visit(bucket, '/docs/')).text, 'docs');
  const folder = await visit(bucket, '/docs');
  t.is(folder.status, 302);
  t.is(folder.headers.location, `//${bucket}.${WEB}/docs/`);
  const absent = await visit(bucket, '/absent', { headers: { range: 'bytes=0-0' } });
  t.is(`${absent.status} ${absent.text}`, '404 sorry');
  const old = await visit(bucket, '/old');
  t.is(old.status, 301);
  t.is(old.headers.location, 'https://example.com/%C3%A4?x=1');
  const head = await visit(bucket, '/', { method: 'HEAD' });
  t.is(`${head.status} ${head.headers['content-length']} ${head.text}`, '200 4 ');
  const etag = home.headers.etag as string;
  t.is((await visit(bucket, '/', { headers: { 'if-none-match': etag } })).status, 304);
  const range = await visit(bucket, '/', { headers: { range: 'bytes=1-2' } });
  t.is(`${range.status} ${range.text}`, '206 om');
  for (const method of ['PUT', 'DELETE', 'POST']) {
    const answer = await visit(bucket, '/index.html', { method });
    checkPage(t, answer, 405, 'MethodNotAllowed');
  }
  t.is((await visit(bucket, '/')).text, 'home');
  await ok({ method: 'DELETE', path: `/${bucket}/error.html` }, 204);
  const page = await visit(bucket, '/%3Cscript%3Ealert(1)%3C/script%3E');
  checkPage(t, page, 404, 'NoSuchKey');
  t.false(page.text.includes('<script>'));
  checkPage(t, await visit('no-such-bucket-here', '/'), 404, 'NoSuchBucket');
  await ok({ method: 'DELETE', path: `/${bucket}`, query: 'website' }, 204);
  checkPage(t, await visit(bucket, '/'), 404, 'NoSuchWebsiteConfiguration');
  t.is(codeOf(await call({ path: `/${bucket}`, query: 'website' })), 'NoSuchWebsiteConfiguration');
});

test('routing rules send visitors on, and never to a host that a key names', async (t) => {
  const rule = (condition: string, redirect: string): string =>
    `<RoutingRule><Condition>${condition}</Condition><Redirect>${redirect}</Redirect></RoutingRule>`;
  const prefix = (text: string): string => `<KeyPrefixEquals>${text}</KeyPrefixEquals>`;
  const error = '<HttpErrorCodeReturnedEquals>404</HttpErrorCodeReturnedEquals>';
  const rules =
    rule(prefix('old/'), '<ReplaceKeyPrefixWith>new/</ReplaceKeyPrefixWith>') +
    rule(prefix('gone/'), '<ReplaceKeyPrefixWith></ReplaceKeyPrefixWith>') +
    rule(
      prefix('ext/'),
      '<Protocol>https</Protocol><HostName>other.example</HostName>' +
        '<HttpRedirectCode>307</HttpRedirectCode>',
    ) +
    rule(prefix('only/') + error, '<ReplaceKeyWith>found.html</ReplaceKeyWith>');
  const bucket = await site(`${PAGES}<RoutingRules>${rules}</RoutingRules>`);
  await publish(bucket, '', true);
  await put(`/${bucket}/only/here`, {}, 'here');
  const own = `//${bucket}.${WEB}`;
  const expected: [string, number, string][] = [
    ['/old/a%20b', 301, `${own}/new/a%20b`],
    ['/gone//evil.example/', 301, `${own}//evil.example/`],
    ['/ext/%0d%0aSet-Cookie:x', 307, 'https://other.example/ext/%0D%0ASet-Cookie%3Ax'],
    ['/only/not', 301, `${own}/found.html`],
  ];
  for (const [url, status, location] of expected) {
    const answer = await visit(bucket, url);
    t.is(`${answer.status} ${answer.headers.location}`, `${status} ${location}`, url);
    t.is(answer.headers['set-cookie'], undefined);
  }
  t.is((await visit(bucket, '/only/here')).text, 'here');
  const all = await site(
    '<RedirectAllRequestsTo><HostName>new.example</HostName></RedirectAllRequestsTo>',
  );
  const answer = await visit(all, '/a/b?x');
  t.is(`${answer.status} ${answer.headers.location}`, '301 //new.example/a/b');
});

test('a website configuration that is half understood is refused', async (t) => {
  const redirect = (content: string): string =>
    `${PAGES}<RoutingRules><RoutingRule><Redirect>${content}</Redirect></RoutingRule></RoutingRules>`;
  const wrong: [string, string][] = [
    ['', 'InvalidArgument'],
    ['<IndexDocument><Suffix>a/b</Suffix></IndexDocument>', 'InvalidArgument'],
    ['<IndexDocument><Suffix></Suffix></IndexDocument>', 'InvalidArgument'],
    ['<IndexDocument/>', 'MalformedXML'],
    [`${PAGES}<Extra/>`, 'MalformedXML'],
    [
      `${PAGES}<RedirectAllRequestsTo><HostName>a</HostName></RedirectAllRequestsTo>`,
      'MalformedXML',
    ],
    ['<RedirectAllRequestsTo><HostName>a.b/c</HostName></RedirectAllRequestsTo>', 'MalformedXML'],
    [
      '<RedirectAllRequestsTo><HostName>a</HostName><Protocol>javascript</Protocol></RedirectAllRequestsTo>',
      'MalformedXML',
    ],
    [redirect(''), 'MalformedXML'],
    [redirect('<HostName>evil&#13;&#10;X: y</HostName>'), 'MalformedXML'],
    [redirect('<ReplaceKeyWith>a&#13;b</ReplaceKeyWith>'), 'MalformedXML'],
    [redirect('<HttpRedirectCode>200</HttpRedirectCode>'), 'InvalidRequest'],
    [
      redirect('<ReplaceKeyWith>a</ReplaceKeyWith><ReplaceKeyPrefixWith>b</ReplaceKeyPrefixWith>'),
      'InvalidRequest',
    ],
    [
      `${PAGES}<RoutingRules>${'<RoutingRule><Redirect><HostName>a</HostName></Redirect></RoutingRule>'.repeat(51)}</RoutingRules>`,
      'InvalidRequest',
    ],
  ];
  const bucket = await site();
  for (const [content, code] of wrong) {
    const body = websiteXml(content);
    const answer = await call({ method: 'PUT', path: `/${bucket}`, query: 'website', body });
    t.is(codeOf(answer), code, content.slice(0, 200));
  }
  t.true((await ok({ path: `/${bucket}`, query: 'website' })).text.includes(PAGES));
});

// --- Configurations that are kept and shown -----------------------------------------------------

const FILTER =
  '<Filter><And><Prefix>logs/</Prefix><Tag><Key>a</Key><Value>1</Value></Tag></And></Filter>';
const NUMBERED: [query: string, root: string, content: (id: string) => string][] = [
  [
    'analytics',
    'AnalyticsConfiguration',
    (id) => `<Id>${id}</Id>${FILTER}<StorageClassAnalysis></StorageClassAnalysis>`,
  ],
  ['metrics', 'MetricsConfiguration', (id) => `<Id>${id}</Id>${FILTER}`],
  [
    'intelligent-tiering',
    'IntelligentTieringConfiguration',
    (id) =>
      `<Id>${id}</Id>${FILTER}<Status>Enabled</Status>` +
      '<Tiering><Days>90</Days><AccessTier>ARCHIVE_ACCESS</AccessTier></Tiering>',
  ],
];

test('configurations by id come back as they were put, in pages, and unknown parts are refused', async (t) => {
  const path = `/${newName()}`;
  await ok({ method: 'PUT', path });
  for (const [subresource, root, content] of NUMBERED) {
    const xml = (id: string, more = ''): string => `<${root}>${content(id)}${more}</${root}>`;
    const one: Call = { method: 'PUT', path, query: `${subresource}&id=one`, body: xml('one') };
    await ok(one);
    await ok(one);
    const got = await ok({ path, query: `id=one&${subresource}` });
    t.true(got.text.includes(content('one')), got.text);
    t.is(codeOf(await call({ ...one, body: xml('other') })), 'InvalidArgument');
    t.is(codeOf(await call({ ...one, body: xml('one', '<New/>') })), 'MalformedXML');
    t.is(codeOf(await call({ ...one, query: `${subresource}&id=a%2Fb` })), 'InvalidArgument');
    t.is(codeOf(await call({ ...one, query: subresource })), 'InvalidArgument');
    t.is(codeOf(await call({ path, query: `${subresource}&id=two` })), 'NoSuchConfiguration');
    const page = await ok({ path, query: subresource });
    t.is(elementOf(page, 'IsTruncated'), 'false');
    t.true(page.text.includes(`<${root}>${content('one')}</${root}>`), page.text);
    await ok({ method: 'DELETE', path, query: `${subresource}&id=one` }, 204);
    t.is(codeOf(await call({ path, query: `${subresource}&id=one` })), 'NoSuchConfiguration');
    const again = await call({ method: 'DELETE', path, query: `${subresource}&id=one` });
    t.is(codeOf(again), 'NoSuchConfiguration');
  }
  for (let index = 0; index < 120; index += 1) {
    const id = `m-${String(index).padStart(3, '0')}`;
    const body = `<MetricsConfiguration><Id>${id}</Id></MetricsConfiguration>`;
    await ok({ method: 'PUT', path, query: `metrics&id=${id}`, body });
  }
  const first = await ok({ path, query: 'metrics' });
  const token = elementOf(first, 'NextContinuationToken') as string;
  const second = await ok({ path, query: `metrics&continuation-token=${token}` });
  const ids = [...(first.text + second.text).matchAll(/<Id>([^<]*)</g)].map((match) => match[1]);
  t.is(ids.length, 120);
  t.is(new Set(ids).size, 120);
  t.is(elementOf(second, 'IsTruncated'), 'false');
});

test('a bucket keeps only so many configurations', async (t) => {
  const path = `/${newName()}`;
  await ok({ method: 'PUT', path });
  const xml = `<MetricsConfiguration>${'x'.repeat(1000)}</MetricsConfiguration>`;
  const row = (count: number): Record<string, string> =>
    Object.fromEntries(Array.from({ length: count }, (_, index) => [`metrics/k${index}`, xml]));
  for (const count of [1000, 520]) {
    await shared.engine.updateBucket(path.slice(1), (bucket) => ({
      ...bucket,
      configurations: count === 1000 ? mapValues(row(1000), () => 'x') : row(count),
    }));
    const body = '<MetricsConfiguration><Id>new</Id></MetricsConfiguration>';
    const answer = await call({ method: 'PUT', path, query: 'metrics&id=new', body });
    t.is(codeOf(answer), 'TooManyConfigurations', String(count));
  }
});

const mapValues = <A, B>(from: Record<string, A>, change: (value: A) => B): Record<string, B> =>
  Object.fromEntries(Object.entries(from).map(([name, value]) => [name, change(value)]));

test('replication is kept only where it could work, and keeps versioning on', async (t) => {
  const path = `/${newName()}`;
  await ok({ method: 'PUT', path });
  const rule = (id: string, more = ''): string =>
    `<Rule><ID>${id}</ID><Priority>${id}</Priority><Filter></Filter><Status>Enabled</Status>` +
    '<DeleteMarkerReplication><Status>Disabled</Status></DeleteMarkerReplication>' +
    `<Destination><Bucket>arn:aws:s3:::copy</Bucket>${more}</Destination></Rule>`;
  const xml = (rules: string): string =>
    `<ReplicationConfiguration><Role>arn:aws:iam::1:role/r</Role>${rules}</ReplicationConfiguration>`;
  const one: Call = { method: 'PUT', path, query: 'replication', body: xml(rule('1')) };
  const gone = 'ReplicationConfigurationNotFoundError';
  t.is(codeOf(await call({ path, query: 'replication' })), gone);
  t.is(codeOf(await call(one)), 'InvalidRequest', 'versioning is off');
  const versioning = (status: string): Call => ({
    method: 'PUT',
    path,
    query: 'versioning',
    body: `<VersioningConfiguration><Status>${status}</Status></VersioningConfiguration>`,
  });
  await ok(versioning('Enabled'));
  await ok(one);
  t.true((await ok({ path, query: 'replication' })).text.includes('<Bucket>arn:aws:s3:::copy<'));
  t.is(codeOf(await call({ ...one, body: xml(rule('1') + rule('1')) })), 'InvalidArgument');
  t.is(codeOf(await call({ ...one, body: xml(rule('1', '<New/>')) })), 'MalformedXML');
  t.is(codeOf(await call({ ...one, body: xml('') })), 'MalformedXML');
  t.is(codeOf(await call(versioning('Suspended'))), 'InvalidBucketState');
  await ok({ method: 'DELETE', path, query: 'replication' }, 204);
  t.is(codeOf(await call({ path, query: 'replication' })), gone);
  await ok(versioning('Suspended'));
});

test('request payment and acceleration are kept and shown', async (t) => {
  const path = `/${newName()}`;
  await ok({ method: 'PUT', path });
  const payer = async (): Promise<string | undefined> =>
    elementOf(await ok({ path, query: 'requestPayment' }), 'Payer');
  const payment = (who: string): Call => ({
    method: 'PUT',
    path,
    query: 'requestPayment',
    body: `<RequestPaymentConfiguration><Payer>${who}</Payer></RequestPaymentConfiguration>`,
  });
  t.is(await payer(), 'BucketOwner');
  await ok(payment('Requester'));
  t.is(await payer(), 'Requester');
  t.is(codeOf(await call(payment('Nobody'))), 'MalformedXML');
  const status = async (): Promise<string | undefined> =>
    elementOf(await ok({ path, query: 'accelerate' }), 'Status');
  t.is(await status(), undefined);
  const body = '<AccelerateConfiguration><Status>Enabled</Status></AccelerateConfiguration>';
  await ok({ method: 'PUT', path, query: 'accelerate', body });
  t.is(await status(), 'Enabled');
});
