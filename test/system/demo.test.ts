// `./firn demo` as anybody runs it, on both metadata stores: every byte back, the same objects in the
// same tiers whatever the store, packs that any zip tool opens, and data that is really there afterwards.
// And a demo that finds one byte changed must say so and fail: a comparison that can't fail proves nothing.

import { execFileSync, spawn } from 'node:child_process';
import {
  copyFileSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
  closeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { readCredentials } from '../../config.ts';
import { childrenOf, runFirn } from '../firn-process.ts';
import type { Ended } from '../firn-process.ts';
import { findMongod, startMongo } from '../peers.ts';
import { s3Call } from '../s3-fetch.ts';

const root = join(import.meta.dirname, '..', '..');
const scratch = mkdtempSync(join(tmpdir(), 'firn-story-'));

const tree = join(scratch, 'tree');
const TREE_FILES = 280;
const LARGE_BYTES = 9 * 2 ** 20;
/** Real files, some of which the demo's policy sends straight to cold, one of several stripes. */
const keys = plantTree();

function plantTree(): string[] {
  const from = join(root, 'node_modules');
  const found: string[] = [];
  for (const name of ['koa', 'undici', 'yaml', 'zod', 'ava']) {
    for (const path of readdirSync(join(from, name), { recursive: true }) as string[]) {
      if (found.length >= TREE_FILES) break;
      const file = join(from, name, path);
      if (lstatSync(file).isFile() && statSync(file).size <= 300_000) found.push(join(name, path));
    }
  }
  for (const path of found) {
    mkdirSync(dirname(join(tree, path)), { recursive: true });
    copyFileSync(join(from, path), join(tree, path));
  }
  const random = Buffer.alloc(LARGE_BYTES);
  const device = openSync('/dev/urandom', 'r');
  readSync(device, random);
  closeSync(device);
  writeFileSync(join(tree, 'large with space.bin'), random);
  writeFileSync(join(tree, 'empty'), '');
  return [...found, 'large with space.bin', 'empty'];
}

interface Shown {
  day: number;
  tier: string;
  objects: string;
  bytes: string;
  classes: string;
}

/** The tables that the demo prints after each step of the clock, without what may differ. */
function tables(stdout: string): Shown[] {
  const shown: Shown[] = [];
  let day = -1;
  for (const line of stdout.split('\n')) {
    const heading = /^ {2}DAY (\d+) /.exec(line);
    if (heading !== null) day = Number(heading[1]);
    const row = /^ {2}(hot|warm|cold|archive) +(\S+) +(–|[\d.]+ \w+) +(.+?) +[\d,]+ {2}\S/.exec(
      line,
    );
    if (row === null || day < 0) continue;
    const [, tier = '', objects = '', bytes = '', classes = ''] = row;
    shown.push({ day, tier, objects, bytes, classes });
  }
  return shown;
}

const objectsOn = (shown: Shown[], day: number, tier: string): number =>
  Number(shown.find((one) => one.day === day && one.tier === tier)?.objects.replace('–', '0'));

function checkStory(t: ExecutionContext, ended: Ended): Shown[] {
  t.is(ended.code, 0, ended.stdout + ended.stderr);
  t.regex(ended.stdout, new RegExp(`All the same.*: ${keys.length} objects`));
  t.regex(ended.stdout, /→ 403 InvalidObjectState/);
  const shown = tables(ended.stdout);
  t.is(objectsOn(shown, 0, 'hot'), keys.length, 'all begin hot');
  t.true(objectsOn(shown, 40, 'warm') > 0, 'some are warm');
  t.true(objectsOn(shown, 40, 'cold') > 0, 'some are cold');
  t.is(objectsOn(shown, 120, 'cold'), keys.length, 'all are cold');
  t.is(objectsOn(shown, 400, 'archive'), keys.length, 'all are archived');
  for (const day of [0, 40, 120, 400]) {
    const sum = ['hot', 'warm', 'cold', 'archive'].map((tier) => objectsOn(shown, day, tier));
    t.is(
      sum.reduce((a, b) => a + b),
      keys.length,
      `no object is lost or counted twice on day ${day}`,
    );
  }
  const packed = /Archived: (\d+) objects in (\d+) pack/.exec(ended.stdout);
  t.is(Number(packed?.[1]), keys.length);
  t.true(Number(packed?.[2]) >= 1);
  return shown;
}

/** What this machine has to open a zip with. */
function zipTools(): [string, string[]][] {
  const tools: [string, string[]][] = [
    ['unzip', ['-tqq']],
    ['python3', ['-m', 'zipfile', '-t']],
  ];
  return tools.filter(([tool]) => {
    try {
      execFileSync('/bin/sh', ['-c', `command -v ${tool}`], { stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  });
}

const tools = zipTools();

/** Every pack that the demo left behind, in whichever tier. Returns how many. */
function checkPacks(t: ExecutionContext, data: string): number {
  let packs = 0;
  for (const tier of ['cold', 'archive']) {
    for (const name of readdirSync(join(data, tier), { recursive: true }) as string[]) {
      if (!name.endsWith('.zip')) continue;
      packs += 1;
      for (const [tool, args] of tools) {
        t.notThrows(() => execFileSync(tool, [...args, join(data, tier, name)], { stdio: 'pipe' }));
      }
    }
  }
  return packs;
}

/** The command printed for this: one line, as a shell reads it. */
const command = (stdout: string, title: string): string =>
  new RegExp(`^ {2}${title} +(.*)$`, 'm').exec(stdout)?.[1] ?? '';

const shell = (line: string): string =>
  execFileSync('/bin/sh', ['-c', line], { cwd: root, encoding: 'utf8', stdio: 'pipe' });

/** Runs the printed line as a shell does, and reads everything back through what it serves. */
async function serveAgain(t: ExecutionContext, stdout: string): Promise<void> {
  const line = command(stdout, 'serve it again');
  t.regex(line, /^\.\/firn serve --config /);
  const [setting = ''] = /AWS_SHARED_CREDENTIALS_FILE=.*(?= AWS_DEFAULT)/.exec(stdout) ?? [];
  const credentials = readCredentials(
    shell(`${setting}; printf %s "$AWS_SHARED_CREDENTIALS_FILE"`),
  );
  const port = Number(/aws --endpoint-url http:\/\/127\.0\.0\.1:(\d+)/.exec(stdout)?.[1]);
  if (credentials === undefined) {
    t.fail(`no credentials behind ${setting}`);
    return;
  }
  const env = { PATH: process.env['PATH'] ?? '', HOME: scratch };
  const server = spawn('/bin/sh', ['-c', `exec ${line}`], { cwd: root, env, stdio: 'ignore' });
  const ended = new Promise((resolve) => server.once('exit', resolve));
  try {
    const target = { port, ...credentials };
    const until = Date.now() + 30_000;
    for (;;) {
      const answer = await s3Call(target, { method: 'GET', path: '/' }).catch(() => undefined);
      if (answer?.status === 200) break;
      if (Date.now() > until) {
        t.fail('what was printed does not serve');
        return;
      }
      await sleep(50);
    }
    const different: string[] = [];
    for (const key of keys) {
      const path = `/demo/${key.split('/').map(encodeURIComponent).join('/')}`;
      const answer = await s3Call(target, { method: 'GET', path });
      const expected = readFileSync(join(tree, key));
      if (answer.status !== 200 || !expected.equals(answer.body)) different.push(key);
    }
    t.deepEqual(different, []);
    const usage = shell(`${command(stdout, 'look around')} --json`);
    const { buckets } = JSON.parse(usage) as {
      buckets: { bucket: string; objects: number }[];
    };
    t.is(
      buckets.reduce((sum, one) => sum + one.objects, 0),
      keys.length,
    );
    const pack = command(stdout, 'open a pack');
    if (tools.some(([tool]) => pack.startsWith(`${tool} `))) t.regex(shell(pack), /index\.jsonl/);
  } finally {
    const children = childrenOf(server.pid as number);
    server.kill('SIGTERM');
    await ended;
    for (const child of children) t.throws(() => process.kill(child, 0), undefined, 'none is left');
  }
}

const mongod = await findMongod();
const onMongo = 'missing' in mongod ? test.skip : test;
if ('missing' in mongod) process.stderr.write(`skipped, demo on MongoDB: ${mongod.missing}\n`);
if (tools.length === 0) {
  if (process.env['CI']) throw new Error('neither unzip nor python3 is here to open a pack with');
  process.stderr.write('skipped, packs by foreign tools: neither unzip nor python3 is here\n');
}

test.after.always(() => rmSync(scratch, { recursive: true, force: true, maxRetries: 5 }));

const demo = (name: string, ...more: string[]): Promise<Ended> =>
  runFirn(['demo', '--tree', tree, '--data', join(scratch, name), ...more]);
let resolveTables: (shown: Shown[]) => void;
const onLmdb = new Promise<Shown[]>((resolve) => {
  resolveTables = resolve;
});

test('the demo brings every byte back, leaves zips that any tool opens, and data that is served again', async (t) => {
  const ended = await demo('on lmdb');
  resolveTables(tables(ended.stdout));
  checkStory(t, ended);
  t.true(checkPacks(t, join(scratch, 'on lmdb')) >= 2);
  await serveAgain(t, ended.stdout);
});

onMongo('the demo on MongoDB: the same objects in the same tiers on every day', async (t) => {
  const mongo = await startMongo({});
  try {
    const ended = await demo('on-mongo', '--metadata', mongo.url);
    const shown = checkStory(t, ended);
    t.true(checkPacks(t, join(scratch, 'on-mongo')) >= 2);
    t.deepEqual(shown, await onLmdb);
    await serveAgain(t, ended.stdout);
  } finally {
    await mongo.stop();
  }
});

test('one byte that differs in the end is found, named, and fails the demo', async (t) => {
  const small = join(scratch, 'small');
  mkdirSync(join(small, 'sub'), { recursive: true });
  for (const name of ['a', 'b', 'sub/c'])
    writeFileSync(join(small, name), Buffer.alloc(5000, name));
  let changed = false;
  const data = join(scratch, 'differs');
  // The source is what every byte is compared with: changed once it was uploaded, it must be noticed.
  const ended = await runFirn(['demo', '--tree', small, '--data', data], {
    onOutput(stdout) {
      if (changed || !/Plan and apply/.test(stdout)) return;
      changed = true;
      const file = openSync(join(small, 'sub/c'), 'r+');
      writeSync(file, Buffer.from([0]), 0, 1, 4999);
      closeSync(file);
    },
  });
  t.true(changed);
  t.is(ended.code, 1, ended.stdout + ended.stderr);
  t.regex(ended.stdout, /1 object DIFFER[\s\S]*sub\/c/);
  t.notRegex(ended.stdout, /All the same/);
  t.regex(ended.stderr, /came back different/);
});

test('a folder that holds something already is refused, and nothing in it is touched', async (t) => {
  const data = join(scratch, 'full');
  mkdirSync(data);
  writeFileSync(join(data, 'mine'), 'precious');
  const ended = await runFirn(['demo', '--tree', tree, '--data', data]);
  t.is(ended.code, 2);
  t.regex(ended.stderr, /not empty/);
  t.deepEqual(readdirSync(data), ['mine']);
});
