// Who is let in, over the whole table: every route of S3, those that answer 501 too, by every kind of
// authentication, with a good and a bad signature, and with a good one of somebody who has no right. The
// danger: one kind that one handler forgot, or one action that one operation did not ask for. Routes come
// from the table, so that an operation is in this matrix from the moment it exists.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { ACTIONS, buildActions } from '../api/iam/actions.ts';
import { OPERATIONS, UNIMPLEMENTED_OPERATIONS } from '../api/s3/operation-table.ts';
import { Query } from '../api/s3/input/target.ts';
import type { Operation, S3Request } from '../api/s3/request/request.ts';
import type { S3Settings } from '../api/s3/input/settings.ts';
import type { Bucket } from '../appliance/model/bucket.ts';
import { FirnError } from '../appliance/model/errors.ts';
import type { ObjectStore } from '../appliance/model/requests.ts';
import {
  BODY_KINDS,
  checkErrorBody,
  checkRefusal,
  codeOf,
  REGION,
  send,
  sendWire,
  startEndpoint,
  STRANGER,
  wireOf,
  type Answer,
  type AuthKind,
  type Call,
  type Endpoint,
  type Wire,
} from './s3-caller.ts';
import { forged, formWire, ROUTES, sampleOf } from './s3-routes.ts';

const AUTH_KINDS: readonly AuthKind[] = ['header', 'presigned'];
/** What a decision about access may read: whose the bucket is, and an object's own list. */
const LOOKS = new Set(['getBucket', 'headObject']);

const BUCKET: Bucket = {
  format: 1,
  id: 'b',
  name: 'bucket',
  owner: 'owner',
  createdAt: 0,
  region: REGION,
  versioning: 'off',
  state: 'live',
};

/** An endpoint whose engine tells each call made to it, and which is never let through to a write. */
async function watched(
  t: ExecutionContext,
  of: 'nothing' | 'real',
): Promise<{ endpoint: Endpoint; called: string[]; bucket: Bucket }> {
  const called: string[] = [];
  const bucket: Bucket = { ...BUCKET };
  const real: { engine?: ObjectStore } = {};
  const engine = new Proxy({} as ObjectStore, {
    get: (_target, name) => {
      return (...given: unknown[]) => {
        // A look into memory, behind an answer.
        if (name === 'quotaWarning') return undefined;
        called.push(String(name));
        if (of === 'real') {
          const { engine: whole } = real as {
            engine: Record<string, (...all: unknown[]) => unknown> & ObjectStore;
          };
          return (whole[String(name)] as (...all: unknown[]) => unknown).apply(whole, given);
        }
        if (name === 'getBucket') {
          return Promise.resolve({ ...bucket });
        }
        const absent = name === 'headObject' ? 'NoSuchKey' : 'NoSuchBucket';
        return Promise.reject(new FirnError(absent, 'It is gone.'));
      };
    },
  });
  const settings: Partial<S3Settings> = { engine };
  const endpoint = await startEndpoint(settings);
  real.engine = endpoint.engine;
  t.teardown(async () => {
    await endpoint.close();
    const faults = endpoint.records.filter(({ fault }) => fault !== undefined);
    assert.deepEqual(faults, [], 'a fault of ours');
  });
  return { endpoint, called, bucket };
}

/** A refusal in S3's form; a HEAD has no body to say why. */
function checkRefused(answer: Answer, statuses: readonly number[], what: string): void {
  assert.ok(statuses.includes(answer.status), `${what}: ${answer.status} ${answer.text}`);
  const id = answer.headers['x-amz-request-id'] as string;
  assert.match(id, /^[0-9A-F]{16}$/, what);
  if (answer.text !== '') checkErrorBody(answer.text, id, what);
}

type Spoil = (wire: Wire) => void;

