// Events of what happened to an object, sent after the commit and never before: a listener that
// acts on one must find what it tells of.

import type { EventName } from '../model/event-sink.ts';
import { NULL_VERSION } from '../model/ids.ts';
import type { Version } from '../model/object.ts';
import type { EngineContext } from './context.ts';

export function emitEvent(
  context: EngineContext,
  name: EventName,
  of: { bucket: string; key: string; version: Version },
): void {
  const { bucket, key, version } = of;
  context.events.emit({
    name,
    at: context.clock.now(),
    bucket,
    key,
    versionId: version.isNull ? NULL_VERSION : version.id,
    sizeBytes: version.sizeBytes,
    etag: version.etag,
  });
}
