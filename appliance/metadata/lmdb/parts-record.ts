// A list of parts as it lies in LMDB. An object of 10,000 parts has one row that names them all,
// and every GET of it reads that row: by field names it would be 3.3 MB, most of it names, and hex
// digits at two bytes for one. Here each field of all parts is one column; ids and digests are
// bytes; what the parts' locations have in common is written once. 50 to 105 bytes a part are left,
// nearly all of them random. What is not shaped so comes by name as any other row, so that nothing
// is ever lost to being small. FORMAT.md has the layout.

import { deflateRawSync, inflateRawSync } from 'node:zlib';
import type { Block, ObjectChecksum, Part } from '../../model/object.ts';
import type { Location } from '../../model/location.ts';

type PartsBlock = Extract<Block, { kind: 'parts' }>;

/** Runs of equal values: value, how often, value, how often. */
type Runs = number[];

/** Of a location: its length where it is not the part's, and all fields but the id. */
type Rest = [kind: string, length: number | null, fields: Record<string, unknown>];
/** More than that are deflated: offsets in a pack, names of blobs. */
const PLAIN_RESTS_MAX = 16;

export type PartsTuple = [
  object: string,
  /** Null: 1, 2, 3 and so on. */
  numbers: number[] | null,
  sizes: Runs,
  etags: Uint8Array,
  checksums: Uint8Array,
  ids: Uint8Array,
  /** Every distinct rest of a location; many of them as deflated MessagePack. */
  rests: Rest[] | Uint8Array,
  /** For each part, which of them. */
  rest: Runs,
  nonces: Uint8Array | null,
  checksum: [algorithm: string, type: string, values: Uint8Array] | null,
];

export interface Packing {
  pack(value: unknown): Uint8Array;
  unpack(bytes: Uint8Array): unknown;
}

const FIELDS = new Set(['number', 'location', 'sizeBytes', 'etag', 'checksum', 'nonce']);
const ETAG_BYTES = 16;
const CHECKSUM_BYTES = 8;
const ID_BYTES = 16;

/** Undefined where the value is no list of parts, or one that this form can't give back exactly. */
export function packParts(value: object, packing: Packing): PartsTuple | undefined {
  const { format, kind, object, parts, ...others } = value as PartsBlock;
  if (format !== 1 || kind !== 'parts' || typeof object !== 'string') return undefined;
  if (Object.keys(others).length > 0 || !Array.isArray(parts) || parts.length === 0) {
    return undefined;
  }
  if (!parts.every(isUsual)) return undefined;
  const etags = bytesOf(
    parts.map(({ etag }) => etag),
    ETAG_BYTES,
    'hex',
  );
  const checksums = bytesOf(
    parts.map(({ checksum }) => checksum),
    CHECKSUM_BYTES,
    'hex',
  );
  const ids = bytesOf(
    parts.map(({ location }) => location.id),
    ID_BYTES,
    'hex',
  );
  const nonces = noncesOf(parts);
  const checksum = checksumsOf(parts);
  if (!etags || !checksums || !ids || nonces === undefined || checksum === undefined) {
    return undefined;
  }
  const { rests, rest } = restsOf(parts);
  return [
    object,
    parts.every(({ number }, index) => number === index + 1) ? null : parts.map((p) => p.number),
    runsOf(parts.map(({ sizeBytes }) => sizeBytes)),
    etags,
    checksums,
    ids,
    rests.length <= PLAIN_RESTS_MAX ? rests : deflateRawSync(packing.pack(rests)),
    rest,
    nonces,
    checksum,
  ];
}

function isUsual(part: Part): boolean {
  for (const field in part) {
    if (!FIELDS.has(field) && field !== 'clientChecksum') return false;
  }
  const { number, sizeBytes, etag, checksum, location } = part;
  return (
    Number.isInteger(number) &&
    Number.isSafeInteger(sizeBytes) &&
    typeof etag === 'string' &&
    typeof checksum === 'string' &&
    typeof location?.id === 'string' &&
    typeof location.kind === 'string' &&
    Number.isSafeInteger(location.length) &&
    !Object.values(location).some((value) => String(value).includes(OWN_ID))
  );
}

/** Undefined unless every text is exactly what its bytes spell again. */
function bytesOf(
  texts: readonly string[],
  width: number,
  encoding: 'hex' | 'base64',
): Buffer | undefined {
  const bytes = Buffer.allocUnsafe(texts.length * width);
  const digits = encoding === 'hex' ? width * 2 : Math.ceil(width / 3) * 4;
  for (let i = 0; i < texts.length; i++) {
    const text = texts[i] as string;
    if (text.length !== digits) return undefined;
    bytes.write(text, i * width, width, encoding);
    if (bytes.toString(encoding, i * width, (i + 1) * width) !== text) return undefined;
  }
  return bytes;
}

