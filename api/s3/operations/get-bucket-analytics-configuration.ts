// GetBucketAnalyticsConfiguration, and ListBucketAnalyticsConfigurations where no id is named.

import { getOf } from '../request/configuration.ts';
import { ANALYTICS } from '../request/configuration-kinds.ts';

export const getBucketAnalytics = getOf(ANALYTICS);
