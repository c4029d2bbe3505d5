// Who may do what: the one decision, asked before every operation, and by operations for what they
// find out as they run. Everything is refused that nothing allows. In this order:
//   1. nothing bounds the root of the account that owns a bucket without policy or ACLs: the way of
//      nearly all requests, at the cost of a few comparisons;
//   2. an explicit Deny, of the bucket's policy or of the asker's own, is final, but that the
//      owner's root can always look at, replace and remove the policy: none can lock everybody out;
//   3. an Allow must come from the side of the resource (its owner's root, the policy, an ACL),
//      and, where policies of the asker's own bound it, from these too.

import type { Bucket } from '../../../appliance/model/bucket.ts';
import { FirnError, isFirnError } from '../../../appliance/model/errors.ts';
import type { Version } from '../../../appliance/model/object.ts';
import { evaluate } from '../../../policies/access/evaluate.ts';
import type { AccessRequest, Verdict } from '../../../policies/access/policy.ts';
import type { RequestHeaders } from '../input/request-headers.ts';
import type { Operation, S3Request } from '../request/request.ts';
import { isEnforced, ownerOf } from '../request/ownership.ts';
import { isGranted, isObjectOwners } from './acl.ts';
import { keepsPublicOut, policyOf, type KeptPolicy } from './bucket-policy.ts';
import { conditionValues } from './condition-values.ts';
import { creationHeaders } from './said.ts';
import { askerOf, isRootOf, type Asker } from './principal.ts';

/** What an action is about. `key` is absent for the bucket itself. */
export interface Resource {
  bucket: Bucket;
  key?: string;
  versionId?: string | undefined;
  /** The version that is there, where it is known already. */
  version?: Version;
  /** About a version that is only to be made: nothing is looked up. */
  isNew?: boolean;
  /** Whose a version to be made will be. */
  owner?: string;
  /** Tags that a body says. */
  requestTags?: Readonly<Record<string, string>>;
  /** Condition keys, lower case, whose values a body says. */
  values?: Readonly<Record<string, string>>;
}

export const denied = (): FirnError => new FirnError('AccessDenied', 'Access Denied.');

/**
 * Before an operation runs, and before 100 Continue: the bucket it is about (undefined for one of
 * the account). Throws NoSuchBucket, AccessDenied, and what absentError throws.
 */
export async function authorize(
  request: S3Request,
  operation: Operation,
): Promise<Bucket | undefined> {
  const action =
    typeof operation.action === 'function' ? operation.action(request) : operation.action;
  if (operation.access === 'account') {
    authorizeAccount(request, action);
    return undefined;
  }
  const bucket = await bucketOf(request, request.bucket, 'x-amz-expected-bucket-owner');
  if (isPlain(request, bucket)) return bucket;
  if (action === undefined) {
    refuseHopeless(request, bucket);
    return bucket;
  }
  const resource: Resource = { bucket };
  if (operation.level === 'object') {
    resource.key = request.key;
    resource.versionId = request.query.get('versionId');
    if (awaitsBody(action, request, bucket)) return bucket;
  }
  const version = await judge(request, action, resource);
  if (version !== undefined) judged.set(request, { action, version });
  return bucket;
}

const judged = new WeakMap<S3Request, { action: string; version: Version }>();

/**
 * Before a version is shown: that it is the one by whose owner, ACL and tags the request was let
 * in, or that the other one, which has come between, may be shown as well. Throws AccessDenied.
 */
export function confirmVersion(
  request: S3Request & { owned: Bucket },
  version: Version,
): Promise<void> | undefined {
  if (isPlain(request, request.owned)) return undefined;
  const known = judged.get(request);
  if (known === undefined || known.version.id === version.id) return undefined;
  const { owned: bucket, key, query } = request;
  const resource = { bucket, key, versionId: query.get('versionId'), version };
  return authorizeAction(request, known.action, resource);
}

/**
 * Of an operation that asks for each of many only once it has read its body: megabytes that nobody
 * can be allowed anything by are not read and taken apart. Throws AccessDenied.
 */
function refuseHopeless({ identity }: S3Request, bucket: Bucket): void {
  const isOfOwner = identity.kind !== 'anonymous' && identity.account === bucket.owner;
  if (!isOfOwner && bucket.policy === undefined && isEnforced(bucket)) throw denied();
}

/** Actions that are asked again by their operation, with what their body says. */
const JUDGED_BY_BODY = new Set([
  's3:PutObjectTagging',
  's3:PutObjectVersionTagging',
  's3:PutObjectRetention',
  's3:PutObjectLegalHold',
]);

/** A policy may speak of what only the body says: the operation asks once it has read it. */
function awaitsBody(action: string, { identity }: S3Request, bucket: Bucket): boolean {
  if (!JUDGED_BY_BODY.has(action)) return false;
  return identity.signer !== undefined || policyOf(bucket)?.asksBody === true;
}

