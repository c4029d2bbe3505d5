// The XML of answers: times in seconds, documents percent-encoded, as clients of AWS read them.

import type { Group, ManagedPolicy, Named, Role, User } from '../../appliance/model/identity.ts';
import { element, optional, wrap } from '../s3/xml/write.ts';
import { arnOf } from './names.ts';
import type { Params } from './params.ts';

const ITEMS_MAX = 1000;
const ITEMS_DEFAULT = 100;

export const time = (ms: number): string => new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');

export function documentText(document: string): string {
  return encodeURIComponent(document).replace(
    /[!'()*]/g,
    (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

function tagsXml(tags: Record<string, string> | undefined): string {
  if (tags === undefined) return '';
  const members = Object.entries(tags).map(([key, value]) =>
    wrap('member', element('Key', key) + element('Value', value)),
  );
  return wrap('Tags', members.join(''));
}

const named = (prefix: string, value: Named): string =>
  element('Path', value.path) +
  element(`${prefix}Name`, value.name) +
  element(`${prefix}Id`, value.id) +
  element('Arn', arnOf(value)) +
  element('CreateDate', time(value.createdAt));

export const userXml = (user: User): string => named('User', user) + tagsXml(user.tags);
export const groupXml = (group: Group): string => named('Group', group);

export const roleXml = (role: Role): string =>
  named('Role', role) +
  element('AssumeRolePolicyDocument', documentText(role.trust)) +
  optional('Description', role.description) +
  element('MaxSessionDuration', role.sessionSecondsMax) +
  tagsXml(role.tags);

export const policyXml = (policy: ManagedPolicy, attachments: number): string =>
  named('Policy', policy) +
  element('DefaultVersionId', policy.defaultVersion) +
  element('AttachmentCount', attachments) +
  element('PermissionsBoundaryUsageCount', 0) +
  element('IsAttachable', true) +
  optional('Description', policy.description) +
  element('UpdateDate', time(policy.updatedAt)) +
  tagsXml(policy.tags);

/** A page of a list: Marker and MaxItems; the marker is the name that the last page ended with. */
export function pageXml<T>(
  params: Params,
  items: readonly T[],
  of: { list: string; name: (item: T) => string; xml: (item: T) => string },
): string {
  const marker = params.get('Marker');
  const count = params.integer('MaxItems', { from: 1, to: ITEMS_MAX }) ?? ITEMS_DEFAULT;
  const begin =
    marker === undefined ? 0 : items.findIndex((item) => of.name(item) > marker.toLowerCase());
  const from = begin < 0 ? items.length : begin;
  const page = items.slice(from, from + count);
  const last = page.at(-1);
  const isTruncated = last !== undefined && from + count < items.length;
  return (
    wrap(of.list, page.map((item) => wrap('member', of.xml(item))).join('')) +
    element('IsTruncated', isTruncated) +
    (isTruncated ? element('Marker', of.name(last)) : '')
  );
}

/** How lists of names are ordered and paged. */
export const lowerName = ({ name }: { name: string }): string => name.toLowerCase();
