// What a tier of drives can do beside storing blobs: tell the state of its drives, and be kept
// whole by workers. Workers and the admin API know this face only; tiers/node-group implements it.

import type { BlobLocation, SegmentLocation, ShardLocation } from './location.ts';
import type { Tier } from './tier.ts';

/**
 * up · healing: in use, but what it held before it was replaced is still being rebuilt · full: only
 * reads and deletes · failing: left out for a while after errors or slowness · missing: not there
 * or not mounted · foreign: another drive stands at its place, never touched.
 */
export type DriveState = 'up' | 'healing' | 'full' | 'failing' | 'missing' | 'foreign';

export interface DriveInfo {
  tier: string;
  group: number;
  /** Index in the group. */
  position: number;
  /** Of its identity; absent while it is not known who is there. */
  drive?: string;
  path: string;
  state: DriveState;
  /** Errors seen since this process started. */
  errors: number;
  /** Why it is not simply up, for people; '' if it is. */
  note: string;
  capacityBytes: number;
  freeBytes: number;
  /** Drives with equal text share a device: they fail together. */
  device: string;
}

/** A directory that stands ready to take the place of a drive that stays away. */
export interface SpareInfo {
  tier: string;
  path: string;
  /** taken: a drive of a group, as drives() tells. unfit: something else lies there. */
  state: 'ready' | 'taken' | 'missing' | 'unfit';
}

export interface StepProgress {
  done: boolean;
  /** Files, batches or locations looked at so far. */
  checked: number;
  /** Bytes read and written so far. */
  bytes: number;
  /** Lanes written anew so far. */
  repaired: number;
  /** What could not be repaired, as people would look for it: a durability alarm each. */
  lost: readonly string[];
  /**
   * Large objects of which too few files exist, each of them whole: lost if anything names them,
   * else the leftover of a writer that was killed between two renames. Only metadata can tell.
   */
  suspects: readonly Suspect[];
  /** Heal only: something could not be made just now, as other drives lack. */
  short?: boolean;
  /** Scrub only: what was done last; `scrub({ after })` goes on behind it. */
  cursor?: string;
  /** Where it is now; absent before it found anything to do. */
  place?: StepPlace;
}

export interface Suspect {
  /** As in `lost`. */
  what: string;
  bucketId: string;
  key: string;
  location: ShardLocation;
}

export interface StepPlace {
  group: number;
  /** The drive that is refilled; absent where the work is about the whole group. */
  position?: number;
  /** How much of this group or drive has been looked at, 0 to 1: for people, about right. */
  share: number;
}

/**
 * Work in bounded steps (a few MiB each), so that a worker can throttle it and give up its lease.
 */
export interface StepJob {
  /** Does the next bit. After `done` it does nothing. */
  step(): Promise<StepProgress>;
  /** Frees what it holds; safe twice and at any time between steps. */
  stop(): Promise<void>;
}

export interface SegmentInfo {
  group: number;
  segment: string;
  /**
   * Where its log ends, the same on each drive; the sum of its records is known only by reading it.
   */
  extentBytes: number;
  /**
   * Bytes of objects in it that delete() was called for, as far as noted (a hint, may be too low).
   */
  deadBytes: number;
  /** How many objects those are. */
  deadRecords: number;
  /** Engine ms at which it was opened. */
  openedAt: number;
  /** Nobody will ever append to it. */
  settled: boolean;
}

export interface SegmentRecord {
  bucketId: string;
  key: string;
  location: SegmentLocation;
  length: number;
}

/** Room of one drive. Raw bytes, redundancy included. */
export interface DriveRoom {
  position: number;
  path: string;
  /** Its share of the device where several drives share one. */
  capacityBytes: number;
  freeBytes: number;
  /** What our files take up. */
  heldBytes: number;
}

/** Room of one group, by what its drives hold. Raw bytes, redundancy included, where not said. */
export interface GroupRoom {
  group: number;
  /** Data lanes of all lanes: k/(k+m). */
  dataShare: number;
  /** False: takes no new bytes now (drives away, full, draining). */
  writable: boolean;
  draining: boolean;
  capacityBytes: number;
  freeBytes: number;
  /** All of our files: the sum of the next four. */
  heldBytes: number;
  segmentBytes: number;
  shardBytes: number;
  /** Metadata journal and snapshots. */
  journalBytes: number;
  /** Identities, notes, temporary files, directories. */
  otherBytes: number;
  /** Bytes of objects in segments that delete() was called for, as far as noted. */
  deadBytes: number;
  blobs: number;
  drives: DriveRoom[];
}

