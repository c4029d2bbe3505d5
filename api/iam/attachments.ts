// Managed policies on users, groups and roles: Attach…Policy, Detach…Policy,
// ListAttached…Policies, ListEntitiesForPolicy.

import { FirnError } from '../../appliance/model/errors.ts';
import type { Bearer } from '../../appliance/model/identity.ts';
import { element, wrap } from '../s3/xml/write.ts';
import type { Action } from './action.ts';
import { pageXml } from './answer.ts';
import { allBearers, arnOfParameter, change, find, TITLES, type BearerKind } from './bearers.ts';
import { managedDocument } from './documents.ts';
import { NAME_PARAMETERS, nameOf } from './names.ts';

const ATTACHED_MAX = 10;

const noSuchPolicy = (arn: string): FirnError =>
  new FirnError('NoSuchEntity', `Policy ${arn} was not found.`);

function withAttached<T extends Bearer>(bearer: T, arn: string): T {
  if (bearer.attached.includes(arn)) return bearer;
  if (bearer.attached.length < ATTACHED_MAX) {
    return { ...bearer, attached: [...bearer.attached, arn] };
  }
  throw new FirnError(
    'LimitExceeded',
    `Cannot exceed quota for attached policies: ${ATTACHED_MAX}`,
  );
}

function withoutAttached<T extends Bearer>(bearer: T, arn: string): T {
  if (!bearer.attached.includes(arn)) throw noSuchPolicy(arn);
  return { ...bearer, attached: bearer.attached.filter((one) => one !== arn) };
}

function attach(kind: BearerKind): Action {
  return {
    name: `Attach${TITLES[kind]}Policy`,
    service: 'iam',
    resource: arnOfParameter(kind, 'PolicyArn'),
    async run(call) {
      const { account, params, settings } = call;
      const arn = params.need('PolicyArn');
      const name = nameOf(params, kind);
      await find(call, kind, name);
      if ((await managedDocument(arn, account, settings.identities)) === undefined) {
        throw noSuchPolicy(arn);
      }
      await change(call, { kind, name }, (bearer) => withAttached(bearer, arn));
      return undefined;
    },
  };
}

function detach(kind: BearerKind): Action {
  return {
    name: `Detach${TITLES[kind]}Policy`,
    service: 'iam',
    resource: arnOfParameter(kind, 'PolicyArn'),
    async run(call) {
      const arn = call.params.need('PolicyArn');
      const of = { kind, name: nameOf(call.params, kind) };
      await change(call, of, (bearer) => withoutAttached(bearer, arn));
      return undefined;
    },
  };
}

const lastPart = (arn: string): string => arn.slice(arn.lastIndexOf('/') + 1);

function listAttached(kind: BearerKind): Action {
  return {
    name: `ListAttached${TITLES[kind]}Policies`,
    service: 'iam',
    resource: arnOfParameter(kind, 'PathPrefix', 'Marker', 'MaxItems'),
    async run(call) {
      const bearer = await find(call, kind, nameOf(call.params, kind));
      const prefix = call.params.get('PathPrefix') ?? '/';
      const lower = (arn: string): string => arn.toLowerCase();
      const arns = bearer.attached
        .filter((arn) => arn.slice(arn.indexOf('/')).startsWith(prefix))
        .toSorted((a, b) => (lower(a) < lower(b) ? -1 : 1));
      return pageXml(call.params, arns, {
        list: 'AttachedPolicies',
        name: lower,
        xml: (arn) => element('PolicyName', lastPart(arn)) + element('PolicyArn', arn),
      });
    },
  };
}

const listEntities: Action = {
  name: 'ListEntitiesForPolicy',
  service: 'iam',
  resource: ({ params }) => params.need('PolicyArn'),
  async run(call) {
    const { account, params, settings } = call;
    const arn = params.need('PolicyArn');
    if ((await managedDocument(arn, account, settings.identities)) === undefined) {
      throw noSuchPolicy(arn);
    }
    const bearers = (await allBearers(call)).filter(({ attached }) => attached.includes(arn));
    const list = (kind: BearerKind): string =>
      wrap(
        `Policy${TITLES[kind]}s`,
        bearers
          .filter((bearer) => bearer.kind === kind)
          .map(({ name, id }) =>
            wrap('member', element(NAME_PARAMETERS[kind], name) + element(`${TITLES[kind]}Id`, id)),
          )
          .join(''),
      );
    return list('group') + list('user') + list('role') + element('IsTruncated', false);
  },
};

export const attachmentActions: Action[] = [
  ...(['user', 'group', 'role'] as const).flatMap((kind) => [
    attach(kind),
    detach(kind),
    listAttached(kind),
  ]),
  listEntities,
];
