// LMDB lost at any moment under load: kill -9, the metadata directory deleted, `./firn rebuild`, and
// every acknowledged PUT, DELETE, tag set, retention and key pair is as it was told; nothing that was
// deleted is back. And the refusals: an empty store over full drives, a rebuild beside a server.

import { createHash, randomBytes } from 'node:crypto';
import { cpSync, existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { runFirn, startFirn, type RunningFirn } from '../firn-process.ts';
import { s3Call } from '../s3-fetch.ts';

const ROUNDS = 5;
const md5 = (bytes: Uint8Array): string => createHash('md5').update(bytes).digest('hex');
const metadataOf = (firn: RunningFirn): string => join(firn.directory, 'data', 'metadata');
const configOf = (firn: RunningFirn): string => join(firn.directory, 'firn.yaml');

/** What was acknowledged of a key; open: sent and not answered, either may stand. */
interface Told {
  sum: string | undefined;
  tag: string | undefined;
  open: boolean;
}

const tagging = (value: string): string =>
  `<Tagging><TagSet><Tag><Key>t</Key><Value>${value}</Value></Tag></TagSet></Tagging>`;

/** One writer's keys are its own, so that what it was told last is what stands. */
async function write(
  firn: RunningFirn,
  told: Map<string, Told>,
  going: { on: boolean; acked: number },
  writer: number,
): Promise<void> {
  for (let i = 0; going.on; i++) {
    const key = `${writer}/${i % 23}`;
    const now: Told = told.get(key) ?? { sum: undefined, tag: undefined, open: false };
    const act = i % 5;
    try {
      now.open = true;
      told.set(key, now);
      if (act === 3 && now.sum !== undefined) {
        const answer = await s3Call(firn, { method: 'DELETE', path: `/lost/${key}` });
        if (answer.status !== 204) continue;
        told.set(key, { sum: undefined, tag: undefined, open: false });
      } else if (act === 4 && now.sum !== undefined) {
        const tag = `${i}`;
        const request = { method: 'PUT', path: `/lost/${key}`, query: 'tagging' };
        const answer = await s3Call(firn, { ...request, body: tagging(tag) });
        if (answer.status !== 200) continue;
        told.set(key, { ...now, tag, open: false });
      } else {
        const body = randomBytes(i % 9 === 0 ? 300_000 : 1000 + i);
        const answer = await s3Call(firn, { method: 'PUT', path: `/lost/${key}`, body });
        if (answer.status !== 200) continue;
        told.set(key, { sum: md5(body), tag: undefined, open: false });
      }
      going.acked += 1;
    } catch {
      await sleep(20);
    }
  }
}

async function check(
  t: ExecutionContext,
  firn: RunningFirn,
  told: Map<string, Told>,
): Promise<void> {
  const listed = new Set<string>();
  const list = await s3Call(firn, { method: 'GET', path: '/lost', query: 'list-type=2' });
  t.is(list.status, 200);
  for (const match of list.text.matchAll(/<Key>([^<]*)<\/Key>/g)) listed.add(match[1] as string);
  for (const [key, { sum, tag, open }] of told) {
    if (open) continue;
    const answer = await s3Call(firn, { method: 'GET', path: `/lost/${key}` });
    const found = answer.status === 200 ? md5(answer.body) : undefined;
    t.is(found, sum, `${key} (${answer.status})`);
    t.is(listed.has(key), sum !== undefined, `${key} in the list`);
    if (sum === undefined) continue;
    const request = { method: 'GET', path: `/lost/${key}`, query: 'tagging' };
    const tags = await s3Call(firn, request);
    t.is(/<Value>([^<]*)</.exec(tags.text)?.[1], tag, `${key}, its tag`);
  }
}

test.serial(
  'LMDB deleted under load: a rebuild brings back what was acknowledged, no more',
  async (t) => {
    let firn = await startFirn();
    try {
      t.is((await s3Call(firn, { method: 'PUT', path: '/lost' })).status, 200);
      const lock = { 'x-amz-bucket-object-lock-enabled': 'true' };
      t.is((await s3Call(firn, { method: 'PUT', path: '/kept', headers: lock })).status, 200);
      const until = new Date(Date.now() + 86_400_000).toISOString();
      const held = await s3Call(firn, {
        method: 'PUT',
        path: '/kept/k',
        body: 'held',
        headers: {
          'x-amz-object-lock-mode': 'COMPLIANCE',
          'x-amz-object-lock-retain-until-date': until,
        },
      });
      t.is(held.status, 200, held.text);
      const told = new Map<string, Told>();
      for (let round = 0; round < ROUNDS; round++) {
        const going = { on: true, acked: 0 };
        const all = Array.from({ length: 8 }, (_, writer) => write(firn, told, going, writer));
        const limit = Date.now() + 30_000;
        while (going.acked < 40 + round * 25 && Date.now() < limit) await sleep(10);
        t.true(going.acked > 20, `only ${going.acked} were acknowledged`);
        // In every other round the directory goes while the processes still run on what they hold.
        if (round % 2 === 1) {
          rmSync(metadataOf(firn), { recursive: true, force: true });
          await sleep(150);
        }
        await firn.kill();
        going.on = false;
        await Promise.all(all);
        rmSync(metadataOf(firn), { recursive: true, force: true });
        const made = await runFirn(['rebuild', '--config', configOf(firn), '--json']);
        t.is(made.code, 0, made.stderr);
        t.true((JSON.parse(made.stdout) as { rows: number }).rows > 0);
        firn = await firn.restart();
        await check(t, firn, told);
        const head = await s3Call(firn, { method: 'HEAD', path: '/kept/k' });
        t.is(
          head.headers.get('x-amz-object-lock-retain-until-date')?.slice(0, 19),
          until.slice(0, 19),
        );
      }
    } finally {
      await firn.dispose();
    }
  },
);

test.serial(
  'an empty store over full drives is refused, an older one is brought forward',
  async (t) => {
    let firn = await startFirn();
    try {
      t.is((await s3Call(firn, { method: 'PUT', path: '/lost' })).status, 200);
      t.is((await s3Call(firn, { method: 'PUT', path: '/lost/1', body: 'one' })).status, 200);
      const beside = await runFirn(['rebuild', '--config', configOf(firn)]);
      t.is(beside.code, 1);
      t.regex(beside.stderr, /another Firn runs/);
      await firn.stop();
      const copy = join(firn.directory, 'older');
      cpSync(metadataOf(firn), copy, { recursive: true });
      firn = await firn.restart();
      t.is((await s3Call(firn, { method: 'PUT', path: '/lost/2', body: 'two' })).status, 200);
      t.is((await s3Call(firn, { method: 'DELETE', path: '/lost/1' })).status, 204);
      await firn.stop();
      rmSync(metadataOf(firn), { recursive: true });
      cpSync(copy, metadataOf(firn), { recursive: true });
      firn = await firn.restart();
      t.is((await s3Call(firn, { method: 'GET', path: '/lost/2' })).text, 'two');
      t.is((await s3Call(firn, { method: 'GET', path: '/lost/1' })).status, 404);
      await firn.stop();
      rmSync(metadataOf(firn), { recursive: true });
      const refused = await t.throwsAsync(firn.restart());
      t.regex(refused?.message ?? '', /drives hold data[^]*firn rebuild/);
      t.false(existsSync(join(metadataOf(firn), 'data.mdb')), 'nothing was begun beside it');
      const made = await runFirn(['rebuild', '--config', configOf(firn)]);
      t.is(made.code, 0, made.stderr);
      t.regex(made.stdout, /Rebuilt in/);
      firn = await firn.restart();
      t.is((await s3Call(firn, { method: 'GET', path: '/lost/2' })).text, 'two');
    } finally {
      await firn.dispose();
    }
  },
);

test.serial(
  'what a bucket shares is shared after a rebuild, and lives by its references',
  async (t) => {
    let firn = await startFirn();
    try {
      t.is((await s3Call(firn, { method: 'PUT', path: '/twins' })).status, 200);
      const set = ['bucket', 'set', 'twins', '--dedupe', 'on', '--config', configOf(firn)];
      t.is((await runFirn(set)).code, 0);
      const sizes = [20_000, 400_000];
      const bodies = sizes.map((size) => randomBytes(size));
      const putAll = async (name: string): Promise<void> => {
        for (const [i, body] of bodies.entries()) {
          const answer = await s3Call(firn, { method: 'PUT', path: `/twins/${i}/${name}`, body });
          t.is(answer.status, 200);
        }
      };
      await putAll('first');
      await putAll('second');
      const usage = async (): Promise<{ bytes: number; storedBytes: number }> => {
        const answer = await runFirn(['usage', '--json', '--config', configOf(firn)]);
        t.is(answer.code, 0, answer.stderr);
        const { buckets } = JSON.parse(answer.stdout) as {
          buckets: { bucket: string; bytes: number; storedBytes: number }[];
        };
        return buckets.find(({ bucket }) => bucket === 'twins') ?? { bytes: 0, storedBytes: 0 };
      };
      const once = sizes.reduce((sum, size) => sum + size, 0);
      t.like(await usage(), { bytes: 2 * once, storedBytes: once });
      await firn.kill();
      rmSync(metadataOf(firn), { recursive: true, force: true });
      t.is((await runFirn(['rebuild', '--config', configOf(firn)])).code, 0);
      firn = await firn.restart();
      t.like(await usage(), { bytes: 2 * once, storedBytes: once });
      await putAll('third');
      t.like(await usage(), { bytes: 3 * once, storedBytes: once }, 'the hints are back too');
      for (const i of bodies.keys()) {
        t.is((await s3Call(firn, { method: 'DELETE', path: `/twins/${i}/first` })).status, 204);
        for (const name of ['second', 'third']) {
          const answer = await s3Call(firn, { method: 'GET', path: `/twins/${i}/${name}` });
          t.is(md5(answer.body), md5(bodies[i] as Uint8Array), `${i}/${name}`);
        }
      }
    } finally {
      await firn.dispose();
    }
  },
);
