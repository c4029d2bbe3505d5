// usage and cost report.

import { z } from 'zod';
import { route } from '../route.ts';
import type { Route } from '../route.ts';
import { usageAnswer } from '../schemas.ts';
import { usageOf } from '../usage.ts';

export const costRoutes: readonly Route[] = [
  route({
    id: 'getUsage',
    method: 'GET',
    path: '/usage',
    summary: 'Objects and bytes by bucket, tier and class',
    tag: 'cost',
    query: z.strictObject({ source: z.enum(['scan', 'meters']).default('scan') }),
    answer: usageAnswer,
    streams: true,
    handle: (input) => usageOf(input.query.source, input),
  }),
];
