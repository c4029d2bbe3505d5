// What a policy would do to everything that is stored, before it does it. A plan runs the evaluator
// over the whole real inventory and adds up, per rule: objects, bytes, examples, deletions apart,
// what it costs once and what it saves a month, and where it differs from the policy in force. Its
// hash stands for all of that: who applies a plan applies exactly what was read. Rules that delete
// a third of the store because of a wrong prefix are the danger; guard rails are the last stop.

import type { PlannedChange, PlannedRule } from '../appliance/model/answers.ts';
import type { CostModel, BookNote } from './cost/cost-model.ts';
import { DAY_MS } from '../appliance/model/clock.ts';
import { hashOf } from './canonical-json.ts';
import { formatInstant } from './base/dates.ts';
import type { Decision, Evaluator } from './evaluator.ts';
import type { Facts, VersionFacts } from './facts.ts';
import { isDeletion, type Action, type Rule } from './rule.ts';

export interface PlanOptions {
  /** Engine ms, the same for the whole pass. */
  now: number;
  /** Storage class → tier: where a transition leads. */
  classes: ReadonlyMap<string, string>;
  /** Absent: no money in the plan. */
  cost?: CostModel;
  guardRails?: GuardRails;
  /** Example keys a rule; default 5. */
  examples?: number;
}

/** Limits of one apply; a field left out does not limit. */
export interface GuardRails {
  /** Share of all versions that may be deleted, 0 to 1. */
  deletedShareMax?: number;
  deletedBytesMax?: number;
  /** One-off money. */
  spendMax?: number;
}

export const DEFAULT_GUARD_RAILS: GuardRails = { deletedShareMax: 0.2 };

export interface GuardRailBreach {
  rail: keyof GuardRails;
  limit: number;
  value: number;
  message: string;
}

export interface Plan {
  /** sha256, hex, over rules and results: apply refuses another. */
  hash: string;
  evaluatedAt: string;
  inventory: { objects: number; bytes: number; uploads: number };
  rules: PlannedRule[];
  totals: {
    objects: number;
    bytes: number;
    deletes: number;
    deletedBytes: number;
    oneOffCost: number;
    monthlySaving: number;
  };
  /** Due, but kept back by a restored copy, a pin or a promotion. */
  held: { objects: number; bytes: number };
  /**
   * Against the policy in force: acts that only the new one does, only the old one, or both
   * otherwise.
   */
  changes: { added: PlannedChange; removed: PlannedChange; changed: PlannedChange };
  breaches: GuardRailBreach[];
  currency: string | null;
  books: BookNote[];
}

/** Reads the inventory once. The active evaluator is what is in force now; undefined: nothing. */
export async function plan(
  inventory: AsyncIterable<Facts> | Iterable<Facts>,
  policies: { candidate: Evaluator; active: Evaluator | undefined },
  options: PlanOptions,
): Promise<Plan> {
  const tally = new Tally(policies, options);
  for await (const facts of inventory) tally.add(facts);
  return tally.plan();
}

/** Versions that one rule moves from one tier to another, for the money. */
interface Flow {
  from: string;
  /** Undefined: they go. */
  to: string | undefined;
  objects: number;
  bytes: number;
  earlyCost: number;
}

interface RuleTally {
  planned: PlannedRule;
  /** Of a policy file, which somebody is about to apply; a bucket's own lifecycle stands already. */
  isGuarded: boolean;
  deletedBytes: number;
  firstAt: number | undefined;
  flows: Map<string, Flow>;
}

