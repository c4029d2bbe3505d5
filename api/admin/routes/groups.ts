// Node groups: room and state, draining, rebalancing. What is asked for here is a row that every
// process reads within a second; workers do it.

import { z } from 'zod';
import {
  drainGroup,
  rebalanceGroups,
  setRebalance,
  undrainGroup,
} from '../../../appliance/engine/upkeep/groups.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import { isNodeGroupTier } from '../../../appliance/model/node-group.ts';
import type { AdminOptions } from '../contract/options.ts';
import { route, type Route } from '../contract/route.ts';
import { groupsAnswer, rebalanceAnswer } from '../contract/schemas.ts';
import { groupsAnswerOf, rebalanceOfTier } from '../queries/groups.ts';

const groupBody = z.strictObject({ tier: z.string().min(1), group: z.int().min(0) });
const PERCENT_DEFAULT = 10;

const asked = (id: string, verb: string, of: { summary: string; act: typeof drainGroup }): Route =>
  route({
    id,
    method: 'POST',
    path: `/groups/${verb}`,
    summary: of.summary,
    tag: 'groups',
    body: groupBody,
    answer: groupsAnswer,
    handle: async ({ options, body }) => {
      await of.act(options, body.tier, body.group);
      return groupsAnswerOf(options);
    },
  });

function checkTier({ tiers }: AdminOptions, name: string): void {
  const tier = tiers.get(name);
  if (tier !== undefined && isNodeGroupTier(tier)) return;
  throw new FirnError('InvalidArgument', `${name} is no tier of node groups`, { subject: name });
}

const switched = (verb: 'stop' | 'resume', summary: string): Route =>
  route({
    id: `${verb}Rebalance`,
    method: 'POST',
    path: `/groups/rebalance/${verb}`,
    summary,
    tag: 'groups',
    body: z.strictObject({ tier: z.string().min(1) }),
    answer: rebalanceAnswer,
    handle: async ({ options, body }) => {
      checkTier(options, body.tier);
      await setRebalance(options, body.tier, verb === 'stop' ? 'stopped' : 'running');
      return rebalanceOfTier(options, body.tier);
    },
  });

export const groupRoutes: readonly Route[] = [
  route({
    id: 'listGroups',
    method: 'GET',
    path: '/groups',
    summary: 'Every node group: room, state, and how far its drain is',
    tag: 'groups',
    answer: groupsAnswer,
    handle: ({ options }) => groupsAnswerOf(options),
  }),
  asked('drainGroup', 'drain', {
    summary: 'Empty a group: no new writes, and all that is in it moves to the others',
    act: drainGroup,
  }),
  asked('undrainGroup', 'undrain', {
    summary: 'End the drain of a group: it takes writes again',
    act: undrainGroup,
  }),
  route({
    id: 'rebalanceGroups',
    method: 'POST',
    path: '/groups/rebalance',
    summary: 'What evening out the fill of the groups would move; with start, do it',
    tag: 'groups',
    body: z.strictObject({
      tier: z.string().min(1),
      untilPercent: z.number().min(0.01).max(99).default(PERCENT_DEFAULT),
      start: z.boolean().default(false),
    }),
    answer: rebalanceAnswer,
    handle: async ({ options, body }) => {
      const { tier, untilPercent, start } = body;
      const { plan, rebalance } = await rebalanceGroups(options, tier, { untilPercent, start });
      const isEven = plan.give.length === 0;
      return {
        tier,
        state: isEven ? 'even' : (rebalance?.state ?? 'planned'),
        untilPercent,
        spreadPercent: plan.spreadPercent,
        give: plan.give.map((one) => ({ ...one, movedBytes: 0 })),
        take: plan.take,
        bytesPerSecond: 0,
      };
    },
  }),
  switched('stop', 'Rest a rebalance where it is'),
  switched('resume', 'Go on with a rebalance that was stopped'),
];
