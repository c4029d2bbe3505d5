// What a request has of the condition keys of policies, looked up only where a statement asks. The
// dangers: a value that a client can forge (an address out of X-Forwarded-For), a header that
// shadows a key it was never meant for (so each key has its own line here, and nothing is copied
// over from what was sent), and a value that is judged in another form than it is acted on.

import type { Bucket } from '../../../appliance/model/bucket.ts';
import { parseTimestamp } from '../../../appliance/model/signature.ts';
import type { Lookup } from '../../../policies/access/patterns.ts';
import type { RequestHeaders } from '../input/request-headers.ts';
import { tagsOf } from '../request/object-headers.ts';
import type { S3Request } from '../request/request.ts';
import { parseCopySource } from '../request/copy-source-name.ts';
import type { Asker } from './principal.ts';

const DAY_SECONDS = 86_400;

/** What the values are about, beside the request itself. */
export interface Asked {
  action: string;
  /** Undefined for what is about none that exists. */
  bucket?: Bucket;
  versionId?: string | undefined;
  /** Those of what is to be made, where they are not the request's own. */
  headers?: RequestHeaders | undefined;
  /** Tags of the version that is there. */
  existingTags?: (() => Readonly<Record<string, string>> | undefined) | undefined;
  /** Where a body says them; else the header does. */
  requestTags?: Readonly<Record<string, string>> | undefined;
  /** Overrules what the request says: of a list that nobody asked for, and of bodies. */
  values?: Readonly<Record<string, string>> | undefined;
}

interface Context {
  request: S3Request;
  asker: Asker;
  asked: Asked;
}

type Value = string | readonly string[] | undefined;

const header =
  (name: string) =>
  ({ request, asked }: Context): Value =>
    (asked.headers ?? request.headers)[name];

/** Parameters of lists, and of nothing else: elsewhere a client may add what it likes. */
const listParameter =
  (name: string) =>
  ({ request, asked }: Context): Value =>
    asked.action.startsWith('s3:ListBucket') && request.level === 'bucket'
      ? request.query.get(name)
      : undefined;

const HEADERS = [
  'x-amz-acl',
  'x-amz-content-sha256',
  'x-amz-grant-full-control',
  'x-amz-grant-read',
  'x-amz-grant-read-acp',
  'x-amz-grant-write',
  'x-amz-grant-write-acp',
  'x-amz-metadata-directive',
  'x-amz-object-ownership',
  'x-amz-server-side-encryption',
  'x-amz-server-side-encryption-aws-kms-key-id',
  'x-amz-server-side-encryption-customer-algorithm',
  'x-amz-storage-class',
  'x-amz-website-redirect-location',
];

const VALUES = new Map<string, (context: Context) => Value>([
  ...HEADERS.map((name) => [`s3:${name}`, header(name)] as const),
  ['aws:currenttime', ({ request }) => new Date(request.settings.clock.wall()).toISOString()],
  ['aws:epochtime', ({ request }) => String(Math.floor(request.settings.clock.wall() / 1000))],
  ['aws:principalaccount', ({ asker }) => asker.account || undefined],
  ['aws:principalarn', ({ asker }) => asker.roleArn ?? (asker.arn || undefined)],
  ['aws:principaltype', ({ asker }) => PRINCIPAL_TYPES[asker.kind]],
  ['aws:userid', ({ asker }) => (asker.kind === 'account' ? asker.account : undefined)],
  ['aws:principalisawsservice', () => 'false'],
  ['aws:viaawsservice', () => 'false'],
  ['aws:referer', header('referer')],
  ['aws:useragent', header('user-agent')],
  ['aws:requestedregion', ({ request }) => request.settings.region],
  ['aws:resourceaccount', ({ asked }) => asked.bucket?.owner],
  ['aws:securetransport', ({ request }) => String(isSecure(request))],
  ['aws:sourceip', sourceAddress],
  ['s3:authtype', ({ request }) => AUTH_TYPES[request.identity.kind]],
  ['s3:delimiter', listParameter('delimiter')],
  ['s3:if-match', header('if-match')],
  ['s3:if-none-match', header('if-none-match')],
  ['s3:max-keys', listParameter('max-keys')],
  ['s3:prefix', listParameter('prefix')],
  ['s3:object-lock-legal-hold', header('x-amz-object-lock-legal-hold')],
  ['s3:object-lock-mode', header('x-amz-object-lock-mode')],
  ['s3:object-lock-remaining-retention-days', remainingDays],
  ['s3:object-lock-retain-until-date', header('x-amz-object-lock-retain-until-date')],
  ['s3:objectcreationoperation', ({ request }) => String(createsObject(request))],
  ['s3:requestobjecttagkeys', (context) => Object.keys(requestTags(context) ?? {})],
  ['s3:resourceaccount', ({ asked }) => asked.bucket?.owner],
  ['s3:signatureage', signatureAge],
  ['s3:signatureversion', signatureVersion],
  ['s3:tlsversion', tlsVersion],
  ['s3:versionid', ({ asked }) => asked.versionId],
  ['s3:x-amz-copy-source', copySource],
]);

