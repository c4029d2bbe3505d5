// Step 4 of a move (protocol E): the one place where a version's bytes change their location. One
// compare-and-swap, and only if that version still names every location that was copied from. Lost,
// the copy becomes a candidate. LastModified, ETag and everything else that S3 shows stay, but for
// the class.

import type { Location } from '../../model/location.ts';
import type { LastAction, Part, Restore, Version } from '../../model/object.ts';
import type { Garbage } from '../../model/records.ts';
import { commitObject, type CommitCore } from '../document/commit.ts';
import { loadParts } from '../document/history.ts';
import type { HeldLocation } from '../document/references.ts';

/** `lost`: the version is gone or was moved by somebody else; the copy is listed as garbage. */
export type MoveOutcome = 'moved' | 'lost';

export interface Relocation {
  /** objectId. */
  object: string;
  versionId: string;
  /** Ids of the locations copied from → the copies. None where only the class changes. */
  copies: ReadonlyMap<string, Location>;
  /** One of the copies that others name too, however old. */
  shared?: HeldLocation | undefined;
  /** New class: set only if the parts' locations are then still exactly `from`, in order. */
  storageClass?: { name: string; from: readonly string[] };
  last?: LastAction;
}

/**
 * Swaps the locations. On return the commit is durable and the old locations were listed before it
 * (B1). Throws as commitObject does; in doubt nothing is listed (B6). A repeat call answers `lost`
 * and would list the copies that the first one committed: it is never made without a look.
 */
export async function relocate(core: CommitCore, move: Relocation): Promise<MoveOutcome> {
  const { object, versionId, copies, shared } = move;
  const { answer } = await commitObject(core, {
    object,
    reason: 'move',
    fresh: [...copies.values()].filter(({ id }) => id !== shared?.id),
    shared,
    async change(draft): Promise<MoveOutcome> {
      const version = await draft.findById(versionId);
      if (version === undefined || version.deleteMarker) return 'lost';
      const next = await relocated(core, version, move);
      if (next === undefined) return 'lost';
      await draft.replace(next);
      return 'moved';
    },
  });
  return answer;
}

/** Undefined: the version no longer names all that was copied (E). */
async function relocated(
  core: CommitCore,
  version: Version,
  move: Relocation,
): Promise<Version | undefined> {
  const { copies, storageClass, last } = move;
  const parts = await loadParts(core.context.store, version);
  const swapped = parts.map((part): Part => {
    const location = copies.get(part.location.id);
    return location === undefined ? part : { ...part, location };
  });
  if (storageClass !== undefined) {
    const { from } = storageClass;
    const isSeen = parts.every((part, i) => part.location.id === from[i]);
    if (!isSeen || parts.length !== from.length) return undefined;
  }
  const copiedParts = parts.filter((part) => copies.has(part.location.id)).length;
  const copy = version.restore?.copy;
  const copiedCopies = copy?.filter((location) => copies.has(location.id)).length ?? 0;
  if (copiedParts + copiedCopies !== copies.size) return undefined;
  const { partsBlock, ...rest } = version;
  // A list that no part of was moved stays in its block.
  const kept =
    copiedParts === 0 && partsBlock !== undefined
      ? { ...rest, partsBlock }
      : { ...rest, parts: swapped };
  const next: Version = { ...kept };
  if (storageClass !== undefined) next.storageClass = storageClass.name;
  if (last !== undefined) next.last = last;
  if (version.restore !== undefined && copy !== undefined && copiedCopies > 0) {
    const moved = copy.map((location) => copies.get(location.id) ?? location);
    next.restore = { ...version.restore, copy: moved };
  }
  return next;
}

export interface RestoreChange {
  object: string;
  versionId: string;
  reason: Garbage['reason'];
  /** Bytes that the change newly names. */
  fresh?: readonly Location[];
  /**
   * The next state, 'none' to end it, undefined to leave all as it is. Pure; called once an
   * attempt.
   */
  change(restore: Restore | undefined, version: Version): Restore | 'none' | undefined;
  last?: LastAction;
}

/**
 * Changes nothing but a version's restore state: what it stops naming of the temporary copy is
 * listed before, its parts are never touched. True if a change was committed.
 */
export async function changeRestore(core: CommitCore, change: RestoreChange): Promise<boolean> {
  const { object, versionId, reason, fresh, last } = change;
  const { answer } = await commitObject(core, {
    object,
    reason,
    ...(fresh === undefined ? {} : { fresh }),
    async change(draft): Promise<boolean> {
      const version = await draft.findById(versionId);
      if (version === undefined) return false;
      const restore = change.change(version.restore, version);
      if (restore === undefined) return false;
      const { restore: _old, ...rest } = version;
      const next: Version = restore === 'none' ? rest : { ...rest, restore };
      if (last !== undefined) next.last = last;
      return draft.replace(next);
    },
  });
  return answer;
}
