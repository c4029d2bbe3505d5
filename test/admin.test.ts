// The admin API: nobody gets in without an admin's signature, whatever the route; what it answers has the
// shape that it publishes; and the verbs that change something (apply, restore, keys, clock) refuse what
// an operator would regret.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { request } from 'undici';
import type { z } from 'zod';
import { buildAdmin } from '../api/admin/build.ts';
import type { AdminOptions } from '../api/admin/contract/options.ts';
import type { Route } from '../api/admin/contract/route.ts';
import { RequestMetrics } from '../api/metrics.ts';
import { runCli } from '../appliance/cli/run.ts';
import { Accounts } from '../appliance/engine/account/accounts.ts';
import type { EngineContext } from '../appliance/engine/document/context.ts';
import { buildEngine } from '../appliance/engine/build.ts';
import { FileKeys } from '../appliance/engine/bytes/named-keys.ts';
import { checksums } from '../tiers/checksum.ts';
import { DAY_MS } from '../appliance/model/clock.ts';
import type {
  CostReportAnswer,
  ErrorAnswer,
  ExplainAnswer,
  NewKeyAnswer,
  PlanAnswer,
  RestoreAnswer,
  RestoreQuoteAnswer,
  RunAnswer,
  UsageAnswer,
} from '../appliance/model/answers.ts';
import { silentEvents } from '../appliance/model/event-sink.ts';
import type { ObjectDocument } from '../appliance/model/object.ts';
import type { RestoreRequest, Run, UsageRow } from '../appliance/model/records.ts';
import { sha256Hex, signRequest } from '../appliance/model/signature.ts';
import { SystemRandom } from '../appliance/process/clock.ts';
import { MemoryMetadataStore } from './memory-store.ts';
import { MemoryTier } from './memory-tier.ts';

const START = Date.parse('2026-11-24T06:00:00Z');

interface Pair {
  accessKey: string;
  secretKey: string;
}

async function bench(t: ExecutionContext, options: Partial<AdminOptions> = {}) {
  const clock = {
    offsetMs: 0,
    wallMs: START,
    wall: () => clock.wallMs,
    now: () => clock.wallMs + clock.offsetMs,
  };
  const random = new SystemRandom();
  const store = new MemoryMetadataStore(clock);
  const tiers = new Map(
    (
      [
        ['hot', 'immediate', 'shards'],
        ['warm', 'immediate', 'shards'],
        ['cold', 'immediate', 'remote'],
        ['archive', 'staged', 'remote'],
      ] as const
    ).map(([name, retrieval, kind]) => [name, new MemoryTier({ name, clock, retrieval, kind })]),
  );
  const classes = new Map([
    ['STANDARD', 'hot'],
    ['STANDARD_IA', 'warm'],
    ['GLACIER_IR', 'cold'],
    ['GLACIER', 'archive'],
    ['DEEP_ARCHIVE', 'archive'],
  ]);
  const context: EngineContext = {
    store,
    tiers,
    packer: {
      build: async () => {
        throw new Error('not here');
      },
      readIndex: () => {
        throw new Error('not here');
      },
    },
    clock,
    random,
    events: silentEvents,
    classes,
    masterKey: new Uint8Array(32).fill(7),
    namedKeys: new FileKeys({ keys: new Map(), random }),
    checksums,
    graceMs: DAY_MS,
    restoreDayMs: DAY_MS,
    staleMs: 0,
  };
  const accounts = new Accounts(context);
  await accounts.open();
  const root = (await accounts.ensureRoot({})).key as Pair;
  await accounts.createAccount({ id: 'ana', displayName: 'Ana' });
  const ana = await accounts.createKey({ account: 'ana' });
  const gone = await accounts.createKey({ account: 'root' });
  await accounts.revokeKey(gone.accessKey);
  const faults: unknown[] = [];
  const metrics = new RequestMetrics();
  const admin = buildAdmin({
    store,
    accounts,
    tiers,
    classes,
    clock,
    random,
    region: 'us-east-1',
    version: '1.2.3',
    lifecycleDayMs: DAY_MS,
    readiness: async () => [],
    requestSnapshots: async () => [metrics.snapshot()],
    metricsSigned: false,
    advanceClock: async (days) => {
      clock.offsetMs += days * DAY_MS;
      return { offsetMs: clock.offsetMs };
    },
    guardRails: { deletedShareMax: 0.1 },
    priceBooks: [],
    fault: (_, error) => faults.push(error),
    ...options,
  });
  const server = createServer(admin.handler);
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  t.teardown(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    clock,
    store,
    tiers,
    accounts,
    faults,
    metrics,
    routes: admin.routes,
    host,
    root,
    ana: ana as Pair,
    gone: gone as Pair,
    engine: buildEngine(context),
  };
}

type Bench = Awaited<ReturnType<typeof bench>>;

