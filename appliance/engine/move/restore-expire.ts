// The end of a restored copy. It removes the temporary copy and nothing else: the archived bytes
// are named by the version's parts, which this code never touches. Elsewhere the archived copy went
// with it (MinIO #14278, RustFS #4950), which is the loss of the only copy; a test of that name
// holds it off.

import type { Version } from '../../model/object.ts';
import type { Core } from '../document/core.ts';
import { tellingOf } from '../event/announce.ts';
import { tierOfParts } from './move.ts';
import { loadParts } from '../document/history.ts';
import { changeRestore } from './relocate.ts';

export interface RestoredVersion {
  bucket: string;
  /** objectId. */
  object: string;
  version: Version;
}

/** True if the version's restored copy is over at `now`. */
export function isLapsed(version: Version, now: number): boolean {
  const { restore } = version;
  return restore?.state === 'ready' && restore.expiry !== undefined && restore.expiry <= now;
}

/**
 * Ends the copy if its date has come, listing its locations (B1). False: it was extended, ended or
 * replaced meanwhile. Durable on return; a repeat does nothing.
 */
export async function expireRestore(core: Core, of: RestoredVersion): Promise<boolean> {
  const { context } = core;
  const { bucket, object, version } = of;
  const now = context.clock.now();
  const [copy] = version.restore?.copy ?? [];
  const parts = await loadParts(context.store, version);
  const change = (): Promise<boolean> =>
    changeRestore(core, {
      object,
      versionId: version.id,
      reason: 'restore-expiry',
      change: (_restore, current) => (isLapsed(current, now) ? 'none' : undefined),
      last: {
        action: 'restore-expiry',
        at: now,
        from: copy?.tier ?? '',
        to: tierOfParts(parts) ?? '',
      },
    });
  const proof = { kind: 'last', action: 'restore-expiry', at: now } as const;
  return tellingOf(
    context,
    { name: 's3:ObjectRestore:Delete', bucket, object, version, proof },
    { change, told: (isEnded) => (isEnded ? version : undefined) },
  );
}
