// Access policies: what a reader of AWS's documents expects is what is decided. The dangers are the
// holes that other stores had to publish: a Deny that was not read, Not… read as its opposite, an
// empty set that allowed, a wildcard that reached too far, a second field of one name.

import { randomInt } from 'node:crypto';
import test from 'ava';
import { isFirnError } from '../appliance/model/errors.ts';
import { addressOf, isInRange, rangeOf } from '../policies/access/addresses.ts';
import { parseBucketPolicy, parsePolicy } from '../policies/access/document.ts';
import { compilePolicy, evaluate } from '../policies/access/evaluate.ts';
import { matcherOf, tokensOf } from '../policies/access/patterns.ts';
import type { AccessRequest, Principal, Verdict } from '../policies/access/policy.ts';
import { isPublicPolicy } from '../policies/access/public.ts';
import { judge, type Asked } from './access-oracle.ts';
import { seeded } from './engine-harness.ts';
import { cpuMsOf } from './cpu-time.ts';

type Json = Record<string, unknown>;
type Values = Record<string, string | string[] | undefined>;

const ROOT: Principal = { kind: 'account', account: 'alt', arn: 'arn:aws:iam::alt:root' };
const USER: Principal = { kind: 'user', account: 'alt', arn: 'arn:aws:iam::alt:user/ann' };
const NOBODY: Principal = { kind: 'anonymous', account: 'anonymous', arn: '' };

const document = (...statements: Json[]): string =>
  JSON.stringify({ Version: '2012-10-17', Statement: statements });

const allow = (more: Json = {}): Json => ({
  Effect: 'Allow',
  Principal: '*',
  Action: 's3:GetObject',
  Resource: 'arn:aws:s3:::buck/*',
  ...more,
});

interface Ask {
  principal?: Principal;
  action?: string;
  resource?: string;
  values?: Values;
}

function request({ principal, action, resource, values = {} }: Ask): AccessRequest {
  return {
    principal: principal ?? ROOT,
    action: action ?? 's3:GetObject',
    resource: resource ?? 'arn:aws:s3:::buck/key',
    lookup: (key) => (Object.hasOwn(values, key) ? values[key] : undefined),
  };
}

function decide(policy: string, ask: Ask = {}): Verdict {
  return evaluate(compilePolicy(parseBucketPolicy(policy, 'buck')), request(ask));
}

const refusal = (policy: string): string | undefined => {
  try {
    parseBucketPolicy(policy, 'buck');
    return undefined;
  } catch (error) {
    if (!isFirnError(error, 'MalformedPolicy')) throw error;
    return error.message;
  }
};

test('an explicit Deny wins, wherever it stands', (t) => {
  const deny = allow({ Effect: 'Deny' });
  t.is(decide(document(allow())), 'allow');
  t.is(decide(document(allow(), deny)), 'deny');
  t.is(decide(document(deny, allow())), 'deny');
  t.is(decide(document(deny)), 'deny');
  t.is(decide(document(allow(), allow({ Effect: 'Deny', Action: '*' }))), 'deny');
  t.is(decide(document(deny), { action: 's3:PutObject' }), undefined);
});

test('a current object and a version of it are two actions', (t) => {
  t.is(decide(document(allow()), { action: 's3:GetObjectVersion' }), undefined);
  const both = document(allow({ Action: 's3:GetObject*' }));
  t.is(decide(both, { action: 's3:GetObjectVersion' }), 'allow');
  t.is(decide(document(allow({ Action: 's3:getOBJECT' }))), 'allow', 'actions ignore case');
});

test('a resource is the bucket or its objects, in this case of letters, and no further', (t) => {
  const bucket = document(allow({ Action: 's3:*', Resource: 'arn:aws:s3:::buck' }));
  t.is(decide(bucket), undefined);
  t.is(decide(bucket, { resource: 'arn:aws:s3:::buck' }), 'allow');
  const folder = document(allow({ Resource: 'arn:aws:s3:::buck/public/*' }));
  t.is(decide(folder, { resource: 'arn:aws:s3:::buck/public/' }), 'allow');
  t.is(decide(folder, { resource: 'arn:aws:s3:::buck/public' }), undefined);
  t.is(decide(folder, { resource: 'arn:aws:s3:::buck/Public/a' }), undefined);
  t.is(decide(folder, { resource: 'arn:aws:s3:::buck/x/public/a' }), undefined);
  const one = document(allow({ Resource: 'arn:aws:s3:::buck/?.txt' }));
  t.is(decide(one, { resource: 'arn:aws:s3:::buck/\u{1F600}.txt' }), 'allow');
  t.is(decide(one, { resource: 'arn:aws:s3:::buck/.txt' }), undefined);
  t.is(decide(one, { resource: 'arn:aws:s3:::buck/ab.txt' }), undefined);
});

