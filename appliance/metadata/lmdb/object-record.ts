// How the document of a key is laid out in LMDB. Field names would be half of the record and most
// of the time to read it (672 bytes and 7.5 µs against 360 and 3.2), and a LIST of 1,000 keys reads
// 1,000 of them. So known fields are written by position, and what a plain listing shows comes
// first, so that a listing decodes just that (0.8 µs a row). Whatever else a value holds goes along
// by name: a field that a later Firn adds survives this one. FORMAT.md has the layout; changing a
// position here means a new tag in record.ts.

import type { Location, SegmentLocation } from '../../model/location.ts';
import type { HistoryRef, ObjectChecksum, ObjectDocument } from '../../model/object.ts';
import type { Part, Version } from '../../model/object.ts';

type Extra = Record<string, unknown>;

/** What a plain listing shows of the newest version. */
export type HeadTuple = [
  id: string,
  flags: number,
  lastModified: number,
  sizeBytes: number,
  etag: string,
  storageClass: string,
  owner: string,
  checksum: ChecksumTuple | ObjectChecksum | null,
  restore: Version['restore'] | null,
];
export type ChecksumTuple = [algorithm: string, type: string, value: string];
type TailTuple = [
  operation: string,
  parts: unknown[],
  headers: Version['headers'],
  metadata: Version['metadata'],
  extra: Extra | null,
];
/** All the rest of the document. */
export type RestTuple = [
  sequence: number,
  newest: TailTuple,
  older: [HeadTuple, TailTuple][],
  history: HistoryRef[],
  extra: Extra | null,
];

const NULL_VERSION_FLAG = 1;
const DELETE_MARKER_FLAG = 2;

const DOCUMENT_FIELDS = new Set(['format', 'sequence', 'versions', 'history']);
const VERSION_FIELDS = new Set([
  'id',
  'isNull',
  'deleteMarker',
  'lastModified',
  'sizeBytes',
  'etag',
  'storageClass',
  'owner',
  'checksum',
  'restore',
  'operation',
  'parts',
  'headers',
  'metadata',
]);
const PART_FIELDS = new Set(['number', 'location', 'sizeBytes', 'etag', 'checksum']);

/**
 * Fields of each kind by position; the place of a kind in this list is its number in the record.
 */
const LOCATION_KINDS: readonly (readonly [string, readonly string[]])[] = [
  [
    'segment',
    ['id', 'tier', 'group', 'segment', 'batch', 'lane', 'offset', 'length', 'empty', 'unconfirmed'],
  ],
  ['shards', ['id', 'tier', 'group', 'length', 'code', 'stripeBytes', 'empty', 'unconfirmed']],
  ['remote', ['id', 'tier', 'name', 'length']],
  ['pack', ['id', 'tier', 'pack', 'offset', 'length']],
];
const SEGMENT_KIND = 0;

/**
 * The two halves of the record, or undefined where the value isn't shaped as a document with a
 * version (it is then stored by name, as any other row).
 */
export function packObject(value: object): [HeadTuple, RestTuple] | undefined {
  const document = value as ObjectDocument;
  const { versions, history } = document;
  if (
    document.format !== 1 ||
    typeof document.sequence !== 'number' ||
    !Array.isArray(history) ||
    !Array.isArray(versions)
  ) {
    return undefined;
  }
  const newest = versions[0];
  if (newest === undefined || !versions.every(isVersion)) return undefined;
  const older: [HeadTuple, TailTuple][] = [];
  for (let at = 1; at < versions.length; at += 1) {
    const version = versions[at] as Version;
    older.push([headOf(version), tailOf(version)]);
  }
  const extra = extraOf(document, DOCUMENT_FIELDS, 4);
  return [headOf(newest), [document.sequence, tailOf(newest), older, history, extra]];
}

/**
 * Whether every field written by position is there and of its type, so that it comes back exactly.
 */
function isVersion(version: Version): boolean {
  return (
    typeof version === 'object' &&
    version !== null &&
    typeof version.id === 'string' &&
    typeof version.isNull === 'boolean' &&
    typeof version.deleteMarker === 'boolean' &&
    typeof version.lastModified === 'number' &&
    typeof version.sizeBytes === 'number' &&
    typeof version.etag === 'string' &&
    typeof version.storageClass === 'string' &&
    typeof version.owner === 'string' &&
    typeof version.operation === 'string' &&
    isRecord(version.headers) &&
    isRecord(version.metadata) &&
    Array.isArray(version.parts) &&
    (version.checksum === undefined || isRecord(version.checksum)) &&
    (version.restore === undefined || isRecord(version.restore))
  );
}

