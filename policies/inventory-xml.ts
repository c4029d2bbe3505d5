// An inventory configuration as its bucket keeps it (S3's XML in canonical form), read for whoever
// checks it and for the worker that writes the report. The danger: a report that lists less than it
// was asked for, and is believed.

import { FirnError } from '../appliance/model/errors.ts';
import { malformed, XmlElement } from './xml-elements.ts';

/** In the order of the columns. */
export const INVENTORY_FIELDS = [
  'Size',
  'LastModifiedDate',
  'ETag',
  'StorageClass',
  'IsMultipartUploaded',
  'ReplicationStatus',
  'EncryptionStatus',
  'ObjectLockRetainUntilDate',
  'ObjectLockMode',
  'ObjectLockLegalHoldStatus',
  'IntelligentTieringAccessTier',
  'BucketKeyStatus',
  'ChecksumAlgorithm',
  'ObjectAccessControlList',
  'ObjectOwner',
  'LifecycleExpirationDate',
] as const;
export type InventoryField = (typeof INVENTORY_FIELDS)[number];

/** CSV as S3 writes it; NDJSON, one JSON object a line, is ours. */
export const INVENTORY_FORMATS = ['CSV', 'NDJSON'] as const;

export interface InventoryConfiguration {
  id: string;
  isEnabled: boolean;
  /** Only keys with this beginning. */
  prefix: string;
  /** Every version and delete marker, not the current ones alone. */
  allVersions: boolean;
  frequency: 'Daily' | 'Weekly';
  format: (typeof INVENTORY_FORMATS)[number];
  /** Name of the bucket that gets the reports, and what their keys begin with. */
  destinationBucket: string;
  destinationPrefix: string;
  /** How the reports are encrypted; undefined: as that bucket does by default. */
  encryption?: { kind: 'SSE-S3' } | { kind: 'SSE-KMS'; keyId: string };
  fields: readonly InventoryField[];
}

const BUCKET_ARN = /^arn:aws:s3:::([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])$/;

/** Throws MalformedXML, InvalidArgument, NotImplemented (a format that we don't write). */
export function parseInventoryXml(xml: string): InventoryConfiguration {
  const root = XmlElement.parse(xml, 'InventoryConfiguration');
  const destination = root.one('Destination');
  const place = destination.one('S3BucketDestination');
  const arn = place.one('Bucket').text();
  const [, destinationBucket] = BUCKET_ARN.exec(arn) ?? [];
  if (destinationBucket === undefined) {
    throw new FirnError('InvalidArgument', 'Bucket is arn:aws:s3::: and the name of a bucket', {
      subject: arn,
    });
  }
  const encryption = encryptionOf(place.maybe('Encryption'));
  const configuration: InventoryConfiguration = {
    id: root.one('Id').text(),
    isEnabled: choiceOf(root.one('IsEnabled'), ['true', 'false']) === 'true',
    prefix: root.maybe('Filter')?.maybeText('Prefix') ?? '',
    allVersions: choiceOf(root.one('IncludedObjectVersions'), ['All', 'Current']) === 'All',
    frequency: choiceOf(root.one('Schedule').one('Frequency'), ['Daily', 'Weekly']),
    format: formatOf(place.one('Format')),
    destinationBucket,
    destinationPrefix: place.maybeText('Prefix') ?? '',
    fields: fieldsOf(root.maybe('OptionalFields')),
    ...(encryption === undefined ? {} : { encryption }),
  };
  place.maybeText('AccountId');
  for (const element of [place, destination]) element.end();
  return configuration;
}

function choiceOf<T extends string>(element: XmlElement, choices: readonly T[]): T {
  const text = element.text().trim();
  const found = choices.find((one) => one === text);
  if (found !== undefined) return found;
  throw malformed(`${element.name} is ${choices.join(' or ')}`, text);
}

function formatOf(element: XmlElement): InventoryConfiguration['format'] {
  const text = element.text().trim();
  if (text === 'ORC' || text === 'Parquet') {
    throw new FirnError('NotImplemented', `Inventories in the format ${text} are not implemented.`);
  }
  return choiceOf(element, INVENTORY_FORMATS);
}

function encryptionOf(element: XmlElement | undefined): InventoryConfiguration['encryption'] {
  if (element === undefined) return undefined;
  const named = element.maybe('SSE-KMS');
  const plain = element.maybe('SSE-S3');
  element.end();
  if ((named === undefined) === (plain === undefined)) {
    throw malformed('Encryption is SSE-S3 or SSE-KMS');
  }
  return named === undefined
    ? { kind: 'SSE-S3' }
    : { kind: 'SSE-KMS', keyId: named.one('KeyId').text() };
}

function fieldsOf(element: XmlElement | undefined): InventoryField[] {
  const asked = new Set(
    element?.many('Field').map((field) => choiceOf(field, INVENTORY_FIELDS)) ?? [],
  );
  return INVENTORY_FIELDS.filter((field) => asked.has(field));
}
