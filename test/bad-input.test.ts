// What clients send that they should not: sixty rows of bad input, each over the routes that it can reach,
// more than 5,000 requests in one run. Whatever comes, the answer is S3's: its status and code, XML that
// names the request id of the header, never a 5xx but 501 and SlowDown, a connection that the next request
// can use or that is closed as announced, and a heap that does not grow. Then the same of requests that were
// damaged at random.

import assert from 'node:assert/strict';
import { createHash, randomBytes, randomInt } from 'node:crypto';
import http from 'node:http';
import { inspect } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { OPERATIONS, UNIMPLEMENTED_OPERATIONS } from '../api/s3/operation-table.ts';
import { CHECKSUM_ALGORITHMS, CHECKSUM_HEADERS, checksumOf } from '../appliance/model/checksum.ts';
import { FirnError } from '../appliance/model/errors.ts';
import { MiB } from '../appliance/model/limits.ts';
import type { ObjectStore } from '../appliance/model/requests.ts';
import { seeded } from './engine-harness.ts';
import {
  BAD_COPY_SOURCES,
  checkErrorBody,
  codeOf,
  elementOf,
  OWNER,
  rawHead,
  send,
  sendRaw,
  sendWire,
  startEndpoint,
  wireOf,
  type Answer,
  type AuthKind,
  type Call,
  type Endpoint,
  type Wire,
} from './s3-caller.ts';
import { forged, ROUTES, sampleOf, type Route } from './s3-routes.ts';

interface Attempt {
  what: string;
  /** As http would send it, or the very bytes. */
  wire: Wire | Buffer;
  /** Of a raw one: our half of the connection is closed behind it. */
  end?: boolean;
  /** `STATUS CODE`, one of; instead of the row's. A status alone is for answers without an error. */
  expect?: readonly string[];
}

interface Row {
  number: number;
  name: string;
  expect: readonly string[];
  build(given: Given): Iterable<Attempt>;
}

interface Given {
  endpoint: Endpoint;
  /** Of `bucket/parted`, with parts 1 and 2 of 100 bytes. */
  uploadId: string;
  etags: readonly string[];
}

const AUTH_KINDS: readonly AuthKind[] = ['header', 'presigned'];
const OBJECT_ROUTES = ROUTES.filter(({ level }) => level === 'object');
const BUCKET_ROUTES = ROUTES.filter(({ level }) => level === 'bucket');
const NO_BODY = new Set([
  'CopyObject',
  'CreateMultipartUpload',
  'PostObject',
  'PutObject',
  'UploadPart',
  'UploadPartCopy',
]);
/** Operations that read a document. */
const DOCUMENT_ROUTES = OPERATIONS.filter(
  ({ name, method }) => (method === 'PUT' || method === 'POST') && !NO_BODY.has(name),
);

const md5 = (body: string | Uint8Array): string => createHash('md5').update(body).digest('base64');

/** With the headers that some documents must have. */
function documentCall(route: Route, body: string): Call {
  const sample = sampleOf(route);
  return { ...sample, body, headers: { ...sample.headers, 'content-md5': md5(body) } };
}

/** A wire of each route and kind, changed. */
function* everywhere(
  { endpoint }: Given,
  change: (wire: Wire, auth: AuthKind) => Wire | undefined,
  { routes = ROUTES as readonly Route[], kinds = AUTH_KINDS, more = {} as Partial<Call> } = {},
): Iterable<Attempt> {
  for (const route of routes) {
    for (const auth of kinds) {
      const wire = change(wireOf(endpoint, { ...sampleOf(route), ...more, auth }), auth);
      if (wire !== undefined) yield { what: `${route.name} ${auth}`, wire };
    }
  }
}

const withHeader = (wire: Wire, name: string, value: string): Wire => ({
  ...wire,
  headers: { ...wire.headers, [name]: value },
});

const withAuthorization = (wire: Wire, change: (text: string) => string): Wire =>
  withHeader(wire, 'authorization', change(wire.headers['authorization'] as string));

const withQuery = (wire: Wire, pair: string): Wire => ({
  ...wire,
  url: `${wire.url}${wire.url.includes('?') ? '&' : '?'}${pair}`,
});

function* calls(
  { endpoint }: Given,
  list: Iterable<Call & { expect?: readonly string[] }>,
): Iterable<Attempt> {
  for (const { expect, ...call } of list) {
    const headers = JSON.stringify(call.headers ?? {}).slice(0, 200);
    yield {
      what: `${call.method ?? 'GET'} ${call.path}?${call.query ?? ''} ${headers}`,
      wire: wireOf(endpoint, call),
      ...(expect !== undefined && { expect }),
    };
  }
}

const ahead = (minutes: number): Date => new Date(Date.now() + minutes * 60_000);

