// Sums of many bodies at once. What a user would lose: an ETag that is another upload's makes a good
// copy look broken, or a broken one good; a sum that changes with the split of the bytes refuses
// uploads at random. Every MD5 is held against node:crypto, every CRC against a loop of ten lines.

import test from 'ava';
import { createHash, hash, randomInt } from 'node:crypto';
import { crc32 } from 'node:zlib';
import {
  checksumOf,
  combineCrcs,
  newChecksum,
  type CrcAlgorithm,
} from '../appliance/model/checksum.ts';
import {
  md5Lanes,
  Md5Lanes,
  type PendingMd5,
  type RunningMd5,
} from '../appliance/model/md5-lanes.ts';
import { house, put, seeded } from './engine-harness.ts';

const seed = Number(process.env['SEED'] ?? randomInt(2 ** 31));

/** Whole numbers below what is asked. */
function chance(from: number): (below: number) => number {
  const random = seeded(from);
  return (below) => Math.floor(random() * below);
}

const pool = Buffer.alloc(4 << 20);
for (let at = 0, block = hash('sha512', 'firn', 'buffer'); at < pool.length; at += 64) {
  block.copy(pool, at);
  block = hash('sha512', block, 'buffer');
}

function bytesOf(next: (below: number) => number, lengthMax: number): Buffer {
  // Short ones often: padding differs by length modulo 64.
  const length = next(3) === 0 ? next(Math.min(lengthMax, 300)) : next(lengthMax);
  const from = next(pool.length - length);
  return pool.subarray(from, from + length);
}

test('the MD5 of a stream is its own, however many others pass and break off beside it', (t) => {
  t.log(`SEED=${seed}`);
  const next = chance(seed);
  const lanes = new Md5Lanes();
  let wrong = 0;
  for (let round = 0; round < 60; round++) {
    interface Open {
      bytes: Buffer;
      at: number;
      sum: RunningMd5;
      pieceMax: number;
    }
    const begin = (): Open => ({
      bytes: bytesOf(next, 700_000),
      at: 0,
      sum: lanes.stream(),
      pieceMax: 1 + next(100_000),
    });
    const open = Array.from({ length: 1 + next(40) }, begin);
    let more = next(10);
    while (open.length > 0) {
      const which = next(open.length);
      const one = open[which] as Open;
      const piece = Buffer.from(one.bytes.subarray(one.at, one.at + next(one.pieceMax)));
      one.sum.update(piece);
      // What came from the socket is overwritten by what comes next.
      piece.fill(0xee);
      one.at += piece.length;
      const isBroken = next(200) === 0;
      if (one.at < one.bytes.length && !isBroken) continue;
      if (isBroken) one.sum.drop();
      else if (one.sum.digest() !== hash('md5', one.bytes)) wrong += 1;
      open.splice(which, 1);
      if (more-- > 0) open.push(begin());
    }
    t.deepEqual(lanes.busy, { wholes: 0, streams: 0 }, 'all room is given back');
  }
  t.is(wrong, 0);
});

test('the MD5 of a small body is its own, in whatever order sums are needed or let go', (t) => {
  t.log(`SEED=${seed}`);
  const next = chance(seed ^ 0x5bd1e995);
  const lanes = new Md5Lanes();
  let wrong = 0;
  for (let round = 0; round < 400; round++) {
    const open: { bytes: Buffer; sum: PendingMd5 }[] = [];
    let more = 1 + next(60);
    while (more > 0 || open.length > 0) {
      if (more > 0 && (open.length === 0 || next(3) > 0)) {
        const bytes = bytesOf(next, round % 20 === 0 ? 262_144 : 6000);
        open.push({ bytes, sum: lanes.begin(bytes) });
        more -= 1;
        continue;
      }
      const [one] = open.splice(next(open.length), 1) as [{ bytes: Buffer; sum: PendingMd5 }];
      if (next(6) > 0 && one.sum.digest() !== hash('md5', one.bytes)) wrong += 1;
      one.sum.drop();
      one.sum.drop();
    }
    t.deepEqual(lanes.busy, { wholes: 0, streams: 0 });
  }
  t.is(wrong, 0);
});