interface Call {
  method?: string;
  path: string;
  query?: string;
  body?: unknown;
  headers?: Record<string, string>;
  as?: Pair;
  /** Changes what was signed. */
  spoil?: (headers: Record<string, string>) => void;
  service?: string;
  region?: string;
  date?: Date;
  payloadHash?: string;
  sent?: string;
}

async function call<T = unknown>(b: Bench, given: Call) {
  const method = (given.method ?? 'GET') as 'GET';
  const body = given.body === undefined ? '' : JSON.stringify(given.body);
  let headers = given.headers ?? {};
  if (given.as !== undefined) {
    headers = signRequest({
      ...given.as,
      method,
      host: b.host,
      path: given.path,
      ...(given.query === undefined ? {} : { query: given.query }),
      headers,
      payloadHash: given.payloadHash ?? sha256Hex(body),
      region: given.region ?? 'us-east-1',
      service: given.service ?? 'firn',
      date: given.date ?? new Date(b.clock.wall()),
    });
    given.spoil?.(headers);
  }
  const url = `http://${b.host}${given.path}${given.query === undefined ? '' : `?${given.query}`}`;
  const sent = given.sent ?? body;
  const answer = await request(url, { method, headers, body: sent === '' ? null : sent });
  const text = await answer.body.text();
  const type = String(answer.headers['content-type']);
  return {
    status: answer.statusCode,
    headers: answer.headers,
    type,
    text,
    json: (type.startsWith('application/json') ? JSON.parse(text) : undefined) as T,
  };
}

const pathOf = (route: Route): string => `/v1${route.path.replace(/:\w+/g, 'x')}`;

test('default deny: no route, known or not, answers anybody but a signing admin', async (t) => {
  const b = await bench(t);
  const spoilt = (headers: Record<string, string>): void => {
    const header = headers['authorization'] ?? '';
    headers['authorization'] = header.slice(0, -1) + (header.endsWith('0') ? '1' : '0');
  };
  const wrong = { ...b.root, secretKey: 'not the secret key' };
  const matrix: [string, Partial<Call>, number, string][] = [
    ['nothing', {}, 403, 'AccessDenied'],
    ['no SigV4', { headers: { authorization: 'Bearer x' } }, 400, 'AuthorizationHeaderMalformed'],
    ['wrong signature', { as: b.root, spoil: spoilt }, 403, 'SignatureDoesNotMatch'],
    ['wrong secret', { as: wrong }, 403, 'SignatureDoesNotMatch'],
    ['unknown key', { as: { accessKey: 'NOBODY', secretKey: 'x' } }, 403, 'InvalidAccessKeyId'],
    ['revoked key', { as: b.gone }, 403, 'InvalidAccessKeyId'],
    ['not an admin', { as: b.ana }, 403, 'AccessDenied'],
    ['signed for S3', { as: b.root, service: 's3' }, 400, 'AuthorizationHeaderMalformed'],
    ['another region', { as: b.root, region: 'eu' }, 400, 'AuthorizationHeaderMalformed'],
    ['old', { as: b.root, date: new Date(START - 16 * 60_000) }, 403, 'RequestTimeTooSkewed'],
    ['early', { as: b.root, date: new Date(START + 16 * 60_000) }, 403, 'RequestTimeTooSkewed'],
    ['unsigned body', { as: b.root, payloadHash: 'UNSIGNED-PAYLOAD' }, 403, 'AccessDenied'],
    ['other body', { as: b.root, sent: '{"a":1}' }, 400, 'XAmzContentSHA256Mismatch'],
    [
      'a header left out',
      { as: b.root, spoil: (headers) => void (headers['x-amz-meta-x'] = 'added') },
      403,
      'AccessDenied',
    ],
  ];
  const places = [
    ...b.routes.map((route) => ({ method: route.method, path: pathOf(route) })),
    { method: 'GET', path: '/v1/openapi.json' },
    { method: 'GET', path: '/v1/nothing' },
    { method: 'GET', path: '/' },
    { method: 'PUT', path: '/v1/plan' },
  ];
  t.true(places.length > 25);
  for (const place of places) {
    for (const [name, given, status, code] of matrix) {
      if (name === 'other body' && place.method === 'GET') continue;
      const answer = await call<ErrorAnswer>(b, { ...place, ...given });
      const where = `${place.method} ${place.path} with ${name}`;
      t.is(answer.status, status, where);
      t.is(answer.json.code, code, where);
    }
  }
  t.deepEqual(b.store.rowsOf('runs'), [], 'nothing was done on the way');
  t.deepEqual(b.store.rowsOf('restores'), []);
  t.deepEqual(b.store.rowsOf('policy-sets'), []);
  t.deepEqual(b.faults, []);
});

