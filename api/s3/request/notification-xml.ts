// A bucket's notification configuration, from S3's XML and back. The danger: a rule that is taken
// and never heard of again. So a target must be one of the settings, an event one that happens, and
// two rules may not claim the same event of the same key (S3 refuses that too: which of them would
// be told?).

import { EVENT_NAMES } from '../../../appliance/model/event-sink.ts';
import type { EventTarget, NotificationRule } from '../../../appliance/model/notification.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import type { NotificationTargets } from '../input/settings.ts';
import { childrenOf, malformed, textOf, type XmlElement } from '../xml/parse.ts';
import { element, optional, wrap, xmlDocument } from '../xml/write.ts';

const ELEMENTS = ['Topic', 'Queue', 'CloudFunction'] as const;
type ElementName = (typeof ELEMENTS)[number];
const RULES_MAX = 100;
const ID_CHARACTERS_MAX = 255;
/** Kinds of event that S3 groups under a star. */
const GROUPS = [
  ...new Set(EVENT_NAMES.map((name) => `${name.split(':').slice(0, 2).join(':')}:*`)),
];
const KNOWN_EVENTS: ReadonlySet<string> = new Set([...EVENT_NAMES, ...GROUPS]);

const invalid = (message: string): FirnError => new FirnError('InvalidArgument', message);

/** Throws MalformedXML, InvalidArgument, NotImplemented. `newId` names a rule that has no id. */
export function rulesOfXml(
  root: XmlElement,
  targets: NotificationTargets,
  newId: () => string,
): NotificationRule[] {
  const names = ELEMENTS.map((name) => `${name}Configuration`);
  const fields = childrenOf(root, ['EventBridgeConfiguration'], names);
  if (fields.one('EventBridgeConfiguration') !== undefined) {
    throw new FirnError('NotImplemented', 'Events are sent to webhooks and queues only.');
  }
  const rules = ELEMENTS.flatMap((name) =>
    fields.all(`${name}Configuration`).map((one) => ruleOf(name, one, { targets, newId })),
  );
  if (rules.length > RULES_MAX) throw invalid(`At most ${RULES_MAX} configurations are allowed.`);
  checkDistinct(rules);
  return rules;
}

function ruleOf(
  name: ElementName,
  xml: XmlElement,
  { targets, newId }: { targets: NotificationTargets; newId: () => string },
): NotificationRule {
  // CloudFunction is the one whose address has another name than its element.
  const fields = childrenOf(xml, ['Id', name, 'Filter'], ['Event']);
  const arn = textOf(fields.one(name))?.trim() ?? '';
  const target = targetOf(arn, targets);
  if (target === undefined) {
    throw new FirnError(
      'InvalidArgument',
      'Unable to validate the following destination configurations: the settings of this ' +
        'appliance have no such webhook or queue.',
      { details: { ArgumentName: arn, ArgumentValue: 'The destination does not exist.' } },
    );
  }
  const events = fields.all('Event').map((one) => textOf(one)?.trim() ?? '');
  if (events.length === 0) throw malformed('a configuration names no event');
  for (const event of events) {
    if (!KNOWN_EVENTS.has(event)) throw invalid(`The event ${event} is not one that is told.`);
  }
  const id = textOf(fields.one('Id')) || newId();
  if (id.length > ID_CHARACTERS_MAX) throw invalid('The id of a configuration is too long.');
  return { id, element: name, arn, target, events, ...filterOf(fields.one('Filter')) };
}

/**
 * arn:firn:sns:REGION::NAME, or as other stores write it, arn:…:sqs::NAME:webhook. The partition
 * and the service are the client's taste; the name is what counts.
 */
function targetOf(arn: string, targets: NotificationTargets): EventTarget | undefined {
  const parts = arn.split(':');
  if (parts.length !== 6 || parts[0] !== 'arn') return undefined;
  const last = parts[5] as string;
  const name = last === 'webhook' || last === 'queue' ? (parts[4] as string) : last;
  if (targets.webhooks.includes(name)) return { kind: 'webhook', name };
  if (targets.queues.includes(name)) return { kind: 'queue', name };
  return undefined;
}

function filterOf(xml: XmlElement | undefined): Pick<NotificationRule, 'prefix' | 'suffix'> {
  const key = xml && childrenOf(xml, ['S3Key']).one('S3Key');
  const filter: Pick<NotificationRule, 'prefix' | 'suffix'> = {};
  if (key === undefined) return filter;
  for (const rule of childrenOf(key, [], ['FilterRule']).all('FilterRule')) {
    const fields = childrenOf(rule, ['Name', 'Value']);
    const name = textOf(fields.one('Name'))?.trim().toLowerCase();
    const value = textOf(fields.one('Value')) ?? '';
    if (name !== 'prefix' && name !== 'suffix') {
      throw invalid('filter rule name must be either prefix or suffix');
    }
    if (filter[name] !== undefined) throw invalid(`Cannot specify more than one ${name} rule.`);
    filter[name] = value;
  }
  return filter;
}

function checkDistinct(rules: readonly NotificationRule[]): void {
  const ids = new Set<string>();
  for (const [index, rule] of rules.entries()) {
    if (ids.has(rule.id)) throw invalid(`Two configurations have the id ${rule.id}.`);
    ids.add(rule.id);
    for (const other of rules.slice(0, index)) {
      if (!shareEvent(rule, other) || !shareKey(rule, other)) continue;
      throw invalid(
        'Configurations overlap. Configurations on the same bucket cannot share a common event type.',
      );
    }
  }
}

function shareEvent(one: NotificationRule, other: NotificationRule): boolean {
  const covers = (a: string, b: string): boolean =>
    a === b || (a.endsWith('*') && b.startsWith(a.slice(0, -1)));
  return one.events.some((a) => other.events.some((b) => covers(a, b) || covers(b, a)));
}

function shareKey(one: NotificationRule, other: NotificationRule): boolean {
  const [a = '', b = ''] = [one.prefix, other.prefix];
  const [y = '', z = ''] = [one.suffix, other.suffix];
  return (a.startsWith(b) || b.startsWith(a)) && (y.endsWith(z) || z.endsWith(y));
}

export function xmlOfRules(rules: readonly NotificationRule[]): string {
  const content = rules.map((rule) => {
    const filters = (['prefix', 'suffix'] as const).map((name) => {
      const value = rule[name];
      // As S3 writes it: clients compare what they set with what they get.
      const shown = name === 'prefix' ? 'Prefix' : 'Suffix';
      return value === undefined
        ? ''
        : wrap('FilterRule', element('Name', shown) + element('Value', value));
    });
    const filter = filters.join('');
    return wrap(
      `${rule.element}Configuration`,
      optional('Id', rule.id) +
        element(rule.element, rule.arn) +
        rule.events.map((event) => element('Event', event)).join('') +
        (filter === '' ? '' : wrap('Filter', wrap('S3Key', filter))),
    );
  });
  return xmlDocument('NotificationConfiguration', content.join(''));
}
