// Events and access logs. The danger: a consumer that was never told of a change goes wrong for
// ever, and a log that is silent about who was refused is no log.

import { createHmac } from 'node:crypto';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { buildEngine } from '../appliance/engine/build.ts';
import type { Engine } from '../appliance/engine/engine.ts';
import {
  acknowledgeEvents,
  eventRows,
  Notifications,
  receiveEvents,
} from '../appliance/engine/event/notifications.ts';
import { FirnError } from '../appliance/model/errors.ts';
import { settleUpload } from '../appliance/engine/upload/multipart-end.ts';
import type { EventRow } from '../appliance/model/event-sink.ts';
import type { Upload } from '../appliance/model/object.ts';
import { NotifyWorker, type NotifySettings } from '../workers/notify.ts';
import type { Turn } from '../workers/base/worker.ts';
import {
  buildTiers,
  contextOf,
  crashAt,
  cryptoRandom,
  house,
  makeBucket,
  put as putOf,
  revive,
  type House,
} from './engine-harness.ts';
import { MemoryMetadataStore } from './memory-store.ts';
import {
  checkRefusal,
  elementOf,
  MovableClock,
  REGION,
  send,
  startEndpoint,
  STRANGER,
  wireOf,
  sendWire,
  type Answer,
  type Call,
  type Endpoint,
} from './s3-caller.ts';

interface Rig {
  endpoint: Endpoint;
  store: MemoryMetadataStore;
  clock: MovableClock;
  engine: Engine;
  notifications: Notifications;
  problems: string[];
  waiting(target: string): Promise<EventRow[]>;
}

async function rig(t: ExecutionContext, accessLogMs?: number): Promise<Rig> {
  const clock = new MovableClock();
  const store = new MemoryMetadataStore(clock);
  const notifications = new Notifications({ store, clock, random: cryptoRandom });
  const parts = { store, clock, tiers: buildTiers(clock) };
  const engine = buildEngine(contextOf(parts, { events: notifications }));
  for (const name of ['bucket', 'logs']) {
    await engine.createBucket({ name, owner: 'owner', region: REGION });
  }
  const problems: string[] = [];
  const endpoint = await startEndpoint({
    engine,
    notificationTargets: { webhooks: ['hook'], queues: ['line', 'other'] },
    testEvents: (bucket, rules) => notifications.test(bucket, rules),
    problem: (message) => void problems.push(message),
    ...(accessLogMs !== undefined && { accessLogMs }),
  });
  t.teardown(() => endpoint.close());
  const waiting = async (target: string): Promise<EventRow[]> => {
    const rows: EventRow[] = [];
    for await (const { value } of eventRows(store, `${target}/`)) rows.push(value);
    return rows;
  };
  return { endpoint, store, clock, engine, notifications, problems, waiting };
}

const rule = (element: string, arn: string, more: string): string =>
  `<${element}Configuration><Id>${arn.split(':').at(-1)}</Id><${element}>${arn}</${element}>${more}` +
  `</${element}Configuration>`;
const LINE = 'arn:firn:sqs:eu-test-1::line';
const HOOK = 'arn:firn:sns:eu-test-1::hook';

function configure(of: Rig, ...rules: string[]): Promise<Answer> {
  return send(of.endpoint, {
    method: 'PUT',
    path: '/bucket',
    query: 'notification',
    body: `<NotificationConfiguration>${rules.join('')}</NotificationConfiguration>`,
  });
}

const put = (of: Rig, key: string, more: Partial<Call> = {}): Promise<Answer> =>
  send(of.endpoint, { method: 'PUT', path: `/bucket/${key}`, body: 'bytes', ...more });

