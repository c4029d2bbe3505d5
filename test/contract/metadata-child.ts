// A second process on a metadata store, for tests that need one: to be killed while it writes, to
// race with others, to be seen by others. Started by metadata-store.ts with its task as JSON
// argument.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { appendFileSync } from 'node:fs';
import { buildMetadata } from '../../appliance/metadata/build.ts';
import { isFirnError } from '../../appliance/model/errors.ts';
import type { MetadataStore } from '../../appliance/model/metadata-store.ts';

export interface Place {
  url?: string;
  dataDirectory: string;
}

export type Task =
  /** Inserts `${prefix}${n}` for ever; each acknowledged n is a line of stdout. */
  | { kind: 'write'; place: Place; prefix: string; inFlight: number; bytes: number }
  /** Adds one to a counter `times` times, by compare-and-swap. */
  | { kind: 'increment'; place: Place; id: string; times: number }
  /** Replaces the row n = 0, 1, 2, … and after each acknowledgement writes n into the file. */
  | { kind: 'count-up'; place: Place; id: string; file: string; until: number };

export function openPlace(place: Place, processName: string): MetadataStore {
  const clock = { wall: () => Date.now(), now: () => Date.now() };
  return buildMetadata({ ...place, clock, random: { bytes: randomBytes }, processName });
}

/** Adds one, however often others come first; answers how often they did. */
export async function increment(store: MetadataStore, id: string): Promise<number> {
  for (let lost = 0; ; lost += 1) {
    const row = await store.get<{ format: 1; count: number }>('settings', id);
    assert(row !== undefined);
    const value = { format: 1, count: row.value.count + 1 };
    const change = { table: 'settings', id, expected: row.revision, value } as const;
    if ((await store.replace(change)).outcome === 'done') return lost;
  }
}

async function write(store: MetadataStore, task: Task & { kind: 'write' }): Promise<void> {
  const filling = 'x'.repeat(task.bytes);
  let next = 0;
  async function writer(): Promise<void> {
    for (;;) {
      const n = next++;
      try {
        const value = { format: 1, n, filling };
        const result = await store.insert('objects', `${task.prefix}${n}`, value);
        assert.equal(result.outcome, 'done');
        process.stdout.write(`${n}\n`);
      } catch (error) {
        if (!isFirnError(error)) throw error;
        process.stdout.write(`failed ${n} ${error.code}\n`);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  }
  await Promise.all(Array.from({ length: task.inFlight }, writer));
}

async function countUp(store: MetadataStore, task: Task & { kind: 'count-up' }): Promise<void> {
  for (let n = 1; n <= task.until; n += 1) {
    const row = await store.get('settings', task.id);
    assert(row !== undefined);
    const value = { format: 1, count: n };
    const change = { table: 'settings', id: task.id, expected: row.revision, value } as const;
    assert.equal((await store.replace(change)).outcome, 'done');
    // The length is the count: a number that is overwritten can be read half old and half new.
    appendFileSync(task.file, '.');
    await new Promise((resolve) => setTimeout(resolve, n % 3));
  }
}

async function main(task: Task): Promise<void> {
  const store = openPlace(task.place, `child-${process.pid}`);
  await store.open();
  if (task.kind === 'write') await write(store, task);
  else if (task.kind === 'count-up') await countUp(store, task);
  else for (let n = 0; n < task.times; n += 1) await increment(store, task.id);
  await store.close();
}

if (import.meta.main) await main(JSON.parse(process.argv[2] as string) as Task);
