// What benchmarks share: settings, medians, CPU time of processes, the load process, the bare server.

import { fork, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RunningFirn } from '../firn-process.ts';
import type { LoadResult, LoadSpec } from './load.ts';

export interface Figure {
  figure: number;
  unit: string;
  limit: number;
  ratio: number;
}

export const rounds = Number(process.env['FIRN_BENCH_ROUNDS'] ?? 5);
export const perRound = Number(process.env['FIRN_BENCH_COUNT'] ?? 6000);
export const note = (text: string): void => void process.stderr.write(`${text}\n`);

export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

/** User and system time of the processes, µs (the kernel counts in 10 ms). */
export function cpuMicros(pids: readonly number[]): number {
  let ticks = 0;
  for (const pid of pids) {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks * 10_000;
}

export interface Target {
  port: number;
  pids: () => number[];
  accessKey: string;
  secretKey: string;
}

export type Work = Pick<LoadSpec, 'method' | 'path' | 'count' | 'inFlight'> & Partial<LoadSpec>;

export interface Cost {
  /** CPU of all processes of the server, µs a request. */
  micros: number;
  result: LoadResult;
}

/** One process that makes the requests, for every server. */
export class Load {
  readonly #child = fork(join(import.meta.dirname, 'load.ts'));

  async cost(target: Target, work: Work): Promise<Cost> {
    const { port, accessKey, secretKey } = target;
    const pids = target.pids();
    const before = cpuMicros(pids);
    const spec: LoadSpec = {
      port,
      accessKey,
      secretKey,
      query: '',
      from: 0,
      modulo: Number.MAX_SAFE_INTEGER,
      bodyBytes: 4096,
      headers: {},
      ...work,
    };
    const result = await answerOf<LoadResult>(this.#child, spec);
    const { failed, firstFailure } = result;
    if (failed > 0) throw new Error(`${failed} requests failed: ${firstFailure}`);
    return { micros: (cpuMicros(pids) - before) / work.count, result };
  }

  async createBucket(firn: RunningFirn): Promise<void> {
    const work = { method: 'PUT', path: '/bench', count: 1, inFlight: 1, bodyBytes: 0 } as const;
    await this.cost(ofFirn(firn), work);
  }

  end(): void {
    this.#child.disconnect();
  }
}

/** Asks a child process one thing. */
export function answerOf<A>(child: ChildProcess, question: object): Promise<A> {
  return new Promise((resolve, reject) => {
    const ended = (): void => reject(new Error('a process of the bench has ended'));
    child.once('exit', ended);
    child.once('message', (answer) => {
      child.off('exit', ended);
      resolve(answer as A);
    });
    child.send(question);
  });
}

export const ofFirn = (firn: RunningFirn): Target => ({ ...firn, pids: () => firn.pids() });

/** A server that only does what every one must; `file` says which. */
export async function startBare(file = 'bare.ts'): Promise<Target & { end: () => void }> {
  const child = fork(join(import.meta.dirname, file));
  const { port } = await new Promise<{ port: number }>((resolve) =>
    child.once('message', (message) => resolve(message as { port: number })),
  );
  return {
    port,
    pids: () => [child.pid as number],
    accessKey: 'a',
    secretKey: 'b',
    end: () => child.disconnect(),
  };
}
