// One line of an access log, in the form that S3's own have, so that what reads those reads these.
// The danger: a field of a client that ends early and begins another, or a signature that somebody
// who may read the log could use again.

import type { Bucket } from '../../appliance/model/bucket.ts';
import { decodeComponent, encodePath } from '../../appliance/model/signature.ts';

/** What a line tells. Undefined is shown as `-`. */
export interface LoggedRequest {
  bucket: Bucket;
  key: string;
  place: { method: string; level: string; subresource: string | undefined };
  url: string;
  httpVersion: string;
  /** Account, or undefined for nobody. */
  requester: string | undefined;
  requestId: string;
  status: number;
  code: string | undefined;
  sentBytes: number;
  durationMs: number;
  remoteAddress: string | undefined;
  referer: string | undefined;
  userAgent: string | undefined;
  versionId: string | undefined;
  authentication: 'AuthHeader' | 'QueryString' | undefined;
  host: string | undefined;
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** [06/Feb/2019:00:00:38 +0000] */
function logTime(at: number): string {
  const iso = new Date(at).toISOString();
  const month = MONTHS[Number(iso.slice(5, 7)) - 1];
  return `[${iso.slice(8, 10)}/${month}/${iso.slice(0, 4)}:${iso.slice(11, 19)} +0000]`;
}

/** S3's word for what was asked, from the operation's place. */
function operationWord({ method, level, subresource }: LoggedRequest['place']): string {
  const word = subresource?.replace('list-type=2', '').replace('uploadId', 'upload');
  return `REST.${method}.${(word || level).replaceAll('-', '_').toUpperCase()}`;
}

const SECRETS = new Set([
  'x-amz-signature',
  'signature',
  'x-amz-security-token',
  'x-amz-server-side-encryption-customer-key',
  'x-amz-copy-source-server-side-encryption-customer-key',
]);

/** What would let somebody act as the signer, or open an object, is not for a log. */
function redacted(url: string): string {
  const mark = url.indexOf('?');
  if (mark < 0) return url;
  const pairs = url
    .slice(mark + 1)
    .split('&')
    .map((pair) => {
      const name = pair.split('=', 1)[0] as string;
      const isSecret = SECRETS.has((decodeComponent(name) ?? name).toLowerCase());
      return isSecret ? `${name}=REDACTED` : pair;
    });
  return `${url.slice(0, mark)}?${pairs.join('&')}`;
}

/** A field that came from a client: no quote or line may end it early. */
// oxlint-disable-next-line no-control-regex
const UNSAFE = /["\\\u0000-\u001f\u007f]/g;
const quoted = (text: string | undefined): string =>
  text === undefined ? '"-"' : `"${text.replaceAll(UNSAFE, (char) => `\\x${hexOf(char)}`)}"`;
const hexOf = (char: string): string => char.charCodeAt(0).toString(16).padStart(2, '0');
const bare = (text: string | number | undefined): string =>
  text === undefined || text === '' ? '-' : String(text).replaceAll(/\s/g, '_');

export function lineOf(request: LoggedRequest, at: number): string {
  const { bucket, key, durationMs } = request;
  const fields = [
    bucket.owner,
    bucket.name,
    logTime(at),
    bare(request.remoteAddress),
    bare(request.requester),
    request.requestId,
    operationWord(request.place),
    key === '' ? '-' : encodePath(key),
    quoted(`${request.place.method} ${redacted(request.url)} HTTP/${request.httpVersion}`),
    request.status,
    bare(request.code),
    request.sentBytes === 0 ? '-' : request.sentBytes,
    '-',
    Math.round(durationMs),
    '-',
    // A page that was read by a presigned URL names it here.
    quoted(request.referer === undefined ? undefined : redacted(request.referer)),
    quoted(request.userAgent),
    bare(request.versionId),
    '-',
    request.authentication === undefined ? '-' : 'SigV4',
    '-',
    bare(request.authentication),
    bare(request.host),
    '-',
    '-',
    '-',
  ];
  return `${fields.join(' ')}\n`;
}
