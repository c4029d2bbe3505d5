// The command line as its users meet it: exit codes, what is printed where, and that a wrong call never
// reaches the server. A stub of the admin API answers; test/admin.test.ts holds the real one to the same
// shapes.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import fc from 'fast-check';
import { forEachConcurrent } from '../appliance/cli/client/concurrent.ts';
import { parseCredentials } from '../appliance/cli/client/credentials.ts';
import { countText, durationText, moneyText, sizeText } from '../appliance/cli/terminal/human.ts';
import type { CliIo } from '../appliance/cli/io.ts';
import { Progress } from '../appliance/cli/terminal/progress.ts';
import { runCli } from '../appliance/cli/run.ts';
import { readListPage } from '../appliance/cli/client/s3-answers.ts';
import { S3Client } from '../appliance/cli/client/s3-client.ts';
import { parsePlace } from '../appliance/cli/session.ts';
import { shorten, tableText, widthOf } from '../appliance/cli/terminal/table.ts';
import type {
  CostReportAnswer,
  ExplainAnswer,
  PlanAnswer,
  RestoreAnswer,
  RestoreQuoteAnswer,
  RunAnswer,
  UsageAnswer,
} from '../appliance/model/answers.ts';
import { compareUtf8 } from '../appliance/model/ids.ts';
import { ownDatabase } from '../deploy/demo/demo.ts';
import { defaultObjects } from '../deploy/demo/tree.ts';

const folder = mkdtempSync(join(tmpdir(), 'firn-cli-'));
const credentialsFile = join(folder, 'credentials');
writeFileSync(
  credentialsFile,
  '[default]\naws_access_key_id = AKID\naws_secret_access_key = sesame+open/==\n' +
    '[ana]\naws_access_key_id=ANA\naws_secret_access_key=anasecret\n',
);
const policyFile = join(folder, 'policy.yaml');
writeFileSync(policyFile, 'version: 1\nrules: []\n');
test.after.always(() => rmSync(folder, { recursive: true, force: true }));

