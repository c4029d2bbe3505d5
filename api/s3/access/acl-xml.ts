// An ACL as S3 shows it.

import type { Acl, Grant } from '../../../appliance/model/access.ts';
import { ownerXml } from '../request/listing.ts';
import type { S3Request } from '../request/request.ts';
import { element, wrap, xmlDocument } from '../xml/write.ts';
import { ownersGrants } from './acl.ts';
import { groupUri } from './wanted-acl.ts';

const XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"';

/** Groups stand first: who looks at a list should see first whether it is public. */
export async function aclXml(
  request: S3Request,
  { owner, acl }: { owner: string; acl: Acl | undefined },
): Promise<string> {
  const grants = acl?.grants ?? ownersGrants(owner);
  const ofGroups = grants.filter(({ grantee }) => grantee.kind === 'group');
  const ofAccounts = grants.filter(({ grantee }) => grantee.kind === 'account');
  let list = '';
  for (const grant of [...ofGroups, ...ofAccounts]) list += await grantXml(request, grant);
  return xmlDocument(
    'AccessControlPolicy',
    wrap('Owner', await ownerXml(request, owner)) + wrap('AccessControlList', list),
  );
}

async function grantXml(request: S3Request, { grantee, permission }: Grant): Promise<string> {
  const [type, content] =
    grantee.kind === 'group'
      ? ['Group', element('URI', groupUri(grantee.group))]
      : ['CanonicalUser', await ownerXml(request, grantee.id)];
  const shown = `<Grantee ${XSI} xsi:type="${type}">${content}</Grantee>`;
  return wrap('Grant', shown + element('Permission', permission));
}
