// The rules of one pass. "Now" and the policy files are frozen for a whole pass; a bucket's own
// lifecycle is the one that stands when the scan comes to it, so that of a thousand tenants none
// can hold up the others' pass by changing theirs. A deletion asks once more, right before it,
// whether the rules that decided it still stand, because a policy that somebody has just taken back
// must not delete another object.

import { Evaluator, type EvaluatorOptions } from '../../policies/evaluator.ts';
import type { FactsContext } from '../../policies/facts.ts';
import { buildRuleSets } from '../../policies/rule-sets.ts';
import type { RuleSet } from '../../policies/rule.ts';
import type { Core } from '../../appliance/engine/document/core.ts';
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

/** What the policy files say now. Throws PolicyInvalid where a class is no longer configured. */
export async function loadPolicies(
  settings: Pick<RuleSettings, 'source' | 'evaluation'>,
): Promise<{ sets: RuleSet[]; revision: string }> {
  const policies = await settings.source();
  const sets = buildRuleSets(policies, [], settings.evaluation);
  Evaluator.compile(sets, settings.evaluation);
  return { sets, revision: policies?.revision ?? '' };
}

/** Compiles what decides about one bucket after another; files that stand are parsed once. */
export class BucketRules {
  readonly #settings: RuleSettings;
  #known: (PassRules & { sets: RuleSet[] }) | undefined;

  constructor(settings: RuleSettings) {
    this.#settings = settings;
  }

  /**
   * The policy files as they stand now, and the lifecycle of this row. One that can't be read any
   * more (its class was taken out of the configuration) is left out with an alarm.
   */
  async of(bucket: Bucket): Promise<PassRules> {
    const { source, evaluation, log } = this.#settings;
    const policies = await source();
    const revision = policies?.revision ?? '';
    if (this.#known?.revision !== revision) {
      const sets = buildRuleSets(policies, [], evaluation);
      this.#known = { sets, revision, evaluator: Evaluator.compile(sets, evaluation) };
    }
    const { sets, evaluator } = this.#known;
    if (bucket.lifecycleXml === undefined) return { evaluator, revision };
    try {
      const own = buildRuleSets(undefined, [bucket], evaluation);
      return { evaluator: Evaluator.compile([...sets, ...own], evaluation), revision };
    } catch (error) {
      if (!isFirnError(error)) throw error;
      log('error', `the lifecycle of bucket ${bucket.name} is left out: ${error.message}`);
      return { evaluator, revision };
    }
  }
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
