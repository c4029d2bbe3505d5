// What a policy may do to somebody's only copy. Dates, conflicts and refusals are S3's; the
// compiled evaluator and json-rules-engine are held equal over random rules and objects; every
// promise of plan, explain and golden cases is tested through the same rules.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import type { Bucket } from '../appliance/model/bucket.ts';
import { DAY_MS } from '../appliance/model/clock.ts';
import { FirnError, type ErrorCode } from '../appliance/model/errors.ts';
import type { ObjectDocument, Version } from '../appliance/model/object.ts';
import { CONDITION_FACTS } from '../policies/condition-facts.ts';
import { checkCondition, CONDITION_OPERATORS } from '../policies/conditions.ts';
import { CostModel } from '../policies/cost/cost-model.ts';
import { loadPriceBooks } from '../policies/cost/price-book.ts';
import { daysSince, dueAfter, parseInstant } from '../policies/base/dates.ts';
import { Evaluator, type Decision, type EvaluatorOptions } from '../policies/evaluator.ts';
import { explain } from '../policies/explain.ts';
import { factsOfKey, factsOfUpload, type Facts, type VersionFacts } from '../policies/facts.ts';
import { compileGlob, escapeGlob } from '../policies/glob.ts';
import { rulesOfLifecycle } from '../policies/lifecycle-rules.ts';
import { renderLifecycleXml } from '../policies/lifecycle-xml-writer.ts';
import { parseLifecycleXml, parseSizeFloor } from '../policies/lifecycle-xml.ts';
import { plan, type PlanOptions } from '../policies/plan.ts';
import { parsePolicyFile, policyFileJsonSchema } from '../policies/policy-file.ts';
import { ReferenceEngine } from '../policies/reference.ts';
import { buildRuleSets, revisionOf } from '../policies/rule-sets.ts';
import type { Condition, Filter, Rule, Trigger } from '../policies/rule.ts';
import { parseTestCases, runTestCases } from '../policies/test-cases.ts';

const CLASSES: ReadonlyMap<string, string> = new Map([
  ['STANDARD', 'hot'],
  ['STANDARD_IA', 'warm'],
  ['ONEZONE_IA', 'warm'],
  ['INTELLIGENT_TIERING', 'warm'],
  ['GLACIER_IR', 'cold'],
  ['GLACIER', 'archive'],
  ['DEEP_ARCHIVE', 'archive'],
]);
const OPTIONS: EvaluatorOptions = { classes: CLASSES };
const at = (text: string): number => parseInstant(text) as number;
const NOW = at('2026-06-01T00:00:00Z');

const version = (over: Partial<VersionFacts> = {}): VersionFacts => ({
  subject: 'version',
  bucket: 'photos',
  versioning: 'off',
  key: 'a/b.jpg',
  versionId: 'v1',
  isNull: true,
  isCurrent: true,
  deleteMarker: false,
  lone: false,
  sizeBytes: 1_000_000,
  storageClass: 'STANDARD',
  tier: 'hot',
  lastModified: at('2026-01-01T10:30:00Z'),
  successorAt: undefined,
  newerNoncurrent: undefined,
  lastAccessAt: undefined,
  lastReadAt: undefined,
  contentType: undefined,
  owner: 'root',
  tags: undefined,
  metadata: {},
  partCount: undefined,
  restore: undefined,
  lockedUntil: undefined,
  poolFill: undefined,
  pack: undefined,
  last: undefined,
  ...over,
});

const rule = (id: string, over: Partial<Rule>): Rule => ({
  id,
  origin: { kind: 'file', file: 'test.yaml', line: 1 },
  enabled: true,
  filter: {},
  trigger: { kind: 'age', days: 30 },
  action: { kind: 'transition', to: 'STANDARD_IA' },
  ...over,
});

const compile = (rules: readonly Rule[], options: Partial<EvaluatorOptions> = {}): Evaluator =>
  Evaluator.compile([{ name: 'test', revision: 'r1', rules }], { ...OPTIONS, ...options });

const move = (id: string, days: number, to: string, over: Partial<Rule> = {}): Rule =>
  rule(id, { trigger: { kind: 'age', days }, action: { kind: 'transition', to }, ...over });

const expire = (id: string, days: number, over: Partial<Rule> = {}): Rule =>
  rule(id, { trigger: { kind: 'age', days }, action: { kind: 'expire' }, ...over });

const said = (decision: Decision | undefined): string =>
  decision === undefined ? 'none' : [decision.effect, decision.to].filter(Boolean).join(' ');

const refusal = (act: () => unknown): FirnError => {
  try {
    act();
  } catch (error) {
    if (error instanceof FirnError) return error;
    throw error;
  }
  throw new Error('nothing was refused');
};

const yaml = (body: string): Evaluator => compile(parsePolicyFile('p.yaml', `version: 1\n${body}`));

// --- dates

test('an action is never a day early: due dates round up to the next midnight UTC, as S3 documents', (t) => {
  const due = (event: string, days: number): string =>
    new Date(dueAfter(at(event), days, DAY_MS)).toISOString().slice(0, 16);
  t.is(due('2014-01-15T10:30:00Z', 3), '2014-01-19T00:00');
  t.is(due('2014-01-15T00:00:00Z', 1), '2014-01-17T00:00', 'an event at midnight waits a day more');
  t.is(due('2014-01-15T10:30:00Z', 0), '2014-01-16T00:00', 'Days 0 is the next midnight, not now');
  const evaluator = compile([expire('e', 3)]);
  const facts = version({ lastModified: at('2014-01-15T10:30:00Z') });
  const midnight = at('2014-01-19');
  t.is(evaluator.decide(facts, midnight - 1), undefined);
  t.is(evaluator.decide(facts, midnight)?.dueAt, midnight);
});

test('a shortened day does not round, and never reaches what clients are shown', (t) => {
  const evaluator = compile([expire('e', 1)], { dayMs: 2000 });
  const facts = version({ lastModified: NOW + 123 });
  t.is(evaluator.decide(facts, NOW + 2122), undefined);
  t.is(said(evaluator.decide(facts, NOW + 2123)), 'remove-version');
  t.is(evaluator.expiry(facts, NOW + 200)?.at, NOW + 2 * DAY_MS, 'x-amz-expiration: real days');
});

test('days counted and days due are the same arithmetic, at every edge of a day', (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 4e12 }),
      fc.integer({ min: -DAY_MS, max: 400 * DAY_MS }),
      fc.integer({ min: 0, max: 400 }),
      fc.constantFrom(DAY_MS, 1000, 2000, 777),
      (event, later, days, dayMs) => {
        const now = event + later;
        return dueAfter(event, days, dayMs) <= now === daysSince(event, now, dayMs) >= days;
      },
    ),
    { numRuns: 2000, ...seeded(t) },
  );
  t.pass();
});

test('a date that the calendar does not have is no date', (t) => {
  for (const text of [
    '2026-02-30',
    '2026-13-01',
    '20260101',
    '2026-1-1',
    'tomorrow',
    '2026-01-01T10:00',
  ]) {
    t.is(parseInstant(text), undefined, text);
  }
  t.is(parseInstant('2026-01-01T02:00:00+02:00'), at('2026-01-01'));
});

test('a dated rule acts on all that is there, and on what comes later, but never before', (t) => {
  const evaluator = compile([
    rule('d', { trigger: { kind: 'date', at: NOW }, action: { kind: 'expire' } }),
  ]);
  t.is(evaluator.decide(version(), NOW - 1), undefined);
  t.is(said(evaluator.decide(version(), NOW)), 'remove-version');
  t.is(said(evaluator.decide(version({ lastModified: NOW }), NOW + DAY_MS)), 'remove-version');
});

// --- conflicts, versions, classes

const ladder = [
  move('ia', 30, 'STANDARD_IA'),
  move('ir', 90, 'GLACIER_IR'),
  move('da', 365, 'DEEP_ARCHIVE'),
];

test('late evaluation goes straight to the coldest due class instead of paying for each step', (t) => {
  const evaluator = compile(ladder);
  const age = (days: number, over: Partial<VersionFacts> = {}): string =>
    said(evaluator.decide(version({ lastModified: NOW - days * DAY_MS, ...over }), NOW));
  t.is(age(20), 'none');
  t.is(age(40), 'move STANDARD_IA');
  t.is(age(120), 'move GLACIER_IR');
  t.is(age(400), 'move DEEP_ARCHIVE');
  t.is(age(400, { storageClass: 'DEEP_ARCHIVE' }), 'none');
  t.is(age(120, { storageClass: 'DEEP_ARCHIVE' }), 'none', 'never back up');
});

test("S3's order of conflicts: delete, then transition, then delete marker, cheaper class, earlier expiry", (t) => {
  const both = [expire('e', 30), move('ia', 30, 'STANDARD_IA'), move('g', 30, 'GLACIER')];
  const evaluator = compile(both);
  const on = (over: Partial<VersionFacts>): string => said(evaluator.decide(version(over), NOW));
  t.is(on({}), 'remove-version', 'unversioned: gone for good comes first');
  t.is(on({ versioning: 'enabled' }), 'move GLACIER', 'versioned: the transition first');
  t.is(
    on({ versioning: 'enabled', storageClass: 'GLACIER' }),
    'add-delete-marker',
    'then the marker',
  );
  t.is(on({ versioning: 'suspended', storageClass: 'GLACIER' }), 'add-delete-marker');
  const earlier = compile([expire('late', 60), expire('soon', 30)]);
  t.is(earlier.decide(version(), NOW)?.rule.id, 'soon');
  const markerFirst = compile([expire('e', 10), move('g', 30, 'GLACIER')]);
  t.is(said(markerFirst.decide(version({ versioning: 'enabled' }), NOW)), 'add-delete-marker');
  const tiering = compile([move('a', 30, 'ONEZONE_IA'), move('b', 30, 'INTELLIGENT_TIERING')]);
  t.is(said(tiering.decide(version(), NOW)), 'move INTELLIGENT_TIERING');
});

