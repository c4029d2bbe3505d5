// A request's body on its way into a tier: counted, its MD5 taken, both compared with what the
// client announced before the tier may call the blob whole, and sealed where that is asked for. The
// danger: a truncated or altered body that is acknowledged, or one that lies in the clear although
// it was to be sealed. MD5 is made beside that of the other bodies under way (model/md5-lanes.ts),
// a small body's not before its bytes are durable: 2 µs for 4 KiB instead of 7.

import { setImmediate as turn } from 'node:timers/promises';
import { FirnError } from '../../model/errors.ts';
import { newLocationId } from '../../model/ids.ts';
import { md5Lanes, type PendingMd5 } from '../../model/md5-lanes.ts';
import { PUT_BYTES_MAX, SMALL_BYTES_MAX } from '../../model/limits.ts';
import type { BlobLocation } from '../../model/location.ts';
import type { Body, PutRequest, Tier } from '../../model/tier.ts';
import type { EngineContext } from '../document/context.ts';
import type { NewEnvelope } from './envelope.ts';
import {
  COUNTER_BYTES,
  keyedEtag,
  sealingCipher,
  sealStream,
  type PartSeal,
} from './sealed-bytes.ts';

export interface NewBytes {
  tier: string;
  bucketId: string;
  key: string;
  body: Body;
  sizeBytes?: number | undefined;
  /** Hex. */
  contentMd5?: string | undefined;
  signal?: AbortSignal | undefined;
  /** A body without bytes becomes an empty blob: a part's row needs a location. */
  keepsEmpty?: boolean;
  /** Seals the bytes; each call under a counter of its own. */
  envelope?: NewEnvelope | undefined;
}

export interface StoredBytes {
  /** Undefined for a body without bytes: there is nothing to keep. */
  stored: { location: BlobLocation; checksum: string } | undefined;
  sizeBytes: number;
  /** MD5 as hex; under SSE-C and SSE-KMS keyedEtag of it. */
  etag: string;
  /** Part.nonce, where the bytes are sealed. */
  nonce?: string;
}

/** MD5 of nothing. */
export const EMPTY_ETAG = 'd41d8cd98f00b204e9800998ecf8427e';

export function wrongDigest(): FirnError {
  return new FirnError('BadDigest', 'The Content-MD5 you specified did not match what we received');
}

function incomplete(wanted: number, got: number): FirnError {
  return new FirnError(
    'IncompleteBody',
    'You did not provide the number of bytes specified by the Content-Length HTTP header',
    { details: { Expected: String(wanted), Received: String(got) } },
  );
}

function tooLarge(): FirnError {
  return new FirnError('EntityTooLarge', 'Your proposed upload exceeds the maximum allowed size', {
    details: { MaxSizeAllowed: String(PUT_BYTES_MAX) },
  });
}

/**
 * Stores the body under a fresh location id. On return the bytes are durable. Throws BadDigest,
 * IncompleteBody, EntityTooLarge, what the body throws and what Tier.put throws; a partial blob is
 * then left to the tier or the sweep (B5).
 */
export async function storeBytes(context: EngineContext, bytes: NewBytes): Promise<StoredBytes> {
  const { sizeBytes } = bytes;
  let { body } = bytes;
  if (sizeBytes !== undefined && sizeBytes > PUT_BYTES_MAX) throw tooLarge();
  body = await inHand(body, sizeBytes);
  if (body instanceof Uint8Array) return storeWhole(context, bytes, body);
  if (sizeBytes !== undefined) return storeStream(context, bytes, body);
  // Of unknown size: it may have no bytes at all, and then there is nothing to keep.
  const source = body[Symbol.asyncIterator]();
  const first = await source.next();
  if (first.done === true) return storeWhole(context, bytes, new Uint8Array(0));
  return storeStream(context, bytes, resumed(first.value, source));
}

