// A tier of node groups: the Tier port over erasure-coded drives, and what workers need to keep it
// whole. Small objects go into segments (one read of one drive brings them back), larger ones into
// shard files. Everything is immediate. Many api processes and one worker of a host share the
// drives; each has its own open segments, so they never write the same file.

import assert from 'node:assert/strict';
import { FirnError, isFirnError } from '../../../appliance/model/errors.ts';
import { locationBirth } from '../../../appliance/model/ids.ts';
import type {
  BlobLocation,
  SegmentLocation,
  ShardLocation,
} from '../../../appliance/model/location.ts';
import type {
  DriveInfo,
  GroupContents,
  GroupRoom,
  NodeGroupTier,
  SegmentFilter,
  SegmentInfo,
  SegmentRecord,
  SpareInfo,
  StepJob,
} from '../../../appliance/model/node-group.ts';
import type {
  Body,
  ListedBlob,
  ListOptions,
  PutRequest,
  ReadOptions,
  StageStatus,
  Stored,
  TierCapabilities,
  TierUsage,
} from '../../../appliance/model/tier.ts';
import { ChecksumStream, checksumOf } from '../../checksum.ts';
import { Arena } from '../codec/arena.ts';
import { Codec } from '../codec/codec.ts';
import { codeOf } from '../codec/field.ts';
import { FilterEntries } from '../../filter.ts';
import { loadFilter, writeFilter } from '../segment/owner-filter.ts';
import { extentOf, isSettled, recordsOfSegment, walkSegment } from '../segment/walk.ts';
import {
  RECORD_ROOM_BYTES,
  settle,
  STRIPE_BYTES,
  type NodeGroupDependencies,
  type NodeGroupTierSettings,
  type Settled,
} from '../settings.ts';
import { ShardReader } from '../shard/shard-reader.ts';
import { ShardStream, StripeBuffers } from '../shard/shard-stream.ts';
import { ShardWriter } from '../shard/shard-writer.ts';
import { healGroup } from '../upkeep/heal.ts';
import { scrubGroup } from '../upkeep/scrub.ts';
import { GeneratorJob, type Report, type Work } from '../upkeep/step-job.ts';
import { gather, smallInHand, type Gathered } from './gather.ts';
import { NodeGroup } from './node-group.ts';
import { chooseGroup } from './placement.ts';
import {
  contentsOf,
  isOwn,
  listRecords,
  listShards,
  quickRooms,
  roomsOf,
  usageOf,
  wholeShards,
} from './inventory.ts';

/** Ranges up to this come back as bytes instead of a stream. */
const WHOLE_BYTES_MAX = 256 * 1024;
const PUT_ATTEMPTS = 3;

export class DriveTier implements NodeGroupTier {
  readonly kind = 'node-group';
  readonly name: string;
  readonly retrieval = 'immediate';
  readonly capabilities: TierCapabilities = {
    createOnly: false,
    rangedRead: true,
    priorities: [],
  };
  readonly #settings: Settled;
  readonly #deps: NodeGroupDependencies;
  readonly #groups: readonly NodeGroup[];
  readonly #buffers: StripeBuffers;
  readonly #byNumber: ReadonlyMap<number, NodeGroup>;
  #rooms: { until: number; value: Promise<GroupRoom[]> } | undefined;

