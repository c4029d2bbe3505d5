// x-amz-expiration from a bucket's lifecycle configuration: real days, midnight UTC, whatever the
// engine's day is. A bucket without a configuration costs one comparison; another one is compiled
// once, and again when its text has changed.

import type { Bucket } from '../../../appliance/model/bucket.ts';
import { isFirnError } from '../../../appliance/model/errors.ts';
import type { Version } from '../../../appliance/model/object.ts';
import { Evaluator } from '../../../policies/evaluator.ts';
import { factsOfVersion } from '../../../policies/facts.ts';
import { buildRuleSets } from '../../../policies/rule-sets.ts';
import type { S3Settings } from '../input/settings.ts';

/** Buckets whose compiled rules are kept. */
const KEPT_MAX = 1000;
/** All that a current version's own record does not say. */
const CURRENT = { lone: false, successorAt: undefined, newerNoncurrent: undefined };

interface Compiled {
  xml: string;
  floor: Bucket['lifecycleSizeFloor'];
  /** Undefined where the stored text is no longer valid: a class was taken out of the settings. */
  evaluator: Evaluator | undefined;
}

/** Answers for current versions only. */
export function lifecycleExpiration(
  settings: Pick<S3Settings, 'classes' | 'clock' | 'waterfall'>,
): NonNullable<S3Settings['expirationOf']> {
  const kept = new Map<string, Compiled>();
  return (bucket, key, version) => {
    const { lifecycleXml: xml, lifecycleSizeFloor: floor } = bucket;
    if (xml === undefined) return undefined;
    let compiled = kept.get(bucket.id);
    if (compiled === undefined || compiled.xml !== xml || compiled.floor !== floor) {
      if (kept.size >= KEPT_MAX) kept.clear();
      compiled = { xml, floor, evaluator: compile(settings, bucket) };
      kept.set(bucket.id, compiled);
    }
    const { evaluator } = compiled;
    return evaluator && describe(evaluator, settings, { bucket, key, version });
  };
}

function compile(
  { classes, waterfall }: Pick<S3Settings, 'classes' | 'waterfall'>,
  bucket: Bucket,
): Evaluator | undefined {
  const options = { classes, ...(waterfall !== undefined && { waterfall }) };
  try {
    return Evaluator.compile(buildRuleSets(undefined, [bucket], options), options);
  } catch (error) {
    // A read does not fail because a rule can't be read: the scan stops and says so.
    if (isFirnError(error)) return undefined;
    throw error;
  }
}

function describe(
  evaluator: Evaluator,
  { classes, clock }: Pick<S3Settings, 'classes' | 'clock'>,
  subject: { bucket: Bucket; key: string; version: Version },
): string | undefined {
  const expiry = evaluator.expiry(factsOfVersion(subject, { classes }, CURRENT), clock.now());
  if (expiry === undefined) return undefined;
  const date = new Date(expiry.at).toUTCString();
  return `expiry-date="${date}", rule-id="${encodeURIComponent(expiry.ruleId)}"`;
}
