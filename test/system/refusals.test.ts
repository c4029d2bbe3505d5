// Starts that must be refused, and how: with file, line and remedy, exit 1, and no stack trace. What a
// user would lose: a store that starts over the wrong drives, or with a setting that was misread.

import { execFile, spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { parse, stringify } from 'yaml';
import { readFileSync } from 'node:fs';
import { loadConfig, settingsSchema } from '../../config.ts';
import { settings as schema } from '../../settings.ts';
import { FirnError } from '../../appliance/model/errors.ts';
import { loggedError } from '../../wiring.ts';
import { childrenOf, freePort, startFirn } from '../firn-process.ts';
import { s3Call } from '../s3-fetch.ts';

const root = join(import.meta.dirname, '..', '..');
const scratch = mkdtempSync(join(tmpdir(), 'firn-refusals-'));
test.after.always(() => rmSync(scratch, { recursive: true, force: true }));

interface Ended {
  code: number | null;
  output: string;
}

function firn(args: string[], env: Record<string, string> = {}): Promise<Ended> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [join(root, 'firn.ts'), ...args],
      {
        cwd: scratch,
        timeout: 30_000,
        env: { PATH: process.env['PATH'] ?? '', HOME: scratch, ...env },
      },
      (_, stdout, stderr) => resolve({ code: child.exitCode, output: stdout + stderr }),
    );
  });
}

async function refused(
  name: string,
  yaml: string,
  env: Record<string, string> = {},
): Promise<Ended> {
  const file = join(scratch, `${name}.yaml`);
  writeFileSync(file, yaml);
  return await firn(['serve', '--config', file], env);
}

test.serial(
  'an unknown, mistyped or doubled setting is named with file, line and remedy',
  async (t) => {
    const cases: [string, string, RegExp][] = [
      ['unknown', 'data: d\ntierz: {}\n', /unknown\.yaml:2:1: .*tierz[\s\S]*firn\.example\.yaml/],
      ['type', 'data: d\nport: nine\n', /type\.yaml:2:7: port:/],
      ['double', 'data: d\ndata: e\n', /double\.yaml:2:1: .*unique/],
      ['yaml', 'data: [\n', /yaml\.yaml:\d+:\d+/],
      [
        'class',
        'data: d\nstorageClasses: {STANDARD: hot, GLACIER: nowhere}\n',
        /GLACIER names the tier nowhere/,
      ],
      [
        'bounds',
        'data: d\nadmission: {requestsMin: 500, requestsMax: 400}\n',
        /least bound above requestsMax/,
      ],
      [
        'hot',
        'data: d\nstorageClasses: {STANDARD: cold}\n',
        /STANDARD must be mapped to a tier of kind node-group/,
      ],
    ];
    for (const [name, yaml, expected] of cases) {
      const { code, output } = await refused(name, yaml);
      t.is(code, 1, `${name}: ${output}`);
      t.regex(output, expected, name);
      t.notRegex(output, /\n\s+at /, `${name}: no stack trace`);
    }
  },
);

test.serial(
  'half a root key pair, a port that is none and a missing settings file are refused',
  async (t) => {
    const half = await refused('half', 'data: half\n', { FIRN_ROOT_ACCESS_KEY: 'ADMIN' });
    t.regex(half.output, /FIRN_ROOT_SECRET_KEY|root key pair/);
    t.is(half.code, 1);
    t.regex(
      (await refused('port', 'data: p\n', { FIRN_PORT: '90000x' })).output,
      /FIRN_PORT=90000x/,
    );
    const missing = await firn(['serve', '--config', join(scratch, 'nowhere.yaml')]);
    t.regex(missing.output, /cannot read the settings file/);
    t.is(missing.code, 1);
  },
);

