// One bucket's lifecycle configuration as rules of the one kind that everything else works on.

import type { Bucket } from '../appliance/model/bucket.ts';
import { escapeGlob } from './glob.ts';
import type { LifecycleConfiguration, LifecycleRule } from './lifecycle-xml.ts';
import type { Action, Filter, Rule, Trigger } from './rule.ts';

interface Part {
  name: string;
  trigger: Trigger;
  action: Action;
}

export function rulesOfLifecycle(
  bucket: Pick<Bucket, 'name' | 'lifecycleSizeFloor'>,
  configuration: Pick<LifecycleConfiguration, 'rules'>,
): Rule[] {
  return configuration.rules.flatMap((rule) => {
    const filter = filterOf(bucket.name, rule);
    return partsOf(rule).map(({ name, trigger, action }): Rule => {
      const moves = action.kind === 'transition';
      const floor = bucket.lifecycleSizeFloor ?? 'all_storage_classes_128K';
      return {
        // Encoded, so that an ID with a slash in it cannot name another rule's part.
        id: `${bucket.name}/${encodeURIComponent(rule.id)}/${name}`,
        origin: { kind: 'lifecycle', bucket: bucket.name, ruleId: rule.id },
        enabled: rule.enabled,
        filter,
        trigger,
        action,
        ...(moves ? { sizeFloor: floor } : {}),
      };
    });
  });
}

function filterOf(bucket: string, rule: LifecycleRule): Filter {
  const prefix = rule.legacyPrefix ?? rule.filter?.prefix ?? '';
  const { tags = [], sizeOver, sizeUnder } = rule.filter ?? {};
  return {
    buckets: [escapeGlob(bucket)],
    ...(prefix === '' ? {} : { prefixes: [escapeGlob(prefix)] }),
    ...(tags.length === 0
      ? {}
      : { tags: Object.fromEntries(tags.map(({ key, value }) => [key, value])) }),
    ...(sizeOver === undefined ? {} : { sizeOver }),
    ...(sizeUnder === undefined ? {} : { sizeUnder }),
  };
}

function partsOf(rule: LifecycleRule): Part[] {
  const parts: Part[] = [];
  for (const { storageClass: to, ...time } of rule.transitions) {
    const action: Action = { kind: 'transition', to };
    parts.push({ name: `transition-${to}`, trigger: triggerOf(time), action });
  }
  const { expiration } = rule;
  if (expiration?.expiredObjectDeleteMarker === undefined && expiration !== undefined) {
    // S3: Days and Date also remove a delete marker that has nothing behind it.
    const trigger = triggerOf(expiration);
    parts.push({ name: 'expire', trigger, action: { kind: 'expire' } });
    parts.push({ name: 'expire-marker', trigger, action: { kind: 'expire-marker' } });
  }
  if (expiration?.expiredObjectDeleteMarker === true) {
    const action: Action = { kind: 'expire-marker' };
    parts.push({ name: 'expire-marker', trigger: { kind: 'always' }, action });
  }
  for (const { storageClass: to, ...noncurrent } of rule.noncurrentTransitions) {
    const trigger: Trigger = { kind: 'noncurrent', ...noncurrent };
    const action: Action = { kind: 'transition', to };
    parts.push({ name: `noncurrent-transition-${to}`, trigger, action });
  }
  if (rule.noncurrentExpiration !== undefined) {
    const trigger: Trigger = { kind: 'noncurrent', ...rule.noncurrentExpiration };
    parts.push({ name: 'expire-noncurrent', trigger, action: { kind: 'expire-noncurrent' } });
  }
  if (rule.abortUploadDays !== undefined) {
    const trigger: Trigger = { kind: 'age', days: rule.abortUploadDays };
    parts.push({ name: 'abort-upload', trigger, action: { kind: 'abort-upload' } });
  }
  return parts;
}

function triggerOf(time: { days?: number; date?: number }): Trigger {
  return time.date === undefined
    ? { kind: 'age', days: time.days ?? 0 }
    : { kind: 'date', at: time.date };
}
