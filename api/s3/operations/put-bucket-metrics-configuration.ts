// PutBucketMetricsConfiguration: kept and shown; what is measured is at /metrics.

import { putOf } from '../request/configuration.ts';
import { METRICS } from '../request/configuration-kinds.ts';

export const putBucketMetrics = putOf(METRICS);
