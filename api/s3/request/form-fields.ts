// What the fields of an upload form mean: the key, and headers as a PUT of the same object would
// have them, so that everything that a PUT checks is checked of a form by the same code. The
// danger: a field that overrides what the URL says, or becomes a header that no form may have.

import { FirnError } from '../../../appliance/model/errors.ts';
import { encodeComponent } from '../../../appliance/model/signature.ts';
import type { RequestHeaders } from '../input/request-headers.ts';
import { checkKey } from '../input/target.ts';
import { FORM_AUTH_FIELDS } from '../signature/form-claim.ts';
import type { FormFields } from '../signature/form-policy.ts';
import { headerOfText } from './object-headers.ts';
import { invalidArgument } from './request.ts';
import { tagPairsOf } from './tags.ts';

const FILE_NAME = '${filename}';

/**
 * The fields as they count: the bucket is the URL's, and the key has its file's name. Throws
 * UserKeyMustBeSpecified, AccessDenied (another bucket), KeyTooLongError, InvalidURI.
 */
export function effectiveFields(
  sent: FormFields,
  { bucket, fileName }: { bucket: string; fileName: string },
): FormFields {
  const named = sent.get('bucket');
  if (named !== undefined && named !== bucket) {
    throw new FirnError('AccessDenied', 'The form is for another bucket than its URL.');
  }
  // A replacement text of its own would have `$&` and the like in it.
  const key = sent.get('key')?.replaceAll(FILE_NAME, () => fileName) ?? '';
  if (key === '') {
    throw new FirnError(
      'UserKeyMustBeSpecified',
      'The bucket POST must contain the specified field name. If it is specified, check the order of the fields.',
    );
  }
  checkKey(key);
  if (key.includes('\ufffd')) throw new FirnError('InvalidURI', 'The key is not valid UTF-8.');
  return new Map([...sent, ['bucket', bucket], ['key', key]]);
}

/** Fields that are headers of a PUT under the same name. */
const HEADER_FIELDS = new Set([
  'cache-control',
  'content-disposition',
  'content-encoding',
  'content-language',
  'content-md5',
  'content-type',
  'expires',
]);

/** Headers of a PUT that would do the same. Throws InvalidArgument, MalformedXML, InvalidTag. */
export function headersOfForm(fields: FormFields, sent: RequestHeaders): RequestHeaders {
  const headers: RequestHeaders = Object.create(null) as RequestHeaders;
  // What access policies and logs look at is about the request, and stays as it came.
  for (const name of ['host', 'origin', 'referer', 'user-agent']) {
    if (sent[name] !== undefined) headers[name] = sent[name];
  }
  for (const [name, value] of fields) {
    if (HEADER_FIELDS.has(name)) headers[name] = headerOfText(value);
    else if (name.startsWith('x-amz-') && !FORM_AUTH_FIELDS.has(name)) {
      if (name.startsWith('x-amz-copy-source')) {
        throw invalidArgument('a form does not copy', name, value);
      }
      headers[name] = headerOfText(value);
    }
  }
  const acl = fields.get('acl');
  if (acl !== undefined) setOnce(headers, 'x-amz-acl', acl);
  const tagging = fields.get('tagging');
  if (tagging !== undefined) {
    const pairs = tagPairsOf(Buffer.from(tagging, 'utf8'));
    const text = pairs.map((pair) => pair.map(encodeComponent).join('=')).join('&');
    setOnce(headers, 'x-amz-tagging', text);
  }
  return headers;
}

function setOnce(headers: RequestHeaders, name: string, value: string): void {
  if (headers[name] !== undefined) throw invalidArgument('it is there twice', name, value);
  headers[name] = headerOfText(value);
}