test('a sandbox clock that was advanced does not make old signatures good', async (t) => {
  const b = await bench(t);
  await call(b, { method: 'POST', path: '/v1/clock/advance', body: { days: 400 }, as: b.root });
  t.is((await call(b, { path: '/v1/keys', as: b.root })).status, 200);
  const engineNow = new Date(b.clock.now());
  const answer = await call<ErrorAnswer>(b, { path: '/v1/keys', as: b.root, date: engineNow });
  t.is(answer.json.code, 'RequestTimeTooSkewed');
});

test('health and metrics need no key, say no names, and are unready with reasons', async (t) => {
  const reasons: string[] = [];
  const b = await bench(t, { readiness: async () => reasons });
  t.is((await call(b, { path: '/health/live' })).status, 200);
  const ready = await call(b, { path: '/health/ready' });
  t.is(ready.status, 200);
  t.deepEqual(ready.json, { status: 'ready', reasons: [] });
  reasons.push('api-1 is not up');
  const unready = await call(b, { path: '/health/ready' });
  t.is(unready.status, 503);
  t.deepEqual(unready.json, { status: 'unready', reasons: ['api-1 is not up'] });
  await fill(b);
  b.metrics.observe({ operation: 'GetObject', status: 200, ms: 3, bytesIn: 0, bytesOut: 10 });
  const metrics = await call(b, { path: '/metrics' });
  t.is(metrics.status, 200);
  t.regex(metrics.text, /^firn_s3_requests_total\{operation="GetObject",status="2xx"\} 1$/m);
  t.regex(metrics.text, /^firn_ready 0$/m);
  t.regex(metrics.text, /^firn_tier_blobs\{tier="hot"\} \d+$/m);
  t.notRegex(metrics.text, /photos|2024/, 'no bucket and no key in a label');
  t.regex(metrics.text, /^firn_gauges_missing 0$/m);
  b.store.beforeRead = () => {
    throw new Error('the store is away');
  };
  const broken = await call(b, { path: '/metrics' });
  t.is(broken.status, 200, 'metrics matter most while something is broken');
  t.regex(broken.text, /^firn_s3_requests_total\{/m);
  t.regex(broken.text, /^firn_gauges_missing [1-9]$/m);
  const closed = await bench(t, { metricsSigned: true });
  t.is((await call(closed, { path: '/metrics' })).status, 403);
  t.is((await call(closed, { path: '/metrics', as: closed.root })).status, 200);
});

/** Ten photos in hot, and two objects as they are when they lie in the archive. */
async function fill(b: Bench): Promise<void> {
  await b.engine.createBucket({ name: 'photos', owner: 'root', region: 'us-east-1' });
  for (let index = 0; index < 12; index += 1) {
    await b.engine.putObject({
      bucket: 'photos',
      key: `2024/${String(index).padStart(2, '0')}.jpg`,
      body: new Uint8Array(1000 + index),
      sizeBytes: 1000 + index,
      owner: 'root',
      storageClass: 'STANDARD',
      headers: {},
      metadata: {},
    });
  }
  for (const row of b.store.rowsOf<ObjectDocument>('objects').slice(10)) {
    const value = structuredClone(row.value);
    const version = value.versions[0];
    const part = version?.parts[0];
    if (version === undefined || part === undefined) throw new Error('no version');
    version.storageClass = 'GLACIER';
    part.location = {
      kind: 'pack',
      id: part.location.id,
      tier: 'archive',
      pack: 'p1',
      offset: 100,
      length: version.sizeBytes,
    };
    await b.store.replace({ table: 'objects', id: row.id, expected: row.revision, value });
  }
  await b.store.insert('packs', 'p1', {
    format: 1,
    id: 'p1',
    tier: 'archive',
    layout: 'zip',
    blob: { kind: 'remote', id: 'p1', tier: 'archive', name: 'p1', length: 64_000 },
    sizeBytes: 64_000,
    entries: 2,
    entryBytes: 2021,
    deadBytes: 0,
    createdAt: START,
  });
}

const POLICY = `version: 1
rules:
  - id: warm
    trigger: { ageDays: 30 }
    action: { transition: STANDARD_IA }
  - id: gone
    filter: { prefixes: [2024/00] }
    trigger: { ageDays: 60 }
    action: expire
`;
const files = [{ name: 'p.yaml', text: POLICY }];

function shaped(t: ExecutionContext, b: Bench, id: string, value: unknown): void {
  const route = b.routes.find((one) => one.id === id);
  const schema = route?.answer as z.ZodObject | undefined;
  const result = schema?.safeParse(value);
  t.true(result?.success, `${id}: ${JSON.stringify(result?.error?.issues)}`);
  t.deepEqual(
    Object.keys(value as object).sort(),
    Object.keys((schema as z.ZodObject).shape).sort(),
    `${id} answers exactly what it publishes`,
  );
}

test('plan, apply, explain: only what was planned is applied, once it is what stands', async (t) => {
  const b = await bench(t);
  await fill(b);
  const post = { method: 'POST', as: b.root };
  const young = await call<PlanAnswer>(b, { ...post, path: '/v1/plan', body: { files } });
  t.is(young.status, 200);
  shaped(t, b, 'plan', young.json);
  t.like(young.json, { activeRevision: null, inventory: { objects: 12 }, breaches: [] });
  t.deepEqual(
    young.json.rules.map((rule) => [rule.id, rule.objects, rule.later.objects]),
    [
      ['warm', 0, 10],
      ['gone', 0, 0],
    ],
  );
  const nothing = await call<ErrorAnswer>(b, { ...post, path: '/v1/apply', body: { plan: 'x' } });
  t.is(nothing.json.code, 'InvalidArgument', 'without files and without an active policy');
  const wrong = await call<ErrorAnswer>(b, {
    ...post,
    path: '/v1/apply',
    body: { plan: 'x', files },
  });
  t.is(wrong.status, 409);
  t.is(wrong.json.code, 'PlanStale');
  t.deepEqual(b.store.rowsOf('policy-sets'), []);
  const applied = await call(b, {
    ...post,
    path: '/v1/apply',
    body: { plan: young.json.hash, files },
  });
  t.is(applied.status, 200);
  shaped(t, b, 'apply', applied.json);
  t.is(b.store.rowsOf('policy-sets').length, 2, 'the active one, and its revision');
  const again = await call<ErrorAnswer>(b, {
    ...post,
    path: '/v1/apply',
    body: { plan: young.json.hash, files },
  });
  t.is(again.json.code, 'PlanStale', 'a plan is against what was active then');
  const shown = await call(b, { path: '/v1/policy', as: b.root });
  shaped(t, b, 'getPolicy', shown.json);
  t.like(shown.json, { appliedBy: 'root', files: [{ name: 'p.yaml', text: POLICY }] });

  const explained = await call<ExplainAnswer>(b, {
    path: '/v1/explain',
    query: 'bucket=photos&key=2024%2F01.jpg',
    as: b.root,
  });
  shaped(t, b, 'explain', explained.json);
  t.like(explained.json, {
    storageClass: 'STANDARD',
    rule: null,
    last: null,
    next: { rule: 'warm', action: 'transition to STANDARD_IA', at: '2026-12-25T00:00:00Z' },
    location: { tier: 'hot', retrieval: 'immediate' },
    confirmed: true,
  });
  t.deepEqual(
    explained.json.lost.map((rule) => [rule.id, rule.state]),
    [
      ['warm', 'not-due'],
      ['gone', 'no-match'],
    ],
  );
  for (const [query, code] of [
    ['bucket=nobody&key=a', 'NoSuchBucket'],
    ['bucket=photos&key=a', 'NoSuchKey'],
    ['bucket=photos&key=2024%2F01.jpg&versionId=77', 'NoSuchVersion'],
    ['bucket=photos', 'InvalidArgument'],
    ['bucket=photos&key=a&extra=1', 'InvalidArgument'],
  ] as const) {
    const answer = await call<ErrorAnswer>(b, { path: '/v1/explain', query, as: b.root });
    t.is(answer.json.code, code, query);
  }
  t.deepEqual(b.faults, []);
});

test('apply refuses to pass a guard rail unless it is forced, and a lost race', async (t) => {
  const b = await bench(t);
  await fill(b);
  b.clock.offsetMs = 70 * DAY_MS;
  const post = { method: 'POST', as: b.root };
  const text = POLICY.replace('2024/00', '2024/0');
  const body = { files: [{ name: 'p.yaml', text }] };
  const plan = await call<PlanAnswer>(b, { ...post, path: '/v1/plan', body });
  t.is(plan.json.totals.deletes, 10);
  t.is(plan.json.breaches[0]?.rail, 'deletedShareMax');
  const apply = { ...body, plan: plan.json.hash };
  const refused = await call<ErrorAnswer>(b, { ...post, path: '/v1/apply', body: apply });
  t.is(refused.status, 409);
  t.is(refused.json.code, 'GuardRail');
  t.regex(refused.json.hint ?? '', /--force/);
  t.deepEqual(b.store.rowsOf('policy-sets'), []);
  const forced = { ...apply, force: true };
  const [one, two] = await Promise.all([
    call(b, { ...post, path: '/v1/apply', body: forced }),
    call(b, { ...post, path: '/v1/apply', body: forced }),
  ]);
  t.deepEqual(
    [one.status, two.status].sort((x, y) => x - y),
    [200, 409],
    'one of two racing applies wins',
  );
});

test('a broken policy file is refused with file, line and column, and nothing is planned', async (t) => {
  const b = await bench(t);
  for (const [text, pattern] of [
    [
      'version: 1\nrules:\n  - id: a\n    trigger: { ageDays: 1 }\n    actions: expire\n',
      /p\.yaml:5/,
    ],
    ['version: 2\nrules: []\n', /p\.yaml:1/],
    ['rules: [', /p\.yaml/],
  ] as const) {
    const answer = await call<ErrorAnswer>(b, {
      method: 'POST',
      path: '/v1/plan',
      body: { files: [{ name: 'p.yaml', text }] },
      as: b.root,
    });
    t.is(answer.status, 400);
    t.is(answer.json.code, 'PolicyInvalid');
    t.regex(answer.json.message, pattern);
  }
});

test('diff and policy test touch nothing', async (t) => {
  const b = await bench(t);
  const post = { method: 'POST', as: b.root };
  const diff = await call<{ lines: string[]; added: string[] }>(b, {
    ...post,
    path: '/v1/diff',
    body: { files },
  });
  shaped(t, b, 'diff', diff.json);
  t.deepEqual(diff.json.added, ['warm', 'gone']);
  t.regex(diff.json.lines[0] ?? '', /^\+ warm: transition to STANDARD_IA by age/);
  const cases = {
    name: 'c.yaml',
    text: `version: 1
cases:
  - name: sinks
    object: { bucket: b, key: k, size: 200000, lastModified: 2026-01-01 }
    at: 2026-02-15
    expect: { action: transition, to: STANDARD_IA }
  - name: stays
    object: { bucket: b, key: 2024/00, size: 200000, lastModified: 2026-01-01 }
    at: 2026-06-15
    expect: { action: none }
`,
  };
  const tested = await call<{ passed: number; failed: number; cases: { message?: string }[] }>(b, {
    ...post,
    path: '/v1/policy/test',
    body: { cases, files },
  });
  shaped(t, b, 'testPolicy', tested.json);
  t.like(tested.json, { passed: 1, failed: 1 });
  t.regex(tested.json.cases[1]?.message ?? '', /expected none, got expire/);
  t.deepEqual(b.store.rowsOf('policy-sets'), []);
});

test('a long answer streams progress and ends with its result, or with its error', async (t) => {
  const b = await bench(t);
  await fill(b);
  const headers = { accept: 'application/x-ndjson' };
  const given = { method: 'POST', path: '/v1/plan', headers, as: b.root };
  const good = await call(b, { ...given, body: { files } });
  t.is(good.type, 'application/x-ndjson');
  const lines = good.text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as object);
  t.true('result' in (lines.at(-1) ?? {}));
  t.deepEqual(lines[0], { progress: { objects: 12, bytes: 12_066 } });
  const bad = await call(b, { ...given, body: { files: [{ name: 'x', text: 'version: 3' }] } });
  const last = JSON.parse(bad.text.trimEnd().split('\n').at(-1) ?? '') as { error: ErrorAnswer };
  t.is(last.error.code, 'PolicyInvalid');
});