test('the waterfall of AWS classes holds, and can be relaxed for classes of free choice', (t) => {
  const to = (rules: Rule[], from: string, options: Partial<EvaluatorOptions> = {}): string =>
    said(compile(rules, options).decide(version({ storageClass: from }), NOW));
  t.is(to([move('x', 1, 'STANDARD_IA')], 'GLACIER_IR'), 'none');
  t.is(to([move('x', 1, 'GLACIER_IR')], 'ONEZONE_IA'), 'none');
  t.is(to([move('x', 1, 'GLACIER')], 'GLACIER_IR'), 'move GLACIER');
  t.is(to([move('x', 1, 'STANDARD')], 'STANDARD_IA', { waterfall: 'free' }), 'move STANDARD');
  const own = new Map([...CLASSES, ['LUKEWARM', 'warm'], ['FROZEN', 'cold']]);
  t.is(to([move('x', 1, 'FROZEN')], 'LUKEWARM', { classes: own }), 'move FROZEN');
  t.is(to([move('x', 1, 'LUKEWARM')], 'FROZEN', { classes: own }), 'none');
  const order = ['STANDARD', 'FROZEN', 'LUKEWARM'];
  t.is(
    to([move('x', 1, 'LUKEWARM')], 'FROZEN', { classes: own, classOrder: order }),
    'move LUKEWARM',
  );
});

test('where any class may follow any, two rules never move an object back and forth', async (t) => {
  const free = { waterfall: 'free' } as const;
  const age = (days: number): number => NOW - days * DAY_MS;
  for (const steps of [
    [
      [10, 'STANDARD_IA'],
      [20, 'GLACIER'],
    ],
    [
      [10, 'GLACIER'],
      [20, 'STANDARD_IA'],
    ],
  ] as [number, string][][]) {
    const evaluator = compile(
      steps.map(([days, to]) => move(to, days, to)),
      free,
    );
    for (const days of [5, 15, 30]) {
      const wanted = steps.findLast(([at]) => at < days)?.[1] ?? 'STANDARD';
      let storageClass = 'STANDARD';
      for (let pass = 0; pass < 3; pass++) {
        const facts = version({ storageClass, lastModified: age(days) });
        const decision = evaluator.decide(facts, NOW);
        t.true((await evaluator.confirm(facts, NOW)).agrees);
        if (pass > 0) t.is(decision, undefined, `${days}: it stays in ${storageClass}`);
        storageClass = decision?.to ?? storageClass;
      }
      t.is(storageClass, wanted, `after ${days} days`);
    }
  }
});

test('S3 rules leave objects under 128 KiB where they are, unless the rule names a size', (t) => {
  const floor = 'all_storage_classes_128K' as const;
  const small = version({ sizeBytes: 10 });
  const with_ = (
    over: Partial<Rule>,
    options: Partial<EvaluatorOptions> = {},
    to = 'GLACIER',
  ): string =>
    said(compile([move('x', 1, to, { sizeFloor: floor, ...over })], options).decide(small, NOW));
  t.is(with_({}), 'none');
  t.is(with_({ filter: { sizeUnder: 100 } }), 'move GLACIER');
  t.is(with_({ sizeFloor: 'varies_by_storage_class' }), 'move GLACIER');
  t.is(with_({ sizeFloor: 'varies_by_storage_class' }, {}, 'STANDARD_IA'), 'none');
  t.is(with_({}, { sizeFloor: false }), 'move GLACIER');
  const own = new Map([...CLASSES, ['FROZEN', 'cold']]);
  t.is(with_({}, { classes: own }, 'FROZEN'), 'move FROZEN', 'only for AWS names');
  const exact = compile([move('x', 1, 'GLACIER', { sizeFloor: floor })]);
  t.is(said(exact.decide(version({ sizeBytes: 128 * 1024 }), NOW)), 'move GLACIER');
});

test('rules for current versions never touch noncurrent ones, nor the other way round', (t) => {
  const evaluator = compile([
    expire('current', 10),
    rule('old', {
      trigger: { kind: 'noncurrent', days: 10, newerVersions: 2 },
      action: { kind: 'expire-noncurrent' },
    }),
    rule('old-cold', {
      trigger: { kind: 'noncurrent', days: 5 },
      action: { kind: 'transition', to: 'GLACIER' },
    }),
  ]);
  const noncurrent = (over: Partial<VersionFacts>): string =>
    said(
      evaluator.decide(
        version({
          versioning: 'enabled',
          isCurrent: false,
          successorAt: NOW - 20 * DAY_MS,
          newerNoncurrent: 0,
          ...over,
        }),
        NOW,
      ),
    );
  t.is(noncurrent({ newerNoncurrent: 2 }), 'remove-version');
  t.is(noncurrent({ newerNoncurrent: 1 }), 'move GLACIER', 'the newest two stay');
  t.is(
    noncurrent({ successorAt: NOW - 3 * DAY_MS, lastModified: 0 }),
    'none',
    'age counts from the successor',
  );
  t.is(noncurrent({ deleteMarker: true, newerNoncurrent: 2, tier: undefined }), 'remove-version');
  t.is(
    noncurrent({ deleteMarker: true, newerNoncurrent: 1, tier: undefined }),
    'none',
    'no bytes to move',
  );
  t.is(said(evaluator.decide(version({ versioning: 'enabled' }), NOW)), 'add-delete-marker');
});

test('a delete marker goes only when nothing is behind it', (t) => {
  const evaluator = compile([
    rule('marker', { trigger: { kind: 'always' }, action: { kind: 'expire-marker' } }),
    expire('e', 1),
  ]);
  const marker = (lone: boolean): string =>
    said(
      evaluator.decide(
        version({ deleteMarker: true, lone, versioning: 'enabled', tier: undefined, sizeBytes: 0 }),
        NOW,
      ),
    );
  t.is(marker(true), 'remove-version');
  t.is(marker(false), 'none', 'else what was deleted would come back');
  const sized = compile([
    rule('sized', {
      filter: { sizeUnder: 10 },
      trigger: { kind: 'always' },
      action: { kind: 'expire-marker' },
    }),
  ]);
  const facts = version({ deleteMarker: true, lone: true, sizeBytes: 0, tier: undefined });
  t.is(sized.decide(facts, NOW), undefined, 'a marker has no size');
});

test('restored data is not archived again before its date, but its expiry is not held', (t) => {
  const until = NOW + 3 * DAY_MS;
  const restore = { requestId: 'r', tier: 'Bulk', days: 3, requestedAt: NOW - DAY_MS } as const;
  const evaluator = compile([move('da', 30, 'DEEP_ARCHIVE')]);
  const live = version({
    storageClass: 'GLACIER',
    restore: { ...restore, state: 'ready', expiry: until },
  });
  t.is(evaluator.decide(live, NOW), undefined);
  t.is(evaluator.heldBack(live, NOW), 'held by restore until 2026-06-04');
  t.is(evaluator.next(live, NOW)?.at, until, 'the next date is the end of the hold');
  t.is(said(evaluator.decide(live, until)), 'move DEEP_ARCHIVE');
  const pending = version({ storageClass: 'GLACIER', restore: { ...restore, state: 'pending' } });
  t.is(evaluator.heldBack(pending, NOW), 'held by a restore in progress');
  t.is(evaluator.next(pending, NOW), undefined);
  t.is(said(compile([expire('e', 1)]).decide(live, NOW)), 'remove-version');
});

test('what object lock keeps is not planned to be removed, and is told until when', (t) => {
  const until = NOW + 3 * DAY_MS;
  const evaluator = compile([expire('e', 1)]);
  const kept = version({ lockedUntil: until });
  t.is(evaluator.decide(kept, NOW), undefined);
  t.is(evaluator.heldBack(kept, NOW), 'held by object lock until 2026-06-04');
  t.is(evaluator.next(kept, NOW)?.at, until);
  t.is(said(evaluator.decide(kept, until)), 'remove-version');
  const held = version({ lockedUntil: Infinity });
  t.is(evaluator.heldBack(held, NOW), 'held by object lock');
  t.is(evaluator.next(held, NOW), undefined);
  // A marker on top removes nothing, unless it takes the place of a null version.
  const marked = { versioning: 'enabled', isNull: false, lockedUntil: until } as const;
  t.is(said(evaluator.decide(version(marked), NOW)), 'add-delete-marker');
  const replaced = { versioning: 'suspended', isNull: true, lockedUntil: until } as const;
  t.is(evaluator.decide(version(replaced), NOW), undefined);
  // It may still be moved.
  const both = compile([expire('e', 1), move('cold', 30, 'GLACIER')]);
  t.is(said(both.decide(kept, NOW)), 'move GLACIER');
});

test('a pin keeps an object where it is; a promotion is not undone by the ladder the day after', (t) => {
  const pin = rule('pin', {
    filter: { tags: { keep: 'hot' } },
    trigger: { kind: 'always' },
    action: { kind: 'pin' },
  });
  const promote = rule('promote', {
    trigger: { kind: 'accessed', withinDays: 5 },
    action: { kind: 'promote', to: 'STANDARD' },
  });
  const evaluator = compile([...ladder, pin, promote]);
  t.is(evaluator.heldBack(version({ tags: { keep: 'hot' } }), NOW), 'held by the pin pin');
  const read = { lastReadAt: NOW - 2 * DAY_MS };
  t.is(
    said(evaluator.decide(version({ ...read, storageClass: 'STANDARD_IA' }), NOW)),
    'move STANDARD',
  );
  const up = version({ ...read, storageClass: 'STANDARD' });
  t.is(evaluator.decide(up, NOW), undefined, 'no flapping');
  t.regex(evaluator.heldBack(up, NOW) ?? '', /promote/);
  const next = evaluator.next(up, NOW);
  t.is(next?.decision.to, 'GLACIER_IR', 'once nobody reads it any more it sinks again');
  t.is(next?.at, NOW + 4 * DAY_MS);
  t.is(said(evaluator.decide(version(), NOW)), 'move GLACIER_IR', 'never read: no promotion');
});

