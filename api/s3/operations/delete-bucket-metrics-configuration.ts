// DeleteBucketMetricsConfiguration.

import { deleteOf } from '../request/configuration.ts';
import { METRICS } from '../request/configuration-kinds.ts';

export const deleteBucketMetrics = deleteOf(METRICS);
