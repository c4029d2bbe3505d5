// Which rules stand: the applied policy files and the lifecycle configuration of each bucket,
// parsed into one list of sets for Evaluator.compile. Called by the scan at the start of a pass and
// by the admin api for plan and explain.

import type { Bucket } from '../appliance/model/bucket.ts';
import type { PolicySet } from '../appliance/model/records.ts';
import { hashOf } from './canonical-json.ts';
import { rulesOfLifecycle } from './lifecycle-rules.ts';
import { parseLifecycleXml } from './lifecycle-xml.ts';
import { parsePolicyFile } from './policy-file.ts';
import type { RuleSet } from './rule.ts';

export interface RuleSetOptions {
  /** Storage class → tier. */
  classes: ReadonlyMap<string, string>;
  waterfall?: 'strict' | 'free';
}

/**
 * Sets of the given policy files (undefined: none applied) and of every bucket's lifecycle XML, in
 * the order given. Throws PolicyInvalid or S3's codes, naming file or bucket: what was stored has
 * been checked before, so a throw means that configuration changed under it.
 */
export function buildRuleSets(
  policies: Pick<PolicySet, 'files' | 'revision'> | undefined,
  buckets: readonly Pick<Bucket, 'name' | 'lifecycleXml' | 'lifecycleSizeFloor'>[],
  options: RuleSetOptions,
): RuleSet[] {
  const sets: RuleSet[] = [];
  if (policies !== undefined) {
    const rules = policies.files.flatMap(({ name, text }) => parsePolicyFile(name, text));
    sets.push({ name: 'policies', revision: policies.revision, rules });
  }
  for (const bucket of buckets) {
    if (bucket.lifecycleXml === undefined) continue;
    const rules = rulesOfLifecycle(bucket, parseLifecycleXml(bucket.lifecycleXml, options));
    const revision = `lifecycle-${hashOf([bucket.lifecycleXml, bucket.lifecycleSizeFloor ?? ''])}`;
    sets.push({ name: bucket.name, revision: revision.slice(0, 26), rules });
  }
  return sets;
}

/** Revision of a set of policy files: of their names and texts. */
export function revisionOf(files: PolicySet['files']): string {
  return hashOf(files.map(({ name, text }) => [name, text])).slice(0, 16);
}
