// What the engine's operations share inside one process. Built once; holds no state that another
// process could have changed, but for what `staleMs` allows.

import { AccessDays } from './access-days.ts';
import { BucketRows } from './bucket-rows.ts';
import type { EngineContext } from './context.ts';
import { QuotaMeter } from './quota-meter.ts';
import { LocationReader } from './read-location.ts';
import { Writers } from './writers.ts';

export interface Core {
  readonly context: EngineContext;
  readonly writers: Writers;
  readonly buckets: BucketRows;
  readonly locations: LocationReader;
  readonly quotas: QuotaMeter;
  /** Undefined where accesses are not kept. */
  readonly accessDays: AccessDays | undefined;
}

export function buildCore(context: EngineContext): Core {
  const writers = new Writers();
  return {
    context,
    writers,
    buckets: new BucketRows(context),
    locations: new LocationReader(context),
    quotas: new QuotaMeter(context),
    accessDays: context.accessDays === true ? new AccessDays({ context, writers }) : undefined,
  };
}
