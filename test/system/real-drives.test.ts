// The appliance on real file systems that break in real ways: killed, cut off from power, out of
// room, read-only, failing and lying system calls, a process that is stopped. Everything that was
// acknowledged must be there afterwards. What simulation can't show is whether the calls we make do
// what we think: a directory that is not synced loses a whole file, and only a real kernel knows.
// Needs root, loop devices and strace; what is missing is said and skipped, and in CI it fails.

import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { adminCall } from '../admin-fetch.ts';
import { startFirn, type RunningFirn } from '../firn-process.ts';
import { LoopDrives, whyNoInjection, whyNoLoopDrives } from '../loop-drives.ts';
import { errorCode, s3Call, type S3Answer } from '../s3-fetch.ts';

const MiB = 1024 * 1024;
const DRIVES = 6;

function unless(
  what: string,
  reason: string | undefined,
  how: typeof test | typeof test.serial = test,
): typeof test | typeof test.skip {
  if (reason === undefined) return how;
  if (process.env['CI']) throw new Error(`${what}: ${reason}`);
  process.stderr.write(`skipped, ${what}: ${reason}\n`);
  return test.skip;
}

const noLoops = whyNoLoopDrives();
// Those that are busy all the time run one after the other, those that mostly wait side by side.
const withLoops = unless('real drives', noLoops);
const withPower = unless('power failures', noLoops, test.serial);
const withInjection = unless('failing calls', noLoops ?? whyNoInjection(), test.serial);

const md5 = (bytes: Uint8Array): string => createHash('md5').update(bytes).digest('hex');

/** On both sides of the small limit, and more than one stripe. */
const sizes = [1, 4096, 4096, 30_000, 100_000, 300_000, 1_200_000];

/** Six small drives, a server over them, and all that it ever acknowledged. */
class Rig {
  readonly loops = new LoopDrives();
  readonly drives: string[] = [];
  readonly data: string;
  firn!: RunningFirn;
  readonly acked = new Map<string, string>();
  /** Sent and not answered: any of these may stand instead, or nothing. */
  readonly open = new Map<string, Set<string>>();
  readonly failures: string[] = [];
  #isEnded = false;

  constructor(driveBytes: number) {
    // Metadata lose their power together with the drives.
    this.data = this.loops.make('data', 256 * MiB);
    for (let i = 0; i < DRIVES; i++) this.drives.push(this.loops.make(`drive-${i}`, driveBytes));
  }

  get mounts(): string[] {
    return [this.data, ...this.drives];
  }

  async start(more: Record<string, unknown> = {}): Promise<void> {
    this.firn = await startFirn({
      directory: this.loops.directory,
      settings: {
        data: join(this.data, 'firn'),
        processes: 1,
        tiers: { hot: { kind: 'node-group', groups: [this.drives] } },
        storageClasses: { STANDARD: 'hot' },
        ...more,
      },
      env: rootKeys,
    });
    const made = await s3Call(this.firn, { method: 'PUT', path: '/real' });
    if (made.status !== 200) throw new Error(`no bucket: ${made.text}`);
  }

  async restart(): Promise<void> {
    this.firn = await this.firn.restart();
  }

  call(method: string, key: string, body?: Buffer): Promise<S3Answer> {
    const sent = body === undefined ? {} : { body };
    return s3Call(this.firn, { method, path: `/real/${key}`, ...sent });
  }

  /** True if it was acknowledged. What is refused is told in `failures`. */
  async put(key: string, body: Buffer): Promise<boolean> {
    const open = this.open.get(key) ?? new Set();
    this.open.set(key, open.add(md5(body)));
    let answer: S3Answer;
    try {
      answer = await this.call('PUT', key, body);
    } catch {
      this.failures.push(`PUT ${key}: no answer`);
      return false;
    }
    if (answer.status === 200) {
      this.acked.set(key, md5(body));
      this.open.delete(key);
      return true;
    }
    this.failures.push(`PUT ${key}: ${answer.status} ${errorCode(answer)}`);
    return false;
  }

