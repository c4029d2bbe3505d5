// The scan of one range of one bucket: every version in order of keys, decided by the compiled
// rules (about a million a second), acted upon in batches. It also finds what no rule names:
// versions whose bytes are not in the tier of their class (put straight to a packed class, or a
// class mapped anew), restored copies whose date has come, and restores that wait for a request
// that is gone. Nothing is stamped into objects: change a rule, and the next pass decides by the
// new one.

import type { Decision, Evaluator } from '../../policies/evaluator.ts';
import {
  factsOfKey,
  factsOfUpload,
  type FactsContext,
  type VersionFacts,
} from '../../policies/facts.ts';
import type { Core } from '../../appliance/engine/document/core.ts';
import { loadParts, reread } from '../../appliance/engine/document/history.ts';
import {
  allVersions,
  inventoryPages,
  type InventoryRow,
} from '../../appliance/engine/document/inventory.ts';
import { expireRestore, isLapsed } from '../../appliance/engine/move/restore-expire.ts';
import type { Bucket } from '../../appliance/model/bucket.ts';
import { afterPrefix, objectId } from '../../appliance/model/ids.ts';
import type { Row } from '../../appliance/model/metadata-store.ts';
import type { ObjectDocument, Part, Upload, Version } from '../../appliance/model/object.ts';
import type { RestoreRequest } from '../../appliance/model/records.ts';
import { findById } from '../../appliance/engine/document/history.ts';
import type { Turn } from '../base/worker.ts';
import { confirmed, type DeleteBatches } from './deletes.ts';
import type { MoveBatches } from './moves.ts';

/** Documents between two splits: a range that a worker scans in about a second. */
const SPLIT_KEYS = 200_000;
/** One move in so many is confirmed by json-rules-engine. */
const CONFIRMED_ONE_IN = 100;
/** Documents scanned before what was gathered is moved, so that a checkpoint can be written. */
const CHECKPOINT_KEYS = 60_000;
const UPLOADS_PER_PAGE = 1000;
/** A pending restore without a request this old was left by a crash. */
const PENDING_MS_MIN = 10 * 60_000;
const MONTH_MS = 30 * 86_400_000;

export interface ScanCounts {
  scanned: number;
  versions: number;
  due: number;
  /** Of the oldest overdue decision, ms. */
  lagMsMax: number;
  lapsed: number;
}

export interface ScanSettings {
  bucket: Bucket;
  evaluator: Evaluator;
  facts: FactsContext;
  /** Engine ms of the pass. */
  now: number;
  /** Tier that new bytes land in. */
  turn: Turn;
  moves: MoveBatches;
  deletes: DeleteBatches;
  log: Parameters<typeof confirmed>[2]['log'];
}

export interface ScanRange {
  /** Exclusive. */
  after?: string;
  /** Exclusive. */
  before?: string;
  /** Whether this range looks at the bucket's uploads. */
  uploads: boolean;
}

export class BucketScan {
  readonly counts: ScanCounts = { scanned: 0, versions: 0, due: 0, lagMsMax: 0, lapsed: 0 };
  /** Keys at which the next pass may cut the bucket. */
  readonly splits: string[] = [];
  readonly #core: Core;
  readonly #settings: ScanSettings;
  #evaluator: Evaluator;
  #untilConfirmed = 0;

  constructor(core: Core, settings: ScanSettings) {
    this.#core = core;
    this.#settings = settings;
    this.#evaluator = settings.evaluator;
  }