test.serial('the example settings parse, and name every key there is', (t) => {
  const text = readFileSync(join(root, 'deploy', 'firn.example.yaml'), 'utf8');
  t.notThrows(() => loadConfig(join(root, 'deploy', 'firn.example.yaml'), {}));
  const uncommented = text.replaceAll(/^[\s#]*/gm, '');
  const names = new Set([...uncommented.matchAll(/^\s*([a-zA-Z]+):/gm)].map((match) => match[1]));
  const missing: string[] = [];
  const walk = (schema: Record<string, unknown>): void => {
    for (const [key, value] of Object.entries(
      (schema['properties'] ?? {}) as Record<string, Record<string, unknown>>,
    )) {
      if (!names.has(key)) missing.push(key);
      walk(value);
    }
    for (const one of [
      ...((schema['anyOf'] ?? []) as object[]),
      ...((schema['oneOf'] ?? []) as object[]),
    ])
      walk(one as Record<string, unknown>);
    if (typeof schema['additionalProperties'] === 'object')
      walk(schema['additionalProperties'] as Record<string, unknown>);
  };
  walk(settingsSchema() as Record<string, unknown>);
  t.deepEqual(missing, []);
  // What it shows without a comment sign is what holds without it.
  const shown = schema.parse(parse(text)) as Record<string, unknown>;
  const defaults = schema.parse({}) as Record<string, unknown>;
  for (const key of Object.keys(defaults)) t.deepEqual(shown[key], defaults[key], key);
});

test.serial(
  'drives that were swapped, or belong to another store, are refused by name and nothing on them changes',
  async (t) => {
    const one = await startFirn();
    t.is((await s3Call(one, { method: 'PUT', path: '/kept' })).status, 200);
    t.is(
      (await s3Call(one, { method: 'PUT', path: '/kept/object', body: 'precious' })).status,
      200,
    );
    await one.stop();
    const hot = join(one.directory, 'data', 'hot');
    const swap = (): void => {
      renameSync(join(hot, 'drive-0'), join(hot, 'x'));
      renameSync(join(hot, 'drive-1'), join(hot, 'drive-0'));
      renameSync(join(hot, 'x'), join(hot, 'drive-1'));
    };
    const config = join(one.directory, 'firn.yaml');
    swap();
    const swapped = await firn(['serve', '--config', config]);
    t.is(swapped.code, 1, swapped.output);
    t.regex(swapped.output, /drive-[01]/);
    t.notRegex(swapped.output, /\n\s+at /);
    swap();
    // An empty store over these drives.
    renameSync(join(one.directory, 'data', 'metadata'), join(one.directory, 'metadata-away'));
    const empty = await firn(['serve', '--config', config]);
    t.is(empty.code, 1, empty.output);
    t.regex(empty.output, /firn rebuild/);
    // And that of another.
    const other = await startFirn();
    await other.stop();
    renameSync(join(other.directory, 'data', 'metadata'), join(one.directory, 'data', 'metadata'));
    const foreign = await firn(['serve', '--config', config]);
    t.is(foreign.code, 1, foreign.output);
    t.regex(foreign.output, /another metadata store/);
    await other.dispose();
    rmSync(join(one.directory, 'data', 'metadata'), { recursive: true, force: true });
    renameSync(join(one.directory, 'metadata-away'), join(one.directory, 'data', 'metadata'));
    const again = await one.restart();
    t.is((await s3Call(again, { method: 'GET', path: '/kept/object' })).text, 'precious');
    await again.dispose();
  },
);

test.serial('the master key of another store is refused before anything is served', async (t) => {
  const one = await startFirn();
  await one.stop();
  writeFileSync(join(one.directory, 'data', 'master.key'), `${'ab'.repeat(32)}\n`);
  const { code, output } = await firn(['serve', '--config', join(one.directory, 'firn.yaml')]);
  t.is(code, 1, output);
  t.regex(output, /master/i);
  await one.dispose();
});

test.serial(
  'no secret is in the output, and the credentials are for their owner alone',
  async (t) => {
    const one = await startFirn();
    await s3Call(one, { method: 'PUT', path: '/bbb' });
    await s3Call({ ...one, secretKey: 'wrong-secret-key' }, { method: 'GET', path: '/bbb' });
    t.false(one.output().includes(one.secretKey));
    const { statSync } = await import('node:fs');
    for (const name of ['credentials', 'master.key']) {
      t.is(statSync(join(one.directory, 'data', name)).mode & 0o077, 0, name);
    }
    t.regex(one.output(), /credentials/);
    await one.dispose();
  },
);

test.serial('a port that is taken is named', async (t) => {
  const one = await startFirn();
  const directory = join(scratch, 'second');
  mkdirSync(directory);
  const { code, output } = await refused(
    'taken',
    `data: ${directory}\nport: ${one.port}\nadminPort: ${await freePort()}\n`,
  );
  t.is(code, 1, output);
  t.regex(output, new RegExp(`${one.port}`));
  t.true(existsSync(directory) && readdirSync(directory).length >= 0);
  await one.dispose();
});

test.serial(
  'SIGTERM while it starts is obeyed, however it was called, and leaves no process behind',
  async (t) => {
    const file = join(scratch, 'starting.yaml');
    writeFileSync(file, 'data: starting\nport: 0\nadminPort: 0\nprocesses: 1\n');
    for (const args of [
      ['serve', '--config', file],
      ['--config', file, 'serve'],
    ]) {
      const child = spawn(process.execPath, [join(root, 'firn.ts'), ...args], {
        cwd: scratch,
        stdio: 'ignore',
        env: { PATH: process.env['PATH'] ?? '', HOME: scratch },
      });
      const ended = new Promise((resolve) =>
        child.once('exit', (code, signal) => resolve(code ?? signal)),
      );
      const pid = child.pid as number;
      for (let i = 0; i < 1000 && childrenOf(pid).length < 2; i++) await sleep(10);
      const children = childrenOf(pid);
      t.is(children.length, 2);
      await sleep(100);
      child.kill('SIGTERM');
      t.is(await Promise.race([ended, sleep(15_000, 'still there')]), 0, args.join(' '));
      child.kill('SIGKILL');
      t.deepEqual(children.filter(isAlive), []);
    }
  },
);

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

test.serial(
  'a connection handed to a process that never takes it is closed with it, not held',
  async (t) => {
    const one = await startFirn({ settings: { processes: 1 } });
    const isApi = (pid: number): boolean =>
      readFileSync(`/proc/${pid}/environ`, 'latin1').includes('FIRN_PART=api');
    process.kill(one.pids().find(isApi) as number, 'SIGSTOP');
    const socket = connect(one.port, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.resume();
    socket.write(`GET / HTTP/1.1\r\nhost: 127.0.0.1:${one.port}\r\n\r\n`);
    const closed = new Promise((resolve) => socket.once('close', () => resolve('closed')));
    // The supervisor ends a process that has been silent for 5 s.
    t.is(await Promise.race([closed, sleep(30_000, 'held')]), 'closed');
    socket.destroy();
    await one.dispose();
  },
);

test.serial(
  'a domain in capitals still finds its buckets: a PUT below it makes no bucket of a key',
  (t) => {
    const file = join(scratch, 'domain.yaml');
    writeFileSync(file, 'data: d\ndomain: S3.Example.ORG\n');
    t.is(loadConfig(file, {}).domain, 's3.example.org');
  },
);

test.serial('the log says of a fault of ours what it was, and nothing that hangs on it', (t) => {
  const cloud = Object.assign(new Error('403 from the cloud'), {
    config: { headers: { authorization: 'Bearer canary' } },
  });
  const fault = new FirnError('TierUnavailable', 'the archive is away', {
    subject: 'cold',
    hint: 'look at it',
    cause: cloud,
  });
  const text = JSON.stringify(loggedError(fault));
  for (const part of [
    'TierUnavailable',
    'the archive is away',
    'look at it',
    '403 from the cloud',
    'refusals.test.ts',
  ]) {
    t.true(text.includes(part), part);
  }
  t.false(text.includes('canary'));
  t.is(loggedError('text'), 'text');
});

test.serial(
  'a tier that holds packs can not be pointed at another place: they would seem lost',
  async (t) => {
    const one = await startFirn();
    const config = join(one.directory, 'firn.yaml');
    await s3Call(one, { method: 'PUT', path: '/kept' });
    const headers = { 'x-amz-storage-class': 'GLACIER_IR' };
    await s3Call(one, { method: 'PUT', path: '/kept/object', body: 'precious', headers });
    const { output: run } = await firn(['run', 'lifecycle', '--wait', '--config', config]);
    t.regex(run, /moved 1/);
    await one.stop();
    const settings = readFileSync(config, 'utf8');
    const group = (pool: string): string[][] => [
      Array.from({ length: 6 }, (_, i) => join(one.directory, 'data', pool, `drive-${i}`)),
    ];
    const tiers = {
      hot: { kind: 'node-group', groups: group('hot') },
      warm: { kind: 'node-group', groups: group('warm') },
      cold: { kind: 'directory', directory: join(one.directory, 'elsewhere') },
      archive: {
        kind: 'directory',
        directory: join(one.directory, 'data', 'archive'),
        retrieval: 'staged',
      },
    };
    writeFileSync(config, `${settings}\n${stringify({ tiers })}`);
    const { code, output } = await firn(['serve', '--config', config]);
    t.is(code, 1, output);
    t.regex(output, /tiers\.cold names another place than its packs/);
    t.regex(output, /data\/cold/);
    writeFileSync(config, settings);
    const again = await one.restart();
    t.is((await s3Call(again, { method: 'GET', path: '/kept/object' })).text, 'precious');
    await again.dispose();
  },
);