  /** Writers and readers side by side until they are told to stop. */
  load(prefix: string, count: number): { puts: () => number; stop: () => Promise<void> } {
    let going = true;
    let puts = 0;
    const writer = async (own: number): Promise<void> => {
      for (let i = 0; going && !this.#isEnded; i++) {
        const size = sizes[(own + i) % sizes.length] as number;
        if (await this.put(`${prefix}/${own}/${i % 30}`, randomBytes(size))) puts += 1;
        else await sleep(20);
      }
    };
    const reader = async (): Promise<void> => {
      while (going && !this.#isEnded) {
        const keys = [...this.acked.keys()];
        const key = keys[Math.floor(Math.random() * keys.length)];
        if (key !== undefined) await this.check(key);
        await sleep(5);
      }
    };
    const all = [...Array.from({ length: count }, (_, own) => writer(own)), reader()];
    return {
      puts: () => puts,
      stop: async () => {
        going = false;
        await Promise.all(all);
      },
    };
  }

  /** Reads one object; what it is instead of what it should be is told in `failures`. */
  async check(key: string): Promise<void> {
    const allowed = new Set([this.acked.get(key), ...(this.open.get(key) ?? [])]);
    try {
      const answer = await this.call('GET', key);
      // It may have been overwritten meanwhile.
      for (const sum of [this.acked.get(key), ...(this.open.get(key) ?? [])]) allowed.add(sum);
      const found =
        answer.status === 200 ? md5(answer.body) : `${answer.status} ${errorCode(answer)}`;
      if (!allowed.has(found)) this.failures.push(`GET ${key}: ${found}`);
    } catch {
      this.failures.push(`GET ${key}: no answer`);
    }
  }

  /** Every acknowledged object, byte for byte; what is not. */
  async differences(): Promise<string[]> {
    this.failures.length = 0;
    const keys = [...this.acked.keys()];
    for (let at = 0; at < keys.length; at += 8) {
      await Promise.all(keys.slice(at, at + 8).map((key) => this.check(key)));
    }
    return this.failures.splice(0);
  }

  async dispose(): Promise<void> {
    this.#isEnded = true;
    await (this.firn as RunningFirn | undefined)?.kill();
    this.loops.dispose();
  }
}

const rootKeys = { FIRN_ROOT_ACCESS_KEY: 'AKREAL', FIRN_ROOT_SECRET_KEY: 'a-secret-of-tests' };

async function withRig(
  driveBytes: number,
  body: (rig: Rig) => Promise<void>,
  settings: Record<string, unknown> = {},
): Promise<void> {
  const rig = new Rig(driveBytes);
  try {
    await rig.start(settings);
    await body(rig);
  } finally {
    await rig.dispose();
  }
}

async function until(what: () => Promise<boolean> | boolean, timeoutMs: number): Promise<boolean> {
  const end = Date.now() + timeoutMs;
  for (;;) {
    if (await what()) return true;
    if (Date.now() > end) return false;
    await sleep(100);
  }
}

/** So many more PUTs are acknowledged under this load. */
const more = (load: { puts: () => number }, count: number): Promise<boolean> => {
  const from = load.puts();
  return until(() => load.puts() >= from + count, 60_000);
};

withPower(
  'killed, then without power, in the middle of writes: what was acknowledged is there',
  async (t) => {
    await withRig(96 * MiB, async (rig) => {
      for (const end of ['kill', 'power', 'power'] as const) {
        const load = rig.load(`${end}-${rig.acked.size}`, 8);
        t.true(await more(load, 40), 'the load runs');
        if (end === 'power') rig.loops.powerOff(rig.mounts);
        await rig.firn.kill();
        await load.stop();
        if (end === 'power') {
          for (const path of rig.mounts) rig.loops.unmount(path);
          // In another order: as after a start of the system, none is the mount that it was.
          for (const path of rig.mounts.toReversed()) rig.loops.mount(path);
        }
        await rig.restart();
        t.deepEqual(await rig.differences(), [], `after ${end}, of ${rig.acked.size}`);
      }
    });
  },
);

interface DriveView {
  position: number;
  state: string;
  errors: number;
}

const states = async (rig: Rig): Promise<string> => {
  const { drives } = await adminCall<{ drives: DriveView[] }>(rig.firn, 'GET', '/drives');
  return drives.map(({ state }) => state).join();
};

