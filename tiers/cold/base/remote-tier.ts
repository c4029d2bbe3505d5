// A cold tier over a cloud's object store: everything that does not depend on whose. Promises: what
// put acknowledged has arrived whole (every request's bytes were compared by a hash that the
// service checks, and its size read back); a retry after an unknown outcome finds its own bytes;
// names are never overwritten; a whole read is held against our own XXH3-64; a broken body is
// resumed where it broke. A ranged read is exact in length, its bytes are held against the part's
// checksum by the caller.

import { FirnError, isFirnError } from '../../../appliance/model/errors.ts';
import { MiB } from '../../../appliance/model/limits.ts';
import type { BlobLocation } from '../../../appliance/model/location.ts';
import type { Random } from '../../../appliance/model/clock.ts';
import type {
  Body,
  ByteRange,
  ListedBlob,
  PutRequest,
  ReadOptions,
  StagePriority,
  StageStatus,
  Stored,
  Tier,
  TierCapabilities,
  TierUsage,
} from '../../../appliance/model/tier.ts';
import { ChecksumStream, checksumOf } from '../../checksum.ts';
import {
  collectExactly,
  conflict,
  corrupt,
  Meter,
  metered,
  missing,
  pieces,
  rangeWithin,
  WHOLE_READ_BYTES_MAX,
  wrongLength,
} from './bodies.ts';
import { CloudCalls, isRetryable, withoutStalls, type CallSettings } from './calls.ts';
import { blobName, idOfName, ownName, remoteLocation } from './names.ts';
import { emptied, IDENTITY_NAME, takeRemoteIdentity } from './remote-identity.ts';
import type { BlobHead, BlobLabels, BlobService, BlobStream, BlobUpload } from './service.ts';

/** Parts of one upload under way at once; as many parts are held in memory, and one more. */
const PARTS_IN_FLIGHT = 3;

export interface RemoteTierSettings extends CallSettings {
  name: string;
  /** Refuses a place that was made for another store. */
  storeId?: string | undefined;
  /** This store had it open before: then a place without identity is away, and never made anew. */
  isKnown?: boolean | undefined;
}

export interface RemoteTierOptions {
  retrieval: 'immediate' | 'staged';
  random: Random;
}

/** What is known of bytes once all of them have passed. */
interface Passed {
  sizeBytes: number;
  checksum: string;
}

export class RemoteTier implements Tier {
  readonly name: string;
  readonly retrieval: 'immediate' | 'staged';
  readonly #service: BlobService;
  readonly #calls: CloudCalls;
  readonly #settings: RemoteTierSettings;
  readonly #random: Random;
  #createOnly = true;
  #isOpen = false;