/** Files of objects that a group's drives still hold. */
export interface GroupContents {
  segments: number;
  shards: number;
  /** Writes under way, or left by a crash. */
  temporary: number;
  /** Of the metadata journal. */
  journal: number;
}

/** What a segment cannot hold: false is sure, true a "perhaps" (one in 200 is wrong). */
export interface SegmentFilter {
  mayHoldId(id: string): boolean;
  /** Without a key: any key of the bucket. */
  mayHoldOwner(owner: { bucketId: string; key?: string }): boolean;
}

export interface NodeGroupTier extends Tier {
  readonly kind: 'node-group';

  /** Numbers of the groups that the settings name, as their drives carry them. */
  groups(): readonly number[];
  /** These take nothing new from now on; a segment open in one of them is ended. */
  setDraining(groups: ReadonlySet<number>): void;
  /**
   * What lies in it may be given out as if just written: it is not draining, and as many drives are
   * up as a write needs, full ones too. By what is known in memory.
   */
  isSafeIn(group: number): boolean;
  /** Walks the drives, at most a twentieth of the time. */
  rooms(): Promise<GroupRoom[]>;
  /** The same by what the devices say alone: what is held is not told apart. */
  fill(): Promise<GroupRoom[]>;
  /** Looks at the drives that are present; throws where a directory can't be read. */
  contentsOf(group: number): Promise<GroupContents>;

  /** Every drive of every group, by group and position. Never throws for a drive that is down. */
  drives(): Promise<DriveInfo[]>;
  /** Every spare of the settings, looked at now. Never throws for one that is down. */
  spares(): Promise<SpareInfo[]>;

  /**
   * Refills replaced drives (state healing) from the others; done at once when there is none. A
   * drive turns `up` only after a pass that found nothing missing. Needs no metadata.
   */
  heal(): StepJob;

  /**
   * Rewrites the lanes of one location that are missing or damaged (those it calls unconfirmed,
   * most often). `partial`: a drive that it needs is still down, try later. Corrupt if beyond
   * repair.
   */
  healLocation(location: SegmentLocation | ShardLocation): Promise<'whole' | 'partial'>;

  /**
   * Reads everything back and repairs it. One pass over all groups, or what of it is left behind
   * the cursor `after`.
   */
  scrub(options?: { after?: string }): StepJob;

  /** About what a whole scrub reads: bytes of all drives' files. */
  scrubBytes(): Promise<number>;

  /**
   * Ids of the large objects of which the drives have as many files as a decode can need; drives
   * that are away count as having theirs. By names alone: no file is opened.
   */
  wholeShards(): AsyncIterable<string[]>;

  /** Every segment of every group. */
  segments(): AsyncIterable<SegmentInfo>;
  /**
   * Every record of a segment, verified. Where some can't be read, throws after all others:
   * Corrupt, or DriveUnavailable while drives are away. Then nobody may conclude that nothing in it
   * lives.
   */
  records(group: number, segment: string): AsyncIterable<SegmentRecord>;
  /** Undefined for a segment without one: open, of few records, of an older Firn, or after a crash. */
  filterOf(group: number, segment: string): Promise<SegmentFilter | undefined>;
  /**
   * Bytes of all records of a segment, heads included, by its batches' heads: a hundredth of what
   * reading it costs.
   */
  recordBytes(group: number, segment: string): Promise<number>;
  /** Frees a whole settled segment: only after every record's object was read afresh (B4). */
  freeSegment(group: number, segment: string): Promise<void>;
}

export function isNodeGroupTier(tier: Tier): tier is NodeGroupTier {
  return 'kind' in tier && tier.kind === 'node-group';
}

/** True if bytes stand short of full redundancy: a row of `heals` is due with the commit. */
export function needsHeal(location: BlobLocation): boolean {
  return location.kind !== 'remote' && location.unconfirmed !== 0;
}