  constructor(settings: NodeGroupTierSettings, deps: NodeGroupDependencies) {
    const code = codeOf(settings.code);
    this.name = settings.name;
    this.#settings = settle(settings);
    this.#deps = deps;
    checkSettings(this.#settings, code.n);
    const laneBytes = Math.max(
      this.#settings.smallBytesMax + RECORD_ROOM_BYTES,
      Math.ceil(STRIPE_BYTES / code.k / 64) * 64,
    );
    const { arenaBytes } = this.#settings;
    // Stripes being sent to clients, beside the arena.
    this.#buffers = new StripeBuffers(arenaBytes / 4);
    const codec =
      deps.codec ?? new Codec(code, new Arena({ lanes: code.n, laneBytes, arenaBytes }));
    this.#groups = settings.drives.map(
      (_, index) => new NodeGroup(index, codec, this.#settings, deps),
    );
    this.#byNumber = new Map(this.#groups.map((group) => [group.context.group, group]));
  }

  async open(): Promise<void> {
    for (const group of this.#groups) await group.open();
  }

  async close(): Promise<void> {
    await Promise.all(this.#groups.map((group) => group.close()));
  }

  async put(request: PutRequest): Promise<Stored> {
    assert.ok(this.#deps.role !== 'primary', 'the primary only reads');
    const owner = `${request.owner.bucketId}/${request.owner.key}`;
    const { smallBytesMax } = this.#settings;
    const inHand = smallInHand(request, smallBytesMax);
    const gathered: Gathered =
      inHand === undefined
        ? await gather(request, smallBytesMax)
        : { kind: 'small', bytes: inHand };
    const group = chooseGroup(this.#groups, owner, request.avoidGroups);
    this.#rooms = undefined;
    if (gathered.kind === 'small') return group.small.put(request.id, owner, gathered.bytes);
    const { id, sizeBytes, signal } = request;
    const { chunks } = gathered;
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await new ShardWriter(group.context, {
          id,
          owner,
          chunks,
          signal,
          sizeBytes: Array.isArray(chunks) ? (request.body as Uint8Array).length : sizeBytes,
        }).run();
      } catch (error) {
        // Bytes in hand can be tried again on the drives that are left; a stream can't be read
        // twice.
        const again =
          isFirnError(error, 'DriveUnavailable') || isFirnError(error, 'InsufficientCapacity');
        if (!again || !Array.isArray(chunks) || attempt === PUT_ATTEMPTS) throw error;
      }
    }
  }

  #groupOf(location: BlobLocation): {
    group: NodeGroup;
    location: SegmentLocation | ShardLocation;
  } {
    assert.ok(location.kind !== 'remote', 'a location of another kind of tier');
    assert.equal(location.tier, this.name, 'a location of another tier');
    return { group: this.#groupNumbered(location.group, location.id), location };
  }

  #groupNumbered(number: number, subject: string): NodeGroup {
    const group = this.#byNumber.get(number);
    if (group !== undefined) return group;
    throw new FirnError('TierMissing', `There is no group ${number} in the settings`, {
      subject: `${this.name}/${subject}`,
      hint: 'a group leaves the settings only when it is empty: put the missing one back',
    });
  }

  read(location: BlobLocation, options: ReadOptions = {}): Promise<Body> {
    const at = this.#groupOf(location);
    if (at.location.kind === 'shards') return this.#readShards(at.group, at.location, options);
    const whole = at.group.records.read(at.location);
    const { range } = options;
    if (range === undefined) return whole;
    return whole.then((bytes) => bytes.subarray(range.offset, range.offset + range.length));
  }

  async #readShards(
    group: NodeGroup,
    location: ShardLocation,
    { range, signal }: ReadOptions,
  ): Promise<Body> {
    const offset = Math.min(range?.offset ?? 0, location.length);
    const length = Math.min(range?.length ?? Infinity, location.length - offset);
    const reader = new ShardReader(group.context, location);
    if (length > 0 && length <= WHOLE_BYTES_MAX) return reader.readRange({ offset, length });
    // Errors come before the first byte is promised.
    await reader.probe();
    if (length === 0) return Buffer.alloc(0);
    return new ShardStream(reader, { offset, length }, this.#buffers).chunks(signal);
  }

  async delete(location: BlobLocation): Promise<void> {
    const at = this.#groupOf(location);
    this.#rooms = undefined;
    if (at.location.kind === 'segment') at.group.notes.add(at.location);
    else await at.group.deleteShards(at.location);
  }

  async verify(
    location: BlobLocation,
    signal?: AbortSignal,
  ): Promise<{ checksum: string; sizeBytes: number }> {
    const body = await this.read(location, signal === undefined ? {} : { signal });
    if (body instanceof Uint8Array) return { checksum: checksumOf(body), sizeBytes: body.length };
    const sum = new ChecksumStream();
    let sizeBytes = 0;
    for await (const chunk of body) {
      sum.update(chunk);
      sizeBytes += chunk.length;
    }
    return { checksum: sum.digest(), sizeBytes };
  }

  stage(): Promise<void> {
    return Promise.resolve();
  }

  stageStatus(): Promise<StageStatus> {
    return Promise.resolve({ state: 'ready' });
  }

  /** In bytes of objects: raw room times k/(k+m). Walks the drives as rooms() does. */
  async usage(): Promise<TierUsage> {
    return usageOf(await this.rooms());
  }

  async fill(): Promise<GroupRoom[]> {
    return quickRooms(this.#groups) ?? (await this.rooms());
  }

  rooms(): Promise<GroupRoom[]> {
    const begun = performance.now();
    if (this.#rooms !== undefined && this.#rooms.until > begun) return this.#rooms.value;
    const value = roomsOf(this.#groups);
    const kept = { until: Infinity, value };
    this.#rooms = kept;
    void value.then(
      () => {
        const now = performance.now();
        kept.until = now + 20 * (now - begun);
      },
      () => {
        kept.until = 0;
      },
    );
    return value;
  }

  groups(): readonly number[] {
    return [...this.#byNumber.keys()];
  }

  setDraining(groups: ReadonlySet<number>): void {
    for (const [number, group] of this.#byNumber) group.draining = groups.has(number);
  }

  isSafeIn(group: number): boolean {
    return this.#byNumber.get(group)?.isSafe === true;
  }

  contentsOf(group: number): Promise<GroupContents> {
    return contentsOf(this.#groupNumbered(group, `group ${group}`));
  }

  async *list(options?: ListOptions): AsyncGenerator<ListedBlob, void, undefined> {
    for (const { context } of this.#groups) {
      for await (const blob of listShards(context, options?.skip)) {
        if (isOwn(blob, options?.owner)) yield blob;
      }
    }
    if (options?.withoutSegments === true) return;
    for (const group of this.#groups) yield* listRecords(group, options?.owner);
  }

  async *wholeShards(): AsyncGenerator<string[], void, undefined> {
    for (const { context } of this.#groups) yield* wholeShards(context);
  }

  filterOf(group: number, segment: string): Promise<SegmentFilter | undefined> {
    return loadFilter(this.#groupNumbered(group, segment).context, segment);
  }

  async drives(): Promise<DriveInfo[]> {
    return this.#groups.flatMap(({ context }) =>
      context.seats.map((seat) => ({
        tier: this.name,
        group: context.group,
        position: seat.position,
        ...(seat.present && seat.identity !== undefined ? { drive: seat.identity.drive } : {}),
        path: seat.drive.path,
        state: seat.state,
        errors: seat.errors,
        note: seat.note,
        capacityBytes: seat.usage?.capacityBytes ?? 0,
        freeBytes: seat.usage?.freeBytes ?? 0,
        device: seat.usage?.device ?? '',
      })),
    );
  }

  spares(): Promise<SpareInfo[]> {
    return this.#groups[0]?.spares() ?? Promise.resolve([]);
  }

  /** Looks at all drives now; tests and the admin API need not wait for the next tick. */
  async look(): Promise<void> {
    for (const group of this.#groups) await group.look();
  }

  heal(): StepJob {
    return this.#job(healGroup);
  }

  scrub(options: { after?: string } = {}): StepJob {
    return this.#job((context, report) => scrubGroup(context, report, options.after));
  }

  async scrubBytes(): Promise<number> {
    const { k, n } = codeOf(this.#settings.code);
    return ((await this.usage()).usedBytes * n) / k;
  }

  #job(work: (context: NodeGroup['context'], report: Report) => Work): StepJob {
    const groups = this.#groups;
    return new GeneratorJob(async function* all(report) {
      for (const { context } of groups) yield* work(context, report);
    });
  }

  healLocation(location: SegmentLocation | ShardLocation): Promise<'whole' | 'partial'> {
    const at = this.#groupOf(location);
    return at.location.kind === 'segment'
      ? at.group.healSegmentLocation(at.location)
      : at.group.healShardLocation(at.location);
  }

  async *segments(): AsyncGenerator<SegmentInfo, void, undefined> {
    for (const one of this.#groups) {
      const { context } = one;
      if (this.#deps.role === 'worker') await one.endFreed();
      const dead = await one.notes.read();
      for (const segment of await one.segmentIds()) {
        yield {
          group: context.group,
          segment,
          extentBytes: await extentOf(context, segment),
          deadBytes: dead.get(segment)?.bytes ?? 0,
          deadRecords: dead.get(segment)?.records ?? 0,
          openedAt: locationBirth(segment),
          settled: await isSettled(context, segment),
        };
      }
    }
  }

  async *records(group: number, segment: string): AsyncGenerator<SegmentRecord, void, undefined> {
    const { context } = this.#groupNumbered(group, segment);
    const missed: string[] = [];
    let down = false;
    const miss = (what: string, later: boolean): void => {
      missed.push(what);
      down ||= later;
    };
    const entries = new FilterEntries();
    for await (const record of recordsOfSegment(context, segment, miss)) {
      entries.add(record.location.id, `${record.bucketId}/${record.key}`);
      yield record;
    }
    if (missed.length === 0) return this.#addFilter(context, segment, entries);
    down ||= context.seats.some(({ present }) => !present);
    throw new FirnError(
      down ? 'DriveUnavailable' : 'Corrupt',
      `Not all records can be read: ${missed.slice(0, 5).join(', ')}`,
      { subject: `${this.name}/${segment}`, retryable: down },
    );
  }

  /** Once all of a settled segment was read, its filter costs nothing more. */
  async #addFilter(
    context: NodeGroup['context'],
    segment: string,
    entries: FilterEntries,
  ): Promise<void> {
    if (this.#deps.role !== 'worker' || !(await isSettled(context, segment))) return;
    if ((await loadFilter(context, segment)) === undefined) {
      await writeFilter(context, segment, entries);
    }
  }

  async recordBytes(group: number, segment: string): Promise<number> {
    let bytes = 0;
    for await (const walked of walkSegment(this.#groupNumbered(group, segment).context, segment)) {
      if (walked.kind !== 'batch') continue;
      for (const length of walked.found.head.lengths) bytes += length;
    }
    return bytes;
  }

  async freeSegment(group: number, segment: string): Promise<void> {
    this.#rooms = undefined;
    await this.#groupNumbered(group, segment).freeSegment(segment);
  }
}

function checkSettings(settings: Settled, drives: number): void {
  const invalid = (message: string, hint: string): FirnError =>
    new FirnError('SettingsInvalid', `tier ${settings.name}: ${message}`, {
      subject: settings.name,
      hint,
    });
  const seen = new Set<string>();
  const numbers = new Set(settings.groups.map(({ group }) => group));
  if (numbers.size !== settings.drives.length || settings.groups.length !== numbers.size) {
    throw invalid('two groups have one number', 'each list of drives is one group');
  }
  for (const [group, paths] of settings.drives.entries()) {
    if (paths.length !== drives) {
      throw invalid(
        `group ${group} has ${paths.length} drives, code ${settings.code} needs ${drives}`,
        'a group is exactly k+m drives',
      );
    }
    for (const path of paths) {
      if (seen.has(path)) throw invalid(`drive ${path} is named twice`, 'one directory a drive');
      seen.add(path);
    }
  }
  if (settings.segmentBytes < 2 * (settings.smallBytesMax + RECORD_ROOM_BYTES)) {
    throw invalid('segmentBytes is too small', 'at least two of the largest small objects');
  }
}
