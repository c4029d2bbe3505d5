// The shape of a policy file, version 1. Strict everywhere: a field that is not known is refused, a
// number in quotes is no number, and only pairs of trigger and action that make sense pass. The
// same schema emits the JSON Schema that editors complete from, so the two cannot part.

import { z } from 'zod';
import { checkCondition } from './conditions.ts';
import { parseInstant } from './base/dates.ts';
import { DAY_MS } from '../appliance/model/clock.ts';
import type { Condition } from './rule.ts';

const DAYS_MAX = 36_500;

const days = z
  .number()
  .int()
  .min(0)
  .max(DAYS_MAX)
  .describe('whole days as S3 counts them: rounded up to the next midnight UTC');

const SIZE_UNITS = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 } as const;
const SIZE = /^(\d+(?:\.\d+)?) ?(B|KiB|MiB|GiB|TiB)$/;

const SIZE_RULE = 'a size is a plain number of bytes, or a number with B, KiB, MiB, GiB or TiB';

const size = z
  .union([z.number().int().min(0), z.string().regex(SIZE, SIZE_RULE)], {
    error: SIZE_RULE,
  })
  .transform(toBytes)
  .describe('bytes, or a number with unit: 64KiB, 1.5 MiB');

function toBytes(value: string | number): number {
  if (typeof value === 'number') return value;
  const [, number, unit] = SIZE.exec(value) as unknown as [string, string, keyof typeof SIZE_UNITS];
  return Math.round(Number(number) * SIZE_UNITS[unit]);
}

const glob = z
  .string()
  .min(1)
  .max(1024)
  .refine(
    (text) => !/(?:^|[^\\])(?:\\\\)*\\$/.test(text),
    'a pattern cannot end in a single backslash',
  );

const name = z.string().min(1).max(255);

const filter = z
  .strictObject({
    buckets: z.array(glob).min(1).optional().describe('globs of bucket names; any of them'),
    prefixes: z.array(glob).min(1).optional().describe("globs of the key's beginning; any of them"),
    suffixes: z.array(name).min(1).optional().describe('ends of the key; any of them'),
    tags: z.record(name, z.string()).optional().describe('all must be there with this value'),
    metadata: z
      .record(
        z.string().regex(/^[a-z0-9!#$%&'*+.^_`|~-]+$/, 'metadata names are in lower case'),
        z.string(),
      )
      .optional()
      .describe('x-amz-meta-* without that prefix, in lower case; all must be there'),
    size: z
      .strictObject({
        over: size.optional().describe('strictly larger than this'),
        under: size.optional().describe('strictly smaller than this'),
      })
      .refine(
        ({ over, under }) => over !== undefined || under !== undefined,
        'size needs over: or under:',
      )
      .refine(
        ({ over = -1, under = Infinity }) => over < under,
        'over: must be less than under:, or nothing would match',
      )
      .optional(),
    storageClasses: z
      .array(name)
      .min(1)
      .optional()
      .describe('storage class shown now; any of them'),
    contentTypes: z
      .array(glob)
      .min(1)
      .optional()
      .describe('globs of the content type; any of them'),
  })
  .describe('all fields given must hold; without a filter the rule is about every object');

const date = z
  .string()
  .refine((text) => parseInstant(text) !== undefined, 'write a date as 2027-01-31')
  .refine((text) => (parseInstant(text) ?? 0) % DAY_MS === 0, 'a date is at midnight UTC')
  .transform((text) => parseInstant(text) as number);

const triggers = [
  z.strictObject({ ageDays: days.describe('days since LastModified, or since an upload began') }),
  z.strictObject({ idleDays: days.describe('days since the last read or write') }),
  z.strictObject({
    accessedWithinDays: days.min(1).describe('a read less than this many days ago'),
  }),
  z.strictObject({ date: date.describe('from this date on; stands until the rule is removed') }),
  z.strictObject({
    noncurrentDays: days.describe('days since a newer version was made'),
    keepNewest: z
      .number()
      .int()
      .min(1)
      .max(1_000_000)
      .optional()
      .describe('noncurrent versions to leave alone, newest first'),
  }),
  z.strictObject({
    poolFillOver: z
      .number()
      .gt(0)
      .lt(1)
      .describe('while the tier that holds the object is fuller than this share'),
    ageDays: days.optional().describe('and the object at least this old'),
  }),
] as const;

const trigger = z
  .union(triggers, {
    error:
      'a trigger is one of ageDays, idleDays, accessedWithinDays, date, ' +
      'noncurrentDays (with keepNewest), poolFillOver (with ageDays)',
  })
  .describe('when the rule is due');

export const ACTION_NAMES = [
  'expire',
  'expire-noncurrent',
  'expire-marker',
  'abort-upload',
  'pin',
] as const;

const action = z
  .union(
    [
      z.strictObject({ transition: name.describe('storage class to move to') }),
      z.strictObject({ promote: name.describe('storage class to move up to') }),
      z.enum(ACTION_NAMES),
    ],
    {
      error: `an action is {transition: CLASS}, {promote: CLASS} or ${ACTION_NAMES.join(', ')}`,
    },
  )
  .describe('what happens to a version that matches and is due');

const when = z.unknown().transform((value, context): Condition => {
  const problem = checkCondition(value);
  if (problem !== undefined) {
    context.issues.push({
      code: 'custom',
      input: value,
      path: problem.path,
      message: problem.message,
      params: { hint: problem.hint },
    });
    return z.NEVER;
  }
  return value as Condition;
});

const rule = z.strictObject({
  id: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/, 'an id is letters, digits, . _ and -')
    .describe('unique over all policy files'),
  description: z.string().max(1000).optional(),
  enabled: z.boolean().optional().describe('default true'),
  filter: filter.optional(),
  when: when
    .optional()
    .describe('json-rules-engine conditions over the facts listed in policies/README.md'),
  trigger: trigger.optional(),
  action,
  sizeFloor: z
    .enum(['all_storage_classes_128K', 'varies_by_storage_class'])
    .optional()
    .describe("S3's size floor for transitions; default none, as small objects are packed"),
});

export const policyFileSchema = z.strictObject({
  version: z.literal(1, { error: 'version must be 1' }),
  rules: z.array(rule).min(1).max(1000),
});

export type PolicyFileRule = z.output<typeof rule>;

/** JSON Schema of a policy file, for editors. */
export function policyFileJsonSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(policyFileSchema, { io: 'input', unrepresentable: 'any' });
  return { ...schema, title: 'Firn policy file' };
}