test('an acknowledged change has its event on record, and only those that were asked for', async (t) => {
  const of = await rig(t);
  const { endpoint } = of;
  const jpeg =
    '<Filter><S3Key><FilterRule><Name>prefix</Name><Value>in/</Value></FilterRule>' +
    '<FilterRule><Name>suffix</Name><Value>.jpg</Value></FilterRule></S3Key></Filter>';
  const created = '<Event>s3:ObjectCreated:*</Event>';
  const removed = '<Event>s3:ObjectRemoved:Delete</Event>';
  t.is(
    (await configure(of, rule('Queue', LINE, created + jpeg), rule('Topic', HOOK, removed))).status,
    200,
  );
  // The test events say that the targets are heard.
  t.is((await of.waiting('queue/line')).length, 1);
  t.is((await of.waiting('webhook/hook')).length, 1);
  await put(of, 'in/a%20b.jpg');
  await put(of, 'in/a.png');
  await put(of, 'a.jpg');
  await send(endpoint, { method: 'DELETE', path: '/bucket/a.jpg' });
  const [, told, ...more] = await of.waiting('queue/line');
  t.deepEqual(
    [told?.event?.name, told?.event?.key, more.length],
    ['s3:ObjectCreated:Put', 'in/a b.jpg', 0],
  );
  const gone = await of.waiting('webhook/hook');
  t.deepEqual(
    gone.map(({ event }) => event?.name),
    [undefined, 's3:ObjectRemoved:Delete'],
  );
  // What was set is what is shown, filters in S3's spelling.
  const shown = await send(endpoint, { path: '/bucket', query: 'notification' });
  t.is(elementOf(shown, 'Queue'), LINE);
  t.is(elementOf(shown, 'Topic'), HOOK);
  t.true(shown.text.includes('<Name>Prefix</Name><Value>in/</Value>'));
  // An empty configuration ends it.
  t.is((await configure(of)).status, 200);
  await put(of, 'in/c.jpg');
  t.is((await of.waiting('queue/line')).length, 2);
});

test('a change whose event can not be put on record is not acknowledged', async (t) => {
  const of = await rig(t);
  await configure(of, rule('Queue', LINE, '<Event>s3:ObjectCreated:*</Event>'));
  const bulk = of.store.bulk.bind(of.store);
  of.store.bulk = (changes) =>
    changes.some(({ table }) => table === 'events')
      ? Promise.reject(new FirnError('MetadataUnavailable', 'the store is away'))
      : bulk(changes);
  t.is((await put(of, 'a')).status, 503);
  of.store.bulk = bulk;
  t.is((await put(of, 'a')).status, 200);
  t.is((await of.waiting('queue/line')).length, 2);
});

/** A bucket whose every event is on record. */
async function toldHouse(): Promise<{
  h: House;
  told: () => { name: string; sequencer: string }[];
}> {
  const h = house();
  const events = new Notifications({ store: h.store, clock: h.clock, random: cryptoRandom });
  h.process = () => buildEngine(contextOf(h, { events }));
  h.engine = h.process();
  await makeBucket(h);
  const target = { kind: 'queue', name: 'line' } as const;
  const all = { id: 'all', element: 'Queue', arn: LINE, target, events: ['s3:*'] } as const;
  const notifications = [{ ...all, events: [...all.events] }];
  await h.engine.updateBucket('bucket', (old) => ({ ...old, notifications }));
  const told = (): ReturnType<Awaited<ReturnType<typeof toldHouse>>['told']> =>
    h.store.rowsOf<EventRow>('events').flatMap(({ value }) => value.event ?? []);
  return { h, told };
}

test('wherever a Complete or a DELETE dies, its repeat is answered only with the event on record', async (t) => {
  const name = { bucket: 'bucket', key: 'k' };
  for (const when of ['before', 'after'] as const) {
    for (let nth = 1; nth <= 7; nth++) {
      const { h, told } = await toldHouse();
      const upload = { headers: {}, metadata: {}, storageClass: 'STANDARD', owner: 'root' };
      const { uploadId } = await h.engine.createUpload({ ...name, ...upload });
      const body = Buffer.from('bytes');
      const { number, etag } = await h.engine.putPart({ ...name, uploadId, number: 1, body });
      const complete = { ...name, uploadId, owner: 'root', parts: [{ number, etag }] };
      crashAt(h.store, nth, when);
      await h.engine.completeUpload(complete).catch(() => undefined);
      revive(h);
      await h.process().completeUpload(complete);
      const names = new Set(told().map((event) => event.name));
      t.true(names.has('s3:ObjectCreated:CompleteMultipartUpload'), `Complete, ${when} ${nth}`);
      crashAt(h.store, nth, when);
      await h
        .process()
        .deleteObject({ ...name, owner: 'root' })
        .catch(() => undefined);
      revive(h);
      await h.process().deleteObject({ ...name, owner: 'root' });
      t.is(told().at(-1)?.name, 's3:ObjectRemoved:Delete', `DELETE, ${when} ${nth}`);
    }
  }
});

