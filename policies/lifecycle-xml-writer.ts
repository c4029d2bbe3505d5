// A lifecycle configuration as canonical XML: what PutBucketLifecycleConfiguration stores (with the
// ids that were generated) and GetBucketLifecycleConfiguration answers. parse(render(x)) equals x.

import type { LifecycleConfiguration, LifecycleFilter, LifecycleRule } from './lifecycle-xml.ts';
import { escapeXml } from './xml-elements.ts';

export function renderLifecycleXml(configuration: Pick<LifecycleConfiguration, 'rules'>): string {
  const rules = configuration.rules.map(renderRule).join('');
  const root = 'LifecycleConfiguration';
  const namespace = 'http://s3.amazonaws.com/doc/2006-03-01/';
  return `<?xml version="1.0" encoding="UTF-8"?>\n<${root} xmlns="${namespace}">${rules}</${root}>`;
}

/** An element of text; nothing where there is no value. */
function leaf(name: string, value: string | number | undefined): string {
  return value === undefined ? '' : `<${name}>${escapeXml(String(value))}</${name}>`;
}

function element(name: string, ...content: string[]): string {
  return `<${name}>${content.join('')}</${name}>`;
}

function day(at: number | undefined): string {
  return leaf('Date', at === undefined ? undefined : new Date(at).toISOString());
}

function renderRule(rule: LifecycleRule): string {
  const { filter, expiration, noncurrentExpiration, abortUploadDays } = rule;
  const parts = [
    leaf('ID', rule.id),
    leaf('Prefix', rule.legacyPrefix),
    filter === undefined ? '' : renderFilter(filter),
    leaf('Status', rule.enabled ? 'Enabled' : 'Disabled'),
  ];
  for (const { days, date, storageClass } of rule.transitions) {
    const content = [leaf('Days', days), day(date), leaf('StorageClass', storageClass)];
    parts.push(element('Transition', ...content));
  }
  if (expiration !== undefined) {
    const marker = expiration.expiredObjectDeleteMarker;
    const content = [
      leaf('Days', expiration.days),
      day(expiration.date),
      leaf('ExpiredObjectDeleteMarker', marker === undefined ? undefined : String(marker)),
    ];
    parts.push(element('Expiration', ...content));
  }
  for (const { storageClass, ...noncurrent } of rule.noncurrentTransitions) {
    const content = [...renderNoncurrent(noncurrent), leaf('StorageClass', storageClass)];
    parts.push(element('NoncurrentVersionTransition', ...content));
  }
  if (noncurrentExpiration !== undefined) {
    const content = renderNoncurrent(noncurrentExpiration);
    parts.push(element('NoncurrentVersionExpiration', ...content));
  }
  if (abortUploadDays !== undefined) {
    const content = leaf('DaysAfterInitiation', abortUploadDays);
    parts.push(element('AbortIncompleteMultipartUpload', content));
  }
  return element('Rule', ...parts);
}

function renderNoncurrent(noncurrent: { days: number; newerVersions?: number }): string[] {
  return [
    leaf('NewerNoncurrentVersions', noncurrent.newerVersions),
    leaf('NoncurrentDays', noncurrent.days),
  ];
}

function renderFilter(filter: LifecycleFilter): string {
  const content = [
    leaf('ObjectSizeGreaterThan', filter.sizeOver),
    leaf('ObjectSizeLessThan', filter.sizeUnder),
    leaf('Prefix', filter.prefix),
    ...filter.tags.map(({ key, value }) => element('Tag', leaf('Key', key), leaf('Value', value))),
  ];
  return filter.and ? element('Filter', element('And', ...content)) : element('Filter', ...content);
}