  constructor(settings: RemoteTierSettings, service: BlobService, options: RemoteTierOptions) {
    this.name = settings.name;
    this.retrieval = options.retrieval;
    this.#settings = settings;
    this.#service = service;
    this.#random = options.random;
    this.#calls = new CloudCalls(this.name, settings, (e, subject) =>
      service.translate(e, subject),
    );
  }

  get capabilities(): TierCapabilities {
    const { priorities } = this.#service;
    return {
      createOnly: this.#createOnly,
      rangedRead: true,
      priorities: this.retrieval === 'staged' ? priorities : [],
      verifiesInPut: this.retrieval === 'staged',
    };
  }

  async open(): Promise<void> {
    await this.#calls.run(this.name, (signal) => this.#service.open(signal));
    const { storeId, isKnown } = this.#settings;
    this.#createOnly = await takeRemoteIdentity({
      service: this.#service,
      calls: this.#calls,
      tier: this.name,
      store: storeId,
      founds: isKnown !== true,
      random: this.#random,
    });
    this.#isOpen = true;
  }

  async close(): Promise<void> {
    this.#isOpen = false;
    await this.#service.close();
  }

  async put(request: PutRequest): Promise<Stored> {
    this.#mustBeOpen();
    const name = blobName(request);
    const meter = new Meter(request);
    const parts = pieces(metered(request, meter), this.#partBytes(request.sizeBytes));
    try {
      const first = await parts.next();
      const second = first.done === true ? first : await parts.next();
      const whole = second.done === true;
      const bytes = first.done === true ? Buffer.alloc(0) : first.value;
      const passed = whole
        ? await this.#putWhole(name, bytes, meter.end(), request)
        : await this.#putParts(name, chain(bytes, second.value, parts), meter, request);
      await this.#takeOffline(name, passed, request.signal);
      const location = remoteLocation(this.name, name, passed.sizeBytes);
      return { location, ...passed };
    } finally {
      await parts.return(undefined);
    }
  }

  async read(location: BlobLocation, options: ReadOptions = {}): Promise<Body> {
    const name = this.#ownName(location);
    const { signal } = options;
    const range = rangeWithin(location.length, options.range, name);
    const isWhole = range.length === location.length;
    const isLarge = range.length > WHOLE_READ_BYTES_MAX;
    let expected: string | undefined;
    if (isWhole || isLarge || range.length === 0) {
      const head = await this.#headOf(name, location, signal);
      if (isWhole) expected = head.checksum;
    }
    const stream = this.#stream(name, { range, total: location.length, expected }, signal);
    return isLarge ? stream : collectExactly(stream, range.length, name);
  }

  async delete(location: BlobLocation): Promise<void> {
    const name = this.#ownName(location);
    await this.#calls.run(name, (signal) => this.#service.delete(name, signal));
  }

  async verify(location: BlobLocation, signal?: AbortSignal): Promise<Passed> {
    const name = this.#ownName(location);
    const { checksum } = await this.#headOf(name, location, signal);
    return this.#readBack(name, location.length, checksum, signal);
  }

  async stage(
    location: BlobLocation,
    options: { priority: StagePriority; days: number },
  ): Promise<void> {
    if (this.retrieval === 'immediate') return;
    const name = this.#ownName(location);
    await this.#headOf(name, location);
    await this.#calls.run(name, async (signal) => this.#service.stage?.(name, options, signal));
  }

  async stageStatus(location: BlobLocation): Promise<StageStatus> {
    if (this.retrieval === 'immediate') return { state: 'ready' };
    return (await this.#headOf(this.#ownName(location), location)).stage;
  }

  /** Adds up the listing: one request for about a thousand blobs. */
  async usage(): Promise<TierUsage> {
    let usedBytes = 0;
    let blobs = 0;
    for await (const { sizeBytes } of this.list()) {
      usedBytes += sizeBytes;
      blobs += 1;
    }
    return { capacityBytes: 0, usedBytes, blobs };
  }

  async *list(): AsyncGenerator<ListedBlob> {
    this.#mustBeOpen();
    let token: string | undefined;
    do {
      const at = token;
      const page = await this.#calls.run(this.name, (s) => this.#service.listPage(at, s));
      for (const { name, sizeBytes } of page.blobs) {
        if (idOfName(name) === undefined) continue;
        yield { location: remoteLocation(this.name, name, sizeBytes), sizeBytes };
      }
      token = page.next;
    } while (token !== undefined);
  }

  #mustBeOpen(): void {
    if (this.#isOpen) return;
    throw new FirnError('TierUnavailable', `${this.name} is not open`, { retryable: true });
  }

  #ownName(location: BlobLocation): string {
    this.#mustBeOpen();
    return ownName(this.name, location);
  }

  #partBytes(sizeBytes: number | undefined): number {
    const { partBytes, partsMax } = this.#service;
    const least = Math.ceil((sizeBytes ?? 0) / partsMax);
    return Math.max(partBytes, Math.ceil(least / MiB) * MiB);
  }

  /** The head of a blob that is there, with the length it was acknowledged with. */
  async #headOf(name: string, location: BlobLocation, signal?: AbortSignal): Promise<BlobHead> {
    const head = await this.#calls.run(name, (s) => this.#service.head(name, s), signal);
    if (head === undefined) throw await this.#absent(name);
    if (head.sizeBytes !== location.length) {
      throw wrongLength(name, head.sizeBytes, location.length);
    }
    return head;
  }

  /** Missing in our own place is an alarm; a place that is not ours, or not there, is not. */
  async #absent(name: string, cause?: unknown): Promise<FirnError> {
    const place = await this.#calls.run(name, (s) => this.#service.head(IDENTITY_NAME, s));
    if (place !== undefined) return missing(this.name, name, cause);
    return emptied(this.name, cause);
  }

  async #putWhole(
    name: string,
    bytes: Buffer,
    passed: Passed,
    { owner, signal }: PutRequest,
  ): Promise<Passed> {
    if (!this.#createOnly && (await this.#isTaken(name, passed, signal))) return passed;
    const labels = { checksum: passed.checksum, owner };
    const outcome = await this.#calls.run(
      name,
      (s) => this.#service.put(name, bytes, labels, s),
      signal,
    );
    if (outcome === 'taken') await this.#mustBeSame(name, passed, signal);
    return passed;
  }

  /** True: our bytes stand there already. Other bytes: TierConflict. */
  async #isTaken(name: string, passed: Passed, signal?: AbortSignal): Promise<boolean> {
    const head = await this.#calls.run(name, (s) => this.#service.head(name, s), signal);
    if (head === undefined) return false;
    await this.#mustBeSame(name, passed, signal, head);
    return true;
  }

  /** After "taken": an earlier attempt of ours, or somebody else's bytes (TierConflict)? */
  async #mustBeSame(
    name: string,
    passed: Passed,
    signal?: AbortSignal,
    known?: BlobHead,
  ): Promise<void> {
    const head = known ?? (await this.#calls.run(name, (s) => this.#service.head(name, s), signal));
    if (head === undefined) {
      throw new FirnError('TierUnavailable', `${this.name}: ${name} was there and is gone`, {
        subject: name,
        retryable: true,
      });
    }
    if (head.sizeBytes !== passed.sizeBytes) throw conflict(this.name, name);
    if ((head.checksum ?? (await this.#checksumOf(name, head, signal))) !== passed.checksum) {
      throw conflict(this.name, name);
    }
  }

  /** Of what stands there, by reading it; undefined while it is offline. */
  async #checksumOf(
    name: string,
    head: BlobHead,
    signal: AbortSignal | undefined,
  ): Promise<string | undefined> {
    try {
      return (await this.#readBack(name, head.sizeBytes, undefined, signal)).checksum;
    } catch (error) {
      if (isFirnError(error, 'TierOffline')) return undefined;
      throw error;
    }
  }

  async #putParts(
    name: string,
    parts: AsyncIterable<Buffer>,
    meter: Meter,
    { owner, signal, checksum: announced }: PutRequest,
  ): Promise<Passed> {
    const head = await this.#calls.run(name, (s) => this.#service.head(name, s), signal);
    if (head !== undefined) {
      for await (const part of parts) void part;
      await this.#mustBeSame(name, meter.end(), signal, head);
      return meter.end();
    }
    const begun = announced === undefined ? { owner } : { owner, checksum: announced };
    const upload = await this.#calls.run(
      name,
      (s) => this.#service.beginUpload(name, begun, s),
      signal,
    );
    try {
      await this.#sendParts(name, upload, parts, signal);
      const passed = meter.end();
      const labels: BlobLabels = { checksum: passed.checksum, owner };
      const complete = (s: AbortSignal) => upload.complete(labels, s);
      const outcome = await (upload.repeatable
        ? this.#calls.run(name, complete, signal)
        : this.#calls.once(name, complete, signal));
      if (outcome === 'taken') await this.#mustBeSame(name, passed, signal);
      else await this.#headOf(name, remoteLocation(this.name, name, passed.sizeBytes), signal);
      return passed;
    } catch (error) {
      // What stays of a failed abort is invisible, and swept by the service or at the next open.
      await upload.abort().catch(() => undefined);
      throw error;
    }
  }

  async #sendParts(
    name: string,
    upload: BlobUpload,
    parts: AsyncIterable<Buffer>,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const sending = new Set<Promise<void>>();
    let failure: unknown;
    let number = 0;
    try {
      for await (const bytes of parts) {
        number += 1;
        if (number > this.#service.partsMax) throw tooLarge(name);
        const n = number;
        const part = (s: AbortSignal) => upload.part(n, bytes, s);
        const sent: Promise<void> = (
          upload.repeatable
            ? this.#calls.run(name, part, signal)
            : this.#calls.once(name, part, signal)
        ).then(
          () => void sending.delete(sent),
          (error: unknown) => {
            failure ??= error;
            sending.delete(sent);
          },
        );
        sending.add(sent);
        while (sending.size >= (upload.repeatable ? PARTS_IN_FLIGHT : 1))
          await Promise.race(sending);
        if (failure !== undefined) throw failure;
      }
    } finally {
      await Promise.all(sending);
    }
    if (failure !== undefined) throw failure;
  }

  async #takeOffline(name: string, passed: Passed, signal?: AbortSignal): Promise<void> {
    if (this.#service.archive === undefined) return;
    const head = await this.#calls.run(name, (s) => this.#service.head(name, s), signal);
    if (head?.stage.state !== 'ready') return;
    const back = await this.#checksumOf(name, head, signal);
    // Offline by now: another put of the same bytes has read them back and archived them.
    if (back === undefined) return;
    if (back !== passed.checksum) throw corrupt(name, 'was not stored as it was sent');
    await this.#calls.run(name, async (s) => this.#service.archive?.(name, s), signal);
  }

  async #readBack(
    name: string,
    length: number,
    expected: string | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Passed> {
    const sum = new ChecksumStream();
    const what = { range: { offset: 0, length }, total: length, expected };
    for await (const chunk of this.#stream(name, what, signal)) sum.update(chunk);
    return { checksum: sum.digest(), sizeBytes: length };
  }

  async #get(name: string, range: ByteRange, signal?: AbortSignal): Promise<BlobStream> {
    try {
      return await this.#calls.run(name, (s) => this.#service.get(name, range, s), signal);
    } catch (error) {
      throw isFirnError(error, 'TierMissing') ? await this.#absent(name, error) : error;
    }
  }

  /** The range's bytes; a body that breaks is asked for again from where it broke. */
  async *#stream(
    name: string,
    { range, total, expected }: { range: ByteRange; total: number; expected: string | undefined },
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Uint8Array> {
    const sum = new ChecksumStream();
    const end = range.offset + range.length;
    let at = range.offset;
    let failures = 0;
    while (at < end) {
      const rest = { offset: at, length: end - at };
      const got = await this.#get(name, rest, signal);
      try {
        if (got.totalBytes !== undefined && got.totalBytes !== total) {
          throw wrongLength(name, got.totalBytes, total);
        }
        for await (const chunk of withoutStalls(got.body, this.#calls.timeoutMs)) {
          if (at + chunk.length > end) throw wrongLength(name, at + chunk.length, end);
          at += chunk.length;
          failures = 0;
          sum.update(chunk);
          yield chunk;
        }
        if (at < end) throw cutShort();
      } catch (error) {
        signal?.throwIfAborted();
        const known = error instanceof FirnError ? error : this.#service.translate(error, name);
        failures += 1;
        if (!isRetryable(known) || failures > this.#calls.retries) throw known;
        await this.#calls.pause(failures);
      }
    }
    const found = range.length === 0 ? checksumOf(new Uint8Array(0)) : sum.digest();
    if (expected !== undefined && found !== expected) {
      throw corrupt(name, `its bytes have checksum ${found}, stored was ${expected}`);
    }
  }
}

async function* chain(
  first: Buffer,
  second: Buffer,
  rest: AsyncIterable<Buffer>,
): AsyncGenerator<Buffer> {
  yield first;
  yield second;
  yield* rest;
}

function cutShort(): Error {
  return Object.assign(new Error('the body ended early'), { code: 'ECONNRESET' });
}

function tooLarge(name: string): FirnError {
  return new FirnError('EntityTooLarge', 'a stream of unknown size has too many parts', {
    subject: name,
    hint: 'give the size with the put: parts are then made larger',
  });
}
