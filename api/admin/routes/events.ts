// Events that wait: how many for whom, and the queues that consumers ask. A received event is
// hidden from others until its time is over or it is acknowledged: a consumer that dies loses none.

import { z } from 'zod';
import {
  acknowledgeEvents,
  eventMessage,
  eventRows,
  receiveEvents,
} from '../../../appliance/engine/event/notifications.ts';
import type { EventTargetAnswer } from '../../../appliance/model/answers.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import type { MetadataStore } from '../../../appliance/model/metadata-store.ts';
import type { AdminOptions } from '../contract/options.ts';
import { route, type Route } from '../contract/route.ts';
import { timeOf } from '../contract/rows.ts';
import { acknowledgeAnswer, eventTargetsAnswer, receivedAnswer } from '../contract/schemas.ts';

/** Beyond, a target's events are said to be at least so many. */
const COUNTED_MAX = 10_000;

async function targetAnswer(
  store: MetadataStore,
  target: { kind: 'webhook' | 'queue'; name: string },
): Promise<EventTargetAnswer> {
  let waiting = 0;
  let oldestAt: number | undefined;
  for await (const { value } of eventRows(store, `${target.kind}/${target.name}/`)) {
    oldestAt ??= value.at;
    if (++waiting >= COUNTED_MAX) break;
  }
  const { kind, name } = target;
  return { kind, name, waiting, oldestAt: oldestAt === undefined ? null : timeOf(oldestAt) };
}

function queueOf(options: AdminOptions, name: string): string {
  if (options.eventTargets?.queues.includes(name) === true) return name;
  throw new FirnError('NoSuchKey', `there is no queue ${name}`, {
    hint: 'queues are named under notifications.queues in the settings',
  });
}

export const eventRoutes: readonly Route[] = [
  route({
    id: 'listEventTargets',
    method: 'GET',
    path: '/events',
    summary: 'Webhooks and queues, and how many events wait for each',
    tag: 'events',
    answer: eventTargetsAnswer,
    handle: async ({ options }) => {
      const { webhooks = [], queues = [] } = options.eventTargets ?? {};
      const targets = [
        ...webhooks.map((name) => ({ kind: 'webhook' as const, name })),
        ...queues.map((name) => ({ kind: 'queue' as const, name })),
      ];
      return {
        targets: await Promise.all(targets.map((one) => targetAnswer(options.store, one))),
      };
    },
  }),
  route({
    id: 'receiveEvents',
    method: 'POST',
    path: '/queues/:queue/receive',
    summary: 'Take events of a queue, oldest first, hidden from others for a while',
    tag: 'events',
    body: z.strictObject({
      limit: z.int().min(1).max(100).default(10),
      hiddenSeconds: z.number().min(0).max(43_200).default(30),
    }),
    answer: receivedAnswer,
    handle: async ({ options, params, body }) => {
      const queue = queueOf(options, params['queue'] ?? '');
      const { limit, hiddenSeconds } = body;
      const hiddenMs = hiddenSeconds * 1000;
      const received = await receiveEvents(options, { queue, limit, hiddenMs });
      return {
        events: received.map(({ receipt, row }) => ({
          receipt,
          receives: row.receives,
          record: eventMessage(row, options.region),
        })),
      };
    },
  }),
  route({
    id: 'acknowledgeEvents',
    method: 'POST',
    path: '/queues/:queue/acknowledge',
    summary: 'Take received events off their queue, for good',
    tag: 'events',
    body: z.strictObject({ receipts: z.array(z.string().max(200)).min(1).max(100) }),
    answer: acknowledgeAnswer,
    handle: async ({ options, params, body }) => {
      const queue = queueOf(options, params['queue'] ?? '');
      const acknowledged = await acknowledgeEvents(options, { queue, receipts: body.receipts });
      return { acknowledged, late: body.receipts.length - acknowledged };
    },
  }),
];
