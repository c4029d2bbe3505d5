// Verifying a request's signature beside what is in it at least: one HMAC with a key that is ready.
// Requests of one client and day, as they come, each with a key of its own.

import { createHmac, createSecretKey } from 'node:crypto';
import { parseTarget } from '../../api/s3/input/target.ts';
import { verifyRequest, type RequestToVerify } from '../../api/s3/signature/verify.ts';
import { sha256Hex, signRequest, stringToSign } from '../../appliance/model/signature.ts';
import type { Figure } from './ec.ts';

const REQUESTS = 256;
const ROUNDS = 41;
const CALLS = 4096;
/** SigV4 verification in HMACs. */
const LIMIT_RATIO = 6;

const KEYS = { accessKey: 'AKIDEXAMPLE', secretKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY' };
const region = 'us-east-1';

function requests(now: Date): RequestToVerify[] {
  return Array.from({ length: REQUESTS }, (_, index) => {
    const path = `/bucket-of-backups/folder/${index.toString(36)}/object-${index}.bin`;
    const headers = signRequest({
      ...KEYS,
      method: 'GET',
      host: '127.0.0.1:9000',
      path,
      query: '',
      headers: { 'user-agent': 'bench', accept: '*/*' },
      payloadHash: sha256Hex(''),
      region,
      service: 's3',
      date: now,
    });
    const rawHeaders = Object.entries(headers).flat();
    const target = parseTarget(path, headers['host'] as string, undefined);
    return { method: 'GET', target, headers, rawHeaders };
  });
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] as number;
}

export async function benchSigv4(): Promise<Record<string, Figure>> {
  const now = new Date();
  const all = requests(now);
  const settings = {
    accounts: {
      secretOf: () => Promise.resolve({ account: 'owner', secretKey: KEYS.secretKey }),
    },
    clock: { wall: () => now.getTime(), now: () => now.getTime() },
    region,
  };
  const key = createSecretKey(Buffer.alloc(32, 7));
  const text = stringToSign('20260101T000000Z', `20260101/${region}/s3/aws4_request`, 'x');
  let seen = 0;
  const [ours, bare]: [number[], number[]] = [[], []];
  for (let round = 0; round < ROUNDS; round++) {
    let begun = performance.now();
    for (let call = 0; call < CALLS; call++) {
      seen += createHmac('sha256', key).update(text).digest('hex').length;
    }
    bare.push(((performance.now() - begun) * 1000) / CALLS);
    begun = performance.now();
    for (let call = 0; call < CALLS; call++) {
      const identity = await verifyRequest(all[call % REQUESTS] as RequestToVerify, settings);
      seen += identity.account.length;
    }
    ours.push(((performance.now() - begun) * 1000) / CALLS);
  }
  if (seen === 0) throw new Error('nothing was verified');
  const [figure, one] = [median(ours), median(bare)];
  const limit = one * LIMIT_RATIO;
  return { 'sigv4-verify': { figure, unit: 'µs (limit: 6 HMACs)', limit, ratio: figure / one } };
}
