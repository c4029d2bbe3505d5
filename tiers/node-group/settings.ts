// What a tier of drives is told. The front door fills it from the settings file; nothing here reads
// files or the environment.

import type { Clock, Random } from '../../appliance/model/clock.ts';
import type { Drive } from '../../appliance/model/drive.ts';
import { KiB, MiB, SMALL_BYTES_MAX } from '../../appliance/model/limits.ts';
import type { Codec } from './codec/codec.ts';
import type { CodeName } from './codec/field.ts';

export interface GroupPlace {
  group: number;
  founded: boolean;
}

export interface NodeGroupTierSettings {
  /** Name of the tier: 'hot', 'warm'. */
  name: string;
  /** k+m: a group is exactly that many drives, any m of them may be lost. */
  code: CodeName;
  /** One list of drive directories a group. Never reorder: a drive knows its position. */
  drives: readonly (readonly string[])[];
  /**
   * The number of each group, which its drives carry, and whether it was founded before: then empty
   * drives are missing ones and never a new group. Without: numbered by order, founded if empty.
   */
  groups?: readonly GroupPlace[];
  /** Directories that take the places of drives that stay away, of whichever group. */
  spares?: readonly string[];
  /** How long a drive may be missing before a spare takes its place. */
  spareAfterMs?: number;
  /** Objects up to this many bytes go into segments; 0: none does. */
  smallBytesMax?: number;
  /** Fixed memory for stripes, a process. */
  arenaBytes?: number;
  /** A segment is sealed at this size. */
  segmentBytes?: number;
  /** A segment is sealed after this long; nothing in it is acknowledged after twice that. */
  segmentOpenMs?: number;
  /** Objects of 4 MiB and more that are written beside others go past the page cache. */
  directWrites?: boolean;
  /** A drive that takes this much longer than k'+1 others is left out of a write. */
  stallMs?: number;
  /** How often drives are looked at. */
  probeMs?: number;
  /** How long a drive that failed is left out before it is tried again. */
  breakerMs?: number;
  /** A drive filled beyond this share says so. */
  warnShare?: number;
  /** A drive filled beyond this share takes no new bytes. */
  fullShare?: number;
  /** The share up to which workers may still write (compaction frees more than it takes). */
  reserveShare?: number;
}

export type NodeGroupRole =
  /** Serves requests: writes and reads. */
  | 'api'
  /** Heals, scrubs, compacts, moves. */
  | 'worker'
  /** Only reads, founds nothing. */
  | 'primary';

export interface NodeGroupDependencies {
  clock: Clock;
  random: Random;
  /** Of the metadata store: drives of another are refused. */
  storeId: string;
  role: NodeGroupRole;
  /** Unique among live processes of this host; the same again after a restart. */
  processName: string;
  /** Tests and remote drives; by default a directory of this host. */
  openDrive?: (path: string) => Drive;
  /** Of the settings' code, shared with other tiers: simulations open thousands. */
  codec?: Codec;
}

export type Settled = Required<NodeGroupTierSettings>;

/** The place of each list of drives: as told, or by order. */
const placesOf = ({ groups, drives }: NodeGroupTierSettings): readonly GroupPlace[] =>
  groups ?? drives.map((_, group) => ({ group, founded: false }));

export function settle(settings: NodeGroupTierSettings): Settled {
  return {
    spares: [],
    spareAfterMs: 15 * 60_000,
    smallBytesMax: SMALL_BYTES_MAX,
    arenaBytes: 64 * MiB,
    segmentBytes: 64 * MiB,
    segmentOpenMs: 3_600_000,
    directWrites: true,
    stallMs: 5000,
    probeMs: 2000,
    breakerMs: 30_000,
    warnShare: 0.85,
    fullShare: 0.95,
    reserveShare: 0.98,
    ...settings,
    groups: placesOf(settings),
  };
}

/** Room that a record or a stripe needs beside the object's bytes: header and owner. */
export const RECORD_ROOM_BYTES = 2 * KiB;
/** Stripes of objects of known size up to STRIPE_LARGE_FROM, and of streams. */
export const STRIPE_BYTES = MiB;
export const STRIPE_LARGE_BYTES = 4 * MiB;
export const STRIPE_LARGE_FROM = 64 * MiB;
/** What is smaller is often read at once, and its pieces are too small to gain. */
export const DIRECT_FROM = 4 * MiB;