withLoops(
  'a read-only drive, a full one and a stopped process under load: no request fails for a drive, all is healed',
  async (t) => {
    await withRig(
      96 * MiB,
      async (rig) => {
        const load = rig.load('load', 6);
        t.true(await more(load, 50));
        rig.loops.turnReadOnly(rig.drives[1] as string);
        const free = rig.loops.fill(rig.drives[4] as string);
        t.true(await more(load, 60));
        t.deepEqual(rig.failures.splice(0), [], 'requests while one drive is read-only, one full');
        t.regex(await states(rig), /^up,failing,up,up,full,up$/, 'and firn drives says so');

        const [, child] = rig.firn.pids();
        process.kill(child as number, 'SIGSTOP');
        t.true(await more(load, 20), 'the stopped process is replaced');
        await load.stop();
        const cut = rig.failures.splice(0);
        t.deepEqual(
          cut.filter((line) => !line.endsWith('no answer')),
          [],
        );

        t.deepEqual(await rig.differences(), []);
        free();
        await rig.firn.stop();
        rig.loops.repair(rig.drives[1] as string);
        await rig.restart();
        const healed = async (): Promise<boolean> => {
          const heal = await adminCall<{ waiting: number }>(rig.firn, 'GET', '/heal');
          return heal.waiting === 0 && (await states(rig)) === 'up,up,up,up,up,up';
        };
        t.true(await until(healed, 60_000), `healed: ${await states(rig)}`);
        // Their share is on the two again: without two others everything is read.
        await rig.firn.stop();
        for (const position of [0, 3]) rig.loops.unmount(rig.drives[position] as string);
        await rig.restart();
        t.deepEqual(await rig.differences(), [], 'without two other drives');
      },
      { processes: 2 },
    );
  },
);

withLoops(
  'all drives full: PUT is refused by S3 codes, GET and DELETE work, and room comes back',
  async (t) => {
    const debug = { graceSeconds: 1 };
    await withRig(
      // Five of a hundred stay free for deletes, the journal and compaction.
      64 * MiB,
      async (rig) => {
        const body = randomBytes(3_000_000);
        for (let round = 0, taken = true; taken && round < 60; round++) {
          const puts = Array.from({ length: 6 }, (_, i) => rig.put(`big/${round}-${i}`, body));
          taken = (await Promise.all(puts)).includes(true);
        }
        for (let round = 0, taken = true; taken && round < 60; round++) {
          const small = Array.from({ length: 6 }, (_, i) =>
            rig.put(`small/${round}-${i}`, body.subarray(0, 100_000 + i)),
          );
          taken = (await Promise.all(small)).includes(true);
        }
        // Drives that were late on a busy machine are trusted again within half a minute.
        const isFull = async (): Promise<boolean> => {
          await rig.put('brim', body);
          return rig.failures.at(-1)?.endsWith('503 InsufficientCapacity') === true;
        };
        t.true(await until(isFull, 60_000), 'it is full, and says so');
        const refused = rig.failures.splice(0).map((line) => line.replace(/^.*?: /, ''));
        const known = /^503 (InsufficientCapacity|SlowDown|ServiceUnavailable)$/;
        t.deepEqual(
          [...new Set(refused)].filter((one) => !known.test(one)),
          [],
        );
        t.deepEqual(await rig.differences(), [], 'full, and everything is read');
        for (const key of [...rig.acked.keys()].filter((one) => /^big\/\d*[02468]-/.test(one))) {
          const answer = await rig.call('DELETE', key);
          t.is(answer.status, 204, `DELETE on full drives: ${answer.text}`);
          rig.acked.delete(key);
        }
        await sleep(1500);
        await adminCall(rig.firn, 'POST', '/runs/collect', {});
        const again = (): Promise<boolean> => rig.put('again', body);
        t.true(await until(again, 60_000), 'there is room again');
        t.deepEqual(await rig.differences(), []);
      },
      { debug },
    );
  },
);

