// Who is let in must be let out: a request that ends in any way it can, an aborted client in each
// phase, an answer cut midway, must give its place back, or the server answers 503 for ever.

import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { MiB } from '../appliance/model/limits.ts';
import { rawHead, send, startEndpoint, wireOf, type Call, type Endpoint } from './s3-caller.ts';

/** So many may be let in at once: as many leaks, and nobody is any more. */
const PLACES = 6;
const LARGE: Call = { path: '/bucket/large' };
const LARGE_BODY = Buffer.alloc(24 * MiB, 7);

interface Abuse {
  name: string;
  act: (endpoint: Endpoint, socket: Socket) => Promise<void>;
}

const headOf = (endpoint: Endpoint, call: Call, extra: string[] = []): string =>
  rawHead(wireOf(endpoint, call), extra);

const write = (socket: Socket, bytes: string | Uint8Array): Promise<void> =>
  new Promise((resolve) => {
    socket.write(bytes, () => resolve());
  });

const upload = (body: Uint8Array): Call => ({ method: 'PUT', path: '/bucket/new', body });

const ABUSES: Abuse[] = [
  {
    name: 'gone before its body',
    act: async (endpoint, socket) => write(socket, headOf(endpoint, upload(Buffer.alloc(5 * MiB)))),
  },
  {
    name: 'gone inside its body',
    act: async (endpoint, socket) => {
      const head = headOf(endpoint, upload(Buffer.alloc(5 * MiB)));
      await write(socket, head);
      await write(socket, Buffer.alloc(MiB));
    },
  },
  {
    name: 'gone inside a small body',
    act: async (endpoint, socket) => {
      const head = headOf(endpoint, upload(Buffer.alloc(1000)));
      await write(socket, head + 'x'.repeat(10));
    },
  },
  {
    name: 'gone after 100 Continue',
    act: async (endpoint, socket) => {
      const more = ['Expect: 100-continue'];
      await write(socket, headOf(endpoint, upload(Buffer.alloc(MiB)), more));
    },
  },
  {
    name: 'an answer that nobody reads, cut',
    act: async (endpoint, socket) => {
      socket.pause();
      await write(socket, headOf(endpoint, LARGE));
    },
  },
  {
    name: 'pipelined answers that nobody reads, cut',
    act: async (endpoint, socket) => {
      socket.pause();
      const one = headOf(endpoint, LARGE);
      await write(socket, one + one + one);
    },
  },
  {
    name: 'our half closed behind a pipeline',
    act: async (endpoint, socket) => {
      const one = headOf(endpoint, { method: 'HEAD', path: '/bucket/large' });
      socket.end(one + headOf(endpoint, LARGE) + one);
      await sleep(5);
    },
  },
  {
    name: 'HEAD, 304, 412, 416, 404 and 403',
    act: async (endpoint) => {
      const calls: Call[] = [
        { ...LARGE, method: 'HEAD' },
        { ...LARGE, headers: { 'If-None-Match': '*' } },
        { ...LARGE, headers: { 'If-Match': '"no"' } },
        { ...LARGE, headers: { Range: 'bytes=999999999-' } },
        { path: '/bucket/nothing' },
        { path: '/foreign/nothing' },
      ];
      for (const call of calls) await send(endpoint, call);
    },
  },
  {
    name: 'a refused body',
    act: async (endpoint, socket) => {
      const call = { ...upload(Buffer.alloc(5 * MiB)), path: '/absent/new' };
      await write(socket, headOf(endpoint, call));
      await write(socket, Buffer.alloc(100_000));
    },
  },
  {
    name: 'no path at all',
    act: async (endpoint, socket) =>
      write(socket, `OPTIONS * HTTP/1.1\r\nHost: ${endpoint.host}\r\n\r\n`),
  },
];

for (const { name, act } of ABUSES) {
  test.serial(`${name}: its place is given back`, async (t) => {
    t.timeout(30_000);
    const admission = { requestsMin: PLACES, requestsMax: PLACES, bucketMin: PLACES };
    const endpoint = await startEndpoint({ admission });
    const put = await send(endpoint, { method: 'PUT', path: '/bucket/large', body: LARGE_BODY });
    t.is(put.status, 200);
    for (let i = 0; i < 2 * PLACES; i += 1) {
      const socket = connect(endpoint.port, '127.0.0.1');
      socket.on('error', () => undefined);
      await act(endpoint, socket);
      await sleep(10 + 3 * i);
      socket.destroy();
      // Not more at once than there are places.
      await sleep(20);
    }
    await sleep(200);
    // Each was let in and ended, and nobody was refused at the door.
    const codes = endpoint.records.slice(1).map(({ code }) => code ?? '');
    t.log([...new Set(codes)].join(', '));
    t.true(codes.length >= 2 * PLACES);
    t.false(codes.includes('SlowDown'));
    t.false(codes.includes('InvalidRequest'), 'meant for what lies behind the door');
    const held = await Promise.all(
      Array.from({ length: PLACES }, () => send(endpoint, { ...LARGE, method: 'HEAD' })),
    );
    t.deepEqual(
      held.map(({ status }) => status),
      held.map(() => 200),
    );
    await endpoint.close();
  });
}