test('a restore is quoted by whole packs, and started only by a quote that still holds', async (t) => {
  const b = await bench(t);
  await fill(b);
  const post = { method: 'POST', as: b.root };
  const asked = { bucket: 'photos', prefix: '2024/', days: 7, tier: 'Bulk' };
  const quoted = await call<RestoreQuoteAnswer>(b, {
    ...post,
    path: '/v1/restores/quote',
    body: asked,
  });
  t.is(quoted.status, 200);
  shaped(t, b, 'quoteRestore', quoted.json);
  t.like(quoted.json, { objects: 2, bytes: 2021, packs: 1, retrievedBytes: 64_000 });
  const { quoteId } = quoted.json;
  const other = await call<ErrorAnswer>(b, {
    ...post,
    path: '/v1/restores',
    body: { quoteId, days: 8 },
  });
  t.is(other.json.code, 'InvalidArgument', 'a quote is for its own days');
  const started = await call<RestoreAnswer>(b, {
    ...post,
    path: '/v1/restores',
    body: { quoteId },
  });
  t.is(started.status, 202);
  shaped(t, b, 'startRestore', started.json);
  const row = b.store.rowsOf<RestoreRequest>('restores')[0]?.value;
  t.like(row, { state: 'requested', tier: 'Bulk', days: 7, requestedBy: 'root', quoteId });
  t.like(row?.scope, { bucket: 'photos', prefix: '2024/' });
  const path = `/v1/restores/${started.json.requestId}`;
  t.deepEqual((await call(b, { path, as: b.root })).json, started.json);
  const list = await call<{ restores: RestoreAnswer[] }>(b, { path: '/v1/restores', as: b.root });
  t.deepEqual(list.json.restores, [started.json]);
  const cancelled = await call<RestoreAnswer>(b, { ...post, path: `${path}/cancel` });
  t.is(cancelled.json.state, 'cancelled');
  t.is((await call(b, { method: 'DELETE', path, as: b.root })).status, 200, 'twice is once');
  // A third object sinks into the archive behind the quote's back.
  const third = b.store.rowsOf<ObjectDocument>('objects')[0];
  if (third === undefined) throw new Error('no row');
  const value = structuredClone(third.value);
  const version = value.versions[0];
  if (version !== undefined) version.storageClass = 'GLACIER';
  await b.store.replace({ table: 'objects', id: third.id, expected: third.revision, value });
  const stale = await call<ErrorAnswer>(b, { ...post, path: '/v1/restores', body: { quoteId } });
  t.is(stale.json.code, 'PlanStale');
  b.clock.wallMs += 25 * 3_600_000;
  const late = await call<ErrorAnswer>(b, { ...post, path: '/v1/restores', body: { quoteId } });
  t.is(late.json.code, 'NoSuchKey', 'a quote is good for a day');
});