/** Makes calls of a process fail until it is told to stop. */
async function inject(
  pid: number,
  faults: readonly string[],
  only: readonly string[] = [],
): Promise<() => Promise<void>> {
  const paths = only.flatMap((path) => ['-P', path]);
  const injected = faults.flatMap((fault) => ['-e', `inject=${fault}`]);
  const args = ['-f', '-qq', '-o', '/dev/null', ...paths, ...injected, '-p', String(pid)];
  const strace = spawn('strace', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let told = '';
  strace.stderr.on('data', (chunk: Buffer) => {
    told += chunk.toString();
  });
  const ended = new Promise<void>((resolve) => strace.once('close', () => resolve()));
  // It has attached itself once the kernel says who traces.
  await sleep(400);
  if (strace.exitCode !== null) throw new Error(`strace: ${told}`);
  return async () => {
    strace.kill('SIGINT');
    await ended;
  };
}

/** Files that a process has open on a drive. */
function openOn(pid: number, drive: string): string[] {
  const folder = `/proc/${pid}/fd`;
  return readdirSync(folder).flatMap((fd) => {
    try {
      const path = readlinkSync(join(folder, fd));
      return path.startsWith(`${drive}/`) ? [path] : [];
    } catch {
      return [];
    }
  });
}

/** What a scrub that was asked for has counted. */
async function scrubbed(rig: Rig): Promise<Record<string, number>> {
  interface Scrub {
    state: string;
    counts: Record<string, number>;
  }
  const { runId } = await adminCall<{ runId: string }>(rig.firn, 'POST', '/runs/scrub', {});
  let run: Scrub = { state: '', counts: {} };
  await until(async () => {
    run = await adminCall<Scrub>(rig.firn, 'GET', `/runs/${runId}`);
    return run.state === 'done' || run.state === 'failed';
  }, 90_000);
  return run.counts;
}

const errorsOf = async (rig: Rig, position: number): Promise<number> => {
  const { drives } = await adminCall<{ drives: DriveView[] }>(rig.firn, 'GET', '/drives');
  return drives.find((drive) => drive.position === position)?.errors ?? 0;
};

withInjection(
  'writes and syncs that fail, lie about their length or find no room: no acknowledged byte is lost',
  async (t) => {
    await withRig(128 * MiB, async (rig) => {
      const warm = rig.load('warm', 4);
      t.true(await more(warm, 40));
      await warm.stop();
      t.deepEqual(rig.failures.splice(0), []);
      const api = rig.firn.pids()[1] as number;
      const faults: { drive?: number; faults: string[] }[] = [
        // One drive's segment: each write fails, finds no room, or says it wrote less than it did.
        { drive: 1, faults: ['pwrite64,pwritev,writev,write:error=EIO'] },
        { drive: 2, faults: ['pwrite64,pwritev,writev,write:error=ENOSPC'] },
        { drive: 3, faults: ['pwrite64,pwritev,writev,write:retval=64:when=1+2'] },
        // Any drive, now and then, in each thread: syncs of large objects and directories.
        { faults: ['fdatasync,fsync:error=EIO:when=3+9'] },
      ];
      for (const [index, one] of faults.entries()) {
        const only = one.drive === undefined ? [] : openOn(api, rig.drives[one.drive] as string);
        const release = await inject(api, one.faults, only);
        const load = rig.load(`fault-${index}`, 4);
        await until(() => load.puts() + rig.failures.length >= 20, 30_000);
        await load.stop();
        await release();
        const failures = rig.failures.splice(0);
        if (one.drive !== undefined && index < 2) {
          t.true((await errorsOf(rig, one.drive)) > 0, 'the fault was met, and is told');
        }
        t.log(`${one.faults.join()}: ${load.puts()} acknowledged, ${failures.length} refused`);
        if (one.drive !== undefined) t.deepEqual(failures, [], 'one drive fails nobody');
        else
          t.deepEqual(
            failures.filter((line) => !/ 50[037] |no answer/.test(line)),
            [],
          );
        t.deepEqual(await rig.differences(), []);
      }
      t.true(rig.acked.size > 60);
      await rig.firn.stop();
      await rig.restart();
      const { repaired = 0, lost = -1 } = await scrubbed(rig);
      t.true(repaired > 0, 'what was written wrong was found');
      t.is(lost, 0);
      t.deepEqual(await rig.differences(), [], 'after a restart and a scrub');
    });
  },
);
