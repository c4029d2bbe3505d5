// The port of the pack format (tiers/pack): the engine moves bytes by one protocol and knows
// nothing of zip. A pack is built in a spool file, re-read and verified there, and only then given
// to a tier.

import type { Version } from './object.ts';
import type { Body, ByteRange } from './tier.ts';

/** One version to be packed: its parts' bytes behind one another. */
export interface PackEntry {
  bucket: string;
  bucketId: string;
  key: string;
  version: Version;
  /** Its parts are to be compressed where that pays. */
  compresses?: boolean;
  /** Opens the version's bytes; called once, when its turn comes. */
  open(): Promise<Body>;
}

export interface PackedEntry {
  bucketId: string;
  key: string;
  versionId: string;
  /** Of the bytes inside the pack. */
  offset: number;
  length: number;
  /** Of the bytes inside the pack, hex. */
  sha256: string;
  /** Absent: the bytes lie as they are. zstd: each part coded by itself (model/zstd-frames.ts). */
  codec?: 'zstd';
  /** Set exactly where codec is: coded bytes of each part of the version, in order. */
  codedBytes?: number[];
}

export interface BuiltPack {
  id: string;
  sizeBytes: number;
  /** XXH3-64 of the whole pack, 16 hex digits. */
  checksum: string;
  /**
   * In the order given; an entry whose bytes did not match its parts' checksums fails the build.
   */
  entries: PackedEntry[];
  /** The pack's bytes, from its spool file; may be called again for a retry. */
  body(): AsyncIterable<Uint8Array>;
  /** Removes the spool file; safe twice. */
  discard(): Promise<void>;
}

export interface IndexedEntry extends PackedEntry {
  bucket: string;
  /** The whole version record as it was when packed. */
  version: Version;
}

export interface Packer {
  /**
   * Builds one pack. While an entry's bytes pass by, each part's XXH3-64 is compared with the
   * version's record: a mismatch throws Corrupt naming the key, and nothing is kept. Entries that
   * ask for it are compressed where that pays.
   */
  build(id: string, entries: readonly PackEntry[], signal?: AbortSignal): Promise<BuiltPack>;
  /** The pack's own index, read by ranges from wherever the pack is. */
  readIndex(
    sizeBytes: number,
    read: (range: ByteRange) => Promise<Body>,
  ): AsyncIterable<IndexedEntry>;
}
