// The decision of an access policy of 20 statements against the least that could decide it: the same
// comparisons written out by hand for this one policy. Both in this run, interleaved, medians.

import { parseBucketPolicy } from '../../policies/access/document.ts';
import { compilePolicy, evaluate } from '../../policies/access/evaluate.ts';
import type { AccessRequest } from '../../policies/access/policy.ts';
import type { Figure } from './ec.ts';

const ROUNDS = 9;
const REPEATS = 20_000;
const STATEMENTS = 20;

const text = JSON.stringify({
  Version: '2012-10-17',
  Statement: Array.from({ length: STATEMENTS }, (_, i) => ({
    Effect: i % 5 === 0 ? 'Deny' : 'Allow',
    Principal: i % 2 === 1 ? '*' : { AWS: [`account${i}`, 'arn:aws:iam::main:root'] },
    Action: i % 3 === 0 ? 's3:*' : ['s3:Get*', 's3:PutObject'],
    Resource: [`arn:aws:s3:::bucket/folder${i}/*`, 'arn:aws:s3:::bucket'],
    Condition: {
      StringLike: { 'aws:Referer': 'http://example.com/*' },
      IpAddress: { 'aws:SourceIp': ['10.0.0.0/8', '192.168.1.0/24'] },
    },
  })),
});

const values: Record<string, string> = {
  'aws:referer': 'http://example.com/page',
  'aws:sourceip': '10.2.3.4',
};

const request: AccessRequest = {
  principal: { kind: 'account', account: 'main', arn: 'arn:aws:iam::main:root' },
  action: 's3:GetObject',
  resource: 'arn:aws:s3:::bucket/folder19/a/b/c.txt',
  lookup: (key) => values[key],
};

/** One statement after the other, as whoever knew them would write them. */
function byHand({ action, resource, principal, lookup }: AccessRequest): string | undefined {
  let verdict: string | undefined;
  for (let i = 0; i < STATEMENTS; i += 1) {
    if (i % 3 !== 0 && !action.startsWith('s3:Get') && action !== 's3:PutObject') continue;
    if (i % 2 === 0 && principal.account !== 'main') continue;
    const isNamed = resource.startsWith(`arn:aws:s3:::bucket/folder${i}/`);
    if (!isNamed && resource !== 'arn:aws:s3:::bucket') continue;
    if (!String(lookup('aws:referer')).startsWith('http://example.com/')) continue;
    if (!String(lookup('aws:sourceip')).startsWith('10.')) continue;
    if (i % 5 === 0) return 'deny';
    verdict = 'allow';
  }
  return verdict;
}

function micros(work: () => unknown): number {
  const begun = process.cpuUsage();
  for (let i = 0; i < REPEATS; i += 1) work();
  const { user, system } = process.cpuUsage(begun);
  return (user + system) / REPEATS;
}

const median = (all: number[]): number => all.toSorted((a, b) => a - b)[all.length >> 1] as number;

/** The row policy-evaluate of the bench: CPU of one decision, at most 10 µs. */
export function benchAccess(): Record<string, Figure> {
  const compiled = compilePolicy(parseBucketPolicy(text, 'bucket'));
  const ours = (): unknown => evaluate(compiled, request);
  const least = (): unknown => byHand(request);
  if (ours() !== 'allow' || least() !== 'allow') throw new Error('both must let it in');
  micros(ours);
  micros(least);
  const rounds = Array.from({ length: ROUNDS }, () => ({
    limit: micros(least),
    figure: micros(ours),
  }));
  const figure = median(rounds.map((round) => round.figure));
  const limit = median(rounds.map((round) => round.limit));
  return { 'policy-evaluate': { figure, unit: 'CPU µs a decision', limit, ratio: limit / figure } };
}
