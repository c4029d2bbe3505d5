// What a document, an upload or a pack's row names: the look that stands between listed bytes and
// their end (B4), and between listed bytes and the sweep. It errs in one direction only: what
// cannot be read is named. The order is part of the protocol: the upload first and then the
// document, because a Complete takes names from the one to the other, never back.

import type { Location, Pack } from '../../model/location.ts';
import { isFirnError } from '../../model/errors.ts';
import { objectId } from '../../model/ids.ts';
import type { MetadataStore, Row } from '../../model/metadata-store.ts';
import type { Block, ObjectDocument, Upload, Version } from '../../model/object.ts';
import { BlockMissing, loadParts, loadVersions, reread } from './history.ts';
import { referencesOf } from './references.ts';
import { isEnded, locationsOfPart, partPages, uploadRowId } from './upload-rows.ts';

export interface Names {
  locations: Set<string>;
  /** Ids of rows of `blocks`. */
  blocks: Set<string>;
  /** Told of each location too, perhaps twice. */
  seen?: (location: Location) => void;
}

function addLocation(names: Names, location: Location): void {
  names.locations.add(location.id);
  names.seen?.(location);
}

const PACK_PREFIX = 'pack/';
const UPLOADS_PAGE = 1000;

/** The document id that rows about a pack's own blob and blocks name. */
export function packObject(pack: string): string {
  return PACK_PREFIX + pack;
}

/** The pack that such a row is about; undefined for an object's. */
export function packOfObject(object: string): string | undefined {
  return object.startsWith(PACK_PREFIX) ? object.slice(PACK_PREFIX.length) : undefined;
}

/** Whether the upload's part rows name their bytes (C1, C4). */
export function holdsParts(upload: Upload | undefined): boolean {
  return !isEnded(upload?.state);
}

/** Adds what one upload names. May throw BlockMissing: read the upload again. */
export async function addUploadNames(
  store: MetadataStore,
  upload: Upload,
  names: Names,
): Promise<void> {
  const { completing, state, uploadId } = upload;
  if (state === 'completing' && completing !== undefined) {
    for (const part of completing.parts) addLocation(names, part.location);
    const { partsBlock } = completing;
    if (partsBlock !== undefined) {
      names.blocks.add(partsBlock);
      const block = await store.get<Block>('blocks', partsBlock);
      if (block?.value.kind !== 'parts') throw new BlockMissing(partsBlock);
      for (const part of block.value.parts) addLocation(names, part.location);
    }
  }
  if (!holdsParts(upload)) return;
  for await (const rows of partPages(store, uploadId)) {
    for (const { value } of rows) {
      for (const location of locationsOfPart(value)) addLocation(names, location);
    }
  }
}

/** Adds what a version names, its parts' block read. */
export async function addVersionNames(
  store: MetadataStore,
  version: Version,
  names: Names,
): Promise<void> {
  if (version.partsBlock !== undefined) names.blocks.add(version.partsBlock);
  for (const part of await loadParts(store, version)) addLocation(names, part.location);
  for (const location of version.restore?.copy ?? []) addLocation(names, location);
}

/** Adds what a document names, history and all. May throw BlockMissing: read the document again. */
export async function addDocumentNames(
  store: MetadataStore,
  document: ObjectDocument,
  names: Names,
): Promise<void> {
  for (const version of document.versions) await addVersionNames(store, version, names);
  for (const { block } of document.history) {
    names.blocks.add(block);
    for (const version of await loadVersions(store, block)) {
      await addVersionNames(store, version, names);
    }
  }
}

/** Adds what the row of a pack names: its blob and the lists of its members. */
export function addPackNames(pack: Pack, names: Names): void {
  addLocation(names, pack.blob);
  for (const block of pack.members ?? []) names.blocks.add(block);
}

/**
 * All that may still name a candidate of this document ('' if nobody knows which), read afresh
 * (MongoDB: linearizable). Corrupt where a committed document names a block that is not there: then
 * nothing may be freed.
 */
export function namesOf(
  store: MetadataStore,
  object: string,
  uploads: Iterable<string>,
): Promise<Names> {
  const linearizable = { linearizable: true };
  return reread(object, async () => {
    const names: Names = { locations: new Set(), blocks: new Set() };
    if (object === '') return names;
    const pack = packOfObject(object);
    if (pack !== undefined) {
      const row = await store.get<Pack>('packs', pack, linearizable);
      if (row !== undefined) addPackNames(row.value, names);
      return names;
    }
    for (const uploadId of uploads) {
      const id = uploadRowId(object, uploadId);
      const upload = await store.get<Upload>('uploads', id, linearizable);
      if (upload !== undefined) await addUploadNames(store, upload.value, names);
    }
    const row = await store.get<ObjectDocument>('objects', object, linearizable);
    if (row !== undefined) await addDocumentNames(store, row.value, names);
    return names;
  });
}

/** Ids of the uploads of this key that have not ended: all, as any of them may hold a record. */
export async function uploadsOf(store: MetadataStore, object: string): Promise<string[]> {
  const ids: string[] = [];
  let bound: { from: string } | { after: string } = { from: `${object}\u0001` };
  for (;;) {
    const rows: Row<Upload>[] = await store.range<Upload>({
      table: 'uploads',
      ...bound,
      to: `${object}\u0002`,
      limit: UPLOADS_PAGE,
    });
    for (const { value } of rows) if (holdsParts(value)) ids.push(value.uploadId);
    const last = rows.at(-1);
    if (last === undefined || rows.length < UPLOADS_PAGE) return ids;
    bound = { after: last.id };
  }
}

/**
 * Whether anything names this location, read afresh: what decides if bytes that can't be had are a
 * loss or the leftover of a write that nobody was told of. What can't be read counts as named.
 */
export async function isNamed(
  store: MetadataStore,
  of: { bucketId: string; key: string; id: string },
): Promise<boolean> {
  const object = objectId(of.bucketId, of.key);
  try {
    const names = await namesOf(store, object, await uploadsOf(store, object));
    if (names.locations.has(of.id)) return true;
    for await (const rows of referencesOf(store, of.id)) {
      for (const { value } of rows) {
        const shared = await namesOf(store, value.object, []);
        if (shared.locations.has(of.id)) return true;
      }
    }
  } catch (error) {
    if (!isFirnError(error, 'Corrupt')) throw error;
    return true;
  }
  return (await store.get('packs', of.id, { linearizable: true })) !== undefined;
}