test('a star stays within its part of an ARN', (t) => {
  const crossing = 'arn:aws:s3:*:b*:buck/*';
  t.is(
    decide(document(allow({ Resource: ['arn:aws:s3:::buck', crossing].slice(0, 1) }))),
    undefined,
  );
  t.is(refusal(document(allow({ Resource: 'arn:*' }))), 'Policy has invalid resource');
  const condition = { ArnLike: { 'aws:SourceArn': 'arn:aws:s3:*:1:x' } };
  const policy = document(allow({ Condition: condition }));
  t.is(decide(policy, { values: { 'aws:sourcearn': 'arn:aws:s3:eu:1:x' } }), 'allow');
  t.is(decide(policy, { values: { 'aws:sourcearn': 'arn:aws:s3:eu:2:1:x' } }), undefined);
  t.is(decide(policy, { values: { 'aws:sourcearn': 'no arn' } }), undefined);
});

test('NotAction, NotResource and NotPrincipal are all but these', (t) => {
  const notAction = document(allow({ Action: undefined, NotAction: ['s3:Put*', 's3:Delete*'] }));
  t.is(decide(notAction), 'allow');
  t.is(decide(notAction, { action: 's3:PutObject' }), undefined);
  const denied = { Effect: 'Deny', Resource: undefined, NotResource: 'arn:aws:s3:::buck/open/*' };
  const notResource = document(allow(), allow(denied));
  t.is(decide(notResource), 'deny');
  t.is(decide(notResource, { resource: 'arn:aws:s3:::buck/open/a' }), 'allow');
  const spared = (AWS: string | string[]): string =>
    document(allow(), allow({ Effect: 'Deny', Principal: undefined, NotPrincipal: { AWS } }));
  t.is(decide(spared('alt')), 'allow');
  t.is(decide(spared('main')), 'deny');
  t.is(decide(spared('main'), { principal: NOBODY }), 'deny');
  t.is(decide(spared('alt'), { principal: USER }), 'deny', 'a user is not spared by its account');
  t.is(decide(spared(['alt', USER.arn]), { principal: USER }), 'allow');
});

test('whom a statement names', (t) => {
  const to = (principal: unknown): string => document(allow({ Principal: principal }));
  for (const all of ['*', { AWS: '*' }, { AWS: ['main', '*'] }]) {
    t.is(decide(to(all), { principal: NOBODY }), 'allow');
    t.is(decide(to(all), { principal: USER }), 'allow');
  }
  for (const account of ['alt', 'arn:aws:iam::alt:root']) {
    t.is(decide(to({ AWS: account })), 'allow');
    t.is(decide(to({ AWS: account }), { principal: USER }), 'delegated');
    t.is(decide(to({ AWS: account }), { principal: NOBODY }), undefined);
  }
  t.is(decide(to({ CanonicalUser: 'alt' })), 'allow');
  t.is(decide(to({ AWS: USER.arn }), { principal: USER }), 'allow');
  t.is(decide(to({ AWS: USER.arn })), undefined, 'not the account of the user');
  t.is(decide(to({ AWS: 'anonymous' }), { principal: NOBODY }), undefined, 'nobody is no account');
  const service: Principal = { kind: 'service', account: '', arn: 'logging.s3.amazonaws.com' };
  t.is(decide(to({ Service: 'logging.s3.amazonaws.com' }), { principal: service }), 'allow');
  t.is(decide(to('*'), { principal: service }), undefined, 'everybody is no service');
});

