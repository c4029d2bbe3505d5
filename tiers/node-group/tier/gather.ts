// Takes a body of unknown nature apart: bytes in hand or few enough to be gathered, or a stream to
// be cut into stripes.

import { FirnError } from '../../../appliance/model/errors.ts';
import type { PutRequest } from '../../../appliance/model/tier.ts';

export type Gathered =
  | { kind: 'small'; bytes: Uint8Array }
  | { kind: 'large'; chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array> };

function checkLength(request: PutRequest, length: number): void {
  if (request.sizeBytes === undefined || request.sizeBytes === length) return;
  throw new FirnError(
    'IncompleteBody',
    `${request.sizeBytes} bytes were announced, ${length} came`,
    { subject: request.id },
  );
}

const isSmall = (length: number, smallBytesMax: number): boolean =>
  smallBytesMax > 0 && length <= smallBytesMax;

/** Bytes in hand that are few enough: they need no reading. */
export function smallInHand(request: PutRequest, smallBytesMax: number): Uint8Array | undefined {
  const { body, signal } = request;
  if (!(body instanceof Uint8Array) || !isSmall(body.length, smallBytesMax)) return undefined;
  signal?.throwIfAborted();
  checkLength(request, body.length);
  return body;
}

/**
 * Reads a stream until it ends or passes `smallBytesMax` (0: nothing is small). Chunks are copied:
 * they may be reused.
 */
export async function gather(request: PutRequest, smallBytesMax: number): Promise<Gathered> {
  const { body, sizeBytes, signal } = request;
  signal?.throwIfAborted();
  if (body instanceof Uint8Array) {
    checkLength(request, body.length);
    if (isSmall(body.length, smallBytesMax)) return { kind: 'small', bytes: body };
    return { kind: 'large', chunks: [body] };
  }
  if (!isSmall(sizeBytes ?? 1, smallBytesMax)) return { kind: 'large', chunks: body };
  const iterator = body[Symbol.asyncIterator]();
  const first: Buffer[] = [];
  let length = 0;
  let goesOn = false;
  try {
    for (;;) {
      const { done, value } = await iterator.next();
      if (done === true) break;
      signal?.throwIfAborted();
      first.push(Buffer.from(value));
      length += value.length;
      if (sizeBytes !== undefined && length > sizeBytes) checkLength(request, length);
      if (length > smallBytesMax) {
        goesOn = true;
        return { kind: 'large', chunks: chain(first, iterator) };
      }
    }
    checkLength(request, length);
    const [only] = first;
    const bytes = first.length === 1 && only !== undefined ? only : Buffer.concat(first, length);
    return { kind: 'small', bytes };
  } catch (error) {
    if (!goesOn) await iterator.return?.();
    throw error;
  }
}

async function* chain(
  first: readonly Uint8Array[],
  rest: AsyncIterator<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* first;
    for (;;) {
      const { done, value } = await rest.next();
      if (done === true) return;
      yield value;
    }
  } finally {
    await rest.return?.();
  }
}
