// PutBucketIntelligentTieringConfiguration: kept and shown; what moves by reads, a policy says.

import { putOf } from '../request/configuration.ts';
import { INTELLIGENT_TIERING } from '../request/configuration-kinds.ts';

export const putBucketTiering = putOf(INTELLIGENT_TIERING);
