// PostObject: an upload by a form of a browser. It stores as PutObject does, by the same code, and
// answers as its fields ask.

import { FirnError } from '../../../appliance/model/errors.ts';
import { encodeComponent, encodePath } from '../../../appliance/model/signature.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { element, xmlDocument } from '../xml/write.ts';
import { putObject } from './put-object.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const { form } = request;
  if (form === undefined) {
    throw new FirnError(
      'PreconditionFailed',
      'Bucket POST must be of the enclosure-type multipart/form-data.',
      { details: { Condition: 'Bucket POST must be of the enclosure-type multipart/form-data' } },
    );
  }
  const { headers = [] } = await putObject.run(request);
  const etag = headers[headers.indexOf('ETag') + 1] as string;
  const redirect = redirectOf(form.get('success_action_redirect') ?? form.get('redirect'));
  if (redirect !== undefined) {
    const { bucket, key } = request;
    const pairs = Object.entries({ bucket, key, etag });
    const query = pairs.map(([name, value]) => `${name}=${encodeComponent(value)}`).join('&');
    redirect.search += `${redirect.search === '' ? '' : '&'}${query}`;
    return { status: 303, headers: [...headers, 'Location', redirect.href] };
  }
  const location = locationOf(request);
  headers.push('Location', location);
  if (form.get('success_action_status') === '200') return { status: 200, headers };
  if (form.get('success_action_status') !== '201') return { status: 204, headers };
  const content =
    element('Location', location) +
    element('Bucket', request.bucket) +
    element('Key', request.key) +
    element('ETag', etag);
  return { status: 201, headers, xml: xmlDocument('PostResponse', content, '') };
}

/** Where the form wants its browser to go; as if it had said nothing where that is no web address. */
function redirectOf(text: string | undefined): URL | undefined {
  const url = text === undefined || !URL.canParse(text) ? undefined : new URL(text);
  return url?.protocol === 'http:' || url?.protocol === 'https:' ? url : undefined;
}

/** The new object's address, by the host that the browser knows. */
function locationOf({ bucket, key, headers, settings }: OwnedRequest): string {
  const host = headers['host'] as string;
  const { domain } = settings;
  const name = host.replace(/:\d+$/, '').toLowerCase();
  const isOwnHost = domain !== undefined && name === `${bucket}.${domain}`;
  return `http://${host}${isOwnHost ? '' : `/${bucket}`}/${encodePath(key)}`;
}

export const postObject: Operation = {
  name: 'PostObject',
  method: 'POST',
  level: 'bucket',
  access: 'bucket',
  action: 's3:PutObject',
  run,
};
