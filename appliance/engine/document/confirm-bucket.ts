// The second half of rule A6, after a commit: the bucket is read again, past every cache. Live
// still → the deletion that may start now scans after our commit and finds the key. Gone or
// `deleting` → this write must not be acknowledged as if it would stay. The dangers: a key
// acknowledged into a bucket that is gone; and, undoing too much, an acknowledged version beneath
// ours lost.

import type { Bucket } from '../../model/bucket.ts';
import type { Row } from '../../model/metadata-store.ts';
import { noSuchBucket, type BucketRows } from './bucket-rows.ts';
import { commitObject, type CommitCore } from './commit.ts';

export interface Confirming {
  bucket: Bucket;
  object: string;
  /**
   * From the commit: whether it created the document, and nobody else may have acknowledged it.
   */
  created: boolean;
  /** Of the version that was put on top. */
  versionId: string;
}

type ConfirmCore = CommitCore & { readonly buckets: BucketRows };

/**
 * Returns when the write may be acknowledged. Throws NoSuchBucket when the bucket is gone: nothing
 * of the write is left then, or it is on its way out.
 */
export async function confirmBucket(core: ConfirmCore, confirming: Confirming): Promise<void> {
  const row = await core.buckets.fresh(confirming.bucket.name);
  if (row?.value.id === confirming.bucket.id && row.value.state === 'live') return;
  await settleLateWrite(core, confirming, row);
}

async function settleLateWrite(
  core: ConfirmCore,
  confirming: Confirming,
  first: Row<Bucket> | undefined,
): Promise<void> {
  const { bucket, created } = confirming;
  if (created && (await undo(core, confirming))) throw noSuchBucket(bucket.name);
  // Not ours to undo: a version may lie beneath, or another write on top. The scan of the deletion
  // may have passed already, so the key itself is the proof that the bucket isn't empty: take it
  // back.
  for (let row = first; ; row = await core.buckets.fresh(bucket.name)) {
    if (row?.value.id !== bucket.id) break;
    if (row.value.state === 'live') return;
    const reverted = await core.context.store.replace({
      table: 'buckets',
      id: bucket.name,
      expected: row.revision,
      value: { ...row.value, state: 'live' },
    });
    if (reverted.outcome === 'done') {
      core.context.count?.('bucket-reverted');
      return;
    }
  }
  // Gone: whatever this document holds was never acknowledged, or the scan would have found it.
  const { object } = confirming;
  await commitObject(core, { object, reason: 'lost', bucket, change: (draft) => draft.clear() });
  throw noSuchBucket(bucket.name);
}

/** True: the document that the write created is gone again. False: somebody has built on it. */
async function undo(core: ConfirmCore, confirming: Confirming): Promise<boolean> {
  const { answer } = await commitObject(core, {
    object: confirming.object,
    reason: 'lost',
    bucket: confirming.bucket,
    change: async (draft) => {
      const alone = draft.base?.versions.length === 1 && draft.base.history.length === 0;
      const version = draft.current;
      if (!alone || version?.id !== confirming.versionId) return false;
      // Not what Completes have recorded meanwhile: a refusal that was answered stays one (C3).
      return draft.remove(version, 'unacknowledged');
    },
  });
  if (answer) core.context.count?.('creation-undone');
  return answer;
}