/** What is about no bucket that exists. Throws AccessDenied. */
export function authorizeAccount(request: S3Request, action: string | undefined): void {
  const { identity, bucket } = request;
  if (identity.kind === 'anonymous') throw denied();
  const { signer } = identity;
  if (signer === undefined || action === undefined) return;
  const asker = askerOf(identity);
  const resource = `arn:aws:s3:::${bucket === '' ? '*' : bucket}`;
  const lookup = conditionValues(request, asker, { action });
  if (signer.judge({ principal: asker, action, resource, lookup }) !== 'allow') throw denied();
}

/** The bucket, if it belongs to whom the asker expects. Throws NoSuchBucket or AccessDenied. */
export async function bucketOf(
  request: S3Request,
  name: string,
  ownerHeader: 'x-amz-expected-bucket-owner' | 'x-amz-source-expected-bucket-owner',
): Promise<Bucket> {
  const bucket = await request.settings.engine.getBucket(name);
  const expected = request.headers[ownerHeader];
  if (expected !== undefined && expected !== bucket.owner) throw denied();
  return bucket;
}

/**
 * After the client was waited for: that the bucket's name still means the one that was decided
 * about. Without it, who once had a name could begin a request, give the name away, and end the
 * request in the bucket of whoever took it. Throws NoSuchBucket.
 */
export async function confirmBucket(request: S3Request & { owned: Bucket }): Promise<void> {
  const { settings, owned } = request;
  const now = await settings.engine.getBucket(owned.name);
  if (now.id === owned.id) {
    request.owned = now;
    return;
  }
  throw new FirnError('NoSuchBucket', 'The specified bucket does not exist', {
    subject: owned.name,
    details: { BucketName: owned.name },
  });
}

/** The root of the owner, nothing that denies, and all objects its own: no more to ask. */
export function isPlain({ identity }: S3Request, bucket: Bucket): boolean {
  return isRootOf(bucket.owner, identity) && bucket.policy === undefined && isEnforced(bucket);
}

/**
 * For what an operation finds out only while it runs: sources of copies, keys of a list. Throws
 * AccessDenied; for a version that is not there what the engine throws, to who may list.
 */
export async function authorizeAction(
  request: S3Request,
  action: string,
  resource: Resource,
): Promise<void> {
  if (isPlain(request, resource.bucket)) return;
  await judge(request, action, resource);
}

/** The same as an answer: false for what is refused. */
export async function isAllowed(
  request: S3Request,
  action: string,
  resource: Resource,
): Promise<boolean> {
  try {
    await authorizeAction(request, action, resource);
    return true;
  } catch (error) {
    if (isFirnError(error, 'AccessDenied')) return false;
    throw error;
  }
}

const OWN_POLICY = new Set(['s3:GetBucketPolicy', 's3:PutBucketPolicy', 's3:DeleteBucketPolicy']);

/** Resolves to the version that was looked at for it, if any. Throws as authorizeAction. */
export async function judge(
  request: S3Request,
  action: string,
  resource: Resource,
): Promise<Version | undefined> {
  const { identity } = request;
  const { bucket } = resource;
  const isOwnersRoot = isRootOf(bucket.owner, identity);
  if (isOwnersRoot && OWN_POLICY.has(action)) return undefined;
  const asker = askerOf(identity);
  const policy = policyOf(bucket);
  let version = resource.version;
  if (version === undefined && asksVersion(action, resource, isOwnersRoot)) {
    version = await versionOf(request, { action, resource, asker });
  }
  const headers =
    action === 's3:PutObject' && (asker.signer !== undefined || policy?.asksCreation === true)
      ? await creationHeaders(request)
      : undefined;
  let said = whatPoliciesSay(request, { action, resource, asker, version, headers });
  if (said.missesTags) {
    version = await versionOf(request, { action, resource, asker });
    said = whatPoliciesSay(request, { action, resource, asker, version, headers });
  }
  const { ofPolicy, ofAsker } = said;
  if (ofPolicy === 'deny' || ofAsker === 'deny') throw denied();
  const objectOwner = resource.owner ?? ownerOf(bucket, version ?? bucket);
  const owner = isObjectOwners(action) ? objectOwner : bucket.owner;
  // A policy speaks for the bucket's owner, and not for another owner of an object in it.
  const isHeard =
    policy !== undefined && owner === bucket.owner && isHeardBy(asker, bucket, policy);
  const acls = { bucket, acl: version?.acl, owner: objectOwner };
  // Who may make an object that will be its own says what it begins with, be it nobody.
  const makesOwn = resource.isNew === true && resource.owner === identity.account;
  const isOwner = asker.kind !== 'anonymous' && asker.account === owner;
  const granted: Granted = {
    policy: isHeard ? ofPolicy : undefined,
    account: makesOwn || isOwner || isGranted(action, asker, acls),
  };
  if (!isLetIn(asker, bucket, { granted, ofAsker })) throw denied();
  return version;
}

