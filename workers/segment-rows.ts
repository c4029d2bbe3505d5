// What is known of a segment without reading it: a checkpoint each, written by compaction when it
// looked, and by the sweep, which reads every document once a day and so knows exactly what lives
// in each. Without it a segment whose notes of the dead were lost (they are not synced) would have
// to be read whole, 256 MiB at 4+2, to find that out.

import type { Core } from '../appliance/engine/document/core.ts';
import { LIVE_SHARE_MIN } from '../appliance/engine/upkeep/compact.ts';
import type { Location } from '../appliance/model/location.ts';
import type { NodeGroupTier, SegmentInfo } from '../appliance/model/node-group.ts';
import { readCheckpoint, saveCheckpoint } from './base/checkpoints.ts';
import type { Turn } from './base/worker.ts';

const SEGMENTS_PAGE = 64;

/** Of what compaction knows about one segment. */
export const segmentRowId = (tier: string, { group, segment }: SegmentInfo): string =>
  `segment/${tier}/${group}/${segment}`;

/** Of the last sweep that counted all segments of a tier; its time is that of its beginning. */
export const sweptRowId = (tier: string): string => `swept/${tier}`;

/** Living bytes by segment, added up while all names are gathered. */
export class LiveBytes {
  readonly #bytes = new Map<string, number>();

  add(location: Location): void {
    if (location.kind !== 'segment') return;
    const { tier, group, segment, length } = location;
    const key = `${tier}/${group}/${segment}`;
    this.#bytes.set(key, (this.#bytes.get(key) ?? 0) + length);
  }

  of(tier: string, { group, segment }: SegmentInfo): number {
    return this.#bytes.get(`${tier}/${group}/${segment}`) ?? 0;
  }
}

/**
 * Marks the segments of which less than half lives, for compaction to look at. Only those that were
 * old enough when the sweep began: what is written meanwhile it may not have seen. A hint, as notes
 * are: who lives is asked of each document when the time comes.
 */
export async function noteLive(
  core: Core,
  tier: NodeGroupTier,
  of: { live: LiveBytes; beganAt: number; turn: Turn },
): Promise<void> {
  const { store, graceMs } = core.context;
  const { live, beganAt, turn } = of;
  let looked = 0;
  for await (const info of tier.segments()) {
    looked += 1;
    if (looked % SEGMENTS_PAGE === 0) await turn.rest();
    if (!info.settled || info.openedAt > beganAt - graceMs) continue;
    const row = segmentRowId(tier.name, info);
    const last = await readCheckpoint(store, row);
    // They wait for a grace and are looked at then.
    if (last?.cursor === 'emptied' || last?.cursor === 'held') continue;
    const { group, segment, deadBytes } = info;
    const bytes = last?.counts['bytes'] ?? (await tier.recordBytes(group, segment));
    const liveBytes = live.of(tier.name, info);
    const at = last?.updatedAt ?? info.openedAt;
    if (liveBytes >= bytes * LIVE_SHARE_MIN) {
      const counts = { ...last?.counts, bytes };
      const cursor = last?.cursor ?? 'unseen';
      if (last?.counts['bytes'] !== bytes) await saveCheckpoint(store, row, { at, cursor, counts });
      continue;
    }
    const counts = { bytes, liveBytes, deadBytes };
    await saveCheckpoint(store, row, { at, cursor: 'swept', counts });
  }
  await saveCheckpoint(store, sweptRowId(tier.name), { at: beganAt });
}