test('who orders a key’s events by their sequencers knows at last what is there', async (t) => {
  const { h, told } = await toldHouse();
  // Its document outlives its versions.
  const name = { bucket: 'bucket', key: 'k' };
  const upload = { headers: {}, metadata: {}, storageClass: 'STANDARD', owner: 'root' };
  const { uploadId } = await h.engine.createUpload({ ...name, ...upload });
  const body = Buffer.from('bytes');
  const { number, etag } = await h.engine.putPart({ ...name, uploadId, number: 1, body });
  const whole = { ...name, uploadId, owner: 'root', parts: [{ number, etag }] };
  await h.engine.completeUpload(whole);
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i <= round; i++) {
      h.clock.at += 1;
      await h.engine.putObject(putOf('k', `${round} ${i}`));
    }
    h.clock.at += 1;
    await h.engine.deleteObject({ bucket: 'bucket', key: 'k', owner: 'root' });
    h.clock.at += 2000;
    await h.engine.deleteObject({ bucket: 'bucket', key: 'k', owner: 'root' });
    if (round > 0) continue;
    h.clock.at += 3 * 86_400_000;
    for (const row of h.store.rowsOf<Upload>('uploads')) await settleUpload(h.engine.core, row);
    t.is(h.store.rowsOf('objects').length, 0);
  }
  h.clock.at += 1;
  await h.engine.putObject(putOf('k', 'last'));
  const sequencers = told().map(({ sequencer }) => sequencer);
  t.is(sequencers.length, 1 + 6 + 6 + 1);
  t.deepEqual(sequencers, [...new Set(sequencers)].toSorted(), 'as they happened');
});

test('a PUT that is told late comes before the DELETE that was told first', async (t) => {
  const { h, told } = await toldHouse();
  const name = { bucket: 'bucket', key: 'k' };
  const get = h.store.get.bind(h.store);
  const slow = Promise.withResolvers<void>();
  let isHeld = false;
  // Between the commit and its event: the bucket is read once more.
  h.store.get = async (table, id) => {
    if (table === 'buckets' && !isHeld && h.store.rowsOf('objects').length > 0) {
      isHeld = true;
      await slow.promise;
    }
    return get(table, id);
  };
  const putting = h.engine.putObject(putOf('k', 'bytes'));
  while (!isHeld) await setImmediate();
  h.clock.at += 5;
  await h.process().deleteObject({ ...name, owner: 'root' });
  slow.resolve();
  await putting;
  const inOrder = told().toSorted((a, b) => (a.sequencer < b.sequencer ? -1 : 1));
  t.deepEqual(
    inOrder.map((event) => event.name),
    ['s3:ObjectCreated:Put', 's3:ObjectRemoved:Delete'],
  );
});

test('a configuration that would never be heard of is refused', async (t) => {
  const of = await rig(t);
  const created = '<Event>s3:ObjectCreated:*</Event>';
  const cases: [string, string][] = [
    [rule('Queue', 'arn:firn:sqs:eu-test-1::nobody', created), 'InvalidArgument'],
    [rule('Queue', 'line', created), 'InvalidArgument'],
    [rule('Queue', LINE, '<Event>s3:ObjectInvented:*</Event>'), 'InvalidArgument'],
    [rule('Queue', LINE, ''), 'MalformedXML'],
    [rule('Queue', LINE, `${created}<Surprise/>`), 'MalformedXML'],
    [
      rule('Queue', LINE, created) + rule('Topic', HOOK, '<Event>s3:ObjectCreated:Put</Event>'),
      'InvalidArgument',
    ],
    [
      rule('Queue', LINE, created) + rule('Queue', LINE, '<Event>s3:ObjectRemoved:*</Event>'),
      'InvalidArgument',
    ],
  ];
  for (const [body, code] of cases) checkRefusal(await configure(of, body), 400, code, body);
  t.is((await of.waiting('queue/line')).length, 0);
  // As other stores write the name of a target.
  t.is((await configure(of, rule('Queue', 'arn:other:sqs::hook:webhook', created))).status, 200);
});

