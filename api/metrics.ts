// Metrics of all processes as Prometheus text. Each api process counts its requests in plain
// numbers (an increment costs nanoseconds; a labelled histogram of the library about a microsecond
// a request) and hands a snapshot to the primary, which adds them up, puts the gauges of the whole
// appliance beside them and renders by prom-client. No label ever holds a bucket or a key: their
// number is unbounded.

import { AggregatorRegistry, Counter, Gauge, Registry } from 'prom-client';

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60] as const;

export interface RequestFacts {
  /** S3 operation, for example PutObject; a name from our own table, never the client's. */
  operation: string;
  status: number;
  ms: number;
  bytesIn: number;
  bytesOut: number;
}

interface OperationCounts {
  /** By hundreds: 2 is 2xx. */
  statuses: number[];
  buckets: number[];
  seconds: number;
  bytesIn: number;
  bytesOut: number;
}

export type MetricsSnapshot = Record<string, OperationCounts>;

/** One an api process. */
export class RequestMetrics {
  readonly #operations = new Map<string, OperationCounts>();

  observe(facts: RequestFacts): void {
    let counts = this.#operations.get(facts.operation);
    if (counts === undefined) {
      counts = {
        statuses: [0, 0, 0, 0, 0, 0],
        buckets: Array.from({ length: SECONDS.length + 1 }, () => 0),
        seconds: 0,
        bytesIn: 0,
        bytesOut: 0,
      };
      this.#operations.set(facts.operation, counts);
    }
    const seconds = facts.ms / 1000;
    let bucket = 0;
    while (bucket < SECONDS.length && seconds > (SECONDS[bucket] as number)) bucket += 1;
    counts.buckets[bucket] = (counts.buckets[bucket] ?? 0) + 1;
    const status = Math.floor(facts.status / 100);
    counts.statuses[status] = (counts.statuses[status] ?? 0) + 1;
    counts.seconds += seconds;
    counts.bytesIn += facts.bytesIn;
    counts.bytesOut += facts.bytesOut;
  }

  /** Plain data since the start of the process: it crosses a process boundary. */
  snapshot(): MetricsSnapshot {
    return Object.fromEntries(this.#operations);
  }
}

/** One sample of a gauge of the whole appliance. */
export interface GaugeSample {
  name: string;
  help: string;
  /** It only grows, while its process lives. */
  isCounter?: true;
  labels?: Record<string, string>;
  value: number;
}

interface JsonMetric {
  help: string;
  name: string;
  type: string;
  values: { value: number; labels: Record<string, string | number>; metricName?: string }[];
  aggregator: string;
}

/** The text of /metrics. */
export async function renderMetrics(
  snapshots: readonly MetricsSnapshot[],
  gauges: readonly GaugeSample[],
): Promise<string> {
  const requests = AggregatorRegistry.aggregate(snapshots.map((one) => jsonOf(one)));
  const appliance = new Registry();
  const known = new Map<string, Gauge | Counter>();
  for (const sample of gauges) {
    const labels = sample.labels ?? {};
    const { name, help } = sample;
    let gauge = known.get(name);
    if (gauge === undefined) {
      const given = { name, help, labelNames: Object.keys(labels), registers: [appliance] };
      gauge = sample.isCounter === true ? new Counter(given) : new Gauge(given);
      known.set(name, gauge);
    }
    if (gauge instanceof Gauge) gauge.set(labels, sample.value);
    else gauge.inc(labels, sample.value);
  }
  return [await requests.metrics(), await appliance.metrics()].filter(Boolean).join('\n');
}

/** A snapshot in the form that prom-client's processes hand to each other. */
function jsonOf(snapshot: MetricsSnapshot): JsonMetric[] {
  const metric = (name: string, type: string, help: string): JsonMetric => ({
    help,
    name,
    type,
    values: [],
    aggregator: 'sum',
  });
  const requests = metric('firn_s3_requests_total', 'counter', 'S3 requests answered.');
  const received = metric('firn_s3_received_bytes_total', 'counter', 'Bytes of S3 bodies taken.');
  const sent = metric('firn_s3_sent_bytes_total', 'counter', 'Bytes of S3 bodies sent.');
  const seconds = metric(
    'firn_s3_request_seconds',
    'histogram',
    'Time from the head of an S3 request to the end of its answer.',
  );
  for (const [operation, counts] of Object.entries(snapshot)) {
    for (const [status, value] of counts.statuses.entries()) {
      if (value > 0) requests.values.push({ value, labels: { operation, status: `${status}xx` } });
    }
    received.values.push({ value: counts.bytesIn, labels: { operation } });
    sent.values.push({ value: counts.bytesOut, labels: { operation } });
    let total = 0;
    for (const [index, value] of counts.buckets.entries()) {
      total += value;
      const le = SECONDS[index] ?? '+Inf';
      const metricName = 'firn_s3_request_seconds_bucket';
      seconds.values.push({ value: total, labels: { operation, le }, metricName });
    }
    const ends = [
      ['sum', counts.seconds],
      ['count', total],
    ] as const;
    for (const [end, value] of ends) {
      const metricName = `firn_s3_request_seconds_${end}`;
      seconds.values.push({ value, labels: { operation }, metricName });
    }
  }
  return [requests, received, sent, seconds];
}
