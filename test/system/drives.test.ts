// Drives that go away, come back empty, and fill up under a serving appliance. What a user would lose:
// bytes when two of six drives are gone, a write that is acknowledged and nowhere, redundancy that looks
// healed and isn't, and a store that can't even delete once it is full.

import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { adminCall } from '../admin-fetch.ts';
import { runFirn, startFirn } from '../firn-process.ts';
import type { RunningFirn } from '../firn-process.ts';
import { errorCode, s3Call } from '../s3-fetch.ts';
import type { S3Answer } from '../s3-fetch.ts';

const KiB = 1024;
const MiB = 1024 * KiB;
const AT_ONCE = 8;

/** On both sides of the small limit, and of one stripe. */
const sizes = [0, 1, 100, 4096, 4096, 30_000, 262_144, 262_145, 700_000, 4 * MiB + 5];

class Drives {
  firn: RunningFirn;
  readonly stored = new Map<string, Buffer>();

  constructor(firn: RunningFirn) {
    this.firn = firn;
  }

  s3(method: string, key: string, body?: Buffer): Promise<S3Answer> {
    const path = key === '' ? '/drives' : `/drives/${key}`;
    return s3Call(this.firn, { method, path, ...(body === undefined ? {} : { body }) });
  }

  async put(key: string, body: Buffer): Promise<number> {
    const answer = await this.s3('PUT', key, body);
    if (answer.status === 200) this.stored.set(key, body);
    return answer.status;
  }

  /** Statuses other than 200 of PUTs of every size. */
  async putAll(prefix: string, rounds: number): Promise<number[]> {
    const refused: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const statuses = await Promise.all(
        sizes.map((size, index) => this.put(`${prefix}/${round}-${index}`, randomBytes(size))),
      );
      refused.push(...statuses.filter((status) => status !== 200));
    }
    return refused;
  }

  /** What does not come back byte for byte. */
  async differences(): Promise<string[]> {
    const found: string[] = [];
    const all = [...this.stored];
    for (let at = 0; at < all.length; at += AT_ONCE) {
      await Promise.all(
        all.slice(at, at + AT_ONCE).map(async ([key, expected]) => {
          const answer = await this.s3('GET', key);
          if (answer.status !== 200) found.push(`${key}: ${answer.status} ${errorCode(answer)}`);
          else if (!answer.body.equals(expected)) found.push(`${key}: other bytes`);
        }),
      );
    }
    return found;
  }

  drive(position: number): string {
    return join(this.firn.directory, 'data', 'hot', `drive-${position}`);
  }

  async json<Answer>(...args: string[]): Promise<Answer> {
    const config = join(this.firn.directory, 'firn.yaml');
    const ended = await runFirn([...args, '--json', '--config', config]);
    if (ended.code !== 0) throw new Error(`${args.join(' ')}: ${ended.stderr}${ended.stdout}`);
    return JSON.parse(ended.stdout) as Answer;
  }

  /** States of the hot drives by position. */
  async states(): Promise<string[]> {
    const { drives } = await adminCall<{ drives: { tier: string; state: string }[] }>(
      this.firn,
      'GET',
      '/drives',
    );
    return drives.filter(({ tier }) => tier === 'hot').map(({ state }) => state);
  }

  async untilStates(expected: string[], timeoutMs: number): Promise<string[]> {
    const end = Date.now() + timeoutMs;
    for (;;) {
      const states = await this.states();
      if (states.join() === expected.join() || Date.now() > end) return states;
      await sleep(250);
    }
  }
}

const sha = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');

/** Checksum of every file below, by path. */
function prints(folder: string): Map<string, string> {
  if (!existsSync(folder)) return new Map();
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile())
    .map((one) => join(one.parentPath, one.name));
  return new Map(files.map((path) => [path.slice(folder.length), sha(path)]));
}

