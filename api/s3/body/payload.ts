// The body of a request as its operation sees it: plain bytes, each verified before the last one is
// let go. The danger: an engine that got all bytes and acknowledges them before the hash, the chunk
// signature or the trailer at the end has been looked at. So the last piece is held back until all
// of that is right: who got every byte got verified bytes. Small bodies are gathered whole (a 4 KiB
// body that came with its head costs one read and no copy).

import { createHash, hash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import {
  CHECKSUM_HEADERS,
  checksumOf,
  DEFAULT_CHECKSUM,
  newChecksum,
  type RunningChecksum,
} from '../../../appliance/model/checksum.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import { PUT_BYTES_MAX, SMALL_BYTES_MAX } from '../../../appliance/model/limits.ts';
import type { ChecksumAlgorithm, ObjectChecksum } from '../../../appliance/model/object.ts';
import type { Body } from '../../../appliance/model/tier.ts';
import type { RequestHeaders } from '../input/request-headers.ts';
import { ChunkedDecoder } from '../signature/aws-chunked.ts';
import type { Identity } from '../signature/verify.ts';
import { GatheredBytes } from './gathered-bytes.ts';
import { IncomingBody, incomplete } from './incoming-body.ts';
import { letGo } from './let-go.ts';
import { SocketBody } from './socket-body.ts';
import { checkChecksumValue, planPayload, type PayloadPlan } from './payload-plan.ts';
import type { StallGuard } from './stall-guard.ts';

export interface ReadablePayload {
  /** Undefined only where the client sends by HTTP's chunking without saying how much. */
  sizeBytes: number | undefined;
  body: Body;
  /** Hex. */
  contentMd5: string | undefined;
  /** What `checksum` will be of; undefined where there will be none. */
  checksumAlgorithm: ChecksumAlgorithm | undefined;
  /** After the body's end: what the client sent and we verified, else what we made. */
  checksum: () => ObjectChecksum | undefined;
}

export interface OpenOptions {
  /** Where another place makes the sum that a client did not send. */
  checksums?: 'if-sent';
}

export interface GatherOptions {
  /** Where x-amz-checksum-* headers are about something else than this body. */
  checksums?: 'ignored';
}

interface PayloadSource {
  incoming: IncomingMessage;
  response: ServerResponse;
  headers: RequestHeaders;
  identity: Identity;
  guard: StallGuard;
  expectsContinue: boolean;
}

export class Payload {
  readonly #source: PayloadSource;
  #verified: ObjectChecksum | undefined;
  /** Decoded bytes so far. */
  receivedBytes = 0;
  /** Once a gathered body has been waited for: its client may have taken hours, and all may differ. */
  afterWait: (() => Promise<void>) | undefined;

  constructor(source: PayloadSource) {
    this.#source = source;
  }

  /**
   * Opens the body for storing: one Uint8Array up to 256 KiB, verified; a stream beyond, verified
   * when it ends. Throws EntityTooLarge, and what the plan throws, before 100 Continue. A body that
   * comes without a checksum gets S3's default one (2 µs for 4 KiB).
   */
  async open(options: OpenOptions = {}): Promise<ReadablePayload> {
    const plan = this.#plan();
    if (options.checksums !== 'if-sent') {
      plan.checksum ??= { algorithm: DEFAULT_CHECKSUM, value: undefined };
    }
    const { sizeBytes } = plan;
    if (sizeBytes !== undefined && sizeBytes > PUT_BYTES_MAX) throw tooLarge();
    const small = sizeBytes !== undefined && sizeBytes <= SMALL_BYTES_MAX;
    const body = small ? await this.#gather(plan, sizeBytes) : this.#stream(plan);
    const checksumAlgorithm = plan.checksum?.algorithm;
    const checksum = (): ObjectChecksum | undefined => this.#verified;
    return { sizeBytes, body, contentMd5: plan.contentMd5, checksumAlgorithm, checksum };
  }

  /** The whole body, verified, Content-MD5 too. Throws MaxMessageLengthExceeded past `bytesMax`. */
  async gather(bytesMax: number, options: GatherOptions = {}): Promise<Uint8Array> {
    const plan = this.#plan(options);
    const bytes = await this.#gather(plan, bytesMax, 'MaxMessageLengthExceeded');
    if (plan.contentMd5 !== undefined && hash('md5', bytes, 'hex') !== plan.contentMd5) {
      throw new FirnError('BadDigest', 'The Content-MD5 you specified did not match.');
    }
    return bytes;
  }

  #plan({ checksums }: GatherOptions = {}): PayloadPlan {
    const { headers, identity } = this.#source;
    return planPayload(headers, identity.payloadHash, checksums === 'ignored');
  }

  #start(): IncomingBody {
    const { incoming, response, guard, expectsContinue } = this.#source;
    if (expectsContinue) response.writeContinue();
    return new IncomingBody(incoming, guard);
  }

  #startLarge(): IncomingBody | SocketBody {
    const { incoming, response, guard, expectsContinue } = this.#source;
    const body = SocketBody.of(incoming, response, guard);
    if (body === undefined) return this.#start();
    if (expectsContinue) response.writeContinue();
    return body;
  }

  async #gather(
    plan: PayloadPlan,
    bytesMax: number,
    excess: 'MaxMessageLengthExceeded' | 'IncompleteBody' = 'IncompleteBody',
  ): Promise<Uint8Array> {
    if (plan.sizeBytes !== undefined && plan.sizeBytes > bytesMax) {
      throw new FirnError(excess, 'The body is longer than allowed.');
    }
    const { bytes, trailers } = await this.#gatherPieces(plan, bytesMax, excess);
    this.receivedBytes = bytes.length;
    if (plan.sizeBytes !== undefined && bytes.length !== plan.sizeBytes) throw incomplete();
    if (plan.sha256 !== undefined) checkSha256(plan.sha256, hash('sha256', bytes, 'hex'));
    const { checksum } = plan;
    if (checksum !== undefined) {
      this.#verifyChecksum(checksum, checksumOf(checksum.algorithm, bytes), trailers);
    }
    return bytes;
  }

  async #gatherPieces(
    plan: PayloadPlan,
    bytesMax: number,
    excess: 'MaxMessageLengthExceeded' | 'IncompleteBody',
  ): Promise<{ bytes: Buffer; trailers: ReadonlyMap<string, string> | undefined }> {
    const { incoming } = this.#source;
    const decoder = plan.chunked && this.#decoder(plan, plan.chunked);
    const gathered = new GatheredBytes(plan.sizeBytes);
    const take = (raw: Buffer): void => {
      if (decoder === undefined) gathered.add(raw);
      else decoder.decode(raw, gathered.add);
    };
    if (incoming.complete && incoming.readableFlowing === null) {
      // Came whole with its head, as small bodies do.
      take((incoming.read() as Buffer | null) ?? Buffer.alloc(0));
      return { bytes: gathered.bytes(), trailers: decoder?.finish() };
    }
    // Chunk sizes and signatures come on top: 90 bytes for every 8 KiB, and the trailer.
    const rawMax = plan.chunked === undefined ? bytesMax : bytesMax * 1.02 + 20_000;
    const body = this.#start();
    try {
      for (let raw = await body.next(); raw !== undefined; raw = await body.next()) {
        if (body.receivedBytes > rawMax) {
          throw new FirnError(excess, 'The body is longer than allowed.');
        }
        take(raw);
        gathered.letGo(raw);
      }
    } finally {
      body.stop();
    }
    await this.afterWait?.();
    return { bytes: gathered.bytes(), trailers: decoder?.finish() };
  }

  async *#stream(plan: PayloadPlan): AsyncGenerator<Uint8Array> {
    const body = this.#startLarge();
    const keeps = body instanceof IncomingBody;
    const decoder = plan.chunked && this.#decoder(plan, plan.chunked);
    const sha256 = plan.sha256 === undefined ? undefined : createHash('sha256');
    const running = plan.checksum && newChecksum(plan.checksum.algorithm);
    const take = (piece: Buffer): void => {
      this.receivedBytes += piece.length;
      if (this.receivedBytes > (plan.sizeBytes ?? PUT_BYTES_MAX)) throw tooLarge();
      sha256?.update(piece);
      running?.update(piece);
      ready.push(piece);
    };
    const ready: Buffer[] = [];
    try {
      for (let raw = await body.next(); raw !== undefined; raw = await body.next()) {
        if (decoder === undefined) take(raw);
        else decoder.decode(raw, take);
        while (ready.length > 1) {
          const piece = ready.shift() as Buffer;
          yield piece;
          if (decoder === undefined && keeps) letGo(piece);
        }
        // Not of this piece of the socket: the next but one will lie where it lies.
        const [held] = ready;
        if (!keeps && held !== undefined && !isWithin(held, raw)) ready[0] = Buffer.from(held);
      }
      const trailers = decoder?.finish();
      if (plan.sizeBytes !== undefined && this.receivedBytes !== plan.sizeBytes) throw incomplete();
      if (plan.sha256 !== undefined) checkSha256(plan.sha256, sha256?.digest('hex'));
      if (plan.checksum !== undefined) {
        this.#verifyChecksum(plan.checksum, (running as RunningChecksum).digest(), trailers);
      }
      const last = ready.shift();
      if (last !== undefined) yield last;
    } finally {
      body.stop();
    }
  }

  #decoder(plan: PayloadPlan, chunked: NonNullable<PayloadPlan['chunked']>): ChunkedDecoder {
    return new ChunkedDecoder({
      signed: chunked.signed ? this.#source.identity.chunks : undefined,
      decodedBytes: plan.sizeBytes as number,
      trailers: chunked.trailers,
    });
  }

  #verifyChecksum(
    { algorithm, value }: NonNullable<PayloadPlan['checksum']>,
    actual: string,
    trailers: ReadonlyMap<string, string> | undefined,
  ): void {
    const name = CHECKSUM_HEADERS[algorithm];
    const expected = value ?? trailers?.get(name);
    if (expected !== undefined && expected !== actual) {
      checkChecksumValue(algorithm, expected);
      throw new FirnError('BadDigest', `The ${algorithm} you specified did not match.`);
    }
    this.#verified = { algorithm, type: 'FULL_OBJECT', value: actual };
  }
}

function isWithin(part: Buffer, whole: Buffer): boolean {
  const at = part.byteOffset - whole.byteOffset;
  return part.buffer === whole.buffer && at >= 0 && at < whole.length;
}

function checkSha256(expected: string, actual: string | undefined): void {
  if (expected === actual) return;
  throw new FirnError(
    'XAmzContentSHA256Mismatch',
    'x-amz-content-sha256 is not the hash of what we received.',
    { details: { ClientComputedContentSHA256: expected, S3ComputedContentSHA256: actual ?? '' } },
  );
}

function tooLarge(): FirnError {
  return new FirnError(
    'EntityTooLarge',
    'Your proposed upload exceeds the maximum allowed size, or what was announced.',
    { details: { MaxSizeAllowed: String(PUT_BYTES_MAX) } },
  );
}
