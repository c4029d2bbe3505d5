// The next document of a key, being made: a change is written against a Draft, and the Draft knows
// what the commit stops naming and what it newly names, so that B1 and B3 hold by construction and
// no operation keeps books of its own. It also keeps A5: what passes 16 KiB of versions moves,
// oldest first, into immutable blocks of at most 256; part lists above 64 become a block of their
// own.

import assert from 'node:assert/strict';
import type { Clock, Random } from '../../model/clock.ts';
import { firstSequence, newLocationId, newVersionId } from '../../model/ids.ts';
import {
  PARTS_INLINE_MAX,
  VERSIONS_INLINE_BYTES_MAX,
  VERSIONS_PER_BLOCK_MAX,
} from '../../model/limits.ts';
import type { Location } from '../../model/location.ts';
import type { MetadataStore } from '../../model/metadata-store.ts';
import type { Amount } from '../../model/quota.ts';
import type { Block, HistoryRef, ObjectDocument, Version } from '../../model/object.ts';
import { isSelected, loadParts, loadVersions, mayHold } from './history.ts';
import { isLockedAlike, requireRelockable, requireRemovable, type Permit } from './protection.ts';

/** What a commit of the draft does to bytes and blocks. */
export interface Outcome {
  /** `same`: nothing was changed. `remove`: nothing is left to keep a document for. */
  kind: 'same' | 'remove' | 'write';
  document: ObjectDocument;
  /** No longer named (B1). */
  released: { locations: Location[]; blocks: string[] };
  /** Ids of locations and blocks newly named (B3). */
  named: string[];
  /** Versions that came, less those that went. Quotas count it. */
  growth: Amount;
  /** To be inserted before the commit, under these ids. */
  blocks: { id: string; value: Block }[];
}

/** One history reference; `versions` are read when first needed. */
interface Entry {
  ref: HistoryRef | undefined;
  versions: Version[] | undefined;
  changed: boolean;
}

export interface DraftContext {
  store: MetadataStore;
  clock: Clock;
  random: Random;
}

/** Every location that the version itself names (parts in a block not included). */
export function locationsOf(version: Version): Location[] {
  const locations = version.parts.map((part) => part.location);
  return version.restore?.copy === undefined ? locations : [...locations, ...version.restore.copy];
}

/** Bytes of a version in a document, near enough to bound its size. */
function weigh(version: Version): number {
  let bytes = 320 + version.parts.length * 260 + (version.restore?.copy?.length ?? 0) * 200;
  const { encryption, acl } = version;
  if (encryption !== undefined) {
    bytes += 160 + (encryption.context?.length ?? 0) + version.parts.length * 24;
  }
  if (acl !== undefined) bytes += acl.grants.length * 100;
  for (const map of [version.headers, version.metadata, version.tags ?? {}]) {
    for (const [name, value] of Object.entries(map)) bytes += name.length + value.length + 4;
  }
  return bytes;
}

function growthOf(added: readonly Version[], dropped: readonly Version[]): Amount {
  const growth = { bytes: 0, objects: 0 };
  for (const version of added) {
    growth.bytes += version.sizeBytes;
    if (!version.deleteMarker) growth.objects += 1;
  }
  for (const version of dropped) {
    growth.bytes -= version.sizeBytes;
    if (!version.deleteMarker) growth.objects -= 1;
  }
  return growth;
}

export class Draft {
  /** Id of the document: objectId. */
  readonly object: string;
  /** The document as read; undefined when absent. */
  readonly base: ObjectDocument | undefined;
  readonly #context: DraftContext;
  #versions: Version[];
  #history: Entry[];
  #operations: Record<string, string> | undefined;
  #sequence: number;
  #changed = false;
  #dropped: Version[] = [];
  #added: Version[] = [];
  readonly #droppedBlocks: string[] = [];