test('idle days need recorded reads: an object of unknown use is never taken for unused', (t) => {
  const evaluator = compile([rule('idle', { trigger: { kind: 'idle', days: 30 } })]);
  t.is(evaluator.decide(version(), NOW), undefined);
  t.is(
    said(evaluator.decide(version({ lastAccessAt: NOW - 40 * DAY_MS }), NOW)),
    'move STANDARD_IA',
  );
  t.is(evaluator.decide(version({ lastAccessAt: NOW - 3 * DAY_MS }), NOW), undefined);
  const full = compile([rule('full', { trigger: { kind: 'pool-fill', over: 0.8, days: 0 } })]);
  t.is(full.decide(version(), NOW), undefined, 'fill not known');
  t.is(full.decide(version({ poolFill: 0.8 }), NOW), undefined);
  t.is(said(full.decide(version({ poolFill: 0.81 }), NOW)), 'move STANDARD_IA');
});

test('lifecycle XML and policy files stand together; each bucket has its own', (t) => {
  const xml = lifecycle(
    '<ID>x</ID><Filter/><Status>Enabled</Status><Expiration><Days>400</Days></Expiration>',
  );
  const files = [
    {
      name: 'p.yaml',
      text: `version: 1\nrules:\n  - {id: y, trigger: {ageDays: 30}, action: {transition: GLACIER}}`,
    },
  ];
  const sets = buildRuleSets(
    { files, revision: revisionOf(files) },
    [{ name: 'photos', lifecycleXml: xml }, { name: 'other' }],
    { classes: CLASSES },
  );
  const evaluator = Evaluator.compile(sets, OPTIONS);
  const old = { lastModified: NOW - 500 * DAY_MS };
  t.is(said(evaluator.decide(version(old), NOW)), 'remove-version');
  t.is(evaluator.decide(version(old), NOW)?.rule.id, 'photos/x/expire');
  t.is(said(evaluator.decide(version({ ...old, bucket: 'other' }), NOW)), 'move GLACIER');
  t.is(evaluator.decide(version({ ...old, bucket: 'other' }), NOW)?.revision, revisionOf(files));
  t.deepEqual(evaluator.expiry(version(), NOW), {
    at: dueAfter(version().lastModified, 400, DAY_MS),
    ruleId: 'x',
  });
  t.deepEqual(evaluator.needs('other'), { current: true, noncurrent: false, uploads: false });
});

test('a rule that was stopped or disabled does nothing, and explain says so', (t) => {
  const evaluator = compile([...ladder, move('off', 1, 'GLACIER', { enabled: false })]);
  const stopped = evaluator.without(['ir']);
  t.is(said(stopped.decide(version(), NOW)), 'move STANDARD_IA');
  const states = stopped
    .judge(version(), NOW)
    .rules.map(({ rule: { id }, standing }) => [
      id,
      standing.state,
      'reason' in standing ? standing.reason : '',
    ]);
  t.deepEqual(states[1], ['ir', 'no-match', 'it was stopped: the two evaluators differ']);
  t.deepEqual(states[3], ['off', 'no-match', 'it is disabled']);
});

// --- facts

const bucket: Bucket = {
  format: 1,
  id: '0123456789abcdef',
  name: 'photos',
  owner: 'root',
  createdAt: 0,
  region: 'local',
  versioning: 'enabled',
  state: 'live',
};

const stored = (id: string, over: Partial<Version> = {}): Version => ({
  id,
  isNull: false,
  deleteMarker: false,
  lastModified: NOW,
  sizeBytes: 10,
  etag: '0'.repeat(32),
  storageClass: 'STANDARD',
  parts: [],
  headers: {},
  metadata: {},
  owner: 'root',
  operation: id,
  ...over,
});

test('facts of a key: successors, counted noncurrent versions, lone markers, history in blocks', (t) => {
  const versions = [
    stored('4', { lastModified: 400 }),
    stored('3', { lastModified: 300, deleteMarker: true }),
    stored('2', { lastModified: 200 }),
    stored('1', { lastModified: 100 }),
  ];
  const document: ObjectDocument = { format: 1, sequence: 4, versions, history: [] };
  const facts = factsOfKey({ bucket, key: 'k', document }, { classes: CLASSES });
  t.deepEqual(
    facts.map(({ successorAt }) => successorAt),
    [undefined, 400, 300, 200],
  );
  t.deepEqual(
    facts.map(({ newerNoncurrent }) => newerNoncurrent),
    [undefined, 0, 0, 1],
    'markers do not count',
  );
  const marker = stored('m', { deleteMarker: true });
  const alone = { format: 1, sequence: 1, versions: [marker], history: [] } as const;
  const lone = factsOfKey(
    { bucket, key: 'k', document: { ...alone, versions: [marker], history: [] } },
    { classes: CLASSES },
  );
  t.true(lone[0]?.lone);
  const history = [{ block: 'b', count: 300, bytes: 9000 }];
  const behind = factsOfKey(
    { bucket, key: 'k', document: { format: 1, sequence: 301, versions: [marker], history } },
    { classes: CLASSES },
  );
  t.false(behind[0]?.lone, 'versions in blocks are versions: their marker must stay');
});

test('reads count from when they were recorded, never from before', (t) => {
  const document = (over: Partial<Version>): ObjectDocument => ({
    format: 1,
    sequence: 1,
    versions: [stored('1', { lastModified: NOW - 100 * DAY_MS, ...over })],
    history: [],
  });
  const of = (over: Partial<Version>, since?: number): VersionFacts =>
    factsOfKey(
      { bucket, key: 'k', document: document(over) },
      { classes: CLASSES, ...(since === undefined ? {} : { readsRecordedSince: since }) },
    )[0] as VersionFacts;
  t.is(of({}).lastAccessAt, undefined);
  t.is(of({}, NOW - 50 * DAY_MS).lastAccessAt, NOW - 50 * DAY_MS);
  const day = Math.floor(NOW / DAY_MS) - 3;
  t.is(of({ lastAccessDay: day }).lastAccessAt, day * DAY_MS);
  t.is(of({ lastAccessDay: day }, NOW - 50 * DAY_MS).lastReadAt, day * DAY_MS);
});

// --- the two evaluators

function seeded(t: { log(...values: string[]): void }): { seed: number } {
  const given = process.env['FIRN_TEST_SEED'];
  const seed = given === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(given);
  t.log(`seed ${seed} (FIRN_TEST_SEED)`);
  return { seed };
}

const maybe = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.option(arbitrary, { nil: undefined, freq: 2 });
const days = fc.integer({ min: 0, max: 6 });
const word = fc.constantFrom('a', 'b', 'logs/', 'x.jpg', '', 'a*', '?', 'é', '__proto__', 'logs/a');
const globs = fc.constantFrom(
  '*',
  'a*',
  '*a',
  'logs/?',
  '?',
  '*.jpg',
  'a*b*',
  '\\*',
  'photos',
  'logs/',
);
const names = fc.constantFrom('project', 'keep', '__proto__', 'toString', 'a.b');
const classNames = fc.constantFrom(...CLASSES.keys());
const instants = fc
  .tuple(fc.integer({ min: -8, max: 1 }), fc.constantFrom(0, 1, -1, 43_200_000, 12_345))
  .map(([day, ms]) => NOW + day * DAY_MS + ms);

const numberFacts = Object.entries(CONDITION_FACTS)
  .filter(([, { type }]) => type === 'number')
  .map(([name]) => name);
const stringFacts = Object.entries(CONDITION_FACTS)
  .filter(([, { type }]) => type === 'string')
  .map(([name]) => name);
const booleanFacts = Object.entries(CONDITION_FACTS)
  .filter(([, { type }]) => type === 'boolean')
  .map(([name]) => name);
const textOperators = [
  'equal',
  'notEqual',
  'startsWith',
  'notStartsWith',
  'endsWith',
  'notEndsWith',
  'matches',
  'notMatches',
];
const numberOperators = [
  'equal',
  'notEqual',
  'lessThan',
  'lessThanInclusive',
  'greaterThan',
  'greaterThanInclusive',
];

const leaf: fc.Arbitrary<Condition> = fc.oneof(
  fc.record({
    fact: fc.constantFrom(...numberFacts),
    operator: fc.constantFrom(...numberOperators),
    value: fc.integer({ min: -1, max: 6 }),
  }),
  fc.record({
    fact: fc.constantFrom(...stringFacts),
    operator: fc.constantFrom(...textOperators),
    value: fc.oneof(word, globs, classNames),
  }),
  fc.record({
    fact: fc.constantFrom(...stringFacts),
    operator: fc.constantFrom('in', 'notIn'),
    value: fc.array(fc.oneof(word, classNames), { minLength: 1, maxLength: 3 }),
  }),
  fc.record({
    fact: fc.constantFrom(...booleanFacts),
    operator: fc.constantFrom('equal', 'notEqual'),
    value: fc.boolean(),
  }),
  fc.record({
    fact: fc.constantFrom('tags', 'metadata'),
    path: names.map((name) => `$.${name}`),
    operator: fc.constantFrom(...textOperators),
    value: word,
  }),
  fc.record({
    fact: fc.constantFrom('tags', 'contentType', 'poolFill', 'noncurrentDays', 'readDays'),
    operator: fc.constant('exists'),
    value: fc.boolean(),
  }),
);

const { condition } = fc.letrec<{ condition: Condition }>((tie) => ({
  condition: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    leaf,
    fc.array(tie('condition'), { minLength: 1, maxLength: 3 }).map((all) => ({ all })),
    fc.array(tie('condition'), { minLength: 1, maxLength: 3 }).map((any) => ({ any })),
    tie('condition').map((not) => ({ not })),
  ),
}));

const defined = <T extends object>(value: T): T =>
  Object.fromEntries(Object.entries(value).filter(([, one]) => one !== undefined)) as T;

const pairs = fc.dictionary(names, word, { maxKeys: 2, noNullPrototype: true });
const filterOf: fc.Arbitrary<Filter> = fc
  .record({
    buckets: maybe(fc.array(globs, { minLength: 1, maxLength: 2 })),
    prefixes: maybe(fc.array(globs, { minLength: 1, maxLength: 2 })),
    suffixes: maybe(fc.array(fc.constantFrom('.jpg', 'a', 'é'), { minLength: 1, maxLength: 2 })),
    tags: maybe(pairs),
    metadata: maybe(pairs),
    sizeOver: maybe(fc.integer({ min: 0, max: 6 })),
    sizeUnder: maybe(fc.integer({ min: 0, max: 6 })),
    storageClasses: maybe(fc.array(classNames, { minLength: 1, maxLength: 3 })),
    contentTypes: maybe(fc.array(globs, { minLength: 1, maxLength: 2 })),
  })
  .map((filter) => defined(filter) as Filter);

