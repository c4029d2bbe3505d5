// GetBucketInventoryConfiguration: one, or without an id the list of them.

import { getOf } from '../request/configuration.ts';
import { INVENTORY } from '../request/inventory-kind.ts';

export const getBucketInventory = getOf(INVENTORY);
