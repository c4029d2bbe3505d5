// DeleteBucketInventoryConfiguration: no further report is written; those written stay.

import { deleteOf } from '../request/configuration.ts';
import { INVENTORY } from '../request/inventory-kind.ts';

export const deleteBucketInventory = deleteOf(INVENTORY);
