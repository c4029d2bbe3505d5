// One report of one inventory configuration: data files of about 32 MiB before compression, then
// manifest.json, then manifest.checksum, laid out as S3 lays them out, written by the engine as any
// object. A checkpoint behind each data file says what is written and up to which key, and all
// names follow from the report's own: a worker that dies is followed by another that goes on there,
// and a file that is written twice is the same file.

import { createHash, hash } from 'node:crypto';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';

import type { Core } from '../../appliance/engine/document/core.ts';
import { allVersions, inventoryPages } from '../../appliance/engine/document/inventory.ts';
import { putObject } from '../../appliance/engine/object/put.ts';
import type { Bucket } from '../../appliance/model/bucket.ts';
import { FirnError } from '../../appliance/model/errors.ts';
import { MiB } from '../../appliance/model/limits.ts';
import type { ClassTotals } from '../../appliance/model/records.ts';
import type { Evaluator } from '../../policies/evaluator.ts';
import { factsOfKey, type VersionFacts } from '../../policies/facts.ts';
import type { InventoryConfiguration } from '../../policies/inventory-xml.ts';
import { readCheckpoint, removeCheckpoint, saveCheckpoint } from '../base/checkpoints.ts';
import type { Turn } from '../base/worker.ts';
import { columnsOf } from './rows.ts';

/** Of the checkpoints of reports that are being written. */
export const REPORT_ROWS = 'inventory-report/';
const FILE_BYTES_MAX = 32 * MiB;
const compress = promisify(gzip);
const DATE_IN_MANIFEST = '2016-11-30';

export interface ReportOptions {
  bucket: Bucket;
  configuration: InventoryConfiguration;
  /** `2026-11-24T00-00Z`: names the report. */
  label: string;
  /** Of the bucket's rules, for when they will expire what. */
  evaluator: Evaluator;
}

interface DataFile {
  key: string;
  size: number;
  MD5checksum: string;
}

interface Progress {
  files: DataFile[];
  totals: ClassTotals;
  /** Engine ms. */
  startedAt: number;
}

export interface ReportResult {
  /** Of manifest.json. */
  manifestKey: string;
  objects: number;
  files: number;
  totals: ClassTotals;
}

/** Durable on return. A repeat call writes the same names again. */
export async function writeReport(
  core: Core,
  turn: Turn,
  options: ReportOptions,
): Promise<ReportResult> {
  return new Report(core, turn, options).write();
}

class Report {
  readonly #core: Core;
  readonly #turn: Turn;
  readonly #options: ReportOptions;
  readonly #row: string;
  #progress: Progress;
  #lines: string[] = [];
  #lineBytes = 0;

  constructor(core: Core, turn: Turn, options: ReportOptions) {
    this.#core = core;
    this.#turn = turn;
    this.#options = options;
    const { bucket, configuration, label } = options;
    this.#row = `${REPORT_ROWS}${bucket.id}/${configuration.id}/${label}`;
    this.#progress = { files: [], totals: {}, startedAt: core.context.clock.now() };
  }

