// The shapes of answers about drives, healing and durability, as schemas.ts has the others.

import { z } from 'zod';
import type * as answers from '../../../appliance/model/drive-answers.ts';
import { bytes, count, runAnswer, time } from './schemas.ts';

const driveAnswer = z.object({
  tier: z.string(),
  group: count,
  position: count,
  path: z.string(),
  state: z.string(),
  capacityBytes: bytes,
  usedBytes: bytes,
  errors: count,
  note: z.string().nullable(),
  device: z.string().nullable(),
  physical: z.array(
    z.object({
      name: z.string(),
      slot: z.string().nullable(),
      locate: z.string().nullable(),
      model: z.string().nullable(),
      serial: z.string().nullable(),
      temperatureC: z.number().nullable(),
      powerOnHours: z.number().nullable(),
      wearPercent: z.number().nullable(),
      sparePercent: z.number().nullable(),
      reallocatedSectors: z.number().nullable(),
      pendingSectors: z.number().nullable(),
      uncorrectableErrors: z.number().nullable(),
      mediaErrors: z.number().nullable(),
      silence: z.string().nullable(),
      readAt: time.nullable(),
    }),
  ),
  warnings: z.array(
    z.object({
      level: z.enum(['warning', 'critical']),
      sign: z.string(),
      text: z.string(),
      drive: z.string(),
    }),
  ),
}) satisfies z.ZodType<answers.DriveAnswer>;

export const drivesAnswer = z.object({
  drives: z.array(driveAnswer),
  groups: z.array(
    z.object({
      tier: z.string(),
      group: count,
      code: z.string().nullable(),
      whole: count,
      devices: count.nullable(),
      losable: z.int().nullable(),
      advice: z.array(z.string()),
    }),
  ),
  notes: z.array(z.string()),
}) satisfies z.ZodType<answers.DrivesAnswer>;

const share = z.number().min(0).max(1);

export const healAnswer = z.object({
  waiting: count,
  bytes,
  oldestSince: time.nullable(),
  drives: z.array(
    z.object({
      tier: z.string(),
      group: count,
      position: count,
      state: z.string(),
      path: z.string(),
      share: share.nullable(),
      startedAt: time.nullable(),
      bytes: bytes.nullable(),
      bytesPerSecond: bytes.nullable(),
      endsAt: time.nullable(),
    }),
  ),
  missing: z.object({ objects: count, at: time }).nullable(),
  scrub: z.array(
    z.object({
      tier: z.string(),
      isRunning: z.boolean(),
      pass: z.object({ startedAt: time, share }).nullable(),
      group: count.nullable(),
      share: share.nullable(),
      bytesPerSecond: bytes.nullable(),
      repaired: count,
      lost: count,
      last: z
        .object({
          startedAt: time,
          endedAt: time,
          checked: count,
          bytes,
          repaired: count,
          lost: count,
        })
        .nullable(),
    }),
  ),
  leftovers: z.object({ candidates: count }),
  runs: z.array(runAnswer),
}) satisfies z.ZodType<answers.HealAnswer>;

const nines = z.number().min(0);

export const durabilityAnswer = z.object({
  at: time,
  nines: nines.nullable(),
  statement: z.string(),
  hosts: count,
  hostNines: nines,
  tiers: z.array(
    z.object({
      tier: z.string(),
      code: z.string(),
      nines,
      afrPercent: z.number(),
      driveYears: z.number(),
      drivesReplaced: count,
      groups: z.array(
        z.object({
          group: count,
          nines,
          anyObjectNines: nines,
          yearsUntilLoss: z.number(),
          drives: count,
          devices: count,
          devicesLosable: count,
          drivesDown: count,
          driveBytes: bytes,
          refillHours: z.number(),
          refillBytesPerSecond: z.number(),
          refillMeasured: z.boolean(),
          scrubAgeDays: z.number().nullable(),
        }),
      ),
    }),
  ),
  metadata: z.object({
    store: z.string(),
    devices: count.nullable(),
    nines: nines.nullable(),
    note: z.string(),
  }),
  assumptions: z.array(z.object({ name: z.string(), value: z.string(), source: z.string() })),
  caps: z.array(z.string()),
  raises: z.array(z.object({ what: z.string(), nines: nines.nullable() })),
}) satisfies z.ZodType<answers.DurabilityAnswer>;
