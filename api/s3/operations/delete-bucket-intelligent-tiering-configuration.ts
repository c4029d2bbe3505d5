// DeleteBucketIntelligentTieringConfiguration.

import { deleteOf } from '../request/configuration.ts';
import { INTELLIGENT_TIERING } from '../request/configuration-kinds.ts';

export const deleteBucketTiering = deleteOf(INTELLIGENT_TIERING);
