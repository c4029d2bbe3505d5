// What a job is on disk: Agenda's JobParameters with times as numbers, and who holds its lock.
// Agenda itself keeps no holder, so that a worker that woke after its lock had expired could
// overwrite or unlock its successor's job; `lockedBy` is how this store tells the two apart.

import { toJobId } from 'agenda';
import type { JobParameters, RemoveJobsOptions, JobsQueryOptions } from 'agenda';

/** Fields that Agenda's processor keeps: a save by a caller never touches them. */
const STATE_FIELDS = [
  'lockedAt',
  'lastRunAt',
  'lastFinishedAt',
  'failedAt',
  'failCount',
  'failReason',
  'progress',
] as const;

const DATE_FIELDS = [
  'nextRunAt',
  'lockedAt',
  'lastRunAt',
  'lastFinishedAt',
  'failedAt',
  'startDate',
  'endDate',
  'debounceStartedAt',
] as const;

export interface JobRecord {
  format: 1;
  id: string;
  name: string;
  priority: number;
  nextRunAt: number | null;
  type: 'normal' | 'single';
  lockedAt: number | null;
  /** Agenda's name of the process that took the lock. */
  lockedBy: string | null;
  disabled: boolean;
  /** Its key in the unique index, hex. */
  uniqueKey: string | null;
  /** Every other field of JobParameters, dates as numbers. */
  rest: Record<string, unknown>;
}

const INDEXED = new Set([
  '_id',
  'name',
  'priority',
  'nextRunAt',
  'type',
  'lockedAt',
  'disabled',
  'unique',
  'uniqueOpts',
]);

function restOf(job: JobParameters, without: ReadonlySet<string>): Record<string, unknown> {
  const rest: Record<string, unknown> = {};
  for (const [field, value] of Object.entries(job)) {
    if (INDEXED.has(field) || without.has(field) || value === undefined) continue;
    rest[field] = value instanceof Date ? value.getTime() : value;
  }
  return rest;
}

const timeOf = (date: Date | null | undefined): number | null =>
  date === null || date === undefined ? null : new Date(date).getTime();

export function newRecord(id: string, job: JobParameters, by: string | undefined): JobRecord {
  return {
    format: 1,
    id,
    name: job.name,
    priority: job.priority,
    nextRunAt: timeOf(job.nextRunAt),
    type: job.type,
    lockedAt: timeOf(job.lockedAt),
    lockedBy: null,
    disabled: job.disabled === true,
    uniqueKey: null,
    rest: { ...restOf(job, new Set()), ...(by === undefined ? {} : { lastModifiedBy: by }) },
  };
}

/** The record with what a caller saved; lock, progress and outcome stay the processor's. */
export function savedOver(old: JobRecord, job: JobParameters, by: string | undefined): JobRecord {
  const state = new Set<string>(STATE_FIELDS);
  const kept: Record<string, unknown> = {};
  for (const field of STATE_FIELDS) {
    if (old.rest[field] !== undefined) kept[field] = old.rest[field];
  }
  return {
    ...old,
    priority: job.priority,
    nextRunAt: timeOf(job.nextRunAt),
    type: job.type,
    disabled: job.disabled ?? old.disabled,
    rest: {
      ...restOf(job, state),
      ...kept,
      ...(by === undefined ? {} : { lastModifiedBy: by }),
    },
  };
}

/** The record with the processor's fields of `job`, and nothing else of it. */
export function stateOver(old: JobRecord, job: JobParameters, by: string | undefined): JobRecord {
  const rest = { ...old.rest };
  for (const field of STATE_FIELDS) {
    if (field === 'lockedAt') continue;
    const value = job[field];
    if (value === undefined || value === null) delete rest[field];
    else rest[field] = value instanceof Date ? value.getTime() : value;
  }
  if (by !== undefined) rest['lastModifiedBy'] = by;
  const lockedAt = timeOf(job.lockedAt);
  return {
    ...old,
    nextRunAt: timeOf(job.nextRunAt),
    lockedAt,
    lockedBy: lockedAt === null ? null : (by ?? old.lockedBy),
    rest,
  };
}

export function parametersOf(record: JobRecord): JobParameters {
  const job: Record<string, unknown> = {
    ...record.rest,
    _id: toJobId(record.id),
    name: record.name,
    priority: record.priority,
    nextRunAt: record.nextRunAt,
    type: record.type,
    ...(record.lockedAt === null ? {} : { lockedAt: record.lockedAt }),
    ...(record.disabled ? { disabled: true } : {}),
  };
  for (const field of DATE_FIELDS) {
    if (typeof job[field] === 'number') job[field] = new Date(job[field]);
  }
  return job as unknown as JobParameters;
}

/** Each field that `wanted` names is the same in `value`; nested objects likewise. */
function covers(value: unknown, wanted: unknown): boolean {
  if (wanted === null || typeof wanted !== 'object' || Array.isArray(wanted)) {
    return JSON.stringify(value) === JSON.stringify(wanted);
  }
  if (value === null || typeof value !== 'object') return false;
  return Object.entries(wanted).every(([field, child]) =>
    covers((value as Record<string, unknown>)[field], child),
  );
}

type Wanted = Pick<
  RemoveJobsOptions & JobsQueryOptions,
  'id' | 'ids' | 'name' | 'names' | 'notNames' | 'data' | 'search' | 'includeDisabled'
>;

/** True if nothing is asked for at all: such a remove or disable touches no job. */
export function asksNothing(wanted: RemoveJobsOptions): boolean {
  const named = [wanted.ids, wanted.names, wanted.notNames].some((list) => (list?.length ?? 0) > 0);
  return !named && !wanted.id && !wanted.name && wanted.data === undefined;
}

export function matches(record: JobRecord, wanted: Wanted): boolean {
  const { id, ids, name, names, notNames, data, search } = wanted;
  if (id && String(id) !== record.id) return false;
  if (!id && ids && ids.length > 0 && !ids.some((one) => String(one) === record.id)) return false;
  if (name && record.name !== name) return false;
  if (!name && names && names.length > 0 && !names.includes(record.name)) return false;
  if (notNames && notNames.length > 0 && notNames.includes(record.name)) return false;
  if (search && !record.name.toLowerCase().includes(search.toLowerCase())) return false;
  if (data !== undefined && !covers(record.rest['data'], data)) return false;
  return wanted.includeDisabled !== false || !record.disabled;
}
