// CreateBucket: in this region, or at a location that the settings name; with the ownership, ACL,
// object lock and tags it asks for, else as the settings have new buckets begin. Again by its owner
// it changes nothing, and is refused only where it asks for another ACL than the bucket has.

import type { Acl, Ownership, PublicAccessBlock } from '../../../appliance/model/access.ts';
import type { Bucket } from '../../../appliance/model/bucket.ts';
import { FirnError, isFirnError } from '../../../appliance/model/errors.ts';
import { XML_BYTES_MAX } from '../../../appliance/model/limits.ts';
import type { CreateBucket } from '../../../appliance/model/requests.ts';
import { givesOthers, isPublicAcl, keptAcl } from '../access/acl.ts';
import { authorizeAccount } from '../access/authorize.ts';
import { aclOfHeaders, grantsOf } from '../access/wanted-acl.ts';
import type { RequestHeaders } from '../input/request-headers.ts';
import type { NewBuckets, S3Settings } from '../input/settings.ts';
import { isOwnership } from '../request/ownership.ts';
import { invalidArgument } from '../request/request.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { bucketTagsOf, tagPairsIn } from '../request/tags.ts';
import { childrenOf, parseXml, textOf, type XmlElement } from '../xml/parse.ts';

const NEW_BUCKETS: NewBuckets = { ownership: 'BucketOwnerEnforced', blockPublicAccess: true };

const ALL_BLOCKED: PublicAccessBlock = {
  blockPublicAcls: true,
  ignorePublicAcls: true,
  blockPublicPolicy: true,
  restrictPublicBuckets: true,
};

async function run(request: OwnedRequest): Promise<Answer> {
  const { headers, settings, bucket: name, identity } = request;
  const owner = identity.account;
  const wanted = await aclOfHeaders(request, headers, 'bucket');
  const grants = grantsOf(wanted ?? { canned: 'private' }, { owner, bucketOwner: owner });
  const acl = keptAcl(grants, owner);
  const begins = beginningOf(request, acl);
  const { region, tags } = await configurationOf(request);
  if (tags !== undefined) begins.tags = tags;
  for (const action of moreActions(begins, headers)) authorizeAccount(request, action);
  const created: CreateBucket = { name, owner, region, with: begins };
  try {
    const bucket = await settings.engine.createBucket(created);
    if (!isSameAcl(bucket.acl, acl)) throw differs(bucket);
  } catch (error) {
    // Again by its owner, at another location: it is there, and stays where it is.
    if (!isFirnError(error, 'BucketAlreadyOwnedByYou')) throw error;
  }
  return { status: 200, headers: ['Location', `/${name}`] };
}

function isSameAcl(one: Acl | undefined, other: Acl | undefined): boolean {
  return JSON.stringify(one?.grants) === JSON.stringify(other?.grants);
}

/** S3's code where the name is there, by whomever, and not as it is asked for. */
function differs({ name }: Bucket): FirnError {
  return new FirnError(
    'BucketAlreadyExists',
    'The requested bucket name is not available. Please select a different name and try again.',
    { details: { BucketName: name } },
  );
}