const TAGS = new Map<string, (context: Context) => Readonly<Record<string, string>> | undefined>([
  ['s3:existingobjecttag', ({ asked }) => asked.existingTags?.()],
  ['s3:requestobjecttag', requestTags],
  ['s3:buckettag', ({ asked }) => asked.bucket?.tags],
  ['aws:resourcetag', ({ asked }) => asked.bucket?.tags],
]);

/** For an evaluator: keys in its own form, lower case but for the key of a tag. */
export function conditionValues(request: S3Request, asker: Asker, asked: Asked): Lookup {
  const context = { request, asker, asked };
  return (key) => {
    const own = asker.signer?.values?.get(key);
    if (own !== undefined) return own;
    const given = asked.values;
    if (given !== undefined && Object.hasOwn(given, key)) return given[key];
    const slash = key.indexOf('/');
    if (slash < 0) return VALUES.get(key)?.(context);
    const tags = TAGS.get(key.slice(0, slash))?.(context);
    const name = key.slice(slash + 1);
    return tags !== undefined && Object.hasOwn(tags, name) ? tags[name] : undefined;
  };
}

const PRINCIPAL_TYPES: Record<Asker['kind'], string> = {
  anonymous: 'Anonymous',
  account: 'Account',
  user: 'User',
  role: 'AssumedRole',
  service: 'Service',
};

const AUTH_TYPES: Record<S3Request['identity']['kind'], string | undefined> = {
  anonymous: undefined,
  header: 'REST-HEADER',
  presigned: 'REST-QUERY-STRING',
  form: 'POST',
};

function isSecure({ incoming }: S3Request): boolean {
  return (incoming.socket as { encrypted?: boolean }).encrypted === true;
}

/**
 * Of the socket: what a header says of where it came from, its sender has written. Who has hung up
 * already has none any more, and is then judged as what is no address: never let in by one, and
 * kept out by every Deny of some.
 */
function sourceAddress({ request }: Context): Value {
  return addressOfSocket(request.incoming);
}

export function addressOfSocket({ socket }: Pick<S3Request['incoming'], 'socket'>): string {
  return socket.remoteAddress?.replace(/^::ffff:(?=\d+\.)/i, '') ?? 'unknown';
}

function tlsVersion({ request }: Context): Value {
  const socket = request.incoming.socket as { getProtocol?: () => string | null };
  if (socket.getProtocol === undefined) return undefined;
  // Null once it is closed: as with addresses.
  return socket.getProtocol()?.replace(/^TLSv/, '').replace(/^1$/, '1.0') ?? 'unknown';
}

function requestTags({ request, asked }: Context): Readonly<Record<string, string>> | undefined {
  return asked.requestTags ?? tagsOf(asked.headers ?? request.headers);
}

function createsObject({ method, query }: S3Request): boolean {
  if (query.has('uploads')) return false;
  return method === 'POST' || !query.has('uploadId');
}

/** A header asks for a date; the policy bounds how far away it is. */
function remainingDays({ request, asked }: Context): Value {
  const name = 's3:object-lock-retain-until-date';
  const headers = asked.headers ?? request.headers;
  const text = asked.values?.[name] ?? headers['x-amz-object-lock-retain-until-date'];
  const until = Date.parse(text ?? '');
  if (Number.isNaN(until)) return undefined;
  const seconds = (until - request.settings.clock.now()) / 1000;
  return String(Math.max(0, Math.ceil(seconds / DAY_SECONDS)));
}

function signatureVersion({ request }: Context): Value {
  const { kind } = request.identity;
  if (kind === 'header') return request.headers['authorization']?.split(' ', 1)[0];
  if (kind === 'presigned') return request.query.get('X-Amz-Algorithm');
  if (kind !== 'form') return undefined;
  return request.form?.has('awsaccesskeyid') === true ? 'AWS' : 'AWS4-HMAC-SHA256';
}

/** Milliseconds. */
function signatureAge({ request }: Context): Value {
  const { kind } = request.identity;
  let text = request.form?.get('x-amz-date');
  if (kind === 'header') text = request.headers['x-amz-date'];
  if (kind === 'presigned') text = request.query.get('X-Amz-Date');
  const at = parseTimestamp(text ?? '');
  return at === undefined ? undefined : String(Math.max(0, request.settings.clock.wall() - at));
}

/** Of a copy only, and parsed as the copy parses it: bucket/key, decoded once. */
function copySource({ request }: Context): Value {
  const text = request.headers['x-amz-copy-source'];
  if (text === undefined || request.method !== 'PUT') return undefined;
  const { bucket, key } = parseCopySource(text);
  return `${bucket}/${key}`;
}
