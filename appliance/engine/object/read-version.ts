// The bytes of a version, over all its parts. A move may take them elsewhere at any instant, and
// the collector frees the old place a grace later: a reader who does not find the bytes, or finds
// them damaged, reads the document once more and goes on at the same byte in the new place. Only
// when the document still names the place that failed is the failure the answer.

import assert from 'node:assert/strict';
import { FirnError, isFirnError } from '../../model/errors.ts';
import type { Location } from '../../model/location.ts';
import type { ObjectDocument, Part, Version } from '../../model/object.ts';
import type { Body, ByteRange } from '../../model/tier.ts';
import type { Core } from '../document/core.ts';
import { findById, loadParts, reread } from '../document/history.ts';
import { stretchesOf, type Stretch } from '../bytes/range.ts';
import { openBytes, sealOfPart } from '../bytes/sealed-bytes.ts';

export interface VersionToRead {
  /** objectId. */
  object: string;
  version: Version;
  /** Loaded (loadParts). */
  parts: readonly Part[];
  /** Read the restored copy instead of the parts' own places. */
  fromCopy: boolean;
  range: ByteRange;
  /** What opens the parts (openEnvelope); undefined exactly where the version is not encrypted. */
  dataKey: Uint8Array | undefined;
  signal?: AbortSignal | undefined;
}

/** What a reader keeps between two stretches. */
interface Reading extends VersionToRead {
  core: Core;
  /** Where each part's bytes are, by index. */
  places: readonly Location[];
}

/**
 * Opens the range (at least its first stretch, so that a failure is an answer and no broken
 * stream). Small ranges of one part come as an array that is the caller's.
 */
export async function readVersion(core: Core, wanted: VersionToRead): Promise<Body> {
  const isSealed = wanted.version.encryption !== undefined;
  assert.equal(wanted.dataKey !== undefined, isSealed, 'sealed bytes are never handed out');
  const stretches = stretchesOf(wanted.parts, wanted.range);
  const first = stretches[0];
  if (first === undefined) return new Uint8Array(0);
  const reading: Reading = {
    ...wanted,
    core,
    places: placesOf(wanted, wanted.version, wanted.parts),
  };
  const body = await open(reading, first, 0);
  if (body instanceof Uint8Array && stretches.length === 1) return body;
  return stream(reading, stretches, body);
}

function placesOf(
  wanted: { fromCopy: boolean },
  version: Version,
  parts: readonly Part[],
): readonly Location[] {
  const copy = wanted.fromCopy ? version.restore?.copy : undefined;
  return copy ?? parts.map((part) => part.location);
}

/** True for failures that a move in between explains. */
function mayHaveMoved(error: unknown): boolean {
  return (
    isFirnError(error, 'TierMissing') ||
    isFirnError(error, 'Corrupt') ||
    isFirnError(error, 'TierOffline') ||
    isFirnError(error, 'TierUnavailable')
  );
}

/** Reads a stretch from `done` bytes on; from its new place when it was moved. */
async function open(reading: Reading, stretch: Stretch, done: number): Promise<Body> {
  try {
    return await openAt(reading, stretch, done);
  } catch (error) {
    if (!mayHaveMoved(error) || !(await relocate(reading, stretch))) throw error;
    return openAt(reading, stretch, done);
  }
}

async function openAt(reading: Reading, stretch: Stretch, done: number): Promise<Body> {
  const location = reading.places[stretch.index] as Location;
  const part = reading.parts[stretch.index] as Part;
  const { checksum, sizeBytes } = part;
  const seal = sealOfPart(part, reading.dataKey);
  const range = { offset: stretch.offset + done, length: stretch.length - done };
  const { signal } = reading;
  const whole = range.length === sizeBytes;
  const body = await reading.core.locations.read(location, {
    ...(whole ? { checksum } : { range }),
    ...(signal === undefined ? {} : { signal }),
  });
  return seal === undefined ? body : openBytes(body, seal, range.offset);
}

/**
 * True if the document, read afresh, names another place for the stretch; `reading` then does too.
 */
async function relocate(reading: Reading, stretch: Stretch): Promise<boolean> {
  const { core, object, version } = reading;
  const old = reading.places[stretch.index] as Location;
  core.locations.forget(old);
  const { store } = core.context;
  const places = await reread(object, async () => {
    const row = await store.get<ObjectDocument>('objects', object);
    if (row === undefined) return undefined;
    const now = await findById(store, row.value, version.id);
    if (now === undefined) return undefined;
    return placesOf(reading, now, await loadParts(store, now));
  });
  const place = places?.[stretch.index];
  if (places?.length !== reading.places.length || place === undefined) return false;
  if (place.id === old.id) return false;
  reading.places = places;
  core.context.count?.('read-relocated');
  return true;
}

async function* stream(
  reading: Reading,
  stretches: readonly Stretch[],
  first: Body,
): AsyncGenerator<Uint8Array> {
  for (let i = 0; i < stretches.length; i++) {
    const stretch = stretches[i] as Stretch;
    let body = i === 0 ? first : await open(reading, stretch, 0);
    let done = 0;
    for (let tries = 0; done < stretch.length; tries++) {
      try {
        if (body instanceof Uint8Array) {
          done += body.length;
          yield body;
        } else {
          for await (const chunk of body) {
            done += chunk.length;
            yield chunk;
          }
        }
        if (done !== stretch.length) throw cutShort(reading, stretch, done);
      } catch (error) {
        // Going on behind bytes already sent is sound only where each was verified on its way.
        const { kind } = reading.places[stretch.index] as Location;
        const verified = kind === 'segment' || kind === 'shards';
        if (tries > 0 || !verified || done >= stretch.length || !mayHaveMoved(error)) throw error;
        if (!(await relocate(reading, stretch))) throw error;
        body = await openAt(reading, stretch, done);
      }
    }
  }
}

function cutShort(reading: Reading, stretch: Stretch, done: number): FirnError {
  const location = reading.places[stretch.index] as Location;
  return new FirnError('Corrupt', `${done} of ${stretch.length} bytes were there`, {
    subject: location.id,
  });
}
