// S3's arithmetic of days. "1 day" is not 24 hours: an action is due at the event plus N days,
// rounded up to the next midnight UTC, and an event at exactly midnight waits one full day more.
// Written on 2014-01-15 10:30 with 3 days → due on 2014-01-19 00:00. With a shortened day (debug)
// nothing is rounded: there due = event + N short days.

import { DAY_MS } from '../../appliance/model/clock.ts';

/** Midnight UTC at or before. */
export function floorDay(at: number): number {
  return at - (((at % DAY_MS) + DAY_MS) % DAY_MS);
}

/** When an action is due that comes `days` after an event. */
export function dueAfter(event: number, days: number, dayMs: number): number {
  if (dayMs !== DAY_MS) return event + days * dayMs;
  return floorDay(event) + (days + 1) * DAY_MS;
}

/**
 * Days since an event as dueAfter counts them: dueAfter(event, n, dayMs) <= now exactly when
 * daysSince(event, now, dayMs) >= n. Negative just after the event.
 */
export function daysSince(event: number, now: number, dayMs: number): number {
  if (dayMs !== DAY_MS) return (now - event) / dayMs;
  return (floorDay(now) - floorDay(event)) / DAY_MS - 1;
}

/** RFC 3339, UTC, to the second where nothing finer is there. */
export function formatInstant(at: number): string {
  return new Date(at).toISOString().replace('.000Z', 'Z');
}

/** YYYY-MM-DD, UTC. */
export function formatDate(at: number): string {
  return new Date(at).toISOString().slice(0, 10);
}

const INSTANT =
  /^(\d{4})-(\d{2})-(\d{2})(?:T(\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9}))?(Z|[+-]\d{2}:\d{2}))?$/;

/**
 * Milliseconds of an ISO 8601 date (midnight UTC) or instant with zone; undefined if it is neither,
 * or no day of the calendar (Date.parse takes 31 February).
 */
export function parseInstant(text: string): number | undefined {
  const match = INSTANT.exec(text);
  if (match === null) return undefined;
  const [, year, month, day] = match.map(Number) as [number, number, number, number];
  const date = new Date(Date.UTC(year, month - 1, day));
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return undefined;
  const at = Date.parse(match[4] === undefined ? `${text}T00:00:00Z` : text);
  return Number.isNaN(at) ? undefined : at;
}
