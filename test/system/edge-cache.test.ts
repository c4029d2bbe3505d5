// deploy/nginx-cache.conf with the real nginx before the real appliance: what is warm is served,
// but to nobody whom Firn would refuse, and never as it was once. Skipped, with the reason printed,
// where nginx is not installed; CI installs it.

import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { presignUrl, sha256Hex, signRequest } from '../../appliance/model/signature.ts';
import { freePort, startFirn } from '../firn-process.ts';
import type { RunningFirn } from '../firn-process.ts';

const NGINX = ['/usr/sbin/nginx', '/usr/local/sbin/nginx', '/usr/bin/nginx'].find(existsSync);

function withNginx(): typeof test | typeof test.skip {
  if (NGINX !== undefined) return test;
  if (process.env['CI']) throw new Error('nginx is not installed; CI must have it');
  process.stderr.write('skipped, edge cache: nginx is not installed\n');
  return test.skip;
}

interface Answer {
  status: number;
  headers: http.IncomingHttpHeaders;
  bytes: Buffer;
}

interface Sent {
  method?: string;
  headers?: Record<string, string>;
  body?: Uint8Array | string;
}

function ask(
  port: number,
  path: string,
  { method = 'GET', headers, body }: Sent = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port, path, method, headers, agent: false };
    const request = http.request(options, (response) => {
      const pieces: Buffer[] = [];
      response.on('data', (piece: Buffer) => pieces.push(piece));
      response.on('error', reject);
      response.on('end', () => {
        const { statusCode: status = 0, headers: answered } = response;
        resolve({ status, headers: answered, bytes: Buffer.concat(pieces) });
      });
    });
    request.on('error', reject);
    request.end(body);
  });
}