test('the operators, on what is there and what is not', (t) => {
  const key = 'aws:referer';
  const cases: [string, unknown, string | string[] | undefined, boolean][] = [
    ['StringEquals', 'a', 'a', true],
    ['StringEquals', 'a', 'A', false],
    ['StringEquals', 'a*', 'ab', false],
    ['StringEquals', ['b', 'a'], 'a', true],
    ['StringEquals', 'a', undefined, false],
    ['StringEqualsIfExists', 'a', undefined, true],
    ['StringEqualsIfExists', 'a', 'b', false],
    ['StringNotEquals', 'a', undefined, true],
    ['StringNotEquals', ['a', 'b'], 'b', false],
    ['StringNotEqualsIgnoreCase', 'a', 'A', false],
    ['StringLike', 'a*c?', 'abbcd', true],
    ['StringNotLike', 'a*', 'abc', false],
    ['StringLike', '', '', true],
    ['NumericEquals', 10, '10.0', true],
    ['NumericLessThan', '10', '9', true],
    ['NumericLessThanEquals', '10', '10', true],
    ['NumericGreaterThan', '10', '9', false],
    ['NumericLessThan', '10', 'nine', false],
    ['NumericNotEquals', '10', 'nine', false],
    ['DateLessThan', '2026-01-01T00:00:00Z', '2025-12-31T23:59:59Z', true],
    ['DateGreaterThan', '2026-01-01', '1767225601', true],
    ['Bool', true, 'true', true],
    ['Bool', 'false', 'TRUE', false],
    ['Bool', 'false', undefined, false],
    ['BinaryEquals', 'aGk=', 'aGk=', true],
    ['IpAddress', '10.0.0.0/8', '10.255.0.1', true],
    ['IpAddress', '10.0.0.0/8', '11.0.0.1', false],
    ['IpAddress', '10.0.0.1', '::ffff:10.0.0.1', true],
    ['IpAddress', '2001:db8::/33', '2001:db8:8000::1', false],
    ['IpAddress', '0.0.0.0/0', '2001:db8::1', false],
    ['NotIpAddress', '10.0.0.0/8', '2001:db8::1', true],
    ['NotIpAddress', '10.0.0.0/8', 'unix:', false],
    ['Null', 'true', undefined, true],
    ['Null', true, 'x', false],
    ['Null', 'false', 'x', true],
    ['ForAllValues:StringEquals', ['a', 'b'], ['a', 'b'], true],
    ['ForAllValues:StringEquals', ['a', 'b'], ['a', 'c'], false],
    ['ForAllValues:StringEquals', 'a', undefined, true],
    ['ForAllValues:StringEquals', 'a', [], true],
    ['ForAllValues:StringNotEquals', 'a', ['b', 'a'], false],
    ['ForAnyValue:StringEquals', 'a', ['b', 'a'], true],
    ['ForAnyValue:StringEquals', 'a', undefined, false],
    ['ForAnyValue:StringNotEquals', 'a', ['a'], false],
    ['ForAnyValue:StringNotEquals', 'a', ['a', 'b'], true],
    ['ForAnyValue:StringNotEquals', 'a', [], false],
    ['ForAnyValue:StringEqualsIfExists', 'a', undefined, true],
  ];
  for (const [operator, ruled, given, holds] of cases) {
    const Condition = { [operator]: { 'aws:Referer': ruled } };
    const verdict = decide(document(allow({ Condition })), { values: { [key]: given } });
    t.is(verdict, holds ? 'allow' : undefined, `${operator} ${String(ruled)} of ${String(given)}`);
  }
});

test('what can not be judged opens no Allow and no Deny', (t) => {
  const Condition = { NotIpAddress: { 'aws:SourceIp': '10.0.0.0/8' } };
  const values = { 'aws:sourceip': 'not an address' };
  t.is(decide(document(allow({ Condition })), { values }), undefined);
  t.is(decide(document(allow({ Effect: 'Deny', Condition })), { values }), 'deny');
  const own = (effect: string): Verdict => {
    const Statement = {
      Effect: effect,
      Action: 's3:*',
      Resource: '*',
      Condition: { StringNotEquals: { 'ec2:Region': 'x' } },
    };
    const policy = parsePolicy(JSON.stringify({ Statement }), { kind: 'identity', bytesMax: 2048 });
    return evaluate(compilePolicy(policy), request({}));
  };
  t.is(own('Allow'), undefined);
  t.is(own('Deny'), 'deny');
});

