// Runs one workload and crashes it everywhere; by hand: SEED=… CASE=… node test/sim/run.ts

import { explore, type Explored, type ExploreOptions } from './explore.ts';
import { removeSpool } from './life.ts';
import { SimTime } from './time.ts';
import { World, type WorldOptions } from './world.ts';
import { WORKLOADS, type Workload } from './workloads.ts';

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
    });
    return { ...explored, events: world.scheduler.events.length };
  } finally {
    restore();
  }
}

if (import.meta.main) {
  const [name, p, choice] = (process.env['CASE'] ?? '').split(':');
  const seed = Number(process.env['SEED'] ?? 1);
  for (const workload of WORKLOADS) {
    if (name !== undefined && name !== '' && workload.name !== name) continue;
    const begun = Date.now();
    const done = await crash(workload, seed, p === undefined ? {} : { only: `${p}:${choice}` });
    console.log(
      `${workload.name}: ${done.states} states of ${done.events} events, ${done.recovered} recovered, ` +
        `${done.points.size} points, ${Date.now() - begun} ms`,
    );
  }
  removeSpool();
}