const timed: fc.Arbitrary<Trigger> = fc.oneof(
  days.map((n): Trigger => ({ kind: 'age', days: n })),
  days.map((n): Trigger => ({ kind: 'idle', days: n })),
  instants.map((n): Trigger => ({ kind: 'date', at: n })),
);
const noncurrentTrigger: fc.Arbitrary<Trigger> = fc
  .record({ days, newerVersions: maybe(fc.integer({ min: 1, max: 3 })) })
  .map((trigger) => ({ kind: 'noncurrent', ...defined(trigger) }) as Trigger);
const shapes: fc.Arbitrary<Pick<Rule, 'trigger' | 'action'>> = fc.oneof(
  fc.record({
    trigger: fc.oneof(
      timed,
      noncurrentTrigger,
      fc.record({
        kind: fc.constant('pool-fill' as const),
        over: fc.constantFrom(0.1, 0.5),
        days,
      }),
    ),
    action: fc.record({ kind: fc.constant('transition' as const), to: classNames }),
  }),
  fc.record({ trigger: timed, action: fc.constant({ kind: 'expire' as const }) }),
  fc.record({
    trigger: noncurrentTrigger,
    action: fc.constant({ kind: 'expire-noncurrent' as const }),
  }),
  fc.record({
    trigger: fc.oneof(timed, fc.constant({ kind: 'always' as const })),
    action: fc.constantFrom({ kind: 'expire-marker' as const }, { kind: 'pin' as const }),
  }),
  fc.record({
    trigger: days.map((n): Trigger => ({ kind: 'age', days: n })),
    action: fc.constant({ kind: 'abort-upload' as const }),
  }),
  fc.record({
    trigger: fc.record({ kind: fc.constant('accessed' as const), withinDays: days }),
    action: fc.record({ kind: fc.constant('promote' as const), to: classNames }),
  }),
);
const ruleOf: fc.Arbitrary<Rule> = fc
  .record({
    filter: fc.oneof({ weight: 5, arbitrary: fc.constant({}) }, { weight: 4, arbitrary: filterOf }),
    shape: shapes,
    when: maybe(condition),
    sizeFloor: maybe(
      fc.constantFrom('all_storage_classes_128K' as const, 'varies_by_storage_class' as const),
    ),
    enabled: fc.constantFrom(true, true, true, true, false),
  })
  .map(({ shape, ...rest }) => defined({ ...rule('', {}), ...rest, ...shape }) as Rule);

const sizes = fc.constantFrom(0, 1, 2, 3, 5, 6, 131_071, 131_072);
const factsArbitrary: fc.Arbitrary<Facts> = fc.oneof(
  {
    weight: 9,
    arbitrary: fc
      .record({
        bucket: fc.constantFrom('photos', 'photos', 'a'),
        key: fc
          .oneof(word, fc.constantFrom('logs/a.jpg', 'a1b2', 'ab', '*'))
          .map((key) => key || 'k'),
        versioning: fc.constantFrom('off' as const, 'enabled' as const, 'suspended' as const),
        isNull: fc.boolean(),
        deleteMarker: fc.constantFrom(false, false, false, true),
        lone: fc.boolean(),
        place: maybe(fc.record({ successorAt: instants, newerNoncurrent: fc.nat(4) })),
        sizeBytes: sizes,
        storageClass: classNames,
        lastModified: instants,
        lastAccessAt: maybe(instants),
        lastReadAt: maybe(instants),
        contentType: maybe(word),
        tags: maybe(pairs),
        metadata: pairs,
        partCount: maybe(fc.nat(6)),
        poolFill: maybe(fc.constantFrom(0.1, 0.3, 0.6, 1)),
        restore: maybe(
          fc.record({
            state: fc.constantFrom('pending' as const, 'ready' as const),
            expiry: instants,
          }),
        ),
      })
      .map(({ place, restore, ...rest }) =>
        version({
          ...rest,
          isCurrent: place === undefined,
          successorAt: place?.successorAt,
          newerNoncurrent: place?.newerNoncurrent,
          lone: rest.lone && rest.deleteMarker && place === undefined,
          tier: rest.deleteMarker ? undefined : CLASSES.get(rest.storageClass),
          restore: restore && { requestId: 'r', tier: 'Bulk', days: 1, requestedAt: 0, ...restore },
        }),
      ),
  },
  {
    weight: 1,
    arbitrary: fc
      .record({
        bucket: fc.constantFrom('photos', 'a'),
        key: word.map((key) => key || 'k'),
        initiatedAt: instants,
        storageClass: classNames,
        tags: maybe(pairs),
        sizeBytes: maybe(sizes),
      })
      .map((rest) => ({ subject: 'upload' as const, uploadId: 'u', owner: 'root', ...rest })),
  },
);

const RUNS = 1500;

test('the compiled evaluator and json-rules-engine agree on thousands of random rules and objects', async (t) => {
  let acted = 0;
  let looked = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(ruleOf, { minLength: 1, maxLength: 5 }),
      fc.array(factsArbitrary, { minLength: 5, maxLength: 5 }),
      fc.constantFrom(DAY_MS, DAY_MS, 3_600_000, 7777),
      fc.constantFrom('strict' as const, 'free' as const),
      async (rules, subjects, dayMs, waterfall) => {
        const evaluator = compile(
          rules.map((one, index) => ({ ...one, id: `r${index}` })),
          { dayMs, waterfall },
        );
        for (const facts of subjects) {
          const confirmation = await evaluator.confirm(facts, NOW);
          looked += 1;
          if (evaluator.decide(facts, NOW) !== undefined) acted += 1;
          if (!confirmation.agrees) {
            const { rules: ids, error: cause } = confirmation;
            throw new Error(`differ on ${ids.join()}`, { cause });
          }
        }
      },
    ),
    { numRuns: RUNS, ...seeded(t) },
  );
  t.log(`${looked} objects, ${acted} with something due`);
  t.true(acted > looked / 50, 'the random rules do act on something');
});

test('what decide, judge and next say of one object is one story', async (t) => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(ruleOf, { minLength: 1, maxLength: 5 }),
      factsArbitrary,
      async (rules, facts) => {
        const evaluator = compile(rules.map((one, index) => ({ ...one, id: `r${index}` })));
        const decision = evaluator.decide(facts, NOW);
        const judged = evaluator.judge(facts, NOW);
        const winners = judged.rules.filter(({ standing }) => standing.state === 'wins');
        const next = evaluator.next(facts, NOW);
        if (winners.length > 1) throw new Error('two winners');
        if (winners[0]?.rule !== decision?.rule) throw new Error('judge and decide differ');
        if (decision !== undefined && next?.at !== NOW) throw new Error('next is later than now');
        if (next !== undefined && evaluator.decide(facts, next.at)?.rule !== next.decision.rule) {
          throw new Error('next does not happen');
        }
        // Nothing may happen between now and the next date: tried a quarter of a day apart.
        const end = Math.min(next?.at ?? NOW + 9 * DAY_MS, NOW + 9 * DAY_MS);
        for (let moment = NOW; moment < end; moment += DAY_MS / 4) {
          if (evaluator.decide(facts, moment) !== undefined) throw new Error('acts before next');
        }
      },
    ),
    { numRuns: 1500, ...seeded(t) },
  );
  t.pass();
});

test('a condition on a missing fact never holds, nor does its negation', async (t) => {
  for (const fact of ['contentType', 'poolFill', 'noncurrentDays', 'readDays', 'partCount']) {
    const value = CONDITION_FACTS[fact]?.type === 'number' ? 1 : 'x';
    for (const operator of value === 1 ? numberOperators : textOperators) {
      const one: Condition = { fact, operator, value };
      for (const when of [one, { not: one }, { not: { not: one } }, { not: { all: [one] } }]) {
        const evaluator = compile([expire('e', 1, { when })]);
        const confirmation = await evaluator.confirm(version(), NOW);
        t.true(confirmation.agrees);
        t.is(confirmation.agrees && confirmation.decision, undefined, `${fact} ${operator}`);
      }
    }
  }
  const absent = compile([
    expire('e', 1, { when: { fact: 'tags', path: '$.keep', operator: 'exists', value: false } }),
  ]);
  t.is(said(absent.decide(version(), NOW)), 'remove-version', 'absence can be asked for by name');
  t.is(absent.decide(version({ tags: { keep: '' } }), NOW), undefined);
});

test('two objects confirmed at once are both really looked at', async (t) => {
  const evaluator = compile([expire('e', 1), ...ladder]);
  const many = Array.from({ length: 50 }, (_, index) =>
    evaluator.confirm(version({ key: `k${index}`, lastModified: index % 2 ? NOW : 0 }), NOW),
  );
  const all = await Promise.all(many);
  t.true(all.every(({ agrees }) => agrees));
  t.is(all.filter((one) => one.agrees && one.decision !== undefined).length, 25);
});

test('a look that begins while another ends is not skipped, whenever it begins', async (t) => {
  const evaluator = compile([expire('e', 1), ...ladder]);
  const looks: Promise<boolean>[] = [];
  for (let turns = 0; turns < 60; turns += 1) {
    for (let turn = 0; turn < turns; turn += 1) await Promise.resolve();
    looks.push(
      evaluator.confirm(version(), NOW).then((one) => one.agrees && one.decision !== undefined),
    );
  }
  t.true((await Promise.all(looks)).every(Boolean));
});

test('the next date is exact for day counts in a condition, too', (t) => {
  const born = at('2026-05-30T10:00:00Z');
  const next = (operator: string, value: number): string | undefined => {
    const when: Condition = { fact: 'ageDays', operator, value };
    const found = compile([expire('e', 1, { when })]).next(version({ lastModified: born }), NOW);
    return found && new Date(found.at).toISOString().slice(0, 10);
  };
  t.is(next('greaterThan', 3), '2026-06-04');
  t.is(next('greaterThanInclusive', 3), '2026-06-03');
  t.is(next('equal', 3), '2026-06-03');
  t.is(next('lessThan', 1), undefined);
  const idle: Condition = { not: { fact: 'idleDays', operator: 'lessThanInclusive', value: 5 } };
  const facts = version({ lastModified: born, lastAccessAt: at('2026-05-31') });
  t.is(compile([expire('e', 1, { when: idle })]).next(facts, NOW)?.at, at('2026-06-07'));
});

