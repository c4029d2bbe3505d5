// Two objects that every bucket shows to who may read it though nobody wrote them: what this
// storage is, and how much room is left. Backup programs (Veeam's smart object storage API) look
// for them under these keys before they use a bucket. Lists do not show them; nobody can write
// them.

import { hash } from 'node:crypto';
import { FirnError } from '../../../appliance/model/errors.ts';
import { authorizeAction } from '../access/authorize.ts';
import { etagHeader, httpDate } from '../request/object-headers.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { element, wrap, XML_DECLARATION } from '../xml/write.ts';

const FOLDER = '.system-d26a9498-cb7c-4a87-a44a-8ae204f5ba6c/';
const SYSTEM = `${FOLDER}system.xml`;
const CAPACITY = `${FOLDER}capacity.xml`;
const DOT = 0x2e;

export function isSystemObject(key: string): boolean {
  return key.charCodeAt(0) === DOT && (key === SYSTEM || key === CAPACITY);
}

// Quotes belong to these two values, as their readers want them.
const SYSTEM_XML =
  XML_DECLARATION +
  wrap(
    'SystemInfo',
    element('ProtocolVersion', '"1.0"') +
      element('ModelName', '"Firn"') +
      wrap(
        'ProtocolCapabilities',
        element('CapacityInfo', true) + element('UploadSessions', false) + element('IAMSTS', false),
      ) +
      wrap(
        'SystemRecommendations',
        element('S3ConcurrentTaskLimit', 64) +
          element('S3MultiObjectDeleteLimit', 1000) +
          element('StorageCurrentTaskLimit', 0) +
          element('KbBlockSize', 4096),
      ),
  );

async function capacityXml({ settings, owned }: OwnedRequest): Promise<string> {
  const { capacityBytes, usedBytes } = (await settings.capacityOf?.(owned)) ?? {
    capacityBytes: 0,
    usedBytes: 0,
  };
  const content =
    element('Capacity', capacityBytes) +
    element('Available', Math.max(0, capacityBytes - usedBytes)) +
    element('Used', usedBytes);
  return XML_DECLARATION + wrap('CapacityInfo', content);
}

async function read(request: OwnedRequest): Promise<Answer> {
  const { key, owned: bucket, settings } = request;
  if (key === CAPACITY && settings.capacityOf === undefined) {
    throw new FirnError('NoSuchKey', 'The specified key does not exist.', {
      details: { Key: key },
    });
  }
  await authorizeAction(request, 's3:GetObject', { bucket, key, isNew: true });
  const body = Buffer.from(key === SYSTEM ? SYSTEM_XML : await capacityXml(request), 'utf8');
  const headers = ['ETag', etagHeader(hash('md5', body, 'hex'))];
  headers.push('Last-Modified', httpDate(settings.clock.now()));
  // What is left changes all the time.
  headers.push('Content-Type', 'application/xml', 'Cache-Control', 'no-store');
  return { status: 200, headers, body, sizeBytes: body.length };
}

function refuse(): Promise<Answer> {
  throw new FirnError('MethodNotAllowed', 'This object can only be read.', {
    details: { Allow: 'GET, HEAD' },
  });
}

/** In place of an operation on such a key; who may read is asked within. */
export function onSystemObject(operation: Operation): Operation {
  const { method, subresource } = operation;
  const reads = (method === 'GET' || method === 'HEAD') && subresource === undefined;
  if (reads) return { ...operation, action: undefined, run: read };
  // What GET says of its tags, ACL and the like is that of a key that isn't there.
  return method === 'GET' || method === 'HEAD' ? operation : { ...operation, run: refuse };
}
