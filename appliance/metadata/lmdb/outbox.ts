// The outbox: what each write transaction changed, in the same transaction, until the journal has
// it (D1). One row a callback: key = commit number in 12 hex digits, value = table code and id of
// each row changed. Rows go again lazily, in a later transaction of the process that put them.

import type { Table } from '../../model/metadata-store.ts';
import { tableOf, TABLE_CODES } from '../journal/format.ts';

export const OUTBOX = 'outbox';
const HEAD_BYTES = 3;

export const outboxKey = (number: number): string => number.toString(16).padStart(12, '0');

export interface Changed {
  table: Table;
  id: string;
}

export function encodeOutbox(changes: readonly Changed[]): Buffer {
  let size = 0;
  for (const { id } of changes) size += HEAD_BYTES + id.length * 3;
  const bytes = Buffer.allocUnsafe(size);
  let at = 0;
  for (const { table, id } of changes) {
    const written = bytes.write(id, at + HEAD_BYTES, 'utf8');
    bytes[at] = TABLE_CODES[table];
    bytes.writeUInt16BE(written, at + 1);
    at += HEAD_BYTES + written;
  }
  return bytes.subarray(0, at);
}

/** Calls `take` for each; the row is lent. */
export function decodeOutbox(row: Buffer, take: (changed: Changed) => void): void {
  for (let at = 0; at < row.length;) {
    const idBytes = row.readUInt16BE(at + 1);
    const start = at + HEAD_BYTES;
    take({
      table: tableOf(row[at] as number),
      id: row.toString('utf8', start, start + idBytes),
    });
    at = start + idBytes;
  }
}