/** Requests that nobody signed by Signature Version 4, or that say so twice. */
const UNSIGNED: Record<string, Spoil> = {
  anonymous: (wire) => {
    for (const name of ['authorization', 'x-amz-date', 'x-amz-content-sha256']) {
      delete wire.headers[name];
    }
  },
  'anonymous with a signed hash': (wire) => void delete wire.headers['authorization'],
  'anonymous with signed chunks': (wire) => {
    delete wire.headers['authorization'];
    wire.headers['x-amz-content-sha256'] = 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD';
  },
  'signature version 2': (wire) => {
    wire.headers['authorization'] = 'AWS AKOWNER:c2lnbmF0dXJl';
  },
  'signature version 2 in the query': (wire) => {
    delete wire.headers['authorization'];
    wire.url += `${wire.url.includes('?') ? '&' : '?'}AWSAccessKeyId=AKOWNER&Signature=x&Expires=1`;
  },
  'an unknown scheme': (wire) => {
    wire.headers['authorization'] = 'Basic QUtPV05FUjpvd25lci1zZWNyZXQta2V5';
  },
  'an empty Authorization': (wire) => {
    wire.headers['authorization'] = '';
  },
  'no signature': (wire) => {
    wire.headers['authorization'] = 'AWS4-HMAC-SHA256 Credential=AKOWNER';
  },
  'an elliptic curve that signed nothing': (wire) => {
    const day = (wire.headers['x-amz-date'] as string).slice(0, 8);
    wire.headers['x-amz-region-set'] = '*';
    wire.headers['authorization'] =
      `AWS4-ECDSA-P256-SHA256 Credential=AKOWNER/${day}/s3/aws4_request, SignedHeaders=host;` +
      `x-amz-content-sha256;x-amz-copy-source;x-amz-date;x-amz-region-set, Signature=${'30'.repeat(70)}`;
  },
  'header and query at once': (wire) => {
    wire.url += `${wire.url.includes('?') ? '&' : '?'}X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=x`;
  },
  'a session token of nobody': (wire) => {
    wire.headers['x-amz-security-token'] = 'FwoGZXIvYXdzEXAMPLE';
  },
};

test('nothing is even looked at for a bad signature: every route, every kind of authentication', async (t) => {
  const { endpoint, called } = await watched(t, 'nothing');
  let tried = 0;
  for (const route of ROUTES) {
    for (const auth of AUTH_KINDS) {
      for (const bodyKind of BODY_KINDS) {
        const wire = forged(wireOf(endpoint, { ...sampleOf(route), auth, bodyKind }));
        const answer = await sendWire(endpoint, wire);
        const what = `${route.name} ${auth} ${bodyKind}`;
        if (route.method === 'HEAD') t.is(answer.status, 403, what);
        else checkRefusal(answer, 403, 'SignatureDoesNotMatch', what);
        tried++;
      }
    }
  }
  t.deepEqual(called, [], 'no call of the engine');
  t.true(tried > 1000, String(tried));
});

test('nobody gets more than a look at whose the bucket is: no signature, or one of another age', async (t) => {
  const { endpoint, called } = await watched(t, 'nothing');
  for (const route of ROUTES) {
    for (const [kind, spoil] of Object.entries(UNSIGNED)) {
      const wire = wireOf(endpoint, sampleOf(route));
      spoil(wire);
      const answer = await sendWire(endpoint, wire);
      // Whoever isn't known learns of no operation but that we haven't got it.
      const isOpen = 'level' in route && !('run' in route);
      checkRefused(answer, isOpen ? [400, 403, 501] : [400, 403], `${route.name}, ${kind}`);
    }
  }
  t.deepEqual(
    called.filter((name) => !LOOKS.has(name)),
    [],
  );
});

