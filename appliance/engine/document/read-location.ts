// Reading the bytes of any location, also of one inside a pack. Shared by GET and by every move.
// The danger: bytes of a cloud's pack that nobody can check by range are handed out wrong; so what
// is read whole out of a remote pack is compared with the part's own checksum before its last byte
// goes out. That is a sum of the bytes as sealed: they are compared without any key. Compressed
// bytes come out as they went in, every frame checked; nobody above knows which they were.

import { FirnError } from '../../model/errors.ts';
import type { BlobLocation, Location, Pack, PackLocation } from '../../model/location.ts';
import type { Body, ByteRange, ReadOptions, StoredChecksums, Tier } from '../../model/tier.ts';
import { decodeFrames, type FrameEnds } from '../../model/zstd-frames.ts';
import type { EngineContext } from './context.ts';
import { Recent } from './recent.ts';

/**
 * A pack's row is about 300 bytes; its place never changes (deadBytes does, and is not used here).
 */
const PACKS_MAX = 4096;
/** Tables of frames that are kept: 8 bytes a MiB of an object, 40 KiB for a part of 5 GiB. */
const TABLES_MAX = 128;

/** Bytes that a reader gets out of a location, however they lie. */
export function plainBytesOf(location: Location): number {
  return location.codec === undefined ? location.length : (location.plainBytes ?? 0);
}

export interface Place {
  tier: Tier;
  blob: BlobLocation;
  /** Where the location's bytes begin inside the blob. */
  offset: number;
}

export interface ReadLocation extends ReadOptions {
  /** Part.checksum of the location's bytes: compared where the tier can't check by itself. */
  checksum?: string;
}

export class LocationReader {
  readonly #context: EngineContext;
  readonly #packs = new Recent<BlobLocation>(PACKS_MAX);
  readonly #tables = new Recent<FrameEnds>(TABLES_MAX);

  constructor(context: EngineContext) {
    this.#context = context;
  }

  /** The tier and blob that hold the location's bytes. TierMissing when its pack has no row. */
  async place(location: Location): Promise<Place> {
    if (location.kind !== 'pack') {
      return { tier: this.#tier(location), blob: location, offset: 0 };
    }
    const known = this.#packs.get(location.pack);
    if (known !== undefined) {
      return { tier: this.#tier(known), blob: known, offset: location.offset };
    }
    const row = await this.#context.store.get<Pack>('packs', location.pack);
    if (row === undefined) throw this.#missing(location);
    const { blob } = row.value;
    this.#packs.set(location.pack, blob);
    return { tier: this.#tier(blob), blob, offset: location.offset };
  }

  /**
   * Forgets where a pack is and how coded bytes are cut: after a failure, in case the pack's row
   * was changed by hand or by a rebuild, or what was read then was wrong.
   */
  forget(location: Location): void {
    this.#tables.delete(location.id);
    if (location.kind === 'pack') this.#packs.delete(location.pack);
  }

  /**
   * The bytes of the range (whole without). As Tier.read: small reads give an array that is the
   * caller's, large ones a stream whose chunks stay valid until the next is asked for. Throws
   * TierMissing, TierOffline, Corrupt, TierUnavailable, DriveUnavailable; FormatUnknown for a codec
   * of a newer Firn.
   */
  async read(location: Location, options: ReadLocation = {}): Promise<Body> {
    if (location.codec !== undefined) return this.#readCoded(location, options);
    if (location.kind === 'pack') return this.#readPacked(location, options);
    return await this.#tier(location).read(location, options);
  }

  async #readCoded(location: Location, options: ReadLocation): Promise<Body> {
    const { signal } = options;
    const more = signal === undefined ? {} : { signal };
    const { codec: _, plainBytes: __, ...stored } = location;
    return this.decode(location, options, (range) => {
      const within = range.length === location.length ? {} : { range };
      return this.read(stored, { ...within, ...more });
    });
  }

  /**
   * The plain bytes of a range of a coded location, whose stored bytes `read` gives; whole ones are
   * held against the part's checksum.
   */
  async decode(
    location: Location,
    { range, checksum }: ReadLocation,
    read: (range: ByteRange) => Promise<Body>,
  ): Promise<Body> {
    const { id, codec, plainBytes, length: storedBytes } = location;
    if (codec !== 'zstd' || plainBytes === undefined) {
      throw new FirnError('FormatUnknown', `bytes are coded as ${String(codec)}`, {
        subject: id,
        hint: 'they were written by a newer Firn: read them with that one',
      });
    }
    const learned = (ends: FrameEnds): void => this.#tables.set(id, ends);
    const frames = { storedBytes, plainBytes, read, ends: this.#tables.get(id), learned };
    const body = await decodeFrames(frames, range ?? { offset: 0, length: plainBytes });
    const isWhole = range === undefined || range.length === plainBytes;
    if (checksum === undefined || !isWhole) return body;
    const { checksums } = this.#context;
    return matching(body, { checksum, checksums, lengthBytes: plainBytes, subject: id });
  }

  async #readPacked(location: PackLocation, options: ReadLocation): Promise<Body> {
    const { range, signal, checksum } = options;
    const { tier, blob, offset } = await this.place(location);
    const within: ByteRange = {
      offset: offset + (range?.offset ?? 0),
      length: range?.length ?? location.length,
    };
    if (within.length === 0) return new Uint8Array(0);
    const body = await tier.read(
      blob,
      signal === undefined ? { range: within } : { range: within, signal },
    );
    const whole = within.length === location.length;
    if (checksum === undefined || !whole || blob.kind !== 'remote') return body;
    const { checksums } = this.#context;
    const { id: subject, length: lengthBytes } = location;
    return matching(body, { checksum, checksums, lengthBytes, subject });
  }

  #tier(location: { tier: string; id: string }): Tier {
    const tier = this.#context.tiers.get(location.tier);
    if (tier !== undefined) return tier;
    throw new FirnError('TierUnavailable', `no tier "${location.tier}" is configured`, {
      subject: location.id,
      hint: 'a tier that objects are in may not be taken out of the configuration',
    });
  }

  #missing(location: PackLocation): FirnError {
    return new FirnError('TierMissing', `the row of pack ${location.pack} is missing`, {
      subject: location.id,
      hint: 'firn rebuild reads the rows of packs back from the packs themselves',
    });
  }
}

interface Wanted {
  checksum: string;
  checksums: StoredChecksums;
  lengthBytes: number;
  subject: string;
}

function matching(body: Body, wanted: Wanted): Body {
  if (!(body instanceof Uint8Array)) return matchingStream(body, wanted);
  const { checksum, checksums, lengthBytes } = wanted;
  if (body.length !== lengthBytes || checksums.of(body) !== checksum) throw corrupt(wanted);
  return body;
}

/**
 * The chunk that completes the length is held until the sum is known: wrong bytes never end well.
 */
async function* matchingStream(
  body: AsyncIterable<Uint8Array>,
  wanted: Wanted,
): AsyncGenerator<Uint8Array> {
  const { checksum, checksums, lengthBytes } = wanted;
  const sum = checksums.open();
  let bytes = 0;
  for await (const chunk of body) {
    sum.update(chunk);
    bytes += chunk.length;
    if (bytes >= lengthBytes) {
      if (bytes > lengthBytes || sum.digest() !== checksum) throw corrupt(wanted);
      yield chunk;
      return;
    }
    yield chunk;
  }
  throw corrupt(wanted);
}

function corrupt(wanted: Wanted): FirnError {
  return new FirnError('Corrupt', 'bytes read from a pack are not the bytes that were packed', {
    subject: wanted.subject,
  });
}
