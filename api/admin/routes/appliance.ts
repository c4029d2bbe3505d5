// The state of the machine: drives, healing, and the sandbox's clock.

import { z } from 'zod';
import { DAY_MS } from '../../../appliance/model/clock.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import type { Heal } from '../../../appliance/model/records.ts';
import { route } from '../contract/route.ts';
import type { Route } from '../contract/route.ts';
import { allRows, timeOf } from '../contract/rows.ts';
import { drivesOf } from '../queries/drives.ts';
import { clockAnswer, drivesAnswer, healAnswer } from '../contract/schemas.ts';
import { recentRuns } from './runs.ts';

export const applianceRoutes: readonly Route[] = [
  route({
    id: 'getDrives',
    method: 'GET',
    path: '/drives',
    summary: 'Every drive of the node groups and its state',
    tag: 'appliance',
    answer: drivesAnswer,
    handle: async ({ options }) => ({ drives: await drivesOf(options.tiers) }),
  }),
  route({
    id: 'getHealStatus',
    method: 'GET',
    path: '/heal/status',
    summary: 'What is stored short of full redundancy, and the drives that lack',
    tag: 'appliance',
    answer: healAnswer,
    handle: async ({ options }) => {
      let waiting = 0;
      let bytes = 0;
      let oldest = Number.POSITIVE_INFINITY;
      for await (const row of allRows<Heal>(options.store, 'heals')) {
        waiting += 1;
        bytes += row.value.location.length;
        oldest = Math.min(oldest, row.value.since);
      }
      const drives = await drivesOf(options.tiers);
      return {
        waiting,
        bytes,
        oldestSince: waiting === 0 ? null : timeOf(oldest),
        drives: drives
          .filter((drive) => drive.state !== 'up')
          .map(({ tier, group, position, state }) => ({ tier, group, position, state })),
        runs: await recentRuns(options.store, ['heal', 'scrub'], 5),
      };
    },
  }),
  route({
    id: 'advanceClock',
    method: 'POST',
    path: '/clock/advance',
    summary: "Move the engine's clock forward (sandbox only)",
    tag: 'appliance',
    body: z.strictObject({ days: z.number().positive().max(36_500) }),
    answer: clockAnswer,
    handle: async ({ options, body }) => {
      if (options.advanceClock === undefined) {
        throw new FirnError('AccessDenied', 'this Firn runs by real time', {
          hint: 'only a sandbox has debug.sandboxClock: true; never set it where data is kept',
        });
      }
      const { offsetMs } = await options.advanceClock(body.days);
      return { now: timeOf(options.clock.wall() + offsetMs), offsetDays: offsetMs / DAY_MS };
    },
  }),
];