async function* resumed(
  first: Uint8Array,
  source: AsyncIterator<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  try {
    yield first;
    for (;;) {
      const next = await source.next();
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    await source.return?.();
  }
}

function tierOf(context: EngineContext, name: string): Tier {
  const tier = context.tiers.get(name);
  if (tier !== undefined) return tier;
  throw new FirnError('TierUnavailable', `no tier "${name}" is configured`);
}

function putRequest(context: EngineContext, bytes: NewBytes, body: Body): PutRequest {
  const request: PutRequest = {
    id: newLocationId(context.clock, context.random),
    body,
    owner: { bucketId: bytes.bucketId, key: bytes.key },
  };
  if (bytes.signal !== undefined) request.signal = bytes.signal;
  return request;
}

async function storeWhole(
  context: EngineContext,
  bytes: NewBytes,
  body: Uint8Array,
): Promise<StoredBytes> {
  const { sizeBytes = body.length, contentMd5 } = bytes;
  if (sizeBytes !== body.length) throw incomplete(sizeBytes, body.length);
  if (sizeBytes === 0 && bytes.keepsEmpty !== true) {
    if (contentMd5 !== undefined && contentMd5 !== EMPTY_ETAG) throw wrongDigest();
    return { stored: undefined, sizeBytes, etag: EMPTY_ETAG };
  }
  const md5 = md5Lanes().begin(body);
  try {
    await checkDigest(md5, contentMd5);
    if (bytes.envelope !== undefined) {
      return await sealWhole(context, { ...bytes, envelope: bytes.envelope }, { body, md5 });
    }
    const request = putRequest(context, bytes, body);
    request.sizeBytes = sizeBytes;
    const stored = await tierOf(context, bytes.tier).put(request);
    return { stored, sizeBytes, etag: md5.digest() };
  } finally {
    md5.drop();
  }
}

/**
 * Before the tier sees a byte; the bodies that arrive in the same turn are hashed with it. The turn
 * is taken whatever others do: a simulation replays exactly.
 */
async function checkDigest(md5: PendingMd5, contentMd5: string | undefined): Promise<void> {
  if (contentMd5 === undefined) return;
  await turn();
  if (md5.digest() !== contentMd5) throw wrongDigest();
}

function newSeal(context: EngineContext, { dataKey }: NewEnvelope): PartSeal {
  return { dataKey, counter: context.random.bytes(COUNTER_BYTES) };
}

/** What the answer says of bytes that were sealed. */
function sealedFacts(
  { encryption, dataKey }: NewEnvelope,
  { counter }: PartSeal,
  md5: string,
): { etag: string; nonce: string } {
  const etag = encryption.kind === 'SSE-S3' ? md5 : keyedEtag(dataKey, md5);
  return { etag, nonce: Buffer.from(counter).toString('base64') };
}

async function sealWhole(
  context: EngineContext,
  bytes: NewBytes & { envelope: NewEnvelope },
  { body, md5 }: { body: Uint8Array; md5: PendingMd5 },
): Promise<StoredBytes> {
  const seal = newSeal(context, bytes.envelope);
  const sealed = sealingCipher(seal).update(body);
  const request = putRequest(context, bytes, sealed);
  request.sizeBytes = sealed.length;
  const stored = await tierOf(context, bytes.tier).put(request);
  const facts = sealedFacts(bytes.envelope, seal, md5.digest());
  return { stored, sizeBytes: body.length, ...facts };
}

async function storeStream(
  context: EngineContext,
  bytes: NewBytes,
  body: AsyncIterable<Uint8Array>,
): Promise<StoredBytes> {
  const { envelope } = bytes;
  const seal = envelope === undefined ? undefined : newSeal(context, envelope);
  const passing = new PassingBody(body, bytes.sizeBytes, bytes.contentMd5);
  const request = putRequest(
    context,
    bytes,
    seal === undefined ? passing : sealStream(passing, seal),
  );
  if (bytes.sizeBytes !== undefined) request.sizeBytes = bytes.sizeBytes;
  const stored = await tierOf(context, bytes.tier).put(request);
  const { bytes: sizeBytes, etag } = passing;
  if (envelope === undefined || seal === undefined) return { stored, sizeBytes, etag };
  return { stored, sizeBytes, ...sealedFacts(envelope, seal, etag) };
}

/** Counts and hashes what passes; throws into the tier's put when it is not what was announced. */
class PassingBody implements AsyncIterable<Uint8Array> {
  bytes = 0;
  etag = '';
  readonly #source: AsyncIterable<Uint8Array>;
  readonly #sizeBytes: number | undefined;
  readonly #contentMd5: string | undefined;

  constructor(
    source: AsyncIterable<Uint8Array>,
    sizeBytes: number | undefined,
    contentMd5: string | undefined,
  ) {
    this.#source = source;
    this.#sizeBytes = sizeBytes;
    this.#contentMd5 = contentMd5;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    const md5 = md5Lanes().stream();
    const wanted = this.#sizeBytes;
    try {
      for await (const chunk of this.#source) {
        this.bytes += chunk.length;
        if (this.bytes > (wanted ?? PUT_BYTES_MAX)) {
          throw wanted === undefined ? tooLarge() : incomplete(wanted, this.bytes);
        }
        md5.update(chunk);
        yield chunk;
      }
      if (wanted !== undefined && this.bytes !== wanted) throw incomplete(wanted, this.bytes);
      this.etag = md5.digest();
    } finally {
      md5.drop();
    }
    if (this.#contentMd5 !== undefined && this.#contentMd5 !== this.etag) throw wrongDigest();
  }
}

/** A body that is known to be small in one array; any other as it is. */
export async function inHand(body: Body, sizeBytes: number | undefined): Promise<Body> {
  const isStream = !(body instanceof Uint8Array);
  if (!isStream || sizeBytes === undefined || sizeBytes > SMALL_BYTES_MAX) return body;
  return collect(body, sizeBytes);
}

/** All of a small body in one array of its own: the chunks may not be kept. */
async function collect(body: AsyncIterable<Uint8Array>, sizeBytes: number): Promise<Uint8Array> {
  const whole = Buffer.allocUnsafeSlow(sizeBytes);
  let at = 0;
  for await (const chunk of body) {
    if (at + chunk.length > sizeBytes) throw incomplete(sizeBytes, at + chunk.length);
    whole.set(chunk, at);
    at += chunk.length;
  }
  if (at !== sizeBytes) throw incomplete(sizeBytes, at);
  return whole;
}
