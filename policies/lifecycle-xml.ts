// S3 lifecycle XML: parse strictly, compile to rules, write canonically.

import type { Bucket } from '../appliance/model/bucket.ts';
import type { Rule } from './rule.ts';

/** A lifecycle configuration as S3 has it; see lifecycle-xml-writer for the way back. */
export interface LifecycleConfiguration {
  rules: readonly LifecycleRule[];
  /** Legal, but probably not meant (30 days before IA …). */
  warnings: readonly string[];
}

export interface LifecycleRule {
  id: string;
  enabled: boolean;
  /** Legacy Prefix in Filter's place: kept as given. */
  legacyPrefix?: string;
  filter?: LifecycleFilter;
  transitions: readonly { days?: number; date?: number; storageClass: string }[];
  expiration?: { days?: number; date?: number; expiredObjectDeleteMarker?: boolean };
  noncurrentTransitions: readonly {
    days: number;
    newerVersions?: number;
    storageClass: string;
  }[];
  noncurrentExpiration?: { days: number; newerVersions?: number };
  abortUploadDays?: number;
}

export interface LifecycleFilter {
  /** `and` was written, even with one condition only. */
  and: boolean;
  prefix?: string;
  tags: readonly { key: string; value: string }[];
  sizeOver?: number;
  sizeUnder?: number;
}

export interface LifecycleXmlOptions {
  /** Storage class → tier: others are InvalidStorageClass. */
  classes: ReadonlyMap<string, string>;
  waterfall?: 'strict' | 'free';
}

/** Throws MalformedXML, InvalidArgument or InvalidStorageClass. */
export function parseLifecycleXml(
  _xml: string,
  _options: LifecycleXmlOptions,
): LifecycleConfiguration {
  throw new Error('not yet');
}

/** Canonical XML, ids filled in: what PutBucketLifecycleConfiguration stores and Get answers. */
export function renderLifecycleXml(_configuration: LifecycleConfiguration): string {
  throw new Error('not yet');
}

/** The header x-amz-transition-default-minimum-object-size; InvalidArgument if it is neither value. */
export function parseSizeFloor(
  _header: string | undefined,
): NonNullable<Bucket['lifecycleSizeFloor']> {
  throw new Error('not yet');
}

export function rulesOfLifecycle(
  _bucket: Pick<Bucket, 'name' | 'lifecycleSizeFloor'>,
  _configuration: LifecycleConfiguration,
): Rule[] {
  throw new Error('not yet');
}
