// Deletions of a pass, in small batches. Before each batch: is the lease still ours, does the clock
// tell the truth, do the rules still stand? Before each single one json-rules-engine has agreed.
// And the commit itself removes only the version that was judged (expire.ts). A disagreement of the
// two evaluators stops the rule for the rest of the pass and is an alarm.

import type { Decision, Evaluator } from '../../policies/evaluator.ts';
import type { Facts, VersionFacts } from '../../policies/facts.ts';
import type { Core } from '../../appliance/engine/document/core.ts';
import { expireVersion } from '../../appliance/engine/object/expire.ts';
import { inFlight } from '../../appliance/engine/document/in-flight.ts';
import { abortUpload } from '../../appliance/engine/upload/multipart-end.ts';
import type { Bucket } from '../../appliance/model/bucket.ts';
import { isFirnError } from '../../appliance/model/errors.ts';
import type { ClockGuard } from '../base/clock-guard.ts';
import type { Turn, WorkerLog } from '../base/worker.ts';
import { rulesStand, type RuleSettings } from './rules.ts';

const BATCH = 64;

export interface Deletion {
  facts: Facts;
  decision: Decision;
}

export interface DeleteCounts {
  deleted: number;
  deletedBytes: number;
  markers: number;
  aborted: number;
  /** The key changed between look and act, or a lock holds the version. */
  spared: number;
  disagreements: number;
}

/** The pass is over: its rules no longer stand. */
export class RulesChanged extends Error {
  constructor() {
    super('the policy was changed during the pass; nothing was deleted by the old one since');
    this.name = 'RulesChanged';
  }
}

export interface DeleteSettings {
  rules: RuleSettings;
  revision: string;
  bucket: Bucket;
  guard: ClockGuard;
  turn: Turn;
  /** Engine ms of the pass. */
  now: number;
  log: WorkerLog;
}

/**
 * Asks json-rules-engine too. Undefined: the two differ, or it isn't due any more by now's rules.
 */
export async function confirmed(
  evaluator: Evaluator,
  deletion: Deletion,
  settings: Pick<DeleteSettings, 'now' | 'log'>,
): Promise<{ decision: Decision } | { stop: readonly string[] } | undefined> {
  const { facts, decision } = deletion;
  const confirmation = await evaluator.confirm(facts, settings.now);
  if (!confirmation.agrees) {
    settings.log('error', 'the two evaluators differ: the rules are stopped for this pass', {
      rules: confirmation.rules,
      bucket: facts.bucket,
      key: facts.key,
      error: confirmation.error instanceof Error ? confirmation.error.message : undefined,
    });
    return { stop: confirmation.rules };
  }
  const { decision: agreed } = confirmation;
  if (agreed?.rule.id !== decision.rule.id || agreed.effect !== decision.effect) return undefined;
  return { decision: agreed };
}

export class DeleteBatches {
  readonly counts: DeleteCounts = {
    deleted: 0,
    deletedBytes: 0,
    markers: 0,
    aborted: 0,
    spared: 0,
    disagreements: 0,
  };
  readonly #core: Core;
  readonly #settings: DeleteSettings;
  /** Ids of rules on which the evaluators differ: the scan leaves them out from there on. */
  readonly stopped = new Set<string>();
  #waiting: Deletion[] = [];

  constructor(core: Core, settings: DeleteSettings) {
    this.#core = core;
    this.#settings = settings;
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  async add(deletion: Deletion, evaluator: Evaluator): Promise<void> {
    this.#waiting.push(deletion);
    if (this.#waiting.length >= BATCH) await this.flush(evaluator);
  }

  /** On return nothing waits. Throws RulesChanged, LeaseLost, GuardRail (the clock). */
  async flush(evaluator: Evaluator): Promise<void> {
    const batch = this.#waiting;
    this.#waiting = [];
    if (batch.length === 0) return;
    const { rules, revision, bucket, guard, turn } = this.#settings;
    const agreed: Deletion[] = [];
    for (const deletion of batch) {
      if (this.stopped.has(deletion.decision.rule.id)) continue;
      const answer = await confirmed(evaluator, deletion, this.#settings);
      if (answer === undefined) this.counts.spared += 1;
      else if ('stop' in answer) this.#stop(answer.stop);
      else agreed.push({ ...deletion, decision: answer.decision });
    }
    await turn.lease.check();
    await guard.check();
    if (!(await rulesStand(this.#core, rules, { revision, bucket }))) throw new RulesChanged();
    await inFlight(BATCH, agreed, (deletion) => this.#act(deletion));
  }

  #stop(ids: readonly string[]): void {
    for (const id of ids) this.stopped.add(id);
    this.counts.disagreements += 1;
  }

  async #act({ facts, decision }: Deletion): Promise<void> {
    if (this.stopped.has(decision.rule.id)) return;
    if (facts.subject === 'upload') {
      await this.#abort(facts);
      return;
    }
    const { effect } = decision;
    if (effect !== 'remove-version' && effect !== 'add-delete-marker') return;
    const outcome = await expireVersion(this.#core, {
      bucket: this.#settings.bucket,
      key: facts.key,
      versionId: facts.versionId,
      effect,
      place: placeOf(facts),
    });
    if (outcome !== 'expired') this.counts.spared += 1;
    else if (effect === 'add-delete-marker') this.counts.markers += 1;
    else {
      this.counts.deleted += 1;
      this.counts.deletedBytes += facts.sizeBytes;
    }
  }

  async #abort(facts: { bucket: string; key: string; uploadId: string }): Promise<void> {
    const { bucket, key, uploadId } = facts;
    try {
      await abortUpload(this.#core, { bucket, key, uploadId });
      this.counts.aborted += 1;
    } catch (error) {
      // Completed or aborted meanwhile.
      if (!isFirnError(error, 'NoSuchUpload')) throw error;
      this.counts.spared += 1;
    }
  }
}

function placeOf(facts: VersionFacts): 'current' | 'noncurrent' | 'lone' {
  if (!facts.isCurrent) return 'noncurrent';
  return facts.deleteMarker ? 'lone' : 'current';
}
