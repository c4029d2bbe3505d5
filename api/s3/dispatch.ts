// From method, level and query to an operation. What isn't in the table is refused, never guessed:
// a PUT with a subresource that we don't know must not overwrite the object.

import { FirnError } from '../../appliance/model/errors.ts';
import { OPERATIONS, UNIMPLEMENTED_OPERATIONS } from './operation-table.ts';
import type { Operation } from './request/request.ts';
import type { RequestHeaders } from './input/request-headers.ts';
import type { Target } from './input/target.ts';

const byPlace = new Map<string, Operation>();
/** Subresource and level → methods that are there. */
const subresources = new Set<string>();

const placeOf = (method: string, level: string, subresource: string, copies: boolean): string =>
  `${method} ${level} ${subresource}${copies ? ' copy' : ''}`;

for (const operation of OPERATIONS) {
  const { method, level, subresource = '', copies = false } = operation;
  byPlace.set(placeOf(method, level, subresource, copies), operation);
  if (subresource !== '') subresources.add(subresource);
}
for (const { subresource } of UNIMPLEMENTED_OPERATIONS) {
  if (subresource !== undefined) subresources.add(subresource);
}

/** Parameters of writes that choose nothing. */
const KNOWN_PARAMETERS = new Set(['versionId', 'partNumber', 'x-id']);

/** Throws NotImplemented, MethodNotAllowed, InvalidArgument. */
export function operationOf(method: string, target: Target, headers: RequestHeaders): Operation {
  const subresource = subresourceOf(method, target);
  const copies =
    method === 'PUT' && target.level === 'object' && headers['x-amz-copy-source'] !== undefined;
  const operation = byPlace.get(placeOf(method, target.level, subresource, copies));
  if (operation !== undefined) return operation;
  const elsewhere = OPERATIONS.filter(
    (other) => other.level === target.level && (other.subresource ?? '') === subresource,
  );
  const known = UNIMPLEMENTED_OPERATIONS.some(
    (other) =>
      other.level === target.level &&
      other.method === method &&
      (other.subresource ?? '') === subresource,
  );
  if (elsewhere.length > 0 && !known) {
    const allowed = new Set(elsewhere.map((other) => other.method));
    throw new FirnError(
      'MethodNotAllowed',
      'The specified method is not allowed against this resource.',
      {
        details: {
          Method: method,
          ResourceType: subresource === '' ? target.level : subresource,
          Allow: [...allowed].join(', '),
        },
      },
    );
  }
  throw new FirnError('NotImplemented', 'This operation is not implemented.');
}

function subresourceOf(method: string, target: Target): string {
  const { pairs } = target.query;
  if (pairs.length === 0) return '';
  let chosen = '';
  const writes = method !== 'GET' && method !== 'HEAD';
  for (const [name, value] of pairs) {
    const selects = name === 'list-type' ? `list-type=${value}` : name;
    if (subresources.has(selects)) {
      if (chosen !== '' && chosen !== selects) {
        throw new FirnError('InvalidArgument', `Conflicting parameters: ${chosen} and ${name}.`);
      }
      chosen = selects;
    } else if (name === 'list-type') {
      throw new FirnError('InvalidArgument', 'list-type must be 2.');
    } else if (name === 'id' && pairs.some(([other]) => WITH_IDS.has(other))) {
      continue;
    } else if (!isHarmless(name, value, writes)) {
      throw new FirnError('NotImplemented', `The parameter ${name} is not implemented.`);
    }
  }
  return chosen;
}

/**
 * A reader may add what it likes, as caches and CDNs do, but not a bare word: that chooses
 * something.
 */
function isHarmless(name: string, value: string, writes: boolean): boolean {
  if (KNOWN_PARAMETERS.has(name) || name.toLowerCase().startsWith('x-amz-')) return true;
  if (writes) return false;
  return LIST_PARAMETERS.has(name) || name.startsWith('response-') || value !== '';
}

/** Configurations of which a bucket has several. */
const WITH_IDS = new Set(['analytics', 'intelligent-tiering', 'inventory', 'metrics']);

const LIST_PARAMETERS = new Set([
  'bucket-region',
  'continuation-token',
  'delimiter',
  'encoding-type',
  'fetch-owner',
  'key-marker',
  'marker',
  'max-buckets',
  'max-keys',
  'max-parts',
  'max-uploads',
  'part-number-marker',
  'prefix',
  'start-after',
  'upload-id-marker',
  'version-id-marker',
]);
