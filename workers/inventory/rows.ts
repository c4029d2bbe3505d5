// One line of an inventory: a version, in the columns that were asked for, as CSV or as JSON.

import type { Version } from '../../appliance/model/object.ts';
import { formatInstant } from '../../policies/base/dates.ts';
import type { InventoryConfiguration, InventoryField } from '../../policies/inventory-xml.ts';

export interface InventoryLine {
  bucket: string;
  key: string;
  version: Version;
  isLatest: boolean;
  /** Engine ms at which a rule will expire it. */
  expiresAt: number | undefined;
}

type Value = string | number | boolean;

/** Undefined: it has none; an empty cell, no member. */
type Column = (line: InventoryLine) => Value | undefined;

const OPTIONAL: Record<InventoryField, Column> = {
  Size: ({ version }) => (version.deleteMarker ? undefined : version.sizeBytes),
  LastModifiedDate: ({ version }) => formatInstant(version.lastModified),
  ETag: ({ version }) => version.etag || undefined,
  StorageClass: ({ version }) => (version.deleteMarker ? undefined : version.storageClass),
  IsMultipartUploaded: ({ version }) =>
    version.deleteMarker ? undefined : version.partCount !== undefined,
  ReplicationStatus: () => undefined,
  EncryptionStatus: ({ version }) =>
    version.deleteMarker ? undefined : (version.encryption?.kind ?? 'NOT-SSE'),
  ObjectLockRetainUntilDate: ({ version }) =>
    version.retention && formatInstant(version.retention.until),
  ObjectLockMode: ({ version }) => version.retention?.mode,
  ObjectLockLegalHoldStatus: ({ version }) => {
    if (version.legalHold === undefined) return undefined;
    return version.legalHold ? 'ON' : 'OFF';
  },
  IntelligentTieringAccessTier: () => undefined,
  BucketKeyStatus: ({ version }) => {
    if (version.encryption?.kind !== 'SSE-KMS') return undefined;
    return version.encryption.bucketKey === true ? 'ENABLED' : 'DISABLED';
  },
  ChecksumAlgorithm: ({ version }) => version.checksum?.algorithm,
  ObjectAccessControlList: ({ version }) =>
    version.acl && Buffer.from(JSON.stringify(version.acl)).toString('base64'),
  ObjectOwner: ({ version }) => version.owner,
  LifecycleExpirationDate: ({ expiresAt }) =>
    expiresAt === undefined ? undefined : formatInstant(expiresAt),
};

export interface InventoryColumns {
  /** As manifest.json says it. */
  schema: string;
  /** The line with its end. */
  write(line: InventoryLine): string;
}

export function columnsOf(
  configuration: Pick<InventoryConfiguration, 'allVersions' | 'fields' | 'format'>,
): InventoryColumns {
  const { allVersions, fields, format } = configuration;
  const isCsv = format === 'CSV';
  const columns: [string, Column][] = [
    ['Bucket', ({ bucket }) => bucket],
    // S3 writes keys into CSV as they stand in URLs; JSON has its own way with every character.
    ['Key', ({ key }) => (isCsv ? encodeURIComponent(key).replaceAll('%2F', '/') : key)],
  ];
  if (allVersions) {
    columns.push(
      ['VersionId', ({ version }) => (version.isNull ? 'null' : version.id)],
      ['IsLatest', ({ isLatest }) => isLatest],
      ['IsDeleteMarker', ({ version }) => version.deleteMarker],
    );
  }
  for (const field of fields) columns.push([field, OPTIONAL[field]]);
  return {
    schema: columns.map(([name]) => name).join(', '),
    write(line) {
      if (isCsv) return `${columns.map(([, value]) => cell(value(line))).join(',')}\n`;
      return `${JSON.stringify(Object.fromEntries(columns.map(([name, of]) => [name, of(line)])))}\n`;
    },
  };
}

function cell(value: Value | undefined): string {
  return `"${String(value ?? '').replaceAll('"', '""')}"`;
}
