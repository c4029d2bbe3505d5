// The document of a key as most keys have it, in bytes: one version, one part, in a segment or in a
// pack. Ten million small objects are ten million of these, four times each (LMDB and the copies of
// the journal's snapshot), so nothing is said twice: ids as bytes, their times as differences, what
// follows from another field by a flag, words that every row repeats by a number. 105 bytes against
// 335 by positions (object-record.ts), which takes whatever isn't of this shape to the last field.
// What a listing shows comes first. FORMAT.md has the layout; changing it means a new tag.

import type { Location } from '../../model/location.ts';
import type {
  ChecksumAlgorithm,
  HistoryRef,
  ObjectChecksum,
  ObjectDocument,
} from '../../model/object.ts';
import type { Part, Version } from '../../model/object.ts';
import { newerFormat } from '../base/rules.ts';
import { ByteReader, ByteWriter } from './bytes.ts';
import type { Packing } from './parts-record.ts';

const IS_NULL = 1;
const HAS_CHECKSUM = 2;
/** The operation is called as the location. */
const OWN_OPERATION = 4;
/** The part's etag, or its size, is another than the object's. */
const OTHER_ETAG = 8;
const OTHER_SIZE = 16;
const HAS_TYPE = 32;
const HAS_REST = 64;
const IN_PACK = 128;

/** Of a segment location: some lanes are empty or unconfirmed. */
const HAS_LANES = 1;
/** The bytes stored are not as many as the part's. */
const OTHER_LENGTH = 2;

/** Numbers of words on drives: for ever; another word is another tag. 0: it is spelled out. */
const WORDS = [
  '',
  'root',
  'STANDARD',
  'STANDARD_IA',
  'ONEZONE_IA',
  'INTELLIGENT_TIERING',
  'GLACIER_IR',
  'GLACIER',
  'DEEP_ARCHIVE',
  'hot',
  'warm',
  'cold',
  'application/octet-stream',
  'binary/octet-stream',
  'application/x-www-form-urlencoded',
  'application/json',
  'application/xml',
  'application/pdf',
  'application/zip',
  'application/gzip',
  'text/plain',
  'text/plain; charset=utf-8',
  'text/html',
  'text/css',
  'text/csv',
  'text/javascript',
  'image/jpeg',
  'image/png',
  'image/gif',
  'image/webp',
  'image/svg+xml',
  'video/mp4',
  'audio/mpeg',
];
const WORD_NUMBERS = new Map(WORDS.map((word, number) => [word, number]));

/** Kinds of checksums by number, likewise for ever. */
const CHECKSUMS: readonly (readonly [ChecksumAlgorithm, ObjectChecksum['type'], number])[] = [
  ['CRC64NVME', 'FULL_OBJECT', 8],
  ['CRC32', 'FULL_OBJECT', 4],
  ['CRC32C', 'FULL_OBJECT', 4],
  ['SHA1', 'FULL_OBJECT', 20],
  ['SHA256', 'FULL_OBJECT', 32],
  ['MD5', 'FULL_OBJECT', 16],
  ['SHA512', 'FULL_OBJECT', 64],
  ['XXHASH64', 'FULL_OBJECT', 8],
  ['XXHASH3', 'FULL_OBJECT', 8],
  ['XXHASH128', 'FULL_OBJECT', 16],
];

const SEQUENCE_BYTES = 6;
const VERSION_BYTES = 14;
const ID_BYTES = 16;
const SUM_BYTES = 8;
/** A version's id begins with the key's sequence: so many a millisecond (model/ids.ts). */
const SEQUENCES_A_MS = 16;
/** A difference of two times must stay a whole number. */
const TIME_MAX = 2 ** 50;
/** Pieces of a segment begin at multiples of this, records in them of that. */
const PIECE_BYTES = 512;
const RECORD_BYTES = 8;

const NO_PARTS: Part[] = [];
const NO_HISTORY: HistoryRef[] = [];
const NO_FIELDS: Record<string, string> = {};
Object.freeze(NO_PARTS);
Object.freeze(NO_HISTORY);
Object.freeze(NO_FIELDS);
/** Of a checksum a listing shows the kind, not the value. */
const CHECKSUMS_SHOWN: readonly ObjectChecksum[] = CHECKSUMS.map(([algorithm, type]) =>
  Object.freeze({ algorithm, type, value: '' }),
);

