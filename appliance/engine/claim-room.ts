// Room for a write, before its bytes are taken. Where a quota is used up, an overwrite still goes
// through that needs no more than what it replaces: the one look at the key happens only then.

import type { Bucket } from '../model/bucket.ts';
import { isFirnError } from '../model/errors.ts';
import { NULL_VERSION, objectId } from '../model/ids.ts';
import type { ObjectDocument } from '../model/object.ts';
import type { Amount } from '../model/quota.ts';
import type { Core } from './core.ts';
import { findVersion, reread } from './history.ts';
import type { Claim } from './quota-meter.ts';

/** Runs `write` with room set aside for it, until it has ended. QuotaExceeded. */
export async function withRoom<A>(
  core: Core,
  of: { bucket: Bucket; need: Amount & { key: string } },
  write: (claim: Claim | undefined) => Promise<A>,
): Promise<A> {
  const claiming = claimRoom(core, of.bucket, of.need);
  if (claiming === undefined) return write(undefined);
  const claim = await claiming;
  try {
    return await write(claim);
  } finally {
    claim.end();
  }
}

/** Undefined where no quota stands. QuotaExceeded. */
function claimRoom(
  core: Core,
  bucket: Bucket,
  need: Amount & { key: string },
): Promise<Claim> | undefined {
  const { bytes, objects } = need;
  const claiming = core.quotas.claim(bucket, { bytes, objects });
  if (claiming === undefined || bucket.versioning === 'enabled') return claiming;
  return claiming.catch((error: unknown) => {
    if (!isFirnError(error, 'QuotaExceeded')) throw error;
    return claimInPlace(core, bucket, { ...need, error });
  });
}

async function claimInPlace(
  core: Core,
  bucket: Bucket,
  need: Amount & { key: string; error: unknown },
): Promise<Claim> {
  const object = objectId(bucket.id, need.key);
  const { store } = core.context;
  const old = await reread(object, async () => {
    const row = await store.get<ObjectDocument>('objects', object);
    return row && findVersion(store, row.value, NULL_VERSION);
  });
  if (old === undefined || old.deleteMarker) throw need.error;
  const more = {
    bytes: Math.max(0, need.bytes - old.sizeBytes),
    objects: Math.max(0, need.objects - 1),
  };
  const claimed = await core.quotas.claim(bucket, more);
  if (claimed === undefined) throw need.error;
  return claimed;
}