/** The example as it stands in deploy/, but for the lines that it says to change. */
async function startNginx(
  t: ExecutionContext,
  firn: Pick<RunningFirn, 'directory' | 'port'>,
): Promise<number> {
  const folder = join(firn.directory, 'nginx');
  mkdirSync(folder);
  const port = await freePort();
  let example = readFileSync(
    join(import.meta.dirname, '..', '..', 'deploy', 'nginx-cache.conf'),
    'utf8',
  );
  for (const [from, to] of [
    ['/var/cache/nginx/firn', join(folder, 'cache')],
    ['server 127.0.0.1:9000;', `server 127.0.0.1:${firn.port};`],
    ['listen 8080;', `listen 127.0.0.1:${port};`],
  ] as const) {
    t.true(example.includes(from), `the example has ${from}`);
    example = example.replace(from, to);
  }
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${join(folder, name)};`,
  );
  const file = join(folder, 'nginx.conf');
  writeFileSync(
    file,
    `${process.getuid?.() === 0 ? 'user root;' : ''}
    daemon off; worker_processes 1; pid ${join(folder, 'pid')}; error_log ${join(folder, 'log')};
    events { worker_connections 256; }
    http { access_log off; ${temporary.join(' ')}
    ${example}
    }`,
  );
  const nginx = spawn(NGINX as string, ['-p', folder, '-c', file, '-e', join(folder, 'log')], {
    stdio: 'ignore',
  });
  const ended = new Promise<void>((resolve) => nginx.once('exit', () => resolve()));
  t.teardown(async () => {
    nginx.kill('SIGTERM');
    await ended;
  });
  for (let tries = 0; ; tries++) {
    try {
      await ask(port, '/');
      return port;
    } catch (error) {
      const log = existsSync(join(folder, 'log')) ? readFileSync(join(folder, 'log'), 'utf8') : '';
      if (tries > 100) throw new Error(`nginx did not start: ${log}`, { cause: error });
      await sleep(100);
    }
  }
}

const cacheStatus = ({ headers }: Answer): string =>
  (headers['x-cache-status'] as string | undefined) ?? 'none';

withNginx()('a warm cache answers only whom Firn would, and only what it would', async (t) => {
  t.timeout(120_000);
  const firn = await startFirn({ settings: { processes: 1 } });
  t.teardown(() => firn.dispose());
  const port = await startNginx(t, firn);
  const host = `127.0.0.1:${port}`;
  const common = { accessKey: firn.accessKey, secretKey: firn.secretKey, region: 'us-east-1' };
  const url = (
    path: string,
    more: { date?: Date; expiresSeconds?: number; query?: string } = {},
  ): string =>
    presignUrl({
      ...common,
      service: 's3',
      method: 'GET',
      host,
      path,
      query: '',
      headers: {},
      date: new Date(),
      scheme: 'http',
      expiresSeconds: 60,
      ...more,
    }).slice(`http://${host}`.length);
  const signed = (
    path: string,
    { method = 'GET', headers = {}, body = '' }: Sent = {},
  ): Promise<Answer> => {
    const payloadHash = sha256Hex(body);
    const [bare = '', query = ''] = path.split('?');
    const request = { method, host, path: bare, query, headers, payloadHash, date: new Date() };
    const made = signRequest({ ...common, service: 's3', ...request });
    return ask(port, path, { method, headers: made, body });
  };

  t.is((await signed('/edge', { method: 'PUT' })).status, 200);
  const key = '/edge/a%20folder/100%25%2Bsure.bin';
  const first = Buffer.alloc(700_000, 'first ');
  t.is(
    (await signed(key, { method: 'PUT', body: first, headers: { 'x-amz-meta-a_b': 'c' } })).status,
    200,
  );

  const missed = await ask(port, url(key));
  t.is(
    `${missed.status} ${cacheStatus(missed)}`,
    '200 MISS',
    missed.bytes.toString('latin1', 0, 500),
  );
  t.true(missed.bytes.equals(first));
  // Another signature, the same copy; and one in a header.
  const hit = await ask(port, url(key, { expiresSeconds: 61 }));
  t.is(`${hit.status} ${cacheStatus(hit)}`, '200 HIT');
  t.true(hit.bytes.equals(first));
  t.is(hit.headers['x-amz-meta-a_b'], 'c');
  t.not(hit.headers['x-amz-request-id'], missed.headers['x-amz-request-id']);
  t.is(cacheStatus(await signed(key)), 'HIT');

  const part = await ask(port, url(key), { headers: { range: 'bytes=6-10' } });
  t.is(`${part.status} ${cacheStatus(part)} ${part.bytes.toString()}`, '206 HIT first');
  const known = await ask(port, url(key), {
    headers: { 'if-none-match': hit.headers.etag as string },
  });
  t.is(`${known.status} ${cacheStatus(known)}`, '304 HIT');
  const signedRange = await signed(key, { headers: { range: 'bytes=6-10' } });
  t.is(`${signedRange.status} ${cacheStatus(signedRange)}`, '206 none', 'a range that was signed');
  const other = await ask(port, url(key, { query: 'response-content-type=text%2Fplain' }));
  t.is(`${cacheStatus(other)} ${other.headers['content-type']}`, 'MISS text/plain');

  const good = url(key);
  const refused: Record<string, string> = {
    'an expired URL': url(key, { date: new Date(Date.now() - 3_600_000) }),
    'another signature': good.replace(/.$/, (c) => (c === '0' ? '1' : '0')),
    'a longer life': good.replace('X-Amz-Expires=60', 'X-Amz-Expires=600'),
    'a parameter more': `${good}&response-content-type=text%2Fhtml`,
    'no signature': key,
  };
  for (const [what, target] of Object.entries(refused)) {
    const answer = await ask(port, target);
    t.is(`${answer.status} ${cacheStatus(answer)}`, '403 none', what);
    t.regex(answer.bytes.toString(), /<Code>(?:AccessDenied|SignatureDoesNotMatch)</, what);
  }

  const second = Buffer.alloc(700_000, 'second ');
  t.is((await signed(key, { method: 'PUT', body: second })).status, 200);
  const renewed = await ask(port, good);
  t.is(`${renewed.status} ${cacheStatus(renewed)}`, '200 MISS', 'overwritten');
  t.true(renewed.bytes.equals(second));
  t.is(cacheStatus(await ask(port, good)), 'HIT');
  t.is((await signed(key, { method: 'DELETE' })).status, 204);
  t.is((await ask(port, good)).status, 404, 'deleted');

  const large = Buffer.alloc(3_000_000, 'x');
  t.is(
    (await signed('/edge/large', { method: 'PUT', body: large })).status,
    200,
    'a body through it',
  );
  t.is((await signed('/edge?list-type=2')).status, 200, 'a list');
  const head = await signed('/edge/large', { method: 'HEAD' });
  t.is(`${head.status} ${head.headers['content-length']}`, '200 3000000');
  await signed('/edge/secret', { method: 'PUT', headers: { 'cache-control': 'no-store' } });
  await ask(port, url('/edge/secret'));
  t.not(cacheStatus(await ask(port, url('/edge/secret'))), 'HIT', 'no-store');
  // The mark of the cache itself, sent by a client: it is taken off.
  const marked = await ask(port, url('/edge/large'), { headers: { 'x-firn-authorize': '1' } });
  t.is(`${marked.status} ${marked.bytes.length}`, '200 3000000');
  await firn.stop();
  t.is((await ask(port, url('/edge/large'))).status, 502, 'nobody there to authorise');
});

withNginx()(
  'what was read after another version came is not kept under the name of the first',
  async (t) => {
    // In place of Firn, because nothing else can put a version exactly between the two requests.
    let version = 'new';
    let reads = 0;
    const upstream = http.createServer(({ headers }, response) => {
      const isAuthorize = headers['x-firn-authorize'] !== undefined;
      const named = isAuthorize ? 'old' : version;
      response.setHeader('ETag', `"${named}"`);
      response.setHeader('Last-Modified', 'Tue, 24 Nov 2026 10:00:00 GMT');
      if (isAuthorize) {
        response.writeHead(204, { 'x-firn-cache-key': 'bucket/key/of-old' }).end();
        return;
      }
      reads += 1;
      response.end(named);
    });
    const upstreamPort = await new Promise<number>((resolve) => {
      upstream.listen(0, '127.0.0.1', () => resolve((upstream.address() as AddressInfo).port));
    });
    const directory = mkdtempSync(join(tmpdir(), 'firn-edge-'));
    t.teardown(() => {
      upstream.close();
      upstream.closeAllConnections();
      rmSync(directory, { recursive: true, force: true });
    });
    const port = await startNginx(t, { directory, port: upstreamPort });
    reads = 0;
    t.is((await ask(port, '/bucket/key')).bytes.toString(), 'new');
    version = 'old';
    t.is((await ask(port, '/bucket/key')).bytes.toString(), 'old', 'the first answer was not kept');
    t.is((await ask(port, '/bucket/key')).bytes.toString(), 'old');
    t.is(reads, 2, 'the second one was');
  },
);
