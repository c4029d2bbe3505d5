// Crashes a recorded world at every position and in many ways, starts it again on what is left, and
// holds what it then shows to the model.

import { bearsLoss, conditionsHeld, deficitsAreListed } from './checks.ts';
import { checkRecovery } from './recovery.ts';
import { BUCKET } from './life.ts';
import type { Life, Remains } from './life.ts';
import type { Effect } from './model.ts';
import { mixed, Seeded } from './random.ts';
import { thawed } from './drive.ts';
import type { CrashKind } from './replay.ts';
import type { World, WorldReplay } from './world.ts';

export interface ExploreOptions {
  /** States tried a position at which something is pending. */
  choices: number;
  /** Of so many states one is also healed, scrubbed, resumed, swept and collected. */
  recoverEvery: number;
  /** Only this one: `position:choice`. */
  only?: string;
  /** What a client does then: of the states that are recovered. */
  afterwards?: (life: Life, world: World, p: number) => Promise<void>;
  /** Of every state. */
  watch?: (life: Life, world: World, p: number) => Promise<void>;
}

export interface Explored {
  states: number;
  recovered: number;
  points: Set<string>;
}

/** What was promised and did not hold. */
export class Violation extends Error {
  constructor(what: string, where: string) {
    super(`${what}\n  again: ${where}`);
    this.name = 'Violation';
  }
}

/** Events back from a crash in which a key must have been touched to be read again at once. */
const RECENT = 40;

const kindOf = (choice: number): CrashKind =>
  choice === 0 ? 'kill' : choice === 1 ? 'lost' : choice % 4 === 2 ? 'kill' : 'torn';

export async function explore(
  world: World,
  name: string,
  options: ExploreOptions,
): Promise<Explored> {
  await checkLiving(world, `SEED=${world.seed} CASE=${name}`);
  const replay = world.replay();
  const { events } = world.scheduler;
  world.scheduler.recording = false;
  const explored: Explored = { states: 0, recovered: 0, points: new Set() };
  const [onlyPosition, onlyChoice] = (options.only ?? '').split(':');
  for (let p = 1; p <= events.length; p += 1) {
    const { step } = events[p - 1] as (typeof events)[number];
    const isMark = step.begin === step.end;
    replay.advance(p);
    if (p <= world.from) continue;
    if (isMark && step.name.includes('/asked/')) continue;
    if (!isMark) explored.points.add(step.name);
    if (options.only !== undefined && p !== Number(onlyPosition)) continue;
    const seen = new Set<number>();
    const choices = replay.settled ? 1 : options.choices;
    for (let choice = 0; choice < choices; choice += 1) {
      if (options.only !== undefined && choice !== Number(onlyChoice)) continue;
      const draw = new Seeded(mixed(world.seed, p, choice));
      const { remains, print } = replay.state(kindOf(choice), draw, p);
      if (seen.has(print)) continue;
      seen.add(print);
      explored.states += 1;
      const where = `SEED=${world.seed} CASE=${name}:${p}:${choice} (${step.name})`;
      const isDue = explored.states % options.recoverEvery === 0;
      const deep = options.only !== undefined || isDue || (isMark && choice === 1);
      const { afterwards, watch } = options;
      await checkState(world, replay, { remains, p, where, deep, afterwards, watch });
      if (deep) explored.recovered += 1;
    }
  }
  return explored;
}

/** The world as it ended, before any crash. */
async function checkLiving(world: World, where: string): Promise<void> {
  const { model, life, scheduler } = world;
  scheduler.recording = false;
  const isWell = life.drives.every(({ faults, gone }) => faults.length === 0 && !gone);
  try {
    conditionsHeld(model);
    for (const key of isWell ? model.keys : []) {
      await checkKey(life, world, { key, p: scheduler.position });
    }
  } catch (error) {
    throw new Violation(error instanceof Error ? error.message : String(error), where);
  }
}

interface State {
  remains: Remains;
  p: number;
  where: string;
  deep: boolean;
  afterwards: ExploreOptions['afterwards'];
  watch: ExploreOptions['watch'];
}

async function checkState(world: World, replay: WorldReplay, state: State): Promise<void> {
  const { p, where, deep, afterwards, watch } = state;
  const { model } = world;
  const remains: Remains =
    deep || world.options.embedded === true
      ? { ...state.remains, images: state.remains.images.map(thawed) }
      : state.remains;
  const life = replay.lifeOf(remains);
  try {
    await life.start('worker');
    await watch?.(life, world, p);
    const { keys } = model;
    const rotating = keys[p % Math.max(1, keys.length)];
    const found = new Map<string, Effect>();
    for (const key of keys) {
      const isRecent = model.touchedAt(key, p) >= p - RECENT;
      if (!deep && !isRecent && key !== rotating) continue;
      found.set(key, await checkKey(life, world, { key, p }));
    }
    if (deep) {
      await checkListing(life, found);
      await deficitsAreListed(life);
      await bearsOne(world, replay, { state, found });
      await afterwards?.(life, world, p);
      for (const key of keys) found.set(key, await life.read(key));
      await checkRecovery(life, world, { found, p });
    }
  } catch (error) {
    throw new Violation(
      error instanceof Error ? (error.stack ?? error.message) : String(error),
      where,
    );
  } finally {
    world.time.forgetAll();
  }
}

/** I1: acknowledged means that one more drive may go. */
async function bearsOne(
  world: World,
  replay: WorldReplay,
  of: { state: State; found: ReadonlyMap<string, Effect> },
): Promise<void> {
  const { remains, p } = of.state;
  const acked = [...of.found].filter(
    ([key, effect]) => effect !== 'absent' && world.model.isAcked(key, p, effect),
  );
  // A group that is only half founded needs all its drives.
  if (acked.length === 0 || world.options.isHurt === true) return;
  // Just answered: whichever drive it is. Later one of them.
  const isAnswer = of.state.where.includes('/answered/');
  const any = new Seeded(mixed(world.seed, p, 77)).below(remains.images.length);
  for (const position of remains.images.keys()) {
    if (!isAnswer && position !== any) continue;
    const own = { ...remains, images: remains.images.map(thawed) };
    await bearsLoss(replay.lifeOf(own), new Map(acked), [position]);
  }
}

/** I1, I2, I3, I5: what a read finds is what may be there. */
export async function checkKey(
  life: Life,
  world: World,
  { key, p }: { key: string; p: number },
): Promise<Effect> {
  const found = await life.read(key);
  if (world.model.allows(key, p, found)) return found;
  const allowed = world.model.allowed(key, p);
  const text = (one: Effect): string =>
    one === 'absent' ? one : `${one.bytes.length} B ${one.etag}`;
  throw new Error(`${key} is ${text(found)}, may be: ${allowed.map(text).join(', ')}`);
}

/** I4: the listing equals the truth of each key. */
export async function checkListing(life: Life, found: ReadonlyMap<string, Effect>): Promise<void> {
  const listed = await life.keys();
  const there = [...found].filter(([, effect]) => effect !== 'absent').map(([key]) => key);
  if (listed.toSorted().join() === there.toSorted().join()) return;
  throw new Error(`${BUCKET} lists ${listed.join()}, reads find ${there.join()}`);
}
