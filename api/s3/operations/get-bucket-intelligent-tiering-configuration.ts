// GetBucketIntelligentTieringConfiguration, and the list of them where no id is named.

import { getOf } from '../request/configuration.ts';
import { INTELLIGENT_TIERING } from '../request/configuration-kinds.ts';

export const getBucketTiering = getOf(INTELLIGENT_TIERING);