// Both wait more than they work, so they run side by side.
test('two of six drives gone, refilled, and two others gone: every byte is read, every write goes on', async (t) => {
  const one = new Drives(await startFirn());
  const all = (state: string): string[] => Array.from({ length: 6 }, () => state);
  try {
    t.is((await one.s3('PUT', '')).status, 200);
    t.deepEqual(await one.putAll('before', 5), []);

    renameSync(one.drive(1), `${one.drive(1)}.gone`);
    renameSync(one.drive(4), `${one.drive(4)}.gone`);
    t.deepEqual(await one.putAll('at-once', 2), [], 'writes go on from the first moment');
    t.deepEqual(await one.differences(), [], 'with two drives gone');
    const down = ['up', 'missing', 'up', 'up', 'missing', 'up'];
    t.deepEqual(await one.untilStates(down, 60_000), down);
    t.false(existsSync(one.drive(1)), 'what is gone is not made anew behind its back');
    t.deepEqual(await one.putAll('without', 3), []);
    t.deepEqual(await one.differences(), []);

    mkdirSync(one.drive(1));
    mkdirSync(one.drive(4));
    await refilled(t, one, { positions: [1, 4], all: all('up') });
    t.deepEqual(await one.putAll('after', 2), []);

    for (const position of [0, 3]) rmSync(one.drive(position), { recursive: true });
    t.deepEqual(await one.differences(), [], 'the refilled drives carry their share');
    const others = ['missing', 'up', 'up', 'missing', 'up', 'up'];
    t.deepEqual(await one.untilStates(others, 60_000), others);
    t.deepEqual(await one.putAll('others-gone', 2), []);
    t.deepEqual(await one.differences(), []);

    await one.firn.stop();
    one.firn = await one.firn.restart();
    t.deepEqual(await one.differences(), [], 'after a restart without them');
    t.deepEqual(await one.putAll('restarted', 1), []);
    t.deepEqual(await one.differences(), []);
  } finally {
    await one.firn.dispose();
  }
});

/** Waits until the drives are whole again, and compares them with those whose places they took. */
async function refilled(
  t: ExecutionContext,
  one: Drives,
  { positions, all }: { positions: number[]; all: string[] },
): Promise<void> {
  t.deepEqual(await one.untilStates(all, 120_000), all, 'healed');
  const { drives } = await one.json<{ drives: { tier: string; state: string }[] }>('drives');
  t.true(
    drives.every(({ state }) => state === 'up'),
    './firn drives says so too',
  );
  const heal = await one.json<{ waiting: number; drives: unknown[] }>('heal', 'status');
  t.like(heal, { waiting: 0, drives: [] });
  for (const position of positions) {
    const before = prints(join(`${one.drive(position)}.gone`, 'shards'));
    const now = prints(join(one.drive(position), 'shards'));
    t.true(before.size > 5, `${before.size} shard files`);
    for (const [path, sum] of before) t.is(now.get(path), sum, `shard file ${path}`);
    const segments = (drive: string): string[] => readdirSync(join(drive, 'segments')).sort();
    const had = segments(`${one.drive(position)}.gone`);
    const has = segments(one.drive(position));
    t.deepEqual(
      had.filter((name) => !has.includes(name)),
      [],
      'segments',
    );
  }
}

// ── Drives that fill up ───────────────────────────────────────────────────────────────────────────

/** A small file system of its own, or why there is none. */
function mount(path: string, bytes: number): string | undefined {
  try {
    mkdirSync(path, { recursive: true });
    const options = ['-t', 'tmpfs', '-o', `size=${bytes}`, 'firn-test', path];
    execFileSync('mount', options, { stdio: 'pipe' });
    return undefined;
  } catch (error) {
    return (error as Error).message.split('\n').slice(0, 2).join(' ');
  }
}

const probe = mkdtempSync(join(tmpdir(), 'firn-mount-'));
const missing = mount(probe, MiB);
if (missing === undefined) execFileSync('umount', [probe]);
rmSync(probe, { recursive: true, force: true });
if (missing !== undefined) {
  const reason = `no small file systems to fill: ${missing}`;
  if (process.env['CI']) throw new Error(reason);
  process.stderr.write(`skipped, full drives: ${reason}\n`);
}
const withMounts = missing === undefined ? test : test.skip;

const DRIVE_BYTES = 16 * MiB;

withMounts(
  'full drives refuse new bytes by their own error, serve and delete what is there, and take bytes again',
  async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'firn-full-'));
    const paths = Array.from({ length: 6 }, (_, i) => join(directory, 'data', 'hot', `drive-${i}`));
    const mounted: string[] = [];
    let one: Drives | undefined;
    try {
      for (const path of paths) {
        t.is(mount(path, DRIVE_BYTES), undefined);
        mounted.push(path);
      }
      one = new Drives(
        await startFirn({ directory, settings: { processes: 1, debug: { sandboxClock: true } } }),
      );
      await fill(t, one);
    } finally {
      await one?.firn.kill();
      for (const path of mounted) execFileSync('umount', ['-l', path]);
      rmSync(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    }
  },
);

