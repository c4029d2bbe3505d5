// What both adapters hold a row to, in one place: the id, and the format number of the value. A NUL
// in an id would end it early in tools, and a record written by a newer Firn, misread, could lose
// the only name that some bytes have: both are refused loudly rather than served half understood.

import { FirnError } from '../../model/errors.ts';
import type { RangeQuery, Table } from '../../model/metadata-store.ts';

/** UTF-8 bytes of an id: bucket id, slash, a key of 1,024 bytes, upload id fit. */
export const ID_BYTES_MAX = 1500;
export const RANGE_LIMIT_MAX = 10_000;

/**
 * The newest `format` of a value that this Firn reads; older ones are migrated when they are read.
 */
export const FORMAT_MAX = 1;

/** Throws InvalidArgument unless the id can be stored and comes back the same. */
export function checkId(table: Table, id: string): void {
  if (
    id.length === 0 ||
    (id.length > ID_BYTES_MAX / 3 && Buffer.byteLength(id, 'utf8') > ID_BYTES_MAX) ||
    id.includes('\0') ||
    !id.isWellFormed()
  ) {
    throw new FirnError('InvalidArgument', `no possible id in ${table}`, {
      subject: JSON.stringify(id.slice(0, 100)),
      hint: `ids are 1 to ${ID_BYTES_MAX} bytes of UTF-8 without NUL`,
    });
  }
}

export function checkRange(query: RangeQuery): void {
  if (!Number.isInteger(query.limit) || query.limit < 1 || query.limit > RANGE_LIMIT_MAX) {
    throw new FirnError('InvalidArgument', `a range's limit is 1 to ${RANGE_LIMIT_MAX}`, {
      subject: `${query.table}, limit ${query.limit}`,
    });
  }
}

/** Throws FormatUnknown for a value that a newer Firn wrote. */
export function checkFormat(table: Table, id: string, value: { format?: unknown }): void {
  const { format } = value;
  if (typeof format !== 'number' || format <= FORMAT_MAX) return;
  throw newerFormat(`${table} ${id}`, format);
}

export function newerFormat(subject: string, format: unknown): FirnError {
  return new FirnError('FormatUnknown', `written by a newer Firn, in format ${String(format)}`, {
    subject,
    hint: 'run the version of Firn that wrote it, or a newer one',
  });
}
