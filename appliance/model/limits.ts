// Limits, named once. S3's own limits, then ours.

export const KiB = 1024;
export const MiB = 1024 * KiB;
export const GiB = 1024 * MiB;
export const TiB = 1024 * GiB;

/** S3: UTF-8 bytes of a key. */
export const KEY_BYTES_MAX = 1024;
export const OBJECT_BYTES_MAX = 5 * TiB;
/** S3: one PUT or one part. */
export const PUT_BYTES_MAX = 5 * GiB;
/** S3: any part but the last. */
export const PART_BYTES_MIN = 5 * MiB;
export const PARTS_MAX = 10_000;
export const LIST_KEYS_MAX = 1000;
export const DELETE_KEYS_MAX = 1000;
/** S3: names and values of x-amz-meta-* together. */
export const METADATA_BYTES_MAX = 2 * KiB;
export const BUCKETS_MAX = 1000;
export const XML_BYTES_MAX = MiB;
export const HEADER_BYTES_MAX = 32 * KiB;

/** Objects up to this go into segments by group commit. */
export const SMALL_BYTES_MAX = 256 * KiB;
/** Versions kept inside the key's document before the oldest move to blocks (A5). */
export const VERSIONS_INLINE_BYTES_MAX = 16 * KiB;
export const VERSIONS_PER_BLOCK_MAX = 256;
/** Parts kept inside a version before they move to a block. */
export const PARTS_INLINE_MAX = 64;

/** How long listed bytes stay (B1). A commit newly names only what is younger than half (B3). */
export const GRACE_MS = 24 * 3_600_000;
/** A commit stops naming only what it listed less than this ago (B2). */
export const LISTED_AGE_MS_MAX = 3_600_000;
/** Smaller objects are not deduplicated: their rows would take a good part of what they save. */
export const DEDUPE_BYTES_MIN = 16 * KiB;
/** How long an ended upload's document stays (C2). */
export const UPLOAD_KEPT_MS = 48 * 3_600_000;

/** Packs: DESIGN of tiers/pack. */
export const PACK_BYTES_MAX = 256 * MiB;
export const PACK_BYTES_TARGET = 64 * MiB;
export const PACK_ENTRIES_MAX = 60_000;
