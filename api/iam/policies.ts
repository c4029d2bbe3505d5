// Managed policies and their versions: CreatePolicy, GetPolicy, ListPolicies, DeletePolicy,
// CreatePolicyVersion, GetPolicyVersion, ListPolicyVersions, SetDefaultPolicyVersion,
// DeletePolicyVersion. What is attached goes by the default version from the next request on.

import { FirnError } from '../../appliance/model/errors.ts';
import type { ManagedPolicy, PolicyVersion } from '../../appliance/model/identity.ts';
import { element, wrap } from '../s3/xml/write.ts';
import type { Action, Call } from './action.ts';
import { documentText, lowerName, pageXml, policyXml, time } from './answer.ts';
import { allBearers, change, find } from './bearers.ts';
import { checkDocument } from './documents.ts';
import { BUILT_IN_ARNS, builtInDocument, policyNameOf } from './managed-policies.ts';
import { arnOf, nameOf, pathOf, tagsOf } from './names.ts';

const VERSIONS_MAX = 5;
const MANAGED_BYTES_MAX = 6144;

const notFound = (arn: string): FirnError =>
  new FirnError('NoSuchEntity', `Policy ${arn} does not exist or is not attachable.`);

/** By PolicyArn; those that every account has can't be changed. Throws NoSuchEntity. */
function nameOfArn({ account, params }: Call): string {
  const arn = params.need('PolicyArn');
  if (builtInDocument(arn) !== undefined) {
    throw new FirnError('AccessDenied', 'A built-in policy cannot be changed.');
  }
  const name = policyNameOf(arn, account);
  if (name === undefined) throw notFound(arn);
  return name;
}

const builtIn = (arn: string): ManagedPolicy => ({
  format: 1,
  kind: 'policy',
  account: 'aws',
  id: `ANPA${arn.slice(arn.lastIndexOf('/') + 1).toUpperCase()}`,
  name: arn.slice(arn.lastIndexOf('/') + 1),
  path: '/',
  createdAt: 0,
  versions: [{ id: 'v1', document: builtInDocument(arn) as string, createdAt: 0 }],
  defaultVersion: 'v1',
  lastVersion: 1,
  updatedAt: 0,
});

/**
 * What policies of the caller were asked about is the ARN as it was sent; rows know names without
 * case and path. So a policy is changed only by its very ARN. Throws NoSuchEntity.
 */
function requireArn({ params }: Call, policy: ManagedPolicy): ManagedPolicy {
  const arn = params.need('PolicyArn');
  if (arnOf(policy) === arn) return policy;
  throw notFound(arn);
}

async function named(call: Call): Promise<ManagedPolicy> {
  const arn = call.params.need('PolicyArn');
  if (builtInDocument(arn) !== undefined) return builtIn(arn);
  return requireArn(call, await find(call, 'policy', nameOfArn(call)));
}

function changeNamed(
  call: Call,
  how: (policy: ManagedPolicy) => ManagedPolicy,
): Promise<ManagedPolicy> {
  const of = { kind: 'policy', name: nameOfArn(call) } as const;
  return change(call, of, (policy) => how(requireArn(call, policy)));
}

function checkManaged(text: string): string {
  if (Buffer.byteLength(text.replaceAll(/\s+/g, '')) > MANAGED_BYTES_MAX) {
    throw new FirnError(
      'LimitExceeded',
      `Cannot exceed quota for PolicySize: ${MANAGED_BYTES_MAX}`,
    );
  }
  return checkDocument(text, 'identity');
}

async function attachmentsOf(call: Call): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  for (const { attached } of await allBearers(call)) {
    for (const arn of attached) counts.set(arn, (counts.get(arn) ?? 0) + 1);
  }
  return counts;
}

const resource =
  (...parameters: string[]) =>
  ({ params }: Call): string => {
    for (const name of parameters) params.get(name);
    return params.need('PolicyArn');
  };

const createPolicy: Action = {
  name: 'CreatePolicy',
  service: 'iam',
  resource({ account, params }) {
    for (const name of ['PolicyDocument', 'Description']) params.get(name);
    tagsOf(params);
    return arnOf({ account, kind: 'policy', path: pathOf(params), name: nameOf(params, 'policy') });
  },
  async run({ account, params, settings }) {
    const { identities, clock } = settings;
    const document = checkManaged(params.need('PolicyDocument'));
    const createdAt = clock.now();
    const policy: ManagedPolicy = {
      format: 1,
      kind: 'policy',
      account,
      id: identities.newId('policy'),
      name: nameOf(params, 'policy'),
      path: pathOf(params),
      createdAt,
      updatedAt: createdAt,
      versions: [{ id: 'v1', document, createdAt }],
      defaultVersion: 'v1',
      lastVersion: 1,
    };
    const description = params.get('Description');
    if (description !== undefined) policy.description = description;
    const tags = tagsOf(params);
    if (tags !== undefined) policy.tags = tags;
    if (await identities.insert(policy)) return wrap('Policy', policyXml(policy, 0));
    throw new FirnError(
      'EntityAlreadyExists',
      `A policy called ${policy.name} already exists. Duplicate names are not allowed.`,
    );
  },
};

const getPolicy: Action = {
  name: 'GetPolicy',
  service: 'iam',
  resource: resource(),
  async run(call) {
    const policy = await named(call);
    const attachments = (await attachmentsOf(call)).get(arnOf(policy)) ?? 0;
    return wrap('Policy', policyXml(policy, attachments));
  },
};

