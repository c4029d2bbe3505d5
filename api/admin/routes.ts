// The table of all routes of the admin API.

import type { Route } from './route.ts';
import { accountRoutes } from './routes/accounts.ts';
import { applianceRoutes } from './routes/appliance.ts';
import { costRoutes } from './routes/cost.ts';
import { policyRoutes } from './routes/policies.ts';
import { restoreRoutes } from './routes/restores.ts';
import { runRoutes } from './routes/runs.ts';

export const routes: readonly Route[] = [
  ...policyRoutes,
  ...runRoutes,
  ...restoreRoutes,
  ...costRoutes,
  ...applianceRoutes,
  ...accountRoutes,
];
