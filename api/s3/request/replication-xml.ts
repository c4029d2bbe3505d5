// The replication configuration of a bucket, checked strictly: an element that is dropped here is
// an object that is believed to have a copy.

import { FirnError } from '../../../appliance/model/errors.ts';
import { malformed, parseXml, type XmlElement } from '../xml/parse.ts';
import { canonicalDocument, checked, childText, choice, fields } from '../xml/shape.ts';
import { many, maybe, oneOf, text, wholeNumber } from '../xml/shape.ts';

const RULES_MAX = 1000;
const PRIORITY_MAX = 999_999_999;

const state = oneOf('Enabled', 'Disabled');
const prefix = text({ from: 0, to: 1024 });
const tag = fields({ Key: text({ to: 128 }), Value: text({ from: 0, to: 256 }) });
const minutes = fields({ Minutes: wholeNumber(15, 15) });

const destination = fields({
  Bucket: text({ to: 2048, form: /^arn:[!-~]+$/ }),
  Account: maybe(text({ to: 256 })),
  StorageClass: maybe(text({ to: 64, form: /^[A-Z][A-Z0-9_-]*$/ })),
  AccessControlTranslation: maybe(fields({ Owner: oneOf('Destination') })),
  EncryptionConfiguration: maybe(fields({ ReplicaKmsKeyID: text({ to: 2048 }) })),
  ReplicationTime: maybe(fields({ Status: state, Time: minutes })),
  Metrics: maybe(fields({ Status: state, EventThreshold: maybe(minutes) })),
});

const filter = choice(
  {
    Prefix: prefix,
    Tag: tag,
    And: fields({ Prefix: maybe(prefix), Tag: many(tag, 0, 10) }),
  },
  true,
);

const rule = checked(
  fields({
    ID: maybe(text({ from: 0, to: 255 })),
    Priority: maybe(wholeNumber(0, PRIORITY_MAX)),
    Prefix: maybe(prefix),
    Filter: maybe(filter),
    Status: state,
    SourceSelectionCriteria: maybe(
      fields({
        SseKmsEncryptedObjects: maybe(fields({ Status: state })),
        ReplicaModifications: maybe(fields({ Status: state })),
      }),
    ),
    ExistingObjectReplication: maybe(fields({ Status: state })),
    DeleteMarkerReplication: maybe(fields({ Status: maybe(state) })),
    Destination: destination,
  }),
  (given) => {
    const has = (name: string): boolean => given.children.some((child) => child.name === name);
    if (has('Filter') && has('Prefix')) throw malformed('a Rule has a Filter or a Prefix');
    if (has('Filter') !== has('Priority')) throw malformed('Filter and Priority go together');
  },
);

const configuration = checked(
  fields({ Role: maybe(text({ from: 0, to: 2048 })), Rule: many(rule, 1, RULES_MAX) }),
  (given) => {
    requireDistinct(given, 'ID');
    requireDistinct(given, 'Priority');
  },
);

function requireDistinct(given: XmlElement, name: string): void {
  const rules = given.children.filter((child) => child.name === 'Rule');
  const values = rules.map((one) => childText(one, name)).filter((value) => value !== undefined);
  if (new Set(values).size === values.length) return;
  throw new FirnError('InvalidArgument', `Each Rule must have a ${name} of its own.`);
}

/** In canonical form. Throws MalformedXML, InvalidArgument. */
export function replicationXmlOf(bytes: Uint8Array): string {
  return canonicalDocument(parseXml(bytes, 'ReplicationConfiguration'), configuration);
}