test('every length around a block, a stage and a ring has its MD5, alone and in company', (t) => {
  const edges = [64, 128, 16_384, 32_768, 131_072, 262_144, 524_288];
  const lengths = edges.flatMap((edge) =>
    [-65, -64, -9, -8, -1, 0, 1, 55, 56, 57].map((by) => edge + by),
  );
  for (let length = 0; length < 66; length++) lengths.push(length);
  const lanes = new Md5Lanes();
  for (const length of lengths.filter((one) => one >= 0)) {
    const bytes = pool.subarray(7, 7 + length);
    const right = hash('md5', bytes);
    const alone = lanes.stream();
    alone.update(bytes);
    t.is(alone.digest(), right, `${length} alone`);
    const streams = [lanes.stream(), lanes.stream(), lanes.stream()];
    for (const one of streams) one.update(bytes);
    for (const one of streams) t.is(one.digest(), right, `${length} of three`);
    const wholes = [lanes.begin(bytes), lanes.begin(bytes), lanes.begin(bytes)];
    for (const one of wholes.toReversed()) t.is(one.digest(), right, `${length} whole`);
    for (const one of wholes) one.drop();
  }
});

test('more streams than there is room for are hashed all the same, and room comes back', (t) => {
  const lanes = new Md5Lanes();
  const many = Array.from({ length: 100 }, () => lanes.stream());
  t.true(lanes.busy.streams < 100, 'memory is bounded');
  for (const [index, one] of many.entries()) one.update(pool.subarray(index, index + 70_000));
  for (const [index, one] of many.entries()) {
    t.is(one.digest(), hash('md5', pool.subarray(index, index + 70_000)));
    t.throws(() => one.digest(), undefined, 'a stream ends once');
  }
  t.is(lanes.busy.streams, 0);
});

test('eight bodies that come together are hashed together, and one alone at once', (t) => {
  const lanes = new Md5Lanes();
  const first = lanes.begin(pool.subarray(0, 4096));
  t.true(first.isReady, 'alone there is nobody to wait for');
  const others = Array.from({ length: 8 }, () => lanes.begin(pool.subarray(0, 4096)));
  t.true(others.every((one) => one.isReady));
  const late = [lanes.begin(pool.subarray(1, 5)), lanes.begin(pool.subarray(1, 5))] as const;
  t.false(late[0].isReady);
  t.is(late[1].digest(), hash('md5', pool.subarray(1, 5)));
  t.true(late[0].isReady, 'whoever needs a sum takes along what waits');
  for (const one of [first, ...others, ...late]) one.drop();
});

test('an MD5 above 512 MiB carries its length in 64 bits', (t) => {
  const lanes = new Md5Lanes();
  const streams = [lanes.stream(), lanes.stream()] as const;
  const right = createHash('md5');
  for (let sent = 0; sent <= 2 ** 29; sent += pool.length) {
    for (const one of streams) one.update(pool);
    right.update(pool);
  }
  const sum = right.digest('hex');
  t.is(streams[0].digest(), sum);
  t.is(streams[1].digest(), sum);
});

test('every ETag of uploads at once is the MD5 of its own bytes, and broken uploads keep no lane', async (t) => {
  t.log(`SEED=${seed}`);
  const next = chance(seed ^ 0x38495ab5);
  const h = house();
  await h.engine.createBucket({ name: 'bucket', owner: 'root', region: 'local' });
  async function* chunks(bytes: Buffer, breaksAt: number): AsyncGenerator<Uint8Array> {
    const socket = Buffer.alloc(65_536);
    for (let at = 0; at < bytes.length;) {
      const length = bytes.copy(socket, 0, at, at + 1 + next(socket.length));
      yield socket.subarray(0, length);
      at += length;
      if (at > breaksAt) throw new Error('the client went away');
      if (next(3) === 0) await new Promise(setImmediate);
    }
  }
  let broken = 0;
  let refused = 0;
  await Promise.all(
    Array.from({ length: 150 }, async (_, index) => {
      const bytes = bytesOf(next, index % 3 === 0 ? 900_000 : 8000);
      const right = hash('md5', bytes);
      const kind = next(6);
      const body = kind < 3 ? bytes : chunks(bytes, kind === 3 ? bytes.length / 2 : Infinity);
      const size = next(3) === 0 ? {} : { sizeBytes: bytes.length };
      // With the sum announced, rightly or wrongly, or not.
      const announced = [undefined, right, hash('md5', 'other')][next(3)];
      const more = announced === undefined ? size : { ...size, contentMd5: announced };
      try {
        const request = { ...put(`k${index}`, ''), body, ...more };
        const { version } = await h.engine.putObject(request);
        t.is(version.etag, right);
        t.not(announced, hash('md5', 'other'), 'a wrong sum is refused');
      } catch (error) {
        if (kind === 3 && (error as Error).message === 'the client went away') broken += 1;
        else if ((error as { code?: string }).code === 'BadDigest') refused += 1;
        else throw error;
      }
    }),
  );
  t.true(broken > 0 && refused > 0);
  t.deepEqual(md5Lanes().busy, { wholes: 0, streams: 0 });
});

