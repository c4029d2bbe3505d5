// Reads policy files: YAML, `version: 1`, strict. Unknown fields, warnings, quoted numbers and
// empty conditions are refused with file, line, column and remedy, because a filter that was
// dropped in silence widens a delete. README.md beside this lists every field.

import { policyFileSchema, type PolicyFileRule } from './policy-schema.ts';
import type { Action, Filter, Rule, Trigger } from './rule.ts';
import { YamlSource, type SourceProblem } from './base/yaml-source.ts';

export { policyFileJsonSchema } from './policy-schema.ts';

/**
 * Throws PolicyInvalid; its subject is `file:line:column` of the first problem, its message all.
 */
export function parsePolicyFile(file: string, text: string): Rule[] {
  const source = new YamlSource(file, text);
  const { rules } = source.check(policyFileSchema);
  const problems: SourceProblem[] = [];
  const ids = new Set<string>();
  const compiled = rules.map((rule, index): Rule => {
    const path = ['rules', index];
    if (ids.has(rule.id)) {
      const hint = 'give each rule an id of its own';
      problems.push(source.problemAt([...path, 'id'], `id ${rule.id} is used twice`, hint));
    }
    ids.add(rule.id);
    const action = actionOf(rule.action);
    const trigger = triggerOf(rule.trigger);
    const unsound = unsoundPair(action, trigger, rule.trigger === undefined);
    if (unsound !== undefined) {
      const at = [...path, rule.trigger === undefined ? 'action' : 'trigger'];
      problems.push(source.problemAt(at, `rule ${rule.id}: ${unsound.message}`, unsound.hint));
    }
    return {
      id: rule.id,
      origin: { kind: 'file', file, line: source.lineOf(path) },
      ...(rule.description === undefined ? {} : { description: rule.description }),
      enabled: rule.enabled ?? true,
      filter: filterOf(rule.filter ?? {}),
      ...(rule.when === undefined ? {} : { when: rule.when }),
      trigger,
      action,
      ...(rule.sizeFloor === undefined ? {} : { sizeFloor: rule.sizeFloor }),
    };
  });
  if (problems.length > 0) throw source.error(problems);
  return compiled;
}

function filterOf(given: NonNullable<PolicyFileRule['filter']>): Filter {
  const { size, ...lists } = given;
  const filter: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(lists)) {
    if (value !== undefined) filter[name] = value;
  }
  if (size?.over !== undefined) filter['sizeOver'] = size.over;
  if (size?.under !== undefined) filter['sizeUnder'] = size.under;
  return filter;
}

function triggerOf(given: PolicyFileRule['trigger']): Trigger {
  if (given === undefined) return { kind: 'always' };
  if ('idleDays' in given) return { kind: 'idle', days: given.idleDays };
  if ('accessedWithinDays' in given) {
    return { kind: 'accessed', withinDays: given.accessedWithinDays };
  }
  if ('date' in given) return { kind: 'date', at: given.date };
  if ('noncurrentDays' in given) {
    const { noncurrentDays: days, keepNewest } = given;
    return keepNewest === undefined
      ? { kind: 'noncurrent', days }
      : { kind: 'noncurrent', days, newerVersions: keepNewest };
  }
  if ('poolFillOver' in given) {
    return { kind: 'pool-fill', over: given.poolFillOver, days: given.ageDays ?? 0 };
  }
  return { kind: 'age', days: given.ageDays };
}

function actionOf(given: PolicyFileRule['action']): Action {
  if (typeof given === 'string') return { kind: given };
  if ('promote' in given) return { kind: 'promote', to: given.promote };
  return { kind: 'transition', to: given.transition };
}

/**
 * Triggers that make sense for an action; everything else is a mistake that would act or never act.
 */
const SOUND: Readonly<Record<Action['kind'], readonly Trigger['kind'][]>> = {
  transition: ['age', 'idle', 'date', 'noncurrent', 'pool-fill'],
  expire: ['age', 'idle', 'date'],
  'expire-noncurrent': ['noncurrent'],
  'expire-marker': ['age', 'date', 'always'],
  'abort-upload': ['age'],
  promote: ['accessed'],
  pin: ['age', 'idle', 'accessed', 'date', 'always'],
};

const TRIGGER_FIELDS: Readonly<Record<Trigger['kind'], string>> = {
  age: 'ageDays',
  idle: 'idleDays',
  accessed: 'accessedWithinDays',
  date: 'date',
  noncurrent: 'noncurrentDays',
  'pool-fill': 'poolFillOver',
  always: 'no trigger',
};

function unsoundPair(
  action: Action,
  trigger: Trigger,
  isAbsent: boolean,
): { message: string; hint: string } | undefined {
  const sound = SOUND[action.kind];
  const fields = sound.map((kind) => TRIGGER_FIELDS[kind]).join(', ');
  if (!sound.includes(trigger.kind)) {
    const given = isAbsent
      ? 'a trigger is missing'
      : `${TRIGGER_FIELDS[trigger.kind]} does not fit`;
    return { message: `${given} for ${action.kind}`, hint: `it takes ${fields}` };
  }
  const deletesAtOnce = action.kind === 'expire' && 'days' in trigger && trigger.days < 1;
  if (!deletesAtOnce) return undefined;
  return { message: 'expire after 0 days', hint: 'S3 takes 1 day or more, and so do we' };
}
