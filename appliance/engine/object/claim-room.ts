// Room for a write, before its bytes are taken. Where a quota is used up, a write still goes
// through that needs no more than what it replaces (an object written anew, a part sent again): the
// one look at that happens only then.

import type { Bucket } from '../../model/bucket.ts';
import { isFirnError, isInDoubt } from '../../model/errors.ts';
import { NULL_VERSION, objectId } from '../../model/ids.ts';
import type { ObjectDocument } from '../../model/object.ts';
import { minus, onlyGrowth, type Amount } from '../../model/quota.ts';
import type { Body } from '../../model/tier.ts';
import type { Core } from '../document/core.ts';
import { findVersion, reread } from '../document/history.ts';
import type { Claim } from '../document/quota-meter.ts';

export interface Need extends Amount {
  /** What the write takes the place of. */
  replaces(): Promise<Amount>;
}

/** Runs `write` with room set aside for it, until it has ended. QuotaExceeded. */
export async function withRoom<A>(
  core: Core,
  of: { bucket: Bucket; need: Need },
  write: (claim: Claim | undefined) => Promise<A>,
): Promise<A> {
  const { bytes, objects } = of.need;
  const claiming = core.quotas.claim(of.bucket, { bytes, objects });
  if (claiming === undefined) return write(undefined);
  const claim = await claiming.catch((error: unknown) => claimLess(core, of, error));
  try {
    return await write(claim);
  } catch (error) {
    // It may have happened, or may yet (B6).
    if (isInDoubt(error)) claim?.doubt();
    throw error;
  } finally {
    claim?.end();
  }
}

/**
 * A body of unknown length, room set aside as it comes: one that is too long ends there, and not
 * after 5 GiB that then lie on the drives for a grace.
 */
export function withinRoom(body: Body, claim: Claim): Body {
  return body instanceof Uint8Array ? body : claiming(body, claim);
}

async function* claiming(
  body: AsyncIterable<Uint8Array>,
  claim: Claim,
): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    await claim.atLeast(bytes);
    yield chunk;
  }
}

async function claimLess(
  core: Core,
  { bucket, need }: { bucket: Bucket; need: Need },
  error: unknown,
): Promise<Claim | undefined> {
  if (!isFirnError(error, 'QuotaExceeded')) throw error;
  const less = await need.replaces();
  if (less.bytes <= 0 && less.objects <= 0) throw error;
  return core.quotas.claim(bucket, onlyGrowth(minus(need, less)));
}

/** One object that the key will hold; unversioned, its null version goes. */
export function needOfObject(core: Core, bucket: Bucket, of: { key: string; bytes: number }): Need {
  return {
    bytes: of.bytes,
    objects: 1,
    async replaces() {
      if (bucket.versioning === 'enabled') return { bytes: 0, objects: 0 };
      const object = objectId(bucket.id, of.key);
      const { store } = core.context;
      const old = await reread(object, async () => {
        const row = await store.get<ObjectDocument>('objects', object);
        return row && findVersion(store, row.value, NULL_VERSION);
      });
      if (old === undefined || old.deleteMarker) return { bytes: 0, objects: 0 };
      return { bytes: old.sizeBytes, objects: 1 };
    },
  };
}