// ----------------------------------------------------------------------------------------------
// CRCs

const PLAIN: Record<CrcAlgorithm, { polynomial: bigint; bits: number }> = {
  CRC32: { polynomial: 0xedb88320n, bits: 32 },
  CRC32C: { polynomial: 0x82f63b78n, bits: 32 },
  CRC64NVME: { polynomial: 0x9a6c9329ac4bc9b5n, bits: 64 },
};

/** A bit at a time, as the definition has it. */
function plainCrc(algorithm: CrcAlgorithm, bytes: Uint8Array): string {
  const { polynomial, bits } = PLAIN[algorithm];
  const ones = (1n << BigInt(bits)) - 1n;
  let crc = ones;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ polynomial : crc >> 1n;
  }
  return Buffer.from((crc ^ ones).toString(16).padStart(bits / 4, '0'), 'hex').toString('base64');
}

const CRCS = Object.keys(PLAIN) as CrcAlgorithm[];

test('a CRC is the one of its definition, at every length and split', (t) => {
  t.log(`SEED=${seed}`);
  const next = chance(seed ^ 0x2545f491);
  const check = Buffer.from('123456789');
  t.is(checksumOf('CRC64NVME', check), Buffer.from('ae8b14860a799888', 'hex').toString('base64'));
  t.is(checksumOf('CRC32C', check), Buffer.from('e3069283', 'hex').toString('base64'));
  // Three lanes of 1360 bytes begin at 4080: lengths around one and two strides, in odd pieces.
  // From 18112 on vectors go through the sparse multiple, 65536 bytes at a time.
  const lengths = [0, 1, 7, 8, 9, 4079, 4080, 4081, 8159, 8160, 8161, 33_000];
  lengths.push(18_111, 18_112, 18_127, 18_129, 65_535, 65_536, 65_553, 65_536 + 18_119);
  for (const algorithm of CRCS) {
    for (const length of lengths) {
      const bytes = pool.subarray(3, 3 + length);
      const right = plainCrc(algorithm, bytes);
      t.is(checksumOf(algorithm, bytes), right, `${algorithm} of ${length}`);
      const running = newChecksum(algorithm);
      for (let at = 0; at < length;) {
        const piece = 1 + next(next(2) === 0 ? 40 : 9000);
        running.update(bytes.subarray(at, at + piece));
        at += piece;
      }
      t.is(running.digest(), right, `${algorithm} of ${length} in pieces`);
    }
  }
});

test('the CRC of an object made of parts is the one of all its bytes', (t) => {
  t.log(`SEED=${seed}`);
  const next = chance(seed ^ 0x1b873593);
  for (let round = 0; round < 40; round++) {
    const whole = bytesOf(next, 100_000);
    const cuts = [0, whole.length];
    for (let cut = next(6); cut > 0; cut--) cuts.push(next(whole.length + 1));
    cuts.sort((a, b) => a - b);
    const parts = cuts.slice(1).map((to, index) => whole.subarray(cuts[index], to));
    for (const algorithm of CRCS) {
      const combined = combineCrcs(
        algorithm,
        parts.map((part) => ({ value: checksumOf(algorithm, part), sizeBytes: part.length })),
      );
      t.is(combined, checksumOf(algorithm, whole), algorithm);
      if (algorithm !== 'CRC32') continue;
      t.is(Buffer.from(combined, 'base64').readUInt32BE(), crc32(whole), "zlib's");
    }
  }
});