const none = { objects: 0, bytes: 0, examples: [] };
const plan: PlanAnswer = {
  hash: 'a1b2c3d4e5f6',
  evaluatedAt: '2026-11-24T06:15:00.000Z',
  activeRevision: 'r7',
  inventory: { objects: 3003, bytes: 113_246_208, uploads: 0 },
  rules: [
    {
      id: 'warm-after-30',
      action: 'transition to STANDARD_IA',
      objects: 3003,
      bytes: 113_246_208,
      deletes: 0,
      examples: ['demo/node_modules/a.js'],
      later: { objects: 0, bytes: 0, firstAt: null },
      oneOffCost: 0.03,
      monthlySaving: -0.0011,
    },
    {
      id: 'old-logs',
      action: 'expire',
      objects: 12,
      bytes: 4096,
      deletes: 12,
      examples: ['demo/logs/\u001b[31mred'],
      later: { objects: 7, bytes: 700, firstAt: '2026-12-01T00:00:00.000Z' },
      oneOffCost: 0,
      monthlySaving: 0.0000001,
    },
  ],
  totals: {
    objects: 3015,
    bytes: 113_250_304,
    deletes: 12,
    deletedBytes: 4096,
    oneOffCost: 0.03,
    monthlySaving: -0.0011,
  },
  held: { objects: 1, bytes: 812 },
  changes: { added: { ...none, objects: 12 }, removed: none, changed: none },
  difference: { added: ['old-logs'], removed: [], changed: [] },
  breaches: [{ rail: 'deletedShareMax', limit: 0.1, value: 0.2, message: 'deletes 20 %' }],
  warnings: ['the lifecycle of bucket old is left out'],
  currency: 'USD',
  prices: ['local-default of 2026-11-01'],
};
const explained: ExplainAnswer = {
  bucket: 'demo',
  key: 'a.js',
  versionId: 'null',
  isCurrent: true,
  sizeBytes: 812,
  storageClass: 'DEEP_ARCHIVE',
  lastModified: '2026-11-24T06:15:00.000Z',
  evaluatedAt: '2027-12-29T00:00:00.000Z',
  rule: null,
  lost: [
    {
      id: 'warm-after-30',
      action: 'transition to STANDARD_IA',
      state: 'no-match',
      reason: 'DEEP_ARCHIVE is colder',
      dueAt: null,
    },
    {
      id: 'gone-after-500',
      action: 'expire',
      state: 'not-due',
      reason: 'not due before 2028-04-08T00:00:00.000Z',
      dueAt: '2028-04-08T00:00:00.000Z',
    },
  ],
  held: null,
  last: {
    action: 'transition',
    at: '2027-12-24T00:00:00.000Z',
    from: 'GLACIER_IR',
    to: 'DEEP_ARCHIVE',
    rule: 'archive-after-365',
    policyRevision: 'r7',
    runId: 'run9',
  },
  next: {
    rule: 'gone-after-500',
    action: 'expire',
    effect: 'remove-version',
    at: '2028-04-08T00:00:00.000Z',
  },
  location: {
    tier: 'archive',
    retrieval: 'staged',
    description: 'archive: pack p1, bytes 12345 to 13156',
    parts: [{ kind: 'pack', id: 'l1', tier: 'archive', pack: 'p1', offset: 12_345, length: 812 }],
    restoredUntil: null,
  },
  costPerMonth: 0.0000012,
  currency: 'USD',
  confirmed: true,
};
const quote: RestoreQuoteAnswer = {
  quoteId: 'q1',
  expiresAt: '2026-11-25T06:15:00.000Z',
  bucket: 'demo',
  prefix: '2024/',
  days: 7,
  tier: 'Bulk',
  objects: 2000,
  bytes: 33_554_432,
  packs: 1,
  retrievedBytes: 34_000_000,
  money: {
    amount: 0.0051,
    currency: 'USD',
    retrieval: 0.0001,
    requests: 0.002,
    egress: 0.0029,
    temporaryCopy: 0.0001,
  },
  readyBetween: { from: '2026-11-24T11:15:00.000Z', to: '2026-11-26T06:15:00.000Z' },
  prices: ['aws us-east-1, 2026-09-20'],
};
const restoring: RestoreAnswer = {
  requestId: 'rq1',
  state: 'done',
  bucket: 'demo',
  prefix: '2024/',
  key: null,
  tier: 'Bulk',
  days: 7,
  requestedAt: '2026-11-24T06:15:00.000Z',
  finishedAt: '2026-11-24T06:16:00.000Z',
  objects: 2000,
  bytes: 33_554_432,
  ready: 2000,
  failed: 0,
  error: null,
};
const usage: UsageAnswer = {
  at: '2026-11-24T06:15:00.000Z',
  source: 'scan',
  buckets: [
    {
      bucket: 'demo',
      tier: 'hot',
      storageClass: 'STANDARD',
      objects: 3,
      bytes: 100_663_296,
      storedBytes: null,
    },
    {
      bucket: 'demo',
      tier: 'archive',
      storageClass: 'GLACIER',
      objects: 3000,
      bytes: 12_582_912,
      storedBytes: 4_194_304,
    },
  ],
  tiers: [
    {
      tier: 'hot',
      retrieval: 'immediate',
      capacityBytes: 1_099_511_627_776,
      usedBytes: 150_994_944,
      blobs: 3,
      error: null,
    },
    {
      tier: 'archive',
      retrieval: 'staged',
      capacityBytes: 0,
      usedBytes: 12_600_000,
      blobs: 1,
      error: null,
    },
  ],
  packs: 1,
};
const cost: CostReportAnswer = {
  month: '2026-11',
  by: 'tier',
  currency: 'USD',
  daysMetered: 24,
  rows: [
    {
      name: 'hot',
      meanObjects: 3003,
      meanBytes: 50_331_648,
      meanStoredBytes: 25_165_824,
      costs: {
        storage: 0.0042,
        requests: 0.015,
        moves: 0,
        retrieval: 0,
        egress: 0,
        earlyDeletion: 0,
      },
      total: 0.0192,
    },
  ],
  total: 0.0192,
  days: [],
  unpricedTiers: ['tape'],
  prices: ['local-default of 2026-11-01'],
};
const run: RunAnswer = {
  runId: 'run9',
  kind: 'lifecycle',
  bucket: null,
  state: 'done',
  requestedAt: '2026-11-24T06:15:00.000Z',
  finishedAt: '2026-11-24T06:15:02.000Z',
  counts: { scanned: 3003, moved: 3003 },
  error: null,
};