test('a form opens the one route that takes forms, and none by a bad signature', async (t) => {
  const { endpoint, called } = await watched(t, 'nothing');
  for (const route of ROUTES) {
    if (route.method === 'HEAD') continue;
    const { path, query = '' } = sampleOf(route);
    const takesForms = route.name === 'PostObject';
    for (const isForged of takesForms ? [true] : [true, false]) {
      const wire = formWire(endpoint, path, {
        method: route.method,
        change: (fields) =>
          fields.map(({ name, value }) => ({
            name,
            value:
              isForged && name === 'x-amz-signature'
                ? value.replace(/.$/, (c) => (c === '0' ? '1' : '0'))
                : value,
          })),
      });
      if (query !== '') wire.url += `?${query}`;
      const answer = await sendWire(endpoint, wire);
      checkRefused(answer, [400, 403, 412, 501], `${route.name}, form`);
    }
  }
  t.deepEqual(
    called.filter((name) => !LOOKS.has(name)),
    [],
  );
});

test('a good signature of the owner reaches the engine on every route: the matrix tests something', async (t) => {
  const { endpoint, called } = await watched(t, 'nothing');
  for (const operation of OPERATIONS) {
    for (const auth of AUTH_KINDS) {
      for (const bodyKind of BODY_KINDS) {
        called.length = 0;
        const answer = await send(endpoint, { ...sampleOf(operation), auth, bodyKind });
        const what = `${operation.name} ${auth} ${bodyKind}`;
        t.not(codeOf(answer), 'SignatureDoesNotMatch', what);
        t.true(answer.status !== 403 && answer.status < 500, `${what} ${answer.text}`);
        t.true(called.length > 0, what);
      }
    }
  }
  for (const operation of UNIMPLEMENTED_OPERATIONS) {
    called.length = 0;
    const answer = await send(endpoint, sampleOf(operation));
    t.is(answer.status, 501, operation.name);
    t.deepEqual(called, [], operation.name);
  }
});

test("a good signature of a stranger changes and reads nothing of another's bucket", async (t) => {
  const { endpoint, called } = await watched(t, 'real');
  const put = await send(endpoint, { method: 'PUT', path: '/bucket/some-key', body: 'secret' });
  t.is(put.status, 200);
  for (const operation of OPERATIONS) {
    if (operation.access !== 'bucket') continue;
    for (const auth of AUTH_KINDS) {
      called.length = 0;
      const answer = await send(endpoint, { ...sampleOf(operation), auth, as: STRANGER });
      const what = `${operation.name} ${auth}`;
      // DeleteObjects asks for each key of its body; there is none here.
      if (operation.action !== undefined) {
        t.is(answer.status, 403, `${what} ${answer.text}`);
        if (operation.method !== 'HEAD') checkRefusal(answer, 403, 'AccessDenied', what);
      }
      t.false(answer.text.includes('secret'), what);
      t.deepEqual(
        called.filter((name) => !LOOKS.has(name)),
        [],
        what,
      );
    }
    const mistaken = {
      ...sampleOf(operation),
      headers: { 'x-amz-expected-bucket-owner': 'other' },
    };
    t.is((await send(endpoint, mistaken)).status, 403, operation.name);
  }
  const list = await send(endpoint, { path: '/', as: STRANGER });
  t.true(list.text.includes('<Name>foreign</Name>'));
  t.false(list.text.includes('<Name>bucket</Name>'));
});

/** What access policies call it, for the request of `sampleOf`. */
function actionOf(operation: Operation): string | undefined {
  if (typeof operation.action !== 'function') return operation.action;
  return operation.action({ query: new Query([]), headers: {} } as unknown as S3Request);
}

const BUCKET_OPERATIONS = OPERATIONS.filter(({ access }) => access === 'bucket');
/** Who must always be able to mend a policy: the bucket's owner. */
const OWN_POLICY = new Set(['GetBucketPolicy', 'PutBucketPolicy', 'DeleteBucketPolicy']);
const RESOURCES = ['arn:aws:s3:::bucket', 'arn:aws:s3:::bucket/*'];

const statement = (effect: 'Allow' | 'Deny', principal: unknown, action: string): object => ({
  Effect: effect,
  Principal: principal,
  Action: action,
  Resource: RESOURCES,
});
const policyOf = (...statements: object[]): string =>
  JSON.stringify({ Version: '2012-10-17', Statement: statements });
