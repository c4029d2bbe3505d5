// Events of what happened to an object, sent after the commit and never before: a listener that
// acts on one must find what it tells of.

import type { Bucket } from '../../model/bucket.ts';
import type { EventName, ToldVersion } from '../../model/event-sink.ts';
import { NULL_VERSION } from '../../model/ids.ts';
import type { EngineContext } from '../document/context.ts';

/** Of a version id, the digits that count the writes of its key. */
const SEQUENCE_DIGITS = 12;

/**
 * Orders a key's events: by its sequence, then by time. What is told of a version's making may be
 * told late (by who took over from a crash), and then comes before its removal all the same.
 */
function sequencerOf(name: EventName, version: ToldVersion, at: number): string {
  const sequence = version.id.slice(0, SEQUENCE_DIGITS);
  const isMaking = name.startsWith('s3:ObjectCreated:');
  const since = Math.floor(isMaking ? version.lastModified : at).toString(16);
  return `${sequence}${since}${isMaking ? 0 : 1}`;
}

/** To be awaited before the change is acknowledged. A bucket by name is looked up where it must. */
export function emitEvent(
  context: EngineContext,
  name: EventName,
  of: { bucket: Bucket | string; key: string; version: ToldVersion },
): Promise<void> | undefined {
  const { bucket, key, version } = of;
  const at = context.clock.now();
  return context.events.emit(
    {
      name,
      at,
      bucket: typeof bucket === 'string' ? bucket : bucket.name,
      key,
      versionId: version.isNull ? NULL_VERSION : version.id,
      sizeBytes: version.sizeBytes,
      etag: version.etag,
      owner: version.owner,
      sequencer: sequencerOf(name, version, at),
    },
    bucket,
  );
}
