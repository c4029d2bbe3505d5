// Policies inside a user, group or role: Put…Policy, Get…Policy, List…Policies, Delete…Policy. They
// are part of its row, so they change and go with it.

import { FirnError } from '../../appliance/model/errors.ts';
import type { Bearer } from '../../appliance/model/identity.ts';
import { element, escapeText } from '../s3/xml/write.ts';
import type { Action, Call } from './action.ts';
import { documentText, pageXml } from './answer.ts';
import { arnOfParameter, change, find, TITLES, type BearerKind } from './bearers.ts';
import { checkDocument } from './documents.ts';
import { NAME_PARAMETERS, nameOf, noSuchEntity } from './names.ts';

/** Of all in one: as AWS bounds them, and so that a row stays small. */
const BYTES_MAX: Record<BearerKind, number> = { user: 2048, group: 5120, role: 10_240 };

/** Row keys are plain names: `__proto__` would be none. */
const policyName = (call: Call): string => nameOf(call.params, 'policy');

function checkRoom(kind: BearerKind, inline: Record<string, string>): void {
  const bytes = Object.values(inline)
    .map((text) => Buffer.byteLength(text.replaceAll(/\s+/g, '')))
    .reduce((sum, size) => sum + size, 0);
  if (bytes <= BYTES_MAX[kind]) return;
  throw new FirnError(
    'LimitExceeded',
    `Maximum policy size of ${BYTES_MAX[kind]} bytes exceeded for the ${kind}.`,
  );
}

function withPolicy<T extends Bearer>(bearer: T, name: string, document: string): T {
  const inline = { ...bearer.inline, [name]: document };
  checkRoom(bearer.kind as BearerKind, inline);
  return { ...bearer, inline };
}

function withoutPolicy<T extends Bearer>(bearer: T, name: string): T {
  if (!Object.hasOwn(bearer.inline, name)) throw noSuchEntity('policy', name);
  const inline = Object.fromEntries(Object.entries(bearer.inline).filter(([one]) => one !== name));
  return { ...bearer, inline };
}

function putPolicy(kind: BearerKind): Action {
  return {
    name: `Put${TITLES[kind]}Policy`,
    service: 'iam',
    resource: arnOfParameter(kind, 'PolicyName', 'PolicyDocument'),
    async run(call) {
      const name = policyName(call);
      const document = checkDocument(call.params.need('PolicyDocument'), 'identity');
      const of = { kind, name: nameOf(call.params, kind) };
      await change(call, of, (bearer) => withPolicy(bearer, name, document));
      return undefined;
    },
  };
}

function getPolicy(kind: BearerKind): Action {
  return {
    name: `Get${TITLES[kind]}Policy`,
    service: 'iam',
    resource: arnOfParameter(kind, 'PolicyName'),
    async run(call) {
      const name = policyName(call);
      const bearer = await find(call, kind, nameOf(call.params, kind));
      const document = Object.hasOwn(bearer.inline, name) ? bearer.inline[name] : undefined;
      if (document === undefined) throw noSuchEntity('policy', name);
      return (
        element(NAME_PARAMETERS[kind], bearer.name) +
        element('PolicyName', name) +
        element('PolicyDocument', documentText(document))
      );
    },
  };
}

function listPolicies(kind: BearerKind): Action {
  return {
    name: `List${TITLES[kind]}Policies`,
    service: 'iam',
    resource: arnOfParameter(kind, 'Marker', 'MaxItems'),
    async run(call) {
      const bearer = await find(call, kind, nameOf(call.params, kind));
      const lower = (name: string): string => name.toLowerCase();
      const names = Object.keys(bearer.inline).toSorted((a, b) => (lower(a) < lower(b) ? -1 : 1));
      return pageXml(call.params, names, { list: 'PolicyNames', name: lower, xml: escapeText });
    },
  };
}

function deletePolicy(kind: BearerKind): Action {
  return {
    name: `Delete${TITLES[kind]}Policy`,
    service: 'iam',
    resource: arnOfParameter(kind, 'PolicyName'),
    async run(call) {
      const name = policyName(call);
      const of = { kind, name: nameOf(call.params, kind) };
      await change(call, of, (bearer) => withoutPolicy(bearer, name));
      return undefined;
    },
  };
}

export const inlinePolicyActions: Action[] = (['user', 'group', 'role'] as const).flatMap(
  (kind) => [putPolicy(kind), getPolicy(kind), listPolicies(kind), deletePolicy(kind)],
);