test('runs are rows that workers find; an ended restore cannot be cancelled', async (t) => {
  const b = await bench(t);
  await fill(b);
  const post = { method: 'POST', as: b.root };
  const run = await call<RunAnswer>(b, {
    ...post,
    path: '/v1/lifecycle/run',
    body: { bucket: 'photos' },
  });
  t.is(run.status, 202);
  shaped(t, b, 'runLifecycle', run.json);
  const row = b.store.rowsOf<Run>('runs')[0];
  t.is(row?.id, `lifecycle/${run.json.runId}`);
  t.like(row?.value, { state: 'requested', kind: 'lifecycle', bucket: 'photos' });
  t.deepEqual((await call(b, { path: `/v1/runs/${run.json.runId}`, as: b.root })).json, run.json);
  for (const kind of ['scrub', 'heal', 'collect']) {
    t.is((await call(b, { ...post, path: `/v1/runs/${kind}`, body: {} })).status, 202);
  }
  const runs = await call<{ runs: RunAnswer[] }>(b, { path: '/v1/runs', as: b.root });
  t.is(runs.json.runs.length, 4);
  const body = { bucket: 'nobody' };
  const nobody = await call<ErrorAnswer>(b, { ...post, path: '/v1/lifecycle/run', body });
  t.is(nobody.json.code, 'NoSuchBucket');
  await b.store.insert('restores', 'r1', {
    format: 1,
    id: 'r1',
    scope: { bucket: 'photos', bucketId: 'x', key: 'a', versionId: 'v' },
    tier: 'Bulk',
    days: 1,
    requestedAt: START,
    requestedBy: 'root',
    state: 'done',
    counts: { objects: 1, bytes: 1, ready: 1, failed: 0 },
    finishedAt: START,
  } satisfies RestoreRequest);
  const done = await call<ErrorAnswer>(b, { ...post, path: '/v1/restores/r1/cancel' });
  t.is(done.status, 409);
  t.is(done.json.code, 'InvalidObjectState');
});

