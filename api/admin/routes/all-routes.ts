// The table of all routes of the admin API.

import type { Route } from '../contract/route.ts';
import { accountRoutes } from './accounts.ts';
import { applianceRoutes } from './appliance.ts';
import { bucketRoutes } from './buckets.ts';
import { costRoutes } from './cost.ts';
import { eventRoutes } from './events.ts';
import { groupRoutes } from './groups.ts';
import { policyRoutes } from './policies.ts';
import { quotaRoutes } from './quotas.ts';
import { restoreRoutes } from './restores.ts';
import { runRoutes } from './runs.ts';

export const routes: readonly Route[] = [
  ...policyRoutes,
  ...runRoutes,
  ...restoreRoutes,
  ...costRoutes,
  ...applianceRoutes,
  ...groupRoutes,
  ...accountRoutes,
  ...bucketRoutes,
  ...quotaRoutes,
  ...eventRoutes,
];
