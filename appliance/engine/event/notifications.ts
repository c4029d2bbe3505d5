// Puts the events that buckets ask for on record, a row a target, and hands them out to who
// asks. A row goes when its consumer has said so, or after the days that the settings keep it. The
// danger is an event lost between the commit and its delivery: the row is durable before the change
// is acknowledged, so a crash in between leaves a change that nobody was told had happened.

import type { Bucket } from '../../model/bucket.ts';
import type { Clock, Random } from '../../model/clock.ts';
import type { EventKind, EventRow, EventSink, ObjectEvent } from '../../model/event-sink.ts';
import { FirnError } from '../../model/errors.ts';
import { afterPrefix } from '../../model/ids.ts';
import type { Change, MetadataStore, Row } from '../../model/metadata-store.ts';
import type { EventTarget, NotificationRule } from '../../model/notification.ts';

export interface NotificationsContext {
  store: MetadataStore;
  clock: Clock;
  random: Random;
}

const rowPrefix = ({ kind, name }: EventTarget): string => `${kind}/${name}/`;

/** `s3:ObjectCreated:*` means all that begin so. */
export function isAskedFor(rule: NotificationRule, event: EventKind): boolean {
  const fits = rule.events.some((asked) =>
    asked.endsWith('*') ? event.name.startsWith(asked.slice(0, -1)) : asked === event.name,
  );
  if (!fits) return false;
  return event.key.startsWith(rule.prefix ?? '') && event.key.endsWith(rule.suffix ?? '');
}

export class Notifications implements EventSink {
  readonly #context: NotificationsContext;
  #last = { ms: 0, count: 0 };

  constructor(context: NotificationsContext) {
    this.#context = context;
  }

  async asks(event: Pick<ObjectEvent, 'key' | 'name'>, bucket: Bucket | string): Promise<boolean> {
    const rules =
      typeof bucket === 'string'
        ? (await this.#context.store.get<Bucket>('buckets', bucket))?.value.notifications
        : bucket.notifications;
    return rules?.some((rule) => isAskedFor(rule, event)) === true;
  }

  emit(event: ObjectEvent, bucket: Bucket | string): Promise<void> | undefined {
    if (typeof bucket === 'string') return this.#lookUp(event, bucket);
    const { notifications } = bucket;
    return notifications === undefined ? undefined : this.#record(event, notifications);
  }

  /** A test event for each target of a configuration that is being set: proves that it is heard. */
  async test(bucket: string, rules: readonly NotificationRule[]): Promise<void> {
    await this.#insert(rules.map((rule) => ({ rule, bucket, event: undefined })));
  }

  async #lookUp(event: ObjectEvent, name: string): Promise<void> {
    const row = await this.#context.store.get<Bucket>('buckets', name);
    if (row?.value.notifications !== undefined) {
      await this.#record(event, row.value.notifications);
    }
  }

  #record(event: ObjectEvent, rules: readonly NotificationRule[]): Promise<void> | undefined {
    const asked = rules.filter((rule) => isAskedFor(rule, event));
    if (asked.length === 0) return undefined;
    return this.#insert(asked.map((rule) => ({ rule, bucket: event.bucket, event })));
  }

  async #insert(
    made: { rule: NotificationRule; bucket: string; event: ObjectEvent | undefined }[],
  ): Promise<void> {
    const { store, clock } = this.#context;
    const changes = made.map(({ rule, bucket, event }): Change => {
      const value: EventRow = {
        format: 1,
        target: rule.target,
        rule: rule.id,
        bucket,
        at: clock.now(),
        receives: 0,
      };
      if (event !== undefined) value.event = event;
      const id = rowPrefix(rule.target) + this.#nextId();
      return { kind: 'insert', table: 'events', id, value };
    });
    await store.bulk(changes);
  }

  /**
   * 32 hex digits in order of time, and within a millisecond in the order of this process: who
   * writes a key twice in a row is told so in that order.
   */
  #nextId(): string {
    const { clock, random } = this.#context;
    const ms = Math.max(Math.floor(clock.now()), this.#last.ms);
    this.#last = { ms, count: ms === this.#last.ms ? this.#last.count + 1 : 0 };
    const unique = Buffer.from(random.bytes(7)).toString('hex');
    return hexOf(ms, 12) + hexOf(this.#last.count % 0x1000000, 6) + unique;
  }
}

