// XXH3-64, the checksum of all of Firn's own formats (seed 0), in one piece and by stream. Shared
// by all tiers (cold, pack, node-group). The native module hashes about 10 GB/s a core; where there
// is no binary for a platform, hash-wasm gives the same digests at about 4 GB/s, so that formats
// stay readable everywhere. As text a checksum is 16 lower-case hex digits, big-endian.

import { createXXHash3, type IHasher } from 'hash-wasm';

interface Kernel {
  whole(bytes: Uint8Array): bigint;
  open(): { update(bytes: Uint8Array): void; digest(): bigint };
}

const bigintOf = (hex: string): bigint => BigInt(`0x${hex}`);

/** One WebAssembly instance serves all streams: each keeps its state outside and swaps it in. */
export async function wasmKernel(): Promise<Kernel> {
  const hasher: IHasher = await createXXHash3();
  return {
    whole: (bytes) => bigintOf(hasher.init().update(bytes).digest('hex')),
    open: () => {
      let state = hasher.init().save();
      return {
        update: (bytes) => {
          state = hasher.load(state).update(bytes).save();
        },
        digest: () => bigintOf(hasher.load(state).digest('hex')),
      };
    },
  };
}

async function nativeKernel(): Promise<Kernel> {
  const { xxh3 } = await import('@node-rs/xxhash');
  // Its one-shot call copies its input (290 µs for 256 KiB): one stream, used again and again,
  // takes 25.
  const again = xxh3.Xxh3.withSeed();
  const whole = (bytes: Uint8Array): bigint => {
    if (bytes.length <= 256) return xxh3.xxh64(bytes);
    again.reset();
    return again.update(bytes).digest();
  };
  return { whole, open: () => xxh3.Xxh3.withSeed() };
}

const kernel: Kernel = await nativeKernel().catch(wasmKernel);

/** As number, for formats that store 8 bytes. */
export function checksum64(bytes: Uint8Array): bigint {
  return kernel.whole(bytes);
}

export function checksumText(value: bigint): string {
  return value.toString(16).padStart(16, '0');
}

export function checksumOf(bytes: Uint8Array): string {
  return checksumText(kernel.whole(bytes));
}

/** As the engine is given it (StoredChecksums of the model). */
export const checksums = { of: checksumOf, open: (): ChecksumStream => new ChecksumStream() };

/** A running checksum. `digest` may be asked at any time and does not end the stream. */
export class ChecksumStream {
  readonly #stream = kernel.open();

  update(bytes: Uint8Array): void {
    this.#stream.update(bytes);
  }

  digest64(): bigint {
    return this.#stream.digest();
  }

  digest(): string {
    return checksumText(this.#stream.digest());
  }
}
