// npm run bench [-- NAME…]: every figure beside the limit that it is a share of, taken in one run on the
// same cores, interleaved, medians. A table, and as last line of stdout one JSON object
// {NAME: {figure, unit, limit, ratio}}. Never a timed test: machines differ by 40 % from run to run.

import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { open } from 'lmdb';
import { benchAccess } from './access.ts';
import { benchEc } from './ec.ts';
import { benchHash } from './hash.ts';
import { benchLarge } from './large.ts';
import { benchSigv4 } from './sigv4.ts';
import type { LoadResult, LoadSpec } from './load.ts';
import { startFirn } from '../firn-process.ts';
import type { RunningFirn } from '../firn-process.ts';
import { findMongod, startMongo } from '../peers.ts';

export interface Figure {
  figure: number;
  unit: string;
  limit: number;
  ratio: number;
}

const rounds = Number(process.env['FIRN_BENCH_ROUNDS'] ?? 5);
const perRound = Number(process.env['FIRN_BENCH_COUNT'] ?? 6000);
const wanted = process.argv.slice(2);
const figures: Record<string, Figure> = {};
const wants = (name: string): boolean =>
  wanted.length === 0 || wanted.some((one) => name === one || name.startsWith(`${one}-`));
const round = (value: number): number => Number(value.toPrecision(4));
const shown = (value: number): string => (Number.isNaN(value) ? '–' : String(value));
const note = (text: string): void => void process.stderr.write(`${text}\n`);

function record(name: string, figure: Figure): void {
  figures[name] = {
    figure: round(figure.figure),
    unit: figure.unit,
    limit: round(figure.limit),
    ratio: round(figure.ratio),
  };
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

/** User and system time of the processes, µs (the kernel counts in 10 ms). */
function cpuMicros(pids: number[]): number {
  let ticks = 0;
  for (const pid of pids) {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks * 10_000;
}

class Load {
  readonly #child: ChildProcess = fork(join(import.meta.dirname, 'load.ts'));

  run(spec: LoadSpec): Promise<LoadResult> {
    return new Promise((resolve, reject) => {
      this.#child.once('message', (result) => {
        this.#child.off('error', reject);
        resolve(result as LoadResult);
      });
      this.#child.once('error', reject);
      this.#child.send(spec);
    });
  }

  end(): void {
    this.#child.disconnect();
  }
}

async function startBare(): Promise<{ port: number; pid: number; end: () => void }> {
  const child = fork(join(import.meta.dirname, 'bare.ts'));
  const { port } = await new Promise<{ port: number }>((resolve) =>
    child.once('message', (message) => resolve(message as { port: number })),
  );
  return { port, pid: child.pid as number, end: () => child.disconnect() };
}

interface Target {
  port: number;
  pids: () => number[];
  accessKey: string;
  secretKey: string;
}

interface Work {
  method: 'PUT' | 'GET';
  path: string;
  query?: string;
  count: number;
  modulo?: number;
  inFlight: number;
  from?: number;
}

let keys = 0;

async function cost(
  load: Load,
  target: Target,
  work: Work,
): Promise<{ micros: number; result: LoadResult }> {
  const pids = target.pids();
  const before = cpuMicros(pids);
  const result = await load.run({
    port: target.port,
    accessKey: target.accessKey,
    secretKey: target.secretKey,
    method: work.method,
    path: work.path,
    query: work.query ?? '',
    from: work.from ?? 0,
    count: work.count,
    modulo: work.modulo ?? Number.MAX_SAFE_INTEGER,
    inFlight: work.inFlight,
    bodyBytes: 4096,
    headers: {},
  });
  if (result.failed > 0)
    throw new Error(`${result.failed} requests failed: ${result.firstFailure}`);
  return { micros: (cpuMicros(pids) - before) / work.count, result };
}

const ofFirn = (firn: RunningFirn): Target => ({ ...firn, pids: () => firn.pids() });

async function createBucket(load: Load, firn: RunningFirn): Promise<void> {
  const made = await load.run({
    port: firn.port,
    accessKey: firn.accessKey,
    secretKey: firn.secretKey,
    method: 'PUT',
    path: '/bench',
    query: '',
    from: 0,
    count: 1,
    modulo: 1,
    inFlight: 1,
    bodyBytes: 0,
    headers: {},
  });
  if (made.failed > 0) throw new Error(`no bucket: ${made.firstFailure}`);
}

async function small(suffix: '' | '-mongo', metadata?: string): Promise<void> {
  const names = [`put-4k-64${suffix}`, `get-4k${suffix}`, `list-1000${suffix}`];
  if (!names.some(wants)) return;
  const firn = await startFirn({
    settings: { processes: 1 },
    ...(metadata === undefined ? {} : { metadata }),
  });
  const bare = await startBare();
  const load = new Load();
  try {
    await createBucket(load, firn);
    const limit: Target = {
      port: bare.port,
      pids: () => [bare.pid],
      accessKey: 'a',
      secretKey: 'b',
    };
    const put = (): Work => {
      keys += perRound;
      return { method: 'PUT', path: '/bench/put/{i}', count: perRound, inFlight: 64, from: keys };
    };
    const get: Work = {
      method: 'GET',
      path: '/bench/get/{i}',
      count: perRound,
      modulo: 1000,
      inFlight: 64,
    };
    await cost(load, ofFirn(firn), { ...put(), path: '/bench/get/{i}', modulo: 1000, count: 1000 });
    for (const [name, work] of [
      [names[0], put],
      [names[1], () => get],
    ] as const) {
      if (!wants(name as string)) continue;
      await cost(load, limit, work());
      await cost(load, ofFirn(firn), work());
      const [ours, theirs, rates]: [number[], number[], number[]] = [[], [], []];
      for (let i = 0; i < rounds; i++) {
        theirs.push((await cost(load, limit, work())).micros);
        const { micros, result } = await cost(load, ofFirn(firn), work());
        ours.push(micros);
        rates.push(perRound / result.seconds);
      }
      const [figure, bound] = [median(ours), median(theirs)];
      record(name as string, {
        figure,
        unit: 'CPU µs a request',
        limit: bound,
        ratio: bound / figure,
      });
      note(`${name}: ${Math.round(median(rates))} requests/s`);
    }
    if (wants(names[2] as string)) await list(names[2] as string, load, firn, suffix === '');
  } finally {
    load.end();
    bare.end();
    await firn.dispose();
  }
}

