// The port of events: what happened to an object, for notifications, audit and metrics.

export type EventName =
  | 's3:ObjectCreated:Put'
  | 's3:ObjectCreated:Post'
  | 's3:ObjectCreated:Copy'
  | 's3:ObjectCreated:CompleteMultipartUpload'
  | 's3:ObjectRemoved:Delete'
  | 's3:ObjectRemoved:DeleteMarkerCreated'
  | 's3:LifecycleTransition'
  | 's3:LifecycleExpiration:Delete'
  | 's3:LifecycleExpiration:DeleteMarkerCreated'
  | 's3:ObjectRestore:Post'
  | 's3:ObjectRestore:Completed'
  | 's3:ObjectRestore:Delete';

export interface ObjectEvent {
  name: EventName;
  at: number;
  bucket: string;
  key: string;
  versionId: string;
  sizeBytes: number;
  etag: string;
}

export interface EventSink {
  /** Never throws, never waits. */
  emit(event: ObjectEvent): void;
}

export const silentEvents: EventSink = { emit: () => undefined };