test('usage counts the whole inventory by where the bytes are; cost prices the meters', async (t) => {
  const b = await bench(t);
  await fill(b);
  const usage = await call<UsageAnswer>(b, { path: '/v1/usage', as: b.root });
  shaped(t, b, 'getUsage', usage.json);
  t.deepEqual(usage.json.buckets, [
    {
      bucket: 'photos',
      tier: 'archive',
      storageClass: 'GLACIER',
      objects: 2,
      bytes: 2021,
      storedBytes: 2021,
    },
    {
      bucket: 'photos',
      tier: 'hot',
      storageClass: 'STANDARD',
      objects: 10,
      bytes: 10_045,
      storedBytes: 10_045,
    },
  ]);
  t.is(usage.json.packs, 1);
  const row: UsageRow = {
    format: 1,
    day: '2026-11-23',
    kind: 'stored',
    bucket: 'photos',
    tier: 'hot',
    storageClass: 'STANDARD',
    bytes: 24 * 2 ** 40,
    count: 10,
  };
  await b.store.insert('usage', '2026-11-23/scan/photos/hot', row);
  const metered = await call<UsageAnswer>(b, {
    path: '/v1/usage',
    query: 'source=meters',
    as: b.root,
  });
  t.is(metered.json.buckets[0]?.bytes, 2 ** 40);
  const path = '/v1/cost/report';
  const report = await call<CostReportAnswer>(b, { path, as: b.root });
  shaped(t, b, 'getCostReport', report.json);
  t.like(report.json, { month: '2026-11', by: 'tier', daysMetered: 1 });
  t.is(report.json.rows[0]?.name, 'hot');
  t.true(report.json.total > 0);
  t.regex(report.json.prices[0] ?? '', /^local-default of 2026-11-01/);
  const other = await call<CostReportAnswer>(b, { path, query: 'month=2026-12', as: b.root });
  t.is(other.json.total, 0);
  for (const type of ['text/csv', 'text/html']) {
    const text = await call(b, { path, headers: { accept: type }, as: b.root });
    t.true(text.type.startsWith(type));
    t.true(text.text.length > 50);
  }
  const bad = await call<ErrorAnswer>(b, { path, query: 'month=2026-13', as: b.root });
  t.is(bad.status, 400);
});