const STRANGER_PRINCIPAL = { AWS: 'arn:aws:iam::stranger:root' };

/** With a document where the operation asks for its right only once it has read one. */
function askingCall(operation: Operation): Call {
  const bodies: Record<string, string> = {
    DeleteObjects: '<Delete><Object><Key>some-key</Key></Object></Delete>',
    PutObjectTagging: '<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>',
    PutObjectRetention:
      '<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2099-01-01T00:00:00Z</RetainUntilDate></Retention>',
    PutObjectLegalHold: '<LegalHold><Status>ON</Status></LegalHold>',
  };
  const body = bodies[operation.name];
  if (body === undefined) return sampleOf(operation);
  const contentMd5 = createHash('md5').update(body).digest('base64');
  return { ...sampleOf(operation), body, headers: { 'content-md5': contentMd5 } };
}

/** Forms say their right in their body, which is no part of these requests. */
const isForm = ({ name }: Operation): boolean => name === 'PostObject';

test("a policy's Deny of everything holds for the owner too, on every route but the policy's own", async (t) => {
  const { endpoint, called, bucket } = await watched(t, 'nothing');
  bucket.policy = policyOf(statement('Deny', '*', 's3:*'));
  for (const operation of BUCKET_OPERATIONS) {
    if (isForm(operation)) continue;
    for (const auth of AUTH_KINDS) {
      called.length = 0;
      const answer = await send(endpoint, { ...askingCall(operation), auth });
      const what = `${operation.name} ${auth} ${answer.status} ${answer.text}`;
      if (OWN_POLICY.has(operation.name)) {
        t.not(answer.status, 403, what);
      } else if (operation.name === 'DeleteObjects') {
        t.regex(answer.text, /<Error><Key>some-key<\/Key>.*<Code>AccessDenied</, what);
      } else {
        t.is(answer.status, 403, what);
      }
      const others = called.filter((name) => !LOOKS.has(name));
      if (!OWN_POLICY.has(operation.name)) t.deepEqual(others, [], what);
    }
  }
});

test('each operation asks for the action that is its own: allowed all but that, it alone is refused', async (t) => {
  const { endpoint, called, bucket } = await watched(t, 'nothing');
  const actions = new Set(
    BUCKET_OPERATIONS.filter((operation) => !isForm(operation)).flatMap(
      (operation) => actionOf(operation) ?? [],
    ),
  );
  t.true(actions.size > 40, String(actions.size));
  let at = 0;
  for (const action of actions) {
    bucket.policy = policyOf(
      statement('Allow', STRANGER_PRINCIPAL, 's3:*'),
      statement('Deny', STRANGER_PRINCIPAL, action),
    );
    for (const operation of BUCKET_OPERATIONS) {
      if (isForm(operation) || OWN_POLICY.has(operation.name)) continue;
      const isDenied = actionOf(operation) === action;
      // Of the others every seventh, each time other ones; a copy asks for more than one action.
      if (!isDenied && (at++ % 7 !== 0 || operation.copies === true)) continue;
      called.length = 0;
      const answer = await send(endpoint, { ...askingCall(operation), as: STRANGER });
      const what = `${operation.name}, denied ${action}: ${answer.status} ${answer.text}`;
      if (!isDenied) {
        const isOfAnother = answer.status !== 403 || codeOf(answer) !== 'AccessDenied';
        // Who may not list is not told either that an object is absent.
        t.true(isOfAnother || action === 's3:ListBucket', what);
        continue;
      }
      t.is(answer.status, 403, what);
      t.deepEqual(
        called.filter((name) => !LOOKS.has(name)),
        [],
        what,
      );
    }
  }
});

/** What an ACL's READ of a bucket gives, and nothing else does. */
const LISTS = [
  'HeadBucket',
  'ListMultipartUploads',
  'ListObjectVersions',
  'ListObjects',
  'ListObjectsV2',
];

