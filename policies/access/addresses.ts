// Addresses and ranges of them, v4 and v6, as bytes. One form an address: ::ffff:1.2.3.4, which is
// what a server that listens on both sees, is 1.2.3.4.

import { isIPv4, isIPv6 } from 'node:net';

export interface AddressRange {
  bytes: Uint8Array;
  bits: number;
}

const V4_BYTES = 4;
const V6_GROUPS = 8;
const MAPPED_PREFIX_BYTES = 12;

/** Undefined for what is no address. */
export function addressOf(text: string): Uint8Array | undefined {
  if (isIPv4(text)) return Uint8Array.from(text.split('.', V4_BYTES), Number);
  const zone = text.indexOf('%');
  const plain = zone < 0 ? text : text.slice(0, zone);
  if (!isIPv6(plain)) return undefined;
  const bytes = v6Bytes(plain);
  const isMapped =
    bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff;
  return isMapped ? bytes.slice(MAPPED_PREFIX_BYTES) : bytes;
}

function v6Bytes(text: string): Uint8Array {
  const [before = '', after] = text.split('::');
  const head = groupsOf(before);
  const tail = after === undefined ? [] : groupsOf(after);
  const gap = Array.from({ length: V6_GROUPS - head.length - tail.length }, () => 0);
  return Uint8Array.from([...head, ...gap, ...tail].flatMap((group) => [group >> 8, group & 255]));
}

function groupsOf(text: string): number[] {
  if (text === '') return [];
  return text.split(':').flatMap((group) => {
    if (!group.includes('.')) return [Number.parseInt(group, 16)];
    const [a, b, c, d] = group.split('.').map(Number) as [number, number, number, number];
    return [(a << 8) | b, (c << 8) | d];
  });
}

/** 192.0.2.0/24, 2001:db8::/32, or one address. Undefined for anything else. */
export function rangeOf(text: string): AddressRange | undefined {
  const slash = text.indexOf('/');
  const bytes = addressOf(slash < 0 ? text : text.slice(0, slash));
  if (bytes === undefined) return undefined;
  const bitsMax = bytes.length * 8;
  if (slash < 0) return { bytes, bits: bitsMax };
  const length = text.slice(slash + 1);
  if (!/^\d{1,3}$/.test(length)) return undefined;
  const isMapped = text.includes(':') && bytes.length === V4_BYTES;
  const bits = Number(length) - (isMapped ? MAPPED_PREFIX_BYTES * 8 : 0);
  return bits >= 0 && bits <= bitsMax ? { bytes, bits } : undefined;
}

export function isInRange(address: Uint8Array, range: AddressRange): boolean {
  if (address.length !== range.bytes.length) return false;
  const whole = range.bits >> 3;
  for (let i = 0; i < whole; i += 1) if (address[i] !== range.bytes[i]) return false;
  const rest = range.bits & 7;
  if (rest === 0) return true;
  const shift = 8 - rest;
  return (address[whole] as number) >> shift === (range.bytes[whole] as number) >> shift;
}
