// Which rules stand: the applied policy files and the lifecycle configuration of each bucket, parsed
// into one list of sets for Evaluator.compile. Called by the scan at the start of a pass and by the
// admin api for plan and explain.

import type { Bucket } from '../appliance/model/bucket.ts';
import type { PolicySet } from '../appliance/model/records.ts';
import type { RuleSet } from './rule.ts';

export interface RuleSetOptions {
  /** Storage class → tier. */
  classes: ReadonlyMap<string, string>;
  waterfall?: 'strict' | 'free';
}

/**
 * Sets of the given policy files (undefined: none applied) and of every bucket's lifecycle XML, in the
 * order given. Throws PolicyInvalid or S3's codes, naming file or bucket: what was stored has been
 * checked before, so a throw means that configuration changed under it.
 */
export function buildRuleSets(
  _policies: Pick<PolicySet, 'files' | 'revision'> | undefined,
  _buckets: readonly Pick<Bucket, 'name' | 'lifecycleXml' | 'lifecycleSizeFloor'>[],
  _options: RuleSetOptions,
): RuleSet[] {
  throw new Error('not yet');
}