const hexOf = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');

/** A message of a queue: the receipt takes it off. */
export interface ReceivedEvent {
  receipt: string;
  row: EventRow;
}

const RECEIVE_MAX = 100;
/** Rows looked at for one receive: hidden ones stand in the way. */
const LOOKED_MAX = 5_000;

/**
 * Up to `limit` events of a queue, oldest first, hidden from others for `hiddenMs` of wall time.
 * Who does not acknowledge them until then gets them again, or another does.
 */
export async function receiveEvents(
  { store, clock }: NotificationsContext,
  wanted: { queue: string; limit: number; hiddenMs: number },
): Promise<ReceivedEvent[]> {
  const prefix = rowPrefix({ kind: 'queue', name: wanted.queue });
  const limit = Math.min(wanted.limit, RECEIVE_MAX);
  const received: ReceivedEvent[] = [];
  let looked = 0;
  for await (const row of eventRows(store, prefix)) {
    if (received.length >= limit || ++looked > LOOKED_MAX) break;
    const now = clock.wall();
    if ((row.value.hiddenUntil ?? 0) > now) continue;
    const value: EventRow = {
      ...row.value,
      hiddenUntil: now + wanted.hiddenMs,
      receives: row.value.receives + 1,
    };
    const { id, revision } = row;
    const result = await store.replace({ table: 'events', id, expected: revision, value });
    if (result.outcome !== 'done') continue;
    received.push({ receipt: receiptOf(id.slice(prefix.length), result.revision), row: value });
  }
  return received;
}

const receiptOf = (id: string, revision: string): string => `${id}.${revision}`;

/**
 * Takes events off their queue. Answers how many were; those whose time was over belong to who got
 * them since. InvalidArgument for what is no receipt.
 */
export async function acknowledgeEvents(
  { store }: Pick<NotificationsContext, 'store'>,
  of: { queue: string; receipts: readonly string[] },
): Promise<number> {
  const prefix = rowPrefix({ kind: 'queue', name: of.queue });
  const changes = of.receipts.map((receipt): Change => {
    const match = /^([0-9a-f]{32})\.([0-9a-z-]{1,64})$/i.exec(receipt);
    if (match === null) {
      throw new FirnError('InvalidArgument', 'this is no receipt of an event', {
        subject: of.queue,
      });
    }
    const [, id, expected] = match as unknown as [string, string, string];
    return { kind: 'remove', table: 'events', id: prefix + id, expected };
  });
  const results = changes.length === 0 ? [] : await store.bulk(changes);
  return results.filter(({ outcome }) => outcome === 'done').length;
}

/** Rows under a prefix, oldest first. */
export async function* eventRows(
  store: MetadataStore,
  prefix: string,
): AsyncGenerator<Row<EventRow>> {
  const to = afterPrefix(prefix) as string;
  let bound: { from: string } | { after: string } = { from: prefix };
  for (;;) {
    const rows: Row<EventRow>[] = await store.range<EventRow>({
      table: 'events',
      ...bound,
      to,
      limit: 200,
    });
    yield* rows;
    const last = rows.at(-1);
    if (last === undefined || rows.length < 200) return;
    bound = { after: last.id };
  }
}

/** How an event is told: S3's own form, so that what consumes S3's events consumes these. */
export function eventMessage(row: EventRow, region: string): Record<string, unknown> {
  const { event, bucket, at, rule } = row;
  if (event === undefined) {
    const time = new Date(at).toISOString();
    return { Service: 'Amazon S3', Event: 's3:TestEvent', Time: time, Bucket: bucket };
  }
  return {
    eventVersion: '2.3',
    eventSource: 'aws:s3',
    awsRegion: region,
    eventTime: new Date(event.at).toISOString(),
    eventName: event.name.slice('s3:'.length),
    userIdentity: { principalId: event.owner },
    s3: {
      s3SchemaVersion: '1.0',
      configurationId: rule,
      bucket: {
        name: event.bucket,
        ownerIdentity: { principalId: event.owner },
        arn: `arn:aws:s3:::${event.bucket}`,
      },
      object: {
        key: encodeURIComponent(event.key).replaceAll('%20', '+').replaceAll('%2F', '/'),
        size: event.sizeBytes,
        eTag: event.etag,
        versionId: event.versionId,
        sequencer: event.sequencer.toUpperCase(),
      },
    },
  };
}
