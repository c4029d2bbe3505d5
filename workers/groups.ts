// Empties node groups that drain, and evens out their fill when asked to: pass after pass over all
// that names bytes, by the one move protocol, in batches with rests between. How far it is stands
// in a checkpoint, so a restart goes on where it was. A group counts as empty only when its drives
// hold no file of an object and a whole pass that began after that found nothing that names it:
// then it may leave the settings, and what is in it could never be read again.

import type { Core } from '../appliance/engine/document/core.ts';
import { compactSegment } from '../appliance/engine/upkeep/compact.ts';
import { evacuatePage, type Evacuation } from '../appliance/engine/upkeep/evacuate.ts';
import {
  followGroups,
  groupsRow,
  markEmpty,
  setRebalance,
} from '../appliance/engine/upkeep/groups.ts';
import { bucketNames } from '../appliance/engine/document/inventory.ts';
import { isFirnError } from '../appliance/model/errors.ts';
import {
  groupWorkId,
  type GroupsRow,
  type GroupWork,
  type InGroup,
} from '../appliance/model/groups.ts';
import type { Row } from '../appliance/model/metadata-store.ts';
import type { NodeGroupTier } from '../appliance/model/node-group.ts';
import type { Garbage } from '../appliance/model/records.ts';
import { readCheckpoint, saveCheckpoint } from './base/checkpoints.ts';
import type { Turn, Worker, WorkerLog } from './base/worker.ts';

const PAGE_ROWS = 1000;
/** Every process has heard of a drain by then, or has been ended for its silence. */
const HEARD_MS = 5_000;
const WAIT_MS_MIN = 1_000;
const WAIT_MS_MAX = 600_000;
/** After drives without room or away. */
const AGAIN_MS = 15_000;

interface Task {
  key: string;
  kind: 'drain' | 'rebalance';
  /** Group → bytes that may leave. */
  sources: Map<number, number>;
  avoidGroups?: ReadonlySet<number>;
  rebalance?: string;
}

/** What is to be done with a tier's groups now. A drain goes before a rebalance. */
function taskOf(tier: NodeGroupTier, row: GroupsRow): Task | undefined {
  const here = new Set(tier.groups());
  const drains = row.groups.filter(
    ({ group, state, emptyAt }) => state === 'draining' && emptyAt === undefined && here.has(group),
  );
  if (drains.length > 0) {
    const sources = new Map(drains.map(({ group }) => [group, Infinity]));
    const names = drains.map(({ group, drainingSince }) => `${group}@${drainingSince}`);
    return { key: `drain:${names.join()}`, kind: 'drain', sources };
  }
  const { rebalance } = row;
  if (rebalance?.state !== 'running') return undefined;
  const takes = new Set(rebalance.take);
  return {
    key: `rebalance:${rebalance.id}`,
    kind: 'rebalance',
    sources: new Map(rebalance.plan.map(({ group, bytes }) => [group, bytes])),
    avoidGroups: new Set(tier.groups().filter((group) => !takes.has(group))),
    rebalance: rebalance.id,
  };
}

function newWork(task: Task, now: number): GroupWork {
  const isDrain = task.kind === 'drain';
  const planned = [...task.sources].map(([group, bytes]) => [group, { objects: 0, bytes }]);
  return {
    task: task.key,
    phase: isDrain ? 'counting' : 'moving',
    counted: isDrain ? {} : (Object.fromEntries(planned) as Record<string, InGroup>),
    moved: {},
    found: {},
    left: {},
    clean: [],
    failed: 0,
    problems: [],
    movingSince: now,
    notBefore: 0,
  };
}

function addTo(to: Record<string, InGroup>, more: ReadonlyMap<number, InGroup>): void {
  for (const [group, { objects, bytes }] of more) {
    const old = to[group] ?? { objects: 0, bytes: 0 };
    to[group] = { objects: old.objects + objects, bytes: old.bytes + bytes };
  }
}

interface Run {
  tier: NodeGroupTier;
  task: Task;
  work: GroupWork;
  cursor: string;
  turn: Turn;
  names: ReadonlyMap<string, string>;
  /** Moved when this pass began: one that moves nothing more is not repeated at once. */
  movedBefore: number;
}

const objectsIn = (of: Record<string, InGroup>): number =>
  Object.values(of).reduce((total, { objects }) => total + objects, 0);

export class GroupsWorker implements Worker {
  readonly name = 'groups';
  readonly tranquility = 1;
  readonly #core: Core;
  readonly #tiers: readonly NodeGroupTier[];
  readonly #log: WorkerLog;

