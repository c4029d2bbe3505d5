// COMPATIBILITY.md: what of S3 is here, made from the table that requests are dispatched by, so
// that the document can't promise an operation that answers 501 or hide one that works. What no
// table knows (why an operation is not there, where we differ on purpose, which clients were tried)
// is kept by hand below; a note about an operation that doesn't exist is refused.

import assert from 'node:assert/strict';
import { OPERATIONS, UNIMPLEMENTED_OPERATIONS } from './operation-table.ts';
import type { Level } from './input/target.ts';
import type { Operation, S3Request } from './request/request.ts';

/** Of operations that are there and have a limit worth knowing before one meets it. */
const NOTES: Record<string, string> = {
  CopyObject: 'SSE-C on both sides, conditions on both sides, `x-amz-metadata-directive`, tags',
  CreateBucket:
    'object lock, ownership, ACL and tags at birth; the region and `locationConstraints`',
  DeleteObjects: '1,000 keys; each by version, ETag, size or time',
  GetBucketLogging: 'standard and partitioned keys',
  GetBucketNotificationConfiguration: 'webhooks and queues that the settings name',
  GetBucketReplication: 'kept and shown, not executed yet',
  PutBucketReplication: 'kept and shown, not executed yet',
  PutBucketAccelerateConfiguration: 'kept and shown; there is nothing to accelerate',
  PutBucketAnalyticsConfiguration: 'kept and shown; `firn plan` and `firn cost` analyse',
  PutBucketIntelligentTieringConfiguration: 'kept and shown; policy files move by access',
  PutBucketMetricsConfiguration: 'kept and shown; metrics are at `/metrics` of the admin port',
  PutBucketRequestPayment: 'kept and shown; nobody is billed',
  GetObject: 'ranges, `partNumber`, conditions, `response-*`, checksum mode, SSE-C',
  GetObjectTorrent: 'NoSuchKey: there are no torrents',
  PostObject: 'policies with all conditions, redirects, checksums, tags',
  PutBucketInventoryConfiguration: 'CSV and NDJSON, written by a worker',
  PutBucketLifecycleConfiguration: 'all filters and actions; also read by `firn plan` and explain',
  PutObject: 'ten checksums, conditions, SSE-S3, SSE-KMS with named keys, SSE-C, lock, tags, class',
  RestoreObject: 'tiers and days, extension, upgrade; SELECT is 501',
  UploadPartCopy: 'ranges and conditions of the source',
};

/** Why an operation is not there. Matched by the beginning of its name. */
const REASONS: readonly (readonly [prefixes: readonly string[], reason: string])[] = [
  [
    ['CreateBucketMetadata', 'DeleteBucketMetadata', 'GetBucketMetadata', 'UpdateBucketMetadata'],
    'tables of metadata: inventories are written to a bucket instead',
  ],
  [['CreateSession', 'RenameObject'], 'of directory buckets only'],
  [['SelectObjectContent'], 'closed to new customers by its maker'],
  [
    [
      'DeleteObjectAnnotation',
      'GetObjectAnnotation',
      'PutObjectAnnotation',
      'ListObjectAnnotations',
    ],
    'may come',
  ],
  [['GetBucketAbac', 'PutBucketAbac', 'UpdateObjectEncryption'], 'may come'],
];

const BEYOND: readonly (readonly [what: string, how: string])[] = [
  ['Signature Version 4', 'Authorization header, presigned URL, HTML form'],
  [
    'Bodies',
    'hex SHA-256, UNSIGNED-PAYLOAD, signed chunks, signed and unsigned trailers, each with each kind above',
  ],
  ['Signature Version 4A', 'ECDSA over a set of regions, header, query and chunks'],
  ['Signature Version 2', 'refused, on purpose: its signature does not cover what it must'],
  [
    'Checksums',
    'CRC32, CRC32C, CRC64NVME, SHA1, SHA256, SHA512, MD5, XXHASH64, XXHASH3, XXHASH128',
  ],
  ['Addressing', 'path style, and virtual hosts below the `domain` of the settings'],
  ['Anonymous requests', 'as far as a bucket policy or an ACL lets them'],
  ['Conditions', 'reads, writes, completes, copies, deletes and each key of DeleteObjects'],
  ['Cross-origin requests', 'OPTIONS and the headers of every answer, by the bucket’s rules'],
  [
    'IAM and STS',
    'on the same port: users, groups, keys, roles, managed and inline policies, AssumeRole, GetCallerIdentity',
  ],
  ['Static websites', 'index and error documents, redirects, routing rules'],
  ['Backup products', 'system objects by which they ask for capacity (SOSAPI)'],
  ['Storage classes', 'those of the settings, by any name; they decide the tier'],
];

const DIFFERENCES: readonly string[] = [
  'A key with a segment `.` or `..` is refused with InvalidURI: the clients and proxies between would resolve it, and another object would be signed than is served.',
  'XML with a document type, entities or CDATA is MalformedXML, and so is an element that the operation does not know: a filter that is dropped would widen a deletion.',
  'A parameter that chooses nothing we know is 501 on a write, never ignored: a PUT with it must not overwrite the object.',
  'DeleteObject and DeleteObjects take conditions on ETag, size and time in every bucket, not in directory buckets only.',
  'A presigned URL that carries the checksum of no bytes takes any body, since SDKs put it there by default; any other checksum in a URL holds, where S3 ignores it.',
  'In a bucket whose maker said nothing about ownership, `x-amz-acl: private` is taken for what holds anyway; S3 refuses it, and clients of before 2023 send it with every PUT. Where enforced ownership was asked for, it is refused.',
  'MFA delete, requester pays and acceleration change nothing here: their configurations are kept and shown at most.',
  'A day of a lifecycle rule may be shortened in a sandbox (`debug.lifecycleDaySeconds`); dates that clients see stay real.',
  'A restore’s expiry deletes the temporary copy and only that.',
];

