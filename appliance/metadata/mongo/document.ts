// Rows as MongoDB documents: {_id, _revision, and the value's own fields under their own names}, so
// that an operator can query them. Some names that a client may choose (metadata, tags) are no
// field names: with a dot or a leading dollar they would mean a path or an operator, `_bsontype`
// would be taken for a class of the driver's, and an array called `constructor` comes back as raw
// bytes (measured). An object that has one is stored as {pairs: [[name, value], …]} instead.

import type { ObjectId } from 'mongodb';
import assert from 'node:assert/strict';
import type { ObjectDocument, Version } from '../../model/object.ts';
import type { Row, Table } from '../../model/metadata-store.ts';
import { checkFormat } from '../base/rules.ts';

export interface StoredDocument {
  /** A string: BinData would sort by length before bytes. */
  _id: string;
  /** Drawn by the writer, never twice (A2). */
  _revision: ObjectId;
  [field: string]: unknown;
}

const PAIRS = 'pairs';
type Fields = Record<string, unknown>;

export function encodeDocument(id: string, revision: ObjectId, value: object): StoredDocument {
  const fields = encodeObject(value as Fields);
  assert(!('_id' in fields) && !('_revision' in fields), 'a value has a field of the store itself');
  return { _id: id, _revision: revision, ...fields };
}

/** The value itself where nothing needs another shape: most rows are sent as they are. */
function encodeValue(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value;
  if (!Array.isArray(value)) return encodeObject(value as Fields);
  let encoded: unknown[] | undefined;
  for (let at = 0; at < value.length; at += 1) {
    const item = encodeValue(value[at]);
    if (item === value[at]) continue;
    encoded ??= value.slice();
    encoded[at] = item;
  }
  return encoded ?? value;
}

function encodeObject(value: Fields): Fields {
  const names = Object.keys(value);
  if (names.some(isNoField) || (names.length === 1 && names[0] === PAIRS)) {
    const held = names.filter((name) => value[name] !== undefined);
    return { [PAIRS]: held.map((name) => [name, encodeValue(value[name])]) };
  }
  let encoded: Fields | undefined;
  for (const name of names) {
    const item = encodeValue(value[name]);
    if (item === value[name]) continue;
    encoded ??= { ...value };
    encoded[name] = item;
  }
  return encoded ?? value;
}

function isNoField(name: string): boolean {
  return (
    name === '' ||
    name.charCodeAt(0) === 36 ||
    name.includes('.') ||
    name.includes('\0') ||
    name === '_bsontype' ||
    name in Object.prototype
  );
}

/** Takes the document over: parts of it are changed in place. Throws FormatUnknown. */
export function decodeDocument<T>(table: Table, document: StoredDocument): Row<T> {
  const { _id, _revision, ...fields } = document;
  const value = decodeValue(fields) as { format?: unknown };
  checkFormat(table, _id, value);
  return { id: _id, revision: _revision.toHexString(), value: value as T };
}

function decodeValue(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Uint8Array) return new Uint8Array(value);
  if (Array.isArray(value)) {
    for (let at = 0; at < value.length; at += 1) {
      if (typeof value[at] === 'object') value[at] = decodeValue(value[at]);
    }
    return value;
  }
  const fields = value as Fields;
  const pairs = fields[PAIRS];
  if (Array.isArray(pairs) && Object.keys(fields).length === 1) return decodePairs(pairs);
  for (const name in fields) {
    if (typeof fields[name] === 'object') fields[name] = decodeValue(fields[name]);
  }
  return fields;
}

function decodePairs(pairs: [string, unknown][]): Fields {
  const decoded: Fields = {};
  for (const [name, held] of pairs) {
    // Not by assignment: `__proto__` would set the prototype.
    Object.defineProperty(decoded, name, {
      value: decodeValue(held),
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
  return decoded;
}

const LISTED = [
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
] as const satisfies readonly (keyof Version)[];

/** What find sends back for RangeQuery.listing: half the bytes, half the time to decode them. */
export const LISTING_PROJECTION = {
  _revision: 1,
  format: 1,
  versions: {
    $map: {
      input: { $slice: ['$versions', 1] },
      as: 'version',
      in: Object.fromEntries(LISTED.map((field) => [field, `$$version.${field}`])),
    },
  },
};

/** The row of a document that LISTING_PROJECTION cut. */
export function decodeListed<T>(document: StoredDocument): Row<T> {
  const row = decodeDocument<Partial<ObjectDocument>>('objects', document);
  const versions = (row.value.versions ?? []) as Version[];
  for (const version of versions) {
    version.parts = [];
    version.headers = {};
    version.metadata = {};
    version.operation = '';
  }
  const value: ObjectDocument = { format: 1, sequence: 0, versions, history: [] };
  return { id: row.id, revision: row.revision, value: value as T };
}
