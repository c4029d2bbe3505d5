// Names, paths and ARNs of identities. A name is at most 64 letters, digits and _+=,.@- (128 for
// policies and groups), and names that differ only in case are one.

import type { IdentityKind, Named } from '../../appliance/model/identity.ts';
import { FirnError } from '../../appliance/model/errors.ts';
import { validationError, type Params } from './params.ts';

const NAME = /^(?!__proto__$)[\w+=,.@-]{1,128}$/;
const LENGTH_MAX: Record<IdentityKind, number> = { user: 64, role: 64, group: 128, policy: 128 };
const PATH = /^\/(?:[!-.0-~]{1,128}\/){0,20}$/;
const PATH_LENGTH_MAX = 512;
const TAG_KEY_MAX = 128;
const TAG_VALUE_MAX = 256;
const TAGS_MAX = 50;

export const NAME_PARAMETERS: Record<IdentityKind, string> = {
  user: 'UserName',
  group: 'GroupName',
  role: 'RoleName',
  policy: 'PolicyName',
};

export function checkName(name: string, kind: IdentityKind): string {
  if (!NAME.test(name) || name.length > LENGTH_MAX[kind]) {
    throw validationError(
      `${NAME_PARAMETERS[kind]} must have 1 to ${LENGTH_MAX[kind]} letters, digits or _+=,.@-`,
    );
  }
  return name;
}

export function nameOf(params: Params, kind: IdentityKind): string {
  return checkName(params.need(NAME_PARAMETERS[kind]), kind);
}

export function checkPath(path: string): string {
  if (PATH.test(path) && path.length <= PATH_LENGTH_MAX) return path;
  throw validationError('Path must begin and end with a slash.');
}

export function pathOf(params: Params): string {
  return checkPath(params.get('Path') ?? '/');
}

export function tagsOf(params: Params): Record<string, string> | undefined {
  const keys = params.members('Tags', 'Key');
  const values = params.members('Tags', 'Value');
  if (keys.length === 0) return undefined;
  const isValid =
    keys.length === values.length &&
    keys.length <= TAGS_MAX &&
    new Set(keys.map((key) => key.toLowerCase())).size === keys.length &&
    keys.every((key) => key.length > 0 && key.length <= TAG_KEY_MAX && key !== '__proto__') &&
    values.every((value) => value.length <= TAG_VALUE_MAX);
  if (!isValid) throw new FirnError('InvalidInput', 'The tags are not valid.');
  return Object.fromEntries(keys.map((key, i) => [key, values[i] as string]));
}

export function arnOf({
  account,
  kind,
  path,
  name,
}: Omit<Named, 'format' | 'id' | 'createdAt'>): string {
  return `arn:aws:iam::${account}:${kind}${path}${name}`;
}

export const rootArn = (account: string): string => `arn:aws:iam::${account}:root`;

export function noSuchEntity(kind: string, name: string): FirnError {
  return new FirnError('NoSuchEntity', `The ${kind} with name ${name} cannot be found.`);
}