interface Failing {
  /** As the suite names it. */
  test: string;
  /** What it asks for, and what S3 itself does. */
  why: string;
}

const SUITE = '720 of 720 tests pass, in 619 functions, at 8f0ae7b (November 2026)';

/** Tests of the public suite's target set that fail. Each must say why S3 is on our side. */
const FAILING: readonly Failing[] = [];

interface Tried {
  client: string;
  shown: string;
}

/** By test/system; versions are those of the packages or of Debian 12. */
const CLIENTS: readonly Tried[] = [
  {
    client: 'AWS SDK for JavaScript v3, with lib-storage and s3-request-presigner',
    shown: 'every operation of the core, multipart of streams, presigned GET, PUT and parts',
  },
  {
    client: 'boto3',
    shown: 'managed transfers, multipart, ranges, checksums, presigned URLs, forms',
  },
  { client: 'aws CLI', shown: 'sync both ways, a second sync that copies nothing, presign' },
  { client: 'minio (npm)', shown: 'put, multipart, ranges, copy, lists, presigned URLs and forms' },
  { client: 'rclone', shown: 'sync, check, ranged cat, delete' },
  { client: 'restic', shown: 'backup, check of every byte, restore' },
  { client: 's3cmd', shown: 'sync, multipart put, get, list, delete' },
  { client: 's3fs', shown: 'a mount: write, read, rename, list, delete, remount' },
  { client: 'curl', shown: 'presigned GET and PUT, a wrong signature' },
];

const LEVELS: readonly (readonly [Level, string])[] = [
  ['service', 'Service'],
  ['bucket', 'Buckets'],
  ['object', 'Objects'],
];

const byName = (a: { name: string }, b: { name: string }): number => (a.name < b.name ? -1 : 1);

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

function placeOf({
  method,
  level,
  subresource,
  copies,
}: Pick<Operation, 'method' | 'level' | 'subresource' | 'copies'>): string {
  const path = { service: '/', bucket: '/BUCKET', object: '/BUCKET/KEY' }[level];
  const query = subresource === undefined ? '' : `?${subresource}`;
  return `\`${method} ${path}${query}\`${copies === true ? ' with `x-amz-copy-source`' : ''}`;
}

/** As policies name it for a current version. */
function actionOf({ action, name }: Operation): string {
  if (action === undefined) return name === 'DeleteObjects' ? '`s3:DeleteObject` of each' : '–';
  if (typeof action === 'string') return `\`${action}\``;
  const query = { get: () => undefined, has: () => false, pairs: [] };
  return `\`${action({ query, headers: {} } as unknown as S3Request)}\``;
}

function implemented(): string {
  return LEVELS.map(([level, title]) => {
    const rows = OPERATIONS.filter((operation) => operation.level === level)
      .toSorted(byName)
      .map((one) => [one.name, placeOf(one), actionOf(one), NOTES[one.name] ?? '']);
    return `### ${title}\n\n${table(['operation', 'request', 'action', 'notes'], rows)}`;
  }).join('\n\n');
}

function unimplemented(): string {
  const reasonOf = (name: string): string => {
    const found = REASONS.find(([prefixes]) => prefixes.some((prefix) => name.startsWith(prefix)));
    return found?.[1] ?? 'may come';
  };
  const rows = [...UNIMPLEMENTED_OPERATIONS]
    .toSorted(byName)
    .map((one) => [one.name, placeOf(one), reasonOf(one.name)]);
  return table(['operation', 'request', 'why'], rows);
}

function failing(): string {
  if (FAILING.length === 0) return 'None.';
  return table(
    ['test', 'why S3 is on our side'],
    FAILING.map(({ test, why }) => [`\`${test}\``, why]),
  );
}

function clients(): string {
  const rows = CLIENTS.map(({ client, shown }) => [client, shown]);
  return table(['client', 'what is shown'], rows);
}

/** The whole document. Throws where a note names an operation that is not in the table. */
export function renderCompatibility(): string {
  const names = new Set(OPERATIONS.map(({ name }) => name));
  for (const name of Object.keys(NOTES)) assert.ok(names.has(name), `a note about ${name}`);
  const total = OPERATIONS.length + UNIMPLEMENTED_OPERATIONS.length;
  return `# What of S3 is here

Made from the table of operations (\`operation-table.ts\`) and the notes in \`compatibility.ts\`;
a test demands that it is current. To write it anew:
\`FIRN_WRITE_GOLDEN=1 npx ava test/compatibility.test.ts\`.

${OPERATIONS.length} of ${total} operations are there; a list of configurations shares its request
with the reading of one and is not counted. The others answer 501 NotImplemented, and so does any
parameter or header that asks for what is not done: nothing is ignored that a client could have
meant.

## Operations

${implemented()}

## Not there

${unimplemented()}

## Beside the operations

${table(['what', 'how'], BEYOND)}

## Where we differ, on purpose

${DIFFERENCES.map((text) => `- ${text}`).join('\n')}

## The public suite

ceph/s3-tests, the set without the operations above that are not there, without Signature Version 2,
and without what only Ceph has, with two storage classes beside STANDARD.

${SUITE}. Tests that fail, each with the reason why S3 is on our side:

${failing()}

## Clients tried

Each puts, lists, gets, deletes and sends in parts, finds everything after a restart of the server,
and reads what has moved into a pack of a cold tier and what came back from an archive
(\`test/system\`).

${clients()}
`;
}
