// GetBucketMetricsConfiguration, and ListBucketMetricsConfigurations where no id is named.

import { getOf } from '../request/configuration.ts';
import { METRICS } from '../request/configuration-kinds.ts';

export const getBucketMetrics = getOf(METRICS);