test('variables stand for values of the request, and bring no wildcard with them', (t) => {
  const home = document(allow({ Resource: 'arn:aws:s3:::buck/home/${aws:username}/*' }));
  const at = (resource: string, username: string | undefined): Verdict =>
    decide(home, { resource, values: { 'aws:username': username } });
  t.is(at('arn:aws:s3:::buck/home/ann/x', 'ann'), 'allow');
  t.is(at('arn:aws:s3:::buck/home/bob/x', 'ann'), undefined);
  t.is(at('arn:aws:s3:::buck/home/bob/x', '*'), undefined);
  t.is(at('arn:aws:s3:::buck/home/ann/x', undefined), undefined);
  t.is(at('arn:aws:s3:::buck/home/${aws:username}/x', undefined), undefined);
  const literal = document(allow({ Resource: 'arn:aws:s3:::buck/${*}${?}${$}' }));
  t.is(decide(literal, { resource: 'arn:aws:s3:::buck/*?$' }), 'allow');
  t.is(decide(literal, { resource: 'arn:aws:s3:::buck/abc' }), undefined);
  const otherwise = { StringEquals: { 's3:prefix': "${aws:username, 'guest'}" } };
  const policy = document(allow({ Condition: otherwise }));
  t.is(decide(policy, { values: { 's3:prefix': 'guest' } }), 'allow');
  t.is(decide(policy, { values: { 's3:prefix': 'guest', 'aws:username': 'ann' } }), undefined);
  const old = JSON.stringify({
    Version: '2008-10-17',
    Statement: [allow({ Resource: 'arn:aws:s3:::buck/${aws:username}' })],
  });
  t.is(decide(old, { values: { 'aws:username': 'key' } }), undefined, 'before 2012 it is text');
});

test('a document that could be understood in two ways, or not at all, is refused', (t) => {
  const cases: [string, RegExp][] = [
    ['', /valid JSON/],
    ['[]', /valid JSON/],
    [' {}', /valid JSON/],
    ['{"Statement":', /valid JSON/],
    ['{"Version":"2012-10-17"}', /Missing required field Statement/],
    [document(), /Statement is empty/],
    [document(allow({ Effect: 'allow' })), /Invalid effect/],
    [document(allow({ Effect: undefined })), /Missing required field Effect/],
    [document(allow({ Principal: undefined })), /Missing required field Principal/],
    [document(allow({ Action: undefined })), /Missing required field Action/],
    [document(allow({ Resource: undefined })), /Missing required field Resource/],
    [document(allow({ NotAction: 's3:*' })), /both Action and NotAction/],
    [
      document(allow({ Principal: undefined, NotPrincipal: { AWS: 'x' } })),
      /Allow with NotPrincipal/,
    ],
    [document(allow({ Conditions: {} })), /Unknown field Conditions/],
    [document(allow({ Action: 's3:GetObjekt' })), /invalid action/],
    [document(allow({ Action: 'ec2:*' })), /invalid action/],
    [document(allow({ Action: [] })), /invalid action/],
    [document(allow({ Resource: [] })), /invalid resource/],
    [document(allow({ Principal: { AWS: [] } })), /Invalid principal/],
    [document(allow({ Principal: {} })), /Invalid principal/],
    [document(allow({ Principal: { Federated: 'x' } })), /Invalid principal/],
    [document(allow({ Principal: { AWS: 'arn:aws:iam::alt:user/*' } })), /Invalid principal/],
    [document(allow({ Principal: { AWS: { $gt: '' } } })), /Invalid principal/],
    [document(allow({ Resource: 'arn:aws:s3:::other/*' })), /invalid resource/],
    [document(allow({ Resource: 'arn:aws:s3:::bucket/*' })), /invalid resource/],
    [document(allow({ Resource: 'buck/*' })), /invalid resource/],
    [
      document(allow({ Condition: { StringEqual: { 'aws:Referer': 'a' } } })),
      /Invalid Condition type/,
    ],
    [
      document(allow({ Condition: { NullIfExists: { 'aws:Referer': 'true' } } })),
      /Invalid Condition type/,
    ],
    [
      document(allow({ Condition: { StringEquals: { 'aws:Refferer': 'a' } } })),
      /invalid condition key/,
    ],
    [document(allow({ Condition: { StringEquals: { 'aws:Referer': [] } } })), /no value/],
    [
      document(allow({ Condition: { StringEquals: { 'aws:Referer': { a: 1 } } } })),
      /invalid value/,
    ],
    [
      document(allow({ Condition: { IpAddress: { 'aws:SourceIp': '10.0.0.0/33' } } })),
      /Invalid value/,
    ],
    [document(allow({ Condition: { NumericEquals: { 's3:max-keys': 'ten' } } })), /Invalid value/],
    [document(allow({ Sid: 'a' }), allow({ Sid: 'a' })), /must be unique/],
    [JSON.stringify({ Version: '2013-01-01', Statement: [allow()] }), /valid version/],
    ['{"Statement":[],"Statement":[]}', /Duplicate field Statement/],
    [String.raw`{"Statement":{"Effect":"Allow","\u0045ffect":"Deny"}}`, /Duplicate field Effect/],
    ['{"Statement":{"__proto__":{"Effect":"Allow"}}}', /Unknown field __proto__/],
    [`{"Statement":${'['.repeat(5000)}${']'.repeat(5000)}}`, /nested too deeply/],
    [document(allow({ Sid: 'x'.repeat(20 * 1024) })), /maximum allowed size/],
  ];
  for (const [policy, reason] of cases)
    t.regex(refusal(policy) ?? 'taken', reason, policy.slice(0, 200));
  for (const Resource of ['arn:aws:s3:::*', 'arn:aws:s3:::*/*', 'arn:aws:s3:::b?ck/x', '*']) {
    t.is(refusal(document(allow({ Resource }))), undefined);
  }
  t.is(refusal(document(allow({ Action: '*', Sid: 'Allow public reads' }))), undefined);
});

