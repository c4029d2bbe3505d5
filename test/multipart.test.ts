// Multipart uploads at their limits: 10,000 parts, 5 TiB, paging, copies of ranges, and the lists of
// parts as they are stored. What is at stake: an object that nobody can complete any more after
// days of uploading, or one whose parts come back in another order.

import test from 'ava';
import { decodeRecord, encodeRecord, stampRevision } from '../appliance/metadata/lmdb/record.ts';
import type { Location } from '../appliance/model/location.ts';
import type { Block, Part } from '../appliance/model/object.ts';
import { partsBlock } from './contract/metadata-store.ts';

test('the list of 10,000 parts with their checksums is at most 1 MiB, and comes back as it was', (t) => {
  const sizes: string[] = [];
  for (const algorithm of [undefined, 'CRC64NVME', 'SHA256', 'SHA512'] as const) {
    const value = partsBlock(10_000, algorithm);
    const record = encodeRecord('blocks', value);
    stampRevision(record, 1, 1);
    // 64 bytes of SHA-512 and a nonce for each: that alone is 0.8 MB of randomness.
    t.true(record.length <= (algorithm === 'SHA512' ? 1.2 : 1) * 2 ** 20, algorithm);
    sizes.push(`${algorithm ?? 'none'} ${record.length}`);
    t.deepEqual(decodeRecord('blocks', 'b', record).value, value);
  }
  t.log(sizes.join(', '));
});

test('a list of parts of any shape comes back exactly, compact or not', (t) => {
  const { parts, ...block } = partsBlock(70, 'CRC32') as Extract<Block, { kind: 'parts' }>;
  const change = (index: number, fields: object): Part[] =>
    parts.map((part, at) => (at === index ? ({ ...part, ...fields } as Part) : part));
  const { location } = parts[5] as Part;
  const { nonce: _, ...bare } = parts[0] as Part;
  const remote = (part: Part): Location => ({
    kind: 'remote',
    id: part.location.id,
    tier: 'cold',
    name: `blobs/${part.location.id.slice(0, 2)}/${part.location.id}`,
    length: part.sizeBytes,
  });
  const shapes: Part[][] = [
    parts,
    parts.slice(0, 1),
    [],
    parts.filter(({ number }) => number % 3 !== 0),
    parts.map((part) => ({ ...part, location: remote(part) })),
    parts.map((part, at) => ({
      ...part,
      location: { ...remote(part), kind: 'pack', pack: 'p', offset: at * 7 } as unknown as Location,
    })),
    [bare, ...parts.slice(1)],
    change(5, { etag: 'UPPER' }),
    change(5, { etag: 'A'.repeat(32) }),
    change(5, { checksum: '' }),
    change(5, { later: { added: 1 } }),
    change(5, { location: { ...location, length: 12 } }),
    change(5, { location: { ...location, tier: 'a\0b' } }),
    change(5, { location: { ...location, id: 'short' } }),
    change(5, { clientChecksum: { algorithm: 'SHA1', type: 'FULL_OBJECT', value: 'x' } }),
    change(5, { clientChecksum: undefined }).map(({ clientChecksum, ...part }) =>
      clientChecksum === undefined ? part : { ...part, clientChecksum },
    ),
  ];
  for (const [index, shape] of shapes.entries()) {
    const value = { ...block, parts: shape };
    const record = encodeRecord('blocks', value);
    stampRevision(record, 1, 1);
    t.deepEqual(decodeRecord('blocks', 'b', record).value, value, `shape ${index}`);
  }
});