const CLAIMS: readonly Row[] = [
  {
    number: 1,
    name: 'no Authorization, or of an unknown scheme',
    // DeleteObjects asks for each key of its document, and here is none.
    expect: ['403 AccessDenied', '501 NotImplemented', '400 MalformedXML'],
    *build(given) {
      yield* everywhere(
        given,
        (wire) => {
          const { authorization: _, ...headers } = wire.headers;
          return { ...wire, headers };
        },
        { kinds: ['header'] },
      );
      for (const scheme of ['Basic QUtPV05FUjp4', 'Bearer x', 'Digest a="b"', 'AWS5-HMAC x', ' ']) {
        const spoiled = everywhere(given, (wire) => withAuthorization(wire, () => scheme), {
          kinds: ['header'],
        });
        for (const one of spoiled) yield { ...one, expect: ['400 InvalidArgument'] };
      }
    },
  },
  {
    number: 2,
    name: 'an access key that nobody has',
    expect: ['403 InvalidAccessKeyId'],
    build: (given) =>
      everywhere(given, (wire) => wire, {
        more: { as: { accessKey: 'AKNOBODY', secretKey: OWNER.secretKey } },
      }),
  },
  {
    number: 3,
    name: 'one digit of the signature is another',
    expect: ['403 SignatureDoesNotMatch'],
    *build(given) {
      yield* everywhere(given, forged);
      const wire = wireOf(given.endpoint, { path: '/bucket' });
      const text = wire.headers['authorization'] as string;
      for (let at = text.length - 64; at < text.length; at++) {
        const flipped = String.fromCharCode(text.charCodeAt(at) ^ 1);
        yield {
          what: `digit ${at}`,
          wire: withAuthorization(wire, () => text.slice(0, at) + flipped + text.slice(at + 1)),
        };
      }
    },
  },
  {
    number: 4,
    name: 'a credential of four parts, or of another region, service or date',
    expect: ['400 AuthorizationHeaderMalformed', '400 AuthorizationQueryParametersError'],
    *build(given) {
      yield* everywhere(given, (wire, auth) =>
        auth === 'header'
          ? withAuthorization(wire, (text) => text.replace('/aws4_request', ''))
          : { ...wire, url: wire.url.replace('%2Faws4_request', '') },
      );
      yield* everywhere(given, (wire) => wire, { more: { region: 'elsewhere-1' } });
      yield* everywhere(given, (wire) => wire, { more: { service: 'iam' } });
      yield* everywhere(given, (wire, auth) =>
        auth === 'header'
          ? withAuthorization(wire, (text) => text.replace(/\/\d{8}\//, '/20010101/'))
          : { ...wire, url: wire.url.replace(/%2F\d{8}%2F/, '%2F20010101%2F') },
      );
    },
  },
  {
    number: 5,
    name: 'a clock that is 16 minutes off',
    expect: ['403 RequestTimeTooSkewed'],
    *build(given) {
      for (const minutes of [-16, 16]) {
        yield* everywhere(given, (wire) => wire, {
          kinds: ['header'],
          more: { date: ahead(minutes) },
        });
      }
      for (const one of everywhere(given, (wire) => wire, {
        kinds: ['presigned'],
        more: { date: ahead(16) },
      }))
        yield { ...one, expect: ['403 AccessDenied'] };
    },
  },
  {
    number: 6,
    name: 'a signature that leaves out the host',
    expect: ['403 AccessDenied'],
    build: (given) =>
      everywhere(given, (wire, auth) =>
        auth === 'header'
          ? withAuthorization(wire, (text) => text.replace('host;', ''))
          : { ...wire, url: wire.url.replace(/(SignedHeaders=)host/, '$1x-other') },
      ),
  },
  {
    number: 7,
    name: 'two claims at once, by header and by query',
    expect: ['400 InvalidArgument'],
    build: (given) =>
      everywhere(given, (wire) => withQuery(wire, 'X-Amz-Signature=0'), { kinds: ['header'] }),
  },
  {
    number: 8,
    name: 'two Hosts or two Authorizations',
    expect: ['400 InvalidRequest'],
    *build({ endpoint }) {
      for (const route of ROUTES) {
        if (route.method === 'HEAD') continue;
        const wire = wireOf(endpoint, sampleOf(route));
        for (const extra of ['Host: other', 'Authorization: AWS4-HMAC-SHA256 x']) {
          yield { what: `${route.name} ${extra}`, wire: Buffer.from(rawHead(wire, [extra])) };
        }
      }
    },
  },
  {
    number: 9,
    name: 'a presigned URL that is valid for no time, or for more than a week',
    expect: ['400 AuthorizationQueryParametersError', '403 AccessDenied'],
    *build(given) {
      for (const expires of ['0', '-1', '604801', 'abc', '']) {
        yield* everywhere(
          given,
          (wire) => ({
            ...wire,
            url: wire.url.replace(/X-Amz-Expires=\d+/, `X-Amz-Expires=${expires}`),
          }),
          { kinds: ['presigned'] },
        );
      }
    },
  },
  {
    number: 10,
    name: 'a presigned URL that has expired',
    expect: ['403 AccessDenied'],
    build: (given) =>
      everywhere(given, (wire) => wire, {
        kinds: ['presigned'],
        more: { date: ahead(-2), expiresSeconds: 60 },
      }),
  },
  {
    number: 11,
    name: 'a presigned URL used for another method, key or parameter',
    expect: ['403 SignatureDoesNotMatch'],
    *build(given) {
      const kinds: AuthKind[] = ['presigned'];
      yield* everywhere(
        given,
        (wire) => ({ ...wire, method: wire.method === 'DELETE' ? 'GET' : 'DELETE' }),
        { kinds },
      );
      yield* everywhere(given, (wire) => withQuery(wire, 'prefix=x'), { kinds });
      yield* everywhere(
        given,
        (wire) => ({ ...wire, url: wire.url.replace('some-key', 'other-key') }),
        { kinds, routes: OBJECT_ROUTES },
      );
    },
  },
  {
    number: 13,
    name: 'x-amz-content-sha256 that is neither a hash nor a keyword',
    expect: ['400 InvalidArgument'],
    *build(given) {
      for (const payloadHash of ['zz', 'STREAMING-NONSENSE', 'a'.repeat(63), 'A'.repeat(64)]) {
        yield* everywhere(given, (wire) => wire, { kinds: ['header'], more: { payloadHash } });
      }
    },
  },
  {
    number: 35,
    name: 'an x-amz-* header that nobody signed',
    expect: ['403 AccessDenied'],
    build: (given) => everywhere(given, (wire) => withHeader(wire, 'x-amz-meta-added', '1')),
  },
];

const plain = Buffer.alloc(30_000, 'firn');
const trailers: [string, string][] = [['x-amz-checksum-sha256', checksumOf('SHA256', plain)]];
const SIGNED_STREAMS = ['streaming-signed', 'streaming-signed-trailer'] as const;
const TRAILER_STREAMS = ['streaming-signed-trailer', 'streaming-unsigned-trailer'] as const;

function* places({ uploadId }: Given): Iterable<Call> {
  yield { method: 'PUT', path: '/bucket/bad', body: plain };
  yield {
    method: 'PUT',
    path: '/bucket/parted',
    query: `partNumber=3&uploadId=${uploadId}`,
    body: plain,
  };
}

function* chunked(given: Given, variants: readonly Partial<Call>[]): Iterable<Call> {
  for (const place of places(given)) {
    for (const auth of AUTH_KINDS) {
      for (const variant of variants) yield { ...place, auth, ...variant };
    }
  }
}

const NO_CHECKSUM = ['400 InvalidRequest', '400 BadDigest'];

const BODIES: readonly Row[] = [
  {
    number: 12,
    name: 'a body that is not what its hash says',
    expect: ['400 XAmzContentSHA256Mismatch'],
    *build(given) {
      const payloadHash = 'b'.repeat(64);
      for (const place of places(given)) yield* calls(given, [{ ...place, payloadHash }]);
      for (const route of DOCUMENT_ROUTES) {
        const call = { ...documentCall(route, '<a/>'), payloadHash };
        yield* calls(given, [{ ...call, expect: ['400 XAmzContentSHA256Mismatch', '4xx'] }]);
      }
    },
  },
  {
    number: 14,
    name: 'a chunk whose signature is wrong',
    expect: ['403 SignatureDoesNotMatch'],
    build: (given) =>
      calls(
        given,
        chunked(
          given,
          SIGNED_STREAMS.flatMap((bodyKind) =>
            [0, 1].map((at) => ({
              bodyKind,
              chunkBytes: 16_384,
              tamper: {
                chunks: (chunks) => {
                  const chunk = chunks[at];
                  if (chunk !== undefined) chunk.signature = 'a'.repeat(64);
                },
              },
            })),
          ),
        ),
      ),
  },
  {
    number: 15,
    name: 'a chunk whose size is no number, negative or beyond all bounds',
    expect: ['400 InvalidRequest', '400 InvalidChunkSizeError', '400 IncompleteBody'],
    build: (given) =>
      calls(
        given,
        chunked(
          given,
          ['zz', '-1', 'ffffffffffffffff', '0x10', '', ' 10', '1'.repeat(40)].map((size) => ({
            bodyKind: 'streaming-unsigned-trailer' as const,
            tamper: {
              chunks: (chunks) => {
                const chunk = chunks[0];
                if (chunk !== undefined) chunk.size = size;
              },
            },
          })),
        ),
      ),
  },
  {
    number: 16,
    name: 'a chunk of less than 8 KiB that is not the last',
    expect: ['400 InvalidChunkSizeError'],
    build: (given) =>
      calls(
        given,
        chunked(
          given,
          TRAILER_STREAMS.map((bodyKind) => ({ bodyKind, trailers, chunkBytes: 8191 })),
        ),
      ),
  },
  {
    number: 17,
    name: 'a decoded length that lies',
    expect: ['400 IncompleteBody'],
    build: (given) =>
      calls(
        given,
        chunked(
          given,
          TRAILER_STREAMS.flatMap((bodyKind) =>
            ['1', '29999', '30001'].map((decodedLength) => ({ bodyKind, trailers, decodedLength })),
          ),
        ),
      ),
  },
  {
    number: 18,
    name: 'no decoded length',
    expect: ['411 MissingContentLength'],
    build: (given) =>
      calls(
        given,
        chunked(
          given,
          TRAILER_STREAMS.map((bodyKind) => ({ bodyKind, trailers, decodedLength: '' })),
        ),
      ),
  },
  {
    number: 19,
    name: 'a trailer that is missing, there twice, or unsigned where it must be signed',
    expect: ['400 MalformedTrailerError', '403 SignatureDoesNotMatch'],
    build: (given) =>
      calls(
        given,
        chunked(
          given,
          TRAILER_STREAMS.flatMap((bodyKind) => [
            { bodyKind, trailers: [], announce: 'x-amz-checksum-sha256' },
            { bodyKind, trailers: [...trailers, ...trailers], announce: 'x-amz-checksum-sha256' },
            { bodyKind, trailers, tamper: { trailer: () => 'nonsense\r\n' } },
            {
              bodyKind: 'streaming-signed-trailer' as const,
              trailers,
              tamper: {
                trailer: (text: string) => text.replace(/x-amz-trailer-signature.*\r\n/, ''),
              },
            },
          ]),
        ),
      ),
  },
  {
    number: 20,
    name: 'a checksum that is wrong, or is none',
    expect: ['400 BadDigest'],
    *build(given) {
      for (const place of places(given)) {
        for (const algorithm of CHECKSUM_ALGORITHMS) {
          const name = CHECKSUM_HEADERS[algorithm];
          const other = checksumOf(algorithm, Buffer.from('other'));
          yield* calls(given, [
            { ...place, headers: { [name]: other } },
            { ...place, headers: { [name]: 'short' }, expect: NO_CHECKSUM },
            { ...place, headers: { [name]: `${other}=` }, expect: NO_CHECKSUM },
          ]);
        }
      }
    },
  },
  {
    number: 21,
    name: 'Content-MD5 that is wrong, or is none',
    expect: ['400 BadDigest', '4xx'],
    *build(given) {
      for (const place of places(given)) {
        yield* calls(given, [
          { ...place, headers: { 'content-md5': md5('other') }, expect: ['400 BadDigest'] },
          { ...place, headers: { 'content-md5': 'no base64' }, expect: ['400 InvalidDigest'] },
          { ...place, headers: { 'content-md5': '' }, expect: ['400 InvalidDigest'] },
        ]);
      }
      for (const route of DOCUMENT_ROUTES) {
        for (const value of [md5('other'), '!!!']) {
          const call = documentCall(route, '<a/>');
          yield* calls(given, [{ ...call, headers: { ...call.headers, 'content-md5': value } }]);
        }
      }
    },
  },
  {
    number: 22,
    name: 'neither Content-Length nor chunks',
    expect: ['411 MissingContentLength'],
    *build(given) {
      for (const place of places(given)) {
        for (const auth of AUTH_KINDS) {
          const wire = wireOf(given.endpoint, { ...place, auth });
          delete wire.headers['content-length'];
          yield { what: `${place.path} ${auth}`, wire: Buffer.from(rawHead(wire)) };
        }
      }
    },
  },
  {
    number: 23,
    name: 'lengths that two readers would understand differently',
    expect: ['400 InvalidRequest'],
    *build({ endpoint }) {
      for (const route of OPERATIONS) {
        if (route.method === 'HEAD') continue;
        const wire = wireOf(endpoint, sampleOf(route));
        delete wire.headers['content-length'];
        for (const lines of [
          ['Content-Length: 9223372036854775808'],
          ['Content-Length: 1', 'Transfer-Encoding: chunked'],
          ['Content-Length: 1', 'Content-Length: 2'],
          ['Content-Length: -1'],
        ]) {
          yield { what: `${route.name} ${lines}`, wire: Buffer.from(rawHead(wire, lines)) };
        }
      }
    },
  },
  {
    number: 24,
    name: 'a body that ends early, or stops',
    expect: ['400 IncompleteBody', '400 RequestTimeout'],
    *build(given) {
      for (const place of places(given)) {
        const wire = wireOf(given.endpoint, place);
        const head = Buffer.from(rawHead(wire));
        for (const kept of [0, 1, 29_999]) {
          const bytes = Buffer.concat([head, wire.body.subarray(0, kept)]);
          yield { what: `${place.path} ends at ${kept}`, wire: bytes, end: true };
        }
        yield { what: `${place.path} stops`, wire: head, expect: ['400 RequestTimeout'] };
      }
    },
  },
  {
    number: 41,
    name: 'more than a part or an object may hold, more parts than there may be',
    expect: ['400 EntityTooLarge'],
    *build(given) {
      for (const place of places(given)) {
        const wire = wireOf(given.endpoint, { ...place, payloadHash: 'UNSIGNED-PAYLOAD' });
        wire.headers['content-length'] = String(6 * 1024 * MiB);
        yield { what: place.path, wire: Buffer.from(rawHead(wire)) };
      }
      yield* calls(given, [
        {
          method: 'PUT',
          path: '/bucket/parted',
          query: `partNumber=10001&uploadId=${given.uploadId}`,
          body: 'x',
          expect: ['400 InvalidArgument'],
        },
      ]);
    },
  },
];

const SPOILED_PATHS = [
  '..',
  '../other/x',
  'a/../b',
  '%2e%2e/x',
  '%2E%2E%2Fx',
  'a/./b',
  'a/%2e',
  'a%2F..',
  '%',
  '%4',
  '%zz',
  '%c0%ae%c0%ae/x',
  '%ed%a0%80',
  '%ff',
  '%00',
  'a%00b',
];
const SPOILED_BUCKETS = [
  'ab',
  'x'.repeat(64),
  'UPPER',
  'under_score',
  '127.0.0.1',
  'xn--a',
  'a..b',
  '-ab',
  'ab-',
  'a%2Fb',
  '%C3%A4bc',
  '..',
];

const NAMES: readonly Row[] = [
  {
    number: 25,
    name: 'a key of 1,025 bytes',
    expect: ['400 KeyTooLongError'],
    *build(given) {
      for (const key of ['k'.repeat(1025), '%C3%A9'.repeat(513)]) {
        yield* everywhere(given, (wire) => ({ ...wire, url: wire.url.replace('some-key', key) }), {
          routes: OBJECT_ROUTES,
          kinds: ['header'],
        });
      }
    },
  },
  {
    number: 26,
    name: 'a key that two programs could read differently',
    expect: ['400 InvalidURI'],
    *build(given) {
      for (const key of SPOILED_PATHS) {
        yield* everywhere(given, (wire) => ({ ...wire, url: wire.url.replace('some-key', key) }), {
          routes: OBJECT_ROUTES,
          kinds: ['header'],
        });
      }
    },
  },
  {
    number: 27,
    name: 'what cannot be the name of a bucket',
    expect: ['400 InvalidBucketName'],
    *build(given) {
      for (const name of SPOILED_BUCKETS) {
        yield* everywhere(given, (wire) => ({ ...wire, url: wire.url.replace('bucket', name) }), {
          routes: BUCKET_ROUTES,
          kinds: ['header'],
        });
      }
    },
  },
  {
    number: 28,
    name: 'control characters on their way into headers',
    expect: ['400 InvalidArgument'],
    *build(given) {
      const writes: Call = { method: 'PUT', path: '/bucket/controls', auth: 'presigned', body: '' };
      for (const value of ['a%0D%0Ab', 'a%00', 'a%0Ab', '%7F']) {
        for (const name of ['x-amz-meta-a', 'x-amz-website-redirect-location']) {
          yield* calls(given, [
            { ...writes, query: `${name}=${value}`, expect: ['400 InvalidArgument', '4xx'] },
          ]);
        }
        for (const name of [
          'content-type',
          'cache-control',
          'content-disposition',
          'content-encoding',
          'content-language',
          'expires',
        ]) {
          for (const auth of AUTH_KINDS) {
            const query = `response-${name}=${value}`;
            yield* calls(given, [{ path: '/bucket/some-key', query, auth }]);
          }
        }
      }
    },
  },
  {
    number: 29,
    name: 'headers of more than 32 KiB',
    expect: ['400 RequestHeaderSectionTooLarge'],
    *build({ endpoint }) {
      const big = `x-big: ${'x'.repeat(33_000)}`;
      for (const route of ROUTES) {
        if (route.method === 'HEAD') continue;
        const head = rawHead(wireOf(endpoint, sampleOf(route)), [big]);
        yield { what: route.name, wire: Buffer.from(head) };
      }
    },
  },
  {
    number: 58,
    name: 'a subresource that nobody knows, an operation that is not there',
    expect: ['501 NotImplemented'],
    *build(given) {
      for (const path of ['/', '/bucket', '/bucket/some-key']) {
        for (const method of ['GET', 'HEAD', 'PUT', 'POST', 'DELETE']) {
          for (const query of ['nonsense', 'Acl', 'tagging%20', 'x-id=a&nonsense']) {
            yield* calls(given, [{ method, path, query, body: '' }]);
          }
        }
      }
      yield* calls(
        given,
        UNIMPLEMENTED_OPERATIONS.flatMap((route) =>
          AUTH_KINDS.map((auth) => ({ ...sampleOf(route), auth })),
        ),
      );
    },
  },
  {
    number: 59,
    name: 'a method that is not for this resource',
    expect: ['405 MethodNotAllowed', '501 NotImplemented'],
    *build(given) {
      const taken = new Set(
        ROUTES.map(({ method, level, subresource = '' }) => `${method} ${level} ${subresource}`),
      );
      for (const route of ROUTES) {
        for (const method of ['GET', 'HEAD', 'PUT', 'POST', 'DELETE', 'PATCH']) {
          const place = `${method} ${route.level} ${route.subresource ?? ''}`;
          if (taken.has(place)) continue;
          taken.add(place);
          yield* calls(given, [{ ...sampleOf(route), method, headers: {}, body: '' }]);
        }
      }
    },
  },
];

const LISTS = ['', 'list-type=2', 'versions', 'uploads'];
const UPLOAD_ROUTES = OPERATIONS.filter(({ subresource }) => subresource === 'uploadId');

const PARAMETERS: readonly Row[] = [
  {
    number: 31,
    name: 'a page size that is no number',
    expect: ['400 InvalidArgument'],
    *build(given) {
      for (const list of LISTS) {
        const name = list === 'uploads' ? 'max-uploads' : 'max-keys';
        for (const value of ['-1', 'abc', '1e3', '0x10', '99999999999', '1.5']) {
          yield* calls(given, [{ path: '/bucket', query: `${list}&${name}=${value}` }]);
        }
      }
      for (const value of ['0', '-1', '10001', 'abc']) {
        yield* calls(given, [{ path: '/', query: `max-buckets=${value}` }]);
      }
    },
  },
  {
    number: 32,
    name: 'a token that we never gave',
    expect: ['400 InvalidArgument'],
    *build(given) {
      for (const token of ['forged', '%00', 'AAAA', '..%2Fx', randomBytes(40).toString('hex')]) {
        yield* calls(given, [
          { path: '/bucket', query: `list-type=2&continuation-token=${token}` },
          { path: '/', query: `continuation-token=${token}` },
          { path: '/bucket', query: `versions&key-marker=a&version-id-marker=${token}x` },
        ]);
      }
    },
  },
  {
    number: 33,
    name: 'a Range that says nothing counts as none',
    expect: ['200'],
    build: (given) =>
      calls(
        given,
        [
          'bytes=5-3',
          'garbage',
          'bytes=',
          'bytes=-',
          'bytes=a-b',
          'items=0-1',
          'bytes=--1',
        ].flatMap((range) =>
          ['GET', 'HEAD'].map((method) => ({
            method,
            path: '/bucket/some-key',
            headers: { range },
          })),
        ),
      ),
  },
  {
    number: 34,
    name: 'a Range beyond the end',
    expect: ['416 InvalidRange'],
    build: (given) =>
      calls(
        given,
        ['bytes=99999-', 'bytes=30000-30001', 'bytes=-0'].flatMap((range) =>
          ['GET', 'HEAD'].map((method) => ({
            method,
            path: '/bucket/some-key',
            headers: { range },
          })),
        ),
      ),
  },
  {
    number: 36,
    name: 'a part number that is none',
    expect: ['400 InvalidArgument'],
    *build(given) {
      for (const number of ['0', '-1', '10001', 'abc', '', '1.0']) {
        const query = `partNumber=${number}`;
        const ofUpload = `${query}&uploadId=${given.uploadId}`;
        yield* calls(given, [
          { path: '/bucket/some-key', query },
          { method: 'HEAD', path: '/bucket/some-key', query },
          { method: 'PUT', path: '/bucket/parted', query: ofUpload, body: 'x' },
          {
            method: 'PUT',
            path: '/bucket/parted',
            query: ofUpload,
            headers: { 'x-amz-copy-source': 'bucket/some-key' },
          },
        ]);
      }
    },
  },
  {
    number: 40,
    name: 'an upload that is not there',
    expect: ['404 NoSuchUpload'],
    *build(given) {
      const body = completeOf([[1, 'x']]);
      for (const id of ['0'.repeat(32), '..%2Fx', 'x', '', '%00', 'f'.repeat(2000)]) {
        for (const route of UPLOAD_ROUTES) {
          const call = sampleOf(route, { key: 'some-key' });
          const query = `partNumber=1&uploadId=${id}`;
          yield* calls(given, [{ ...call, query, body: route.method === 'POST' ? body : '' }]);
        }
      }
    },
  },
  {
    number: 50,
    name: 'a source of a copy that is none',
    expect: ['400 InvalidArgument'],
    *build(given) {
      for (const source of BAD_COPY_SOURCES) {
        const headers = { 'x-amz-copy-source': source };
        const query = `partNumber=1&uploadId=${given.uploadId}`;
        for (const auth of AUTH_KINDS) {
          yield* calls(given, [
            { method: 'PUT', path: '/bucket/copied', headers, auth },
            { method: 'PUT', path: '/bucket/parted', query, headers, auth },
          ]);
        }
      }
    },
  },
  {
    number: 55,
    name: 'a version that is none, or is not there',
    expect: ['400 InvalidArgument', '404 NoSuchVersion'],
    *build(given) {
      for (const id of ['', 'zz', '..%2Fx', '%00', '0'.repeat(27), '0'.repeat(28)]) {
        const query = `versionId=${id}`;
        for (const method of ['GET', 'HEAD']) {
          yield* calls(given, [{ method, path: '/bucket/some-key', query }]);
        }
        for (const route of OPERATIONS) {
          const { level, subresource = '', copies, method } = route;
          const isRead = level === 'object' && method === 'GET' && subresource !== 'uploadId';
          if (!isRead || subresource === '' || copies === true) continue;
          yield* calls(given, [
            { ...sampleOf(route), query: `${subresource}&${query}`, expect: ['4xx'] },
          ]);
        }
      }
      yield* calls(given, [{ method: 'DELETE', path: '/bucket/some-key', query: 'versionId=zz' }]);
    },
  },
];

const keysOf = (count: number): string =>
  `<Delete>${'<Object><Key>k</Key></Object>'.repeat(count)}</Delete>`;

const completeOf = (parts: readonly (readonly [number, string])[]): string =>
  `<CompleteMultipartUpload>${parts
    .map(([number, etag]) => `<Part><PartNumber>${number}</PartNumber><ETag>${etag}</ETag></Part>`)
    .join('')}</CompleteMultipartUpload>`;

const ENTITIES = [
  '<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>',
  '<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
  `<!DOCTYPE a [<!ENTITY b "bbbbbbbb"><!ENTITY c "${'&b;'.repeat(50)}"><!ENTITY d "${'&c;'.repeat(50)}">]><a>&d;</a>`,
  '<!DOCTYPE a [<!ENTITY % p SYSTEM "http://127.0.0.1:1/x"> %p;]><a/>',
  '<a>&nosuch;</a>',
  '<a><![CDATA[x]]></a>',
];
/** Nonsense to XML and JSON alike. */
const NONSENSE = [
  '',
  'x',
  '<',
  '<a>',
  '{"__proto__": {"admin": true}}',
  '{"$where": "1", "constructor": {"prototype": {}}}',
  `${'['.repeat(10_000)}${']'.repeat(10_000)}`,
  `${'<a>'.repeat(10_000)}${'</a>'.repeat(10_000)}`,
  '\u0000',
  '<?xml version="1.0" encoding="UTF-16"?><a/>',
];
const MALFORMED = [
  '400 MalformedXML',
  '400 MalformedACLError',
  '400 MalformedPolicy',
  '400 InvalidTag',
  '400 InvalidRequest',
  '400 MissingSecurityHeader',
  '400 IllegalVersioningConfigurationException',
  '409 InvalidBucketState',
];

/** What these answer without a document is no refusal: CreateBucket has none as a rule. */
const MAY_BE_EMPTY = new Set(['CreateBucket', 'PutBucketAcl', 'PutObjectAcl', 'RestoreObject']);

const ruleOf = (inner: string): string =>
  `<LifecycleConfiguration><Rule><ID>r</ID><Status>Enabled</Status>${inner}</Rule></LifecycleConfiguration>`;

function* lifecycles(given: Given, rules: readonly string[]): Iterable<Attempt> {
  for (const auth of AUTH_KINDS) {
    yield* calls(
      given,
      rules.map((inner): Call => {
        const body = ruleOf(inner);
        const headers = { 'content-md5': md5(body) };
        return { method: 'PUT', path: '/bucket', query: 'lifecycle', headers, body, auth };
      }),
    );
  }
}

const DOCUMENTS: readonly Row[] = [
  {
    number: 30,
    name: 'documents that are none, or that would be code elsewhere',
    expect: MALFORMED,
    *build(given) {
      for (const route of DOCUMENT_ROUTES) {
        for (const body of NONSENSE) {
          const mayPass = body === '' && MAY_BE_EMPTY.has(route.name);
          const expect = mayPass ? ['200', '4xx'] : [...MALFORMED, '4xx'];
          yield* calls(given, [{ ...documentCall(route, body), expect }]);
        }
      }
    },
  },
  {
    number: 42,
    name: 'DeleteObjects of no keys, or of 1,001',
    expect: ['400 MalformedXML'],
    *build(given) {
      for (const auth of AUTH_KINDS) {
        for (const count of [0, 1001]) {
          const body = keysOf(count);
          const headers = { 'content-md5': md5(body) };
          yield* calls(given, [
            { method: 'POST', path: '/bucket', query: 'delete', headers, body, auth },
          ]);
        }
      }
    },
  },
  {
    number: 43,
    name: 'a document of more than a mebibyte',
    // What the head of the request already refuses is refused before its body.
    expect: [
      '400 MaxMessageLengthExceeded',
      '400 InvalidArgument',
      '400 AccessControlListNotSupported',
      ...MALFORMED,
    ],
    *build(given) {
      const body = `<a>${' '.repeat(4 * MiB)}</a>`;
      for (const route of DOCUMENT_ROUTES) {
        yield* calls(given, [{ ...documentCall(route, body), payloadHash: 'UNSIGNED-PAYLOAD' }]);
      }
    },
  },
  {
    number: 44,
    name: 'documents with declarations: entities, files, bombs',
    expect: [...MALFORMED, '4xx'],
    *build(given) {
      for (const route of DOCUMENT_ROUTES) {
        for (const body of ENTITIES) yield* calls(given, [documentCall(route, body)]);
      }
    },
  },
  {
    number: 45,
    name: 'a lifecycle rule with an element that nobody knows',
    expect: ['400 MalformedXML'],
    build: (given) =>
      lifecycles(given, [
        '<Filter/><Expiration><Days>1</Days></Expiration><Surprise/>',
        '<Filter><Surprise/></Filter><Expiration><Days>1</Days></Expiration>',
        '<Filter/><Expiration><Weeks>1</Weeks></Expiration>',
      ]),
  },
  {
    number: 46,
    name: 'a lifecycle rule of no days, or with two filters',
    expect: ['400 InvalidArgument', '400 MalformedXML'],
    build: (given) =>
      lifecycles(given, [
        '<Filter/><Expiration><Days>0</Days></Expiration>',
        '<Filter/><Expiration><Days>-1</Days></Expiration>',
        '<Filter/><Expiration><Days>1e99</Days></Expiration>',
        '<Filter/><Filter/><Expiration><Days>1</Days></Expiration>',
        '<Filter><Prefix>a</Prefix><Prefix>b</Prefix></Filter><Expiration><Days>1</Days></Expiration>',
      ]),
  },
  {
    number: 47,
    name: 'a transition to a class that is not there',
    expect: ['400 InvalidStorageClass', '400 MalformedXML'],
    build: (given) =>
      lifecycles(
        given,
        ['NEVER', '', 'glacier', '__proto__', 'constructor'].map(
          (name) =>
            `<Filter/><Transition><Days>1</Days><StorageClass>${name}</StorageClass></Transition>`,
        ),
      ),
  },
  {
    number: 56,
    name: 'tags: more than ten, one twice, a name of 129 characters',
    expect: ['400 InvalidTag', '400 BadRequest', '400 MalformedXML'],
    *build(given) {
      const eleven = Array.from({ length: 11 }, (_, index) => [`k${index}`, 'v'] as const);
      const bad: (readonly (readonly [string, string])[])[] = [
        eleven,
        [
          ['a', '1'],
          ['a', '2'],
        ],
        [['k'.repeat(129), 'v']],
        [['k', 'v'.repeat(257)]],
        [['aws:own', 'v']],
      ];
      const hasTagging = OPERATIONS.some(({ name }) => name === 'PutObjectTagging');
      for (const tags of bad) {
        const header = tags.map(([name, value]) => `${name}=${value}`).join('&');
        const headers = { 'x-amz-tagging': header };
        for (const auth of AUTH_KINDS) {
          yield* calls(given, [
            { method: 'PUT', path: '/bucket/tagged', headers, body: '', auth },
            { method: 'POST', path: '/bucket/tagged', query: 'uploads', headers, body: '', auth },
          ]);
        }
        if (!hasTagging) continue;
        const set = tags.map(([k, v]) => `<Tag><Key>${k}</Key><Value>${v}</Value></Tag>`).join('');
        const body = `<Tagging><TagSet>${set}</TagSet></Tagging>`;
        const more = { headers: { 'content-md5': md5(body) }, body, query: 'tagging' };
        yield* calls(given, [{ method: 'PUT', path: '/bucket/some-key', ...more }]);
      }
    },
  },
  {
    number: 57,
    name: 'more than 2 KiB of metadata',
    expect: ['400 MetadataTooLarge'],
    *build(given) {
      const headers = { 'x-amz-meta-a': 'x'.repeat(1500), 'x-amz-meta-b': 'y'.repeat(1500) };
      for (const auth of AUTH_KINDS) {
        yield* calls(given, [
          { method: 'PUT', path: '/bucket/meta', headers, body: '', auth },
          { method: 'POST', path: '/bucket/meta', query: 'uploads', headers, body: '', auth },
          {
            method: 'PUT',
            path: '/bucket/meta',
            headers: {
              ...headers,
              'x-amz-copy-source': 'bucket/some-key',
              'x-amz-metadata-directive': 'REPLACE',
            },
            auth,
          },
        ]);
      }
    },
  },
];

const restoreOf = (inner: string): Pick<Call, 'method' | 'query' | 'body'> => ({
  method: 'POST',
  query: 'restore',
  body: `<RestoreRequest>${inner}</RestoreRequest>`,
});

const publicPolicy = JSON.stringify({
  Version: '2012-10-17',
  Statement: [
    { Effect: 'Allow', Principal: '*', Action: 's3:GetObject', Resource: 'arn:aws:s3:::bucket/*' },
  ],
});
const badPolicies = [
  '{',
  '[]',
  'null',
  '{"Version":"2012-10-17"}',
  publicPolicy.replace('"Principal":"*",', ''),
  publicPolicy.replace('s3:GetObject', 's3:NoSuchAction'),
  publicPolicy.replace('"Allow"', '"Maybe"'),
  publicPolicy.replace('"Effect"', '"Surprise":1,"Effect"'),
  publicPolicy.replace('bucket/*', 'foreign/*'),
  publicPolicy.replace('"*"', `"${'*'.repeat(21 * 1024)}"`),
];

const STATES: readonly Row[] = [
  {
    number: 37,
    name: 'parts in another order',
    expect: ['400 InvalidPartOrder'],
    build: (given) =>
      calls(given, [
        completeCall(given, [
          [2, given.etags[1] as string],
          [1, given.etags[0] as string],
        ]),
      ]),
  },
  {
    number: 38,
    name: 'a part with another ETag, or that was never sent',
    expect: ['400 InvalidPart'],
    build: (given) =>
      calls(given, [
        completeCall(given, [[1, '0'.repeat(32)]]),
        completeCall(given, [
          [1, given.etags[0] as string],
          [7, given.etags[1] as string],
        ]),
        completeCall(given, [[1, '']]),
      ]),
  },
  {
    number: 39,
    name: 'a part of less than 5 MiB that is not the last',
    expect: ['400 EntityTooSmall'],
    build: (given) =>
      calls(given, [
        completeCall(given, [
          [1, given.etags[0] as string],
          [2, given.etags[1] as string],
        ]),
      ]),
  },
  {
    number: 48,
    name: 'a policy that is none',
    expect: ['400 MalformedPolicy'],
    *build(given) {
      if (!OPERATIONS.some(({ name }) => name === 'PutBucketPolicy')) return;
      yield* calls(
        given,
        badPolicies.map((body) => ({ method: 'PUT', path: '/bucket', query: 'policy', body })),
      );
    },
  },
  {
    number: 49,
    name: 'a public policy or list while the public is blocked',
    expect: ['403 AccessDenied'],
    *build(given) {
      if (!OPERATIONS.some(({ name }) => name === 'PutBucketPolicy')) return;
      yield* calls(given, [
        {
          method: 'PUT',
          path: '/blocked',
          query: 'policy',
          body: publicPolicy.replace('bucket/', 'blocked/'),
        },
      ]);
      const acl = { headers: { 'x-amz-acl': 'public-read' } };
      const expect = ['400 AccessControlListNotSupported', '403 AccessDenied'];
      yield* calls(given, [
        { method: 'PUT', path: '/blocked/k', body: '', ...acl, expect },
        { method: 'PUT', path: '/blocked', query: 'acl', body: '', ...acl, expect },
      ]);
    },
  },
  {
    number: 51,
    name: 'reading what is archived',
    expect: ['403 InvalidObjectState'],
    build: (given) =>
      calls(given, [
        { path: '/bucket/archived' },
        { path: '/bucket/archived', auth: 'presigned' },
        { path: '/bucket/archived', headers: { range: 'bytes=0-1' } },
        { path: '/bucket/archived', query: 'partNumber=1' },
        {
          method: 'PUT',
          path: '/bucket/copied',
          headers: { 'x-amz-copy-source': 'bucket/archived' },
        },
        {
          method: 'PUT',
          path: '/bucket/parted',
          query: `partNumber=1&uploadId=${given.uploadId}`,
          headers: { 'x-amz-copy-source': 'bucket/archived' },
        },
      ]),
  },
  {
    number: 52,
    name: 'a restore of what is hot, for no days, or while one is under way',
    expect: ['400 InvalidArgument', '400 MalformedXML'],
    *build(given) {
      const path = '/bucket/archived';
      for (const days of ['0', '-1', '99999999', '1e9', '']) {
        yield* calls(given, [{ ...restoreOf(`<Days>${days}</Days>`), path }]);
      }
      const good = restoreOf('<Days>1</Days>');
      yield* calls(given, [
        { ...good, path: '/bucket/some-key', expect: ['403 InvalidObjectState'] },
        { ...good, path: '/bucket/no-such-key', expect: ['404 NoSuchKey'] },
        { ...good, path, expect: ['202'] },
        { ...good, path, expect: ['409 RestoreAlreadyInProgress'] },
      ]);
    },
  },
  {
    number: 53,
    name: 'a condition that does not hold',
    expect: ['412 PreconditionFailed'],
    *build(given) {
      for (const auth of AUTH_KINDS) {
        const path = '/bucket/some-key';
        const wrong = { 'if-match': `"${'0'.repeat(32)}"` };
        yield* calls(given, [
          { path, auth, headers: wrong },
          { path, auth, method: 'HEAD', headers: wrong },
          { path, auth, method: 'PUT', body: 'x', headers: wrong },
          { path, auth, method: 'PUT', body: 'x', headers: { 'if-none-match': '*' } },
          { path, auth, method: 'DELETE', headers: wrong },
          {
            path: '/bucket/absent',
            auth,
            method: 'PUT',
            body: 'x',
            headers: wrong,
            expect: ['404 NoSuchKey'],
          },
          {
            path: '/bucket/copied',
            auth,
            method: 'PUT',
            headers: {
              'x-amz-copy-source': 'bucket/some-key',
              'x-amz-copy-source-if-match': `"${'0'.repeat(32)}"`,
            },
          },
        ]);
      }
    },
  },
];

function completeCall({ uploadId }: Given, parts: readonly (readonly [number, string])[]): Call {
  const body = completeOf(parts);
  return { method: 'POST', path: '/bucket/parted', query: `uploadId=${uploadId}`, body };
}

/** Rows 54 and 60 need two requests at once and an engine of their own: tests below. */
const TABLE: readonly Row[] = [
  ...CLAIMS,
  ...BODIES,
  ...NAMES,
  ...PARAMETERS,
  ...DOCUMENTS,
  ...STATES,
].toSorted((a, b) => a.number - b.number);

// ── Sending, and what holds of every answer ─────────

const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

const exchange = (endpoint: Endpoint, wire: Wire): Promise<Answer> =>
  sendWire(endpoint, wire, { agent, timeoutMs: 20_000 });

async function exchangeRaw(endpoint: Endpoint, bytes: Buffer, end: boolean): Promise<Answer> {
  const text = await sendRaw(endpoint, bytes, { end });
  const [head, body = ''] = text.split('\r\n\r\n') as [string, string?];
  const headers: http.IncomingHttpHeaders = {};
  for (const line of head.split('\r\n').slice(1)) {
    const colon = line.indexOf(':');
    headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
  }
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(head)?.[1] ?? 0);
  return { status, headers, text: body, bytes: Buffer.from(body) };
}

/** What S3 promises of any answer, and what must never be in one. */
function checkAnswer(answer: Answer, isHead: boolean, what: string): void {
  const { status, headers, text } = answer;
  const id = headers['x-amz-request-id'] as string | undefined;
  assert.match(id ?? '', /^[0-9A-F]{16}$/, `${what} ${status} ${text}`);
  if (status >= 500) {
    const code = isHead ? status : `${status} ${codeOf(answer)}`;
    assert.ok([501, 503, '501 NotImplemented', '503 SlowDown'].includes(code), `${what} ${text}`);
  }
  if (status < 400) return;
  if (isHead) assert.equal(text, '', what);
  else checkErrorBody(text, id, what);
}

function isExpected(answer: Answer, isHead: boolean, expect: readonly string[]): boolean {
  const code = codeOf(answer);
  return expect.some((one) => {
    if (one === '4xx') return answer.status >= 400 && answer.status < 500;
    const [status, name] = one.split(' ');
    return Number(status) === answer.status && (isHead || name === undefined || name === code);
  });
}

async function tryRow(row: Row, given: Given, wrong: string[]): Promise<number> {
  const { endpoint } = given;
  let tried = 0;
  for (const { what, wire, end = false, expect = row.expect } of row.build(given)) {
    const isHead = !Buffer.isBuffer(wire) && wire.method === 'HEAD';
    const named = `row ${row.number} (${row.name}): ${what}`;
    const answer = await (
      Buffer.isBuffer(wire) ? exchangeRaw(endpoint, wire, end) : exchange(endpoint, wire)
    ).catch((error: unknown) => {
      throw new Error(named, { cause: error });
    });
    const fault = endpoint.records.at(-1)?.fault;
    if (fault !== undefined) wrong.push(`${named}: ${inspect(fault)}`);
    else checkAnswer(answer, isHead, named);
    if (!isExpected(answer, isHead, expect)) {
      wrong.push(`${named}: ${answer.status} ${codeOf(answer)}, not ${expect}`);
    }
    tried++;
  }
  return tried;
}

async function prepare(t: ExecutionContext): Promise<Given> {
  const endpoint = await startEndpoint({ stallMs: 500 });
  t.teardown(() => endpoint.close());
  const ok = async (call: Call): Promise<Answer> => {
    const answer = await send(endpoint, call);
    assert.ok(answer.status < 300, answer.text);
    return answer;
  };
  await ok({ method: 'PUT', path: '/bucket/some-key', body: plain });
  await ok({ method: 'PUT', path: '/blocked' });
  await endpoint.engine.updateBucket('blocked', (bucket) => ({
    ...bucket,
    publicAccessBlock: {
      blockPublicAcls: true,
      ignorePublicAcls: true,
      blockPublicPolicy: true,
      restrictPublicBuckets: true,
    },
  }));
  const headers = { 'x-amz-storage-class': 'GLACIER' };
  await ok({ method: 'PUT', path: '/bucket/archived', body: plain, headers });
  const created = await ok({ method: 'POST', path: '/bucket/parted', query: 'uploads' });
  const uploadId = elementOf(created, 'UploadId') as string;
  const etags: string[] = [];
  for (const number of [1, 2]) {
    const query = `partNumber=${number}&uploadId=${uploadId}`;
    const body = plain.subarray(0, 100);
    const sent = await ok({ method: 'PUT', path: '/bucket/parted', query, body });
    etags.push((sent.headers.etag as string).replaceAll('"', ''));
  }
  return { endpoint, uploadId, etags };
}

function heapBytes(): number {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
  collect();
  return process.memoryUsage().heapUsed;
}

const openSockets = (): number =>
  process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length;

/** Kept by the tests themselves: what the server said of each request. */
const HEAP_GROWTH_MAX = 12 * MiB;

test.serial(
  'bad input is refused as S3 refuses it, row by row, and leaves nothing behind',
  async (t) => {
    const given = await prepare(t);
    const { endpoint } = given;
    const numbers = new Set(TABLE.map(({ number }) => number));
    const missing = Array.from({ length: 60 }, (_, index) => index + 1).filter(
      (number) => !numbers.has(number),
    );
    t.deepEqual(missing, [54, 60], 'the others are tests of their own');
    const wrong: string[] = [];
    // Once over a part of it, so that what is loaded and cached is: then the heap may not grow.
    for (const row of CLAIMS.slice(0, 4)) await tryRow(row, given, wrong);
    endpoint.records.length = 0;
    const before = { heap: heapBytes(), sockets: openSockets() };
    let tried = 0;
    for (const row of TABLE) {
      const wrongBefore = wrong.length;
      const count = await tryRow(row, given, wrong);
      t.true(count > 0 || [48, 49].includes(row.number), `row ${row.number} was tried`);
      tried += count;
      wrong.splice(wrongBefore + 5);
      const faults = endpoint.records.filter(({ fault }) => fault !== undefined);
      assert.deepEqual(faults, [], `row ${row.number}`);
      endpoint.records.length = 0;
    }
    t.log(`${tried} requests`);
    t.is(wrong.length, 0, `${wrong.length} wrong answers:\n${wrong.slice(0, 60).join('\n')}`);
    t.true(tried >= 5000, String(tried));
    // All of it changed nothing, and the next request is served on the same connection.
    t.deepEqual((await send(endpoint, { path: '/bucket/some-key' })).bytes, plain);
    agent.destroy();
    await new Promise((resolve) => setTimeout(resolve, 100));
    const growth = heapBytes() - before.heap;
    t.log(`the heap grew by ${Math.round(growth / 1024)} KiB`);
    t.true(growth < HEAP_GROWTH_MAX, `${growth} bytes`);
    t.true(
      openSockets() <= before.sockets + 2,
      `${openSockets()} sockets, ${before.sockets} before`,
    );
    await endpoint.close();
  },
);

test.serial(
  'of two writers that both would be the first, one is told that it is not (row 54)',
  async (t) => {
    const { endpoint } = await prepare(t);
    for (let round = 0; round < 20; round++) {
      const call: Call = {
        method: 'PUT',
        path: `/bucket/race-${round}`,
        headers: { 'if-none-match': '*' },
      };
      const answers = await Promise.all(
        ['a', 'b', 'c'].map((body) => send(endpoint, { ...call, body })),
      );
      const statuses = answers.map(({ status }) => status);
      t.is(statuses.filter((status) => status === 200).length, 1, String(statuses));
      t.true(
        statuses.every((status) => [200, 409, 412].includes(status)),
        String(statuses),
      );
    }
    await endpoint.close();
  },
);

test.serial('overload is SlowDown with a time to wait, on every route (row 60)', async (t) => {
  const engine = new Proxy({} as ObjectStore, {
    get: () => () => Promise.reject(new FirnError('SlowDown', 'Please reduce your request rate.')),
  });
  const endpoint = await startEndpoint({ engine });
  t.teardown(() => endpoint.close());
  for (const route of OPERATIONS) {
    const answer = await send(endpoint, sampleOf(route));
    t.true([503, 400, 411].includes(answer.status), `${route.name} ${answer.text}`);
    if (answer.status !== 503) continue;
    t.regex(answer.headers['retry-after'] ?? '', /^\d+$/, route.name);
    if (route.method !== 'HEAD') t.is(codeOf(answer), 'SlowDown', route.name);
  }
});

// ── Damage at random ────────────────────────────────

function mutate(bytes: Buffer, pick: (limit: number) => number): Buffer {
  const copy = Buffer.from(bytes);
  const at = pick(copy.length);
  const headEnd = copy.indexOf('\r\n\r\n');
  switch (pick(7)) {
    case 0:
      copy[at] = pick(256);
      return copy;
    case 1:
      return Buffer.concat([copy.subarray(0, at), copy.subarray(at + 1 + pick(20))]);
    case 2: {
      const [from, to] = [pick(copy.length), pick(copy.length)];
      return Buffer.concat([copy.subarray(0, at), copy.subarray(from, to), copy.subarray(at)]);
    }
    case 3:
      return copy.subarray(0, at);
    case 4: {
      // Somewhere in the head, one bit.
      const place = pick(headEnd);
      copy[place] = (copy[place] as number) ^ (1 << pick(8));
      return copy;
    }
    case 5: {
      // A header of a random name and value, in front of the others.
      const lineEnd = copy.indexOf('\r\n') + 2;
      const names = ['x-amz-acl', 'range', 'expect', 'x-amz-copy-source', 'content-encoding', 'te'];
      const value = Buffer.from(Array.from({ length: pick(40) }, () => 32 + pick(224)));
      const line = [`${names[pick(names.length)]}: `, value.toString('latin1'), '\r\n'].join('');
      const added = Buffer.from(line, 'latin1');
      return Buffer.concat([copy.subarray(0, lineEnd), added, copy.subarray(lineEnd)]);
    }
    default:
      for (let i = 0; i < 4; i++) copy[pick(copy.length)] = pick(256);
      return copy;
  }
}

/** Signed again behind the damage: a header or a parameter of random bytes that got past the signature. */
function signedDamage(route: Route, pick: (limit: number) => number): Call {
  const sample = sampleOf(route);
  const text = (): string => {
    const bytes = Array.from({ length: pick(30) }, () => 33 + pick(94));
    return pick(3) === 0 ? '' : String.fromCharCode(...bytes);
  };
  const headers = [
    'range',
    'if-match',
    'if-none-match',
    'if-modified-since',
    'content-md5',
    'content-type',
    'x-amz-acl',
    'x-amz-tagging',
    'x-amz-storage-class',
    'x-amz-checksum-crc32',
    'x-amz-trailer',
    'x-amz-copy-source',
    'x-amz-copy-source-range',
    'x-amz-metadata-directive',
    'x-amz-mp-object-size',
    'x-amz-server-side-encryption',
    'x-amz-server-side-encryption-customer-key',
    'x-amz-grant-read',
    'x-amz-object-lock-mode',
    'x-amz-object-lock-retain-until-date',
    'x-amz-decoded-content-length',
    'x-amz-sdk-checksum-algorithm',
    'x-amz-object-attributes',
    'x-amz-expected-bucket-owner',
    'origin',
    'x-amz-website-redirect-location',
    'x-amz-bypass-governance-retention',
    'x-amz-mfa',
  ];
  const parameters = [
    'prefix',
    'delimiter',
    'marker',
    'max-keys',
    'encoding-type',
    'start-after',
    'versionId',
    'partNumber',
    'uploadId',
    'response-expires',
    'id',
    'continuation-token',
    'fetch-owner',
  ];
  const damaged: Call = { ...sample, headers: { ...sample.headers }, body: text() };
  for (let i = pick(3); i >= 0; i--) {
    (damaged.headers as Record<string, string>)[headers[pick(headers.length)] as string] = text();
  }
  if (pick(2) === 0) {
    const pair = `${parameters[pick(parameters.length)]}=${encodeURIComponent(text())}`;
    damaged.query = sample.query === '' ? pair : `${sample.query}&${pair}`;
  }
  return damaged;
}

test.serial(
  'no byte that is changed in a request brings the server down or gets a 5xx',
  async (t) => {
    const seed = Number(process.env['SEED'] ?? randomInt(2 ** 31));
    t.log(`SEED=${seed}`);
    const random = seeded(seed);
    const pick = (limit: number): number => Math.floor(random() * limit);
    const { endpoint } = await prepare(t);
    const body = Buffer.alloc(300, 'x');
    const sum: [string, string][] = [['x-amz-checksum-crc32', checksumOf('CRC32', body)]];
    const samples: Call[] = [
      ...OPERATIONS.map((route) => sampleOf(route)),
      { method: 'PUT', path: '/bucket/f', body, headers: { 'x-amz-meta-a': 'b' } },
      { method: 'PUT', path: '/bucket/f', body, bodyKind: 'streaming-signed' },
      {
        method: 'PUT',
        path: '/bucket/f',
        body,
        bodyKind: 'streaming-unsigned-trailer',
        trailers: sum,
      },
      { method: 'POST', path: '/bucket', query: 'delete', body: keysOf(2), bodyKind: 'unsigned' },
    ];
    for (let round = 0; round < 1500; round++) {
      const sample = samples[pick(samples.length)] as Call;
      const wire = wireOf(endpoint, { ...sample, auth: AUTH_KINDS[pick(2)] as AuthKind });
      const bytes = Buffer.concat([Buffer.from(rawHead(wire, ['connection: close'])), wire.body]);
      const damaged = mutate(bytes, pick);
      const text = await sendRaw(endpoint, damaged, { end: true });
      for (const answer of text === '' ? [] : text.split(/(?=HTTP\/1\.1 \d{3} )/)) {
        const sent = damaged.toString('latin1').slice(0, 300);
        const what = JSON.stringify({ seed, round, sent, answer: answer.slice(0, 400) });
        assert.match(answer, /^HTTP\/1\.1 (?:[1-4]\d\d|501) /, what);
        const [head, shown = ''] = answer.split('\r\n\r\n') as [string, string?];
        // An answer to DeleteObjects holds an error a key, and is none itself.
        if (
          shown !== '' &&
          (/ [45]\d\d /.test(head.slice(0, 13)) || /^<[^>]*>\s*<Error>/.test(shown))
        ) {
          checkErrorBody(shown, /x-amz-request-id: (\S+)/i.exec(head)?.[1], what);
        }
      }
    }
    const routes = OPERATIONS.filter(({ name }) => name !== 'DeleteBucket');
    for (let round = 0; round < 2000; round++) {
      const route = routes[pick(routes.length)] as Route;
      const call = signedDamage(route, pick);
      const answer = await send(endpoint, call);
      checkAnswer(answer, route.method === 'HEAD', JSON.stringify({ seed, round, call }));
    }
    t.deepEqual(
      endpoint.records.filter(({ fault }) => fault !== undefined),
      [],
    );
    t.true([200, 404].includes((await send(endpoint, { path: '/bucket' })).status));
    await endpoint.close();
  },
);