test('public is what lets in everybody and is pinned to nothing', (t) => {
  const isPublic = (more: Json): boolean =>
    isPublicPolicy(parseBucketPolicy(document(allow(more)), 'buck'));
  t.true(isPublic({}));
  t.true(isPublic({ Principal: { AWS: ['alt', '*'] } }));
  t.false(isPublic({ Effect: 'Deny' }));
  t.false(isPublic({ Principal: { AWS: 'arn:aws:iam::elsewhere:root' } }));
  t.false(isPublic({ Principal: { Service: 'logging.s3.amazonaws.com' } }));
  const under = (Condition: Json): boolean => isPublic({ Condition });
  t.false(under({ IpAddress: { 'aws:SourceIp': '10.0.0.0/32' } }));
  t.false(under({ IpAddress: { 'aws:SourceIp': ['10.0.0.0/8', '2001:db8::/32'] } }));
  t.true(under({ IpAddress: { 'aws:SourceIp': ['10.0.0.0/32', '0.0.0.0/0'] } }));
  t.true(under({ NotIpAddress: { 'aws:SourceIp': '10.0.0.0/8' } }));
  t.true(under({ IpAddressIfExists: { 'aws:SourceIp': '10.0.0.0/8' } }));
  t.false(under({ StringEquals: { 'aws:SourceVpc': 'vpc-1' } }));
  t.true(under({ StringLike: { 'aws:SourceVpc': 'vpc-*' } }));
  t.true(under({ StringEquals: { 'aws:SourceVpc': '${aws:username}' } }));
  t.true(under({ 'ForAllValues:StringEquals': { 'aws:SourceVpc': 'vpc-1' } }));
  t.true(under({ StringLike: { 'aws:Referer': 'http://example.com/' } }));
  const all = Array.from({ length: 256 }, (_, i) => `${i}.0.0.0/8`);
  t.true(under({ IpAddress: { 'aws:SourceIp': all } }), 'many narrow ranges are everywhere');
  const statements = all.map((range) =>
    allow({ Resource: '*', Condition: { IpAddress: { 'aws:SourceIp': range } } }),
  );
  const spread = JSON.stringify({ Version: '2012-10-17', Statement: statements.slice(0, 100) });
  t.true(isPublicPolicy(parseBucketPolicy(spread, 'buck')), 'over many statements, too');
  t.false(under({ IpAddress: { 'aws:SourceIp': all.slice(0, 4) } }));
  t.true(under({ StringEquals: { 'aws:username': 'ann' } }), 'of whichever account');
  t.false(under({ StringEquals: { 'aws:PrincipalArn': 'arn:aws:iam::a:user/ann' } }));
});

