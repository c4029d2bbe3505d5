// Who may do what. The one rule so far, and everything else is refused: a bucket and all in it
// belong to the account that made it.

import type { Bucket } from '../../../appliance/model/bucket.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import type { Operation, S3Request } from '../request/request.ts';

/** What an action is about. `key` is absent for the bucket itself. */
export interface Resource {
  bucket: Bucket;
  key?: string;
  versionId?: string | undefined;
}

const denied = (): FirnError => new FirnError('AccessDenied', 'Access Denied.');

/**
 * Before an operation runs, and before 100 Continue: the bucket it is about (undefined for one of
 * the account). Throws NoSuchBucket, AccessDenied.
 */
export async function authorize(
  request: S3Request,
  operation: Operation,
): Promise<Bucket | undefined> {
  if (operation.access === 'account') {
    if (request.identity.kind === 'anonymous') throw denied();
    return undefined;
  }
  const bucket = await bucketOf(request, request.bucket, 'x-amz-expected-bucket-owner');
  const action =
    typeof operation.action === 'function' ? operation.action(request) : operation.action;
  if (action === undefined) return bucket;
  const resource: Resource = { bucket };
  if (operation.level === 'object') {
    resource.key = request.key;
    resource.versionId = request.query.get('versionId');
  }
  await authorizeAction(request, action, resource);
  return bucket;
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

/** For what an operation finds out only while it runs: sources of copies, keys of a list. */
export async function authorizeAction(
  request: S3Request,
  _action: string,
  { bucket }: Resource,
): Promise<void> {
  const { identity } = request;
  if (identity.kind === 'anonymous' || identity.account !== bucket.owner) throw denied();
  await Promise.resolve();
}
