// What all listings share: their parameters, checked, and the pieces of their XML. Strings are put
// together directly, because a tree of 6,000 elements for a page of 1,000 keys costs more than the
// listing itself.

import { crc32 } from 'node:zlib';
import { CHECKSUM_ALGORITHMS } from '../../../appliance/model/checksum.ts';
import { DAY_MS } from '../../../appliance/model/clock.ts';
import { LIST_KEYS_MAX } from '../../../appliance/model/limits.ts';
import type {
  ChecksumAlgorithm,
  ObjectChecksum,
  Restore,
} from '../../../appliance/model/object.ts';
import type { ListedVersion } from '../../../appliance/model/requests.ts';
import { encodePath } from '../../../appliance/model/signature.ts';
import { isEnforced } from './ownership.ts';
import {
  integerParameter,
  invalidArgument,
  type Answer,
  type OwnedRequest,
  type S3Request,
} from './request.ts';
import type { Query } from '../input/target.ts';
import { element, escapeText, LongXml, wrap } from '../xml/write.ts';

export interface ListParameters {
  prefix: string;
  delimiter: string;
  limit: number;
  /** encoding-type=url: how keys that XML can't hold come back whole. */
  encoded: boolean;
  /** Key or prefix as shown. */
  show: (key: string) => string;
}

const asIs = (key: string): string => key;

/** Throws InvalidArgument. `limitName` is max-keys or its namesake. */
export function listParametersOf(query: Query, limitName: string): ListParameters {
  const encoding = query.get('encoding-type');
  if (encoding !== undefined && encoding !== 'url' && encoding !== '') {
    throw invalidArgument('encoding-type must be url', 'encoding-type', encoding);
  }
  const encoded = encoding === 'url';
  const limit = integerParameter(query, limitName, {
    from: 0,
    to: 2_147_483_647,
    otherwise: LIST_KEYS_MAX,
  });
  return {
    prefix: query.get('prefix') ?? '',
    delimiter: query.get('delimiter') ?? '',
    limit: Math.min(limit, LIST_KEYS_MAX),
    encoded,
    show: encoded ? encodePath : asIs,
  };
}

export interface Owner {
  id: string;
  displayName: string;
}

/** Names of owners, each looked up once a listing. */
export class OwnerNames {
  readonly #request: OwnedRequest;
  readonly #isEnforced: boolean;
  readonly #xml = new Map<string, string>();

  constructor(request: OwnedRequest) {
    this.#request = request;
    this.#isEnforced = isEnforced(request.owned);
  }

