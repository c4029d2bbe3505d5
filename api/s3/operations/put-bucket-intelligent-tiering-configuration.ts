// PutBucketIntelligentTieringConfiguration: kept and shown; what moves by reads is a policy's to say.

import { putOf } from '../request/configuration.ts';
import { INTELLIGENT_TIERING } from '../request/configuration-kinds.ts';

export const putBucketIntelligentTiering = putOf(INTELLIGENT_TIERING);
