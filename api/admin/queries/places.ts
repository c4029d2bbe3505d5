// Bytes by node group as the metadata names them: what a scan adds up beside objects and classes.
// Together with what the drives hold it tells how much of a group lives, how much waits to be
// freed, and what redundancy takes.

import type { Location, Pack } from '../../../appliance/model/location.ts';
import type { MetadataStore } from '../../../appliance/model/metadata-store.ts';
import type { UploadPart, Version } from '../../../appliance/model/object.ts';
import type { Garbage } from '../../../appliance/model/records.ts';
import { loadParts } from '../../../appliance/engine/document/history.ts';
import { StoredOnce } from '../../../appliance/engine/bytes/stored-once.ts';
import { allRows } from '../contract/rows.ts';
import { groupKey, type CountedBytes } from './groups.ts';

export class PlaceCount implements CountedBytes {
  readonly live = new Map<string, number>();
  readonly waiting = new Map<string, number>();
  readonly #store: MetadataStore;
  #once: StoredOnce | undefined;

  constructor(store: MetadataStore) {
    this.#store = store;
  }

  /**
   * Answers what is stored of its parts, shared ones once. A version changed while it was read is
   * counted by the next scan.
   */
  async version(version: Version): Promise<number> {
    this.#once ??= await StoredOnce.load(this.#store);
    const parts = await loadParts(this.#store, version).catch(() => undefined);
    for (const location of version.restore?.copy ?? []) addLocation(this.live, location);
    if (parts === undefined) return version.sizeBytes;
    let storedBytes = 0;
    for (const { location } of parts) {
      const bytes = this.#once.bytesOf(location);
      addLocation(this.live, location, bytes);
      storedBytes += bytes;
    }
    return storedBytes;
  }

  /** What no version names: parts of uploads, packs, and what waits for its grace. */
  async others(): Promise<void> {
    for await (const { value } of allRows<UploadPart>(this.#store, 'parts')) {
      for (const location of [value.location, ...value.replaced]) addLocation(this.live, location);
    }
    for await (const { value } of allRows<Pack>(this.#store, 'packs')) {
      const dead = Math.min(value.deadBytes, value.sizeBytes);
      addLocation(this.live, value.blob, value.sizeBytes - dead);
      addLocation(this.waiting, value.blob, dead);
    }
    for await (const { value } of allRows<Garbage>(this.#store, 'garbage')) {
      // Of a pack, its row has spoken.
      const isPack = value.object.startsWith('pack/');
      if (value.location === undefined || isPack) continue;
      if (this.#once?.isCounted(value.location.id) !== true) {
        addLocation(this.waiting, value.location);
      }
    }
  }
}

function addLocation(to: Map<string, number>, location: Location, bytes = location.length): void {
  if (location.kind !== 'segment' && location.kind !== 'shards') return;
  const key = groupKey(location.tier, location.group);
  to.set(key, (to.get(key) ?? 0) + bytes);
}