  async load(accounts: Iterable<string>): Promise<void> {
    for (const account of accounts) {
      if (this.#xml.has(account)) continue;
      const owner = this.#isEnforced ? this.#request.owned.owner : account;
      this.#xml.set(account, await ownerXml(this.#request, owner));
    }
  }

  /** Of an account that was loaded. */
  xml(account: string, name = 'Owner'): string {
    return wrap(name, this.#xml.get(account) as string);
  }
}

export async function ownerXml(request: S3Request, account: string): Promise<string> {
  const name = await request.settings.accounts.displayNameOf?.(account);
  return element('ID', account) + element('DisplayName', name ?? account);
}

export function rolledUpPrefixes(prefixes: readonly string[], parameters: ListParameters): string {
  let xml = '';
  for (const prefix of prefixes) {
    xml += wrap('CommonPrefixes', element('Prefix', parameters.show(prefix)));
  }
  return xml;
}

const TWO_DIGITS = Array.from({ length: 60 }, (_, number) => String(number).padStart(2, '0'));

let lastDay = Number.NaN;
let lastDayText = '';

/** ISO 8601, as Date writes it. Putting the time of day together here is a fifth off a LIST. */
export function timeText(ms: number): string {
  const day = Math.floor(ms / DAY_MS);
  if (day !== lastDay) {
    lastDayText = new Date(day * DAY_MS).toISOString().slice(0, 'YYYY-MM-DDT'.length);
    lastDay = day;
  }
  const rest = Math.floor(ms - day * DAY_MS);
  const seconds = Math.floor(rest / 1000);
  const minutes = Math.floor(seconds / 60);
  const time = `${TWO_DIGITS[Math.floor(minutes / 60)]}:${TWO_DIGITS[minutes % 60]}`;
  const fraction = String(rest % 1000).padStart(3, '0');
  return `${lastDayText}${time}:${TWO_DIGITS[seconds % 60]}.${fraction}Z`;
}

export interface EntryOptions {
  parameters: ListParameters;
  /** Filled, where owners are to be shown. */
  owners: OwnerNames | undefined;
  /** x-amz-optional-object-attributes named RestoreStatus. */
  restoreStatus: boolean;
}

function contentsXml(entry: ListedVersion, options: EntryOptions): string {
  const { version } = entry;
  const checksum = checksumAlgorithmXml(version.checksum);
  const owner = options.owners === undefined ? '' : options.owners.xml(version.owner);
  const restore = options.restoreStatus ? restoreStatusXml(version.restore) : '';
  // One template: every seam in it is a piece that the answer's bytes are gathered from again.
  return `<Contents><Key>${escapeText(options.parameters.show(entry.key))}</Key><LastModified>${timeText(version.lastModified)}</LastModified><ETag>&quot;${version.etag}&quot;</ETag>${checksum}<Size>${version.sizeBytes}</Size>${owner}<StorageClass>${version.storageClass}</StorageClass>${restore}</Contents>`;
}

export interface Listed {
  /** XML before the entries, and behind them. */
  before: string;
  entries: readonly ListedVersion[];
  after: string;
}

const ENTRY_BYTES_EXPECTED = 330;
const PIECE_BYTES_EXPECTED = 20 * 1024;

/** The answer of ListObjects and ListObjectsV2. */
export function listingAnswer({ before, entries, after }: Listed, options: EntryOptions): Answer {
  const bytesExpected = PIECE_BYTES_EXPECTED + entries.length * ENTRY_BYTES_EXPECTED;
  const document = new LongXml('ListBucketResult', bytesExpected);
  document.add(before);
  for (const entry of entries) document.add(contentsXml(entry, options));
  document.add(after);
  const body = document.end();
  const headers = ['Content-Type', 'application/xml'];
  return { status: 200, headers, body, sizeBytes: body.length };
}

/** Written once: nearly every entry of a list has one of them. */
const CHECKSUM_XML = Object.fromEntries(
  CHECKSUM_ALGORITHMS.map((algorithm) => {
    const of = (type: ObjectChecksum['type']): string =>
      element('ChecksumAlgorithm', algorithm) + element('ChecksumType', type);
    return [algorithm, { FULL_OBJECT: of('FULL_OBJECT'), COMPOSITE: of('COMPOSITE') }];
  }),
) as Record<ChecksumAlgorithm, Record<ObjectChecksum['type'], string>>;

export function checksumAlgorithmXml(checksum: ObjectChecksum | undefined): string {
  return checksum === undefined ? '' : CHECKSUM_XML[checksum.algorithm][checksum.type];
}

export function restoreStatusXml(restore: Restore | undefined): string {
  if (restore === undefined) return '';
  const ready = restore.state === 'ready' && restore.expiry !== undefined;
  const expiry = ready ? element('RestoreExpiryDate', timeText(restore.expiry as number)) : '';
  return wrap('RestoreStatus', element('IsRestoreInProgress', !ready) + expiry);
}

export function wantsRestoreStatus(request: S3Request): boolean {
  const names = request.headers['x-amz-optional-object-attributes'] ?? '';
  return names.split(',').some((name) => name.trim() === 'RestoreStatus');
}

// A token says where to go on. It is no secret, but garbage must be told from a place.
const TOKEN_SUM_DIGITS = 8;

export function encodeToken(after: string): string {
  const text = Buffer.from(after, 'utf8');
  const sum = crc32(text).toString(16).padStart(TOKEN_SUM_DIGITS, '0');
  return Buffer.from(sum + text.toString('utf8')).toString('base64url');
}

/** Throws InvalidArgument on what encodeToken didn't make. */
export function decodeToken(token: string): string {
  const text = Buffer.from(token, 'base64url').toString('utf8');
  const after = text.slice(TOKEN_SUM_DIGITS);
  if (text.length < TOKEN_SUM_DIGITS || encodeToken(after) !== token) {
    throw invalidArgument('the continuation token is not one of ours', 'continuation-token', token);
  }
  return after;
}
