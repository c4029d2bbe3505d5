// Shapes of configurations that are kept and shown: analytics, metrics, intelligent tiering. None
// of them does anything here yet; what objects cost, how often they are read and where they go is
// said by policies and by the admin API.

import { childText, checked, choice, fields, many, maybe } from '../xml/shape.ts';
import { oneOf, text, wholeNumber, type Shape } from '../xml/shape.ts';
import { malformed } from '../xml/parse.ts';
import type { ConfigurationKind } from './configuration.ts';

const id = text({ to: 64, form: /^[A-Za-z0-9._-]+$/ });
const prefix = text({ from: 0, to: 1024 });
const tag = fields({ Key: text({ to: 128 }), Value: text({ from: 0, to: 256 }) });
const arn = text({ to: 2048, form: /^arn:[!-~]+$/ });

/** One condition alone, or several in And. */
function filter(more: Readonly<Record<string, Shape>> = {}): Shape {
  const optional = Object.fromEntries(
    Object.entries(more).map(([name, shape]) => [name, maybe(shape)]),
  );
  const and = fields({ Prefix: maybe(prefix), Tag: many(tag, 0, 10), ...optional });
  return choice({
    Prefix: prefix,
    Tag: tag,
    ...more,
    And: checked(and, (given) => {
      if (given.children.length < 2) throw malformed('And joins two conditions or more');
    }),
  });
}

const bucketDestination = fields({
  Format: oneOf('CSV'),
  BucketAccountId: maybe(text({ to: 256 })),
  Bucket: arn,
  Prefix: maybe(prefix),
});

export const ANALYTICS: ConfigurationKind = {
  subresource: 'analytics',
  root: 'AnalyticsConfiguration',
  list: 'ListBucketAnalyticsConfigurationResult',
  name: 'Analytics',
  action: 'AnalyticsConfiguration',
  shape: fields({
    Id: id,
    Filter: maybe(filter()),
    StorageClassAnalysis: fields({
      DataExport: maybe(
        fields({
          OutputSchemaVersion: oneOf('V_1'),
          Destination: fields({ S3BucketDestination: bucketDestination }),
        }),
      ),
    }),
  }),
};

export const METRICS: ConfigurationKind = {
  subresource: 'metrics',
  root: 'MetricsConfiguration',
  list: 'ListMetricsConfigurationsResult',
  name: 'Metrics',
  action: 'MetricsConfiguration',
  shape: fields({ Id: id, Filter: maybe(filter({ AccessPointArn: arn })) }),
};

/** Days without a read after which S3 would archive, from and to. */
const TIERING_DAYS: Record<string, number> = { ARCHIVE_ACCESS: 90, DEEP_ARCHIVE_ACCESS: 180 };
const TIERING_DAYS_MAX = 730;

const tiering = checked(
  fields({
    Days: wholeNumber(1, TIERING_DAYS_MAX),
    AccessTier: oneOf(...Object.keys(TIERING_DAYS)),
  }),
  (given) => {
    const least = TIERING_DAYS[childText(given, 'AccessTier') ?? ''] ?? TIERING_DAYS_MAX;
    if (Number(childText(given, 'Days')) < least) throw malformed(`Days must be ${least} or more`);
  },
);

export const INTELLIGENT_TIERING: ConfigurationKind = {
  subresource: 'intelligent-tiering',
  root: 'IntelligentTieringConfiguration',
  list: 'ListBucketIntelligentTieringConfigurationsOutput',
  name: 'IntelligentTiering',
  action: 'IntelligentTieringConfiguration',
  shape: fields({
    Id: id,
    Filter: maybe(filter()),
    Status: oneOf('Enabled', 'Disabled'),
    Tiering: many(tiering, 1, 2),
  }),
};
