// The rules of one pass: read once, compiled once, and recognised again. "Now" and rules are frozen
// for a whole pass; a deletion asks once more, right before it, whether the rules that decided it
// still stand, because a policy that an operator has just taken back must not delete another
// object.

import { Evaluator, type EvaluatorOptions } from '../../policies/evaluator.ts';
import type { FactsContext } from '../../policies/facts.ts';
import { buildRuleSets } from '../../policies/rule-sets.ts';
import type { RuleSet } from '../../policies/rule.ts';
import type { Core } from '../../appliance/engine/core.ts';
import { allBuckets } from '../../appliance/engine/inventory.ts';
import type { Bucket } from '../../appliance/model/bucket.ts';
import { isFirnError } from '../../appliance/model/errors.ts';
import type { PolicySet } from '../../appliance/model/records.ts';
import type { WorkerLog } from '../base/worker.ts';

/** Where the applied policy files come from: by default the active row of `policy-sets`. */
export type PolicySource = () => Promise<Pick<PolicySet, 'files' | 'revision'> | undefined>;

export interface RuleSettings {
  source: PolicySource;
  /** Classes, day length and the like of every evaluation. */
  evaluation: EvaluatorOptions;
  log: WorkerLog;
}

export function storedPolicies(core: Core): PolicySource {
  return async () => (await core.context.store.get<PolicySet>('policy-sets', 'active'))?.value;
}

export interface PassRules {
  evaluator: Evaluator;
  /** Revision of the policy files; '' where none are applied. */
  revision: string;
}

/**
 * Reads and compiles what stands now. A bucket whose lifecycle can't be read any more (its class
 * was taken out of the configuration) is left out with an alarm: the others go on.
 */
export async function loadRules(core: Core, settings: RuleSettings): Promise<PassRules> {
  const { source, evaluation, log } = settings;
  const policies = await source();
  const options = {
    classes: evaluation.classes,
    ...(evaluation.waterfall === undefined ? {} : { waterfall: evaluation.waterfall }),
  };
  const sets: RuleSet[] = buildRuleSets(policies, [], options);
  for await (const bucket of allBuckets(core.context.store)) {
    if (bucket.lifecycleXml === undefined) continue;
    try {
      sets.push(...buildRuleSets(undefined, [bucket], options));
    } catch (error) {
      if (!isFirnError(error)) throw error;
      log('error', `the lifecycle of bucket ${bucket.name} is left out: ${error.message}`);
    }
  }
  return { evaluator: Evaluator.compile(sets, evaluation), revision: policies?.revision ?? '' };
}

/** True while nothing that decides about this bucket has changed since the pass began. */
export async function rulesStand(
  core: Core,
  settings: RuleSettings,
  pass: { revision: string; bucket: Bucket },
): Promise<boolean> {
  const policies = await settings.source();
  if ((policies?.revision ?? '') !== pass.revision) return false;
  const now = (await core.buckets.fresh(pass.bucket.name))?.value;
  const { bucket } = pass;
  return (
    now?.id === bucket.id &&
    now.lifecycleXml === bucket.lifecycleXml &&
    now.lifecycleSizeFloor === bucket.lifecycleSizeFloor
  );
}

/**
 * How full each bounded tier is; a tier that doesn't answer has no fill, and its rules do not fire.
 */
export async function factsContext(core: Core): Promise<FactsContext> {
  const { classes, tiers } = core.context;
  const poolFill = new Map<string, number>();
  for (const [name, tier] of tiers) {
    try {
      const { capacityBytes, usedBytes } = await tier.usage();
      if (capacityBytes > 0) poolFill.set(name, usedBytes / capacityBytes);
    } catch (error) {
      if (!isFirnError(error)) throw error;
    }
  }
  return { classes, poolFill };
}