test('a disagreement is a value that names the rule, and the rule can be stopped', async (t) => {
  const evaluator = compile([expire('e', 1), ...ladder]);
  // A fact that changes between the two looks is the only disagreement one can make from outside.
  let size = 0;
  const shifting = version();
  Object.defineProperty(shifting, 'key', { get: () => (size++ % 2 === 0 ? 'a.tmp' : 'b') });
  const odd = compile([expire('odd', 1, { filter: { suffixes: ['.tmp'] } }), expire('same', 900)]);
  const confirmation = await odd.confirm(shifting, NOW);
  t.false(confirmation.agrees);
  t.deepEqual(confirmation.agrees ? [] : confirmation.rules, ['odd']);
  t.is(odd.without(['odd']).decide(version({ key: 'a.tmp' }), NOW), undefined);
  const broken = version();
  Object.defineProperty(broken, 'partCount', {
    get() {
      throw new Error('unreadable');
    },
  });
  const failed = await evaluator.confirm(broken, NOW);
  t.false(failed.agrees, 'one bad object never throws out of a pass');
});

test('the reference refuses to answer for a rule that it skipped', async (t) => {
  const engine = new ReferenceEngine([
    { name: 'a', condition: { all: [{ fact: 'sizeBytes', operator: 'nonsense', value: 1 }] } },
  ]);
  await t.throwsAsync(engine.matching(version(), { now: NOW, dayMs: DAY_MS }));
  const sound = new ReferenceEngine([
    { name: 'a', condition: { all: [{ fact: 'sizeBytes', operator: 'greaterThan', value: 1 }] } },
  ]);
  t.deepEqual([...(await sound.matching(version(), { now: NOW, dayMs: DAY_MS }))], ['a']);
});

test('globs match exactly what they say, whatever the key holds', (t) => {
  const reference = (glob: string): RegExp => {
    let source = '';
    for (let index = 0; index < glob.length; index += 1) {
      const char = glob[index] as string;
      if (char === '*') source += '.*';
      else if (char === '?') source += '.';
      else {
        const literal = char === '\\' ? (glob[(index += 1)] ?? '\\') : char;
        source += literal.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&');
      }
    }
    return new RegExp(`^${source}$`, 'su');
  };
  const letters = fc.string({
    unit: fc.constantFrom('a', 'b', '*', '?', '/', '\\', '.', 'é'),
    maxLength: 8,
  });
  fc.assert(
    fc.property(letters, letters, (glob, text) => {
      if (/(?:^|[^\\])(?:\\\\)*\\$/.test(glob)) return true;
      const whole = compileGlob(glob, 'whole')(text) === reference(glob).test(text);
      const prefix = compileGlob(glob, 'prefix')(text) === reference(`${glob}*`).test(text);
      return whole && prefix && compileGlob(escapeGlob(text), 'whole')(text);
    }),
    { numRuns: 5000, ...seeded(t) },
  );
  const evil = compileGlob(`${'*a'.repeat(30)}b`, 'whole');
  t.false(evil('a'.repeat(1000)), 'and a hostile pattern ends');
});

// --- policy files

test('a policy file with anything unclear is refused with file, line, column and remedy', (t) => {
  const cases: [string, string, RegExp, string][] = [
    [
      'unknown field',
      'rules:\n  - id: a\n    filtr: {}\n    action: pin',
      /unknown field 'filtr'/,
      '4:5',
    ],
    [
      'unknown field in a filter',
      'rules:\n  - id: a\n    filter: {prefix: a}\n    action: pin',
      /unknown field 'prefix'/,
      '4:14',
    ],
    [
      'quoted number',
      'rules:\n  - id: a\n    trigger: {ageDays: "30"}\n    action: expire',
      /without quotes/,
      '4:24',
    ],
    [
      'octal-looking tag',
      'rules:\n  - id: a\n    filter: {tags: {x: 010}}\n    action: pin',
      /in quotes/,
      '4:24',
    ],
    [
      'empty all',
      'rules:\n  - id: a\n    when: {all: []}\n    action: pin',
      /'all' is empty/,
      '4:17',
    ],
    ['empty when', 'rules:\n  - id: a\n    when: {}\n    action: pin', /without 'fact'/, '4:11'],
    [
      'recursive path',
      'rules:\n  - id: a\n    when: {fact: tags, path: "$..x..x..x", operator: equal, value: a}\n    action: pin',
      /path/,
      '4:30',
    ],
    [
      'script path',
      'rules:\n  - id: a\n    when: {fact: tags, path: "$[?(@.x)]", operator: equal, value: a}\n    action: pin',
      /path/,
      '4:30',
    ],
    [
      'parent path',
      'rules:\n  - id: a\n    when: {fact: metadata, path: "$.a@b", operator: equal, value: a}\n    action: pin',
      /path/,
      '4:34',
    ],
    [
      'no path',
      'rules:\n  - id: a\n    when: {fact: tags, operator: equal, value: a}\n    action: pin',
      /needs a path/,
      '4:11',
    ],
    [
      'unknown operator',
      'rules:\n  - id: a\n    when: {fact: key, operator: regex, value: a}\n    action: pin',
      /known: equal/,
      '4:33',
    ],
    [
      'decorated operator',
      'rules:\n  - id: a\n    when: {fact: key, operator: "not:equal", value: a}\n    action: pin',
      /operator/,
      '4:33',
    ],
    [
      'unknown fact',
      'rules:\n  - id: a\n    when: {fact: constructor, operator: equal, value: a}\n    action: pin',
      /unknown fact/,
      '4:18',
    ],
    [
      'another fact as value',
      'rules:\n  - id: a\n    when: {fact: sizeBytes, operator: equal, value: {fact: ageDays}}\n    action: pin',
      /is no number/,
      '4:53',
    ],
    [
      'quoted number in when',
      'rules:\n  - id: a\n    when: {fact: sizeBytes, operator: greaterThan, value: "100"}\n    action: pin',
      /without quotes/,
      '4:59',
    ],
    [
      'two triggers',
      'rules:\n  - id: a\n    trigger: {ageDays: 1, idleDays: 1}\n    action: expire',
      /one of ageDays/,
      '4:14',
    ],
    ['trigger missing', 'rules:\n  - id: a\n    action: expire', /trigger is missing/, '4:13'],
    [
      'wrong trigger',
      'rules:\n  - id: a\n    trigger: {noncurrentDays: 1}\n    action: expire',
      /does not fit/,
      '4:14',
    ],
    [
      'expire at once',
      'rules:\n  - id: a\n    trigger: {ageDays: 0}\n    action: expire',
      /0 days/,
      '4:14',
    ],
    [
      'id twice',
      'rules:\n  - {id: a, action: pin}\n  - {id: a, action: pin}',
      /used twice/,
      '4:10',
    ],
    ['no version', '', /Invalid|missing|version/, '1:1'],
    [
      'date not midnight',
      'rules:\n  - id: a\n    trigger: {date: "2026-01-01T10:00:00Z"}\n    action: expire',
      /midnight/,
      '4:21',
    ],
    [
      'impossible size',
      'rules:\n  - id: a\n    filter: {size: {over: 2MiB, under: 1MiB}}\n    action: pin',
      /nothing would match/,
      '4:20',
    ],
    ['no rules', 'rules: []', /rules/, '2:8'],
    ['duplicate key', 'rules:\n  - {id: a, action: pin}\nrules: []', /unique/, '4:1'],
    ['unknown tag', 'rules: !!python/object []', /tag/, '2:8'],
    [
      'prototype',
      'rules:\n  - {id: a, action: pin, __proto__: {enabled: false}}',
      /unknown field '__proto__'/,
      '3:26',
    ],
  ];
  for (const [name, body, message, place] of cases) {
    const text = body === '' ? 'rules: []' : `version: 1\n${body}`;
    const error = refusal(() => parsePolicyFile('p.yaml', text));
    t.is(error.code, 'PolicyInvalid', name);
    t.regex(error.message, message, name);
    t.regex(error.message, /^p\.yaml:\d+:\d+: .+ \(.+\)/, name);
    if (body !== '') t.is(error.subject, `p.yaml:${place}`, name);
  }
});

test('hostile files are refused quickly and the process lives', (t) => {
  for (const text of [
    '['.repeat(100_000),
    `${'a: '.repeat(20_000)}b`,
    `${'- '.repeat(20_000)}b`,
    'a: &a [x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c,*c]',
    'x'.repeat(2_000_000),
    '\u0000',
    '{"$where": 1}',
    '',
  ]) {
    t.is(refusal(() => parsePolicyFile('p.yaml', text)).code, 'PolicyInvalid');
  }
  const nested = (depth: number): unknown => (depth === 0 ? {} : { not: nested(depth - 1) });
  t.regex(checkCondition(nested(500))?.message ?? '', /deeper/);
});