type Fields = Record<string, unknown>;

/** Headers, metadata and the fields without a place, of the version, part and location. */
type Rest = [
  headers: Fields | null,
  metadata: Version['metadata'] | null,
  version: Fields | null,
  part: Fields | null,
  location: Fields | null,
];

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
  'operation',
  'parts',
  'headers',
  'metadata',
]);
const PART_FIELDS = new Set(['number', 'location', 'sizeBytes', 'etag', 'checksum']);
const TYPE_FIELDS = new Set(['content-type']);
const SEGMENT_FIELDS = new Set([
  'kind',
  'id',
  'tier',
  'group',
  'segment',
  'batch',
  'lane',
  'offset',
  'length',
  'empty',
  'unconfirmed',
]);
const PACK_FIELDS = new Set(['kind', 'id', 'tier', 'pack', 'offset', 'length']);

const DOCUMENT_FIELDS = new Set(['format', 'sequence', 'versions', 'history']);

const writer = new ByteWriter();
const reader = new ByteReader();

const isRecord = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isSize = (value: unknown): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0;

/** The bytes of the document behind `room` free ones; undefined where it isn't of this shape. */
export function encodeSmallObject(
  value: object,
  room: number,
  packing: Packing,
): Buffer | undefined {
  const document = value as ObjectDocument;
  const { sequence, versions, history } = document;
  if (document.format !== 1 || !Array.isArray(versions) || versions.length !== 1) return undefined;
  if (!Array.isArray(history) || history.length > 0) return undefined;
  for (const field in document) if (!DOCUMENT_FIELDS.has(field)) return undefined;
  const version = versions[0] as Version;
  if (!isRecord(version?.headers) || !isRecord(version.metadata)) return undefined;
  const [part] = Array.isArray(version.parts) ? version.parts : [];
  if (part?.number !== 1 || version.parts.length > 1) return undefined;
  if (version.restore !== undefined || version.deleteMarker !== false) return undefined;
  const others = restOf(version, part);
  writer.begin(room);
  writer.byte(flagsOf(version, part, others));
  if (!writeHead(version, sequence) || !writePart(version, part)) return undefined;
  if (version.headers['content-type'] !== undefined && !writeType(version)) return undefined;
  if (others !== undefined) writer.raw(packing.pack(others));
  return writer.copy();
}

function flagsOf(version: Version, part: Part, others: Rest | undefined): number {
  let flags = version.isNull ? IS_NULL : 0;
  if (version.checksum !== undefined) flags |= HAS_CHECKSUM;
  if (version.operation === part.location?.id) flags |= OWN_OPERATION;
  if (version.etag !== part.etag) flags |= OTHER_ETAG;
  if (version.sizeBytes !== part.sizeBytes) flags |= OTHER_SIZE;
  if (version.headers['content-type'] !== undefined) flags |= HAS_TYPE;
  if (others !== undefined) flags |= HAS_REST;
  if (part.location?.kind === 'pack') flags |= IN_PACK;
  return flags;
}

/** What has no place: undefined where there is nothing of that. */
function restOf(version: Version, part: Part): Rest | undefined {
  const { headers, metadata } = version;
  const ofLocation = part.location?.kind === 'pack' ? PACK_FIELDS : SEGMENT_FIELDS;
  const rest: Rest = [
    others(headers, TYPE_FIELDS),
    Object.keys(metadata).length > 0 ? metadata : null,
    others(version, VERSION_FIELDS),
    others(part, PART_FIELDS),
    others(part.location, ofLocation),
  ];
  return rest.every((fields) => fields === null) ? undefined : rest;
}

function others(value: object, known: ReadonlySet<string>): Fields | null {
  let fields: Fields | null = null;
  for (const field in value) {
    const held = (value as Fields)[field];
    if (!known.has(field) && held !== undefined) (fields ??= {})[field] = held;
  }
  return fields;
}