test('a received event is nobody else’s until its time is over, and gone once acknowledged', async (t) => {
  const of = await rig(t);
  await configure(of, rule('Queue', LINE, '<Event>s3:ObjectCreated:*</Event>'));
  for (const key of ['a', 'b', 'c']) await put(of, key);
  const context = { store: of.store, clock: of.clock, random: cryptoRandom };
  const receive = (hiddenMs: number, limit = 10): ReturnType<typeof receiveEvents> =>
    receiveEvents(context, { queue: 'line', limit, hiddenMs });
  const first = await receive(60_000, 2);
  const second = await receive(30_000, 10);
  t.deepEqual(
    first.map(({ row }) => row.event?.key),
    [undefined, 'a'],
  );
  t.deepEqual(
    second.map(({ row }) => row.event?.key),
    ['b', 'c'],
  );
  t.deepEqual(await receive(60_000), []);
  const receipts = first.map(({ receipt }) => receipt);
  t.is(await acknowledgeEvents(context, { queue: 'line', receipts }), 2);
  // A consumer that took too long: another has them now, and its receipt counts for nothing.
  of.clock.wall = () => Date.now() + 31_000;
  const again = await receive(60_000);
  t.deepEqual(
    again.map(({ row }) => [row.event?.key, row.receives]),
    [
      ['b', 2],
      ['c', 2],
    ],
  );
  const late = second.map(({ receipt }) => receipt);
  t.is(await acknowledgeEvents(context, { queue: 'line', receipts: late }), 0);
  t.is((await of.waiting('queue/line')).length, 2);
  await t.throwsAsync(acknowledgeEvents(context, { queue: 'line', receipts: ['../objects'] }), {
    message: /no receipt/,
  });
});

interface Heard {
  url: string;
  bodies: { text: string; signature: string | undefined }[];
  answers: number[];
}