class Tally {
  readonly #candidate: Evaluator;
  readonly #active: Evaluator | undefined;
  readonly #options: PlanOptions;
  readonly #examples: number;
  readonly #rules = new Map<Rule, RuleTally>();
  readonly #inventory = { objects: 0, bytes: 0, uploads: 0 };
  readonly #held = { objects: 0, bytes: 0 };
  readonly #changes: Plan['changes'] = {
    added: { objects: 0, bytes: 0, examples: [] },
    removed: { objects: 0, bytes: 0, examples: [] },
    changed: { objects: 0, bytes: 0, examples: [] },
  };

  constructor(
    policies: { candidate: Evaluator; active: Evaluator | undefined },
    options: PlanOptions,
  ) {
    this.#candidate = policies.candidate;
    this.#active = policies.active;
    this.#options = options;
    this.#examples = options.examples ?? 5;
    for (const rule of this.#candidate.rules) this.#rules.set(rule, newTally(rule));
  }

  add(facts: Facts): void {
    const { now } = this.#options;
    const bytes = facts.sizeBytes ?? 0;
    if (facts.subject === 'upload') this.#inventory.uploads += 1;
    else if (!facts.deleteMarker) this.#inventory.objects += 1;
    this.#inventory.bytes += bytes;
    const decision = this.#candidate.decide(facts, now);
    this.#compare(facts, decision, this.#active?.decide(facts, now));
    if (decision !== undefined) {
      this.#addDue(facts, decision);
      return;
    }
    if (this.#candidate.heldBack(facts, now) !== undefined) {
      this.#held.objects += 1;
      this.#held.bytes += bytes;
    }
    const next = this.#candidate.next(facts, now);
    if (next === undefined) return;
    const tally = this.#rules.get(next.decision.rule);
    if (tally === undefined) return;
    tally.planned.later.objects += 1;
    tally.planned.later.bytes += bytes;
    tally.firstAt = Math.min(tally.firstAt ?? next.at, next.at);
  }

  #addDue(facts: Facts, decision: Decision): void {
    const tally = this.#rules.get(decision.rule);
    if (tally === undefined) return;
    const { planned } = tally;
    const bytes = facts.sizeBytes ?? 0;
    planned.objects += 1;
    planned.bytes += bytes;
    if (isDeletion(decision.action)) {
      planned.deletes += 1;
      tally.deletedBytes += bytes;
    }
    this.#example(planned.examples, facts);
    if (facts.subject === 'version') this.#addFlow(tally, facts, decision);
  }

  #addFlow(tally: RuleTally, facts: VersionFacts, decision: Decision): void {
    const { classes, cost, now } = this.#options;
    // Bytes under a new delete marker stay and go on being paid for.
    if (decision.effect === 'add-delete-marker' || facts.tier === undefined) return;
    const to = decision.to === undefined ? undefined : classes.get(decision.to);
    const name = `${facts.tier}\n${to ?? ''}`;
    let flow = tally.flows.get(name);
    if (flow === undefined) {
      flow = { from: facts.tier, to, objects: 0, bytes: 0, earlyCost: 0 };
      tally.flows.set(name, flow);
    }
    flow.objects += 1;
    flow.bytes += facts.sizeBytes;
    const days = (now - (facts.last?.at ?? facts.lastModified)) / DAY_MS;
    if (to !== facts.tier) {
      flow.earlyCost += cost?.leaveEarly(facts.tier, facts.sizeBytes, days) ?? 0;
    }
  }

  #compare(facts: Facts, next: Decision | undefined, before: Decision | undefined): void {
    if (next === undefined && before === undefined) return;
    const { added, removed, changed } = this.#changes;
    let change = changed;
    if (before === undefined) change = added;
    else if (next === undefined) change = removed;
    else if (next.effect === before.effect && next.to === before.to) return;
    change.objects += 1;
    change.bytes += facts.sizeBytes ?? 0;
    this.#example(change.examples, facts);
  }

  #example(examples: string[], facts: Facts): void {
    if (examples.length < this.#examples) examples.push(`${facts.bucket}/${facts.key}`);
  }

  plan(): Plan {
    const { cost, now, guardRails = DEFAULT_GUARD_RAILS } = this.#options;
    const totals = {
      objects: 0,
      bytes: 0,
      deletes: 0,
      deletedBytes: 0,
      oneOffCost: 0,
      monthlySaving: 0,
    };
    const guarded = { deletes: 0, deletedBytes: 0, oneOffCost: 0 };
    const rules: PlannedRule[] = [];
    for (const tally of this.#rules.values()) {
      const { planned, deletedBytes } = tally;
      if (cost !== undefined) addMoney(planned, tally.flows.values(), cost);
      planned.later.firstAt = tally.firstAt === undefined ? null : formatInstant(tally.firstAt);
      for (const field of ['objects', 'bytes', 'deletes', 'oneOffCost', 'monthlySaving'] as const) {
        totals[field] += planned[field];
      }
      totals.deletedBytes += deletedBytes;
      if (tally.isGuarded) {
        guarded.deletes += planned.deletes;
        guarded.deletedBytes += deletedBytes;
        guarded.oneOffCost += planned.oneOffCost;
      }
      rules.push(planned);
    }
    const results = rules.map(({ id, objects, bytes, deletes }) => [id, objects, bytes, deletes]);
    const basis = this.#active?.fingerprint ?? null;
    return {
      hash: hashOf({ rules: this.#candidate.fingerprint, basis, results }),
      evaluatedAt: formatInstant(now),
      inventory: this.#inventory,
      rules,
      totals,
      held: this.#held,
      changes: this.#changes,
      breaches: checkGuardRails(guarded, this.#inventory.objects, guardRails),
      currency: cost?.currency ?? null,
      books: cost?.books(now) ?? [],
    };
  }
}

function newTally(rule: Rule): RuleTally {
  const planned: PlannedRule = {
    id: rule.id,
    action: describeAction(rule.action),
    ...(rule.description === undefined ? {} : { description: rule.description }),
    objects: 0,
    bytes: 0,
    deletes: 0,
    examples: [],
    later: { objects: 0, bytes: 0, firstAt: null },
    oneOffCost: 0,
    monthlySaving: 0,
  };
  const isGuarded = rule.origin.kind !== 'lifecycle';
  return { planned, isGuarded, deletedBytes: 0, firstAt: undefined, flows: new Map() };
}

function addMoney(planned: PlannedRule, flows: Iterable<Flow>, cost: CostModel): void {
  for (const { from, to, objects, bytes, earlyCost } of flows) {
    const before = cost.storage(from, bytes, objects);
    const after = to === undefined ? 0 : cost.storage(to, bytes, objects);
    planned.monthlySaving += before - after;
    planned.oneOffCost += earlyCost;
    if (to === undefined || to === from) continue;
    const count = cost.billedCount(from, bytes, objects);
    const read = cost.retrieve(from, { bytes, count }, 'Standard');
    const egress = cost.crosses(from, to) ? cost.egress(from, bytes) : 0;
    const fees = (read?.bytes ?? 0) + (read?.requests ?? 0) + egress;
    planned.oneOffCost += fees + cost.moveInto(to, bytes, objects);
  }
}

/**
 * Every limit that these totals pass. Values, not errors: the caller says who may go on all the
 * same.
 */
export function checkGuardRails(
  totals: Pick<Plan['totals'], 'deletes' | 'deletedBytes' | 'oneOffCost'>,
  objects: number,
  rails: GuardRails,
): GuardRailBreach[] {
  const breaches: GuardRailBreach[] = [];
  const check = (rail: keyof GuardRails, value: number, message: string): void => {
    const limit = rails[rail];
    if (limit !== undefined && value > limit) breaches.push({ rail, limit, value, message });
  };
  const share = objects === 0 ? 0 : totals.deletes / objects;
  const percent = (part: number): string => `${(part * 100).toFixed(1)} %`;
  check(
    'deletedShareMax',
    share,
    `deletes ${percent(share)} of all objects; the limit is ${percent(rails.deletedShareMax ?? 1)}`,
  );
  check(
    'deletedBytesMax',
    totals.deletedBytes,
    `deletes ${totals.deletedBytes} bytes; the limit is ${rails.deletedBytesMax}`,
  );
  const spent = totals.oneOffCost.toFixed(2);
  check('spendMax', totals.oneOffCost, `costs $${spent} once; the limit is $${rails.spendMax}`);
  return breaches;
}

/** `transition to GLACIER`, `expire` … */
export function describeAction(action: Action): string {
  return 'to' in action ? `${action.kind} to ${action.to}` : action.kind;
}
