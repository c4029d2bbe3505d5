// The state of the machine: drives, healing, durability, and the sandbox's clock.

import { z } from 'zod';
import { DAY_MS } from '../../../appliance/model/clock.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import { route } from '../contract/route.ts';
import type { Route } from '../contract/route.ts';
import { timeOf } from '../contract/rows.ts';
import { drivesAnswerOf } from '../queries/drives.ts';
import { durabilityOf } from '../queries/durability.ts';
import { healAnswerOf } from '../queries/heal.ts';
import { drivesAnswer, durabilityAnswer, healAnswer } from '../contract/drive-schemas.ts';
import { clockAnswer } from '../contract/schemas.ts';
import { recentRuns } from './runs.ts';

const healRoute = (id: string, path: string): Route =>
  route({
    id,
    method: 'GET',
    path,
    summary: 'What is stored short of full redundancy, how far heal and scrub are',
    tag: 'appliance',
    answer: healAnswer,
    handle: async ({ options }) => ({
      ...(await healAnswerOf(options)),
      runs: await recentRuns(options.store, ['heal', 'scrub'], 5),
    }),
  });

export const applianceRoutes: readonly Route[] = [
  route({
    id: 'getDrives',
    method: 'GET',
    path: '/drives',
    summary: 'Every drive of the node groups and its state',
    tag: 'appliance',
    answer: drivesAnswer,
    handle: async ({ options }) => await drivesAnswerOf(options),
  }),
  healRoute('getHeal', '/heal'),
  // The name that it had first.
  healRoute('getHealStatus', '/heal/status'),
  route({
    id: 'getDurability',
    method: 'GET',
    path: '/durability',
    summary: 'How safe stored bytes are, computed for the drives as they stand, and on what',
    tag: 'appliance',
    answer: durabilityAnswer,
    handle: async ({ options }) => await durabilityOf(options),
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
