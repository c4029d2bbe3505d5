// Which node groups a tier has, and what is done with them: the row of `settings` that says so, the
// same for every process. The danger it answers: a group taken for another because a line of the
// settings moved, or taken away while objects are in it. A group is its number, which its drives
// carry; numbers are never used twice.

/** Where a group is in its life. removed: was empty, and is in the settings no more. */
export type GroupState = 'active' | 'draining' | 'removed';

export interface GroupEntry {
  group: number;
  /** Paths of its drives when it was last opened: how a group that holds nothing yet is known. */
  drives: string[];
  /** All its drives had their identity once: from then on empty drives are missing ones. */
  founded: boolean;
  state: GroupState;
  /** Engine ms. */
  drainingSince?: number;
  /** Engine ms at which nothing was in it any more, nor could come; while draining. */
  emptyAt?: number;
}

/** Bytes of objects that one group is to give to the others. */
export interface Excess {
  group: number;
  bytes: number;
}

/** Moves from the fullest groups to the others until what was planned is moved. */
export interface Rebalance {
  id: string;
  requestedAt: number;
  /** Percent between the fill of the fullest and the emptiest group that is good enough. */
  untilPercent: number;
  state: 'running' | 'stopped' | 'done';
  plan: Excess[];
  /** Groups that take; no other gets any of it. */
  take: number[];
  finishedAt?: number;
}

/** Row of `settings`, id = `groups/${tier}`. */
export interface GroupsRow {
  format: 1;
  tier: string;
  groups: GroupEntry[];
  rebalance?: Rebalance;
}

export const groupsRowId = (tier: string): string => `groups/${tier}`;

/** Row of `checkpoints`, id of the work on a tier's groups; `data` is a GroupWork. */
export const groupWorkId = (tier: string): string => `groups/${tier}`;

/** Versions and parts of uploads whose bytes are in a group, and their bytes. */
export interface InGroup {
  objects: number;
  bytes: number;
}

/**
 * How far the work on a tier's groups is. counting: how much there is. moving: pass after pass until
 * one finds nothing. settling: what was moved out, or is in the way, waits for its grace.
 */
export interface GroupWork {
  /** What the work is for: other groups begin anew. */
  task: string;
  phase: 'counting' | 'moving' | 'settling' | 'done';
  /** By group number: counted at the start, and moved since. */
  counted: Record<string, InGroup>;
  moved: Record<string, InGroup>;
  /** By group number: found so far by this pass, and by the one before. */
  found: Record<string, InGroup>;
  left: Record<string, InGroup>;
  /** Groups whose drives held nothing when this pass began. */
  clean: number[];
  /** How much this pass could not read or move, and the first of it named with the error. */
  failed: number;
  problems: string[];
  /** Engine ms: the first move, and before when a look finds nothing new. */
  movingSince: number;
  notBefore: number;
}
