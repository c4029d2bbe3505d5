// PutBucketInventoryConfiguration: kept, and executed by a worker.

import { putOf } from '../request/configuration.ts';
import { INVENTORY } from '../request/inventory-kind.ts';

export const putBucketInventory = putOf(INVENTORY);
