// Who a place in a cloud belongs to: firn-tier.json below the tier's prefix. Two stores (a test
// system restored from a backup, a second tier with a copied prefix) that share a place would each
// collect the other's blobs as orphans. It also shows whether the service keeps create-only: it is
// put a second time, with equal bytes, and a service that honours the condition says that the name
// is taken.

import { FirnError } from '../../../appliance/model/errors.ts';
import type { Random } from '../../../appliance/model/clock.ts';
import { collectExactly } from './bodies.ts';
import type { CloudCalls } from './calls.ts';
import type { BlobService } from './service.ts';

export const IDENTITY_NAME = 'firn-tier.json';
const FORMAT = 1;
const LABELS = { owner: { bucketId: '', key: IDENTITY_NAME } };

interface RemoteIdentity {
  kind: 'firn-remote-tier';
  format: number;
  tier: string;
  root: string;
  store?: string;
}

export interface RemoteIdentityRequest {
  service: BlobService;
  calls: CloudCalls;
  tier: string;
  store: string | undefined;
  /** Makes the identity where there is none; false: the place is away. */
  founds: boolean;
  random: Random;
}

/** Makes or checks the identity; true if the service refuses to overwrite. */
export async function takeRemoteIdentity(request: RemoteIdentityRequest): Promise<boolean> {
  const { service, calls, tier, store, founds, random } = request;
  let bytes = await readIdentity(request);
  if (bytes === undefined && !founds) throw emptied(tier);
  if (bytes === undefined) {
    const identity: RemoteIdentity = {
      kind: 'firn-remote-tier',
      format: FORMAT,
      tier,
      root: Buffer.from(random.bytes(16)).toString('hex'),
      ...(store === undefined ? {} : { store }),
    };
    const fresh = Buffer.from(`${JSON.stringify(identity)}\n`, 'utf8');
    await calls.run(IDENTITY_NAME, (s) => service.put(IDENTITY_NAME, fresh, LABELS, s));
    bytes = (await readIdentity(request)) ?? fresh;
  }
  check(bytes, request);
  const again = bytes;
  const outcome = await calls.run(IDENTITY_NAME, (s) =>
    service.put(IDENTITY_NAME, again, LABELS, s),
  );
  return outcome === 'taken';
}

async function readIdentity({
  service,
  calls,
}: RemoteIdentityRequest): Promise<Buffer | undefined> {
  const head = await calls.run(IDENTITY_NAME, (s) => service.head(IDENTITY_NAME, s));
  if (head === undefined) return undefined;
  const range = { offset: 0, length: head.sizeBytes };
  return calls.run(IDENTITY_NAME, async (s) =>
    collectExactly(
      (await service.get(IDENTITY_NAME, range, s)).body,
      head.sizeBytes,
      IDENTITY_NAME,
    ),
  );
}

function check(bytes: Buffer, { tier, store }: RemoteIdentityRequest): void {
  let identity: Partial<RemoteIdentity>;
  try {
    identity = JSON.parse(bytes.toString('utf8')) as Partial<RemoteIdentity>;
  } catch {
    identity = {};
  }
  if (identity.kind !== 'firn-remote-tier') {
    throw foreign(tier, `its ${IDENTITY_NAME} is damaged or not Firn's`);
  }
  if (identity.format !== FORMAT) {
    throw new FirnError('FormatUnknown', `${tier}: ${IDENTITY_NAME} of format ${identity.format}`, {
      subject: tier,
      hint: 'this place was made by a newer Firn',
    });
  }
  if (identity.tier !== tier) throw foreign(tier, `it belongs to the tier ${identity.tier}`);
  if (store !== undefined && identity.store !== undefined && identity.store !== store) {
    throw foreign(tier, `it belongs to the store ${identity.store}`);
  }
}

/** It was there once: a bucket of that name made anew, or a prefix that somebody emptied. */
export function emptied(tier: string, cause?: unknown): FirnError {
  return new FirnError('TierUnavailable', `${tier}: its place has no ${IDENTITY_NAME} now`, {
    subject: tier,
    cause,
    hint: 'was the bucket or container removed, or does something else answer for the service?',
    retryable: true,
  });
}

function foreign(tier: string, message: string): FirnError {
  return new FirnError('DriveForeign', `the place of ${tier} is foreign: ${message}`, {
    subject: tier,
    hint: 'give each tier of each store a bucket or prefix of its own',
  });
}
