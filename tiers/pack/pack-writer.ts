// Writes a pack's zip through archiver into a spool file. Archiver tells nobody where an entry's
// bytes begin, but with Buffers, store and a fixed date it writes exactly 30 bytes and the name
// before them: so offsets are a running sum (held against the central directory afterwards by
// verify-pack.ts), and equal entries give equal packs, byte for byte. archiver's append queues
// without bound, so no more than IN_FLIGHT_BYTES and IN_FLIGHT_ENTRIES are ever given to it before
// they are in the file.

import assert from 'node:assert/strict';
import type { FileHandle } from 'node:fs/promises';
import { ZipArchive } from 'archiver';
import { MiB } from '../../appliance/model/limits.ts';
import { ChecksumStream } from '../checksum.ts';
import { dataOffset, ZIP_BYTES_MAX } from './zip.ts';

const IN_FLIGHT_BYTES = 16 * MiB;
const IN_FLIGHT_ENTRIES = 128;
const WRITE_BYTES = MiB;

export class PackWriter {
  readonly #archive = new ZipArchive({ store: true });
  readonly #file: FileHandle;
  readonly #checksum = new ChecksumStream();
  /** Resolves when everything is in the file; rejects on the first error. */
  readonly #drained: Promise<void>;
  #failure: unknown;
  /** Bytes appended, as they will be in the file; bytes that are. */
  #offset = 0;
  #written = 0;
  #appended = 0;
  #processed = 0;
  #wake: (() => void) | undefined;

  constructor(file: FileHandle) {
    this.#file = file;
    this.#archive.on('entry', () => {
      this.#processed += 1;
      this.#wake?.();
    });
    this.#drained = this.#drain();
    // Seen by append and finish; until then it must not end the process.
    this.#drained.catch((error: unknown) => {
      this.#failure = error;
      this.#wake?.();
    });
  }

  /**
   * Adds an entry; resolves, with the offset of its bytes in the file, when there is room for more.
   */
  async append(name: string, bytes: Uint8Array): Promise<number> {
    const at = dataOffset({ name, headerOffset: this.#offset });
    this.#offset = at + bytes.length;
    this.#appended += 1;
    assert.ok(this.#offset < ZIP_BYTES_MAX, 'a pack never needs zip64');
    const source = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#archive.append(source, { name, date: new Date(0), mode: 0o644 });
    while (
      this.#failure === undefined &&
      (this.#offset - this.#written > IN_FLIGHT_BYTES ||
        this.#appended - this.#processed > IN_FLIGHT_ENTRIES)
    ) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.#failure !== undefined) throw this.#failure;
    return at;
  }

  /** Writes the directory; the file is complete (not synced: it is a spool) on return. */
  async finish(): Promise<{ sizeBytes: number; checksum: string }> {
    await Promise.all([this.#archive.finalize(), this.#drained]);
    return { sizeBytes: this.#written, checksum: this.#checksum.digest() };
  }

  /**
   * Ends what was begun after an error: nothing touches the file any more on return. Safe twice.
   */
  async abort(): Promise<void> {
    this.#archive.abort();
    this.#archive.destroy();
    await this.#drained.catch(() => undefined);
  }

  async #drain(): Promise<void> {
    let batch: Buffer[] = [];
    let batched = 0;
    const flush = async (): Promise<void> => {
      const bytes = batch.length === 1 ? (batch[0] as Buffer) : Buffer.concat(batch, batched);
      batch = [];
      batched = 0;
      await this.#write(bytes);
    };
    for await (const chunk of this.#archive as AsyncIterable<Buffer>) {
      batch.push(chunk);
      batched += chunk.length;
      if (batched >= WRITE_BYTES) await flush();
    }
    if (batched > 0) await flush();
  }

  async #write(bytes: Buffer): Promise<void> {
    this.#checksum.update(bytes);
    for (let at = 0; at < bytes.length;) {
      const { bytesWritten } = await this.#file.write(bytes, at, bytes.length - at, this.#written);
      at += bytesWritten;
      this.#written += bytesWritten;
    }
    this.#wake?.();
  }
}
