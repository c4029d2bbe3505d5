// Large objects and lost drives beside their limits: GET of 64 MiB beside node:http that sends
// from memory, PUT beside node:http that throws the body away and beside MD5 alone, reads with m
// drives gone beside the same reads of a whole group. Two appliances hold the same objects, one
// of them without two of its six drives; rounds of all are interleaved.

import { createHash } from 'node:crypto';
import { renameSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { KiB, MiB } from '../../appliance/model/limits.ts';
import { startFirn, type RunningFirn } from '../firn-process.ts';
import { anonymousBytes, apiPids, type Ask, mixture, prepare, press } from '../overload.ts';
import {
  Load,
  median,
  ofFirn,
  rounds,
  startBare,
  type Figure,
  type Target,
  type Work,
} from './harness.ts';
import type { LoadResult } from './load.ts';

const LARGE_BYTES = 64 * MiB;
const STREAMS = 8;
const RSS_MB = 300;
/** Connections: four times what a process lets in (api/s3/input/admission.ts). */
const OVERLOAD = 4 * 384;
/** Drives are looked at every 2 s. */
const NOTICED_MS = 5000;

const figureOf = (unit: string, figures: number[], limits: number[]): Figure => {
  const [figure, limit] = [median(figures), median(limits)];
  return { figure, unit, limit, ratio: limit / figure };
};

/** Whether any of these rows is wanted. */
export type Wants = (name: string) => boolean;

/** The row rss: the most that an api process held, in MB (10^6 bytes), at four times what is let in. */
export async function benchRss(wants: Wants): Promise<Record<string, Figure>> {
  if (!wants('rss')) return {};
  const firn = await startFirn({ settings: { processes: 1 } });
  try {
    await prepare(firn);
    const [pid] = apiPids(firn.pid) as [number];
    let most = 0;
    const watch = setInterval(() => {
      most = Math.max(most, anonymousBytes(pid) / 1e6);
    }, 100);
    const large: Ask[] = [
      { method: 'PUT', path: '/load/large-1', bodyBytes: MiB },
      { method: 'GET', path: '/load/large-0' },
    ];
    for (const asks of [mixture(), large]) {
      const { outcomes } = await press(firn, asks, { connections: OVERLOAD, forMs: 5000 });
      process.stderr.write(`rss: ${JSON.stringify(outcomes)}\n`);
    }
    clearInterval(watch);
    return { rss: { figure: most, unit: 'MB', limit: RSS_MB, ratio: most / RSS_MB } };
  } finally {
    await firn.dispose();
  }
}

/** The rows get-64m, get-64m-degraded, put-64m-8, put-64m-1 and p95-degraded-* of the bench. */
export async function benchLarge(wants: Wants): Promise<Record<string, Figure>> {
  const figures: Record<string, Figure> = {};
  const reads = ['get-64m', 'get-64m-degraded', 'p95-degraded-4k', 'p95-degraded-1m'];
  const writes = ['put-64m-8', 'put-64m-1'];
  if (![...reads, ...writes].some(wants)) return figures;
  const load = new Load();
  const bare = await startBare('bare-large.ts');
  const whole = await startFirn({ settings: { processes: 1 } });
  let lame: RunningFirn | undefined;
  try {
    await load.createBucket(whole);
    if (wants('put-64m-8')) figures['put-64m-8'] = await put8(load, whole, bare);
    if (wants('put-64m-1')) figures['put-64m-1'] = await put1(load, whole);
    if (!reads.some(wants)) return figures;
    lame = await startFirn({ settings: { processes: 1 } });
    await fill(load, whole);
    await load.createBucket(lame);
    await fill(load, lame);
    for (const drive of ['drive-1', 'drive-4']) {
      const path = join(lame.directory, 'data', 'hot', drive);
      renameSync(path, `${path}-gone`);
    }
    await sleep(NOTICED_MS);
    if (wants('get-64m') || wants('get-64m-degraded'))
      Object.assign(figures, await get64(load, { whole, lame, bare }));
    for (const [name, size] of [
      ['p95-degraded-4k', 4 * KiB],
      ['p95-degraded-1m', MiB],
    ] as const) {
      if (wants(name)) figures[name] = await p95(load, { whole, lame, size });
    }
    return figures;
  } finally {
    load.end();
    bare.end();
    await whole.dispose();
    await lame?.dispose();
  }
}

const small = (size: number): Work => ({
  method: 'PUT',
  path: `/bench/${size}-{i}`,
  count: size === MiB ? 64 : 1000,
  inFlight: 8,
  bodyBytes: size,
});

async function fill(load: Load, firn: RunningFirn): Promise<void> {
  await load.cost(ofFirn(firn), { ...put('large'), count: 4, inFlight: 2 });
  await load.cost(ofFirn(firn), small(4 * KiB));
  await load.cost(ofFirn(firn), small(MiB));
}

const put = (name: string): Work => ({
  method: 'PUT',
  path: `/bench/${name}-{i}`,
  count: STREAMS,
  inFlight: STREAMS,
  bodyBytes: LARGE_BYTES,
});

async function put8(load: Load, firn: RunningFirn, bare: Target): Promise<Figure> {
  const [ours, theirs]: [number[], number[]] = [[], []];
  for (let i = 0; i <= rounds; i += 1) {
    const limit = await load.cost(bare, put('put'));
    const figure = await load.cost(ofFirn(firn), put('put'));
    if (i === 0) continue;
    theirs.push(limit.micros / 1000);
    ours.push(figure.micros / 1000);
  }
  return figureOf('CPU ms a PUT of 64 MiB', ours, theirs);
}

async function put1(load: Load, firn: RunningFirn): Promise<Figure> {
  const bytes = Buffer.alloc(LARGE_BYTES, 'firn');
  const [ours, theirs]: [number[], number[]] = [[], []];
  for (let i = 0; i <= rounds; i += 1) {
    const begun = performance.now();
    const md5 = createHash('md5');
    for (let at = 0; at < bytes.length; at += 64 * KiB)
      md5.update(bytes.subarray(at, at + 64 * KiB));
    md5.digest();
    const limit = performance.now() - begun;
    const { result } = await load.cost(ofFirn(firn), { ...put('alone'), count: 3, inFlight: 1 });
    if (i === 0) continue;
    theirs.push(limit);
    ours.push(median(result.latencies));
  }
  return figureOf('ms a PUT of 64 MiB', ours, theirs);
}

interface Servers {
  whole: RunningFirn;
  lame: RunningFirn;
}

async function get64(
  load: Load,
  { whole, lame, bare }: Servers & { bare: Target },
): Promise<Record<string, Figure>> {
  const work: Work = {
    method: 'GET',
    path: '/bench/large-{i}',
    modulo: 4,
    count: 2 * STREAMS,
    inFlight: STREAMS,
  };
  const taken = { whole: [] as number[], lame: [] as number[], bare: [] as number[] };
  const targets = { bare, whole: ofFirn(whole), lame: ofFirn(lame) };
  for (let i = 0; i <= rounds; i += 1) {
    for (const [name, target] of Object.entries(targets)) {
      const { micros } = await load.cost(target, work);
      if (i > 0) taken[name as keyof typeof taken].push(micros / 1000);
    }
  }
  const unit = 'CPU ms a GET of 64 MiB';
  return {
    'get-64m': figureOf(unit, taken.whole, taken.bare),
    'get-64m-degraded': figureOf(unit, taken.lame, taken.whole),
  };
}

async function p95(load: Load, { whole, lame, size }: Servers & { size: number }): Promise<Figure> {
  const work: Work = {
    ...small(size),
    method: 'GET',
    modulo: small(size).count,
    count: size === MiB ? 400 : 4000,
  };
  const [ours, theirs]: [number[], number[]] = [[], []];
  const of = ({ latencies }: LoadResult): number =>
    latencies[Math.floor(latencies.length * 0.95)] as number;
  for (let i = 0; i <= rounds; i += 1) {
    const healthy = await load.cost(ofFirn(whole), work);
    const degraded = await load.cost(ofFirn(lame), work);
    if (i === 0) continue;
    theirs.push(of(healthy.result));
    ours.push(of(degraded.result));
  }
  const [figure, limit] = [median(ours), median(theirs)];
  return { figure, unit: 'ms, p95', limit, ratio: figure / limit };
}
