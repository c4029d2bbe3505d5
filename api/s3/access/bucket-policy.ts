// A bucket's policy, compiled once and kept by the text it came from: one that is replaced is never
// asked again, whatever process replaced it. What can't be read denies (fail closed): it was
// readable when it was put.

import type { Bucket } from '../../../appliance/model/bucket.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import { parseBucketPolicy } from '../../../policies/access/document.ts';
import { compilePolicy, type CompiledPolicy } from '../../../policies/access/evaluate.ts';
import { isPublicPolicy } from '../../../policies/access/public.ts';

export interface KeptPolicy {
  compiled: CompiledPolicy;
  /** It lets the public in. */
  isPublic: boolean;
  /** One speaks of how an object is to be made: for parts, their upload has said it. */
  asksCreation: boolean;
  /** One speaks of what only the body says. */
  asksBody: boolean;
}

const KEPT_MAX = 1000;

const kept = new Map<string, { text: string; policy: KeptPolicy }>();

/** Undefined where the bucket has none. Throws AccessDenied where it can't be read. */
export function policyOf({ name, policy: text }: Bucket): KeptPolicy | undefined {
  if (text === undefined) return undefined;
  const known = kept.get(name);
  if (known?.text === text) return known.policy;
  const policy = readPolicy(text, name);
  if (kept.size >= KEPT_MAX) kept.clear();
  kept.set(name, { text, policy });
  return policy;
}

function readPolicy(text: string, bucket: string): KeptPolicy {
  try {
    const policy = parseBucketPolicy(text, bucket);
    // As it was understood: a name may be written with escapes.
    const said = JSON.stringify(policy);
    return {
      compiled: compilePolicy(policy),
      isPublic: isPublicPolicy(policy),
      asksCreation: /s3:x-amz-|requestobjecttag|object-lock-/i.test(said),
      asksBody: /requestobjecttag|object-lock-/i.test(said),
    };
  } catch (cause) {
    throw new FirnError('AccessDenied', 'Access Denied.', { cause });
  }
}

/** The public counts for nothing here: outsiders are let in by no policy. */
export function keepsPublicOut({ publicAccessBlock }: Bucket, policy: KeptPolicy): boolean {
  return publicAccessBlock?.restrictPublicBuckets === true && policy.isPublic;
}
