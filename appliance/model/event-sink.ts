// The port of events: what happened to an object, and whom a bucket wants told. The danger: a
// consumer that indexes, scans or copies what is stored goes wrong for ever by one event that it
// never got. So an event of a bucket that asks for it is on record before the change is
// acknowledged, and is kept until its consumer has taken it: at least once, never never.

import type { Bucket } from './bucket.ts';
import type { EventTarget } from './notification.ts';
import type { LastAction, Version } from './object.ts';

export const EVENT_NAMES = [
  's3:ObjectCreated:Put',
  's3:ObjectCreated:Post',
  's3:ObjectCreated:Copy',
  's3:ObjectCreated:CompleteMultipartUpload',
  's3:ObjectRemoved:Delete',
  's3:ObjectRemoved:DeleteMarkerCreated',
  's3:LifecycleTransition',
  's3:LifecycleExpiration:Delete',
  's3:LifecycleExpiration:DeleteMarkerCreated',
  's3:ObjectRestore:Post',
  's3:ObjectRestore:Completed',
  's3:ObjectRestore:Delete',
  's3:ObjectTagging:Put',
  's3:ObjectTagging:Delete',
  's3:ObjectAcl:Put',
] as const;
export type EventName = (typeof EVENT_NAMES)[number];

export interface ObjectEvent {
  name: EventName;
  at: number;
  bucket: string;
  key: string;
  versionId: string;
  sizeBytes: number;
  etag: string;
  /** Account id of the version's owner. */
  owner: string;
  /** Orders the events of one key: greater is later. Hex digits. */
  sequencer: string;
}

/** Row of `events`, id = `${kind}/${target}/${request id}`: waits for its consumer. */
export interface EventRow {
  format: 1;
  target: EventTarget;
  /** Id of the rule that asked for it. */
  rule: string;
  /** Absent: a test event, sent when a configuration is set. */
  event?: ObjectEvent;
  bucket: string;
  at: number;
  /** Queues: wall ms before which it is hidden, having been received. */
  hiddenUntil?: number;
  /** How often it was received. */
  receives: number;
}

/** Which event. */
export type EventKind = Pick<ObjectEvent, 'key' | 'name'>;

/** What an event says of a version. */
export type ToldVersion = Pick<
  Version,
  'id' | 'isNull' | 'sizeBytes' | 'etag' | 'owner' | 'lastModified'
>;

/**
 * Row of `events`, id = `announced/${request id}`: a worker is about to make a change whose event
 * is not on record yet. Consumers never see it.
 */
export interface AnnouncedRow {
  format: 1;
  /** Wall ms. */
  at: number;
  name: EventName;
  /** Its name. */
  bucket: string;
  /** objectId. */
  object: string;
  /** As it was before the change. */
  version: ToldVersion;
  /**
   * How a look at the object tells that the change was made. gone: the version is not there.
   * marker: there is one of this operation. last: its last action. restore: it is of this request.
   */
  proof:
    | { kind: 'gone' }
    | { kind: 'marker'; operation: string }
    | { kind: 'last'; action: LastAction['action']; at: number }
    | { kind: 'restore'; requestId: string };
}

export interface EventSink {
  /** True if the bucket wants such an event told. */
  asks(
    event: Pick<ObjectEvent, 'key' | 'name'>,
    bucket: Bucket | string,
  ): boolean | Promise<boolean>;
  /**
   * Undefined where nobody asks for it. Else resolves once it is on record; rejects where that
   * cannot be (the change stands: the caller answers an error, and its repeat tells again).
   */
  emit(event: ObjectEvent, bucket: Bucket | string): Promise<void> | undefined;
}

export const silentEvents: EventSink = { asks: () => false, emit: () => undefined };
