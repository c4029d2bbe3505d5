// npm run bench [-- NAME…]: every figure beside the limit that it is a share of, taken in one run on the
// same cores, interleaved, medians. A table, and as last line of stdout one JSON object
// {NAME: {figure, unit, limit, ratio}}. Never a timed test: machines differ by 40 % from run to run.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { benchAccess } from './access.ts';
import { benchCodes } from './codes.ts';
import { benchEc } from './ec.ts';
import { benchHeal } from './heal.ts';
import { benchHash } from './hash.ts';
import { benchLarge, benchRss } from './large.ts';
import { benchOverhead } from './overhead.ts';
import { benchSegments } from './segments.ts';
import { benchSigv4 } from './sigv4.ts';
import { benchSmall } from './small.ts';
import { Load, median, note, ofFirn, type Figure } from './harness.ts';
import { startFirn } from '../firn-process.ts';
import { findMongod, startMongo } from '../peers.ts';

const wanted = process.argv.slice(2);
const figures: Record<string, Figure> = {};
const wants = (name: string): boolean =>
  wanted.length === 0 || wanted.some((one) => name === one || name.startsWith(`${one}-`));
const round = (value: number): number => Number(value.toPrecision(4));
const shown = (value: number): string => (Number.isNaN(value) ? '–' : String(value));

function record(name: string, figure: Figure): void {
  figures[name] = {
    figure: round(figure.figure),
    unit: figure.unit,
    limit: round(figure.limit),
    ratio: round(figure.ratio),
  };
}

function recordAll(all: Record<string, Figure>): void {
  for (const [name, figure] of Object.entries(all)) record(name, figure);
}

async function start(): Promise<void> {
  if (!wants('start')) return;
  const firn = await startFirn({ settings: { processes: 1 } });
  const load = new Load();
  try {
    await load.createBucket(firn);
    for (let i = 0; i < 10; i++) {
      await load.cost(ofFirn(firn), {
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
    recordAll(await benchEc());
  }
  if (wants('md5-8-streams') || wants('crc64nvme')) {
    recordAll(benchHash());
  }
  if (wants('codes')) recordAll(await benchCodes());
  if (wants('policy-evaluate')) {
    recordAll(benchAccess());
  }
  if (wants('sigv4-verify')) {
    recordAll(await benchSigv4());
  }
  recordAll(await benchLarge(wants));
  recordAll(await benchRss(wants));
  recordAll(await benchSmall({ suffix: '', wants }));
  if (wants('put-4k-64-files')) recordAll(await benchSegments(join(scratch, 'segments')));
  if (wants('overhead')) recordAll(await benchOverhead(join(scratch, 'overhead')));
  recordAll(await benchHeal(wants));
  if (wanted.length === 0 || wanted.some((name) => name.endsWith('-mongo'))) {
    const found = await findMongod();
    if ('missing' in found) note(`without MongoDB: ${found.missing}`);
    else {
      const mongo = await startMongo({});
      try {
        recordAll(await benchSmall({ suffix: '-mongo', metadata: mongo.url, wants }));
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
