// Checks the signatures of the chunks of a streamed body, by whichever algorithm its head was
// signed: each goes on from the one before it, the first from the head's.

import type { KeyObject } from 'node:crypto';
import {
  ecdsaChunkText,
  ecdsaTrailerText,
  isEcdsaSigned,
} from '../../../appliance/model/signature-ecdsa.ts';
import {
  chunkSignature,
  equalDigests,
  trailerSignature,
  type ChunkContext,
} from '../../../appliance/model/signature.ts';

export interface ChunkCheck {
  /** Signature of the head. */
  readonly seed: string;
  /** What the next chunk goes on from; undefined where the claim is wrong. */
  chunk(previous: string, sha256: string, claimed: string): string | undefined;
  /** `trailers`: `name:value\n` for each, in the order sent. */
  isTrailer(previous: string, trailers: string, claimed: string): boolean;
}

export class HmacChunks implements ChunkCheck {
  readonly seed: string;
  readonly #context: ChunkContext;

  constructor(context: ChunkContext, seed: string) {
    this.#context = context;
    this.seed = seed;
  }

  chunk(previous: string, sha256: string, claimed: string): string | undefined {
    const expected = chunkSignature(this.#context, previous, sha256);
    return equalDigests(expected, claimed) ? expected : undefined;
  }

  isTrailer(previous: string, trailers: string, claimed: string): boolean {
    return equalDigests(trailerSignature(this.#context, previous, trailers), claimed);
  }
}

export interface EcdsaContext {
  timestamp: string;
  scope: string;
  key: KeyObject;
}

/** An ECDSA signature has no fixed length: in a chunk it is filled up with stars. */
const FILLING = /\*+$/;

export class EcdsaChunks implements ChunkCheck {
  readonly seed: string;
  readonly #context: EcdsaContext;

  constructor(context: EcdsaContext, seed: string) {
    this.#context = context;
    this.seed = seed;
  }

  chunk(previous: string, sha256: string, claimed: string): string | undefined {
    const signature = claimed.replace(FILLING, '');
    const text = ecdsaChunkText(this.#context, previous, sha256);
    return isEcdsaSigned(this.#context.key, text, signature) ? signature : undefined;
  }

  isTrailer(previous: string, trailers: string, claimed: string): boolean {
    const text = ecdsaTrailerText(this.#context, previous, trailers);
    return isEcdsaSigned(this.#context.key, text, claimed.replace(FILLING, ''));
  }
}