/** `missesTags`: a condition asked for the tags of a version that nobody has looked at yet. */
function whatPoliciesSay(
  request: S3Request,
  question: Question,
): { ofPolicy: Verdict; ofAsker: Verdict; missesTags: boolean } {
  const { resource, asker, version } = question;
  const mayBeThere = version === undefined && resource.key !== undefined && !resource.isNew;
  let missesTags = false;
  const existingTags = (): Version['tags'] => {
    missesTags = mayBeThere;
    return version?.tags;
  };
  const asked = accessRequest(request, { ...question, existingTags });
  const policy = policyOf(resource.bucket);
  const ofPolicy = policy === undefined ? undefined : evaluate(policy.compiled, asked);
  return { ofPolicy, ofAsker: asker.signer?.judge(asked), missesTags };
}

interface Granted {
  policy: Verdict;
  /** The asker's account, or the public, has it without any policy. */
  account: boolean;
}

function isLetIn(
  { signer, account }: Asker,
  bucket: Bucket,
  { granted, ofAsker }: { granted: Granted; ofAsker: Verdict },
): boolean {
  if (signer === undefined) return granted.account || granted.policy === 'allow';
  // In the owner's account a policy that names the very user is enough; elsewhere each side must.
  if (account === bucket.owner && granted.policy === 'allow') return true;
  return ofAsker === 'allow' && (granted.account || granted.policy !== undefined);
}

function isHeardBy(asker: Asker, bucket: Bucket, policy: KeptPolicy): boolean {
  return asker.account === bucket.owner || !keepsPublicOut(bucket, policy);
}

function accessRequest(
  request: S3Request,
  { action, resource, asker, headers, existingTags }: Question,
): AccessRequest {
  const { bucket, key, versionId, requestTags, values } = resource;
  const asked = { action, bucket, versionId, headers, existingTags, requestTags, values };
  return {
    principal: asker,
    action,
    resource: `arn:aws:s3:::${bucket.name}${key === undefined ? '' : `/${key}`}`,
    lookup: conditionValues(request, asker, asked),
  };
}

interface Question {
  action: string;
  resource: Resource;
  asker: Asker;
  version?: Version | undefined;
  headers?: RequestHeaders | undefined;
  /** Asked only where a condition does. */
  existingTags?: () => Version['tags'];
}

/** Actions on keys that need no version to be there. */
const WITHOUT_VERSION = new Set([
  's3:AbortMultipartUpload',
  's3:BypassGovernanceRetention',
  's3:DeleteObject',
  's3:DeleteObjectVersion',
  's3:ListMultipartUploadParts',
  's3:PutObject',
]);

function asksVersion(action: string, resource: Resource, isOwnersRoot: boolean): boolean {
  if (resource.key === undefined || resource.isNew === true) return false;
  if (WITHOUT_VERSION.has(action)) return false;
  // Its owner, its ACL, and whether it is there at all, which not everybody may learn.
  return !isOwnersRoot || (isObjectOwners(action) && !isEnforced(resource.bucket));
}

/** Undefined where none is there and the action needs none. */
async function versionOf(
  request: S3Request,
  { action, resource, asker }: Question,
): Promise<Version | undefined> {
  const { bucket, key = '', versionId } = resource;
  try {
    const answer = await request.settings.engine.headObject({
      bucket: bucket.name,
      key,
      known: bucket,
      ...(versionId !== undefined && { versionId }),
    });
    return answer.version;
  } catch (error) {
    if (!isFirnError(error) || !ABSENT.has(error.code)) throw error;
    if (WITHOUT_VERSION.has(action)) return undefined;
    throw await absentError(request, error, { action, resource, asker });
  }
}

/** MethodNotAllowed: the version named is a delete marker. */
const ABSENT = new Set(['NoSuchKey', 'NoSuchVersion', 'MethodNotAllowed']);

/** That a key is not there learns only who may list it: to all others it looks as if it were. */
async function absentError(
  request: S3Request,
  error: FirnError,
  question: Question,
): Promise<FirnError> {
  const { bucket, key = '', versionId } = question.resource;
  const policy = policyOf(bucket);
  const asked = accessRequest(request, question);
  if (policy !== undefined && evaluate(policy.compiled, asked) === 'deny') return denied();
  const action = versionId === undefined ? 's3:ListBucket' : 's3:ListBucketVersions';
  const values = { 's3:prefix': key };
  return (await isAllowed(request, action, { bucket, values })) ? error : denied();
}
