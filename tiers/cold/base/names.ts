// Names of blobs at a cold tier. They are made from the location id alone, plus at most a tamed
// tail of a key for human eyes: a key such as `../../etc/passwd` must never reach a path, a URL or
// a shell. Two hex digits in between keep directories and key ranges small (256 of each).
//
//   packs/ab/<id>.zip            a pack
//   objects/ab/<id>-<tail>       one object's bytes alone (layout plain)

import assert from 'node:assert/strict';
import type { RemoteLocation } from '../../../appliance/model/location.ts';
import type { PutRequest } from '../../../appliance/model/tier.ts';

const ID = /^[0-9a-f]{32}$/;
const NAME =
  /^(?:packs\/([0-9a-f]{2})\/([0-9a-f]{32})\.zip|objects\/([0-9a-f]{2})\/([0-9a-f]{32})-[A-Za-z0-9_-][A-Za-z0-9._-]{0,79})$/;
const TAIL_LENGTH_MAX = 80;

/** The name for this put: the same for the same request, different for every id. */
export function blobName(request: Pick<PutRequest, 'id' | 'name'>): string {
  const { id, name } = request;
  assert.match(id, ID, 'a blob is named by a location id');
  const shelf = id.slice(-2);
  return name === undefined ? `packs/${shelf}/${id}.zip` : `objects/${shelf}/${id}-${tail(name)}`;
}

/** The last characters of a key's last segment, each unsafe one as `_`; never empty. */
function tail(key: string): string {
  const last = key.slice(key.lastIndexOf('/') + 1).slice(-TAIL_LENGTH_MAX);
  const tamed = last.replaceAll(/[^A-Za-z0-9._-]/g, '_').replace(/^\.+/, '_');
  return tamed === '' ? 'object' : tamed;
}

/** The id in a name that blobName made; undefined for anything else. */
export function idOfName(name: string): string | undefined {
  const match = NAME.exec(name);
  const id = match?.[2] ?? match?.[4];
  return id !== undefined && id.slice(-2) === (match?.[1] ?? match?.[3]) ? id : undefined;
}

export function remoteLocation(tier: string, name: string, length: number): RemoteLocation {
  const id = idOfName(name);
  assert.ok(id !== undefined, 'a blob name carries its id');
  return { kind: 'remote', id, tier, name, length };
}

/** Refuses a location of another tier or with a name that was not made here. */
export function ownName(tier: string, location: { kind: string; tier: string }): string {
  assert.ok(location.kind === 'remote' && location.tier === tier, `a location of ${tier}`);
  const { name, id } = location as RemoteLocation;
  assert.equal(idOfName(name), id, 'a location names its own blob');
  return name;
}
