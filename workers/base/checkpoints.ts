// Checkpoints: how far a job has come, in a row of its own, so that another process goes on there.
// A lost update of one only means work done twice.

import type { MetadataStore } from '../../appliance/model/metadata-store.ts';
import type { Checkpoint } from '../../appliance/model/records.ts';

const SWAPS_MAX = 16;

export async function readCheckpoint(
  store: MetadataStore,
  id: string,
): Promise<Checkpoint | undefined> {
  return (await store.get<Checkpoint>('checkpoints', id))?.value;
}

export async function saveCheckpoint(
  store: MetadataStore,
  id: string,
  fields: { at: number } & Partial<Omit<Checkpoint, 'format' | 'updatedAt'>>,
): Promise<void> {
  const { at, ...changed } = fields;
  for (let i = 0; i < SWAPS_MAX; i++) {
    const row = await store.get<Checkpoint>('checkpoints', id);
    const old = row?.value ?? { cursor: '', startedAt: at, counts: {} };
    const value: Checkpoint = { ...old, ...changed, format: 1, updatedAt: at };
    const result =
      row === undefined
        ? await store.insert('checkpoints', id, value)
        : await store.replace({ table: 'checkpoints', id, expected: row.revision, value });
    if (result.outcome === 'done') return;
  }
}

/** Absent already: succeeds. */
export async function removeCheckpoint(store: MetadataStore, id: string): Promise<void> {
  const row = await store.get<Checkpoint>('checkpoints', id);
  if (row !== undefined) await store.remove('checkpoints', id, row.revision);
}
