// What can be asked about an account as a whole: GetAccountSummary, how many identities it has and
// may have; and ListOpenIDConnectProviders, which it has none of, as clean-ups want to know.

import { element, wrap } from '../s3/xml/write.ts';
import type { Action } from './action.ts';

export const getAccountSummary: Action = {
  name: 'GetAccountSummary',
  service: 'iam',
  resource: () => '*',
  async run({ account, settings }) {
    const { identities } = settings;
    const counts: [string, number][] = [
      ['Users', (await identities.list('user', account)).length],
      ['UsersQuota', 5000],
      ['Groups', (await identities.list('group', account)).length],
      ['GroupsQuota', 300],
      ['Roles', (await identities.list('role', account)).length],
      ['RolesQuota', 1000],
      ['Policies', (await identities.list('policy', account)).length],
      ['PoliciesQuota', 1500],
      ['AccessKeysPerUserQuota', 2],
      ['GroupsPerUserQuota', 10],
      ['AttachedPoliciesPerUserQuota', 10],
      ['AttachedPoliciesPerGroupQuota', 10],
      ['AttachedPoliciesPerRoleQuota', 10],
      ['PolicySizeQuota', 6144],
      ['UserPolicySizeQuota', 2048],
      ['GroupPolicySizeQuota', 5120],
      ['VersionsPerPolicyQuota', 5],
      ['AccountMFAEnabled', 0],
    ];
    const entries = counts.map(([key, value]) =>
      wrap('entry', element('key', key) + element('value', value)),
    );
    return wrap('SummaryMap', entries.join(''));
  },
};

export const listOpenIdConnectProviders: Action = {
  name: 'ListOpenIDConnectProviders',
  service: 'iam',
  resource: () => '*',
  run: () => Promise.resolve(wrap('OpenIDConnectProviderList', '')),
};
