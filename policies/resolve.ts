// Several rules may be due for one version: which one acts, and why the others do not. S3's order:
// a permanent delete before a transition before a delete marker, the cheaper class before the
// dearer, the earlier expiry before the later. A late evaluation jumps straight to the coldest due
// class instead of paying for every step. Bytes that a restore brought back are never moved while
// the copy stands: others have archived data again before anyone could read it. What object lock
// keeps is never removed; it may move.

import type { ClassRanks } from './classes.ts';
import type { CompiledRule } from './compiled-rule.ts';
import { floorDay, formatDate } from './base/dates.ts';
import type { Facts, VersionFacts } from './facts.ts';

/** A rule that matches and is due now. */
export interface Candidate {
  compiled: CompiledRule;
  dueAt: number;
}

export interface Lost {
  candidate: Candidate;
  /**
   * beaten: another acts instead. held: it stays due and waits. holds: it keeps others back (a pin,
   * or a promotion that has nothing left to do).
   */
  kind: 'beaten' | 'held' | 'holds';
  reason: string;
  /** held: until when, where that is known. */
  until: number | undefined;
  /** Id of the rule that beats or holds it. */
  by: string | undefined;
}

export interface Resolution {
  winner: Candidate | undefined;
  lost: readonly Lost[];
}

/** `candidates` are all of the group that `facts` belong to, in rule order. */
export function resolve(
  candidates: readonly Candidate[],
  facts: Facts,
  now: number,
  ranks: ClassRanks,
): Resolution {
  const lost: Lost[] = [];
  const beat = (losers: readonly Candidate[], winner: Candidate, reason: string): void => {
    for (const candidate of losers) {
      if (candidate === winner) continue;
      lost.push({ candidate, kind: 'beaten', reason, until: undefined, by: idOf(winner) });
    }
  };
  const expiries = candidates.filter(({ compiled }) => !isMove(compiled) && !isPin(compiled));
  const lock = lockHold(facts, now);
  if (lock !== undefined) {
    for (const candidate of expiries) lost.push({ candidate, kind: 'held', ...lock });
  }
  const expiry = lock === undefined ? best(expiries, earlier) : undefined;
  if (expiry) beat(expiries, expiry, 'an earlier rule removes it');
  const move =
    facts.subject === 'version' ? chooseMove(candidates, facts, { now, ranks, lost }) : undefined;
  if (move === undefined || expiry === undefined) return { winner: move ?? expiry, lost };
  // A promotion in the face of an expiry would pay for what is about to go.
  const first =
    expiryIsFinal(facts) ||
    move.compiled.rule.action.kind === 'promote' ||
    isDaysEarlier(expiry, move)
      ? expiry
      : move;
  const reason =
    first === expiry ? 'an expiry comes before it' : 'a transition comes before a delete marker';
  beat([first === expiry ? move : expiry], first, reason);
  return { winner: first, lost };
}

interface MoveContext {
  now: number;
  ranks: ClassRanks;
  lost: Lost[];
}

/** The one move that is due and not held; the others go to `lost`. */
function chooseMove(
  candidates: readonly Candidate[],
  facts: VersionFacts,
  context: MoveContext,
): Candidate | undefined {
  const { lost, ranks } = context;
  const pins = candidates.filter(({ compiled }) => isPin(compiled));
  for (const pin of pins) lost.push(holding(pin, 'it keeps the version where it is'));
  const moves = candidates.filter(({ compiled }) => isMove(compiled));
  const hold = restoreHold(facts, context.now) ?? pinHold(pins[0]);
  if (hold !== undefined) {
    for (const candidate of moves) lost.push({ candidate, kind: 'held', ...hold });
    return undefined;
  }
  const promotions = moves.filter(({ compiled }) => compiled.rule.action.kind === 'promote');
  const promotion = best(promotions, hottest);
  const choosing = { facts, ranks, lost };
  if (promotion === undefined) return chooseTarget(moves, choosing);
  const by = idOf(promotion);
  const reason = `held as it was read lately, by ${by}`;
  const floor = promotion.compiled.targetRank;
  for (const candidate of moves) {
    if (candidate !== promotion && candidate.compiled.targetRank > floor) {
      lost.push({ candidate, kind: 'held', reason, until: undefined, by });
    }
  }
  if (ranks.rank(facts.storageClass) > floor) {
    const others = moves.filter((move) => move.compiled.targetRank <= floor);
    return chooseTarget([promotion], choosing, others);
  }
  lost.push(holding(promotion, 'the version is as high already'));
  return chooseTarget(
    moves.filter((move) => isTransition(move) && move.compiled.targetRank <= floor),
    choosing,
  );
}