const listPolicies: Action = {
  name: 'ListPolicies',
  service: 'iam',
  resource({ account, params }) {
    for (const name of ['Scope', 'OnlyAttached', 'PathPrefix', 'PolicyUsageFilter']) {
      params.get(name);
    }
    for (const name of ['Marker', 'MaxItems']) params.get(name);
    return `arn:aws:iam::${account}:policy/`;
  },
  async run(call) {
    const { account, params, settings } = call;
    const scope = params.get('Scope') ?? 'All';
    const prefix = params.get('PathPrefix') ?? '/';
    const own = scope === 'AWS' ? [] : await settings.identities.list('policy', account);
    const all = scope === 'Local' ? own : [...own, ...BUILT_IN_ARNS.map(builtIn)];
    const attachments = await attachmentsOf(call);
    const count = (policy: ManagedPolicy): number => attachments.get(arnOf(policy)) ?? 0;
    const shown = all
      .filter(({ path }) => path.startsWith(prefix))
      .filter((policy) => params.get('OnlyAttached') !== 'true' || count(policy) > 0)
      .toSorted((a, b) => (lowerName(a) < lowerName(b) ? -1 : 1));
    return pageXml(params, shown, {
      list: 'Policies',
      name: lowerName,
      xml: (policy) => policyXml(policy, count(policy)),
    });
  },
};

const deletePolicy: Action = {
  name: 'DeletePolicy',
  service: 'iam',
  resource: resource(),
  async run(call) {
    const { account, settings } = call;
    const name = nameOfArn(call);
    const attachments = await attachmentsOf(call);
    const removed = await settings.identities.remove('policy', { account, name }, (policy) => {
      requireArn(call, policy);
      if (attachments.has(arnOf(policy))) {
        throw new FirnError('DeleteConflict', 'Cannot delete a policy attached to entities.');
      }
      if (policy.versions.length === 1) return;
      throw new FirnError(
        'DeleteConflict',
        'This policy has more than one version. Before you delete a policy, you must delete its versions.',
      );
    });
    if (!removed) throw notFound(call.params.need('PolicyArn'));
    return undefined;
  },
};

const versionXml = ({ id, createdAt }: PolicyVersion, policy: ManagedPolicy): string =>
  element('VersionId', id) +
  element('IsDefaultVersion', id === policy.defaultVersion) +
  element('CreateDate', time(createdAt));

const createPolicyVersion: Action = {
  name: 'CreatePolicyVersion',
  service: 'iam',
  resource: resource('PolicyDocument', 'SetAsDefault'),
  async run(call) {
    const { params, settings } = call;
    const document = checkManaged(params.need('PolicyDocument'));
    const createdAt = settings.clock.now();
    const isDefault = params.get('SetAsDefault') === 'true';
    const policy = await changeNamed(call, (one) => {
      if (one.versions.length >= VERSIONS_MAX) {
        throw new FirnError('LimitExceeded', `A policy has at most ${VERSIONS_MAX} versions.`);
      }
      const lastVersion = one.lastVersion + 1;
      const id = `v${lastVersion}`;
      const versions = [...one.versions, { id, document, createdAt }];
      const defaultVersion = isDefault ? id : one.defaultVersion;
      return { ...one, versions, lastVersion, defaultVersion, updatedAt: createdAt };
    });
    return wrap('PolicyVersion', versionXml(policy.versions.at(-1) as PolicyVersion, policy));
  },
};

function noSuchVersion(id: string): FirnError {
  return new FirnError('NoSuchEntity', `Policy version ${id} does not exist.`);
}

const getPolicyVersion: Action = {
  name: 'GetPolicyVersion',
  service: 'iam',
  resource: resource('VersionId'),
  async run(call) {
    const policy = await named(call);
    const id = call.params.need('VersionId');
    const version = policy.versions.find((one) => one.id === id);
    if (version === undefined) throw noSuchVersion(id);
    const document = element('Document', documentText(version.document));
    return wrap('PolicyVersion', document + versionXml(version, policy));
  },
};

const listPolicyVersions: Action = {
  name: 'ListPolicyVersions',
  service: 'iam',
  resource: resource('Marker', 'MaxItems'),
  async run(call) {
    const policy = await named(call);
    return pageXml(call.params, policy.versions, {
      list: 'Versions',
      name: ({ id }) => id,
      xml: (version) => versionXml(version, policy),
    });
  },
};

const setDefaultPolicyVersion: Action = {
  name: 'SetDefaultPolicyVersion',
  service: 'iam',
  resource: resource('VersionId'),
  async run(call) {
    const id = call.params.need('VersionId');
    await changeNamed(call, (one) => {
      if (!one.versions.some((version) => version.id === id)) throw noSuchVersion(id);
      return { ...one, defaultVersion: id };
    });
    return undefined;
  },
};

const deletePolicyVersion: Action = {
  name: 'DeletePolicyVersion',
  service: 'iam',
  resource: resource('VersionId'),
  async run(call) {
    const id = call.params.need('VersionId');
    await changeNamed(call, (one) => {
      if (!one.versions.some((version) => version.id === id)) throw noSuchVersion(id);
      if (one.defaultVersion === id) {
        throw new FirnError('DeleteConflict', 'Cannot delete the default version of a policy.');
      }
      return { ...one, versions: one.versions.filter((version) => version.id !== id) };
    });
    return undefined;
  },
};

export const policyActions: Action[] = [
  createPolicy,
  getPolicy,
  listPolicies,
  deletePolicy,
  createPolicyVersion,
  getPolicyVersion,
  listPolicyVersions,
  setDefaultPolicyVersion,
  deletePolicyVersion,
];
