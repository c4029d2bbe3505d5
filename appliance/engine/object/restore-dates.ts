// When a restored copy ends. Counted from the instant at which it became readable, not from the
// request: a Bulk retrieval takes up to 48 hours, and one day counted from the request would be
// over before it began. Rounded up to the next midnight UTC as S3 does (15 October 10:30 + 3 days →
// 19 October 00:00); with a shortened day (debug) nothing is rounded.

import { DAY_MS } from '../../model/clock.ts';

/** Engine ms at which a copy that is readable from `at` on, for `days`, ends. */
export function restoreExpiry(at: number, days: number, dayMs: number): number {
  if (dayMs !== DAY_MS) return at + days * dayMs;
  return Math.floor(at / DAY_MS) * DAY_MS + (days + 1) * DAY_MS;
}
