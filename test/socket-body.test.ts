// Large bodies read from the socket beside node's parser: every byte of theirs and none of the next
// request's, whatever pieces they come in, and a connection that is as it was afterwards.

import { createHash, randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { Payload } from '../api/s3/body/payload.ts';
import { SocketBody, taken } from '../api/s3/body/socket-body.ts';
import { StallGuard } from '../api/s3/body/stall-guard.ts';
import type { Identity } from '../api/s3/signature/verify.ts';
import { KiB, MiB } from '../appliance/model/limits.ts';

type Serve = (incoming: IncomingMessage, response: ServerResponse) => Promise<void>;

const sumOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** As an operation does: the whole body, a piece kept while the next is asked for. */
async function sumOfBody(incoming: IncomingMessage, body: SocketBody): Promise<string> {
  const sum = createHash('sha256');
  let held: Buffer | undefined;
  for (let piece = await body.next(); piece !== undefined; piece = await body.next()) {
    if (held !== undefined) sum.update(held);
    held = piece;
  }
  if (held !== undefined) sum.update(held);
  body.stop();
  return `${sum.digest('hex')} ${incoming.complete}`;
}

const reading: Serve = async (incoming, response) => {
  const body = SocketBody.of(incoming, response, new StallGuard(2000));
  if (body !== undefined) response.end(await sumOfBody(incoming, body));
  else {
    const pieces: Buffer[] = [];
    for await (const piece of incoming) pieces.push(piece as Buffer);
    response.end(`${sumOf(Buffer.concat(pieces))} small`);
  }
};

interface Client {
  socket: Socket;
  /** Bodies of the answers in order; resolves when so many have come. */
  answers: (count: number) => Promise<string[]>;
}

async function serving(
  t: ExecutionContext,
  serve: Serve,
): Promise<{ client: () => Promise<Client>; failures: unknown[] }> {
  const failures: unknown[] = [];
  const server = createServer((incoming, response) => {
    serve(incoming, response).catch((error: unknown) => {
      failures.push(error);
      response.destroy();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  return { client: () => newClient(port), failures };
}

async function newClient(port: number): Promise<Client> {
  const socket = connect(port, '127.0.0.1');
  let text = '';
  const told: (() => void)[] = [];
  const tell = (): void => told.forEach((one) => one());
  socket.on('data', (piece) => {
    text += piece.toString('latin1');
    tell();
  });
  socket.on('close', tell);
  socket.on('error', () => undefined);
  const found = (): string[] => {
    const bodies: string[] = [];
    let rest = text;
    for (;;) {
      const end = rest.indexOf('\r\n\r\n');
      if (end < 0) return bodies;
      const length = Number(/content-length: *(\d+)/i.exec(rest.slice(0, end))?.[1] ?? 0);
      if (rest.length < end + 4 + length) return bodies;
      bodies.push(rest.slice(end + 4, end + 4 + length));
      rest = rest.slice(end + 4 + length);
    }
  };
  await new Promise((resolve) => socket.once('connect', resolve));
  return {
    socket,
    answers: (count) =>
      new Promise((resolve) => {
        const look = (): void => {
          if (found().length >= count || socket.destroyed) resolve(found());
        };
        told.push(look);
        look();
      }),
  };
}

const head = (bytes: number): string =>
  `PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: ${bytes}\r\n\r\n`;

test.serial(
  'a large body and requests right behind it in the same packets: each gets its own bytes',
  async (t) => {
    const { client, failures } = await serving(t, reading);
    const before = { ...taken };
    const { socket, answers } = await client();
    const wanted: string[] = [];
    // Again and again on one connection: who took a socket once finds his own traces there.
    for (const size of [5 * MiB + 3, 100, 2 * MiB, 3 * MiB + 64 * KiB, 0, 9 * MiB + 1]) {
      const bytes = randomBytes(size);
      wanted.push(sumOf(bytes));
      socket.write(Buffer.concat([Buffer.from(head(size)), bytes]));
    }
    const sums = (await answers(wanted.length)).map((answer) => answer.split(' ')[0]);
    t.deepEqual(sums, wanted);
    t.deepEqual(failures, []);
    // A pipelined one whose turn to answer has not come goes the usual way, so at least the first.
    t.true(taken.bodies > before.bodies, 'this node is as known: bodies are taken from the socket');
    t.true(taken.bytes - before.bytes > 4 * MiB);
  },
);

test.serial(
  'one request after another on a connection is taken each time, however it is cut',
  async (t) => {
    const { client } = await serving(t, reading);
    const { socket, answers } = await client();
    const wanted: string[] = [];
    for (const step of [1000, 70_001, MiB, 333_333]) {
      const bytes = randomBytes(2 * MiB + 17);
      wanted.push(`${sumOf(bytes)} true`);
      const before = taken.bodies;
      const all = Buffer.concat([Buffer.from(head(bytes.length)), bytes]);
      for (let at = 0; at < all.length; at += step) {
        socket.write(all.subarray(at, at + step));
        if (at % (64 * step) === 0) await sleep(1);
      }
      t.deepEqual(await answers(wanted.length), wanted);
      t.is(taken.bodies, before + 1);
    }
  },
);

test.serial(
  'a client that goes away, or ends, in the middle of a body: an error, and no harm to others',
  async (t) => {
    const { client, failures } = await serving(t, reading);
    for (const leave of ['destroy', 'end'] as const) {
      const { socket, answers } = await client();
      socket.write(Buffer.concat([Buffer.from(head(4 * MiB)), randomBytes(MiB)]));
      await sleep(100);
      socket[leave]();
      await answers(1);
      for (let i = 0; i < 100 && failures.length === 0; i += 1) await sleep(20);
      t.is((failures.pop() as { code: string }).code, 'IncompleteBody', leave);
      // The parser goes back to node's list, from which the next connection takes it.
      for (const size of [1000, 3 * MiB]) {
        const next = await client();
        const bytes = randomBytes(size);
        next.socket.write(Buffer.concat([Buffer.from(head(size)), bytes]));
        t.like(await next.answers(1), { 0: sumOf(bytes) + (size > MiB ? ' true' : ' small') });
        next.socket.destroy();
      }
    }
  },
);

test.serial(
  'a body given up half way: the rest is read by who ends the request, and the next one comes',
  async (t) => {
    const { client, failures } = await serving(t, async (incoming, response) => {
      if (incoming.url === '/small') return reading(incoming, response);
      const body = SocketBody.of(incoming, response, new StallGuard(2000)) as SocketBody;
      for (let i = 0; i < 3; i += 1) await body.next();
      body.stop();
      let rest = 0;
      for await (const piece of incoming) rest += (piece as Buffer).length;
      response.end(String(rest + body.receivedBytes));
    });
    const { socket, answers } = await client();
    const wanted: string[] = [];
    const small = randomBytes(5000);
    for (let i = 0; i < 4; i += 1) {
      const size = 5 * MiB + i;
      socket.write(Buffer.concat([Buffer.from(head(size)), randomBytes(size)]));
      socket.write(Buffer.concat([Buffer.from(head(5000).replace('/x', '/small')), small]));
      wanted.push(String(size), `${sumOf(small)} small`);
      t.deepEqual(await answers(wanted.length), wanted);
    }
    t.deepEqual(failures, []);
  },
);

test.serial(
  'more large bodies at once than there are buffers: all come, and buffers come back',
  async (t) => {
    const { client } = await serving(t, reading);
    for (let round = 0; round < 2; round += 1) {
      const before = taken.bodies;
      const bytes = randomBytes(2 * MiB);
      await Promise.all(
        Array.from({ length: 20 }, async () => {
          const { socket, answers } = await client();
          socket.write(Buffer.concat([Buffer.from(head(bytes.length)), bytes]));
          t.is((await answers(1))[0]?.split(' ')[0], sumOf(bytes));
          socket.destroy();
        }),
      );
      t.true(taken.bodies - before >= 16, `${taken.bodies - before} of 20`);
    }
  },
);

test.serial(
  'aws-chunked: the last piece of the object is right though only framing follows, piece by piece',
  async (t) => {
    const object = randomBytes(2 * MiB + 5);
    const identity = { payloadHash: 'STREAMING-UNSIGNED-PAYLOAD-TRAILER' } as Identity;
    const { client, failures } = await serving(t, async (incoming, response) => {
      const payload = new Payload({
        incoming,
        response,
        headers: incoming.headers as Record<string, string>,
        identity,
        guard: new StallGuard(2000),
        expectsContinue: false,
      });
      const { body } = await payload.open();
      const sum = createHash('sha256');
      for await (const piece of body as AsyncIterable<Uint8Array>) sum.update(piece);
      response.end(sum.digest('hex'));
    });
    const { socket, answers } = await client();
    socket.setNoDelay(true);
    const framed = Buffer.concat([
      Buffer.from(`${object.length.toString(16)}\r\n`),
      object,
      Buffer.from('\r\n0\r\n'),
      Buffer.from('x-amz-checksum-sha256:'),
      Buffer.from(createHash('sha256').update(object).digest('base64')),
      Buffer.from('\r\n\r\n'),
    ]);
    const lines = [
      'PUT /x HTTP/1.1',
      'Host: h',
      'Content-Encoding: aws-chunked',
      'x-amz-trailer: x-amz-checksum-sha256',
      `x-amz-decoded-content-length: ${object.length}`,
      `Content-Length: ${framed.length}`,
    ];
    const before = taken.bodies;
    socket.write(`${lines.join('\r\n')}\r\n\r\n`);
    const framing = framed.length - 60;
    socket.write(framed.subarray(0, framing));
    for (let at = framing; at < framed.length; at += 1) {
      await sleep(1);
      socket.write(framed.subarray(at, at + 1));
    }
    t.deepEqual(await answers(1), [sumOf(object)]);
    t.deepEqual(failures, []);
    t.is(taken.bodies, before + 1);
  },
);

test.serial(
  'whoever else lets the socket flow: a piece that may be held is not written over',
  async (t) => {
    const bytes = randomBytes(6 * MiB);
    const { client, failures } = await serving(t, async (incoming, response) => {
      const body = SocketBody.of(incoming, response, new StallGuard(2000)) as SocketBody;
      const pieces: Buffer[] = [];
      let [at, turns] = [0, 0];
      const isRight = (piece: Buffer): boolean => {
        const from = at - pieces.slice(pieces.indexOf(piece)).reduce((n, one) => n + one.length, 0);
        return bytes.subarray(from, from + piece.length).equals(piece);
      };
      for (let piece = await body.next(); piece !== undefined; piece = await body.next()) {
        pieces.push(piece);
        at += piece.length;
        if (pieces.length > 2) pieces.shift();
        turns += 1;
        for (let i = 0; turns % 8 === 4 && i < 3; i += 1) {
          incoming.socket.resume();
          await sleep(10);
        }
        t.true(pieces.every(isRight), `${at}`);
      }
      body.stop();
      response.end(`${at} ${incoming.complete}`);
    });
    const { socket, answers } = await client();
    socket.write(Buffer.concat([Buffer.from(head(bytes.length)), bytes]));
    t.deepEqual(await answers(1), [`${bytes.length} true`]);
    t.deepEqual(failures, []);
  },
);

// The last one: nothing is taken behind it.
test.serial(
  'a throw behind a read that somebody swallows: the body fails, as nobody knows where it lies',
  async (t) => {
    const swallowed: unknown[] = [];
    const swallow = (error: unknown): void => void swallowed.push(error);
    // Ava's own would end the worker.
    const others = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    process.on('uncaughtException', swallow);
    t.teardown(() => {
      process.off('uncaughtException', swallow);
      for (const one of others) process.on('uncaughtException', one);
    });
    const bytes = randomBytes(6 * MiB);
    let wrong = 0;
    const { client, failures } = await serving(t, async (incoming, response) => {
      const body = SocketBody.of(incoming, response, new StallGuard(2000));
      if (body === undefined) return reading(incoming, response);
      const socket = incoming.socket as unknown as Record<symbol, unknown>;
      const isCallback = (one: symbol): boolean => one.description === 'kBufferCb';
      const name = Object.getOwnPropertySymbols(socket).find(isCallback) as symbol;
      let [at, pieces] = [0, 0];
      try {
        for (let piece = await body.next(); piece !== undefined; piece = await body.next()) {
          if (!bytes.subarray(at, at + piece.length).equals(piece)) wrong += 1;
          at += piece.length;
          pieces += 1;
          if (pieces !== 3) continue;
          const came = socket[name] as (...all: unknown[]) => unknown;
          socket[name] = (...all: unknown[]) => {
            socket[name] = came;
            process.nextTick(() => {
              throw new Error('of a neighbour');
            });
            return came(...all);
          };
        }
        response.end(String(at));
      } finally {
        body.stop();
      }
    });
    const { socket, answers } = await client();
    const all = Buffer.concat([Buffer.from(head(bytes.length)), bytes]);
    socket.write(all);
    t.deepEqual(await answers(1), []);
    t.is(swallowed.length, 1);
    t.is(wrong, 0);
    t.is((failures.pop() as { code: string }).code, 'IncompleteBody');
    const next = await client();
    next.socket.write(all);
    t.deepEqual(await next.answers(1), [`${sumOf(bytes)} small`]);
  },
);
