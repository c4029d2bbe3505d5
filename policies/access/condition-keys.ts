// The condition keys that we know: what a request has of them, the caller's lookup says. A key that
// isn't here is refused in a bucket's policy and counts against the asker everywhere else, since
// "not there" would open a Deny and pass every negation.

import { normalKey } from './patterns.ts';

/**
 * Of any service. Those of virtual networks, organisations and second factors are never there: an
 * appliance has none, as a request to AWS from outside has none.
 */
const GLOBAL_KEYS = [
  'aws:CalledVia',
  'aws:CurrentTime',
  'aws:EpochTime',
  'aws:MultiFactorAuthAge',
  'aws:MultiFactorAuthPresent',
  'aws:PrincipalAccount',
  'aws:PrincipalArn',
  'aws:PrincipalIsAWSService',
  'aws:PrincipalOrgID',
  'aws:PrincipalOrgPaths',
  'aws:PrincipalServiceName',
  'aws:PrincipalType',
  'aws:Referer',
  'aws:RequestedRegion',
  'aws:ResourceAccount',
  'aws:SecureTransport',
  'aws:SourceAccount',
  'aws:SourceArn',
  'aws:SourceIdentity',
  'aws:SourceIp',
  'aws:SourceOrgID',
  'aws:SourceVpc',
  'aws:SourceVpce',
  'aws:TokenIssueTime',
  'aws:UserAgent',
  'aws:userid',
  'aws:username',
  'aws:ViaAWSService',
  'aws:VpcSourceIp',
];

/** Not here: what only a body says and nobody looks up (s3:LocationConstraint). */
const S3_KEYS = [
  's3:authType',
  's3:DataAccessPointAccount',
  's3:DataAccessPointArn',
  's3:delimiter',
  's3:if-match',
  's3:if-none-match',
  's3:max-keys',
  's3:object-lock-legal-hold',
  's3:object-lock-mode',
  's3:object-lock-remaining-retention-days',
  's3:object-lock-retain-until-date',
  's3:ObjectCreationOperation',
  's3:prefix',
  's3:RequestObjectTagKeys',
  's3:ResourceAccount',
  's3:signatureAge',
  's3:signatureversion',
  's3:TlsVersion',
  's3:VersionId',
  's3:x-amz-acl',
  's3:x-amz-content-sha256',
  's3:x-amz-copy-source',
  's3:x-amz-grant-full-control',
  's3:x-amz-grant-read',
  's3:x-amz-grant-read-acp',
  's3:x-amz-grant-write',
  's3:x-amz-grant-write-acp',
  's3:x-amz-metadata-directive',
  's3:x-amz-object-ownership',
  's3:x-amz-server-side-encryption',
  's3:x-amz-server-side-encryption-aws-kms-key-id',
  's3:x-amz-server-side-encryption-customer-algorithm',
  's3:x-amz-storage-class',
  's3:x-amz-website-redirect-location',
];

const OTHER_KEYS = [
  'iam:PolicyARN',
  'iam:PermissionsBoundary',
  'sts:ExternalId',
  'sts:RoleSessionName',
  'sts:DurationSeconds',
];

const KNOWN = new Set([...GLOBAL_KEYS, ...S3_KEYS, ...OTHER_KEYS].map(normalKey));

/** Before a slash; behind it is the key of a tag. */
const KNOWN_OF_TAGS = new Set(
  [
    's3:ExistingObjectTag',
    's3:RequestObjectTag',
    's3:BucketTag',
    'aws:RequestTag',
    'aws:ResourceTag',
    'aws:PrincipalTag',
    'iam:ResourceTag',
  ].map(normalKey),
);

/** `key` as normalKey makes it. */
export function isKnownKey(key: string): boolean {
  const slash = key.indexOf('/');
  if (slash < 0) return KNOWN.has(key) || key === 'aws:tagkeys';
  return KNOWN_OF_TAGS.has(key.slice(0, slash)) && slash < key.length - 1;
}
