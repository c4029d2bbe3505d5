// Whom a bucket wants told, and of what.

/** Where events go: an address that is told, or a queue that is asked. Named in the settings. */
export interface EventTarget {
  kind: 'webhook' | 'queue';
  name: string;
}

/** One rule of a bucket's notification configuration. */
export interface NotificationRule {
  id: string;
  /** Which of S3's elements it came in: it is answered in the same. */
  element: 'Topic' | 'Queue' | 'CloudFunction';
  /** As it was given. */
  arn: string;
  target: EventTarget;
  /** Names, or names that end in `:*`. */
  events: string[];
  prefix?: string;
  suffix?: string;
}
