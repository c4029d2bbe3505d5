// Reads many small stretches of packs as a few long ones. Versions that move together mostly lie
// behind one another in the pack that they come from; read one by one, 3,000 of them are 3,000
// requests to a cloud, and each verifies a whole piece for the sake of a kilobyte. Read in spans
// they are a dozen. What is read is verified by the part's own checksum wherever it goes (packer,
// verifyStored), so a span needs no check of its own; one that can't be read at all is read stretch
// by stretch, for the others' sake.

import { isFirnError } from '../../model/errors.ts';
import { KiB, MiB } from '../../model/limits.ts';
import type { Location, PackLocation } from '../../model/location.ts';
import type { Body } from '../../model/tier.ts';
import type { Core } from '../document/core.ts';

const SPAN_BYTES_MAX = 4 * MiB;
/** Bytes of no interest between two stretches that are read all the same. */
const GAP_BYTES_MAX = 64 * KiB;
/** Longer ones are read by themselves. */
const STRETCH_BYTES_MAX = MiB;
/** Spans kept: packs that are read from in turn. */
const SPANS_MAX = 8;

interface Span {
  first: PackLocation;
  offset: number;
  length: number;
  /** Stretches not yet asked for. */
  left: number;
}

export class SpanReader {
  readonly #core: Core;
  readonly #signal: AbortSignal | undefined;
  readonly #spanOf = new Map<string, Span>();
  readonly #read = new Map<Span, Promise<Uint8Array | undefined>>();

  /** `locations`: all that will be asked for, once each. */
  constructor(core: Core, locations: Iterable<Location>, signal?: AbortSignal) {
    this.#core = core;
    this.#signal = signal;
    const short: PackLocation[] = [];
    for (const location of locations) {
      const isShort = location.kind === 'pack' && location.length <= STRETCH_BYTES_MAX;
      if (isShort && location.length > 0) short.push(location);
    }
    this.#plan(short);
  }

  #plan(locations: PackLocation[]): void {
    const inOrder = locations.sort((a, b) =>
      a.pack === b.pack ? a.offset - b.offset : a.pack < b.pack ? -1 : 1,
    );
    let open: Span | undefined;
    for (const location of inOrder) {
      const end = location.offset + location.length;
      const fits =
        open !== undefined &&
        open.first.pack === location.pack &&
        location.offset - (open.offset + open.length) <= GAP_BYTES_MAX &&
        end - open.offset <= SPAN_BYTES_MAX;
      if (open === undefined || !fits) {
        open = { first: location, offset: location.offset, length: location.length, left: 0 };
      } else open.length = Math.max(open.length, end - open.offset);
      open.left += 1;
      this.#spanOf.set(location.id, open);
    }
  }

  /** The bytes of a location, as LocationReader.read; small ones of packs out of their span. */
  async read(location: Location, checksum: string): Promise<Body> {
    const span = this.#spanOf.get(location.id);
    if (span === undefined || location.kind !== 'pack' || span.length === location.length) {
      return this.#alone(location, checksum);
    }
    const bytes = await this.#bytesOf(span);
    span.left -= 1;
    if (span.left === 0) this.#read.delete(span);
    if (bytes === undefined) return this.#alone(location, checksum);
    const from = location.offset - span.offset;
    const own = bytes.subarray(from, from + location.length);
    if (location.codec === undefined) return own;
    const { locations } = this.#core;
    return locations.decode(location, { checksum }, ({ offset, length }) =>
      Promise.resolve(own.subarray(offset, offset + length)),
    );
  }

  #alone(location: Location, checksum: string): Promise<Body> {
    const signal = this.#signal === undefined ? {} : { signal: this.#signal };
    return this.#core.locations.read(location, { checksum, ...signal });
  }

  /** Undefined: it can't be read as a whole. */
  #bytesOf(span: Span): Promise<Uint8Array | undefined> {
    const known = this.#read.get(span);
    if (known !== undefined) return known;
    // The oldest goes; asked for again it is read again.
    if (this.#read.size >= SPANS_MAX) {
      for (const oldest of this.#read.keys()) {
        this.#read.delete(oldest);
        break;
      }
    }
    const reading = this.#fetch(span).catch((error: unknown) => {
      if (isFirnError(error, 'Corrupt') || isFirnError(error, 'TierMissing')) return undefined;
      throw error;
    });
    this.#read.set(span, reading);
    return reading;
  }

  async #fetch(span: Span): Promise<Uint8Array | undefined> {
    const { tier, blob } = await this.#core.locations.place(span.first);
    const range = { offset: span.offset, length: span.length };
    const signal = this.#signal === undefined ? {} : { signal: this.#signal };
    const body = await tier.read(blob, { range, ...signal });
    if (body instanceof Uint8Array) return body.length === span.length ? body : undefined;
    const whole = Buffer.allocUnsafeSlow(span.length);
    let at = 0;
    for await (const chunk of body) {
      if (at + chunk.length > whole.length) return undefined;
      whole.set(chunk, at);
      at += chunk.length;
    }
    return at === whole.length ? whole : undefined;
  }
}