  /** Scans the range. `checkpoint(key)`: everything up to this key is done. */
  async run(range: ScanRange, checkpoint: (key: string) => Promise<void>): Promise<void> {
    const { bucket, turn, moves, deletes } = this.#settings;
    const query = {
      ...(range.after === undefined ? {} : { after: range.after }),
      ...(range.before === undefined ? {} : { before: range.before }),
    };
    let sinceCheckpoint = 0;
    for await (const page of inventoryPages(this.#core.context.store, bucket.id, query)) {
      await this.#page(page);
      await deletes.flush(this.#evaluator);
      sinceCheckpoint += page.length;
      const last = page.at(-1);
      if (sinceCheckpoint >= CHECKPOINT_KEYS) await moves.flush();
      if (moves.isEmpty && last !== undefined) {
        await checkpoint(last.key);
        sinceCheckpoint = 0;
      }
      await turn.rest();
    }
    await moves.flush();
    if (range.uploads && this.#evaluator.needs(bucket.name).uploads) await this.#uploads();
  }

  async #page(page: readonly InventoryRow[]): Promise<void> {
    const { bucket, facts: context } = this.#settings;
    const needs = this.#evaluator.needs(bucket.name);
    for (const row of page) {
      this.counts.scanned += 1;
      if (this.counts.scanned % SPLIT_KEYS === 0) this.splits.push(row.key);
      const { document, key } = row;
      const isLong = document.history.length > 0;
      const versions =
        isLong && needs.noncurrent
          ? await allVersions(this.#core.context.store, row)
          : document.versions;
      this.counts.versions += versions.length;
      const facts = factsOfKey({ bucket, key, document }, context, versions);
      for (const [i, version] of versions.entries()) {
        await this.#version(row, version, facts[i] as VersionFacts);
      }
    }
  }

  async #version(row: InventoryRow, version: Version, facts: VersionFacts): Promise<void> {
    const { now, deletes, bucket } = this.#settings;
    if (version.restore !== undefined) await this.#restored(row, version);
    const decision = this.#evaluator.decide(facts, now);
    if (decision === undefined) {
      if (!version.deleteMarker) await this.#misplaced(row, version, facts);
      return;
    }
    this.counts.due += 1;
    this.counts.lagMsMax = Math.max(this.counts.lagMsMax, now - decision.dueAt);
    if (decision.effect !== 'move') {
      await deletes.add({ facts, decision }, this.#evaluator);
      if (deletes.stopped.size > 0) this.#leaveOut([...deletes.stopped]);
      return;
    }
    if (!(await this.#isConfirmed(facts, decision))) return;
    const { to, rule, revision, action } = decision;
    if (to === undefined || action === 'abort-upload') return;
    const kind = action === 'promote' ? 'promote' : 'transition';
    const moving = await this.#moving(row, version);
    if (moving === undefined) return;
    await this.#settings.moves.add({
      moving: { ...moving, bucket: bucket.name, rule: rule.id, policyRevision: revision },
      storageClass: to,
      kind,
      endOfLife: this.#endOfLife(facts, to),
    });
  }

  /** One move in a hundred, and the first of each scan. */
  async #isConfirmed(facts: VersionFacts, decision: Decision): Promise<boolean> {
    if (this.#untilConfirmed > 0) {
      this.#untilConfirmed -= 1;
      return true;
    }
    this.#untilConfirmed = CONFIRMED_ONE_IN - 1;
    const answer = await confirmed(this.#evaluator, { facts, decision }, this.#settings);
    if (answer === undefined) return false;
    if ('decision' in answer) return true;
    this.#settings.deletes.counts.disagreements += 1;
    this.#leaveOut(answer.stop);
    return false;
  }

  #leaveOut(rules: readonly string[]): void {
    this.#evaluator = this.#evaluator.without(rules);
  }

  /** Bytes outside their class's tier are due at once, whatever the rules say. */
  async #misplaced(row: InventoryRow, version: Version, facts: VersionFacts): Promise<void> {
    const tier = this.#core.context.classes.get(version.storageClass);
    if (tier === undefined) return;
    const isInline = version.partsBlock === undefined;
    if (isInline && version.parts.every((part) => part.location.tier === tier)) return;
    const moving = await this.#moving(row, version);
    if (moving === undefined || moving.parts.every((part) => part.location.tier === tier)) return;
    await this.#settings.moves.add({
      moving,
      storageClass: version.storageClass,
      kind: 'transition',
      endOfLife: this.#endOfLife(facts, version.storageClass),
    });
  }

  async #moving(row: InventoryRow, version: Version) {
    const { bucket } = this.#settings;
    const { object, key } = row;
    const found = await this.#parts(object, version);
    if (found === undefined) return undefined;
    return { bucket: bucket.name, bucketId: bucket.id, key, object, version, parts: found };
  }

  /** Undefined: the version is gone since the page was read. */
  #parts(object: string, version: Version): Promise<Part[] | undefined> | Part[] {
    if (version.partsBlock === undefined) return version.parts;
    const { store } = this.#core.context;
    let known: Version | undefined = version;
    return reread(object, async () => {
      if (known === undefined) {
        const row = await store.get<ObjectDocument>('objects', object);
        known = row && (await findById(store, row.value, version.id));
      }
      const read = known;
      known = undefined;
      return read && loadParts(store, read);
    });
  }

  /** The month in which a rule will remove the version, as far as rules tell today. */
  #endOfLife(facts: VersionFacts, storageClass: string): string {
    const { now } = this.#settings;
    const tier = this.#core.context.classes.get(storageClass);
    const after = { ...facts, storageClass, tier };
    const upcoming = this.#evaluator.next(after, now);
    if (upcoming === undefined || upcoming.decision.effect !== 'remove-version') return '';
    return String(Math.floor(upcoming.at / MONTH_MS));
  }

  async #restored(row: InventoryRow, version: Version): Promise<void> {
    const { context } = this.#core;
    const { bucket } = this.#settings;
    const { object } = row;
    const { restore } = version;
    if (isLapsed(version, context.clock.now())) {
      const isEnded = await expireRestore(this.#core, { bucket: bucket.name, object, version });
      if (isEnded) this.counts.lapsed += 1;
    }
    if (restore?.state !== 'pending') return;
    if (context.clock.now() - restore.requestedAt < PENDING_MS_MIN) return;
    const request = await context.store.get<RestoreRequest>('restores', restore.requestId);
    if (request !== undefined) return;
    // Nobody would ever end it: ask again in its name.
    const { requestId: id, tier, days, requestedAt } = restore;
    await context.store.insert('restores', id, {
      format: 1,
      id,
      scope: { bucket: bucket.name, bucketId: bucket.id, key: row.key, versionId: version.id },
      tier,
      days,
      requestedAt,
      requestedBy: version.owner,
      state: 'requested',
      counts: { objects: 1, bytes: version.sizeBytes, ready: 0, failed: 0 },
    } satisfies RestoreRequest);
  }

  async #uploads(): Promise<void> {
    const { bucket, deletes, now, turn } = this.#settings;
    const from = objectId(bucket.id, '');
    let bound: { from: string } | { after: string } = { from };
    for (;;) {
      const rows: Row<Upload>[] = await this.#core.context.store.range<Upload>({
        table: 'uploads',
        ...bound,
        to: afterPrefix(from) as string,
        limit: UPLOADS_PER_PAGE,
      });
      for (const { value } of rows) {
        if (value.state !== 'open') continue;
        const facts = factsOfUpload(bucket.name, value);
        const decision = this.#evaluator.decide(facts, now);
        if (decision !== undefined) await deletes.add({ facts, decision }, this.#evaluator);
      }
      await deletes.flush(this.#evaluator);
      const last = rows.at(-1);
      if (last === undefined || rows.length < UPLOADS_PER_PAGE) return;
      bound = { after: last.id };
      await turn.rest();
    }
  }
}
