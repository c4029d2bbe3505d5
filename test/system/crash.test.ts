// kill -9, on both metadata stores: what was acknowledged is there with the same bytes after the crash,
// what was not is wholly there or wholly absent, and a list tells the same as the keys. Then mongod
// itself is killed under load: 503 with Retry-After while it is away, and service again without a
// restart of Firn.

import { createHash, randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { startFirn } from '../firn-process.ts';
import type { RunningFirn } from '../firn-process.ts';
import { findMongod, startMongo } from '../peers.ts';
import { errorCode, s3Call } from '../s3-fetch.ts';

const md5 = (bytes: Uint8Array): string => createHash('md5').update(bytes).digest('hex');

/** Sizes on both sides of the small limit, an empty one, and one of several stripes. */
const sizes = [0, 1, 4096, 4096, 4096, 100_000, 262_144, 262_145, 1_500_000];

interface Written {
  acked: Map<string, string>;
  /** Sent since the last acknowledgement of the key, without one of their own: any may stand. */
  open: Map<string, Set<string>>;
  refused: Map<number, number>;
  retryAfterMissing: number;
}

interface Writers {
  /** Resolves once so many PUTs were acknowledged: a loaded machine takes longer for it. */
  acked(puts: number): Promise<void>;
  stop(): Promise<Written>;
}

/** Writers that go on until told to stop, each key new, some overwritten and some deleted. */
function writers(firn: RunningFirn, prefix: string, count: number): Writers {
  const written: Written = {
    acked: new Map(),
    open: new Map(),
    refused: new Map(),
    retryAfterMissing: 0,
  };
  let going = true;
  let puts = 0;
  const one = async (writer: number): Promise<void> => {
    for (let i = 0; going; i++) {
      const key = `${prefix}/${writer}/${i % 40}`;
      const body = randomBytes(sizes[(writer + i) % sizes.length] as number);
      const open = written.open.get(key) ?? new Set();
      written.open.set(key, open.add(md5(body)));
      try {
        const answer = await s3Call(firn, { method: 'PUT', path: `/crash/${key}`, body });
        if (answer.status === 200) {
          puts += 1;
          written.acked.set(key, md5(body));
          written.open.delete(key);
        } else {
          written.refused.set(answer.status, (written.refused.get(answer.status) ?? 0) + 1);
          if (answer.status === 503 && !answer.headers.get('retry-after'))
            written.retryAfterMissing += 1;
          await sleep(20);
        }
      } catch {
        await sleep(20);
      }
    }
  };
  const all = Array.from({ length: count }, (_, writer) => one(writer));
  return {
    async acked(wanted) {
      const until = Date.now() + 60_000;
      while (puts < wanted && Date.now() < until) await sleep(10);
    },
    async stop() {
      going = false;
      await Promise.all(all);
      return written;
    },
  };
}

async function checkAll(t: ExecutionContext, firn: RunningFirn, written: Written): Promise<void> {
  const listed = new Set<string>();
  let after = '';
  for (;;) {
    const page = await s3Call(firn, {
      method: 'GET',
      path: '/crash',
      query: `list-type=2${after}`,
    });
    t.is(page.status, 200, page.text);
    for (const match of page.text.matchAll(/<Key>([^<]*)<\/Key>/g)) listed.add(match[1] as string);
    const token = /<NextContinuationToken>([^<]*)</.exec(page.text)?.[1];
    if (token === undefined) break;
    after = `&continuation-token=${encodeURIComponent(token)}`;
  }
  let lost = 0;
  for (const [key, sum] of written.acked) {
    const answer = await s3Call(firn, { method: 'GET', path: `/crash/${key}` });
    const found = answer.status === 200 ? md5(answer.body) : `status ${answer.status}`;
    if (found === sum || written.open.get(key)?.has(found)) {
      if (!listed.has(key)) t.fail(`${key} is read but not listed`);
    } else {
      lost += 1;
      t.log(`${key}: ${found}, acknowledged ${sum}`);
    }
  }
  t.is(lost, 0, `of ${written.acked.size} acknowledged objects`);
  for (const [key, sums] of written.open) {
    const answer = await s3Call(firn, { method: 'GET', path: `/crash/${key}` });
    if (answer.status === 404) t.false(listed.has(key));
    else t.true(sums.has(md5(answer.body)) || written.acked.get(key) === md5(answer.body), key);
  }
}

async function crashRounds(t: ExecutionContext, start: RunningFirn): Promise<RunningFirn> {
  let firn = start;
  t.is((await s3Call(firn, { method: 'PUT', path: '/crash' })).status, 200);
  for (let round = 0; round < 3; round++) {
    const load = writers(firn, `round-${round}`, 12);
    await load.acked(100 + round * 50);
    await firn.kill();
    const written = await load.stop();
    t.true(
      written.acked.size > 20,
      `only ${written.acked.size} were acknowledged in round ${round}`,
    );
    firn = await firn.restart();
    await checkAll(t, firn, written);
  }
  return firn;
}

const mongod = await findMongod();
const onMongo = 'missing' in mongod ? test.skip : test.serial;
if ('missing' in mongod) process.stderr.write(`skipped, MongoDB: ${mongod.missing}\n`);

test.serial(
  'kill -9 of the whole appliance under load loses no acknowledged object, on LMDB',
  async (t) => {
    let firn = await startFirn();
    try {
      firn = await crashRounds(t, firn);
      // One api process alone: the others go on, it comes back, nothing is lost.
      const load = writers(firn, 'one-child', 8);
      await load.acked(50);
      const [, ...children] = firn.pids();
      process.kill(children[0] as number, 'SIGKILL');
      await sleep(1500);
      await checkAll(t, firn, await load.stop());
    } finally {
      await firn.dispose();
    }
  },
);

onMongo(
  'kill -9 of Firn, then of mongod under load, loses no acknowledged object, on MongoDB',
  async (t) => {
    const mongo = await startMongo({});
    let firn = await startFirn({ metadata: mongo.url });
    try {
      firn = await crashRounds(t, firn);
      const load = writers(firn, 'mongod-away', 8);
      await load.acked(50);
      await mongo.kill();
      await sleep(4500);
      const away = await s3Call(firn, { method: 'GET', path: '/crash/round-0/0/0' });
      t.is(away.status, 503, 'while MongoDB is away');
      t.is(errorCode(away), 'ServiceUnavailable');
      t.truthy(away.headers.get('retry-after'));
      await mongo.restart();
      const until = Date.now() + 30_000;
      let status = 0;
      while (status !== 200 && Date.now() < until) {
        await sleep(200);
        status = (await s3Call(firn, { method: 'PUT', path: '/crash/back', body: 'again' })).status;
      }
      t.is(status, 200, 'served again without a restart of Firn');
      await sleep(500);
      const written = await load.stop();
      t.true((written.refused.get(503) ?? 0) > 0);
      t.is(written.retryAfterMissing, 0);
      t.deepEqual(
        [...written.refused.keys()].filter((code) => code !== 503),
        [],
      );
      await checkAll(t, firn, written);
    } finally {
      await firn.dispose();
      await mongo.stop();
    }
  },
);
