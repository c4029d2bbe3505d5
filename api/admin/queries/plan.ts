// plan, apply and explain over the real inventory.

import type { ApplyAnswer, ExplainAnswer, PlanAnswer } from '../../../appliance/model/answers.ts';
import type { PolicyText } from '../../../appliance/model/answers.ts';
import type { Bucket } from '../../../appliance/model/bucket.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import { NULL_VERSION, objectId } from '../../../appliance/model/ids.ts';
import type { ObjectDocument, Upload } from '../../../appliance/model/object.ts';
import { allVersions, inventoryPages } from '../../../appliance/engine/document/inventory.ts';
import { explain } from '../../../policies/explain.ts';
import { factsOfKey, factsOfUpload } from '../../../policies/facts.ts';
import type { Facts, FactsContext } from '../../../policies/facts.ts';
import { plan } from '../../../policies/plan.ts';
import type { Plan } from '../../../policies/plan.ts';
import type { AdminOptions } from '../contract/options.ts';
import { activate, differenceOf, evaluatorInForce, readPolicies } from './policy-sets.ts';
import type { Policies } from './policy-sets.ts';
import { costModelOf, priceLines } from './pricing.ts';
import type { RouteInput } from '../contract/route.ts';
import { allBuckets, allRows, bucketByName, timeOf } from '../contract/rows.ts';
import { tierUsage } from './usage.ts';

type Work = Pick<RouteInput<unknown, unknown>, 'progress' | 'signal'>;

async function factsContext(options: AdminOptions): Promise<FactsContext> {
  const usage = await tierUsage(options);
  const bounded = usage.filter((tier) => tier.error === null && tier.capacityBytes > 0);
  return {
    classes: options.classes,
    poolFill: new Map(bounded.map((tier) => [tier.tier, tier.usedBytes / tier.capacityBytes])),
  };
}

/** Facts of everything that rules are about, bucket by bucket, in key order. */
async function* allFacts(
  options: AdminOptions,
  buckets: readonly Bucket[],
  work: Work,
): AsyncGenerator<Facts> {
  const context = await factsContext(options);
  let objects = 0;
  let bytes = 0;
  for (const bucket of buckets) {
    for await (const page of inventoryPages(options.store, bucket.id)) {
      work.signal.throwIfAborted();
      for (const row of page) {
        const versions = await allVersions(options.store, row);
        const subject = { bucket, key: row.key, document: row.document };
        for (const facts of factsOfKey(subject, context, versions)) {
          objects += 1;
          bytes += facts.sizeBytes;
          yield facts;
        }
      }
      work.progress({ objects, bytes });
    }
    yield* uploadFacts(options, bucket);
  }
}

async function* uploadFacts(options: AdminOptions, bucket: Bucket): AsyncGenerator<Facts> {
  const bounds = { from: `${bucket.id}/`, to: `${bucket.id}0` };
  for await (const { value } of allRows<Upload>(options.store, 'uploads', bounds)) {
    if (value.state === 'open') yield factsOfUpload(bucket.name, value);
  }
}

async function planned(options: AdminOptions, policies: Policies, work: Work): Promise<Plan> {
  const buckets = await allBuckets(options.store);
  const { deletedShareMax, deletedBytesMax, costMax } = options.guardRails;
  return plan(
    allFacts(options, buckets, work),
    { candidate: policies.candidate, active: policies.inForce },
    {
      now: options.clock.now(),
      classes: options.classes,
      cost: await costModelOf(options),
      guardRails: {
        deletedShareMax,
        ...(deletedBytesMax === undefined ? {} : { deletedBytesMax }),
        ...(costMax === undefined ? {} : { spendMax: costMax }),
      },
    },
  );
}

export async function planOf(
  options: AdminOptions,
  files: readonly PolicyText[] | undefined,
  work: Work,
): Promise<PlanAnswer> {
  const policies = await readPolicies(options, files);
  const { books, ...rest } = await planned(options, policies, work);
  return {
    ...rest,
    activeRevision: policies.active?.value.revision ?? null,
    difference: differenceOf(policies),
    warnings: [...policies.warnings],
    prices: priceLines(books),
  };
}

/** Plans once more and applies only what was planned. */
export async function applyOf(
  options: AdminOptions,
  given: {
    account: string;
    hash: string;
    files: readonly PolicyText[] | undefined;
    force: boolean;
  },
  work: Work,
): Promise<ApplyAnswer> {
  const policies = await readPolicies(options, given.files);
  if (given.files === undefined && policies.active === undefined) {
    throw new FirnError('InvalidArgument', 'no policy is active', {
      hint: 'name the policy files that you planned',
    });
  }
  const result = await planned(options, policies, work);
  if (result.hash !== given.hash) {
    throw new FirnError('PlanStale', 'this is not what was planned', {
      subject: given.hash,
      hint: 'rules, the active policy or what is due have changed: plan again and read it',
    });
  }
  if (result.breaches.length > 0 && !given.force) {
    throw new FirnError(
      'GuardRail',
      `the policy passes a guard rail: ${result.breaches.map((one) => one.message).join('; ')}`,
      { hint: 'check the rules; --force applies it all the same' },
    );
  }
  const set = await activate(options, policies, { account: given.account, planHash: result.hash });
  return {
    revision: set.revision,
    hash: set.planHash,
    appliedAt: timeOf(set.appliedAt),
    rules: policies.candidate.rules.length,
  };
}

export async function explainOf(
  options: AdminOptions,
  name: { bucket: string; key: string; versionId?: string | undefined },
): Promise<ExplainAnswer> {
  const bucket = await bucketByName(options.store, name.bucket);
  const id = objectId(bucket.id, name.key);
  const row = await options.store.get<ObjectDocument>('objects', id);
  const document = row?.value;
  if (row === undefined || document === undefined || document.versions.length === 0) {
    throw new FirnError('NoSuchKey', `there is no s3://${name.bucket}/${name.key}`, {
      subject: name.key,
      hint: 'keys are exact, capitals and slashes too: list the bucket by any S3 client',
    });
  }
  const versions = await allVersions(options.store, {
    object: id,
    key: name.key,
    revision: row.revision,
    document,
  });
  const index = versions.findIndex(
    (one) =>
      name.versionId === undefined ||
      (name.versionId === NULL_VERSION ? one.isNull : one.id === name.versionId),
  );
  const version = versions[index];
  const facts = factsOfKey(
    { bucket, key: name.key, document },
    await factsContext(options),
    versions,
  )[index];
  if (version === undefined || facts === undefined) {
    throw new FirnError('NoSuchVersion', `it has no version ${name.versionId ?? ''}`);
  }
  const explanation = await explain(facts, await evaluatorInForce(options), {
    now: options.clock.now(),
    version,
    cost: await costModelOf(options),
  });
  const { location } = explanation;
  const tier = location.tier === null ? undefined : options.tiers.get(location.tier);
  return {
    ...explanation,
    location: {
      ...location,
      retrieval: tier?.retrieval ?? null,
      parts: location.parts.map((part) => ({ ...part })),
    },
  };
}