/** The coldest class that is due; where classes are free, that of the transition due last. */
function chooseTarget(
  moves: readonly Candidate[],
  { facts, ranks, lost }: { facts: VersionFacts; ranks: ClassRanks; lost: Lost[] },
  others: readonly Candidate[] = moves,
): Candidate | undefined {
  const winner = best(moves, ranks.isFree ? latest : coldest);
  if (winner === undefined) return undefined;
  const { action } = winner.compiled.rule;
  const reason =
    action.kind === 'promote'
      ? 'a promotion comes before it'
      : ranks.isFree
        ? 'a transition that fell due later decides'
        : 'a colder class, or the same by an earlier rule, is due as well';
  for (const candidate of others) {
    if (candidate === winner) continue;
    lost.push({ candidate, kind: 'beaten', reason, until: undefined, by: idOf(winner) });
  }
  if (!('to' in action) || action.to !== facts.storageClass) return winner;
  lost.push(holding(winner, `the version is in ${action.to} already`));
  return undefined;
}

function holding(candidate: Candidate, reason: string): Lost {
  return { candidate, kind: 'holds', reason, until: undefined, by: undefined };
}

type Hold = Pick<Lost, 'reason' | 'until' | 'by'>;

function restoreHold(facts: VersionFacts, now: number): Hold | undefined {
  const { restore } = facts;
  if (restore?.state === 'pending') {
    return { reason: 'held by a restore in progress', until: undefined, by: undefined };
  }
  if (restore?.expiry === undefined || restore.expiry <= now) return undefined;
  const reason = `held by restore until ${formatDate(restore.expiry)}`;
  return { reason, until: restore.expiry, by: undefined };
}

/** The engine refuses too; here it is what plan and explain foresee. */
function lockHold(facts: Facts, now: number): Hold | undefined {
  if (facts.subject === 'upload') return undefined;
  const { lockedUntil: until, versioning, isNull } = facts;
  if (until === undefined || until <= now) return undefined;
  // A delete marker on top removes nothing, but in the place of a null version.
  if (!expiryIsFinal(facts) && !(versioning === 'suspended' && isNull)) return undefined;
  if (until === Infinity) return { reason: 'held by object lock', until: undefined, by: undefined };
  return { reason: `held by object lock until ${formatDate(until)}`, until, by: undefined };
}

function pinHold(pin: Candidate | undefined): Hold | undefined {
  if (pin === undefined) return undefined;
  return { reason: `held by the pin ${idOf(pin)}`, until: undefined, by: idOf(pin) };
}

const idOf = ({ compiled }: Candidate): string => compiled.rule.id;
const isTransition = ({ compiled }: Candidate): boolean =>
  compiled.rule.action.kind === 'transition';
const isMove = ({ rule }: CompiledRule): boolean =>
  rule.action.kind === 'transition' || rule.action.kind === 'promote';
const isPin = ({ rule }: CompiledRule): boolean => rule.action.kind === 'pin';

/** Whether Expiration removes bytes for good rather than covering them with a delete marker. */
function expiryIsFinal(facts: Facts): boolean {
  return facts.subject === 'upload' || !facts.isCurrent || facts.versioning === 'off';
}

function isDaysEarlier(a: Candidate, b: Candidate): boolean {
  return floorDay(a.dueAt) < floorDay(b.dueAt);
}

type Order = (a: Candidate, b: Candidate) => number;

const earlier: Order = (a, b) => a.dueAt - b.dueAt || a.compiled.order - b.compiled.order;
const coldest: Order = (a, b) => b.compiled.targetRank - a.compiled.targetRank || earlier(a, b);
const latest: Order = (a, b) => b.dueAt - a.dueAt || coldest(a, b);
const hottest: Order = (a, b) => a.compiled.targetRank - b.compiled.targetRank || earlier(a, b);

function best(candidates: readonly Candidate[], order: Order): Candidate | undefined {
  let found: Candidate | undefined;
  for (const candidate of candidates) {
    if (found === undefined || order(candidate, found) < 0) found = candidate;
  }
  return found;
}