const canned: Record<string, object> = {
  'POST /v1/plan': plan,
  'POST /v1/apply': { revision: 'r8', hash: plan.hash, appliedAt: plan.evaluatedAt, rules: 2 },
  'POST /v1/diff': {
    added: ['b'],
    removed: ['a'],
    changed: [],
    activeRevision: 'r7',
    lines: ['+ b: expire after 30 days', '- a: transition to STANDARD_IA'],
  },
  'GET /v1/policy': {
    revision: null,
    appliedAt: null,
    appliedBy: null,
    planHash: null,
    files: [],
  },
  'GET /v1/explain': explained,
  'POST /v1/policy/test': {
    passed: 1,
    failed: 1,
    cases: [
      { name: 'young', file: 'c.yaml', line: 3, passed: true },
      { name: 'old', file: 'c.yaml', line: 9, passed: false, message: 'expected expire, got none' },
    ],
  },
  'POST /v1/lifecycle/run': { ...run, state: 'requested', finishedAt: null, counts: {} },
  'GET /v1/runs/run9': run,
  'POST /v1/restores/quote': quote,
  'POST /v1/restores': { ...restoring, state: 'requested', finishedAt: null, ready: 0 },
  'GET /v1/restores/rq1': restoring,
  'GET /v1/restores': { restores: [restoring] },
  'POST /v1/restores/rq1/cancel': { ...restoring, state: 'cancelled' },
  'GET /v1/cost/report': cost,
  'GET /v1/usage': usage,
  'GET /v1/drives': {
    drives: [
      {
        tier: 'hot',
        group: 0,
        position: 3,
        path: '/srv/nvme3',
        state: 'missing',
        capacityBytes: 1_000_000,
        usedBytes: 10,
        errors: 2,
        note: 'not mounted',
        device: null,
        physical: [],
        warnings: [],
      },
    ],
    groups: [
      {
        tier: 'hot',
        group: 0,
        code: '4+2',
        whole: 5,
        devices: null,
        losable: 1,
        advice: ['Put it back.'],
      },
    ],
    notes: ['smartctl is not installed.'],
  },
  'GET /v1/heal': {
    waiting: 0,
    bytes: 0,
    oldestSince: null,
    drives: [],
    scrub: [],
    missing: null,
    leftovers: { candidates: 0 },
    runs: [run],
  },
  'GET /v1/durability': {
    at: plan.evaluatedAt,
    nines: null,
    statement: 'There is no node group.',
    tiers: [],
    metadata: { store: 'mongo', devices: null, nines: null, note: '' },
    assumptions: [],
    caps: [],
    raises: [],
  },
  'POST /v1/clock/advance': { now: '2027-01-03T06:15:00.000Z', offsetDays: 40 },
  'POST /v1/accounts': {
    id: 'ana',
    displayName: 'Ana',
    email: null,
    admin: false,
    createdAt: plan.evaluatedAt,
  },
  'GET /v1/accounts': { accounts: [] },
  'POST /v1/keys': {
    accessKey: 'NEWKEY',
    account: 'ana',
    createdAt: plan.evaluatedAt,
    revokedAt: null,
    secretKey: 'onlyonce',
  },
  'GET /v1/keys': {
    keys: [{ accessKey: 'NEWKEY', account: 'ana', createdAt: plan.evaluatedAt, revokedAt: null }],
  },
  'DELETE /v1/keys/NEWKEY': {
    accessKey: 'NEWKEY',
    account: 'ana',
    createdAt: plan.evaluatedAt,
    revokedAt: plan.evaluatedAt,
  },
};

interface Seen {
  call: string;
  query: string;
  body: string;
  authorization: string;
}

interface Stub {
  url: string;
  seen: Seen[];
  close(): Promise<void>;
}

async function listen(
  handler: (request: IncomingMessage, response: ServerResponse, body: Buffer) => void,
): Promise<{ server: Server; url: string }> {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => handler(request, response, Buffer.concat(chunks)));
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