test('a secret leaves only in the answer that made it; a revoked key is refused at once', async (t) => {
  const b = await bench(t);
  const post = { method: 'POST', as: b.root };
  const account = await call(b, {
    ...post,
    path: '/v1/accounts',
    body: { id: 'ops', displayName: 'Operations', admin: true },
  });
  t.is(account.status, 201);
  shaped(t, b, 'createAccount', account.json);
  const body = { account: 'ops' };
  const key = await call<NewKeyAnswer>(b, { ...post, path: '/v1/keys', body });
  shaped(t, b, 'createKey', key.json);
  const { accessKey, secretKey } = key.json;
  const ops = { accessKey, secretKey };
  const list = await call(b, { path: '/v1/keys', as: ops });
  t.is(list.status, 200, 'a new admin is let in');
  shaped(t, b, 'listKeys', list.json);
  t.false(list.text.includes(secretKey));
  const revoked = await call(b, { method: 'DELETE', path: `/v1/keys/${accessKey}`, as: b.root });
  shaped(t, b, 'revokeKey', revoked.json);
  t.is((await call(b, { path: '/v1/keys', as: ops })).status, 403);
  const half = await call<ErrorAnswer>(b, {
    ...post,
    path: '/v1/keys',
    body: { account: 'ops', accessKey: 'HALFAPAIR' },
  });
  t.is(half.json.code, 'InvalidArgument');
  const given = await call<NewKeyAnswer>(b, {
    ...post,
    path: '/v1/keys',
    body: { account: 'ops', accessKey: 'GIVENKEY', secretKey: 'given-secret' },
  });
  t.like(given.json, { accessKey: 'GIVENKEY', secretKey: 'given-secret' });
});

test('the clock moves only in a sandbox', async (t) => {
  const sandbox = await bench(t);
  const given = { method: 'POST', path: '/v1/clock/advance', body: { days: 40 } };
  const moved = await call(sandbox, { ...given, as: sandbox.root });
  shaped(t, sandbox, 'advanceClock', moved.json);
  t.deepEqual(moved.json, { now: '2027-01-03T06:00:00Z', offsetDays: 40 });
  const { advanceClock: _, ...real } = { advanceClock: undefined };
  const b = await bench(t, {
    ...real,
    advanceClock: undefined,
  } as unknown as Partial<AdminOptions>);
  const refused = await call<ErrorAnswer>(b, { ...given, as: b.root });
  t.is(refused.status, 403);
  t.is(refused.json.code, 'AccessDenied');
});

test('drives and healing are told by the tiers', async (t) => {
  const b = await bench(t);
  shaped(t, b, 'getDrives', (await call(b, { path: '/v1/drives', as: b.root })).json);
  await b.store.insert('heals', 'l1', {
    format: 1,
    location: { kind: 'remote', id: 'l1', tier: 'hot', name: 'x', length: 500 },
    since: START - 1000,
    attempts: 0,
  });
  const heal = await call(b, { path: '/v1/heal/status', as: b.root });
  shaped(t, b, 'getHealStatus', heal.json);
  t.like(heal.json, { waiting: 1, bytes: 500, oldestSince: '2026-11-24T05:59:59Z' });
});

test('the OpenAPI document lists every route with its parameters and schemas', async (t) => {
  const b = await bench(t);
  const { json } = await call<{
    openapi: string;
    paths: Record<string, Record<string, { operationId: string; requestBody?: object }>>;
  }>(b, { path: '/v1/openapi.json', as: b.root });
  t.is(json.openapi, '3.1.0');
  const listed = Object.entries(json.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, one]) => `${method} ${path} ${one.operationId}`),
  );
  const expected = b.routes.map(
    (one) => `${one.method.toLowerCase()} /v1${one.path.replace(/:(\w+)/g, '{$1}')} ${one.id}`,
  );
  t.deepEqual(listed.sort(), expected.sort());
  t.is(new Set(b.routes.map((one) => one.id)).size, b.routes.length, 'ids are unique');
  t.truthy(json.paths['/v1/plan']?.['post']?.requestBody);
});

test('what breaks inside is told to the log, and to nobody else', async (t) => {
  const b = await bench(t);
  b.store.beforeRead = (table) => {
    if (table === 'runs') throw new Error('secret detail of the inside');
  };
  const answer = await call<ErrorAnswer>(b, { path: '/v1/runs', as: b.root });
  t.is(answer.status, 500);
  t.is(answer.json.code, 'InternalError');
  t.notRegex(answer.text, /secret detail/);
  t.is(b.faults.length, 1);
  t.true(answer.text.includes(String(answer.headers['x-firn-request-id'])));
});

test('a caller that hangs up in the middle of its body is no fault of ours', async (t) => {
  const b = await bench(t);
  const headers = signRequest({
    ...b.root,
    method: 'POST',
    host: b.host,
    path: '/v1/plan',
    headers: { 'content-length': '100' },
    payloadHash: sha256Hex(''),
    region: 'us-east-1',
    service: 'firn',
    date: new Date(b.clock.wall()),
  });
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const socket = connect(Number(b.host.split(':')[1]), '127.0.0.1');
  socket.write(`POST /v1/plan HTTP/1.1\r\n${lines.join('')}\r\n{`);
  await sleep(100);
  socket.destroy();
  await sleep(100);
  t.deepEqual(b.faults, []);
});

