// Golden cases for a policy: an object and a clock, and what is to happen to it. `firn policy test`
// runs them; whoever changes a rule sees at once which promise the change breaks.

import { z } from 'zod';
import { DAY_MS } from '../appliance/model/clock.ts';
import { formatInstant, parseInstant } from './base/dates.ts';
import type { Evaluator } from './evaluator.ts';
import type { Facts, UploadFacts, VersionFacts } from './facts.ts';
import { YamlSource } from './base/yaml-source.ts';

const instant = z
  .string()
  .refine((text) => parseInstant(text) !== undefined, 'write 2026-01-31 or 2026-01-31T10:30:00Z')
  .transform((text) => parseInstant(text) as number);

const object = z.strictObject({
  bucket: z.string().min(1),
  key: z.string().min(1),
  size: z.number().int().min(0).optional(),
  storageClass: z.string().optional(),
  lastModified: instant,
  lastRead: instant.optional(),
  tags: z.record(z.string(), z.string()).optional(),
  metadata: z.record(z.string(), z.string()).optional(),
  contentType: z.string().optional(),
  versioning: z.enum(['off', 'enabled', 'suspended']).optional(),
  deleteMarker: z.boolean().optional(),
  /** Makes it a noncurrent version, since then. */
  noncurrentSince: instant.optional(),
  newerNoncurrent: z.number().int().min(0).optional(),
  restoredUntil: instant.optional(),
  poolFill: z.number().min(0).max(1).optional(),
  /** It is an upload that began at lastModified. */
  upload: z.boolean().optional(),
});

const ACTIONS = [
  'none',
  'transition',
  'expire',
  'expire-noncurrent',
  'expire-marker',
  'abort-upload',
  'promote',
] as const;

const expected = z.strictObject({
  action: z.enum(ACTIONS),
  to: z.string().optional(),
  rule: z.string().optional(),
  /** Day of the next action, where none is due now. */
  next: instant.optional(),
});

const casesSchema = z.strictObject({
  version: z.literal(1, { error: 'version must be 1' }),
  cases: z
    .array(
      z.strictObject({
        name: z.string().min(1),
        object,
        at: instant.describe('the clock'),
        expect: expected,
      }),
    )
    .min(1)
    .max(10_000),
});

export interface TestCase extends z.output<typeof casesSchema.shape.cases.element> {
  file: string;
  line: number;
}

export interface TestResult {
  name: string;
  file: string;
  line: number;
  passed: boolean;
  /** What happened instead, in words. */
  message?: string;
}

/** Throws PolicyInvalid with file, line and column. */
export function parseTestCases(file: string, text: string): TestCase[] {
  const source = new YamlSource(file, text);
  const { cases } = source.check(casesSchema);
  return cases.map((one, index) => ({ ...one, file, line: source.lineOf(['cases', index]) }));
}

/** Runs each case by both evaluators; a case fails too where they differ. */
export async function runTestCases(
  cases: readonly TestCase[],
  evaluator: Evaluator,
  classes: ReadonlyMap<string, string>,
): Promise<TestResult[]> {
  const results: TestResult[] = [];
  for (const one of cases) {
    const message = await runCase(one, evaluator, classes);
    const { name, file, line } = one;
    results.push({
      name,
      file,
      line,
      passed: message === undefined,
      ...(message ? { message } : {}),
    });
  }
  return results;
}

async function runCase(
  one: TestCase,
  evaluator: Evaluator,
  classes: ReadonlyMap<string, string>,
): Promise<string | undefined> {
  const { expect, at } = one;
  const facts = factsOfCase(one, classes);
  const confirmation = await evaluator.confirm(facts, at);
  if (!confirmation.agrees) {
    return `the two evaluators differ on ${confirmation.rules.join(', ')}`;
  }
  const { decision } = confirmation;
  const got = decision === undefined ? 'none' : decision.action;
  const by = decision === undefined ? '' : ` by ${decision.rule.id}`;
  if (got !== expect.action) {
    const held = evaluator.heldBack(facts, at);
    return `expected ${expect.action}, got ${got}${by}${held === undefined ? '' : ` (${held})`}`;
  }
  if (expect.to !== undefined && decision?.to !== expect.to) {
    return `expected ${expect.to}, got ${decision?.to ?? 'no class'}${by}`;
  }
  if (expect.rule !== undefined && decision?.rule.id !== expect.rule) {
    return `expected rule ${expect.rule}, got ${decision?.rule.id ?? 'none'}`;
  }
  if (expect.next === undefined) return undefined;
  const next = evaluator.next(facts, at);
  if (next?.at === expect.next) return undefined;
  const when =
    next === undefined ? 'nothing' : `${next.decision.action} on ${formatInstant(next.at)}`;
  return `expected the next action on ${formatInstant(expect.next)}, got ${when}`;
}

function factsOfCase({ object: given }: TestCase, classes: ReadonlyMap<string, string>): Facts {
  const storageClass = given.storageClass ?? 'STANDARD';
  const { bucket, key, tags, lastModified } = given;
  if (given.upload === true) {
    const upload: UploadFacts = {
      subject: 'upload',
      bucket,
      key,
      uploadId: 'case',
      initiatedAt: lastModified,
      storageClass,
      owner: 'root',
      tags,
      sizeBytes: given.size,
    };
    return upload;
  }
  const isCurrent = given.noncurrentSince === undefined;
  const deleteMarker = given.deleteMarker ?? false;
  const lastRead = given.lastRead;
  const version: VersionFacts = {
    subject: 'version',
    bucket,
    versioning: given.versioning ?? (isCurrent && !deleteMarker ? 'off' : 'enabled'),
    key,
    versionId: 'case',
    isNull: given.versioning === undefined,
    isCurrent,
    deleteMarker,
    lone: deleteMarker && isCurrent,
    sizeBytes: given.size ?? 0,
    storageClass,
    tier: deleteMarker ? undefined : classes.get(storageClass),
    lastModified,
    successorAt: given.noncurrentSince,
    newerNoncurrent: isCurrent ? undefined : (given.newerNoncurrent ?? 0),
    lastAccessAt: lastRead === undefined ? undefined : Math.max(lastRead, lastModified),
    lastReadAt: lastRead === undefined ? undefined : Math.floor(lastRead / DAY_MS) * DAY_MS,
    contentType: given.contentType,
    owner: 'root',
    tags,
    metadata: given.metadata ?? {},
    partCount: undefined,
    restore: restoreOf(given.restoredUntil),
    lockedUntil: undefined,
    poolFill: given.poolFill,
    pack: undefined,
    last: undefined,
  };
  return version;
}

function restoreOf(until: number | undefined): VersionFacts['restore'] {
  if (until === undefined) return undefined;
  return {
    state: 'ready',
    requestId: 'case',
    tier: 'Standard',
    days: 1,
    requestedAt: until - DAY_MS,
    expiry: until,
  };
}