function writeWord(word: unknown): boolean {
  const number = WORD_NUMBERS.get(word as string) ?? 0;
  writer.byte(number);
  return number > 0 || writer.text(word);
}

/** What a listing shows. */
function writeHead(version: Version, sequence: number): boolean {
  const { id, isNull, lastModified, sizeBytes, etag, storageClass, owner, checksum } = version;
  if (
    typeof isNull !== 'boolean' ||
    !isSize(lastModified) ||
    lastModified > TIME_MAX ||
    !isSize(sizeBytes)
  )
    return false;
  if (!isSize(sequence) || !writer.hex(id, VERSION_BYTES)) return false;
  if (Number.parseInt(id.slice(0, SEQUENCE_BYTES * 2), 16) !== sequence) return false;
  writer.signed(lastModified - timeOf(sequence));
  writer.number(sizeBytes);
  if (!writer.hex(etag, ID_BYTES) || !writeWord(storageClass) || !writeWord(owner)) return false;
  return checksum === undefined || writeChecksum(checksum);
}

const timeOf = (sequence: number): number => Math.floor(sequence / SEQUENCES_A_MS);

function writeChecksum(checksum: ObjectChecksum): boolean {
  if (!isRecord(checksum)) return false;
  const kind = CHECKSUMS.findIndex(
    ([algorithm, type]) => algorithm === checksum.algorithm && type === checksum.type,
  );
  const [, , bytes] = CHECKSUMS[kind] ?? ['', '', 0];
  if (kind < 0 || Object.keys(checksum).length !== 3) return false;
  writer.byte(kind);
  return writer.base64(checksum.value, bytes);
}

function writePart(version: Version, part: Part): boolean {
  const { location, sizeBytes, etag, checksum } = part;
  const { lastModified, operation } = version;
  const time = writer.id(location?.id, lastModified);
  if (time === undefined || !writeWord(location.tier) || !writer.hex(checksum, SUM_BYTES)) {
    return false;
  }
  if (operation !== location.id && !writer.hex(operation, ID_BYTES)) return false;
  if (etag !== version.etag && !writer.hex(etag, ID_BYTES)) return false;
  if (sizeBytes !== version.sizeBytes) {
    if (!isSize(sizeBytes)) return false;
    writer.number(sizeBytes);
  }
  return writeLocation(location, { time, sizeBytes });
}

function writeLocation(location: Location, near: { time: number; sizeBytes: number }): boolean {
  const { kind, length } = location;
  if (!isSize(length)) return false;
  if (kind === 'pack') {
    if (!isSize(location.offset) || writer.id(location.pack, near.time) === undefined) return false;
    writer.number(location.offset);
    writer.number(length);
    return true;
  }
  if (kind !== 'segment') return false;
  const { group, segment, batch, lane, offset, empty, unconfirmed } = location;
  if (![group, batch, lane, offset, empty, unconfirmed].every(isSize)) return false;
  if (batch % PIECE_BYTES !== 0 || offset % RECORD_BYTES !== 0) return false;
  if (writer.id(segment, near.time) === undefined) return false;
  const hasLanes = empty !== 0 || unconfirmed !== 0;
  const isOther = length !== near.sizeBytes;
  writer.byte((hasLanes ? HAS_LANES : 0) | (isOther ? OTHER_LENGTH : 0));
  for (const value of [group, batch / PIECE_BYTES, lane, offset / RECORD_BYTES]) {
    writer.number(value);
  }
  if (hasLanes) {
    writer.number(empty);
    writer.number(unconfirmed);
  }
  if (isOther) writer.number(length);
  return true;
}

const writeType = ({ headers }: Version): boolean => writeWord(headers['content-type']);

// ── Reading ──

function readWord(): string {
  const number = reader.byte();
  if (number === 0) return reader.text();
  const word = WORDS[number];
  if (word === undefined) throw newerFormat('an object', `word ${number}`);
  return word;
}