test('bad bodies are refused: not JSON, too long, of the wrong shape', async (t) => {
  const b = await bench(t);
  const post = { method: 'POST', path: '/v1/plan', as: b.root };
  const noJson = await call<ErrorAnswer>(b, { ...post, sent: '{', payloadHash: sha256Hex('{') });
  t.is(noJson.json.code, 'InvalidArgument');
  const long = 'x'.repeat(9 * 1024 * 1024);
  const tooLong = await call<ErrorAnswer>(b, { ...post, sent: long, payloadHash: sha256Hex(long) });
  t.is(tooLong.status, 413);
  const shape = await call<ErrorAnswer>(b, { ...post, body: { file: [] } });
  t.is(shape.status, 400);
  const method = await call<ErrorAnswer>(b, { method: 'DELETE', path: '/v1/plan', as: b.root });
  t.is(method.status, 405);
  t.is((await call(b, { path: '/v1/nothing', as: b.root })).status, 404);
});

test('the command line and the real API understand each other, verb by verb', async (t) => {
  const b = await bench(t);
  await fill(b);
  const run = async (...args: string[]): Promise<{ code: number; out: string; err: string }> => {
    let out = '';
    let err = '';
    const sink = { isTTY: false, colour: false, columns: 100 };
    const code = await runCli(args, {
      stdout: { ...sink, write: (text) => void (out += text) },
      stderr: { ...sink, write: (text) => void (err += text) },
      wall: () => b.clock.wall(),
      version: '1.2.3',
      settings: () => ({
        adminEndpoint: `http://${b.host}`,
        s3Endpoint: 'http://127.0.0.1:1',
        region: 'us-east-1',
        credentialsFile: '/nowhere',
        credentials: b.root,
      }),
    });
    return { code, out, err };
  };
  const folder = mkdtempSync(join(tmpdir(), 'firn-admin-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const policy = join(folder, 'p.yaml');
  writeFileSync(policy, POLICY);
  const plan = await run('plan', policy, '--json');
  t.is(plan.code, 0, plan.err);
  const { hash } = JSON.parse(plan.out) as PlanAnswer;
  t.is((await run('apply', policy, '--plan', 'other')).code, 1);
  t.is((await run('apply', folder, '--plan', hash)).code, 0, 'a folder is its files');
  const verbs = [
    ['plan'],
    ['diff', policy],
    ['explain', 's3://photos/2024/01.jpg'],
    ['policy', 'show'],
    ['run', 'lifecycle', '--bucket', 'photos'],
    ['restore', 'quote', 's3://photos/2024/', '--days', '7'],
    ['restore', 'start', 's3://photos/2024/', '--days', '7', '--tier', 'Bulk'],
    ['restore', 'status'],
    ['cost', 'report', '--by', 'class'],
    ['usage'],
    ['usage', '--metered'],
    ['drives'],
    ['heal', 'status'],
    ['account', 'create', '--id', 'eve', '--display-name', 'Eve'],
    ['account', 'list'],
    ['key', 'create', '--account', 'eve'],
    ['key', 'list', '--account', 'eve'],
    ['clock', 'advance', '1.5'],
    ['bucket', 'set', 'photos', '--dedupe', 'on'],
    ['bucket', 'show'],
    ['bucket', 'set', 'photos', '--dedupe', 'off'],
    ['bucket', 'show', 'photos'],
    ['quota', 'show'],
    ['quota', 'set', '--bucket', 'photos', '--bytes', '1.5TiB', '--objects', '10'],
    ['quota', 'set', '--account', 'ana', '--objects', '2000'],
    ['quota', 'show'],
    ['quota', 'show', '--bucket', 'photos'],
    ['run', 'inventory', '--bucket', 'photos'],
    ['usage', '--inventory'],
    ['cost', 'report', '--inventory'],
  ];
  for (const verb of verbs) {
    const text = await run(...verb);
    t.is(text.code, 0, `${verb.join(' ')}: ${text.err}`);
    t.notRegex(text.out, /undefined|NaN|Infinity|\[object/, verb.join(' '));
  }
  for (const verb of [...verbs.slice(0, 4), ...verbs.slice(7, 13)]) {
    const json = await run(...verb, '--json');
    t.notThrows(() => JSON.parse(json.out) as unknown, verb.join(' '));
  }
  const csv = await run('cost', 'report', '--csv');
  t.regex(csv.out, /^BillingPeriodStart,/);
  const absent = await run('explain', 's3://photos/none');
  t.is(absent.code, 1);
  t.regex(absent.err, /there is no s3:\/\/photos\/none/);
  t.deepEqual(b.faults, []);
});
