// The ACL of a request that sets nothing else: headers or a body, one of them.

import { FirnError } from '../../../appliance/model/errors.ts';
import { XML_BYTES_MAX } from '../../../appliance/model/limits.ts';
import type { OwnedRequest } from '../request/request.ts';
import { aclOfDocument, aclOfHeaders, type WantedAcl } from './wanted-acl.ts';

const NOTHING = new Uint8Array(0);

/** S3 takes a request without a body that doesn't say so, too. */
function hasBody({ headers }: OwnedRequest): boolean {
  return headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined;
}

/** Throws MissingSecurityHeader where nothing is asked for, and what the two readers throw. */
export async function wantedAclOf(
  request: OwnedRequest,
  { on, owner }: { on: 'bucket' | 'object'; owner: string },
): Promise<WantedAcl> {
  const bytes = hasBody(request) ? await request.payload.gather(XML_BYTES_MAX) : NOTHING;
  const wanted = await aclOfHeaders(request, request.headers, on);
  if (wanted === undefined) {
    if (bytes.length > 0) return aclOfDocument(request, bytes, owner);
    throw new FirnError('MissingSecurityHeader', 'Your request was missing a required header.', {
      details: { MissingHeaderName: 'x-amz-acl' },
    });
  }
  if (bytes.length === 0) return wanted;
  throw new FirnError('InvalidRequest', 'An ACL comes in headers or in a body, not in both.');
}