test.serial('a pattern made to be slow is not', async (t) => {
  const pattern = `${'a*'.repeat(1000)}b`;
  const matcher = matcherOf(tokensOf(pattern, { hasVariables: false, hasWildcards: true }));
  const worst = matcherOf(
    tokensOf(`*${'a?'.repeat(500)}b*c`, { hasVariables: false, hasWildcards: true }),
  );
  const cpuMs = await cpuMsOf(() => {
    t.false(matcher('a'.repeat(1100), () => undefined));
    t.false(worst('a'.repeat(1100), () => undefined));
  });
  t.true(cpuMs < 1000, 'a backtracking matcher takes longer than the universe');
});

test.serial(
  'no policy and no header are slow together: a stranger’s request costs milliseconds',
  async (t) => {
    const header = 'a'.repeat(30_000);
    const askedOf = (patterns: string[]): Promise<number> => {
      const text = JSON.stringify({
        Version: '2012-10-17',
        Statement: [
          {
            Effect: 'Allow',
            Principal: '*',
            Action: 's3:GetObject',
            Resource: 'arn:aws:s3:::bucket/*',
            Condition: { StringLike: { 'aws:UserAgent': patterns } },
          },
        ],
      });
      const policy = compilePolicy(parseBucketPolicy(text, 'bucket'));
      return cpuMsOf(() => {
        for (const length of [header.length, 4096]) {
          const verdict = evaluate(policy, {
            principal: { kind: 'anonymous', account: '', arn: '' },
            action: 's3:GetObject',
            resource: 'arn:aws:s3:::bucket/key',
            lookup: (key) => (key === 'aws:useragent' ? header.slice(0, length) : undefined),
          });
          t.is(verdict, undefined);
        }
      });
    };
    const patterns = (one: string): string[] => Array.from({ length: 9 }, (_, i) => `${one}${i}`);
    t.true((await askedOf(patterns(`*${'?'.repeat(50)}b`))) < 1000);
    t.true((await askedOf(patterns(`*${'a?'.repeat(50)}b*`))) < 1000);
    t.true((await askedOf(Array.from({ length: 250 }, (_, i) => `*a?b*${i}`))) < 1000);
    t.throws(() => askedOf(patterns('?'.repeat(60))), { code: 'MalformedPolicy' });
  },
);

test('question marks stand for characters, wherever stars stand around them', (t) => {
  const is = (pattern: string, text: string): boolean | undefined =>
    matcherOf(tokensOf(pattern, { hasVariables: false, hasWildcards: true }))(
      text,
      () => undefined,
    );
  t.true(is('*??', 'ab'));
  t.false(is('*???', 'ab'));
  t.true(is('a*?', 'ab'));
  t.false(is('a*?', 'a'));
  t.true(is('*?b?*', 'xxbx'));
  t.false(is('*?b?', 'b1'));
  t.true(is('*?a?b*c', 'zza1a2b-c'));
  t.true(is('*??*', '😀😀'));
  t.false(is('*??', '😀'));
  t.true(is('*?', '😀'));
  t.true(is('a*😀?', 'a😀😀'));
});

test('addresses: one form each, and ranges by bits', (t) => {
  const inside = (address: string, range: string): boolean | undefined => {
    const [bytes, within] = [addressOf(address), rangeOf(range)];
    return bytes && within && isInRange(bytes, within);
  };
  t.true(inside('1.2.3.4', '::ffff:1.2.3.0/120'));
  t.true(inside('::ffff:102:304', '1.2.3.4'));
  t.true(inside('fe80::1%eth0', 'fe80::/10'));
  t.true(inside('::1', '::/0'));
  t.false(inside('1.2.3.4', '::/0'));
  t.false(inside('255.255.255.255', '254.0.0.0/7') === false);
  t.false(inside('1.2.3.4', '1.2.3.5/31') === false);
  for (const bad of ['1.2.3', '01.2.3.4', '1.2.3.4/33', '1.2.3.4/', '::g', '1::2::3', '']) {
    t.is(rangeOf(bad), undefined, bad);
  }
});

