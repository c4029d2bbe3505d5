// The newest snapshots of the metadata in a tier that is not of the drives they were made on: a
// fire that takes every drive of this host leaves the packs in the clouds, and this says what is
// in them. Two are kept, the newest and the one before. The danger is a blob that the sweep takes
// for nobody's: the row that names them is read by it.

import { FirnError } from '../../model/errors.ts';
import { newLocationId } from '../../model/ids.ts';
import type { BlobLocation } from '../../model/location.ts';
import type { MetadataStore, Row } from '../../model/metadata-store.ts';
import type { Body, Tier } from '../../model/tier.ts';
import type { EngineContext } from '../document/context.ts';

const ROW = 'metadata-snapshots';
const KEPT_MAX = 2;

export interface KeptSnapshot {
  /** Every change up to this commit number is in it. */
  number: number;
  tier: string;
  location: BlobLocation;
  sizeBytes: number;
  /** Of which files it is; kept before there was one: another than any. */
  print?: string;
  /** Engine ms. */
  at: number;
}

interface KeptSnapshots {
  format: 1;
  /** Newest first. */
  kept: KeptSnapshot[];
}

/**
 * The bytes of a kept snapshot, known by its length and the `headBytes` that it begins with: for a
 * rebuild, which has no metadata that would name it. Undefined where the tier has none such.
 */
export async function findKept(
  tier: Tier,
  wanted: { sizeBytes: number; headBytes: number; isIt: (head: Uint8Array) => boolean },
): Promise<AsyncIterable<Uint8Array> | undefined> {
  for await (const { location, sizeBytes } of tier.list()) {
    if (sizeBytes !== wanted.sizeBytes) continue;
    const range = { offset: 0, length: wanted.headBytes };
    const head: Uint8Array[] = [];
    for await (const piece of piecesOf(await tier.read(location, { range }))) {
      head.push(Buffer.from(piece));
    }
    if (wanted.isIt(Buffer.concat(head))) return piecesOf(await tier.read(location));
  }
  return undefined;
}

async function* piecesOf(body: Body): AsyncGenerator<Uint8Array> {
  if (body instanceof Uint8Array) yield body;
  else yield* body;
}

const rowOf = (store: MetadataStore): Promise<Row<KeptSnapshots> | undefined> =>
  store.get<KeptSnapshots>('settings', ROW);

export async function keptSnapshots(store: MetadataStore): Promise<KeptSnapshot[]> {
  return (await rowOf(store))?.value.kept ?? [];
}

/**
 * Puts the snapshot into the tier, unless it is there; on return it is durable, read back, named by
 * the row, and those before the last two are gone. A crash before the row leaves a blob that the
 * sweep finds.
 */
export async function keepSnapshot(
  context: Pick<EngineContext, 'store' | 'clock' | 'random'>,
  tier: Tier,
  snapshot: { number: number; sizeBytes: number; print: string; read: () => Body },
): Promise<void> {
  const { store, clock, random } = context;
  const { number, sizeBytes, print } = snapshot;
  const row = await rowOf(store);
  const before = row?.value.kept ?? [];
  const isIt = (one: KeptSnapshot): boolean => one.print === print && one.tier === tier.name;
  if (before.some(isIt)) return;
  const { location, checksum } = await tier.put({
    id: newLocationId(clock, random),
    sizeBytes,
    body: snapshot.read(),
    owner: { bucketId: 'firn', key: `metadata-snapshot-${number}` },
  });
  const found = await tier.verify(location);
  if (found.checksum !== checksum || found.sizeBytes !== sizeBytes) {
    throw new FirnError('Corrupt', 'a snapshot of the metadata reads back as something else', {
      subject: tier.name,
    });
  }
  const made = { number, tier: tier.name, location, sizeBytes, print, at: clock.now() };
  const value: KeptSnapshots = { format: 1, kept: [made, ...before].slice(0, KEPT_MAX) };
  const result =
    row === undefined
      ? await store.insert('settings', ROW, value)
      : await store.replace({ table: 'settings', id: ROW, expected: row.revision, value });
  if (result.outcome !== 'done') return;
  for (const old of before.slice(KEPT_MAX - 1)) {
    if (old.tier === tier.name) await tier.delete(old.location);
  }
}