async function fill(t: ExecutionContext, one: Drives): Promise<void> {
  t.is((await one.s3('PUT', '')).status, 200);
  t.deepEqual(await one.putAll('first', 1), []);
  const seen = new Map<string, number>();
  const body = randomBytes(600_000);
  const put = async (key: string, bytes: Buffer): Promise<boolean> => {
    const answer = await one.s3('PUT', key, bytes);
    if (answer.status === 200) one.stored.set(key, bytes);
    const outcome = answer.status === 200 ? '200' : `${answer.status} ${errorCode(answer)}`;
    seen.set(outcome, (seen.get(outcome) ?? 0) + 1);
    return answer.status === 200;
  };
  // Eight at once, until all eight are refused.
  for (let round = 0; round < 200; round++) {
    const taken = await Promise.all(
      Array.from({ length: AT_ONCE }, (_, i) =>
        put(`fill/${round}-${i}`, body.subarray(0, 300_000 + i * 40_000)),
      ),
    );
    if (!taken.includes(true)) break;
  }
  // And the corners that are left, by small ones.
  for (let round = 0; round < 200; round++) {
    const taken = await Promise.all(
      Array.from({ length: AT_ONCE }, (_, i) =>
        put(`small/${round}-${i}`, body.subarray(i, 200_000)),
      ),
    );
    if (!taken.includes(true)) break;
  }
  t.log(Object.fromEntries(seen));
  const refusals = [...seen.keys()].filter((outcome) => outcome !== '200');
  t.true(refusals.length > 0, 'it is full');
  t.deepEqual(
    refusals.filter(
      (outcome) => !/^50[37] (InsufficientCapacity|SlowDown|ServiceUnavailable)$/.test(outcome),
    ),
    [],
  );
  t.deepEqual(await one.differences(), [], 'full, and everything acknowledged is read');
  const states = await one.states();
  t.true(states.includes('full'), states.join());

  const doomed = [...one.stored.keys()].filter((key) => /^fill\/\d*[02468]-/.test(key));
  for (const key of doomed) {
    t.is((await one.s3('DELETE', key)).status, 204, 'deletes work on full drives');
    one.stored.delete(key);
    t.is((await one.s3('GET', key)).status, 404);
  }
  const config = join(one.firn.directory, 'firn.yaml');
  t.is((await runFirn(['clock', 'advance', '2', '--config', config])).code, 0);
  const run = await one.json<{ state: string; counts: Record<string, number> }>(
    'run',
    'collect',
    '--wait',
  );
  t.is(run.state, 'done');
  t.true((run.counts['freedBytes'] ?? 0) > doomed.length * 300_000, JSON.stringify(run.counts));
  // Half a minute after it found none, a process looks for room again.
  const end = Date.now() + 90_000;
  let refused = await one.putAll('again', 1);
  while (refused.length > 0 && Date.now() < end) {
    await sleep(1000);
    refused = await one.putAll('again', 1);
  }
  t.deepEqual(refused, [], 'after the grace there is room again');
  t.deepEqual(await one.differences(), []);
  await one.firn.stop();
  one.firn = await one.firn.restart();
  t.deepEqual(await one.differences(), [], 'after a restart');
  t.is(await one.put('after-restart', body), 200);
}

withMounts(
  'a disk that others fill to its last byte: reads go on, nothing acknowledged is lost, and writes return',
  async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'firn-last-byte-'));
    let one: Drives | undefined;
    t.is(mount(directory, 128 * MiB), undefined);
    try {
      one = new Drives(await startFirn({ directory, settings: { processes: 1 } }));
      t.is((await one.s3('PUT', '')).status, 200);
      t.deepEqual(await one.putAll('before', 2), []);
      // Drives and metadata are on it, as in the default set-up of one disk.
      const other = join(directory, 'of-somebody-else');
      const dd = ['if=/dev/zero', `of=${other}`, 'bs=64k'];
      t.throws(() => execFileSync('dd', dd, { stdio: 'pipe' }), undefined, 'until it is full');
      const statuses = await one.putAll('full', 3);
      t.deepEqual(
        statuses.filter((status) => status !== 507 && status !== 503),
        [],
      );
      t.true(statuses.length > 0);
      for (const key of [...one.stored.keys()].slice(0, 15)) {
        const answer = await one.s3('DELETE', key);
        t.true([204, 503].includes(answer.status), `DELETE: ${answer.status} ${errorCode(answer)}`);
        if (answer.status === 204) one.stored.delete(key);
      }
      const refused = new Set((await one.differences()).map((line) => line.replace(/^.*?: /, '')));
      t.deepEqual([...refused], [], 'reads go on');
      rmSync(other);
      await one.firn.stop();
      one.firn = await one.firn.restart();
      t.deepEqual(await one.differences(), []);
      t.deepEqual(await one.putAll('after', 1), []);
      t.deepEqual(await one.differences(), []);
    } finally {
      await one?.firn.kill();
      execFileSync('umount', ['-l', directory]);
      rmSync(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    }
  },
);
