// What actions on users, groups and roles share: finding the one that is named, and changing it.

import { FirnError } from '../../appliance/model/errors.ts';
import type { Bearer, IdentityKind, IdentityKinds } from '../../appliance/model/identity.ts';
import type { Action, Call } from './action.ts';
import { lowerName, pageXml } from './answer.ts';
import { arnOf, checkName, checkPath, nameOf, noSuchEntity } from './names.ts';

export type BearerKind = Exclude<IdentityKind, 'policy'>;

/** `User`, `Group`, `Role`: how actions and elements are called. */
export const TITLES: Record<IdentityKind, string> = {
  user: 'User',
  group: 'Group',
  role: 'Role',
  policy: 'Policy',
};

/** Throws NoSuchEntity. */
export async function find<K extends IdentityKind>(
  call: Call,
  kind: K,
  name: string,
): Promise<IdentityKinds[K]> {
  const { account, settings } = call;
  const found = await settings.identities.get(kind, { account, name });
  if (found === undefined) throw noSuchEntity(kind, name);
  return found;
}

/** The ARN that a policy must allow; of a name that is free, as if it were at the root path. */
export async function arnNamed(call: Call, kind: IdentityKind, name: string): Promise<string> {
  const { account, settings } = call;
  const found = await settings.identities.get(kind, { account, name });
  return arnOf(found ?? { account, kind, path: '/', name });
}

/** Of an action about the one that is named, which takes these parameters besides. */
export const arnOfParameter =
  (kind: IdentityKind, ...parameters: string[]) =>
  (call: Call): Promise<string> => {
    for (const name of parameters) call.params.get(name);
    return arnNamed(call, kind, nameOf(call.params, kind));
  };

/** ListUsers, ListGroups, ListRoles: a page of those under a path. */
export function listAction<K extends BearerKind>(
  kind: K,
  xml: (value: IdentityKinds[K]) => string,
): Action {
  const list = `${TITLES[kind]}s`;
  return {
    name: `List${list}`,
    service: 'iam',
    resource({ account, params }) {
      for (const name of ['PathPrefix', 'Marker', 'MaxItems']) params.get(name);
      return `arn:aws:iam::${account}:${kind}/`;
    },
    async run({ account, params, settings }) {
      const prefix = params.get('PathPrefix') ?? '/';
      const all = await settings.identities.list(kind, account);
      const found = all.filter(({ path }) => path.startsWith(prefix));
      return pageXml(params, found, { list, name: lowerName, xml });
    },
  };
}

/**
 * Of an update that may give another name or path: as it is called, and as it will be. Policies go
 * by ARNs, so who may not handle the new one must not bring it about. Throws ValidationError.
 */
async function arnsOfMove(
  call: Call,
  kind: 'user' | 'group',
  newName: string,
): Promise<readonly string[]> {
  const { account, params, settings } = call;
  const name = nameOf(params, kind);
  const found = await settings.identities.get(kind, { account, name });
  const old = found ?? { account, kind, path: '/', name };
  const path = params.get('NewPath') ?? old.path;
  const moved = arnOf({ account, kind, path, name: params.get(newName) ?? old.name });
  return [arnOf(old), moved];
}

/** By compare-and-swap. Throws NoSuchEntity, and what `change` throws. */
export async function change<K extends IdentityKind>(
  call: Call,
  { kind, name }: { kind: K; name: string },
  how: (value: IdentityKinds[K]) => IdentityKinds[K],
): Promise<IdentityKinds[K]> {
  const { account, settings } = call;
  const changed = await settings.identities.change(kind, { account, name }, how);
  if (changed === undefined) throw noSuchEntity(kind, name);
  return changed;
}

/** All that may have a managed policy attached. */
export async function allBearers(call: Call): Promise<Bearer[]> {
  const { account, settings } = call;
  const { identities } = settings;
  return [
    ...(await identities.list('user', account)),
    ...(await identities.list('group', account)),
    ...(await identities.list('role', account)),
  ];
}

/** The name stands already. */
export function taken(kind: BearerKind, name: string): FirnError {
  return new FirnError('EntityAlreadyExists', `${TITLES[kind]} with name ${name} already exists.`);
}

/**
 * UpdateUser, UpdateGroup. A new name is a new row: made before what names the old one is `told`,
 * and before the old one goes. Both have the same id and policies in between, and the same call
 * again finishes what a crash left. Names in lower case are given to `told`.
 */
export function updateAction<K extends 'user' | 'group'>(
  kind: K,
  told: (
    call: Call,
    changed: IdentityKinds[K],
    names: { from: string; to: string },
  ) => Promise<void>,
): Action {
  const newNameParameter = `New${TITLES[kind]}Name`;
  return {
    name: `Update${TITLES[kind]}`,
    service: 'iam',
    resource: (call) => arnsOfMove(call, kind, newNameParameter),
    async run(call) {
      const { account, params, settings } = call;
      const { identities } = settings;
      const name = nameOf(params, kind);
      const newPath = params.get('NewPath');
      const newName = params.get(newNameParameter);
      if (newPath !== undefined) checkPath(newPath);
      if (newName !== undefined) checkName(newName, kind);
      const [from, to] = [name.toLowerCase(), newName?.toLowerCase()];
      const changed = await change(call, { kind, name }, (old) => ({
        ...old,
        path: newPath ?? old.path,
        name: newName !== undefined && from === to ? newName : old.name,
      }));
      if (newName === undefined || to === undefined || from === to) return undefined;
      if (!(await identities.insert({ ...changed, name: newName }))) {
        const other = await identities.get(kind, { account, name: newName });
        if (other?.id !== changed.id) throw taken(kind, newName);
      }
      await told(call, changed, { from, to });
      await identities.remove(kind, { account, name }, () => undefined);
      return undefined;
    },
  };
}
