// Signatures by elliptic curves (SigV4A), compared with the AWS SDK's own signer: the danger is a key
// derivation that is nearly right, and a kind of signature that somebody forgot to check.

import { createHash, createHmac, randomBytes } from 'node:crypto';
import { SignatureV4a } from '@smithy/signature-v4a';
import test from 'ava';
import {
  coversRegion,
  ecdsaChunkText,
  ecdsaTrailerText,
} from '../appliance/model/signature-ecdsa.ts';
import { EMPTY_SHA256, sha256Hex } from '../appliance/model/signature.ts';
import { checkRefusal, REGION, sendWire, startEndpoint, type Wire } from './s3-caller.ts';

class Sha256 {
  readonly #hash;
  constructor(secret?: string | Uint8Array) {
    this.#hash = secret === undefined ? createHash('sha256') : createHmac('sha256', secret);
  }
  update(data: Uint8Array): void {
    this.#hash.update(data);
  }
  digest(): Promise<Uint8Array> {
    return Promise.resolve(new Uint8Array(this.#hash.digest()));
  }
  reset(): void {
    throw new Error('not used');
  }
}

/** Gives its key away, so that chunks can be signed by the same code. */
class Signer extends SignatureV4a {
  key: unknown;
  signText(text: string): Promise<string> {
    const inner = SignatureV4a.prototype as unknown as Record<'getSignature', Function>;
    return inner.getSignature.call(this, this.key, text) as Promise<string>;
  }
}
(Signer.prototype as unknown as Record<string, unknown>)['getSignature'] = async function (
  this: Signer,
  key: unknown,
  text: string,
): Promise<string> {
  this.key = key;
  return await this.signText(text);
};

interface Asked {
  method?: string;
  path: string;
  headers?: Record<string, string>;
  body?: Buffer;
  payloadHash?: string;
  regions?: string;
}

async function sign(
  host: string,
  keys: { accessKey: string; secretKey: string },
  asked: Asked,
): Promise<{ wire: Wire; signer: Signer; date: Date }> {
  const { method = 'GET', path, body = Buffer.alloc(0) } = asked;
  const date = new Date();
  const signer = new Signer({
    credentials: { accessKeyId: keys.accessKey, secretAccessKey: keys.secretKey },
    region: asked.regions ?? '*',
    service: 's3',
    sha256: Sha256 as never,
    uriEscapePath: false,
    applyChecksum: true,
  });
  const payloadHash = asked.payloadHash ?? sha256Hex(body);
  const headers = { host, 'x-amz-content-sha256': payloadHash, ...asked.headers };
  const request = { method, protocol: 'http:', hostname: host, path, query: {}, headers };
  const signed = (await signer.sign(request, { signingDate: date })) as {
    headers: Record<string, string>;
  };
  const wire = { method, url: path, headers: { ...signed.headers }, body };
  if (method === 'PUT') wire.headers['content-length'] = String(body.length);
  return { wire, signer, date };
}

const SECRETS = 12;

test('what the SDK signs by elliptic curve is served; altered, or for another region, it is not', async (t) => {
  const pairs = new Map(
    Array.from({ length: SECRETS }, (_, i) => [`AK${i}`, randomBytes(24).toString('base64url')]),
  );
  const endpoint = await startEndpoint({
    accounts: {
      secretOf: (accessKey) => {
        const secretKey = pairs.get(accessKey);
        return Promise.resolve(
          secretKey === undefined ? undefined : { account: 'owner', secretKey },
        );
      },
    },
  });
  t.teardown(() => endpoint.close());
  for (const [accessKey, secretKey] of pairs) {
    const keys = { accessKey, secretKey };
    const path = `/bucket/${accessKey}%20%C3%A9`;
    const put = await sign(endpoint.host, keys, {
      method: 'PUT',
      path,
      body: Buffer.from(accessKey),
    });
    t.is((await sendWire(endpoint, put.wire)).status, 200);
    const got = await sign(endpoint.host, keys, { path });
    t.is((await sendWire(endpoint, got.wire)).text, accessKey);
    const here = await sign(endpoint.host, keys, { path, regions: `us-west-2,${REGION}` });
    t.is((await sendWire(endpoint, here.wire)).status, 200);
    const other = await sign(endpoint.host, keys, { path, regions: 'us-west-2' });
    checkRefusal(await sendWire(endpoint, other.wire), 400, 'AuthorizationHeaderMalformed');
    const altered = structuredClone(got.wire);
    altered.url += 'x';
    checkRefusal(await sendWire(endpoint, altered), 403, 'SignatureDoesNotMatch');
    const wider = structuredClone(other.wire);
    wider.headers['x-amz-region-set'] = '*';
    checkRefusal(await sendWire(endpoint, wider), 403, 'SignatureDoesNotMatch');
  }
  const [accessKey] = [...pairs.keys()] as [string];
  const { wire } = await sign(
    endpoint.host,
    { accessKey, secretKey: 'another' },
    { path: '/bucket/x' },
  );
  checkRefusal(await sendWire(endpoint, wire), 403, 'SignatureDoesNotMatch');
  for (const forged of ['', '00', '3006020101020101', 'zz', '*'.repeat(144)]) {
    const broken = structuredClone(wire);
    const { authorization } = broken.headers as { authorization: string };
    broken.headers['authorization'] = authorization.replace(/Signature=.*$/, `Signature=${forged}`);
    const answer = await sendWire(endpoint, broken);
    t.true(answer.status === 403 || answer.status === 400, forged);
  }
});

test('a body whose chunks are signed by elliptic curve is taken whole, and refused when one byte is another', async (t) => {
  const keys = { accessKey: 'AKOWNER', secretKey: 'owner-secret-key' };
  const endpoint = await startEndpoint();
  t.teardown(() => endpoint.close());
  const data = randomBytes(20_000);
  const crc = 'x-amz-checksum-crc32';
  for (const trailing of [false, true]) {
    const send = async (spoil?: (pieces: Buffer[]) => void): Promise<number> => {
      const kind = `STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD${trailing ? '-TRAILER' : ''}`;
      const { wire, signer, date } = await sign(endpoint.host, keys, {
        method: 'PUT',
        path: '/bucket/chunked',
        payloadHash: kind,
        headers: {
          'content-encoding': 'aws-chunked',
          'x-amz-decoded-content-length': String(data.length),
          ...(trailing && { 'x-amz-trailer': crc }),
        },
      });
      const timestamp = date.toISOString().replace(/[-:]|\.\d{3}/g, '');
      const context = { timestamp, scope: `${timestamp.slice(0, 8)}/s3/aws4_request` };
      let previous =
        /Signature=([0-9a-f]+)/.exec(wire.headers['authorization'] as string)?.[1] ?? '';
      const pieces: Buffer[] = [];
      for (const chunk of [data.subarray(0, 8192), data.subarray(8192), Buffer.alloc(0)]) {
        const sum = chunk.length === 0 ? EMPTY_SHA256 : sha256Hex(chunk);
        previous = await signer.signText(ecdsaChunkText(context, previous, sum));
        const head = `${chunk.length.toString(16)};chunk-signature=${previous.padEnd(144, '*')}\r\n`;
        pieces.push(Buffer.from(head), chunk);
        if (chunk.length > 0) pieces.push(Buffer.from('\r\n'));
      }
      if (trailing) {
        const { crc32 } = await import('node:zlib');
        const sum = Buffer.alloc(4);
        sum.writeUInt32BE(crc32(data));
        const line = `${crc}:${sum.toString('base64')}\n`;
        const signature = await signer.signText(ecdsaTrailerText(context, previous, line));
        pieces.push(Buffer.from(`${line.trim()}\r\nx-amz-trailer-signature:${signature}\r\n`));
      }
      pieces.push(Buffer.from('\r\n'));
      spoil?.(pieces);
      wire.body = Buffer.concat(pieces);
      wire.headers['content-length'] = String(wire.body.length);
      return (await sendWire(endpoint, wire)).status;
    };
    t.is(await send(), 200);
    const flipped = (pieces: Buffer[]): void => {
      const chunk = Buffer.from(pieces[1] as Buffer);
      chunk[5] = (chunk[5] as number) ^ 1;
      pieces[1] = chunk;
    };
    t.is(await send(flipped), 403);
    if (trailing) {
      t.is(await send((pieces) => void pieces.splice(-2, 1)), 400, 'the trailer is not optional');
    }
  }
});

test('a region set covers what it names, and no more', (t) => {
  const cases: [string, boolean][] = [
    ['*', true],
    ['us-east-1', true],
    ['us-*', true],
    ['*-1', true],
    ['eu-west-1, us-east-1', true],
    ['', false],
    ['us-east-2', false],
    ['us-east-1x', false],
    ['eu-*', false],
    ['us-east-1*1', false],
    ['u*s*', false],
  ];
  for (const [set, covered] of cases) t.is(coversRegion(set, 'us-east-1'), covered, set);
});
