// The end of a location that several documents may name (DEDUPE.md): the look at everybody who has
// a reference to it, and the question and verdict between which a PUT that begins to share is seen.
// The danger is the only copy of somebody's bytes freed because somebody else let go of them.

import type { MetadataStore, Revision, Row } from '../../model/metadata-store.ts';
import type { Garbage } from '../../model/records.ts';
import type { EngineContext } from '../document/context.ts';
import { inFlight } from '../document/in-flight.ts';
import type { LeaseGuard } from '../document/lease.ts';
import { namesOf } from '../document/named.ts';
import { headOf, referencesOf } from '../document/references.ts';

const LOOKS_IN_FLIGHT = 64;

/** named: a document names it. young: somebody may be about to, until then. */
export type Holding = 'named' | 'none' | { until: number };

/** Everybody's word. What can't be read throws, and so counts as named. */
export async function holdingOf(context: EngineContext, location: string): Promise<Holding> {
  const { store, clock, graceMs } = context;
  // A plain range may be answered by a server that has been replaced: this one read finds out.
  await headOf(store, location);
  let until = -Infinity;
  for await (const rows of referencesOf(store, location)) {
    const old: string[] = [];
    for (const { value } of rows) {
      if (value.at + graceMs <= clock.now()) old.push(value.object);
      else until = Math.max(until, value.at + graceMs);
    }
    const found = await inFlight(LOOKS_IN_FLIGHT, old, async (object) => {
      const names = await namesOf(store, object, []);
      return names.locations.has(location);
    });
    if (found.includes(true)) return 'named';
  }
  return until === -Infinity ? 'none' : { until };
}

/** kept: somebody has it; the row went, or waits. lost: somebody else changed the row. */
export type Verdict = 'kept' | 'waits' | 'lost' | { condemned: Revision };

/**
 * Decides about a row that is due, of a location with references, whose own object does not name
 * it. Condemned it is final. A repeat after a crash goes on from the question.
 */
export async function judge(
  context: EngineContext,
  row: Row<Garbage>,
  lease: LeaseGuard,
): Promise<Verdict> {
  const { store } = context;
  const { id } = row;
  const { questioned: isQuestioned, ...value } = row.value;
  let { revision } = row;
  if (isQuestioned !== true) {
    const holding = await holdingOf(context, id);
    if (holding !== 'none') return keep(store, row, holding);
    await lease.check();
    const asked: Garbage = { ...value, questioned: true };
    const change = { table: 'garbage', id, expected: revision, value: asked } as const;
    const result = await store.replace(change);
    if (result.outcome !== 'done') return 'lost';
    revision = result.revision;
  }
  // Whoever begins to share from here on sees the question.
  const holding = await holdingOf(context, id);
  const isNamed = value.object !== '' && (await namesOf(store, value.object, [])).locations.has(id);
  const last = isNamed ? 'named' : holding;
  if (last !== 'none') return keep(store, { id, revision, value }, last);
  await lease.check();
  const condemned: Garbage = { ...value, condemned: true };
  const change = { table: 'garbage', id, expected: revision, value: condemned } as const;
  const result = await store.replace(change);
  return result.outcome === 'done' ? { condemned: result.revision } : 'lost';
}

async function keep(
  store: MetadataStore,
  { id, revision, value }: Row<Garbage>,
  holding: Exclude<Holding, 'none'>,
): Promise<Verdict> {
  if (holding === 'named') {
    const { outcome } = await store.remove('garbage', id, revision);
    return outcome === 'done' ? 'kept' : 'lost';
  }
  const { questioned: _, ...rest } = value;
  const notBefore = Math.max(value.notBefore, holding.until);
  const waiting: Garbage = { ...rest, notBefore };
  const change = { table: 'garbage', id, expected: revision, value: waiting } as const;
  return (await store.replace(change)).outcome === 'done' ? 'waits' : 'lost';
}
