// The tests of some workloads: each is crashed at every step under fresh seeds, which are printed;
// together they must have seen enough states and named points, or they prove less than they say.

import type { TestFn } from 'ava';
import { removeSpool } from './life.ts';
import { ALL_WORKLOADS, crash } from './run.ts';

export interface CrashTests {
  workloads: string[];
  /** Schedules a workload. */
  seeds: number;
  /** Crash states and named points that all of them together must have seen. */
  statesMin: number;
  pointsMin: number;
}

const MINUTES = 10;

export function crashTests(test: TestFn, wanted: CrashTests): void {
  const chosen = process.env['SEED'];
  const first = Number(chosen ?? Math.floor(Math.random() * 1e6));
  console.log(`SEED=${first}`);
  const points = new Set<string>();
  let states = 0;
  for (const name of wanted.workloads) {
    const workload = ALL_WORKLOADS.find((one) => one.name === name);
    if (workload === undefined) throw new Error(`no workload ${name}`);
    test.serial(`${name}: nothing acknowledged is lost, whatever a crash leaves`, async (t) => {
      t.timeout(MINUTES * 60_000);
      for (let seed = first; seed < first + wanted.seeds; seed += 1) {
        const done = await crash(workload, seed);
        states += done.states;
        for (const point of done.points) points.add(point);
        t.log(
          `seed ${seed}: ${done.states} states of ${done.events} events, ` +
            `${done.recovered} recovered, ${done.points.size} points`,
        );
      }
      t.pass();
    });
  }
  test.serial('enough was crashed', (t) => {
    t.log(`${states} crash states, ${points.size} named points, 0 lost`);
    for (const line of byPhase(points)) t.log(line);
    t.true(states >= wanted.statesMin, `${states} states`);
    t.true(points.size >= wanted.pointsMin, `${points.size} points`);
  });
  test.after.always(() => removeSpool());
}

/** 'put-small: segment-write 6, segment-sync 6': a step of so many lanes, drives or tables. */
function byPhase(points: ReadonlySet<string>): string[] {
  const phases = Map.groupBy([...points].toSorted(), (point) => point.split('/', 1)[0]);
  return [...phases].map(([phase, all]) => {
    const steps = Map.groupBy(all, (point) => point.split('/')[1]);
    return `${phase}: ${[...steps].map(([step, { length }]) => `${step} ${length}`).join(', ')}`;
  });
}