async function list(name: string, load: Load, firn: RunningFirn, onLmdb: boolean): Promise<void> {
  const work: Work = {
    method: 'GET',
    path: '/bench',
    query: 'list-type=2&max-keys=1000&prefix=get%2F',
    count: 40,
    inFlight: 1,
  };
  await cost(load, ofFirn(firn), work);
  const timed: number[] = [];
  const cpu: number[] = [];
  for (let i = 0; i < rounds; i++) {
    const { micros, result } = await cost(load, ofFirn(firn), work);
    timed.push(median(result.latencies) * 1000);
    cpu.push(micros);
  }
  const limit = onLmdb ? keyScanMicros(join(firn.directory, 'data', 'metadata')) : Number.NaN;
  record(name, { figure: median(timed), unit: 'µs a LIST', limit, ratio: median(timed) / limit });
  note(`${name}: ${(median(cpu) / 1000).toFixed(2)} ms CPU a LIST`);
}

/** The key-only range scan of 1,000 keys in the same environment, µs. */
function keyScanMicros(path: string): number {
  const environment = open({ path, readOnly: true, maxDbs: 64, encoding: 'binary' });
  try {
    const objects = environment.openDB({
      name: 'objects',
      keyEncoding: 'binary',
      encoding: 'binary',
    });
    const taken: number[] = [];
    for (let i = 0; i < 200; i++) {
      const begun = performance.now();
      let seen = 0;
      for (const _ of objects.getKeys({ limit: 1000 })) seen += 1;
      if (seen < 1000) throw new Error('fewer than 1,000 keys to scan');
      taken.push((performance.now() - begun) * 1000);
    }
    return median(taken);
  } finally {
    void environment.close();
  }
}

async function start(): Promise<void> {
  if (!wants('start')) return;
  const firn = await startFirn({ settings: { processes: 1 } });
  const load = new Load();
  try {
    await createBucket(load, firn);
    for (let i = 0; i < 10; i++) {
      await cost(load, ofFirn(firn), {
        method: 'PUT',
        path: '/bench/{i}',
        count: 10_000,
        inFlight: 64,
        from: i * 10_000,
      });
    }
    await firn.stop();
    const taken: number[] = [];
    for (let i = 0; i < 5; i++) {
      const begun = performance.now();
      const again = await firn.restart();
      taken.push((performance.now() - begun) / 1000);
      await again.stop();
    }
    record('start', {
      figure: median(taken),
      unit: 's to ready, 100 k objects',
      limit: 2,
      ratio: median(taken) / 2,
    });
  } finally {
    load.end();
    await firn.dispose();
  }
}

function table(): string {
  const rows = Object.entries(figures).map(([name, { figure, unit, limit, ratio }]) => [
    name,
    String(figure),
    unit,
    shown(limit),
    shown(ratio),
  ]);
  const all = [['name', 'figure', 'unit', 'limit', 'ratio'], ...rows];
  const widths = [0, 1, 2, 3, 4].map((c) =>
    Math.max(...all.map((row) => (row[c] as string).length)),
  );
  return all
    .map((row) => row.map((cell, c) => cell.padEnd(widths[c] as number)).join('  '))
    .join('\n');
}

const scratch = mkdtempSync(join(tmpdir(), 'firn-bench-'));
try {
  if (wants('ec-encode') || wants('ec-decode') || wanted.some((name) => name.startsWith('ec-'))) {
    for (const [name, figure] of Object.entries(await benchEc())) record(name, figure);
  }
  if (wants('md5-8-streams') || wants('crc64nvme')) {
    for (const [name, figure] of Object.entries(benchHash())) record(name, figure);
  }
  if (wants('policy-evaluate')) {
    for (const [name, figure] of Object.entries(benchAccess())) record(name, figure);
  }
  if (wants('sigv4-verify')) {
    for (const [name, figure] of Object.entries(await benchSigv4())) record(name, figure);
  }
  for (const [name, figure] of Object.entries(await benchLarge(wants))) record(name, figure);
  await small('');
  if (wanted.length === 0 || wanted.some((name) => name.endsWith('-mongo'))) {
    const found = await findMongod();
    if ('missing' in found) note(`without MongoDB: ${found.missing}`);
    else {
      const mongo = await startMongo({});
      try {
        await small('-mongo', mongo.url);
      } finally {
        await mongo.stop();
      }
    }
  }
  await start();
  process.stdout.write(`${table()}\n${JSON.stringify(figures)}\n`);
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
