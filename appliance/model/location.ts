// Where bytes are. A location is written once and never changed: new bytes get a new id. Outside
// the tier that made it a location is opaque but for id, kind, tier and length. It is a few dozen
// bytes: never a list of stripes (DESIGN.md of tiers/node-group). How bytes are coded belongs to
// the place where they lie, not to the object: a move changes both at once, and nothing else.

/** Absent: the bytes lie as they are. A codec that is not known is refused, never guessed. */
export interface Coded {
  /** zstd: frames of model/zstd-frames.ts. `length` is then that of the coded bytes. */
  codec?: 'zstd';
  /** Bytes before they were coded. Set exactly where codec is. */
  plainBytes?: number;
}

/** One record inside a batch stripe of a segment (small objects of a node group). */
export interface SegmentLocation extends Coded {
  kind: 'segment';
  id: string;
  tier: string;
  /** Node group index within the tier. */
  group: number;
  segment: string;
  /** Byte offset, in each drive's segment file, of the batch's piece. */
  batch: number;
  /** Data lane of the batch that holds the whole record. */
  lane: number;
  /** Offset of the record inside that lane's piece. */
  offset: number;
  /** Bytes of the object (not of the record), coded where they are. */
  length: number;
  /** Lanes that hold no bytes: decode as zeros. Bit i = lane i. */
  empty: number;
  /** Lanes not durable when the write was acknowledged: treat as lost, heal. */
  unconfirmed: number;
  /** Drives (bit i = position i in the group) that were away: they took the first lanes. Absent: none. */
  away?: number;
}

/** One shard file a drive (large parts and packs of a node group). */
export interface ShardLocation extends Coded {
  kind: 'shards';
  id: string;
  tier: string;
  group: number;
  length: number;
  /** For example '4+2'. */
  code: string;
  stripeBytes: number;
  empty: number;
  unconfirmed: number;
  away?: number;
}

/** One named blob of a remote tier (directory, s3, gcs, azure). */
export interface RemoteLocation extends Coded {
  kind: 'remote';
  id: string;
  tier: string;
  name: string;
  length: number;
}

/** A stretch of a pack; the row of table `packs` says where the pack's own bytes are. */
export interface PackLocation extends Coded {
  kind: 'pack';
  id: string;
  tier: string;
  pack: string;
  offset: number;
  length: number;
}

/** What a tier's put returns and its read takes. */
export type BlobLocation = SegmentLocation | ShardLocation | RemoteLocation;
/** What a version's parts name. */
export type Location = BlobLocation | PackLocation;

/** Row of table `packs`; id = pack id, which is the blob's location id. */
export interface Pack {
  format: 1;
  id: string;
  tier: string;
  /** zip: many objects, FORMAT.md of tiers/pack. plain: exactly the bytes of one version. */
  layout: 'zip' | 'plain';
  blob: BlobLocation;
  sizeBytes: number;
  entries: number;
  /** Bytes of entries at the start, for the live share. */
  entryBytes: number;
  /** Bytes of entries whose version is gone or moved (raised by the collector). */
  deadBytes: number;
  createdAt: number;
  /** XXH3-64 of the whole blob, 16 hex digits: what a scrub compares with. */
  checksum?: string;
  /**
   * Ids of the `blocks` rows (kind members) that list what was packed; absent after a rebuild: the
   * pack's own index says it.
   */
  members?: string[];
}