const PICK = {
  actions: [
    's3:*',
    '*',
    's3:Get*',
    's3:GetObject',
    's3:getobject',
    's3:?etObject',
    's3:PutObject',
    's3:GetObject*',
    's3:DeleteObject',
  ],
  resources: [
    'arn:aws:s3:::buck',
    'arn:aws:s3:::buck/*',
    'arn:aws:s3:::buck/a*',
    'arn:aws:s3:::buck/*/b',
    'arn:aws:s3:::*',
    'arn:aws:s3:::buc?/a',
    'arn:aws:s3:::buck/${aws:username}/*',
    'arn:*:s3:*::buck/a/b',
    'arn:aws:s3:::buck/${*}',
    'arn:aws:s3:::buck/?',
    '*',
    'arn:aws:s3:::buck/*a*b*',
  ],
  principals: [
    '*',
    { AWS: '*' },
    { AWS: 'alt' },
    { AWS: 'main' },
    { AWS: ['arn:aws:iam::alt:root', 'main'] },
    { AWS: USER.arn },
    { AWS: ['alt', USER.arn] },
    { AWS: 'anonymous' },
  ],
  keys: [
    'aws:Referer',
    's3:prefix',
    'aws:username',
    'aws:SourceIp',
    's3:max-keys',
    'aws:CurrentTime',
    'aws:SecureTransport',
    'aws:PrincipalArn',
  ],
  texts: [
    'a',
    'A',
    'ann',
    'a/b',
    '',
    'a*',
    '*',
    '?',
    'ab',
    '${aws:username}',
    '${s3:prefix}x',
    '${*}',
    'a${?}',
  ],
  asked: ['a', 'A', 'ann', 'a/b', '', 'ab', '*', 'x', 'axb', '${*}', 'a?'],
  numbers: ['1', '5', '10', '-3', '5.0', '.5'],
  dates: ['2026-01-01T00:00:00Z', '2026-01-02', '1767225600', '2025-12-31T23:59:59.5Z'],
  ranges: ['10.0.0.0/8', '10.1.0.0/16', '0.0.0.0/0', '10.1.2.3', '192.168.0.0/31'],
  addresses: ['10.1.2.3', '10.2.0.1', '192.168.0.1', '192.168.0.2', 'rubbish', '2001:db8::1'],
  arns: [
    'arn:aws:iam::alt:user/*',
    'arn:aws:iam::*:user/ann',
    '*',
    'arn:*:iam::alt:root',
    'arn:aws:iam::alt:user/${aws:username}',
    'arn:aws:*:*:a*:*',
  ],
  askedArns: ['arn:aws:iam::alt:user/ann', 'arn:aws:iam::alt:root', 'arn:aws:iam:x:alt:a:b', 'alt'],
  askedActions: [
    's3:GetObject',
    's3:GetObjectVersion',
    's3:PutObject',
    's3:DeleteObject',
    's3:ListBucket',
  ],
  askedResources: [
    'arn:aws:s3:::buck',
    'arn:aws:s3:::buck/a',
    'arn:aws:s3:::buck/a/b',
    'arn:aws:s3:::buck/ann/b',
    'arn:aws:s3:::buck/*',
    'arn:aws:s3:::buck/axayb:c',
    'arn:aws:s3:::buck/A',
  ],
};

