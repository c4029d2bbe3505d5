// Each safeguard is taken out once, and a simulated run must notice: a test of the tests.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import test from 'ava';
import { MUTANTS } from './mutants.ts';
import { CAUGHT, crash, ALL_WORKLOADS } from './run.ts';

const CHILDREN_MAX = 2;
const root = join(import.meta.dirname, '../..');

async function run(mutant: string): Promise<{ code: number; text: string }> {
  const hook = join(import.meta.dirname, 'mutate.ts');
  const child = spawn(process.execPath, ['--import', hook, 'test/sim/run.ts'], {
    cwd: root,
    env: { ...process.env, MUTANT: mutant, NODE_V8_COVERAGE: '' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (some: string) => (text += some));
  }
  const [code] = (await once(child, 'close')) as [number];
  return { code, text };
}

test('every mutant is caught', async (t) => {
  t.timeout(15 * 60_000);
  const waiting = [...MUTANTS];
  const survived: string[] = [];
  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const { code, text } = await run(next.name);
      if (code === CAUGHT) t.log(text.split('\n', 1)[0] ?? '');
      else survived.push(`${next.name}: ${code} ${text}`);
    }
  };
  await Promise.all(Array.from({ length: CHILDREN_MAX }, work));
  t.deepEqual(survived, []);
  t.true(MUTANTS.length >= 16);
});

for (const name of ['rot', 'misdirected', 'strangers', 'slow-reader', 'late-release']) {
  const workload = ALL_WORKLOADS.find((one) => one.name === name);
  test.serial(`${name}: bytes may be refused, and are never wrong`, async (t) => {
    t.timeout(5 * 60_000);
    if (workload === undefined) return t.fail();
    await crash(workload, Number(process.env['SEED'] ?? Math.floor(Math.random() * 1e6)));
    t.pass();
  });
}

test.serial(
  'a cloud that keeps other bytes than it was sent costs nothing but the move',
  async (t) => {
    t.timeout(5 * 60_000);
    const workload = ALL_WORKLOADS.find((one) => one.name === 'transition');
    if (workload === undefined) return t.fail();
    await crash(workload, 3, { cloudLies: { damages: true } });
    t.pass();
  },
);
