// The rows by which several documents name one location (DEDUPE.md). Ids of `references` begin with
// the location's, so that all of one location stand together: first its head, without which nobody
// shares it, then a row for each object. The danger is a row too few: bytes that a document names
// and nobody counts. So a row is written before the commit that rests on it, and goes only when it
// is old and its object's document, read afresh, names the location no more.

import { locationBirth } from '../../model/ids.ts';
import type { BlobLocation } from '../../model/location.ts';
import type { MetadataStore, Row } from '../../model/metadata-store.ts';
import type { Content, Garbage, Reference, ReferenceHead } from '../../model/records.ts';
import type { EngineContext } from './context.ts';
import { listedAgeMs, tooFast } from './garbage.ts';

const PAGE_ROWS = 1000;
const SWAPS_MAX = 16;

export function contentId(bucketId: string, sha256: string, sizeBytes: number): string {
  return `${bucketId}/${sha256}/${sizeBytes}`;
}

const referenceId = (location: string, object: string): string => `${location}/${object}`;
/** Above every reference of the location: '0' follows '/'. */
const behind = (location: string): string => `${location}0`;

/** A location that a reference of the committing object holds: the third case of B3. */
export interface HeldLocation {
  id: string;
  /** Engine ms: a commit may newly name it until then. */
  until: number;
}

/** False: no bucket shares anything, and nothing that is due can begin to be shared. */
export async function anyReferences(store: MetadataStore): Promise<boolean> {
  return (await store.range({ table: 'references', limit: 1 })).length > 0;
}

export async function hasReferences(store: MetadataStore, location: string): Promise<boolean> {
  const bounds = { from: location, to: behind(location) };
  return (await store.range({ table: 'references', ...bounds, limit: 1 })).length > 0;
}

/** All of one location, its head among them, in pages. */
export async function* referencesOf(
  store: MetadataStore,
  location: string,
): AsyncGenerator<Row<Reference>[]> {
  let bound: { from: string } | { after: string } = { from: location };
  for (;;) {
    const rows: Row<Reference>[] = await store.range<Reference>({
      table: 'references',
      ...bound,
      to: behind(location),
      limit: PAGE_ROWS,
    });
    if (rows.length > 0) yield rows;
    const last = rows.at(-1);
    if (last === undefined || rows.length < PAGE_ROWS) return;
    bound = { after: last.id };
  }
}

/** Undefined: the location is not to be shared. */
export async function headOf(
  store: MetadataStore,
  location: string,
): Promise<ReferenceHead | undefined> {
  return (await store.get<ReferenceHead>('references', location, { linearizable: true }))?.value;
}

/**
 * From here on others may share bytes just written. Only while they are younger than half a grace:
 * so what is due has a head already, or never gets one. False: too late.
 */
export async function writeHead(
  context: EngineContext,
  of: { location: BlobLocation; object: string; content: string },
): Promise<boolean> {
  const { location, object, content } = of;
  const head: ReferenceHead = { format: 1, object, at: context.clock.now(), content, location };
  const notAfter = locationBirth(location.id) + context.graceMs / 2;
  const { outcome } = await context.store.insert('references', location.id, head, { notAfter });
  return outcome === 'done';
}

/**
 * Holds a shared location for a commit of this object: the reference, and then the look whether it
 * came in time. Undefined: it is being freed, or not to be shared. A repeat holds it longer.
 */
export async function hold(
  context: EngineContext,
  location: string,
  object: string,
): Promise<HeldLocation | undefined> {
  const held = await refer(context, location, object);
  return (await mayShare(context.store, location)) ? held : undefined;
}

/**
 * Says that the object's document may name the location soon: durable on return, raised by a
 * repeat.
 */
async function refer(
  context: EngineContext,
  location: string,
  object: string,
): Promise<HeldLocation> {
  const { store } = context;
  const id = referenceId(location, object);
  const at = context.clock.now();
  const value: Reference = { format: 1, object, at };
  for (let i = 0; i < SWAPS_MAX; i++) {
    const old = await store.get<Reference>('references', id);
    const isYounger = old !== undefined && old.value.at >= at;
    const { outcome } =
      old === undefined
        ? await store.insert('references', id, value)
        : await store.replace({
            table: 'references',
            id,
            expected: old.revision,
            value: isYounger ? old.value : value,
          });
    if (outcome === 'done') return { id: location, until: at + listedAgeMs(context) };
  }
  throw tooFast(id);
}

/**
 * Behind refer(): whether the location may be named now. First its candidate's row, then its head:
 * bytes that have gone lose the head first (DEDUPE.md, why it holds).
 */
async function mayShare(store: MetadataStore, location: string): Promise<boolean> {
  const linearizable = { linearizable: true };
  const garbage = await store.get<Garbage>('garbage', location, linearizable);
  if (garbage?.value.condemned === true || garbage?.value.questioned === true) return false;
  return (await headOf(store, location)) !== undefined;
}

/** Before the bytes go: the hint, if it says this location. */
export async function removeHint(store: MetadataStore, location: string): Promise<void> {
  const head = await headOf(store, location);
  if (head === undefined) return;
  for (let i = 0; i < SWAPS_MAX; i++) {
    const row = await store.get<Content>('contents', head.content);
    if (row?.value.location.id !== location) return;
    if ((await store.remove('contents', row.id, row.revision)).outcome === 'done') return;
  }
  throw tooFast(head.content);
}

/** Behind the bytes: all that was said about the location. */
export async function removeReferences(store: MetadataStore, location: string): Promise<void> {
  for (let i = 0; i < SWAPS_MAX; i++) {
    for await (const rows of referencesOf(store, location)) {
      const removals = rows.map(
        ({ id, revision: expected }) =>
          ({ kind: 'remove', table: 'references', id, expected }) as const,
      );
      await store.bulk(removals);
    }
    if (!(await hasReferences(store, location))) return;
  }
  throw tooFast(location);
}

/** Where such bytes lie from now on. A hint: whoever loses a race for it has lost nothing. */
export async function writeHint(
  store: MetadataStore,
  content: string,
  value: Content,
): Promise<void> {
  const old = await store.get<Content>('contents', content);
  if (old === undefined) await store.insert('contents', content, value);
  else {
    const { revision: expected } = old;
    await store.replace({ table: 'contents', id: content, expected, value });
  }
}