async function listener(t: ExecutionContext): Promise<Heard> {
  const heard: Heard = { url: '', bodies: [], answers: [] };
  const server = http.createServer((request, response) => {
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => {
      const text = Buffer.concat(pieces).toString('utf8');
      const signature = request.headers['x-firn-signature'] as string | undefined;
      heard.bodies.push({ text, signature });
      response.writeHead(heard.answers.shift() ?? 204, { location: 'http://127.0.0.1:1/' }).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  heard.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/events`;
  return heard;
}

const turn = {
  lease: { check: () => Promise.resolve() },
  signal: new AbortController().signal,
  rest: () => Promise.resolve(),
  report: () => undefined,
} as unknown as Turn;

function notifier(of: Rig, settings: Partial<NotifySettings> & { url: string }): NotifyWorker {
  const { url, ...more } = settings;
  const webhooks = new Map([['hook', { url, secret: 'canary', timeoutMs: 2000 }]]);
  const all = { webhooks, region: REGION, keptMs: 86_400_000, ...more };
  return new NotifyWorker(of.engine.core, all, (_level, message) => void of.problems.push(message));
}

test('a webhook is told everything, in order, signed, and again until it answers', async (t) => {
  const of = await rig(t);
  const heard = await listener(t);
  await configure(of, rule('Topic', HOOK, '<Event>s3:ObjectCreated:*</Event>'));
  for (let i = 0; i < 120; i++) await put(of, `k${i}`);
  const worker = notifier(of, heard);
  heard.answers.push(500);
  t.true(await worker.isNeeded());
  await worker.run(turn);
  t.is((await of.waiting('webhook/hook')).length, 121, 'nothing is taken off before a 2xx');
  t.false(await worker.isNeeded(), 'an address that is away rests');
  t.true(of.problems.some((line) => line.includes('it answered 500')));
  // A redirect is no 2xx: events go where the settings say and nowhere else.
  heard.answers.push(302);
  of.clock.wall = () => Date.now() + 10_000;
  await worker.run(turn);
  t.is((await of.waiting('webhook/hook')).length, 121);
  of.clock.wall = () => Date.now() + 100_000;
  await worker.run(turn);
  t.is((await of.waiting('webhook/hook')).length, 0);
  const told = heard.bodies.slice(2).flatMap(({ text, signature }) => {
    t.is(signature, createHmac('sha256', 'canary').update(text).digest('hex'));
    return (JSON.parse(text) as { Records: { s3?: { object: { key: string } } }[] }).Records;
  });
  const keys = told.slice(1).map((record) => record.s3?.object.key);
  t.deepEqual(
    keys,
    Array.from({ length: 120 }, (_, i) => `k${i}`),
  );
  t.false(of.problems.some((line) => line.includes('canary')));
});

test('events that nobody took in time are dropped, and that is said', async (t) => {
  const of = await rig(t);
  await configure(of, rule('Queue', LINE, '<Event>s3:ObjectCreated:*</Event>'));
  await put(of, 'old');
  of.clock.offsetMs = 2 * 86_400_000;
  await put(of, 'young');
  await notifier(of, { url: 'http://127.0.0.1:1/' }).run(turn);
  t.deepEqual(
    (await of.waiting('queue/line')).map(({ event }) => event?.key),
    ['young'],
  );
  t.true(of.problems.some((line) => line.startsWith('2 events were dropped')));
});

const LOGGING =
  '<BucketLoggingStatus><LoggingEnabled><TargetBucket>logs</TargetBucket>' +
  '<TargetPrefix>of/</TargetPrefix></LoggingEnabled></BucketLoggingStatus>';

/** Once a line of the last request is there: they come by and by, in files of their own. */
async function linesOf(of: Rig, last: string): Promise<string[]> {
  for (let i = 0; i < 100; i++) {
    await new Promise((resolve) => setTimeout(resolve, 30));
    const listed = await of.engine.listObjects({
      bucket: 'logs',
      prefix: 'of/',
      delimiter: '',
      after: '',
      limit: 100,
    });
    const texts: string[] = [];
    for (const { key } of listed.entries) {
      const { body } = await of.engine.getObject({ bucket: 'logs', key });
      texts.push(Buffer.from(body as Uint8Array).toString('utf8'));
    }
    const text = texts.join('');
    if (text.includes(last)) return text.trimEnd().split('\n');
  }
  return [];
}

test('a log tells of every request, also of refused ones, and of no signature', async (t) => {
  const of = await rig(t, 400);
  const { endpoint } = of;
  const set = await send(endpoint, {
    method: 'PUT',
    path: '/bucket',
    query: 'logging',
    body: LOGGING,
  });
  t.is(set.status, 200);
  t.is(
    elementOf(await send(endpoint, { path: '/bucket', query: 'logging' }), 'TargetPrefix'),
    'of/',
  );
  await put(of, 'a%20b', { headers: { 'user-agent': 'Some "Agent"\\1' } });
  await send(endpoint, { path: '/bucket/secret', as: STRANGER });
  const anonymous = wireOf(endpoint, { path: '/bucket/secret' });
  delete anonymous.headers['authorization'];
  await sendWire(endpoint, anonymous);
  const presigned = wireOf(endpoint, { path: '/bucket/a%20b', auth: 'presigned' });
  t.is((await sendWire(endpoint, presigned)).status, 200);
  const lines = await linesOf(of, 'QueryString');
  const line = (text: string): string => lines.find((one) => one.includes(text)) ?? '';
  t.regex(
    line('REST.PUT.OBJECT'),
    /^owner bucket \[\d\d\/[A-Z][a-z]{2}\/\d{4}:[\d:]{8} \+0000\] \S+ owner [0-9A-F]{16} REST\.PUT\.OBJECT a%20b "PUT \/bucket\/a%20b HTTP\/1\.1" 200 - - - \d+ - "-" "Some \\x22Agent\\x22\\x5c1" - - SigV4 - AuthHeader /,
  );
  t.regex(line(' 403 AccessDenied '), /"GET \/bucket\/secret HTTP/);
  t.is(lines.filter((one) => one.includes(' 403 AccessDenied ')).length, 2);
  t.regex(line(' - - - - - 127.0.0.1:'), / - [0-9A-F]{16} REST\.GET\.OBJECT secret /);
  const signature = /X-Amz-Signature=([0-9a-f]+)/.exec(presigned.url)?.[1] as string;
  t.true(line('QueryString').includes('X-Amz-Signature=REDACTED'));
  t.false(lines.join('').includes(signature));
});

test('a log goes to a bucket of the same owner only, and its loss fails no request', async (t) => {
  const of = await rig(t, 50);
  const foreign = LOGGING.replace('logs', 'foreign');
  const target = async (body: string): Promise<Answer> =>
    send(of.endpoint, { method: 'PUT', path: '/bucket', query: 'logging', body });
  await of.engine.createBucket({ name: 'foreign', owner: 'stranger', region: REGION });
  checkRefusal(await target(foreign), 400, 'InvalidTargetBucketForLogging');
  checkRefusal(
    await target(LOGGING.replace('logs', 'absent')),
    400,
    'InvalidTargetBucketForLogging',
  );
  checkRefusal(
    await target(LOGGING.replace('<TargetPrefix>of/</TargetPrefix>', '')),
    400,
    'MalformedXML',
  );
  t.is((await target(LOGGING)).status, 200);
  await of.engine.deleteBucket('logs');
  t.is((await put(of, 'a')).status, 200);
  for (let i = 0; i < 100 && of.problems.length === 0; i++) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  t.regex(of.problems.join(), /access log lines were not written: NoSuchBucket/);
  t.is((await put(of, 'b')).status, 200);
});