  constructor(core: Core, tiers: readonly NodeGroupTier[], log: WorkerLog) {
    this.#core = core;
    this.#tiers = tiers;
    this.#log = log;
  }

  leaseName(): string {
    return 'groups';
  }

  async isNeeded(): Promise<boolean> {
    const { store, clock } = this.#core.context;
    for (const tier of this.#tiers) {
      const task = taskOf(tier, await groupsRow(store, tier.name));
      if (task === undefined) continue;
      const work = await this.#work(tier, task);
      if (work.work.phase !== 'done' && work.work.notBefore <= clock.now()) return true;
    }
    return false;
  }

  async run(turn: Turn): Promise<void> {
    for (const tier of this.#tiers) {
      const task = taskOf(tier, await followGroups(this.#core.context, tier));
      if (task === undefined) continue;
      const { work, cursor } = await this.#work(tier, task);
      if (work.phase === 'done' || work.notBefore > this.#core.context.clock.now()) continue;
      const names = await bucketNames(this.#core.context.store);
      const movedBefore = objectsIn(work.moved);
      await this.#tier({ tier, task, work, cursor, turn, names, movedBefore });
    }
  }

  async #work(tier: NodeGroupTier, task: Task): Promise<{ work: GroupWork; cursor: string }> {
    const { store, clock } = this.#core.context;
    const row = await readCheckpoint(store, groupWorkId(tier.name));
    const work = row?.data as GroupWork | undefined;
    if (row !== undefined && work?.task === task.key) return { work, cursor: row.cursor };
    return { work: newWork(task, clock.now()), cursor: '' };
  }

  async #save(run: Run): Promise<void> {
    const { store, clock } = this.#core.context;
    const data: Record<string, unknown> = { ...run.work };
    const { cursor } = run;
    await saveCheckpoint(store, groupWorkId(run.tier.name), { at: clock.now(), cursor, data });
    const sums = Object.values(run.work.moved);
    const moved = sums.reduce((sum, { objects }) => sum + objects, 0);
    const movedBytes = sums.reduce((sum, { bytes }) => sum + bytes, 0);
    run.turn.report({ moved, movedBytes });
  }

  /** Passes until nothing is left to be done now. */
  async #tier(run: Run): Promise<void> {
    try {
      for (;;) {
        // In the middle of a pass it goes on with that: what was clean is that of its beginning.
        const isSettling = run.work.phase === 'settling' && run.cursor === '';
        if (isSettling && !(await this.#settle(run))) return;
        if (!(await this.#pass(run))) return;
        if ((run.work.phase as string) === 'done') return;
      }
    } catch (error) {
      if (!isFirnError(error)) throw error;
      if (error.code !== 'InsufficientCapacity' && error.code !== 'DriveUnavailable') throw error;
      this.#log('warn', `groups of ${run.tier.name} rest: ${error.message}`);
      run.work.problems = [`${error.subject ?? run.tier.name}: ${error.code}`];
      await this.#wait(run, AGAIN_MS);
    }
  }

  async #wait(run: Run, ms: number): Promise<void> {
    run.work.notBefore = this.#core.context.clock.now() + ms;
    await this.#save(run);
  }

  /** Long enough for some of a grace to pass. */
  get #waitMs(): number {
    const { graceMs } = this.#core.context;
    return Math.min(WAIT_MS_MAX, Math.max(WAIT_MS_MIN, graceMs / 20));
  }

  /** From the cursor to the end. False: the work rests, or is no longer asked for. */
  async #pass(run: Run): Promise<boolean> {
    const { turn, tier, task, work, names } = run;
    const { lease, signal } = turn;
    for (;;) {
      const now = await followGroups(this.#core.context, tier);
      if (taskOf(tier, now)?.key !== task.key) return false;
      const page = await evacuatePage(this.#core, this.#evacuation(run), run.cursor, {
        lease,
        signal,
        names,
        between: () => turn.rest(),
      });
      addTo(work.found, page.found);
      addTo(work.moved, page.moved);
      work.failed += page.failed;
      work.problems.push(...page.problems.slice(0, Math.max(0, 20 - work.problems.length)));
      run.cursor = page.next ?? '';
      if (page.next === undefined) break;
      await this.#save(run);
      await turn.rest();
    }
    return this.#passEnded(run);
  }

  #evacuation({ tier, task, work }: Run): Evacuation {
    const left = [...task.sources].map(([group, bytes]): [number, number] => [
      group,
      bytes - (work.moved[group]?.bytes ?? 0),
    ]);
    const { avoidGroups } = task;
    return {
      tier: tier.name,
      sources: new Map(left),
      counts: work.phase === 'counting',
      ...(avoidGroups === undefined ? {} : { avoidGroups }),
    };
  }

  async #passEnded(run: Run): Promise<boolean> {
    const { work, task } = run;
    const { clock } = this.#core.context;
    if (task.rebalance !== undefined) {
      work.phase = 'done';
      await this.#save(run);
      await setRebalance(this.#core.context, run.tier.name, 'done', task.rebalance);
      return false;
    }
    work.left = work.found;
    work.found = {};
    if (work.phase === 'counting') {
      work.counted = work.left;
      work.phase = 'moving';
      work.movingSince = clock.now();
      await this.#save(run);
      return true;
    }
    await this.#markClean(run);
    const isLeft = objectsIn(work.left) > 0 || work.failed > 0;
    if (work.phase !== 'done') work.phase = isLeft ? 'moving' : 'settling';
    const moved = objectsIn(work.moved);
    // What it found can't be moved now: lost to other writers, unreadable, of a completing upload.
    const isStuck = isLeft && moved === run.movedBefore;
    run.movedBefore = moved;
    work.failed = 0;
    if (isStuck) {
      await this.#wait(run, this.#waitMs);
      return false;
    }
    await this.#save(run);
    work.problems = [];
    return true;
  }

  /** Calls those groups empty that were clean when the pass began, still are, and named by nobody. */
  async #markClean({ tier, task, work }: Run): Promise<void> {
    const { context } = this.#core;
    const row = await groupsRow(context.store, tier.name);
    let isDone = true;
    for (const group of task.sources.keys()) {
      const entry = row.groups.find((one) => one.group === group);
      const wasClean = work.clean.includes(group) && (work.left[group]?.objects ?? 0) === 0;
      const isSure = wasClean && work.failed === 0;
      if (entry === undefined || !isSure || !(await this.#isClean(tier, group))) {
        isDone = false;
        continue;
      }
      await markEmpty(context, tier.name, entry);
      this.#log('info', `group ${group} of ${tier.name} is empty and may leave the settings`);
    }
    work.clean = [];
    if (isDone) work.phase = 'done';
  }

  async #isClean(tier: NodeGroupTier, group: number): Promise<boolean> {
    const { segments, shards, temporary, journal } = await tier.contentsOf(group);
    return segments + shards + temporary + journal === 0;
  }