/** Null: no part has one. Undefined: not to be had this way. */
function noncesOf(parts: readonly Part[]): Buffer | null | undefined {
  const nonces = parts.flatMap(({ nonce }) => (nonce === undefined ? [] : [nonce]));
  if (nonces.length === 0) return null;
  const width = Buffer.byteLength(nonces[0] as string, 'base64');
  return nonces.length === parts.length ? bytesOf(nonces, width, 'base64') : undefined;
}

function checksumsOf(parts: readonly Part[]): PartsTuple[9] | undefined {
  const first = parts[0]?.clientChecksum;
  const values: string[] = [];
  for (const { clientChecksum: sum } of parts) {
    if (sum?.algorithm !== first?.algorithm || sum?.type !== first?.type) return undefined;
    if (sum === undefined) continue;
    if (Object.keys(sum).length !== 3 || typeof sum.value !== 'string') return undefined;
    values.push(sum.value);
  }
  if (first === undefined) return null;
  const bytes = bytesOf(values, Buffer.byteLength(first.value, 'base64'), 'base64');
  return bytes && [first.algorithm, first.type, bytes];
}

function restsOf(parts: readonly Part[]): { rests: Rest[]; rest: Runs } {
  const rests: Rest[] = [];
  const known = new Map<string, number>();
  const indexes: number[] = [];
  for (const { location, sizeBytes } of parts) {
    const { id, kind, length, ...others } = location;
    const fields = renamed(others, id, OWN_ID);
    const rest: Rest = [kind, length === sizeBytes ? null : length, fields];
    const text = JSON.stringify(rest);
    let index = known.get(text);
    if (index === undefined) {
      index = rests.push(rest) - 1;
      known.set(text, index);
    }
    indexes.push(index);
  }
  return { rests, rest: runsOf(indexes) };
}

/** Stands for the location's own id in its other fields: names of blobs end in it. */
const OWN_ID = '\0';

function renamed(fields: object, from: string, to: string): Record<string, unknown> {
  const result: Record<string, unknown> = { ...fields };
  for (const [name, value] of Object.entries(fields)) {
    if (typeof value === 'string' && value.includes(from)) {
      result[name] = value.replaceAll(from, to);
    }
  }
  return result;
}

function runsOf(values: readonly number[]): Runs {
  const runs: Runs = [];
  for (const value of values) {
    const last = runs.length - 2;
    if (last >= 0 && runs[last] === value) runs[last + 1] = (runs[last + 1] as number) + 1;
    else runs.push(value, 1);
  }
  return runs;
}

function valuesOf(runs: Runs): number[] {
  const values: number[] = [];
  for (let i = 0; i < runs.length; i += 2) {
    for (let left = runs[i + 1] as number; left > 0; left--) values.push(runs[i] as number);
  }
  return values;
}

export function unpackParts(tuple: PartsTuple, packing: Packing): PartsBlock {
  const [object, numbers, sizes, etags, checksums, ids, packed, restRuns, nonces, sum] = tuple;
  const sizeOf = valuesOf(sizes);
  const restOf = valuesOf(restRuns);
  const rests = Array.isArray(packed) ? packed : (packing.unpack(inflateRawSync(packed)) as Rest[]);
  const count = sizeOf.length;
  const slice = (bytes: Uint8Array, index: number, encoding: 'hex' | 'base64'): string => {
    const width = bytes.length / count;
    const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    return view.toString(encoding, index * width, (index + 1) * width);
  };
  const parts: Part[] = [];
  for (let i = 0; i < count; i++) {
    const sizeBytes = sizeOf[i] as number;
    const [kind, length, fields] = rests[restOf[i] as number] as Rest;
    const id = slice(ids, i, 'hex');
    const part: Part = {
      number: numbers === null ? i + 1 : (numbers[i] as number),
      location: {
        kind,
        id,
        length: length ?? sizeBytes,
        ...renamed(fields, OWN_ID, id),
      } as unknown as Location,
      sizeBytes,
      etag: slice(etags, i, 'hex'),
      checksum: slice(checksums, i, 'hex'),
    };
    if (nonces !== null) part.nonce = slice(nonces, i, 'base64');
    if (sum !== null) {
      const [algorithm, type, values] = sum;
      part.clientChecksum = {
        algorithm,
        type,
        value: slice(values, i, 'base64'),
      } as ObjectChecksum;
    }
    parts.push(part);
  }
  return { format: 1, kind: 'parts', object, parts };
}