function isRecord(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function headOf(version: Version): HeadTuple {
  return [
    version.id,
    (version.isNull ? NULL_VERSION_FLAG : 0) | (version.deleteMarker ? DELETE_MARKER_FLAG : 0),
    version.lastModified,
    version.sizeBytes,
    version.etag,
    version.storageClass,
    version.owner,
    version.checksum === undefined ? null : packChecksum(version.checksum),
    version.restore ?? null,
  ];
}

function packChecksum(checksum: ObjectChecksum): ChecksumTuple | ObjectChecksum {
  const { algorithm, type, value } = checksum;
  const isKnown = typeof algorithm === 'string' && typeof type === 'string' && value !== undefined;
  return isKnown && Object.keys(checksum).length === 3 ? [algorithm, type, value] : checksum;
}

function tailOf(version: Version): TailTuple {
  const known = 12 + (version.checksum ? 1 : 0) + (version.restore ? 1 : 0);
  return [
    version.operation,
    version.parts.map(packPart),
    version.headers,
    version.metadata,
    extraOf(version, VERSION_FIELDS, known),
  ];
}

function packPart(part: Part): unknown {
  if (
    typeof part !== 'object' ||
    part === null ||
    Array.isArray(part) ||
    part.number === undefined ||
    part.sizeBytes === undefined ||
    part.etag === undefined ||
    part.checksum === undefined ||
    part.location === undefined
  ) {
    return { plain: part };
  }
  const { number, sizeBytes, etag, checksum } = part;
  const extra = extraOf(part, PART_FIELDS, 5);
  return [number, sizeBytes, etag, checksum, packLocation(part.location), extra];
}

function packLocation(location: Location): unknown {
  const kind = LOCATION_KINDS.findIndex(([name]) => name === location?.kind);
  if (kind < 0) return { plain: location };
  const [, fields] = LOCATION_KINDS[kind] as (typeof LOCATION_KINDS)[number];
  const values = location as unknown as Extra;
  const tuple: unknown[] = [kind];
  for (const field of fields) {
    const value = values[field];
    if (value === undefined) return { plain: location };
    tuple.push(value);
  }
  if (Object.keys(location).length !== fields.length + 1) {
    const extra: Extra = {};
    for (const field in values) {
      if (field !== 'kind' && !fields.includes(field)) extra[field] = values[field];
    }
    tuple.push(extra);
  }
  return tuple;
}

/** The fields that have no position; null where the count already says that there are none. */
function extraOf(value: object, known: ReadonlySet<string>, expected: number): Extra | null {
  if (Object.keys(value).length === expected) return null;
  const extra: Extra = {};
  let some = false;
  for (const [field, held] of Object.entries(value)) {
    if (known.has(field) || held === undefined) continue;
    extra[field] = held;
    some = true;
  }
  return some ? extra : null;
}

export function unpackObject(head: HeadTuple, rest: RestTuple): ObjectDocument {
  const [sequence, tail, older, history, extra] = rest;
  const versions = [versionOf(head, tail)];
  for (const [olderHead, olderTail] of older) versions.push(versionOf(olderHead, olderTail));
  const document: ObjectDocument = { format: 1, sequence, versions, history };
  return extra === null ? document : Object.assign(document, extra);
}

const NO_PARTS: Part[] = [];
const NO_HISTORY: HistoryRef[] = [];
const NO_HEADERS: Record<string, string> = {};
Object.freeze(NO_PARTS);
Object.freeze(NO_HISTORY);
Object.freeze(NO_HEADERS);

/** The document as RangeQuery.listing describes it. */
export function listingOf(head: HeadTuple): ObjectDocument {
  const version: Version = {
    id: head[0],
    isNull: (head[1] & NULL_VERSION_FLAG) !== 0,
    deleteMarker: (head[1] & DELETE_MARKER_FLAG) !== 0,
    lastModified: head[2],
    sizeBytes: head[3],
    etag: head[4],
    storageClass: head[5],
    parts: NO_PARTS,
    headers: NO_HEADERS,
    metadata: NO_HEADERS,
    owner: head[6],
    operation: '',
  };
  if (head[7] !== null) version.checksum = unpackChecksum(head[7]);
  if (head[8]) version.restore = head[8];
  return { format: 1, sequence: 0, versions: [version], history: NO_HISTORY };
}

function unpackChecksum(packed: ChecksumTuple | ObjectChecksum): ObjectChecksum {
  if (!Array.isArray(packed)) return packed;
  const [algorithm, type, value] = packed;
  return { algorithm, type, value } as ObjectChecksum;
}

function versionOf(head: HeadTuple, tail: TailTuple): Version {
  const version: Version = {
    id: head[0],
    isNull: (head[1] & NULL_VERSION_FLAG) !== 0,
    deleteMarker: (head[1] & DELETE_MARKER_FLAG) !== 0,
    lastModified: head[2],
    sizeBytes: head[3],
    etag: head[4],
    storageClass: head[5],
    parts: tail[1].map(unpackPart),
    headers: tail[2],
    metadata: tail[3],
    owner: head[6],
    operation: tail[0],
  };
  if (head[7] !== null) version.checksum = unpackChecksum(head[7]);
  if (head[8]) version.restore = head[8];
  return tail[4] === null ? version : Object.assign(version, tail[4]);
}

function unpackPart(tuple: unknown): Part {
  if (!Array.isArray(tuple)) return (tuple as { plain: Part }).plain;
  const [number, sizeBytes, etag, checksum, location, extra] = tuple as [
    number,
    number,
    string,
    string,
    unknown,
    Extra | null,
  ];
  const part: Part = { number, location: unpackLocation(location), sizeBytes, etag, checksum };
  return extra === null ? part : Object.assign(part, extra);
}

function unpackLocation(tuple: unknown): Location {
  if (!Array.isArray(tuple)) return (tuple as { plain: Location }).plain;
  if (tuple[0] === SEGMENT_KIND) return unpackSegment(tuple);
  const [kind, fields] = LOCATION_KINDS[tuple[0] as number] as (typeof LOCATION_KINDS)[number];
  const location: Extra = { kind };
  for (let at = 0; at < fields.length; at += 1) location[fields[at] as string] = tuple[at + 1];
  if (tuple.length > fields.length + 1) Object.assign(location, tuple[fields.length + 1]);
  return location as unknown as Location;
}

/** As the loop above does it, at a quarter of its cost: every small object has one of these. */
function unpackSegment(tuple: unknown[]): Location {
  const location = {
    kind: 'segment',
    id: tuple[1],
    tier: tuple[2],
    group: tuple[3],
    segment: tuple[4],
    batch: tuple[5],
    lane: tuple[6],
    offset: tuple[7],
    length: tuple[8],
    empty: tuple[9],
    unconfirmed: tuple[10],
  } as SegmentLocation;
  return tuple.length === 11 ? location : Object.assign(location, tuple[11]);
}
