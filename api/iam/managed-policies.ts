// The managed policies that every account has, under AWS's names: what administrators reach for
// first. They name what they allow, so a service that is added later is in none but the first.

const ARN_PREFIX = 'arn:aws:iam::aws:policy/';

const allow = (...actions: string[]): string =>
  JSON.stringify({
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Action: actions, Resource: '*' }],
  });

const DOCUMENTS = new Map([
  ['AdministratorAccess', allow('*')],
  ['AmazonS3FullAccess', allow('s3:*')],
  ['AmazonS3ReadOnlyAccess', allow('s3:Get*', 's3:List*')],
  ['IAMFullAccess', allow('iam:*')],
  ['IAMReadOnlyAccess', allow('iam:Get*', 'iam:List*')],
]);

export const BUILT_IN_ARNS = [...DOCUMENTS.keys()].map((name) => ARN_PREFIX + name);

/** Undefined for any other ARN. */
export function builtInDocument(arn: string): string | undefined {
  return arn.startsWith(ARN_PREFIX) ? DOCUMENTS.get(arn.slice(ARN_PREFIX.length)) : undefined;
}

/** The name of a managed policy of this account; undefined for another's, and what is none. */
export function policyNameOf(arn: string, account: string): string | undefined {
  const prefix = `arn:aws:iam::${account}:policy/`;
  if (!arn.startsWith(prefix)) return undefined;
  const name = arn.slice(arn.lastIndexOf('/') + 1);
  return /^[\w+=,.@-]{1,128}$/.test(name) ? name : undefined;
}