async function stub(): Promise<Stub> {
  const seen: Seen[] = [];
  const { server, url } = await listen((request, response, body) => {
    const [path = '', query = ''] = (request.url ?? '').split('?');
    const call = `${request.method} ${path}`;
    const authorization = request.headers.authorization ?? '';
    seen.push({ call, query, body: body.toString(), authorization });
    const answer = canned[call];
    if (answer === undefined) {
      response.writeHead(404, { 'content-type': 'application/json' });
      response.end('{"code":"NoSuchKey","message":"nothing there","hint":"look elsewhere"}');
      return;
    }
    if (request.headers.accept?.startsWith('application/x-ndjson') === true) {
      response.writeHead(200, { 'content-type': 'application/x-ndjson' });
      const text = `{"progress":{"objects":1,"bytes":2}}\n${JSON.stringify({ result: answer })}\n`;
      // In two writes that cut a line: the client must not need whole lines a chunk.
      response.write(text.slice(0, 50));
      setTimeout(() => response.end(text.slice(50)), 10);
      return;
    }
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(answer));
  });
  return {
    url,
    seen,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

interface Ran {
  code: number;
  out: string;
  err: string;
  seen: Seen[];
}

async function firn(
  args: readonly string[],
  options: { answer?: string; endpoint?: string; columns?: number; tty?: boolean } = {},
): Promise<Ran> {
  const server = await stub();
  let out = '';
  let err = '';
  const sink = { isTTY: options.tty ?? false, colour: false, columns: options.columns ?? 100 };
  const io: CliIo = {
    stdout: { ...sink, write: (text) => void (out += text) },
    stderr: { ...sink, write: (text) => void (err += text) },
    ...(options.answer === undefined
      ? {}
      : { ask: async (question: string) => ((out += question), options.answer as string) }),
    wall: () => Date.now(),
    version: '9.9.9',
    settings: () => ({
      adminEndpoint: options.endpoint ?? server.url,
      s3Endpoint: 'http://127.0.0.1:1',
      region: 'us-east-1',
      credentialsFile,
    }),
  };
  try {
    const code = await runCli(args, io);
    return { code, out, err, seen: server.seen };
  } finally {
    await server.close();
  }
}

test('a wrong call ends with 2, says so on stderr, and asks the server nothing', async (t) => {
  const wrong = [
    [],
    ['plna'],
    ['explain'],
    ['explain', 'photos/a.jpg'],
    ['explain', 's3://photos'],
    ['explain', 's3://photos/'],
    ['plan', '--jsn'],
    ['plan', 'no-such-file.yaml'],
    ['apply', policyFile],
    ['restore', 'quote', 's3://b/p'],
    ['restore', 'quote', 's3://b/p', '--days', '0'],
    ['restore', 'quote', 's3://b/p', '--days', '1.5'],
    ['restore', 'quote', 's3://b/p', '--days', '7', '--tier', 'Fast'],
    ['restore', 'start'],
    ['cost', 'report', '--month', '2026-13'],
    ['cost', 'report', '--by', 'owner'],
    ['cost', 'report', '--csv', '--json'],
    ['clock', 'advance', '-3'],
    ['clock', 'advance', 'soon'],
    ['key', 'create'],
    ['account', 'create', '--id', 'x'],
    ['usage', '--endpoint', 'nonsense'],
    ['bucket', 'set', 'b'],
    ['bucket', 'set', 'b', '--dedupe', 'perhaps'],
    ['quota', 'set', '--bucket', 'b'],
    ['quota', 'set', '--bytes', '10'],
    ['quota', 'set', '--bucket', 'b', '--account', 'a', '--bytes', '10'],
    ['quota', 'set', '--bucket', 'b', '--bytes', '10 parsecs'],
    ['quota', 'set', '--bucket', 'b', '--objects', '-1'],
  ];
  for (const args of wrong) {
    const { code, out, err, seen } = await firn(args);
    t.is(code, 2, args.join(' '));
    t.deepEqual(seen, [], args.join(' '));
    if (args.length > 0) t.regex(err, /^firn: \S/, args.join(' '));
    t.notRegex(err + out, / at .*\.ts:\d+/, 'no stack trace');
  }
});

test('a verb that is called short says which help explains it', async (t) => {
  const short = await firn(['group', 'drain', 'hot']);
  t.is(short.code, 2);
  t.regex(
    short.err,
    /missing required argument 'GROUP'\n +\.\/firn group drain --help explains it\n$/,
  );
  const unknown = await firn(['drive']);
  t.is(unknown.code, 2);
  t.regex(unknown.err, /unknown command 'drive'[\s\S]*\.\/firn --help lists the verbs\n$/);
});

test('help and version end with 0 and name every verb with an example', async (t) => {
  const help = await firn(['--help']);
  t.is(help.code, 0);
  for (const verb of 'serve demo plan apply diff explain policy run restore cost usage drives heal durability account key bucket quota clock'.split(
    ' ',
  )) {
    t.regex(help.out, new RegExp(`^  ${verb} `, 'm'), verb);
  }
  t.regex(help.out, /\.\/firn explain s3:\/\/BUCKET\/KEY/);
  t.is((await firn(['restore', 'quote', '--help'])).code, 0);
  t.regex(
    (await firn(['restore', 'quote', '--help'])).out,
    /Examples:\n {2}\.\/firn restore quote/,
  );
  t.is((await firn(['version'])).out, 'firn 9.9.9\n');
  t.is((await firn(['--version'])).out, '9.9.9\n');
});

test('what is not built says so and fails, it never pretends', async (t) => {
  for (const args of [
    ['export', '--to', 'x'],
    ['cost', 'simulate'],
  ]) {
    const { code, err, seen } = await firn(args);
    t.is(code, 1, args.join(' '));
    t.regex(err, /not built yet/);
    t.deepEqual(seen, []);
  }
});

test('every read prints with --json exactly what the server answered, and nothing else', async (t) => {
  const reads: [string[], string][] = [
    [['plan', policyFile, '--json'], 'POST /v1/plan'],
    [['diff', policyFile, '--json'], 'POST /v1/diff'],
    [['explain', 's3://demo/a.js', '--json'], 'GET /v1/explain'],
    [['policy', 'show', '--json'], 'GET /v1/policy'],
    [['restore', 'quote', 's3://demo/2024/', '--days', '7', '--json'], 'POST /v1/restores/quote'],
    [['restore', 'status', 'rq1', '--json'], 'GET /v1/restores/rq1'],
    [['restore', 'status', '--json'], 'GET /v1/restores'],
    [['cost', 'report', '--json'], 'GET /v1/cost/report'],
    [['usage', '--json'], 'GET /v1/usage'],
    [['drives', '--json'], 'GET /v1/drives'],
    [['heal', 'status', '--json'], 'GET /v1/heal'],
    [['durability', '--json'], 'GET /v1/durability'],
    [['account', 'list', '--json'], 'GET /v1/accounts'],
    [['key', 'list', '--json'], 'GET /v1/keys'],
  ];
  for (const [args, call] of reads) {
    const { code, out, err, seen } = await firn(args);
    t.is(code, 0, args.join(' '));
    t.is(err, '', args.join(' '));
    t.deepEqual(JSON.parse(out), canned[call], args.join(' '));
    t.deepEqual(
      seen.map((one) => one.call),
      [call],
    );
    t.regex(seen[0]?.authorization ?? '', /Credential=AKID\/\d{8}\/us-east-1\/firn\/aws4_request/);
  }
});

test('a plan shows each rule, deletes apart, and the very command that applies it', async (t) => {
  const { code, out } = await firn(['plan', policyFile]);
  t.is(code, 0);
  t.is(
    out,
    [
      'Plan over 3,003 objects, 108 MiB, as of 2026-11-24 06:15 UTC',
      '',
      'RULE           ACTION                       NOW     BYTES  DELETES  LATER  FROM        COST ONCE  SAVES A MONTH  FOR EXAMPLE',
      'warm-after-30  transition to STANDARD_IA  3,003   108 MiB        0      0  –              $0.030       -$0.0011  demo/node_modules/a.js',
      'old-logs       expire                        12  4.00 KiB       12      7  2026-12-01      $0.00    $0.00000010  demo/logs/\\u001b[31mred',
      '',
      'Due now: 3,015 actions on 108 MiB. 12 versions (4.00 KiB) would be deleted.',
      'Held back by a restored copy, a pin or a promotion: 1 object, 812 B',
      'Against revision r7 it adds old-logs: 12 objects more are acted on.',
      'Warning: warm-after-30 loses money: $0.0011 more a month',
      'Warning: the lifecycle of bucket old is left out',
      'Prices: local-default of 2026-11-01',
      'Apply would refuse: deletes 20 %',
      '',
      `To do exactly this: ./firn apply ${policyFile} --plan a1b2c3d4e5f6`,
      '',
    ].join('\n'),
  );
});

test('apply without a hash asks first, and a no changes nothing', async (t) => {
  const no = await firn(['apply', policyFile], { answer: 'n' });
  t.is(no.code, 1);
  t.deepEqual(
    no.seen.map((one) => one.call),
    ['POST /v1/plan'],
  );
  const yes = await firn(['apply', policyFile], { answer: 'yes' });
  t.is(yes.code, 0);
  t.deepEqual(
    yes.seen.map((one) => one.call),
    ['POST /v1/plan', 'POST /v1/apply'],
  );
  t.is((JSON.parse(yes.seen[1]?.body ?? '') as { plan: string }).plan, plan.hash);
  const given = await firn(['apply', policyFile, '--plan', 'HASH']);
  t.is(given.code, 0);
  t.like(JSON.parse(given.seen[0]?.body ?? ''), {
    plan: 'HASH',
    files: [{ name: policyFile, text: 'version: 1\nrules: []\n' }],
  });
});

test('explain says where, what it costs, what happened, what comes, and which rules lost', async (t) => {
  const { out, seen } = await firn(['explain', 's3://demo/dir/a b?.js?versionId=v1']);
  t.is(seen[0]?.query, 'bucket=demo&key=dir%2Fa%20b%3F.js&versionId=v1');
  t.is(
    out,
    [
      's3://demo/a.js',
      '  is       812 B, class DEEP_ARCHIVE, written 2026-11-24 06:15 UTC, version null',
      '  is in    archive: pack p1, bytes 12345 to 13156 (restore it to read it)',
      '  costs    $0.0000012 a month to keep',
      '  last     transition GLACIER_IR → DEEP_ARCHIVE, 2027-12-24 00:00 UTC by rule archive-after-365, revision r7, run run9',
      '  now      nothing is due',
      '  next     expire on 2028-04-08 00:00 UTC by rule gone-after-500',
      '  others   warm-after-30: no-match, DEEP_ARCHIVE is colder',
      '           gone-after-500: not-due, not due before 2028-04-08T00:00:00.000Z',
      '',
    ].join('\n'),
  );
});

test('tables of usage, drives, restores and cost read as they should', async (t) => {
  const golden: [string[], string[]][] = [
    [
      ['usage'],
      [
        'BUCKET  CLASS     TIER     OBJECTS     BYTES    STORED',
        'demo    STANDARD  hot            3  96.0 MiB         –',
        'demo    GLACIER   archive    3,000  12.0 MiB  4.00 MiB',
        '',
        'TIER     READ           BLOBS      USED         OF  FULL  NOTE',
        'hot      at once            3   144 MiB   1.00 TiB   0 %',
        'archive  after restore      1  12.0 MiB  unbounded     –',
      ],
    ],
    [
      ['drives'],
      [
        'hot group 0 · 4+2 · 5 of 1 whole · can lose 1 more',
        '  DRIVE  STATE    USED              FREE  ERRORS  PATH        NOTE',
        '      3  missing  █░░░░░░░ 10 B  977 KiB       2  /srv/nvme3  not mounted',
        '  → Put it back.',
        '',
        '1 drive not up.',
        '',
        'smartctl is not installed.',
      ],
    ],
    [
      ['restore', 'status'],
      [
        'REQUEST  STATE  OBJECTS  READY     BYTES  REQUESTED         OF',
        'rq1      done     2,000  2,000  32.0 MiB  2026-11-24 06:15  s3://demo/2024/',
      ],
    ],
    [
      ['restore', 'quote', 's3://demo/2024/', '--days', '7'],
      [
        'Quote for s3://demo/2024/ (Bulk)',
        '  brings back  2,000 objects, 32.0 MiB, from 1 pack (32.4 MiB retrieved)',
        '  readable for 7 days',
        '  costs        $0.0051 = retrieval $0.00010 + requests $0.0020 + egress $0.0029 + the copies $0.00010',
        '  ready        between 2026-11-24 11:15 and 2026-11-26 06:15 UTC',
        '  quote        q1, good until 2026-11-25 06:15 UTC',
        '  prices       aws us-east-1, 2026-09-20',
        '',
        'To start it: ./firn restore start --quote q1',
      ],
    ],
    [
      ['cost', 'report'],
      [
        'Cost of 2026-11, 24 days metered, means over the whole month',
        '',
        'TIER   OBJECTS     BYTES    STORED  STORAGE  REQUESTS   TOTAL',
        'hot      3,003  48.0 MiB  24.0 MiB  $0.0042    $0.015  $0.019',
        'total    3,003  48.0 MiB  24.0 MiB  $0.0042    $0.015  $0.019',
        '',
        'Prices: local-default of 2026-11-01',
        'No price: tape (counted as nothing)',
      ],
    ],
    [
      ['diff', policyFile],
      ['+ b: expire after 30 days', '- a: transition to STANDARD_IA'],
    ],
  ];
  for (const [args, lines] of golden) {
    t.is((await firn(args)).out, `${lines.join('\n')}\n`, args.join(' '));
  }
});

test('a run that is waited for is followed to its end; a failing policy test fails the command', async (t) => {
  const waited = await firn(['run', 'lifecycle', '--bucket', 'demo', '--wait']);
  t.is(waited.code, 0);
  t.deepEqual(
    waited.seen.map((one) => one.call),
    ['POST /v1/lifecycle/run', 'GET /v1/runs/run9'],
  );
  t.is(waited.seen[0]?.body, '{"bucket":"demo"}');
  t.is(waited.out, 'lifecycle run run9 is done: scanned 3,003, moved 3,003\n');
  const tested = await firn(['policy', 'test', policyFile, '--policy', policyFile]);
  t.is(tested.code, 1);
  t.regex(tested.out, /not ok old\n {7}c\.yaml:9: expected expire, got none/);
  const restored = await firn(['restore', 'start', '--quote', 'q1', '--wait']);
  t.is(restored.code, 0);
  t.regex(restored.out, /is done: 2,000 of 2,000 objects \(32\.0 MiB\) readable/);
});

test('a secret is printed once, to stdout, as a profile that can be pasted', async (t) => {
  const { out, err } = await firn(['key', 'create', '--account', 'ana']);
  t.deepEqual(parseCredentials(out, 'ana'), { accessKey: 'NEWKEY', secretKey: 'onlyonce' });
  t.notRegex(err, /onlyonce/);
});

test('errors of the server end with 1 and show message and remedy', async (t) => {
  const { code, out, err } = await firn(['restore', 'status', 'unknown']);
  t.is(code, 1);
  t.is(out, '');
  t.is(err, 'firn: nothing there\n      look elsewhere\n');
});

test('nothing listening, a foreign server, no credentials: each says what to do', async (t) => {
  const absent = await firn(['usage'], { endpoint: 'http://127.0.0.1:1' });
  t.is(absent.code, 1);
  t.regex(absent.err, /nothing answers at http:\/\/127\.0\.0\.1:1\n {6}start it by \.\/firn serve/);
  const foreign = await listen((_, response) => response.end('<html>'));
  const html = await firn(['usage'], { endpoint: foreign.url });
  foreign.server.closeAllConnections();
  foreign.server.close();
  t.is(html.code, 1);
  t.regex(html.err, /no JSON\n {6}is this the admin port/);
  const missing = await firn(['usage', '--credentials', join(folder, 'none')]);
  t.is(missing.code, 1);
  t.regex(missing.err, /cannot read the credentials file/);
  const profile = await firn(['usage', '--profile', 'bob']);
  t.regex(profile.err, /no whole profile "bob"/);
  const ana = await firn(['usage', '--profile', 'ana']);
  t.regex(ana.seen[0]?.authorization ?? '', /Credential=ANA\//);
});

test('a long answer that is cut off is an error, not an empty plan', async (t) => {
  const cut = await listen((_, response) => {
    response.writeHead(200, { 'content-type': 'application/x-ndjson' });
    response.end('{"progress":{"objects":1,"bytes":2}}\n');
  });
  const { code, err } = await firn(['plan', policyFile], { endpoint: cut.url });
  cut.server.closeAllConnections();
  cut.server.close();
  t.is(code, 1);
  t.regex(err, /ended before its result/);
});

test('a key in a table cannot drive the terminal, and a narrow terminal cuts the right column', (t) => {
  const text = tableText(
    [
      { title: 'KEY', shrink: true },
      { title: 'N', align: 'right' },
    ],
    [
      ['a/very/long/key/with/\u001b[2J/inside.txt', '10'],
      ['漢字', '2'],
    ],
    { columns: 24 },
  );
  t.false(text.includes('\u001b'));
  for (const row of text.trimEnd().split('\n')) t.true(widthOf(row) <= 24, row);
  t.is(text.split('\n')[2], '漢字                   2');
});

test('shortening keeps within the width and both ends', (t) => {
  const seed = Number(process.env['FIRN_TEST_SEED'] ?? Date.now() % 1_000_000);
  t.log(`seed ${seed}`);
  fc.assert(
    fc.property(
      fc.string({ unit: 'grapheme', maxLength: 60 }),
      fc.integer({ min: 0, max: 40 }),
      (text, width) => {
        const short = shorten(text, width);
        t.true(widthOf(short) <= Math.max(width, 0));
        if (widthOf(text) <= width) t.is(short, text);
      },
    ),
    { seed },
  );
});

test('figures for eyes never round money to nothing or 1,024 up to a wrong unit', (t) => {
  t.deepEqual([0, 1, 1023, 1024, 1536, 10_240, 1_048_575, 1_048_576, 5 * 2 ** 40].map(sizeText), [
    '0 B',
    '1 B',
    '1023 B',
    '1.00 KiB',
    '1.50 KiB',
    '10.0 KiB',
    '1.00 MiB',
    '1.00 MiB',
    '5.00 TiB',
  ]);
  t.deepEqual(
    [0, 0.0000012, 0.004, 0.5, 1, 1234.5, -2].map((one) => moneyText(one)),
    ['$0.00', '$0.0000012', '$0.0040', '$0.50', '$1.00', '$1,234.50', '-$2.00'],
  );
  t.is(moneyText(3, 'EUR'), 'EUR 3.00');
  t.is(moneyText(7.6e-10), 'under $0.00000001', 'little is not nothing');
  t.deepEqual([1, 999, 1000, 1_234_567].map(countText), ['1', '999', '1,000', '1,234,567']);
  t.deepEqual([0, 1500, 59_400, 65_000, 3_725_000, 90_000_000].map(durationText), [
    '0.0 s',
    '1.5 s',
    '59 s',
    '1 min 05 s',
    '1 h 02 min',
    '1 d 1 h',
  ]);
});

test('progress is one line redrawn on a terminal, and few lines elsewhere', (t) => {
  let now = 0;
  let text = '';
  const output = {
    isTTY: true,
    colour: false,
    columns: 100,
    write: (more: string) => void (text += more),
  };
  const bar = new Progress(output, { label: 'Up', unit: 'bytes', total: 1000, wall: () => now });
  for (; now < 10_000; now += 10) bar.add(1);
  bar.end();
  t.is(text.split('\r').length - 1, 100, 'ten a second, and one to remove it');
  t.notRegex(text, /\n/);
  text = '';
  now = 0;
  const log = new Progress(
    { ...output, isTTY: false },
    { label: 'Up', unit: 'bytes', total: 1000, wall: () => now },
  );
  for (; now <= 10_000; now += 10) log.add(1);
  log.end();
  t.is(text.split('\n').length - 1, 2);
  t.regex(text, /^Up {2}\[█{12}░{12}\] {3}50 % {2}501 B of 1000 B {2}100 B\/s {2}5\.0 s left$/m);
});

test('names of objects are read as typed, versions apart', (t) => {
  t.deepEqual(parsePlace('s3://b/k?versionId=v'), { bucket: 'b', key: 'k', versionId: 'v' });
  t.deepEqual(parsePlace('s3://b/a?b/c d'), { bucket: 'b', key: 'a?b/c d' });
  t.deepEqual(parsePlace('s3://b'), { bucket: 'b', key: '' });
  t.throws(() => parsePlace('b/k'), { code: 'UsageError' });
});

test('work in parallel stops at the first failure and leaves nothing running', async (t) => {
  let running = 0;
  let most = 0;
  let started = 0;
  const error = await t.throwsAsync(
    forEachConcurrent(
      Array.from({ length: 100 }, (_, index) => index),
      4,
      async (item) => {
        started += 1;
        running += 1;
        most = Math.max(most, running);
        await new Promise((resolve) => setTimeout(resolve, 2));
        running -= 1;
        if (item === 10) throw new Error('ten');
      },
    ),
  );
  t.is(error?.message, 'ten');
  t.is(running, 0);
  t.is(most, 4);
  t.true(started < 20);
});

test('a listing gives back keys that XML and URLs would bend', (t) => {
  const page = readListPage(
    '<ListBucketResult><NextContinuationToken>a&amp;b=</NextContinuationToken>' +
      '<Contents><Key>a+b%2Bc%00%E2%82%AC&amp;</Key><Size>5</Size><ETag>&quot;e&quot;</ETag>' +
      '<StorageClass>GLACIER</StorageClass><LastModified>x</LastModified></Contents>' +
      '<CommonPrefixes><Prefix>p%2F</Prefix></CommonPrefixes></ListBucketResult>',
  );
  t.deepEqual(page, {
    objects: [
      { key: 'a b+c\u0000€&', sizeBytes: 5, etag: 'e', lastModified: 'x', storageClass: 'GLACIER' },
    ],
    prefixes: ['p/'],
    next: 'a&b=',
  });
});

test('the S3 client repeats what it may, aborts a failed upload, and tells the S3 error', async (t) => {
  const calls: string[] = [];
  let busy = 2;
  const { server, url } = await listen((request, response, body) => {
    calls.push(`${request.method} ${request.url} ${body.length}`);
    if (request.url?.startsWith('/b/slow') === true && busy > 0) {
      busy -= 1;
      response.writeHead(503).end('<Error><Code>SlowDown</Code></Error>');
    } else if (request.url?.includes('uploads=') === true) {
      response.end('<R><UploadId>u&amp;1</UploadId></R>');
    } else if (request.url?.includes('partNumber=2') === true) {
      response.writeHead(400).end('<Error><Code>BadDigest</Code><Message>no</Message></Error>');
    } else {
      response.writeHead(200, { etag: '"e"' }).end();
    }
  });
  const client = new S3Client({
    endpoint: url,
    region: 'us-east-1',
    credentials: { accessKey: 'a', secretKey: 'b' },
    wall: () => Date.now(),
  });
  t.deepEqual(await client.putObject('b', 'slow/ö?', new Uint8Array(3)), { etag: 'e' });
  t.deepEqual(
    calls,
    Array.from({ length: 3 }, () => 'PUT /b/slow/%C3%B6%3F 3'),
  );
  calls.length = 0;
  const sizeBytes = 20 * 1024 * 1024;
  await t.throwsAsync(
    client.putSource('b', 'big', { sizeBytes, read: async (_, length) => new Uint8Array(length) }),
    { code: 'BadDigest' },
  );
  t.deepEqual(calls, [
    'POST /b/big?uploads= 0',
    `PUT /b/big?partNumber=1&uploadId=u%261 ${16 * 1024 * 1024}`,
    `PUT /b/big?partNumber=2&uploadId=u%261 ${4 * 1024 * 1024}`,
    'DELETE /b/big?uploadId=u%261 0',
  ]);
  await client.close();
  server.closeAllConnections();
  server.close();
});

test('a demo on a MongoDB gets a database of its own, never the one that the address names', (t) => {
  const data = '/tmp/firn-demo-AbC123';
  const database = 'firn-demo-rndemoAbC123';
  t.is(ownDatabase('mongodb://h:1', data), `mongodb://h:1/${database}`);
  t.is(
    ownDatabase('mongodb://h:1,h:2/firn?replicaSet=r', data),
    `mongodb://h:1,h:2/${database}?replicaSet=r`,
  );
  t.is(
    ownDatabase('mongodb://u:p@h/firn?w=1', data),
    `mongodb://u:p@h/${database}?w=1&authSource=firn`,
  );
  const error = t.throws(() => ownDatabase('http://u:password@h', data), { code: 'UsageError' });
  t.notRegex(error?.message ?? '', /password/);
});

test('the generated files of the demo are the same however they are read', async (t) => {
  const objects = await defaultObjects(fileURLToPath(new URL('..', import.meta.url)));
  t.is(objects.length, 3003);
  const keys = objects.slice(0, 3000).map((one) => one.key);
  t.deepEqual(keys, [...keys].sort(compareUtf8), 'in the order in which S3 lists them');
  const large = objects.at(-1);
  t.is(large?.sizeBytes, 32 * 1024 * 1024);
  const whole = await large?.read(3_000_000, 2_500_000);
  const part = await large?.read(4_194_300, 10);
  t.deepEqual(part, whole?.slice(1_194_300, 1_194_310));
  t.true(new Set(whole?.slice(0, 4096)).size > 200, 'not a pattern that compresses away');
  const first = objects[0];
  t.is((await first?.read(0, first.sizeBytes))?.length, first?.sizeBytes);
});