const KINDS: { operators: string[]; ruled: readonly string[]; asked: readonly string[] }[] = [
  {
    operators: [
      'StringEquals',
      'StringNotEquals',
      'StringEqualsIgnoreCase',
      'StringNotEqualsIgnoreCase',
      'StringLike',
      'StringNotLike',
    ],
    ruled: PICK.texts,
    asked: PICK.asked,
  },
  {
    operators: [
      'NumericEquals',
      'NumericNotEquals',
      'NumericLessThan',
      'NumericLessThanEquals',
      'NumericGreaterThan',
      'NumericGreaterThanEquals',
    ],
    ruled: PICK.numbers,
    asked: [...PICK.numbers, 'ten', ''],
  },
  {
    operators: [
      'DateEquals',
      'DateNotEquals',
      'DateLessThan',
      'DateLessThanEquals',
      'DateGreaterThan',
      'DateGreaterThanEquals',
    ],
    ruled: PICK.dates,
    asked: [...PICK.dates, 'soon'],
  },
  { operators: ['Bool'], ruled: ['true', 'false', 'TRUE'], asked: ['true', 'false', 'yes'] },
  { operators: ['IpAddress', 'NotIpAddress'], ruled: PICK.ranges, asked: PICK.addresses },
  {
    operators: ['ArnEquals', 'ArnLike', 'ArnNotEquals', 'ArnNotLike'],
    ruled: PICK.arns,
    asked: PICK.askedArns,
  },
];

test('a hundred thousand random questions are answered as the documents say', (t) => {
  const seed = randomInt(2 ** 31);
  t.log(`seed ${seed}`);
  const next = seeded(seed);
  const pick = <T>(from: readonly T[]): T => from[Math.floor(next() * from.length)] as T;
  const some = <T>(from: readonly T[]): T[] =>
    Array.from({ length: 1 + Math.floor(next() * 3) }, () => pick(from));
  const chance = (share: number): boolean => next() < share;
  const condition = (): Json => {
    const conditions: Record<string, Json> = {};
    for (let i = next() * 3; i > 1; i -= 1) {
      const kind = pick(KINDS);
      const quantifier = pick(['', '', 'ForAllValues:', 'ForAnyValue:']);
      const name = quantifier + pick(kind.operators) + pick(['', '', 'IfExists']);
      conditions[name] = { [pick(PICK.keys)]: chance(0.5) ? pick(kind.ruled) : some(kind.ruled) };
    }
    if (chance(0.1)) conditions['Null'] = { [pick(PICK.keys)]: pick(['true', 'false']) };
    return conditions;
  };
  const statement = (): Json => {
    const Effect = chance(0.35) ? 'Deny' : 'Allow';
    const negated = (name: string): string => (chance(0.2) ? `Not${name}` : name);
    const principal = Effect === 'Deny' ? negated('Principal') : 'Principal';
    return {
      Effect,
      [principal]: pick(PICK.principals),
      [negated('Action')]: some(PICK.actions),
      [negated('Resource')]: chance(0.3) ? pick(PICK.resources) : some(PICK.resources),
      ...(chance(0.7) ? { Condition: condition() } : {}),
    };
  };
  const value = (): string | string[] | undefined => {
    const from = pick(KINDS).asked;
    return chance(0.25)
      ? undefined
      : chance(0.2)
        ? some(from).slice(chance(0.1) ? 3 : 0)
        : pick(from);
  };
  const seen = new Map<string | undefined, number>();
  for (let i = 0; i < 12_500; i += 1) {
    const parsed = {
      Version: pick(['2012-10-17', '2012-10-17', '2008-10-17']),
      Statement: Array.from({ length: 1 + Math.floor(next() * 4) }, statement),
    };
    const text = JSON.stringify(parsed);
    const compiled = compilePolicy(parseBucketPolicy(text, 'buck'));
    for (let j = 0; j < 8; j += 1) {
      const values: Values = {};
      for (const key of PICK.keys) values[key.toLowerCase()] = value();
      const principal = pick([ROOT, USER, NOBODY]);
      const asked: Asked = {
        principal,
        action: pick(PICK.askedActions),
        resource: pick(PICK.askedResources),
        values,
      };
      const ours = evaluate(compiled, request({ ...asked, principal }));
      const theirs = judge(parsed, asked);
      seen.set(ours, (seen.get(ours) ?? 0) + 1);
      if (ours !== theirs)
        t.fail(`${String(ours)}, expected ${String(theirs)}: ${text} ${JSON.stringify(asked)}`);
      if (ours !== theirs) return;
    }
  }
  for (const verdict of ['allow', 'deny', 'delegated', undefined]) {
    t.true((seen.get(verdict as Verdict) ?? 0) > 1000, `${String(verdict)} came up`);
  }
});