/** Throws InvalidArgument, InvalidBucketAclWithObjectOwnership, AccessDenied. */
function beginningOf(
  { headers, settings, identity }: OwnedRequest,
  acl: Acl | undefined,
): NonNullable<CreateBucket['with']> {
  const { ownership: usual, blockPublicAccess } = settings.newBuckets ?? NEW_BUCKETS;
  const asked = ownershipOf(headers['x-amz-object-ownership']);
  const ownership = asked ?? usual;
  if (ownership === 'BucketOwnerEnforced' && givesOthers(acl, identity.account)) {
    throw new FirnError(
      'InvalidBucketAclWithObjectOwnership',
      'Bucket cannot have ACLs set with the BucketOwnerEnforced setting of ObjectOwnership.',
    );
  }
  if (blockPublicAccess && isPublicAcl(acl)) {
    throw new FirnError(
      'InvalidBucketAclWithBlockPublicAccessError',
      'Bucket cannot have public ACLs set with BlockPublicAccess enabled.',
    );
  }
  const begins: NonNullable<CreateBucket['with']> = { versioning: 'off' };
  // Enforced because nobody said anything: absent (accessOfNewObject).
  if (asked !== undefined || usual !== 'BucketOwnerEnforced') begins.ownership = ownership;
  if (acl !== undefined && ownership !== 'BucketOwnerEnforced') begins.acl = acl;
  if (blockPublicAccess) begins.publicAccessBlock = ALL_BLOCKED;
  if (locks(headers['x-amz-bucket-object-lock-enabled'])) {
    begins.objectLock = {};
    begins.versioning = 'enabled';
  }
  return begins;
}

/** To make a bucket is one right, to say who may do what in it, or what it keeps, are others. */
function moreActions(
  { acl, objectLock, tags }: NonNullable<CreateBucket['with']>,
  headers: RequestHeaders,
): string[] {
  const actions: string[] = [];
  if (acl !== undefined) actions.push('s3:PutBucketAcl');
  if (headers['x-amz-object-ownership'] !== undefined) {
    actions.push('s3:PutBucketOwnershipControls');
  }
  if (objectLock !== undefined) {
    actions.push('s3:PutBucketObjectLockConfiguration', 's3:PutBucketVersioning');
  }
  if (tags !== undefined) actions.push('s3:PutBucketTagging');
  return actions;
}

function ownershipOf(text: string | undefined): Ownership | undefined {
  if (text === undefined || isOwnership(text)) return text;
  throw invalidArgument('Invalid x-amz-object-ownership header', 'x-amz-object-ownership', text);
}

function locks(text: string | undefined): boolean {
  const value = text?.toLowerCase() ?? 'false';
  if (value === 'true' || value === 'false') return value === 'true';
  throw invalidArgument('it must be true or false', 'x-amz-bucket-object-lock-enabled', value);
}

interface Configuration {
  region: string;
  tags?: Record<string, string>;
}

/** What the body says. Throws MalformedXML, InvalidTag, IllegalLocationConstraintException. */
async function configurationOf(request: OwnedRequest): Promise<Configuration> {
  const { headers, settings } = request;
  const usual = { region: settings.region };
  if ((headers['content-length'] ?? '0') === '0' && !headers['transfer-encoding']) return usual;
  const bytes = await request.payload.gather(XML_BYTES_MAX);
  if (bytes.length === 0) return usual;
  const root = parseXml(bytes, 'CreateBucketConfiguration');
  const fields = childrenOf(root, ['LocationConstraint', 'Location', 'Bucket', 'Tags']);
  for (const name of ['Location', 'Bucket']) {
    if (fields.one(name) !== undefined) {
      throw new FirnError('NotImplemented', `${name} of a new bucket is not implemented.`);
    }
  }
  const region = regionOf(textOf(fields.one('LocationConstraint')) ?? '', settings);
  const tags = newTagsOf(fields.one('Tags'));
  return { region, ...(tags !== undefined && { tags }) };
}

function regionOf(constraint: string, { region, locationConstraints = [] }: S3Settings): string {
  if (constraint === '' || constraint === region) return region;
  if (locationConstraints.includes(constraint)) return constraint;
  throw new FirnError(
    'IllegalLocationConstraintException',
    `The location constraint must be ${region}.`,
  );
}

function newTagsOf(set: XmlElement | undefined): Record<string, string> | undefined {
  if (set === undefined) return undefined;
  const pairs = tagPairsIn(set);
  return pairs.length === 0 ? undefined : bucketTagsOf(pairs);
}

export const createBucket: Operation = {
  name: 'CreateBucket',
  method: 'PUT',
  level: 'bucket',
  access: 'account',
  action: 's3:CreateBucket',
  run,
};
