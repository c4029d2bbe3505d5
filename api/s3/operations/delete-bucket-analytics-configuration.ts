// DeleteBucketAnalyticsConfiguration.

import { deleteOf } from '../request/configuration.ts';
import { ANALYTICS } from '../request/configuration-kinds.ts';

export const deleteBucketAnalytics = deleteOf(ANALYTICS);
