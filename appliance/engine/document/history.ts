// Reading what a document keeps outside itself (A5): old versions and long part lists live in
// immutable blocks. A block that is missing means that the document was changed since it was read:
// whoever meets BlockMissing reads the document again, and only if that says the same is something
// lost.

import { FirnError } from '../../model/errors.ts';
import { NULL_VERSION } from '../../model/ids.ts';
import type { MetadataStore } from '../../model/metadata-store.ts';
import type { Block, HistoryRef, ObjectDocument, Part, Version } from '../../model/object.ts';

/** Not for callers of the engine: reread() turns it into an answer. */
export class BlockMissing extends Error {
  readonly block: string;

  constructor(block: string) {
    super(`block ${block} is not there`);
    this.name = 'BlockMissing';
    this.block = block;
  }
}

async function loadBlock<K extends Block['kind']>(
  store: MetadataStore,
  id: string,
  kind: K,
): Promise<Extract<Block, { kind: K }>> {
  const row = await store.get<Block>('blocks', id);
  if (row === undefined) throw new BlockMissing(id);
  if (row.value.kind !== kind || row.value.format !== 1) {
    throw new FirnError('FormatUnknown', `block ${id} is no ${kind} block of format 1`);
  }
  return row.value as Extract<Block, { kind: K }>;
}

/** Newest first. */
export async function loadVersions(store: MetadataStore, block: string): Promise<Version[]> {
  return (await loadBlock(store, block, 'versions')).versions;
}

/** A version's parts, wherever they are. */
export async function loadParts(store: MetadataStore, version: Version): Promise<Part[]> {
  if (version.partsBlock === undefined) return version.parts;
  return (await loadBlock(store, version.partsBlock, 'parts')).parts;
}

/** Whether a look-up by `selector` ("null" or a version id) is for this version. */
export function isSelected(version: Version, selector: string): boolean {
  return selector === NULL_VERSION ? version.isNull : version.id === selector && !version.isNull;
}

/**
 * False if the block certainly doesn't hold it. Ids begin with the key's sequence, newest first.
 */
export function mayHold(history: readonly HistoryRef[], index: number, selector: string): boolean {
  const ref = history[index] as HistoryRef;
  if (selector === NULL_VERSION) return ref.hasNull !== false;
  if (ref.newest !== undefined && ref.newest < selector) return false;
  const older = history[index + 1]?.newest;
  return older === undefined || older < selector;
}

/**
 * The version that S3 means by `selector`: undefined = the current one, delete marker or not. Looks
 * through history blocks by their bounds; may throw BlockMissing.
 */
export async function findVersion(
  store: MetadataStore,
  document: ObjectDocument,
  selector: string | undefined,
): Promise<Version | undefined> {
  if (selector === undefined) return document.versions[0];
  return search(store, document, { selector, fits: (version) => isSelected(version, selector) });
}

async function search(
  store: MetadataStore,
  document: ObjectDocument,
  wanted: { selector: string; fits: (version: Version) => boolean },
): Promise<Version | undefined> {
  const inline = document.versions.find(wanted.fits);
  if (inline !== undefined) return inline;
  for (let i = 0; i < document.history.length; i++) {
    if (!mayHold(document.history, i, wanted.selector)) continue;
    const versions = await loadVersions(store, (document.history[i] as HistoryRef).block);
    const found = versions.find(wanted.fits);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The version with this id, null version or not: it may have moved into the history since. */
export function findById(
  store: MetadataStore,
  document: ObjectDocument,
  id: string,
): Promise<Version | undefined> {
  return search(store, document, { selector: id, fits: (version) => version.id === id });
}

const READS_MAX = 8;

/**
 * Runs `read` again while it meets missing blocks: each run must read the document afresh. Corrupt
 * when the same block is missing twice: a committed document names a block that isn't there (I1).
 */
export async function reread<A>(subject: string, read: () => Promise<A>): Promise<A> {
  let missing: string | undefined;
  for (let i = 0; i < READS_MAX; i++) {
    try {
      return await read();
    } catch (error) {
      if (!(error instanceof BlockMissing)) throw error;
      if (error.block === missing) break;
      missing = error.block;
    }
  }
  throw new FirnError('Corrupt', `block ${missing} named by the object's document is missing`, {
    subject,
    hint: 'restore it from a metadata snapshot',
  });
}
