// Runs one workload and crashes it everywhere; by hand: SEED=… CASE=… node test/sim/run.ts

import { explore, type Explored, type ExploreOptions } from './explore.ts';
import { removeSpool } from './life.ts';
import { SimTime } from './time.ts';
import { World, type WorldOptions } from './world.ts';
import { DAMAGE } from './damage.ts';
import { LATE_WORKLOADS, lateRelease } from './late-workloads.ts';
import { EMBEDDED } from './embedded-workloads.ts';
import { crashJournal } from './journal.ts';
import { MUTANTS } from './mutants.ts';
import { slowReader, WORKLOADS, type Workload } from './workloads.ts';

/** The last ones are not crashed, but watched for what they throw. */
export const ALL_WORKLOADS: readonly Workload[] = [
  ...WORKLOADS,
  ...EMBEDDED,
  ...LATE_WORKLOADS,
  slowReader,
  lateRelease,
  ...DAMAGE,
];

export async function crash(
  workload: Workload,
  seed: number,
  more: WorldOptions & Partial<ExploreOptions> = {},
): Promise<Explored & { events: number }> {
  const time = new SimTime();
  const restore = time.install();
  try {
    const { choices, recoverEvery, only, ...options } = more;
    const world = new World(seed, time, { ...workload.options, ...options });
    await workload.run(world);
    const explored = await explore(world, workload.name, {
      choices: choices ?? workload.choices,
      recoverEvery: recoverEvery ?? workload.recoverEvery,
      ...(only === undefined ? {} : { only }),
      ...(workload.afterwards === undefined ? {} : { afterwards: workload.afterwards }),
      ...(workload.watch === undefined ? {} : { watch: workload.watch }),
    });
    return { ...explored, events: world.scheduler.events.length };
  } finally {
    restore();
  }
}

/** Exit codes of a child that runs a mutant. */
export const CAUGHT = 7;
export const SURVIVED = 0;

const asError = (thrown: unknown): Error =>
  thrown instanceof Error ? thrown : new Error(String(thrown));

/** Crashed under some seeds; before that only run, under more: what that shows it shows sooner. */
async function runMutant(name: string): Promise<number> {
  const living = await tryMutant(name, 12, { only: 'none' });
  return living === CAUGHT ? living : await tryMutant(name, 3, {});
}

async function tryMutant(
  name: string,
  seeds: number,
  how: Partial<ExploreOptions>,
): Promise<number> {
  const mutant = MUTANTS.find((one) => one.name === name);
  if (mutant === undefined) throw new Error(`no mutant ${name}`);
  for (let seed = 1; seed <= seeds; seed += 1) {
    if (mutant.workloads.includes('journal') && how.only === undefined) {
      const found = await crashJournal(seed, { choices: 6, deepEvery: 6 }).catch(asError);
      if (found instanceof Error) {
        console.log(`${name}: caught in journal, seed ${seed}: ${found.message}`);
        return CAUGHT;
      }
    }
    for (const workload of ALL_WORKLOADS) {
      if (!mutant.workloads.includes(workload.name)) continue;
      // Only a crash shows what was visible and not journaled.
      if (workload.options?.embedded === true && how.only !== undefined) continue;
      const choices = Math.min(12, workload.choices);
      const more = { ...mutant.lies, ...how, choices, recoverEvery: 8 };
      const error = await crash(workload, seed, more).catch(asError);
      if (!(error instanceof Error)) continue;
      console.log(`${name}: caught in ${workload.name}, seed ${seed}: ${error.message}`);
      return CAUGHT;
    }
  }
  return SURVIVED;
}

async function runByHand(): Promise<void> {
  const [name, p, choice] = (process.env['CASE'] ?? '').split(':');
  const seed = Number(process.env['SEED'] ?? 1);
  for (const workload of ALL_WORKLOADS) {
    if (name !== undefined && name !== '' && workload.name !== name) continue;
    const begun = Date.now();
    const done = await crash(workload, seed, p === undefined ? {} : { only: `${p}:${choice}` });
    console.log(
      `${workload.name}: ${done.states} states of ${done.events} events, ${done.recovered} recovered, ` +
        `${done.points.size} points, ${Date.now() - begun} ms`,
    );
  }
}

if (import.meta.main) {
  const mutant = process.env['MUTANT'];
  if (mutant === undefined) await runByHand();
  else process.exitCode = await runMutant(mutant);
  removeSpool();
}
