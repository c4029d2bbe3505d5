// May this very GET be answered from a cache? A cache in front of Firn can't verify a signature,
// and a HEAD can't be made of a GET that was signed. So it sends the request on as it came, marked
// by one header, and gets 204 and the name under which it may keep the answer, or the refusal that
// the request itself would have got. Anybody may ask: what is answered is less than the GET itself
// would be, and never a byte of an object.

import { hash } from 'node:crypto';
import { FirnError, isFirnError } from '../../../appliance/model/errors.ts';
import { encodePath } from '../../../appliance/model/signature.ts';
import type { RequestHeaders } from '../input/request-headers.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { headObject } from './head-object.ts';

/** Its value is free. */
export const AUTHORIZE_HEADER = 'x-firn-authorize';

const CACHE_KEY_HEADER = 'x-firn-cache-key';
const CLIENT_KEY_HEADER = 'x-amz-server-side-encryption-customer-algorithm';

/** What a cache does for itself with a whole answer. */
const OF_CACHES = [
  'range',
  'if-match',
  'if-none-match',
  'if-modified-since',
  'if-unmodified-since',
  'if-range',
];

/** What tells one version from another. */
const OF_VERSION = new Set(['ETag', 'Last-Modified', 'x-amz-version-id']);

/** After the signature has been verified over all of them. */
export function withoutConditions(headers: RequestHeaders): RequestHeaders {
  const kept = { ...headers };
  for (const name of OF_CACHES) delete kept[name];
  return kept;
}

/** The same request to the same authorisation, without its bytes. Throws AccessDenied. */
export function authorizing(operation: Operation): Operation {
  const { action, name } = operation;
  const reads = name === 'GetObject' || name === 'HeadObject';
  if (reads && action !== undefined) return { ...operation, run };
  throw new FirnError('AccessDenied', 'No cache may answer this kind of request.');
}

async function run(request: OwnedRequest): Promise<Answer> {
  const { status, headers = [] } = await headOf(request);
  const answered = ['Cache-Control', 'no-store'];
  // Bytes that only their reader's own key opens, and parts, are for no cache.
  if (status === 200 && !headers.includes(CLIENT_KEY_HEADER)) {
    answered.push(CACHE_KEY_HEADER, cacheKeyOf(request, headers));
    // A cache may keep under this name only an answer that says the same of itself: another version
    // may come between this and the read.
    for (let i = 0; i < headers.length; i += 2) {
      const name = headers[i] as string;
      if (OF_VERSION.has(name)) answered.push(name, headers[i + 1] as string);
    }
  }
  return { status: 204, headers: answered };
}

/** Caches know a yes and a no: why not, the request itself is told when it comes. */
async function headOf(request: OwnedRequest): Promise<Answer> {
  try {
    return await headObject.run(request);
  } catch (cause) {
    if (!isFirnError(cause, 'NoSuchKey') && !isFirnError(cause, 'NoSuchVersion')) throw cause;
    throw new FirnError('AccessDenied', 'No cache can answer this.', { cause });
  }
}

/**
 * Changes whenever anything about the answer does: the bytes (ETag, Last-Modified, version), and
 * headers that are this asker's alone. The signature is no part of it.
 */
function cacheKeyOf({ bucket, key, owned, headers }: OwnedRequest, answered: string[]): string {
  const asked = [
    headers['origin'],
    headers['access-control-request-method'],
    headers['access-control-request-headers'],
  ];
  const text = JSON.stringify([owned.id, owned.configurations?.['cors'], asked, answered]);
  return `${bucket}/${encodePath(key)}/${hash('sha256', text, 'hex').slice(0, 32)}`;
}