  /** True: another pass may find a group empty, or something to move. */
  async #settle(run: Run): Promise<boolean> {
    const { tier, task, work } = run;
    const { store, clock } = this.#core.context;
    const row = await groupsRow(store, tier.name);
    const waiting = await this.#waitingIn(run);
    let isClean = false;
    let isLeft = false;
    for (const group of task.sources.keys()) {
      const since = row.groups.find((one) => one.group === group)?.drainingSince ?? Infinity;
      if (clock.now() - since < HEARD_MS || waiting.has(group)) continue;
      await this.#freeSegments(run, group);
      if (!(await this.#isClean(tier, group))) {
        isLeft = true;
        continue;
      }
      work.clean.push(group);
      isClean = true;
    }
    if (isClean) return true;
    // Nothing in it waits to be freed, and still it holds something: perhaps a writer that had not
    // heard of the drain yet named it behind the walk. So it is walked again.
    if (isLeft) work.phase = 'moving';
    await this.#wait(run, this.#waitMs);
    return false;
  }

  /** Groups in which candidates still have their grace. */
  async #waitingIn({ tier, task, turn }: Run): Promise<Set<number>> {
    const waiting = new Set<number>();
    let after: string | undefined;
    for (;;) {
      const rows: Row<Garbage>[] = await this.#core.context.store.range<Garbage>({
        table: 'garbage',
        limit: PAGE_ROWS,
        ...(after === undefined ? {} : { after }),
      });
      for (const { value } of rows) {
        const { location } = value;
        const isOurs = location?.kind === 'segment' || location?.kind === 'shards';
        if (!isOurs || location.tier !== tier.name) continue;
        if (task.sources.has(location.group)) waiting.add(location.group);
      }
      if (rows.length < PAGE_ROWS) return waiting;
      after = rows.at(-1)?.id;
      await turn.rest();
    }
  }

  /** Whole segments, once every record in them is dead; one that lives is moved out. */
  async #freeSegments(run: Run, group: number): Promise<void> {
    const { tier, turn, names } = run;
    const { lease, signal } = turn;
    for await (const info of tier.segments()) {
      if (info.group !== group || !info.settled) continue;
      await compactSegment(this.#core, { tier, info }, { lease, signal, names, kind: 'rebalance' });
      await turn.rest();
    }
  }
}