  constructor(context: DraftContext, object: string, base: ObjectDocument | undefined) {
    this.#context = context;
    this.object = object;
    this.base = base;
    this.#versions = base === undefined ? [] : [...base.versions];
    this.#history = (base?.history ?? []).map((ref) => ({
      ref,
      versions: undefined,
      changed: false,
    }));
    this.#operations = base?.operations;
    this.#sequence = base?.sequence ?? firstSequence(context.clock.now());
  }

  /** The newest version, delete marker or not. */
  get current(): Version | undefined {
    return this.#versions[0];
  }

  /**
   * As findVersion, over what the draft is by now. May throw BlockMissing: the commit reads again.
   */
  async find(selector: string | undefined): Promise<Version | undefined> {
    if (selector === undefined) return this.current;
    const at = await this.#place((version) => isSelected(version, selector), selector);
    return at?.versions[at.index];
  }

  /**
   * The version with this id, null version or not: for who remembers the id and not what S3 shows.
   */
  async findById(id: string): Promise<Version | undefined> {
    const at = await this.#place((version) => version.id === id, id);
    return at?.versions[at.index];
  }

  /** A fresh id for the next version of this key. */
  nextVersionId(): string {
    return newVersionId(this.#sequence + 1, this.#context.random);
  }

  /** Puts a version on top. Its id comes from nextVersionId. */
  prepend(version: Version): void {
    this.#changed = true;
    this.#sequence += 1;
    this.#versions.unshift(version);
    this.#added.push(version);
  }

  /**
   * Takes a version out, wherever it is. False if it isn't there. Throws AccessDenied where a lock
   * holds it that `permit` does not pass.
   */
  async remove(version: Version, permit: Permit = 'unprotected'): Promise<boolean> {
    const now = this.#context.clock.now();
    return this.#swap(version.id, undefined, (old) =>
      requireRemovable(old, { permit, now, object: this.object }),
    );
  }

  /**
   * Puts `version` in the place of the one with its id, locked as it is. False if that isn't there.
   */
  async replace(version: Version): Promise<boolean> {
    return this.#swap(version.id, version, (old) =>
      assert(isLockedAlike(old, version), 'what moves a version leaves its locks'),
    );
  }

  /** The same for who may change locks too. Throws AccessDenied where the old ones forbid it. */
  async relock(version: Version, mayBypass: boolean): Promise<boolean> {
    const now = this.#context.clock.now();
    return this.#swap(version.id, version, (old) =>
      requireRelockable(old, version, { mayBypass, now, object: this.object }),
    );
  }

  /** What a Complete with this id came to: a version id or 'refused' (C2, C3). */
  operation(id: string): string | undefined {
    return this.#operations?.[id];
  }

  record(id: string, outcome: string): void {
    this.#changed = true;
    this.#operations = { ...this.#operations, [id]: outcome };
  }

  /**
   * An upload is gone: nobody asks for its operations any more; their ids begin with its own (C2).
   */
  forgetOperationsOf(uploadId: string): void {
    const kept = Object.entries(this.#operations ?? {}).filter(([id]) => !id.startsWith(uploadId));
    if (kept.length === Object.keys(this.#operations ?? {}).length) return;
    this.#changed = true;
    this.#operations = kept.length === 0 ? undefined : Object.fromEntries(kept);
  }

  /** Takes everything out, locked or not, operations too: for a key whose bucket is gone. */
  async clear(): Promise<void> {
    for (const entry of this.#history) this.#dropped.push(...(await this.#versionsOf(entry)));
    this.#dropped.push(...this.#versions);
    for (const { ref } of this.#history) if (ref !== undefined) this.#droppedBlocks.push(ref.block);
    this.#versions = [];
    this.#history = [];
    this.#operations = undefined;
    this.#changed = true;
  }

  /** What to commit. Reads blocks where it must; writes nothing. Call once. */
  async finish(): Promise<Outcome> {
    const blocks: Outcome['blocks'] = [];
    const released: Outcome['released'] = { locations: [], blocks: this.#droppedBlocks };
    if (!this.#changed && this.base !== undefined) {
      const growth = growthOf([], []);
      return { kind: 'same', document: this.base, released, growth, named: [], blocks };
    }
    this.#blockLongPartLists(blocks);
    await this.#balance();
    const history = this.#writeHistory(blocks);
    const document: ObjectDocument = {
      format: 1,
      sequence: this.#sequence,
      versions: this.#versions,
      history,
    };
    if (this.#operations !== undefined) document.operations = this.#operations;
    const named = await this.#account(released);
    for (const { id } of blocks) named.push(id);
    const empty = this.#versions.length === 0 && this.#operations === undefined;
    const growth = growthOf(this.#added, this.#dropped);
    const kind = this.base === undefined ? 'same' : 'remove';
    return { kind: empty ? kind : 'write', document, released, growth, named, blocks };
  }

  async #versionsOf(entry: Entry): Promise<Version[]> {
    entry.versions ??= await loadVersions(this.#context.store, (entry.ref as HistoryRef).block);
    return entry.versions;
  }

  /** Where a version is: in the document, or in a block of the history. */
  async #place(
    fits: (version: Version) => boolean,
    selector: string,
  ): Promise<{ versions: Version[]; index: number; entry: Entry | undefined } | undefined> {
    const inline = this.#versions.findIndex(fits);
    if (inline >= 0) return { versions: this.#versions, index: inline, entry: undefined };
    const refs = this.#history.map(({ ref }) => ref ?? { block: '', count: 0, bytes: 0 });
    for (let i = 0; i < this.#history.length; i++) {
      const entry = this.#history[i] as Entry;
      if (entry.versions === undefined && !mayHold(refs, i, selector)) continue;
      const versions = await this.#versionsOf(entry);
      const index = versions.findIndex(fits);
      if (index >= 0) return { versions, index, entry };
    }
    return undefined;
  }

  /** `check` sees the version as it is now, and throws where it may not be changed so. */
  async #swap(
    id: string,
    next: Version | undefined,
    check: (old: Version) => void,
  ): Promise<boolean> {
    const at = await this.#place((version) => version.id === id, id);
    if (at === undefined) return false;
    const old = at.versions[at.index] as Version;
    check(old);
    this.#changed = true;
    const changed = at.entry === undefined ? at.versions : [...at.versions];
    if (next === undefined) changed.splice(at.index, 1);
    else changed[at.index] = next;
    if (at.entry !== undefined) {
      at.entry.versions = changed;
      at.entry.changed = true;
    }
    // What this very draft added and took out again was never named.
    const fresh = this.#added.indexOf(old);
    if (fresh >= 0) this.#added.splice(fresh, 1);
    else this.#dropped.push(old);
    if (next !== undefined) this.#added.push(next);
    return true;
  }

  /** A part list above 64 moves to a block (A5), once: the block stays while the list does. */
  #blockLongPartLists(blocks: Outcome['blocks']): void {
    for (let i = 0; i < this.#added.length; i++) {
      const version = this.#added[i] as Version;
      if (version.parts.length <= PARTS_INLINE_MAX) continue;
      const id = newLocationId(this.#context.clock, this.#context.random);
      const { parts } = version;
      blocks.push({ id, value: { format: 1, kind: 'parts', object: this.object, parts } });
      const short: Version = { ...version, parts: [], partsBlock: id };
      for (const list of [this.#versions, ...this.#history.map((entry) => entry.versions ?? [])]) {
        const index = list.indexOf(version);
        if (index >= 0) list[index] = short;
      }
      // The locations stay accounted for by the full version; the block by `blocks`.
    }
  }

  /** Moves versions between document and blocks, so that lists decode at most 16 KiB a key (A5). */
  async #balance(): Promise<void> {
    while (this.#versions.length === 0 && this.#history.length > 0) {
      const entry = this.#history.shift() as Entry;
      this.#versions = [...(await this.#versionsOf(entry))];
      if (entry.ref !== undefined) this.#droppedBlocks.push(entry.ref.block);
    }
    if (this.#versions.length < 2) return;
    let bytes = 0;
    for (const version of this.#versions) bytes += weigh(version);
    if (bytes <= VERSIONS_INLINE_BYTES_MAX) return;
    // Down to half, so that the next versions do not each rewrite a block.
    let keep = this.#versions.length;
    while (keep > 1 && bytes > VERSIONS_INLINE_BYTES_MAX / 2) {
      keep -= 1;
      bytes -= weigh(this.#versions[keep] as Version);
    }
    const spilled = this.#versions.splice(keep);
    const newest = this.#history[0];
    const count = newest?.versions?.length ?? newest?.ref?.count ?? 0;
    if (newest !== undefined && count + spilled.length <= VERSIONS_PER_BLOCK_MAX) {
      newest.versions = [...spilled, ...(await this.#versionsOf(newest))];
      newest.changed = true;
      return;
    }
    for (let end = spilled.length; end > 0; end -= VERSIONS_PER_BLOCK_MAX) {
      const versions = spilled.slice(Math.max(0, end - VERSIONS_PER_BLOCK_MAX), end);
      this.#history.unshift({ ref: undefined, versions, changed: true });
    }
  }

  /** New blocks for what changed; a changed block's old row is released. */
  #writeHistory(blocks: Outcome['blocks']): HistoryRef[] {
    const history: HistoryRef[] = [];
    for (const { ref, versions, changed } of this.#history) {
      if (!changed && ref !== undefined) {
        history.push(ref);
        continue;
      }
      if (ref !== undefined) this.#droppedBlocks.push(ref.block);
      if (versions === undefined || versions.length === 0) continue;
      const id = newLocationId(this.#context.clock, this.#context.random);
      blocks.push({ id, value: { format: 1, kind: 'versions', object: this.object, versions } });
      history.push({
        block: id,
        count: versions.length,
        bytes: versions.reduce((sum, version) => sum + weigh(version), 0),
        newest: (versions[0] as Version).id,
        hasNull: versions.some((version) => version.isNull),
      });
    }
    return history;
  }

  /** Fills `released` with what only dropped versions name; returns what only added ones name. */
  async #account(released: Outcome['released']): Promise<string[]> {
    const added: string[] = [];
    for (const version of this.#added) {
      for (const location of locationsOf(version)) added.push(location.id);
      if (version.partsBlock !== undefined) added.push(version.partsBlock);
    }
    if (this.#dropped.length === 0) return added;
    const names = new Set(added);
    for (const version of this.#dropped) {
      const locations = locationsOf(version);
      const block = version.partsBlock;
      // An added version that names the same block names the same parts: nothing of it is released.
      if (block !== undefined && !names.delete(block)) {
        released.blocks.push(block);
        const parts = await loadParts(this.#context.store, version);
        for (const part of parts) locations.push(part.location);
      }
      for (const location of locations) {
        if (!names.delete(location.id)) released.locations.push(location);
      }
    }
    return [...names];
  }
}
