// PutBucketAnalyticsConfiguration: kept and shown, nothing is analysed by it.

import { putOf } from '../request/configuration.ts';
import { ANALYTICS } from '../request/configuration-kinds.ts';

export const putBucketAnalytics = putOf(ANALYTICS);
