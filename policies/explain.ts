// Why one object is where it is, and what happens to it next. The question users of every tiered
// store ask most, and the one that usually needs a support contract: which rule won, which lost and
// why, what was done last and by which revision, what comes next and on which UTC date, where the
// bytes are, and what they cost a month.

import type { Location } from '../appliance/model/location.ts';
import type { Version } from '../appliance/model/object.ts';
import type { CostModel } from './cost/cost-model.ts';
import { formatInstant } from './base/dates.ts';
import type { Decision, Evaluator, JudgedRule, Upcoming } from './evaluator.ts';
import type { VersionFacts } from './facts.ts';
import { describeAction } from './plan.ts';

export interface ExplainOptions {
  /** Engine ms. */
  now: number;
  /** The version's own record: for its locations and the restored copy. */
  version: Version;
  cost?: CostModel;
}

export interface ExplainedRule {
  id: string;
  action: string;
  /** wins, held, beaten, holds, not-due, no-match. */
  state: string;
  reason: string;
  dueAt: string | null;
}

export interface ExplainedAction {
  rule: string;
  action: string;
  effect: Decision['effect'];
  /** RFC 3339, UTC. */
  at: string;
}

export interface Explanation {
  bucket: string;
  key: string;
  versionId: string;
  isCurrent: boolean;
  sizeBytes: number;
  storageClass: string;
  lastModified: string;
  evaluatedAt: string;
  /** The rule that acts now; null: none is due. */
  rule: ExplainedRule | null;
  /** Every other rule that stands for the bucket, and why it is not the one. */
  lost: ExplainedRule[];
  /** For example `held by restore until 2026-04-01`. */
  held: string | null;
  last: ExplainedLast | null;
  next: ExplainedAction | null;
  location: ExplainedLocation;
  /** null: the tier has no price. */
  costPerMonth: number | null;
  currency: string | null;
  /** Both evaluators agree. False: the rules are stopped until someone looks. */
  confirmed: boolean;
}

export interface ExplainedLast {
  action: string;
  at: string;
  from: string;
  to: string;
  rule: string | null;
  policyRevision: string | null;
  runId: string | null;
}

export interface ExplainedLocation {
  tier: string | null;
  /** One line for people. */
  description: string;
  /** Locations of the version's parts, in order. */
  parts: Location[];
  /** The temporary copy, while there is one. */
  restoredUntil: string | null;
}

/** Also asks json-rules-engine (about half a millisecond). */
export async function explain(
  facts: VersionFacts,
  evaluator: Evaluator,
  options: ExplainOptions,
): Promise<Explanation> {
  const { now, version, cost } = options;
  const judgement = evaluator.judge(facts, now);
  const confirmation = await evaluator.confirm(facts, now);
  const upcoming = evaluator.next(facts, now);
  const rules = judgement.rules.map(explainRule);
  const location = explainLocation(facts, version, now);
  // What was just put straight into a packed class still lies in the hot tier: that is what it
  // costs.
  const tier = location.tier;
  const priced = tier !== null && cost?.knows(tier) === true;
  return {
    bucket: facts.bucket,
    key: facts.key,
    versionId: facts.isNull ? 'null' : facts.versionId,
    isCurrent: facts.isCurrent,
    sizeBytes: facts.sizeBytes,
    storageClass: facts.storageClass,
    lastModified: formatInstant(facts.lastModified),
    evaluatedAt: formatInstant(now),
    rule: rules.find(({ state }) => state === 'wins') ?? null,
    lost: rules.filter(({ state }) => state !== 'wins'),
    held: judgement.held ?? null,
    last: explainLast(facts),
    next: upcoming ? explainNext(upcoming) : null,
    location,
    costPerMonth: priced ? cost.storageOfOne(tier, facts.sizeBytes) : null,
    currency: priced ? cost.currency : null,
    confirmed: confirmation.agrees,
  };
}

function explainRule({ rule, standing }: JudgedRule): ExplainedRule {
  const dueAt = 'dueAt' in standing ? formatInstant(standing.dueAt) : null;
  return {
    id: rule.id,
    action: describeAction(rule.action),
    state: standing.state,
    reason: reasonOf(standing, dueAt),
    dueAt,
  };
}

function reasonOf(standing: JudgedRule['standing'], dueAt: string | null): string {
  if (standing.state === 'wins') return `due since ${dueAt}`;
  if (standing.state === 'not-due') return `not due before ${dueAt}`;
  if (standing.state === 'beaten' && standing.by !== undefined) {
    return `${standing.reason} (${standing.by})`;
  }
  return standing.reason;
}

function explainNext({ decision, at }: Upcoming): ExplainedAction {
  return {
    rule: decision.rule.id,
    action: describeAction(decision.rule.action),
    effect: decision.effect,
    at: formatInstant(at),
  };
}

function explainLast({ last }: VersionFacts): ExplainedLast | null {
  if (last === undefined) return null;
  return {
    action: last.action,
    at: formatInstant(last.at),
    from: last.from,
    to: last.to,
    rule: last.rule ?? null,
    policyRevision: last.policyRevision ?? null,
    runId: last.runId ?? null,
  };
}

function explainLocation(facts: VersionFacts, version: Version, now: number): ExplainedLocation {
  const parts = version.parts.map(({ location }) => location);
  const { restore } = version;
  const live = restore?.state === 'ready' && restore.expiry !== undefined && restore.expiry > now;
  const [first] = parts;
  return {
    tier: first?.tier ?? facts.tier ?? null,
    description: describeLocations(parts, version),
    parts,
    restoredUntil: live ? formatInstant(restore.expiry as number) : null,
  };
}

function describeLocations(parts: readonly Location[], version: Version): string {
  const [first] = parts;
  if (version.deleteMarker) return 'a delete marker: no bytes';
  if (version.partsBlock !== undefined) return `${version.partCount ?? 'many'} parts`;
  if (first === undefined) return 'no bytes: the object is empty';
  const count = parts.length === 1 ? '' : `${parts.length} parts, the first: `;
  return `${count}${describeLocation(first)}`;
}

/** One line: `cold: pack 0193…, bytes 4096 to 8191`. */
export function describeLocation(location: Location): string {
  switch (location.kind) {
    case 'segment':
      return `${location.tier}: segment ${location.segment} of group ${location.group}`;
    case 'shards':
      return (
        `${location.tier}: shard files ${location.id} of group ${location.group}, ` +
        `code ${location.code}`
      );
    case 'remote':
      return `${location.tier}: ${location.name}`;
    case 'pack': {
      const last = location.offset + location.length - 1;
      return `${location.tier}: pack ${location.pack}, bytes ${location.offset} to ${last}`;
    }
  }
}
