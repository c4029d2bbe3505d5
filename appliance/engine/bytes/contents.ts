// Equal bytes kept once, in buckets that ask for it (DEDUPE.md): a PUT whose bytes lie there
// already names them instead of its own. The danger is a client told that its bytes are safe
// because some others once were: so old bytes are read back and compared before fresh ones are
// given up, the reference is written before the last look, and whatever is in doubt is written
// anew.

import { createHash, hash } from 'node:crypto';
import type { Bucket } from '../../model/bucket.ts';
import { isFirnError } from '../../model/errors.ts';
import { objectId } from '../../model/ids.ts';
import { DEDUPE_BYTES_MIN } from '../../model/limits.ts';
import type { BlobLocation } from '../../model/location.ts';
import { isNodeGroupTier } from '../../model/node-group.ts';
import type { Content } from '../../model/records.ts';
import type { Body } from '../../model/tier.ts';
import type { Core } from '../document/core.ts';
import { listGarbage, listHeals } from '../document/garbage.ts';
import { plainBytesOf } from '../document/read-location.ts';
import {
  contentId,
  hold,
  writeHead,
  writeHint,
  type HeldLocation,
} from '../document/references.ts';
import { inHand, storeBytes, wrongDigest, type NewBytes, type StoredBytes } from './store-bytes.ts';

export type StoredContent = StoredBytes & {
  /** The bytes were there before, and are named under this reference. */
  shared?: HeldLocation | undefined;
};

/** storeBytes, and in a bucket with dedupe perhaps without any new bytes. */
export function storeContent(core: Core, bucket: Bucket, bytes: NewBytes): Promise<StoredContent> {
  const { context } = core;
  if (bucket.dedupe !== true || bytes.envelope !== undefined) return storeBytes(context, bytes);
  return storeOnce(core, bytes);
}

async function storeOnce(core: Core, bytes: NewBytes): Promise<StoredContent> {
  const { context } = core;
  const body = await inHand(bytes.body, bytes.sizeBytes);
  if (!(body instanceof Uint8Array)) return storeStreamOnce(core, bytes, body);
  const { sizeBytes = body.length, bucketId, contentMd5 } = bytes;
  if (body.length < DEDUPE_BYTES_MIN || sizeBytes !== body.length) {
    return storeBytes(context, { ...bytes, body });
  }
  const content = contentId(bucketId, hash('sha256', body, 'hex'), body.length);
  const shared = await share(core, bytes, { content, sizeBytes, isSame: sameAs(body) });
  if (shared !== undefined) {
    if (contentMd5 !== undefined && contentMd5 !== shared.etag) throw wrongDigest();
    return shared;
  }
  const stored = await storeBytes(context, { ...bytes, body });
  await offer(core, bytes, { content, stored });
  return stored;
}

/** Nobody knows its hash before its end: it is stored, and given up again if it was there. */
async function storeStreamOnce(
  core: Core,
  bytes: NewBytes,
  body: AsyncIterable<Uint8Array>,
): Promise<StoredContent> {
  const { context } = core;
  const sum = createHash('sha256');
  const stored = await storeBytes(context, { ...bytes, body: summed(body, sum) });
  const { sizeBytes } = stored;
  if (stored.stored === undefined || sizeBytes < DEDUPE_BYTES_MIN) return stored;
  const sha256 = sum.digest('hex');
  const content = contentId(bytes.bucketId, sha256, sizeBytes);
  const shared = await share(core, bytes, { content, sizeBytes, isSame: hashesTo(sha256) });
  if (shared === undefined || shared.etag !== stored.etag) {
    await offer(core, bytes, { content, stored });
    return stored;
  }
  const lost = { locations: [stored.stored.location], blocks: [] };
  await listGarbage(context, lost, { object: objectOf(bytes), reason: 'lost' });
  return shared;
}

const objectOf = ({ bucketId, key }: NewBytes): string => objectId(bucketId, key);

async function* summed(
  body: AsyncIterable<Uint8Array>,
  sum: { update(chunk: Uint8Array): unknown },
): AsyncGenerator<Uint8Array> {
  for await (const chunk of body) {
    sum.update(chunk);
    yield chunk;
  }
}

/** Compares bytes that were read back. */
type Comparison = () => { update(chunk: Uint8Array): void; isSame(): boolean };

function sameAs(body: Uint8Array): Comparison {
  return () => {
    let at = 0;
    let isSame = true;
    return {
      update(chunk) {
        isSame &&= Buffer.compare(body.subarray(at, at + chunk.length), chunk) === 0;
        at += chunk.length;
      },
      isSame: () => isSame && at === body.length,
    };
  };
}