test('a policy file says what it means: every kind of rule, sizes with units, dates', (t) => {
  const rules = parsePolicyFile(
    'p.yaml',
    `version: 1
rules:
  - id: a
    filter:
      buckets: [photos]
      prefixes: ['logs/*/debug/']
      suffixes: ['.log']
      tags: {keep: 'no'}
      metadata: {source: cam}
      size: {over: 1.5 MiB, under: 2GiB}
      storageClasses: [STANDARD]
      contentTypes: ['video/*']
    trigger: {date: 2027-01-31}
    action: {transition: GLACIER}
    sizeFloor: varies_by_storage_class
  - id: b
    trigger: {noncurrentDays: 30, keepNewest: 3}
    action: expire-noncurrent
  - id: c
    trigger: {poolFillOver: 0.85, ageDays: 7}
    action: {transition: STANDARD_IA}
  - id: d
    trigger: {accessedWithinDays: 2}
    action: {promote: STANDARD}
  - {id: e, action: expire-marker, enabled: false}
`,
  );
  t.deepEqual(rules[0]?.filter, {
    buckets: ['photos'],
    prefixes: ['logs/*/debug/'],
    suffixes: ['.log'],
    tags: { keep: 'no' },
    metadata: { source: 'cam' },
    sizeOver: 1.5 * 2 ** 20,
    sizeUnder: 2 * 2 ** 30,
    storageClasses: ['STANDARD'],
    contentTypes: ['video/*'],
  });
  t.deepEqual(rules[0]?.trigger, { kind: 'date', at: at('2027-01-31') });
  t.deepEqual(rules[1]?.trigger, { kind: 'noncurrent', days: 30, newerVersions: 3 });
  t.deepEqual(rules[2]?.trigger, { kind: 'pool-fill', over: 0.85, days: 7 });
  t.deepEqual(
    rules.map(({ origin }) => (origin.kind === 'file' ? origin.line : 0)),
    [3, 16, 19, 22, 25],
  );
  t.false(rules[4]?.enabled);
});

test('a storage class that is not configured is refused before a pass, naming the rule', (t) => {
  const error = refusal(() => compile([move('x', 1, 'GLACEIR')]));
  t.is(error.code, 'PolicyInvalid');
  t.regex(error.message, /rule x: storage class GLACEIR/);
  t.is(error.subject, 'test.yaml:1');
  t.is(refusal(() => compile([move('x', 1, 'GLACIER'), expire('x', 2)])).code, 'PolicyInvalid');
});

test('editors get a JSON Schema that knows every field and lets no other pass', (t) => {
  const schema = JSON.parse(JSON.stringify(policyFileJsonSchema())) as {
    additionalProperties: boolean;
    properties: { rules: { items: { properties: object; additionalProperties: boolean } } };
  };
  t.false(schema.additionalProperties);
  t.false(schema.properties.rules.items.additionalProperties);
  const fields = Object.keys(schema.properties.rules.items.properties).sort();
  const known = [
    'action',
    'description',
    'enabled',
    'filter',
    'id',
    'sizeFloor',
    'trigger',
    'when',
  ];
  t.deepEqual(fields, known);
});

