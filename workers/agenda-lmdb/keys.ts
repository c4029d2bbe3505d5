// Keys of the embedded job store, as bytes of our own: LMDB's default key encoding misorders
// control bytes and corrupts keys that hold -0 (both measured), and an index that misorders hides
// due jobs. Grammar (big-endian): name key = UTF-8 name · 00; time = 8 bytes of milliseconds,
// clamped at 0.   jobs     id (16)   due      name · 00 · nextRunAt (8) · 2^31 − priority (4) · id
// (16)   locks    name · 00 · lockedAt (8) · id (16)   names    name · 00 · id (16)   unique   name
// · 00 · SHA-256 of the canonical unique fields (32) → id

import { createHash } from 'node:crypto';

const ID_BYTES = 16;
const PRIORITY_BIAS = 2 ** 31;
/** LMDB takes keys up to 1,978 bytes: a job's name must leave room for the rest. */
const NAME_BYTES_MAX = 1_800;

export function idKey(id: string): Buffer {
  return Buffer.from(id, 'hex');
}

/** True for what this store handed out as an id; anything else names no job. */
export function isJobId(id: unknown): id is string {
  return typeof id === 'string' && /^[0-9a-f]{32}$/.test(id);
}

/** The id at the end of a key of `due`, `locks` or `names`. */
export function idOfKey(key: Uint8Array): string {
  return Buffer.from(key.subarray(key.length - ID_BYTES)).toString('hex');
}

export function nameKey(name: string): Buffer {
  const bytes = Buffer.from(`${name}\0`, 'utf8');
  if (bytes.length > NAME_BYTES_MAX) throw new RangeError(`job name of ${bytes.length} bytes`);
  return bytes;
}

/** Least key above every key that starts with `prefix` (which ends in 00). */
export function afterName(prefix: Buffer): Buffer {
  const end = Buffer.from(prefix);
  end[end.length - 1] = 1;
  return end;
}

function timeBytes(at: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(Math.max(0, Math.trunc(at))));
  return bytes;
}

/** Least key of `due` or `locks` above all of this name up to and at `at`. */
export function afterTime(name: string, at: number): Buffer {
  return Buffer.concat([nameKey(name), timeBytes(Math.max(0, at) + 1)]);
}

export function dueKey(job: { name: string; priority: number; id: string }, at: number): Buffer {
  const priority = Buffer.alloc(4);
  const ranked = Math.min(2 ** 32 - 1, Math.max(0, PRIORITY_BIAS - Math.trunc(job.priority)));
  priority.writeUInt32BE(ranked);
  return Buffer.concat([nameKey(job.name), timeBytes(at), priority, idKey(job.id)]);
}

export function lockKey(job: { name: string; id: string }, at: number): Buffer {
  return Buffer.concat([nameKey(job.name), timeBytes(at), idKey(job.id)]);
}

export function memberKey(job: { name: string; id: string }): Buffer {
  return Buffer.concat([nameKey(job.name), idKey(job.id)]);
}

function canonical(value: unknown): string {
  if (value === undefined) return 'null';
  if (value instanceof Date) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (value !== null && typeof value === 'object') {
    const entries = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));
    return `{${entries.map(([k, v]) => `${JSON.stringify(k)}:${canonical(v)}`).join(',')}}`;
  }
  return JSON.stringify(value);
}

export function uniqueKey(name: string, fields: unknown): Buffer {
  return Buffer.concat([nameKey(name), createHash('sha256').update(canonical(fields)).digest()]);
}