function hashesTo(sha256: string): Comparison {
  return () => {
    const sum = createHash('sha256');
    return {
      update: (chunk) => void sum.update(chunk),
      isSame: () => sum.digest('hex') === sha256,
    };
  };
}

async function share(
  core: Core,
  bytes: NewBytes,
  of: { content: string; sizeBytes: number; isSame: Comparison },
): Promise<(StoredContent & { shared: HeldLocation }) | undefined> {
  const { tier, signal } = bytes;
  const found = await findShared(core, { ...of, object: objectOf(bytes), tier, signal });
  if (found === undefined) return undefined;
  const { location, checksum, etag, shared } = found;
  return { stored: { location, checksum }, sizeBytes: of.sizeBytes, etag, shared };
}

export interface Sought {
  content: string;
  /** objectId of who would name them. */
  object: string;
  tier: string;
  sizeBytes: number;
  /** Looks at the bytes; without it `checksum` says which they are. */
  isSame?: Comparison;
  checksum?: string;
  /** Asked before they are read. */
  fits?: (location: BlobLocation) => boolean;
  signal?: AbortSignal | undefined;
}

/**
 * The bytes that lie there already, under a reference of the object; undefined: write your own. On
 * return nobody frees them before the reference has grown old.
 */
export async function findShared(
  core: Core,
  sought: Sought,
): Promise<(Content & { shared: HeldLocation }) | undefined> {
  const { context } = core;
  const { content, object, tier, sizeBytes, isSame, signal } = sought;
  const row = await context.store.get<Content>('contents', content);
  if (row === undefined) return undefined;
  const { location, checksum } = row.value;
  if (location.tier !== tier || plainBytesOf(location) !== sizeBytes) return undefined;
  if (sought.checksum !== undefined && sought.checksum !== checksum) return undefined;
  if (sought.fits?.(location) === false || !isSafe(core, location)) return undefined;
  if (!(await readsAs(core, { location, checksum }, isSame, signal))) return undefined;
  const shared = await hold(context, location.id, object);
  return shared === undefined ? undefined : { ...row.value, shared };
}

/**
 * No new name for what lies in a group that drains (it would never be empty), or in one in which a
 * write would be refused for the drives that are away.
 */
function isSafe(core: Core, location: BlobLocation): boolean {
  if (location.kind === 'remote') return true;
  const tier = core.context.tiers.get(location.tier);
  return tier !== undefined && (!isNodeGroupTier(tier) || tier.isSafeIn(location.group));
}

/** Whether the bytes can be read, and are those. The port's refusals are a no; nothing else is. */
async function readsAs(
  core: Core,
  { location, checksum }: { location: BlobLocation; checksum: string },
  comparison?: Comparison,
  signal?: AbortSignal,
): Promise<boolean> {
  const sum = core.context.checksums.open();
  const compared = comparison?.();
  try {
    const body = await core.locations.read(location, signal === undefined ? {} : { signal });
    for await (const chunk of chunksOf(body)) {
      sum.update(chunk);
      compared?.update(chunk);
    }
  } catch (error) {
    if (isFirnError(error)) return false;
    throw error;
  }
  return sum.digest() === checksum && compared?.isSame() !== false;
}

async function* chunksOf(body: Body): AsyncGenerator<Uint8Array> {
  if (body instanceof Uint8Array) yield body;
  else yield* body;
}

/** Bytes just stored may be shared from now on. */
async function offer(
  core: Core,
  bytes: NewBytes,
  { content, stored: { stored, etag } }: { content: string; stored: StoredBytes },
): Promise<void> {
  if (stored === undefined) return;
  const { location, checksum } = stored;
  await offerContent(core, { content, location, checksum, etag, object: objectOf(bytes) });
}

/**
 * The head, then the hint: a hint without a head only costs the next PUT a look. Bytes short of
 * full redundancy are on the heal list before either: whoever shares them is acknowledged, though
 * their writer may have died before its own commit.
 */
export async function offerContent(
  core: Core,
  of: { content: string; location: BlobLocation; checksum: string; etag: string; object: string },
): Promise<void> {
  const { context } = core;
  const { content, location, checksum, etag, object } = of;
  const healing = listHeals(context, [location]);
  if (healing !== undefined) await healing;
  if (!(await writeHead(context, { location, object, content }))) return;
  await writeHint(context.store, content, { format: 1, location, checksum, etag });
}