test('the README of policies names every field, fact and operator there is', (t) => {
  const readme = readFileSync(join(import.meta.dirname, '../policies/README.md'), 'utf8');
  const schema = JSON.stringify(policyFileJsonSchema());
  const fields = [...schema.matchAll(/"([A-Za-z]+)":\{"(?:type|description|minItems|anyOf)/g)]
    .map((match) => match[1] as string)
    .filter(
      (name) => !['items', 'properties', 'additionalProperties', 'propertyNames'].includes(name),
    );
  t.true(fields.includes('keepNewest'));
  for (const name of [...fields, ...Object.keys(CONDITION_FACTS), ...CONDITION_OPERATORS]) {
    t.true(readme.includes(`\`${name}\``), `README names ${name}`);
  }
});

// --- S3 lifecycle XML

function lifecycle(...rules: string[]): string {
  return `<LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${rules
    .map((one) => `<Rule>${one}</Rule>`)
    .join('')}</LifecycleConfiguration>`;
}

const HEAD = '<ID>r</ID><Filter><Prefix>a/</Prefix></Filter><Status>Enabled</Status>';
const EXPIRE = '<Expiration><Days>1</Days></Expiration>';

test('lifecycle XML that S3 refuses is refused by the same code', (t) => {
  const day = (inner: string): string => `<Expiration>${inner}</Expiration>`;
  const moves = (inner: string): string => `<Transition>${inner}</Transition>`;
  const filter = (inner: string): string =>
    `<ID>r</ID><Filter>${inner}</Filter><Status>Enabled</Status>`;
  const tag = '<Tag><Key>k</Key><Value>v</Value></Tag>';
  const cases: [string, string, ErrorCode][] = [
    ['empty', '', 'MalformedXML'],
    ['not XML', '<LifecycleConfiguration><Rule>', 'MalformedXML'],
    ['wrong root', '<Lifecycle/>', 'MalformedXML'],
    ['no rules', lifecycle(), 'MalformedXML'],
    [
      '1001 rules',
      lifecycle(...Array.from({ length: 1001 }, (_, n) => HEAD.replace('>r<', `>r${n}<`) + EXPIRE)),
      'MalformedXML',
    ],
    ['doctype', `<!DOCTYPE x [<!ENTITY a "b">]>${lifecycle(HEAD + EXPIRE)}`, 'MalformedXML'],
    [
      'external entity',
      `<!DOCTYPE x SYSTEM "file:///etc/passwd">${lifecycle(HEAD + EXPIRE)}`,
      'MalformedXML',
    ],
    ['unknown element', lifecycle(`${HEAD}${EXPIRE}<Foo/>`), 'MalformedXML'],
    [
      'unknown element in the filter',
      lifecycle(filter('<Suffix>x</Suffix>') + EXPIRE),
      'MalformedXML',
    ],
    [
      'misspelt filter',
      lifecycle(`<ID>r</ID><Filtr/><Status>Enabled</Status>${EXPIRE}`),
      'MalformedXML',
    ],
    ['text between', lifecycle(`${HEAD}x${EXPIRE}`), 'MalformedXML'],
    [
      'ID too long',
      lifecycle(`${HEAD.replace('>r<', `>${'x'.repeat(256)}<`)}${EXPIRE}`),
      'InvalidArgument',
    ],
    ['same ID', lifecycle(HEAD + EXPIRE, HEAD + EXPIRE), 'InvalidArgument'],
    ['status enabled', lifecycle(HEAD.replace('Enabled', 'enabled') + EXPIRE), 'MalformedXML'],
    ['status invalid', lifecycle(HEAD.replace('Enabled', 'invalid') + EXPIRE), 'MalformedXML'],
    ['no status', lifecycle(`<ID>r</ID><Filter/>${EXPIRE}`), 'MalformedXML'],
    ['two statuses', lifecycle(`${HEAD}<Status>Disabled</Status>${EXPIRE}`), 'MalformedXML'],
    ['no filter', lifecycle(`<ID>r</ID><Status>Enabled</Status>${EXPIRE}`), 'MalformedXML'],
    ['filter and prefix', lifecycle(`${HEAD}<Prefix>b</Prefix>${EXPIRE}`), 'MalformedXML'],
    ['two filters', lifecycle(`${HEAD}<Filter/>${EXPIRE}`), 'MalformedXML'],
    [
      'two conditions without And',
      lifecycle(filter(`<Prefix>a</Prefix>${tag}`) + EXPIRE),
      'MalformedXML',
    ],
    [
      'And beside',
      lifecycle(filter(`<And><Prefix>a</Prefix>${tag}</And>${tag}`) + EXPIRE),
      'MalformedXML',
    ],
    ['empty And', lifecycle(filter('<And/>') + EXPIRE), 'MalformedXML'],
    ['tag twice', lifecycle(filter(`<And>${tag}${tag}</And>`) + EXPIRE), 'InvalidArgument'],
    [
      'sizes crossed',
      lifecycle(
        filter(
          '<And><ObjectSizeGreaterThan>9</ObjectSizeGreaterThan><ObjectSizeLessThan>9</ObjectSizeLessThan></And>',
        ) + EXPIRE,
      ),
      'InvalidArgument',
    ],
    ['Days 0', lifecycle(HEAD + day('<Days>0</Days>')), 'InvalidArgument'],
    ['Days -1', lifecycle(HEAD + day('<Days>-1</Days>')), 'InvalidArgument'],
    ['Days 1e99', lifecycle(HEAD + day('<Days>1e99</Days>')), 'InvalidArgument'],
    ['Days 1.5', lifecycle(HEAD + day('<Days>1.5</Days>')), 'InvalidArgument'],
    ['Days word', lifecycle(HEAD + day('<Days>ten</Days>')), 'MalformedXML'],
    [
      'Days and Date',
      lifecycle(HEAD + day('<Days>1</Days><Date>2026-01-01T00:00:00Z</Date>')),
      'MalformedXML',
    ],
    [
      'Date not midnight',
      lifecycle(HEAD + day('<Date>2026-01-01T01:00:00Z</Date>')),
      'InvalidArgument',
    ],
    ['Date of nonsense', lifecycle(HEAD + day('<Date>20200101</Date>')), 'InvalidArgument'],
    [
      'Date and Days in one rule',
      lifecycle(
        `${HEAD}${EXPIRE}${moves('<Date>2026-01-01T00:00:00Z</Date><StorageClass>GLACIER</StorageClass>')}`,
      ),
      'InvalidArgument',
    ],
    [
      'marker with days',
      lifecycle(
        HEAD + day('<Days>1</Days><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker>'),
      ),
      'MalformedXML',
    ],
    [
      'marker with tags',
      lifecycle(filter(tag) + day('<ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker>')),
      'InvalidArgument',
    ],
    [
      'marker maybe',
      lifecycle(HEAD + day('<ExpiredObjectDeleteMarker>maybe</ExpiredObjectDeleteMarker>')),
      'MalformedXML',
    ],
    [
      'abort with tags',
      lifecycle(
        `${filter(tag)}<AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>`,
      ),
      'InvalidArgument',
    ],
    [
      'abort 0 days',
      lifecycle(
        `${HEAD}<AbortIncompleteMultipartUpload><DaysAfterInitiation>0</DaysAfterInitiation></AbortIncompleteMultipartUpload>`,
      ),
      'InvalidArgument',
    ],
    [
      'transition date not midnight',
      lifecycle(
        HEAD + moves('<Date>2026-01-01T00:00:01Z</Date><StorageClass>GLACIER</StorageClass>'),
      ),
      'InvalidArgument',
    ],
    [
      'unknown class',
      lifecycle(HEAD + moves('<Days>1</Days><StorageClass>COLDER</StorageClass>')),
      'InvalidStorageClass',
    ],
    [
      'up to STANDARD',
      lifecycle(HEAD + moves('<Days>1</Days><StorageClass>STANDARD</StorageClass>')),
      'InvalidStorageClass',
    ],
    ['no class', lifecycle(HEAD + moves('<Days>1</Days>')), 'MalformedXML'],
    [
      'neither days nor date',
      lifecycle(HEAD + moves('<StorageClass>GLACIER</StorageClass>')),
      'MalformedXML',
    ],
    [
      'one class twice',
      lifecycle(
        `${HEAD}${moves('<Days>1</Days><StorageClass>GLACIER</StorageClass>')}${moves('<Days>2</Days><StorageClass>GLACIER</StorageClass>')}`,
      ),
      'InvalidArgument',
    ],
    [
      'noncurrent 0',
      lifecycle(
        `${HEAD}<NoncurrentVersionExpiration><NoncurrentDays>0</NoncurrentDays></NoncurrentVersionExpiration>`,
      ),
      'InvalidArgument',
    ],
    [
      'keep 0',
      lifecycle(
        `${HEAD}<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays><NewerNoncurrentVersions>0</NewerNoncurrentVersions></NoncurrentVersionExpiration>`,
      ),
      'InvalidArgument',
    ],
    [
      'keep 101',
      lifecycle(
        `${HEAD}<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays><NewerNoncurrentVersions>101</NewerNoncurrentVersions></NoncurrentVersionExpiration>`,
      ),
      'InvalidArgument',
    ],
    [
      'keep without filter',
      lifecycle(
        '<ID>r</ID><Prefix/><Status>Enabled</Status><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays><NewerNoncurrentVersions>2</NewerNoncurrentVersions></NoncurrentVersionExpiration>',
      ),
      'InvalidArgument',
    ],
    ['no action', lifecycle(HEAD), 'MalformedXML'],
    ['prototype', lifecycle(`${HEAD}<__proto__>1</__proto__>${EXPIRE}`), 'MalformedXML'],
    ['too large', `${lifecycle(HEAD + EXPIRE)}${' '.repeat(1024 * 1024)}`, 'MalformedXML'],
    ['deep', '<a>'.repeat(5000) + '</a>'.repeat(5000), 'MalformedXML'],
  ];
  for (const [name, xml, code] of cases) {
    const error = refusal(() => parseLifecycleXml(xml, { classes: CLASSES }));
    t.is(error.code, code, `${name}: ${error.message}`);
  }
  t.is(refusal(() => parseSizeFloor('none')).code, 'InvalidArgument');
  t.is(parseSizeFloor(undefined), 'all_storage_classes_128K');
});

test('lifecycle XML comes back as it was meant: legacy prefixes, spaces, entities, ids', (t) => {
  const given = lifecycle(
    '<ID>one</ID><Prefix> a &amp; b/</Prefix><Status>Enabled</Status><Expiration><Days>5</Days></Expiration>',
    '<Filter><And><Prefix>001</Prefix><Tag><Key>1e3</Key><Value>&#13; </Value></Tag><ObjectSizeGreaterThan>5</ObjectSizeGreaterThan></And></Filter><Status>Disabled</Status>' +
      '<Transition><Days>0</Days><StorageClass>GLACIER_IR</StorageClass></Transition>' +
      '<Transition><Days>300</Days><StorageClass>DEEP_ARCHIVE</StorageClass></Transition>' +
      '<NoncurrentVersionTransition><NoncurrentDays>0</NoncurrentDays><NewerNoncurrentVersions>2</NewerNoncurrentVersions><StorageClass>GLACIER</StorageClass></NoncurrentVersionTransition>' +
      '<NoncurrentVersionExpiration><NoncurrentDays>9</NoncurrentDays></NoncurrentVersionExpiration>',
    '<ID>three</ID><Filter/><Status>Enabled</Status><Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration><AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload>',
    '<ID>four</ID><Prefix></Prefix><Status>Enabled</Status><Expiration><Date>2027-01-01T00:00:00+00:00</Date></Expiration>',
  );
  const first = parseLifecycleXml(given, { classes: CLASSES });
  t.is(first.rules[0]?.legacyPrefix, ' a & b/');
  t.is(first.rules[1]?.filter?.prefix, '001');
  t.deepEqual(first.rules[1]?.filter?.tags, [{ key: '1e3', value: '\r ' }]);
  t.is(first.rules[1]?.id.length, 32, 'an id is generated');
  t.is(first.rules[3]?.legacyPrefix, '');
  t.is(first.rules[3]?.filter, undefined);
  const again = parseLifecycleXml(renderLifecycleXml(first), { classes: CLASSES });
  t.deepEqual(again, first);
  t.is(renderLifecycleXml(again), renderLifecycleXml(first));
});

test('an S3 rule becomes rules of each action, and S3 never widens: prefixes are literal', (t) => {
  const xml = lifecycle(
    '<ID>a/b</ID><Filter><Prefix>lo*/</Prefix></Filter><Status>Enabled</Status>' +
      '<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>' +
      '<Expiration><Days>9</Days></Expiration>' +
      '<AbortIncompleteMultipartUpload><DaysAfterInitiation>3</DaysAfterInitiation></AbortIncompleteMultipartUpload>',
  );
  const rules = rulesOfLifecycle({ name: 'photos' }, parseLifecycleXml(xml, { classes: CLASSES }));
  t.deepEqual(
    rules.map(({ id }) => id),
    [
      'photos/a%2Fb/transition-GLACIER',
      'photos/a%2Fb/expire',
      'photos/a%2Fb/expire-marker',
      'photos/a%2Fb/abort-upload',
    ],
  );
  const evaluator = compile(rules);
  t.is(said(evaluator.decide(version({ key: 'lo*/x' }), NOW)), 'remove-version');
  t.is(
    evaluator.decide(version({ key: 'logs/x' }), NOW),
    undefined,
    'a star in a prefix is a star',
  );
  const upload = factsOfUpload('photos', {
    format: 1,
    uploadId: 'u',
    bucketId: bucket.id,
    key: 'lo*/x',
    state: 'open',
    initiatedAt: NOW - 10 * DAY_MS,
    owner: 'root',
    storageClass: 'STANDARD',
    headers: {},
    metadata: {},
  });
  t.is(said(evaluator.decide(upload, NOW)), 'abort-upload');
  t.is(said(evaluator.decide({ ...upload, initiatedAt: NOW - DAY_MS }, NOW)), 'none');
  const lone = { deleteMarker: true, lone: true, versioning: 'enabled' as const, sizeBytes: 0 };
  t.is(said(evaluator.decide(version({ key: 'lo*/x', ...lone }), NOW)), 'remove-version');
});

test('conditions side by side are refused as by S3, or by a switch all must hold: never either', (t) => {
  const tagged = (key: string): string => `<Tag><Key>${key}</Key><Value>v</Value></Tag>`;
  const filter = (inner: string): string =>
    lifecycle(`<ID>r</ID><Filter>${inner}</Filter><Status>Enabled</Status>${EXPIRE}`);
  const both = `<Prefix>days1/</Prefix>${tagged('tom')}`;
  const all = `${both}<And><Prefix>days1</Prefix>${tagged('huck')}</And>`;
  for (const inner of [both, all]) {
    t.is(
      refusal(() => parseLifecycleXml(filter(inner), { classes: CLASSES })).code,
      'MalformedXML',
    );
  }
  const options = { classes: CLASSES, combinedFilters: true };
  const parsed = parseLifecycleXml(filter(all), options);
  const evaluator = compile(rulesOfLifecycle({ name: 'photos' }, parsed));
  const on = (key: string, tags: Record<string, string>): string =>
    said(evaluator.decide(version({ key, tags }), NOW));
  t.is(on('days1/a', { tom: 'v', huck: 'v' }), 'remove-version');
  t.is(on('days1/a', { tom: 'v' }), 'none');
  t.is(on('days1x', { tom: 'v', huck: 'v' }), 'none');
  const again = parseLifecycleXml(renderLifecycleXml(parsed), { classes: CLASSES });
  t.deepEqual(again, parsed, 'what is stored is plain S3');
  const empty = filter('<Prefix></Prefix><And><Prefix></Prefix></And>');
  const whole = parseLifecycleXml(empty, options);
  t.deepEqual(parseLifecycleXml(renderLifecycleXml(whole), options), whole, 'stored: read again');
  const apart = filter(`<Prefix>a</Prefix><And><Prefix>b</Prefix>${tagged('x')}</And>`);
  t.is(refusal(() => parseLifecycleXml(apart, options)).code, 'MalformedXML');
});

test('what is legal but not meant is said: IA before 30 days, a class never reached', (t) => {
  const { warnings } = parseLifecycleXml(
    lifecycle(
      `${HEAD}<Transition><Days>3</Days><StorageClass>STANDARD_IA</StorageClass></Transition><Transition><Days>90</Days><StorageClass>GLACIER</StorageClass></Transition><Expiration><Days>60</Days></Expiration>`,
    ),
    { classes: CLASSES },
  );
  t.is(warnings.length, 2);
  t.regex(warnings.join(), /STANDARD_IA after 3 days.*before it reaches GLACIER/s);
});

// --- plan, explain, golden cases

const inventory = (): VersionFacts[] => [
  ...Array.from({ length: 8 }, (_, n) => version({ key: `logs/${n}.tmp`, sizeBytes: 100 })),
  version({ key: 'keep/a', sizeBytes: 5000 }),
  version({ key: 'keep/new', lastModified: NOW - DAY_MS }),
];

test('a plan counts deletions apart, breaks a guard rail by value, and its hash goes stale', async (t) => {
  const cost = new CostModel(await loadPriceBooks());
  const options: PlanOptions = {
    now: NOW,
    classes: CLASSES,
    cost,
    guardRails: { deletedShareMax: 0.5, deletedBytesMax: 799, spendMax: 100 },
    examples: 3,
  };
  const active = compile([
    move('m', 30, 'GLACIER', { filter: { prefixes: ['logs/0', 'logs/1'] } }),
  ]);
  const candidate = compile([
    expire('tmp', 30, { filter: { suffixes: ['.tmp'] } }),
    move('m', 30, 'GLACIER', { filter: { prefixes: ['keep/'] }, description: 'keep it' }),
  ]);
  const made = await plan(inventory(), { candidate, active }, options);
  t.deepEqual(made.inventory, { objects: 10, bytes: 800 + 5000 + 1_000_000, uploads: 0 });
  const [tmp, m] = made.rules;
  t.like(tmp, { id: 'tmp', action: 'expire', objects: 8, bytes: 800, deletes: 8 });
  t.deepEqual(tmp?.examples, ['photos/logs/0.tmp', 'photos/logs/1.tmp', 'photos/logs/2.tmp']);
  t.like(m, { objects: 1, bytes: 5000, deletes: 0, description: 'keep it' });
  t.deepEqual(m?.later, { objects: 1, bytes: 1_000_000, firstAt: '2026-07-01T00:00:00Z' });
  t.like(made.totals, { objects: 9, deletes: 8, deletedBytes: 800 });
  t.true(made.totals.monthlySaving > 0);
  t.like(made.changes, {
    added: { objects: 7 },
    removed: { objects: 0 },
    changed: { objects: 2 },
  });
  t.deepEqual(
    made.breaches.map(({ rail }) => rail),
    ['deletedShareMax', 'deletedBytesMax'],
  );
  const again = await plan(inventory(), { candidate, active }, { ...options, now: NOW + 1000 });
  t.is(again.hash, made.hash, 'the same rules and results: the same plan');
  const more = [...inventory(), version({ key: 'late.tmp' })];
  t.not((await plan(more, { candidate, active }, options)).hash, made.hash, 'other results');
  t.not(
    (await plan(inventory(), { candidate, active: undefined }, options)).hash,
    made.hash,
    'another policy in force',
  );
  const narrower = compile([expire('tmp', 31, { filter: { suffixes: ['.tmp'] } })]);
  t.not(
    (await plan(inventory(), { candidate: narrower, active }, options)).hash,
    made.hash,
    'other rules',
  );
  t.notThrows(() => JSON.stringify(made));
});

test('a bucket lifecycle that deletes everything keeps no policy file from being applied', async (t) => {
  const own = rulesOfLifecycle(
    { name: 'photos' },
    parseLifecycleXml(
      lifecycle(
        '<Filter/><Status>Enabled</Status><Expiration><Date>2020-01-01T00:00:00Z</Date></Expiration>',
      ),
      { classes: CLASSES },
    ),
  );
  const candidate = compile([...own, move('m', 30, 'GLACIER')]);
  const options = { now: NOW, classes: CLASSES, guardRails: { deletedShareMax: 0.1 } };
  const made = await plan(inventory(), { candidate, active: compile(own) }, options);
  t.true(made.totals.deletes >= 8, 'it is shown');
  t.deepEqual(made.breaches, [], 'and is the owner’s to decide');
});

test('a plan that takes rules away shows what would no longer happen, and what is held', async (t) => {
  const active = compile([expire('tmp', 30, { filter: { suffixes: ['.tmp'] } })]);
  const candidate = compile([
    move('m', 30, 'GLACIER'),
    rule('pin', {
      filter: { prefixes: ['keep/'] },
      trigger: { kind: 'always' },
      action: { kind: 'pin' },
    }),
  ]);
  const made = await plan(inventory(), { candidate, active }, { now: NOW, classes: CLASSES });
  t.like(made.changes, { added: { objects: 0 }, changed: { objects: 8 } });
  t.deepEqual(made.held, { objects: 1, bytes: 5000 });
  const none = await plan(
    inventory(),
    { candidate: compile([]), active },
    { now: NOW, classes: CLASSES },
  );
  t.is(none.changes.removed.objects, 8);
  const same = await plan(
    inventory(),
    { candidate: active, active },
    { now: NOW, classes: CLASSES },
  );
  t.is(same.changes.added.objects + same.changes.removed.objects + same.changes.changed.objects, 0);
  t.is(same.totals.deletes, 8);
  t.is(none.currency, null);
});

test('explain names the winner, why each other rule lost, what was done, what comes next and the cost', async (t) => {
  const cost = new CostModel(await loadPriceBooks());
  const location = {
    kind: 'pack' as const,
    id: 'l',
    tier: 'cold',
    pack: 'p1',
    offset: 4096,
    length: 100,
  };
  const record = stored('1', {
    lastModified: at('2026-01-01T10:30:00Z'),
    storageClass: 'GLACIER_IR',
    parts: [{ number: 1, location, sizeBytes: 100, etag: '', checksum: '' }],
    last: {
      action: 'transition',
      at: NOW - DAY_MS,
      rule: 'ir',
      policyRevision: 'r0',
      runId: 'run7',
      from: 'STANDARD',
      to: 'GLACIER_IR',
    },
  });
  const document: ObjectDocument = { format: 1, sequence: 1, versions: [record], history: [] };
  const [facts] = factsOfKey({ bucket, key: 'a/b.jpg', document }, { classes: CLASSES });
  const other = expire('other', 1, { filter: { prefixes: ['zzz/'] } });
  const evaluator = compile([...ladder, other]);
  const explained = await explain(facts as VersionFacts, evaluator, {
    now: NOW,
    version: record,
    cost,
  });
  t.is(explained.rule, null);
  t.deepEqual(
    explained.lost.map(({ id, state, reason }) => [id, state, reason]),
    [
      ['ia', 'no-match', 'STANDARD_IA does not follow GLACIER_IR'],
      ['ir', 'no-match', 'it is in GLACIER_IR already'],
      ['da', 'not-due', 'not due before 2027-01-02T00:00:00Z'],
      ['other', 'no-match', 'key has no prefix of the filter'],
    ],
  );
  t.deepEqual(explained.next, {
    rule: 'da',
    action: 'transition to DEEP_ARCHIVE',
    effect: 'move',
    at: '2027-01-02T00:00:00Z',
  });
  t.like(explained.last, { rule: 'ir', runId: 'run7', policyRevision: 'r0', to: 'GLACIER_IR' });
  t.is(explained.location.description, 'cold: pack p1, bytes 4096 to 4195');
  t.true((explained.costPerMonth ?? 0) > 0);
  t.true(explained.confirmed);
  const due = await explain({ ...(facts as VersionFacts), storageClass: 'STANDARD' }, evaluator, {
    now: NOW,
    version: record,
  });
  t.is(due.rule?.id, 'ir');
  t.is(due.lost[0]?.state, 'beaten');
  t.regex(due.lost[0]?.reason ?? '', /\(ir\)$/);
  t.is(due.costPerMonth, null);
});

test('golden cases pass and fail with the reason; the demo policy does what its comments say', async (t) => {
  const text = readFileSync(join(import.meta.dirname, '../deploy/policies/demo.yaml'), 'utf8');
  const demo = compile(parsePolicyFile('demo.yaml', text));
  const cases = parseTestCases(
    'cases.yaml',
    `version: 1
cases:
  - name: hot for a month
    object: {bucket: b, key: a.js, size: 100, lastModified: 2026-01-01}
    at: 2026-01-31
    expect: {action: none, next: 2026-02-01}
  - name: warm
    object: {bucket: b, key: a.js, size: 100, lastModified: 2026-01-01}
    at: 2026-02-10
    expect: {action: transition, to: STANDARD_IA, rule: sink-to-warm}
  - name: cold
    object: {bucket: b, key: a.js, size: 100, lastModified: 2026-01-01, storageClass: STANDARD_IA}
    at: 2026-05-01
    expect: {action: transition, to: GLACIER_IR}
  - name: archive, straight there
    object: {bucket: b, key: a.js, size: 100, lastModified: 2026-01-01}
    at: 2027-02-05
    expect: {action: transition, to: DEEP_ARCHIVE}
  - name: big files early
    object: {bucket: b, key: a.bin, size: 33554432, lastModified: 2026-01-01}
    at: 2026-01-10
    expect: {action: transition, to: STANDARD_IA, rule: big-files-early}
  - name: maps skip the warm tier
    object: {bucket: b, key: a.map, size: 100, lastModified: 2026-01-01}
    at: 2026-02-02
    expect: {action: transition, to: GLACIER_IR}
  - name: pinned
    object: {bucket: b, key: a.js, size: 100, lastModified: 2026-01-01, tags: {keep: hot}}
    at: 2027-02-05
    expect: {action: none}
  - name: old versions, two stay
    object:
      {bucket: b, key: a, lastModified: 2026-01-01, noncurrentSince: 2026-01-05, newerNoncurrent: 2}
    at: 2026-03-01
    expect: {action: expire-noncurrent}
  - name: stale upload
    object: {bucket: b, key: a.js, lastModified: 2026-01-01, upload: true}
    at: 2026-01-09
    expect: {action: abort-upload}
`,
  );
  const results = await runTestCases(cases, demo, CLASSES);
  t.deepEqual(
    results.filter(({ passed }) => !passed),
    [],
  );
  t.is(results.length, 9);
  const current = demo.rules.filter(({ action }) => action.kind === 'expire');
  t.is(current.length, 0, 'the demo deletes nothing that a GET can see');
  const wrong = parseTestCases(
    'cases.yaml',
    `version: 1
cases:
  - name: a
    object: {bucket: b, key: a.js, lastModified: 2026-01-01, restoredUntil: 2026-06-01}
    at: 2026-02-10
    expect: {action: transition}
  - name: b
    object: {bucket: b, key: a.js, lastModified: 2026-01-01}
    at: 2026-02-10
    expect: {action: transition, to: GLACIER}
  - name: c
    object: {bucket: b, key: a.js, lastModified: 2026-01-01}
    at: 2026-01-10
    expect: {action: none, next: 2026-02-05}
`,
  );
  const failed = await runTestCases(wrong, demo, CLASSES);
  t.deepEqual(
    failed.map(({ line, message }) => [line, message]),
    [
      [3, 'expected transition, got none (held by restore until 2026-06-01)'],
      [7, 'expected GLACIER, got STANDARD_IA by sink-to-warm'],
      [
        11,
        'expected the next action on 2026-02-05T00:00:00Z, got transition on 2026-02-01T00:00:00Z',
      ],
    ],
  );
  t.is(
    refusal(() => parseTestCases('c.yaml', 'version: 1\ncases: [{nam: a}]')).code,
    'PolicyInvalid',
  );
  t.notThrows(() => yaml('rules:\n  - {id: a, action: pin}'));
});