  async write(): Promise<ReportResult> {
    const { store } = this.#core.context;
    const known = await readCheckpoint(store, this.#row);
    if (known?.data !== undefined) this.#progress = known.data as unknown as Progress;
    const cursor = known?.cursor ?? '';
    if (cursor !== ALL_WRITTEN) await this.#scan(cursor === '' ? undefined : cursor);
    const manifestKey = await this.#finish();
    await removeCheckpoint(store, this.#row);
    const { files, totals } = this.#progress;
    const objects = Object.values(totals).reduce((sum, one) => sum + one.objects, 0);
    return { manifestKey, objects, files: files.length, totals };
  }

  async #scan(after: string | undefined): Promise<void> {
    const { store, classes } = this.#core.context;
    const { bucket, configuration, evaluator } = this.#options;
    const { prefix, allVersions: isAll, fields } = configuration;
    const columns = columnsOf(configuration);
    const isExpiring = fields.includes('LifecycleExpirationDate');
    const { startedAt } = this.#progress;
    const query = { prefix, ...(after === undefined ? {} : { after }) };
    for await (const page of inventoryPages(store, bucket.id, query)) {
      for (const row of page) {
        const { key, document } = row;
        const versions = isAll ? await allVersions(store, row) : document.versions.slice(0, 1);
        const facts = isExpiring
          ? factsOfKey({ bucket, key, document }, { classes }, versions)
          : [];
        for (const [i, version] of versions.entries()) {
          if (version.deleteMarker && !isAll) continue;
          const expiry = isExpiring && evaluator.expiry(facts[i] as VersionFacts, startedAt);
          const expiresAt = expiry ? expiry.at : undefined;
          const isLatest = i === 0;
          this.#add(columns.write({ bucket: bucket.name, key, version, isLatest, expiresAt }));
          this.#count(version);
        }
        if (this.#lineBytes >= FILE_BYTES_MAX) await this.#flush(key);
      }
      await this.#turn.rest();
    }
    if (this.#lines.length > 0) await this.#flush('');
  }

  #add(line: string): void {
    this.#lines.push(line);
    this.#lineBytes += line.length;
  }

  #count(version: { deleteMarker: boolean; storageClass: string; sizeBytes: number }): void {
    if (version.deleteMarker) return;
    const { totals } = this.#progress;
    const total = (totals[version.storageClass] ??= { objects: 0, bytes: 0 });
    total.objects += 1;
    total.bytes += version.sizeBytes;
  }

  /** One data file of the lines gathered: everything up to `key` is in it or in those before. */
  async #flush(key: string): Promise<void> {
    const { bucket, configuration, label } = this.#options;
    const { files } = this.#progress;
    const bytes = await compress(this.#lines.join(''));
    this.#lines = [];
    this.#lineBytes = 0;
    const number = files.length;
    const name = uuidOf([bucket.id, configuration.id, label, String(number)]);
    const extension = configuration.format === 'CSV' ? 'csv' : 'ndjson';
    const place = `${this.#place()}/data/${name}.${extension}.gz`;
    await this.#put(place, bytes, 'application/x-gzip');
    files.push({ key: place, size: bytes.length, MD5checksum: hash('md5', bytes) });
    const { store, clock } = this.#core.context;
    await saveCheckpoint(store, this.#row, {
      at: clock.now(),
      // The last file ends no key in particular: then only the manifest is missing.
      cursor: key === '' ? ALL_WRITTEN : key,
      data: { ...this.#progress },
    });
  }

  async #finish(): Promise<string> {
    const { bucket, configuration, label } = this.#options;
    const { files, startedAt } = this.#progress;
    const manifest = {
      sourceBucket: bucket.name,
      destinationBucket: `arn:aws:s3:::${configuration.destinationBucket}`,
      version: DATE_IN_MANIFEST,
      creationTimestamp: String(startedAt),
      fileFormat: configuration.format,
      fileSchema: columnsOf(configuration).schema,
      files,
    };
    const text = Buffer.from(`${JSON.stringify(manifest, undefined, 2)}\n`);
    const folder = `${this.#place()}/${label}`;
    await this.#put(`${folder}/manifest.json`, text, 'application/json');
    const sum = Buffer.from(hash('md5', text));
    await this.#put(`${folder}/manifest.checksum`, sum, 'text/plain');
    return `${folder}/manifest.json`;
  }

  /** Where S3 puts them: prefix, source bucket, configuration. */
  #place(): string {
    const { bucket, configuration } = this.#options;
    const { destinationPrefix, id } = configuration;
    const start = destinationPrefix === '' ? '' : `${destinationPrefix.replace(/\/$/, '')}/`;
    return `${start}${bucket.name}/${id}`;
  }

  async #put(key: string, body: Uint8Array, type: string): Promise<void> {
    const { bucket, configuration } = this.#options;
    const { destinationBucket, encryption } = configuration;
    await this.#turn.lease.check();
    await requireDestination(this.#core, bucket, destinationBucket);
    await putObject(this.#core, {
      bucket: destinationBucket,
      key,
      body,
      sizeBytes: body.length,
      owner: bucket.owner,
      storageClass: 'STANDARD',
      headers: { 'content-type': type },
      metadata: {},
      ...(encryption === undefined ? {} : { encryption }),
    });
  }
}

/** No key: those are XML text in S3, this is not. */
const ALL_WRITTEN = '\u0000';

/** A report is written into the owner's own buckets only: it names every key of the other. */
async function requireDestination(core: Core, source: Bucket, name: string): Promise<void> {
  const destination = await core.buckets.live(name);
  if (destination.owner === source.owner) return;
  throw new FirnError('AccessDenied', 'the inventory’s destination is another account’s bucket', {
    subject: name,
  });
}

/** In the form of a UUID, the same for the same names. */
function uuidOf(names: readonly string[]): string {
  const hex = createHash('sha256').update(names.join('\n')).digest('hex');
  return [
    [0, 8],
    [8, 12],
    [12, 16],
    [16, 20],
    [20, 32],
  ]
    .map(([a, b]) => hex.slice(a, b))
    .join('-');
}