/** The head, as of the flags: a version without its part, headers and metadata. */
function readHead(flags: number): Version {
  const sequence = reader.unsigned48();
  reader.at -= SEQUENCE_BYTES;
  return {
    id: reader.hex(VERSION_BYTES),
    isNull: (flags & IS_NULL) !== 0,
    deleteMarker: false,
    lastModified: timeOf(sequence) + reader.signed(),
    sizeBytes: reader.number(),
    etag: reader.hex(ID_BYTES),
    storageClass: readWord(),
    parts: NO_PARTS,
    headers: NO_FIELDS,
    metadata: NO_FIELDS,
    owner: readWord(),
    operation: '',
  };
}

function readKind(): number {
  const kind = reader.byte();
  if (kind >= CHECKSUMS.length) throw newerFormat('an object', `checksum ${kind}`);
  return kind;
}

/** As RangeQuery.listing describes it; undefined where the record ends before its head. */
export function listSmallObject(
  bytes: Buffer,
  at: number,
  end: number,
): ObjectDocument | undefined {
  reader.begin(bytes, at);
  const flags = reader.byte();
  let version: Version;
  try {
    version = readHead(flags);
    if ((flags & HAS_CHECKSUM) !== 0)
      version.checksum = CHECKSUMS_SHOWN[readKind()] as ObjectChecksum;
  } catch {
    return undefined;
  }
  if (reader.at > end) return undefined;
  return { format: 1, sequence: 0, versions: [version], history: NO_HISTORY };
}

/** Of a record whose checksum is right. */
export function decodeSmallObject(
  bytes: Buffer,
  bounds: { at: number; end: number },
  packing: Packing,
): ObjectDocument {
  reader.begin(bytes, bounds.at);
  const flags = reader.byte();
  const version = readHead(flags);
  const sequence = Number.parseInt(version.id.slice(0, SEQUENCE_BYTES * 2), 16);
  if ((flags & HAS_CHECKSUM) !== 0) {
    const [algorithm, type, size] = CHECKSUMS[readKind()] as (typeof CHECKSUMS)[number];
    version.checksum = { algorithm, type, value: reader.base64(size) };
  }
  const part = readPart(version, flags);
  version.parts = [part];
  version.headers = (flags & HAS_TYPE) === 0 ? {} : { 'content-type': readWord() };
  version.metadata = {};
  if ((flags & HAS_REST) !== 0) {
    const rest = packing.unpack(reader.upTo(bounds.end)) as Rest;
    const [headers, metadata, ofVersion, ofPart, ofLocation] = rest;
    Object.assign(version.headers, headers);
    if (metadata !== null) version.metadata = metadata;
    Object.assign(version, ofVersion);
    Object.assign(part, ofPart);
    Object.assign(part.location, ofLocation);
  }
  return { format: 1, sequence, versions: [version], history: [] };
}

function readPart(version: Version, flags: number): Part {
  const id = reader.id(version.lastModified);
  const tier = readWord();
  const checksum = reader.hex(SUM_BYTES);
  version.operation = (flags & OWN_OPERATION) !== 0 ? id : reader.hex(ID_BYTES);
  const etag = (flags & OTHER_ETAG) !== 0 ? reader.hex(ID_BYTES) : version.etag;
  const sizeBytes = (flags & OTHER_SIZE) !== 0 ? reader.number() : version.sizeBytes;
  const location =
    (flags & IN_PACK) !== 0 ? readPack(id, tier) : readSegment({ id, tier, sizeBytes });
  return { number: 1, location, sizeBytes, etag, checksum };
}

function readPack(id: string, tier: string): Location {
  const pack = reader.id(reader.time);
  return { kind: 'pack', id, tier, pack, offset: reader.number(), length: reader.number() };
}

function readSegment(from: { id: string; tier: string; sizeBytes: number }): Location {
  const { id, tier, sizeBytes } = from;
  const segment = reader.id(reader.time);
  const flags = reader.byte();
  const hasLanes = (flags & HAS_LANES) !== 0;
  return {
    kind: 'segment',
    id,
    tier,
    group: reader.number(),
    segment,
    batch: reader.number() * PIECE_BYTES,
    lane: reader.number(),
    offset: reader.number() * RECORD_BYTES,
    empty: hasLanes ? reader.number() : 0,
    unconfirmed: hasLanes ? reader.number() : 0,
    length: (flags & OTHER_LENGTH) !== 0 ? reader.number() : sizeBytes,
  };
}
