// Four times the requests that an appliance lets in, for a few seconds: whoever is not served is
// told to slow down, in a whole answer; memory stays bounded; and after it all is as before.

import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { MiB } from '../../appliance/model/limits.ts';
import { startFirn } from '../firn-process.ts';
import { anonymousBytes, apiPids, headOf, mixture, prepare, press, type Aim } from '../overload.ts';

// On a machine however busy; without bounds it is a gigabyte within seconds.
const RSS_MAX_BYTES = 300e6;
/** Of one process, and of one bucket in it: api/s3/input/admission.ts. */
const LET_IN = 384;
const LET_IN_OF_BUCKET = 288;

/** Uploads whose last byte is held back: in flight for as long as wanted. */
async function hold(aim: Aim, bucket: string, count: number): Promise<Socket[]> {
  const sockets = await Promise.all(
    Array.from({ length: count }, (_, i) => {
      const head = headOf(aim, { method: 'PUT', path: `/${bucket}/held-${i}`, bodyBytes: 10 });
      return new Promise<Socket>((resolve, reject) => {
        const socket = connect(aim.port, '127.0.0.1', () => resolve(socket));
        socket.once('error', reject);
        socket.write(Buffer.concat([head, Buffer.from('123456789')]));
      });
    }),
  );
  await sleep(1500);
  return sockets;
}

const answers = (sockets: Socket[]): Promise<string[]> =>
  Promise.all(
    sockets.map(
      (socket) =>
        new Promise<string>((resolve) => {
          socket.once('data', (chunk) => resolve(chunk.toString('latin1').slice(9, 12)));
          socket.once('error', (error) => resolve(String(error)));
          socket.write('0');
        }),
    ),
  );

test.serial(
  'a full bucket is told to slow down, others are served, all in flight end well',
  async (t) => {
    t.timeout(120_000);
    const firn = await startFirn({ settings: { processes: 1 } });
    try {
      t.deepEqual((await prepare(firn)).outcomes, { 200: 12 });
      t.deepEqual(
        (await press(firn, [{ method: 'PUT', path: '/cool', bodyBytes: 0 }], ONCE)).outcomes,
        {
          200: 1,
        },
      );
      const held = await hold(firn, 'load', LET_IN_OF_BUCKET);
      const refused = await press(
        firn,
        [
          { method: 'GET', path: '/load/small-1' },
          { method: 'PUT', path: '/load/more', bodyBytes: 3 * MiB },
        ],
        { connections: 4, forMs: 1000 },
      );
      t.deepEqual(
        Object.keys(refused.outcomes),
        ['503 SlowDown'],
        JSON.stringify(refused.outcomes),
      );
      const cool = await press(firn, [{ method: 'PUT', path: '/cool/one', bodyBytes: 4096 }], ONCE);
      t.deepEqual(cool.outcomes, { 200: 1 }, 'another bucket is served');
      t.deepEqual(new Set(await answers(held)), new Set(['200']), 'who was let in is served');
      for (const socket of held) socket.destroy();
      const after = await press(firn, mixture(), { connections: 16, forMs: 1000 });
      t.deepEqual(Object.keys(after.outcomes), ['200'], JSON.stringify(after.outcomes));
    } finally {
      await firn.dispose();
    }
  },
);

const ONCE = { connections: 1, forMs: 1 };

test.serial('100 Continue is not given to who is to slow down', async (t) => {
  const firn = await startFirn({ settings: { processes: 1 } });
  try {
    await prepare(firn);
    const held = await hold(firn, 'load', LET_IN_OF_BUCKET);
    const head = headOf(firn, {
      method: 'PUT',
      path: '/load/big',
      bodyBytes: 500 * MiB,
    }).toString();
    const answer = await new Promise<string>((resolve, reject) => {
      let text = '';
      const socket = connect(firn.port, '127.0.0.1');
      socket.write(head.replace('\r\n', '\r\nExpect: 100-continue\r\n'));
      socket.on('data', (chunk) => (text += chunk.toString()));
      socket.on('error', reject);
      socket.on('close', () => resolve(text));
    });
    t.regex(answer, /^HTTP\/1\.1 503 .*retry-after: \d+.*<Code>SlowDown<\/Code>/is);
    for (const socket of held) socket.destroy();
  } finally {
    await firn.dispose();
  }
});

test.serial(
  'four times what is let in: 200 or SlowDown, memory bounded, then as before',
  async (t) => {
    t.timeout(180_000);
    const firn = await startFirn({ settings: { processes: 1 } });
    try {
      t.deepEqual((await prepare(firn)).outcomes, { 200: 12 });
      const [pid] = apiPids(firn.pid) as [number];
      const normal = await press(firn, mixture(), { connections: 128, forMs: 2000 });
      t.deepEqual(Object.keys(normal.outcomes), ['200'], 'normal load is never throttled');
      let peak = 0;
      const watch = setInterval(() => {
        peak = Math.max(peak, anonymousBytes(pid));
      }, 100);
      const told = await press(firn, mixture(), { connections: 4 * LET_IN, forMs: 5000 });
      clearInterval(watch);
      // How many are refused depends on who is faster, this process or that one.
      const others = Object.keys(told.outcomes).filter((what) => what !== '200');
      t.deepEqual(
        others.filter((what) => what !== '503 SlowDown'),
        [],
        JSON.stringify(told.outcomes),
      );
      t.true(told.servedMs.length > 100, 'it went on serving');
      t.true(peak <= RSS_MAX_BYTES, `${Math.round(peak / 1e6)} MB`);
      await sleep(1000);
      const after = await press(firn, mixture(), { connections: 128, forMs: 2000 });
      t.deepEqual(Object.keys(after.outcomes), ['200'], JSON.stringify(after.outcomes));
      const p50 = (ms: number[]): number => Math.round(ms[Math.floor(ms.length / 2)] as number);
      t.log(
        `p50 ${p50(normal.servedMs)} ms before, ${p50(told.servedMs)} during, ` +
          `${p50(after.servedMs)} after; ${Math.round(peak / 1e6)} MB; ${JSON.stringify(told.outcomes)}`,
      );
      t.deepEqual(apiPids(firn.pid), [pid], 'no process was restarted');
    } finally {
      await firn.dispose();
    }
  },
);