test('READ in the ACL of a bucket opens its lists and nothing else', async (t) => {
  const { endpoint, bucket } = await watched(t, 'nothing');
  bucket.ownership = 'ObjectWriter';
  bucket.acl = { grants: [{ grantee: { kind: 'account', id: 'stranger' }, permission: 'READ' }] };
  const open: string[] = [];
  for (const operation of BUCKET_OPERATIONS) {
    if (isForm(operation)) continue;
    const answer = await send(endpoint, { ...askingCall(operation), as: STRANGER });
    const isRefused = answer.status === 403 || answer.text.includes('<Code>AccessDenied</Code>');
    // An object that is not there: who may list is told so, and learns nothing that a list hides.
    if (!isRefused && answer.status !== 404) open.push(operation.name);
    const isAbsent = operation.method === 'HEAD' || codeOf(answer) === 'NoSuchKey';
    if (answer.status === 404 && !isAbsent) open.push(operation.name);
  }
  t.deepEqual(open.toSorted(), LISTS);
});

// ── IAM and STS, on the same port ───────────────────

/** An action's form as a client signs it: the hash of the body is signed and not sent. */
function actionWire(endpoint: Endpoint, name: string, more: Partial<Call> = {}): Wire {
  const wire = wireOf(endpoint, {
    method: 'POST',
    path: '/',
    query: '',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: `Action=${name}&Version=2010-05-08`,
    service: 'iam',
    ...more,
  });
  return wire;
}

test('no action of IAM or STS is served without a good signature of its body, by any kind', async (t) => {
  const called: string[] = [];
  const watcher = (what: string): never =>
    new Proxy({} as never, {
      get: (_target, name) => () => {
        called.push(`${what}.${String(name)}`);
        return Promise.reject(new FirnError('NoSuchEntity', 'There is none.'));
      },
    });
  const actions = buildActions({
    accounts: watcher('accounts'),
    identities: watcher('identities'),
    clock: { wall: () => Date.now(), now: () => Date.now() },
    region: REGION,
  });
  const endpoint = await startEndpoint({ actions } as Partial<S3Settings>);
  t.teardown(() => endpoint.close());
  let tried = 0;
  for (const { name } of ACTIONS) {
    const wires: [string, Wire][] = [
      ['bad signature', forged(actionWire(endpoint, name))],
      ['bad signature in the query', forged(actionWire(endpoint, name, { auth: 'presigned' }))],
      ['another body', { ...actionWire(endpoint, name), body: Buffer.from(`Action=X&A=${name}`) }],
      ['a stale signature', actionWire(endpoint, name, { date: new Date(Date.now() - 960_000) })],
      ['another service', actionWire(endpoint, name, { service: 'ec2' })],
      ['nobody', actionWire(endpoint, name, { as: { accessKey: 'AKNOBODY', secretKey: 'x' } })],
    ];
    for (const [kind, spoil] of Object.entries(UNSIGNED)) {
      const wire = actionWire(endpoint, name, { service: 's3' });
      spoil(wire);
      wires.push([kind, wire]);
    }
    for (const [kind, wire] of wires) {
      wire.headers['content-length'] = String(wire.body.length);
      const answer = await sendWire(endpoint, wire);
      const what = `${name}, ${kind}: ${answer.status} ${answer.text}`;
      t.true([400, 403, 501].includes(answer.status), what);
      t.regex(answer.text, /<Error>/, what);
      tried++;
    }
  }
  t.deepEqual(called, []);
  t.true(tried > 800, String(tried));
  for (const { name } of ACTIONS) {
    const answer = await sendWire(endpoint, actionWire(endpoint, name));
    t.notRegex(answer.text, /<Code>(?:SignatureDoesNotMatch|AccessDenied)</, name);
  }
  t.true(called.length > 0, 'well signed, they do reach the accounts');
});
