// The file of an upload form as an operation sees a body: small ones whole, larger ones as a stream
// whose last piece is held back until the size that the policy allows, the checksum and the end of
// the form have been seen (as payload.ts does).

import {
  CHECKSUM_HEADERS,
  checksumOf,
  DEFAULT_CHECKSUM,
  newChecksum,
} from '../../../appliance/model/checksum.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import { PUT_BYTES_MAX, SMALL_BYTES_MAX } from '../../../appliance/model/limits.ts';
import type { ObjectChecksum } from '../../../appliance/model/object.ts';
import type { RequestHeaders } from '../input/request-headers.ts';
import type { FormReader } from './form-reader.ts';
import type { Payload, ReadablePayload } from './payload.ts';
import { checkChecksumValue, planForm, type PayloadPlan } from './payload-plan.ts';

interface FormSource {
  reader: Pick<FormReader, 'next' | 'stop'>;
  headers: RequestHeaders;
  /** Inclusive. */
  size: { from: number; to: number };
}

type Checksum = NonNullable<PayloadPlan['checksum']>;

export class FormPayload implements Pick<Payload, 'gather' | 'open' | 'receivedBytes'> {
  readonly #source: FormSource;
  #verified: ObjectChecksum | undefined;
  receivedBytes = 0;
  /** As Payload's: behind what open() waits for. */
  afterWait: (() => Promise<void>) | undefined;

  constructor(source: FormSource) {
    this.#source = source;
  }

  /** Throws EntityTooLarge, EntityTooSmall, BadDigest, InvalidDigest, InvalidRequest. */
  async open(): Promise<ReadablePayload> {
    const { checksum = { algorithm: DEFAULT_CHECKSUM, value: undefined }, contentMd5 } = planForm(
      this.#source.headers,
    );
    const begun: Buffer[] = [];
    let isWhole = false;
    try {
      while (this.receivedBytes <= SMALL_BYTES_MAX && !isWhole) {
        const piece = await this.#next();
        if (piece === undefined) isWhole = true;
        else begun.push(piece);
      }
      await this.afterWait?.();
    } catch (error) {
      this.stop();
      throw error;
    }
    const opened = {
      contentMd5,
      checksumAlgorithm: checksum.algorithm,
      checksum: (): ObjectChecksum | undefined => this.#verified,
    };
    if (!isWhole) return { ...opened, sizeBytes: undefined, body: this.#stream(begun, checksum) };
    this.stop();
    const body = begun.length === 1 ? (begun[0] as Buffer) : Buffer.concat(begun);
    this.#verify(checksum, checksumOf(checksum.algorithm, body));
    return { ...opened, sizeBytes: body.length, body };
  }

  /** A form is no document. */
  gather(): Promise<Uint8Array> {
    return Promise.reject(new FirnError('InvalidRequest', 'A form has no place here.'));
  }

  /** No more is wanted; safe twice. */
  stop(): void {
    this.#source.reader.stop();
  }

  async #next(): Promise<Buffer | undefined> {
    const { reader, size } = this.#source;
    const piece = await reader.next();
    this.receivedBytes += piece?.length ?? 0;
    const most = Math.min(size.to, PUT_BYTES_MAX);
    if (this.receivedBytes > most) {
      throw new FirnError(
        'EntityTooLarge',
        'Your proposed upload exceeds the maximum allowed size.',
        { details: { MaxSizeAllowed: String(most) } },
      );
    }
    if (piece === undefined && this.receivedBytes < size.from) {
      throw new FirnError(
        'EntityTooSmall',
        'Your proposed upload is smaller than the minimum allowed size.',
        {
          details: {
            ProposedSize: String(this.receivedBytes),
            MinSizeAllowed: String(size.from),
          },
        },
      );
    }
    return piece;
  }

  async *#stream(begun: readonly Buffer[], checksum: Checksum): AsyncGenerator<Uint8Array> {
    const running = newChecksum(checksum.algorithm);
    try {
      let held: Buffer | undefined;
      for (const piece of begun) {
        if (held !== undefined) yield held;
        running.update(piece);
        held = piece;
      }
      for (let piece = await this.#next(); piece !== undefined; piece = await this.#next()) {
        if (held !== undefined) yield held;
        running.update(piece);
        held = piece;
      }
      this.#verify(checksum, running.digest());
      if (held !== undefined) yield held;
    } finally {
      this.stop();
    }
  }

  #verify({ algorithm, value }: Checksum, actual: string): void {
    if (value !== undefined && value !== actual) {
      checkChecksumValue(algorithm, value);
      throw new FirnError('BadDigest', `The ${CHECKSUM_HEADERS[algorithm]} does not match.`);
    }
    this.#verified = { algorithm, type: 'FULL_OBJECT', value: actual };
  }
}
