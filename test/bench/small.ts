// Small requests against the whole appliance, one api process: PUT and GET of 4 KiB beside bare
// node:http, one PUT alone beside six parallel fdatasyncs, 4 KiB out of 64 MiB beside a whole 4 KiB,
// LIST beside the scan of its keys.

import { fork } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { open } from 'lmdb';
import { KiB, MiB } from '../../appliance/model/limits.ts';
import { startFirn, type RunningFirn } from '../firn-process.ts';
import {
  answerOf,
  Load,
  median,
  note,
  ofFirn,
  perRound,
  rounds,
  startBare,
  type Figure,
  type Target,
  type Work,
} from './harness.ts';

export interface SmallOptions {
  suffix: '' | '-mongo';
  /** URL of MongoDB. */
  metadata?: string;
  wants: (name: string) => boolean;
}

const GET: Work = { method: 'GET', path: '/bench/get/{i}', count: perRound, inFlight: 64 };
const GET_KEYS = 1000;
const ALONE_COUNT = 300;
/** Unmeasured rounds first: until then the compilers still work on both servers. */
const WARM_ROUNDS = 3;

let keys = 0;
/** Keys that no call had before: an overwrite lists what it replaces, one commit more. */
const freshPuts = (count: number, inFlight: number): Work => {
  const from = keys;
  keys += count;
  return { method: 'PUT', path: '/bench/put/{i}', count, inFlight, from };
};

interface Bench {
  firn: RunningFirn;
  bare: Target;
  load: Load;
  suffix: SmallOptions['suffix'];
}

export async function benchSmall(options: SmallOptions): Promise<Record<string, Figure>> {
  const { suffix, metadata } = options;
  const all = ['put-4k-64', 'get-4k', 'list-1000', ...(suffix === '' ? LMDB_ONLY : [])];
  const wanted = all.filter((name) => options.wants(`${name}${suffix}`));
  const figures: Record<string, Figure> = {};
  if (wanted.length === 0) return figures;
  const settings = { processes: 1 };
  const firn = await startFirn({ settings, ...(metadata === undefined ? {} : { metadata }) });
  const bare = await startBare();
  const load = new Load();
  const bench: Bench = { firn, bare, load, suffix };
  try {
    await load.createBucket(firn);
    const first: Work = { ...freshPuts(GET_KEYS, 64), path: GET.path, from: 0 };
    await load.cost(ofFirn(firn), first);
    for (const name of wanted) Object.assign(figures, await BENCHES[name]?.(bench));
    return figures;
  } finally {
    load.end();
    bare.end();
    await firn.dispose();
  }
}

const LMDB_ONLY = ['put-4k-1', 'range-4k'];

const BENCHES: Record<string, (bench: Bench) => Promise<Record<string, Figure>>> = {
  'put-4k-64': (bench) => besideBare(bench, 'put-4k-64', () => freshPuts(perRound, 64)),
  'get-4k': (bench) => besideBare(bench, 'get-4k', () => ({ ...GET, modulo: GET_KEYS })),
  'put-4k-1': alone,
  'range-4k': range,
  'list-1000': list,
};

async function besideBare(
  { firn, bare, load, suffix }: Bench,
  name: string,
  work: () => Work,
): Promise<Record<string, Figure>> {
  const [ours, theirs, rates]: [number[], number[], number[]] = [[], [], []];
  for (let i = -WARM_ROUNDS; i < rounds; i++) {
    const limit = await load.cost(bare, work());
    const { micros, result } = await load.cost(ofFirn(firn), work());
    if (i < 0) continue;
    theirs.push(limit.micros);
    ours.push(micros);
    rates.push(perRound / result.seconds);
  }
  const [figure, limit] = [median(ours), median(theirs)];
  note(`${name}${suffix}: ${Math.round(median(rates))} requests/s`);
  const unit = 'CPU µs a request';
  return { [`${name}${suffix}`]: { figure, unit, limit, ratio: limit / figure } };
}

/** One PUT at a time: what the clients of a database wait for. */
async function alone({ firn, load }: Bench): Promise<Record<string, Figure>> {
  const directory = join(firn.directory, 'syncs');
  mkdirSync(directory);
  const child = fork(join(import.meta.dirname, 'six-syncs.ts'), [directory], {
    env: { ...process.env, UV_THREADPOOL_SIZE: '16' },
  });
  const [ours, theirs]: [number[], number[]] = [[], []];
  try {
    for (let i = -WARM_ROUNDS; i < rounds; i++) {
      const { micros: limit } = await answerOf<{ micros: number }>(child, { count: ALONE_COUNT });
      const { result } = await load.cost(ofFirn(firn), freshPuts(ALONE_COUNT, 1));
      if (i < 0) continue;
      theirs.push(limit);
      ours.push(median(result.latencies) * 1000);
    }
  } finally {
    child.disconnect();
  }
  const [figure, limit] = [median(ours), median(theirs)];
  return { 'put-4k-1': { figure, unit: 'µs a PUT', limit, ratio: limit / figure } };
}

async function range({ firn, load }: Bench): Promise<Record<string, Figure>> {
  const target = ofFirn(firn);
  const large = { method: 'PUT', path: '/bench/large', count: 1, inFlight: 1 } as const;
  await load.cost(target, { ...large, bodyBytes: 64 * MiB });
  const ranges = { span: 64 * MiB, bytes: 4 * KiB };
  const work: Work = { ...GET, path: '/bench/large', ranges };
  const [ours, theirs]: [number[], number[]] = [[], []];
  for (let i = -WARM_ROUNDS; i < rounds; i++) {
    const whole = await load.cost(target, { ...GET, modulo: GET_KEYS });
    const part = await load.cost(target, { ...work, from: (i + WARM_ROUNDS) * perRound });
    if (i < 0) continue;
    theirs.push(whole.micros);
    ours.push(part.micros);
  }
  const [figure, limit] = [median(ours), median(theirs)];
  return { 'range-4k': { figure, unit: 'CPU µs a request', limit, ratio: limit / figure } };
}

async function list({ firn, load, suffix }: Bench): Promise<Record<string, Figure>> {
  const work: Work = {
    method: 'GET',
    path: '/bench',
    query: 'list-type=2&max-keys=1000&prefix=get%2F',
    count: 40,
    inFlight: 1,
  };
  const [timed, cpu]: [number[], number[]] = [[], []];
  for (let i = -WARM_ROUNDS; i < rounds; i++) {
    const { micros, result } = await load.cost(ofFirn(firn), work);
    if (i < 0) continue;
    timed.push(median(result.latencies) * 1000);
    cpu.push(micros);
  }
  const metadata = join(firn.directory, 'data', 'metadata');
  const limit = suffix === '' ? keyScanMicros(metadata) : Number.NaN;
  const name = `list-1000${suffix}`;
  const figure = median(timed);
  const micros = median(cpu);
  return {
    [name]: { figure, unit: 'µs a LIST', limit, ratio: figure / limit },
    [`${name}-cpu`]: { figure: micros, unit: 'CPU µs', limit: 4000, ratio: 4000 / micros },
  };
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
