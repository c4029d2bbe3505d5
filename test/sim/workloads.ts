// What is crashed: small worlds, each doing one thing that may go wrong in many ways.

import type { World, WorldOptions } from './world.ts';

export interface Workload {
  name: string;
  choices: number;
  recoverEvery: number;
  options?: WorldOptions;
  run(world: World): Promise<void>;
}

const KiB = 1024;

export const WORKLOADS: Workload[] = [
  {
    name: 'put-small',
    choices: 40,
    recoverEvery: 40,
    async run(world) {
      await world.found();
      world.record();
      await world.phase('put-small', async () => {
        await world.put('a', 700);
        await Promise.all([world.put('b', 0), world.put('c', 3000), world.put('d', 120)]);
        await world.put('e', 4000);
      });
      await world.phase('overwrite', async () => {
        await Promise.all([world.put('a', 900), world.put('c', 10)]);
      });
      await world.phase('delete', async () => {
        await world.remove('b');
        await world.remove('a');
        await world.put('a', 33);
      });
    },
  },
  {
    name: 'put-large',
    choices: 30,
    recoverEvery: 40,
    async run(world) {
      await world.found();
      world.record();
      await world.phase('put-large', async () => {
        await world.put('a', 9 * KiB);
        await Promise.all([world.put('b', 20 * KiB), world.put('c', 5 * KiB)]);
      });
      await world.phase('overwrite-large', async () => {
        await world.put('a', 6 * KiB);
        await world.remove('b');
      });
    },
  },
];
