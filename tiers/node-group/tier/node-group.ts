// One node group as one process sees it: its drives, its open segment, its readers.

import type { Drive, DriveUsage } from '../../../appliance/model/drive.ts';
import type { SegmentLocation, ShardLocation } from '../../../appliance/model/location.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import type { SpareInfo } from '../../../appliance/model/node-group.ts';
import { newId } from '../../../appliance/model/ids.ts';
import { LocalDrive } from '../drive/local-drive.ts';
import { PatientDrive } from '../drive/patient-drive.ts';
import { Seat } from '../drive/seat.ts';
import { spareState } from '../drive/spares.ts';
import { DriveWatch } from '../drive/watch.ts';
import { TEMPORARY } from '../drive/identity.ts';
import { nameOf, type GroupContext } from '../group/context.ts';
import { endsIn } from '../group/ends-in.ts';
import { Hedge, LARGE_HEDGE_MS_MIN } from '../group/hedge.ts';
import { DRIVES_UP_MIN, LaneOrders } from '../group/lane-order.ts';
import { OpenFiles } from '../group/open-files.ts';
import { unreadable, noLanes, unreadOf } from '../group/missing.ts';
import type { Codec } from '../codec/codec.ts';
import { CommitQueue } from '../segment/commit-queue.ts';
import { SEGMENT_DIRECTORY } from '../segment/format.ts';
import { segmentPath } from '../segment/open-segment.ts';
import { filterPath } from '../segment/owner-filter.ts';
import { RecordReader } from '../segment/record-reader.ts';
import { headsOn, isHead } from '../segment/batch.ts';
import { repairBatch } from '../segment/repair-segment.ts';
import { isSettled } from '../segment/walk.ts';
import { findShards } from '../shard/find-shards.ts';
import { geometryOf, SHARD_DIRECTORY, shardPath } from '../shard/format.ts';
import { checkShards, rebuildShards } from '../shard/repair-shards.ts';
import type { GroupPlace, NodeGroupDependencies, Settled } from '../settings.ts';
import { DeadNotes, segmentsOn } from '../upkeep/dead-notes.ts';

const FILES_MAX = 256;
const IDLE_MS = 60_000;
const HOUSEKEEPING_MS = 15_000;
const STALE_TEMPORARY_MS = 24 * 3_600_000;
/** A drive that takes so many times the stall time of a write for a removal hangs. */
const REMOVAL_STALL_FACTOR = 5;
/** And for any work on names: given up. */
const NAME_STALL_FACTOR = 12;
const NAME_MS_MIN = 5_000;

export class NodeGroup {
  readonly context: GroupContext;
  readonly small: CommitQueue;
  readonly records: RecordReader;
  readonly notes: DeadNotes;
  readonly #watch: DriveWatch;
  readonly #spares: readonly Drive[];
  readonly #deps: NodeGroupDependencies;
  readonly #process: string;
  #timer: NodeJS.Timeout | undefined;
  #draining = false;

  /** `index`: of its line in the settings; the group's number may be another. */
  constructor(index: number, codec: Codec, settings: Settled, deps: NodeGroupDependencies) {
    const rawDrive = deps.openDrive ?? ((path: string) => new LocalDrive(path));
    const openDrive = (path: string): PatientDrive =>
      new PatientDrive(rawDrive(path), Math.max(NAME_MS_MIN, NAME_STALL_FACTOR * settings.stallMs));
    const paths = settings.drives[index] as readonly string[];
    const { group, founded } = settings.groups[index] as GroupPlace;
    const seats = paths.map((path, position) => new Seat(openDrive(path), position, settings));
    // '~' ends the name: 'api-1' must not sweep the files of 'api-12'.
    this.#process = `${deps.processName.replaceAll(/[^a-zA-Z0-9_.-]/g, '_')}~`;
    this.#deps = deps;
    this.context = {
      tier: settings.name,
      group,
      code: codec.code,
      codec,
      orders: new LaneOrders(codec.code),
      seats,
      segmentFiles: new OpenFiles(seats, segmentPath, FILES_MAX),
      shardFiles: new OpenFiles(seats, shardPath, FILES_MAX),
      hedge: new Hedge(),
      largeHedge: new Hedge(LARGE_HEDGE_MS_MIN),
      settings,
      clock: deps.clock,
      random: deps.random,
      nonce: `${this.#process}${newId(deps.random).slice(0, 12)}`,
      reserve: deps.role === 'worker',
    };
    this.small = new CommitQueue(this.context);
    this.records = new RecordReader(this.context);
    this.notes = new DeadNotes(this.context, this.#process.slice(0, -1));
    this.#spares = settings.spares.map(openDrive);
    this.#watch = new DriveWatch(seats, {
      place: { store: deps.storeId, tier: settings.name, group, code: codec.code.name },
      random: deps.random,
      writes: deps.role !== 'primary',
      probeMs: settings.probeMs,
      spares: this.#spares,
      spareAfterMs: deps.role === 'worker' ? settings.spareAfterMs : Infinity,
      peersMin: codec.code.k,
      founded,
      changed: (seat) => {
        this.context.segmentFiles.dropDrive(seat.position);
        this.context.shardFiles.dropDrive(seat.position);
      },
      directories: [SEGMENT_DIRECTORY, SHARD_DIRECTORY, TEMPORARY],
    });
  }

  async open(): Promise<void> {
    await this.#watch.open();
    if (this.#deps.role !== 'primary') await this.#sweep();
    if (this.#deps.role === 'worker') await this.endFreed();
    this.#timer = setInterval(() => {
      const before = performance.now() - IDLE_MS;
      this.small.sealIfOld(this.draining ? 0 : undefined);
      this.context.segmentFiles.dropIdle(before);
      this.context.shardFiles.dropIdle(before);
    }, HOUSEKEEPING_MS).unref();
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.small.close();
    await this.notes.flush();
    this.#watch.close();
    this.context.segmentFiles.close();
    this.context.shardFiles.close();
  }

  /** The spares of the tier, which are those of every group of it. */
  async spares(): Promise<SpareInfo[]> {
    const { tier } = this.context;
    return Promise.all(
      this.#spares.map(async (drive) => ({
        tier,
        path: drive.path,
        state: await spareState(drive),
      })),
    );
  }

  /** Looks at the drives now instead of at the next tick. */
  look(): Promise<void> {
    return this.#watch.look();
  }

  /**
   * Temporary files of this process's earlier life, and of whoever has not touched them for a day.
   */
  async #sweep(): Promise<void> {
    const { clock, nonce, seats } = this.context;
    await Promise.all(
      seats
        .filter(({ present }) => present)
        .map(async (seat) => {
          for (const name of await seat.drive.list(TEMPORARY).catch((): string[] => [])) {
            const own = name.startsWith(this.#process) && !name.startsWith(nonce);
            const path = `${TEMPORARY}/${name}`;
            const stat = own ? undefined : await seat.drive.stat(path).catch(() => undefined);
            const old = stat !== undefined && clock.wall() - stat.modifiedMs > STALE_TEMPORARY_MS;
            // What can't be removed now is tried at the next start.
            if (own || old) await seat.drive.remove(path).catch(() => undefined);
          }
        }),
    );
  }

  /** Takes nothing new; what is open in it is ended, so that it can be emptied. */
  get draining(): boolean {
    return this.#draining;
  }

  set draining(draining: boolean) {
    this.#draining = draining;
    if (draining) this.small.sealIfOld(0);
  }

  /** Drives that can be written now. */
  get upCount(): number {
    const { seats, reserve } = this.context;
    return seats.filter((seat) => seat.writable(reserve)).length;
  }

  get writable(): boolean {
    return this.upCount >= DRIVES_UP_MIN;
  }

  /** Not draining, and as many drives are up as a write needs: full ones hold what they hold. */
  get isSafe(): boolean {
    const up = this.context.seats.filter((seat) => seat.trusted).length;
    return !this.#draining && up >= DRIVES_UP_MIN;
  }

  /** Bytes that its fullest drive may still take before it counts as full; Infinity: not known. */
  get roomBytes(): number {
    const { seats, reserve, settings } = this.context;
    const share = reserve ? settings.reserveShare : settings.fullShare;
    const rooms = seats
      .filter((seat) => seat.usage !== undefined && seat.writable(reserve))
      .map(({ usage }) => (usage as DriveUsage).freeBytes - usageKept(usage as DriveUsage, share));
    return Math.min(...rooms);
  }

  async deleteShards(location: ShardLocation): Promise<void> {
    const { seats, settings, shardFiles } = this.context;
    shardFiles.dropEverywhere(location.id);
    const failures: unknown[] = [];
    const present = seats.filter((seat) => seat.present);
    const removals = present.map(async (seat) => {
      const removal = seat.drive.remove(shardPath(location.id)).catch((error: unknown) => {
        failures.push(error);
      });
      const patience = seat.trusted ? REMOVAL_STALL_FACTOR : 1;
      if (await endsIn(removal, patience * settings.stallMs)) return;
      seat.stalled();
      failures.push(new Error('a removal did not end in time'));
    });
    await Promise.all(removals);
    if (failures.length === 0) return;
    throw new FirnError('DriveUnavailable', 'A drive did not let go of a deleted object', {
      subject: `${nameOf(this.context)}/${location.id}`,
      cause: failures[0],
      retryable: true,
    });
  }

  async segmentIds(): Promise<string[]> {
    return (await segmentsOn(this.context, this.context.seats)).names;
  }

  async freeSegment(segment: string): Promise<void> {
    if (!(await isSettled(this.context, segment))) {
      throw new FirnError('InvalidRequest', 'This segment may still be written', {
        subject: `${nameOf(this.context)}/${segment}`,
        retryable: true,
      });
    }
    await this.notes.markFreed(segment);
    await this.#removeSegment(segment);
  }

  /** Ends what was begun, also by a life that was cut off. */
  async #removeSegment(segment: string): Promise<void> {
    const { seats, segmentFiles } = this.context;
    segmentFiles.dropEverywhere(segment);
    for (const { drive, present } of seats) {
      if (!present) continue;
      // A hint; what is left of it names no segment that there will ever be again.
      await drive.remove(filterPath(segment)).catch(() => undefined);
      await drive.remove(segmentPath(segment));
      await drive.syncDirectory(SEGMENT_DIRECTORY);
    }
    // The mark stays while a drive is away: its file, once it is back, would look like a loss.
    if (seats.every(({ present }) => present)) await this.notes.forget(segment);
  }

  /** Removes what drives that were away still hold of segments that were freed meanwhile. */
  async endFreed(): Promise<void> {
    for (const segment of await this.notes.freed()) {
      // What can't be removed now is tried again.
      await this.#removeSegment(segment).catch(() => undefined);
    }
  }

  async healSegmentLocation(location: SegmentLocation): Promise<'whole' | 'partial'> {
    const { context } = this;
    const at = { segment: location.segment, start: location.batch };
    const looks = await headsOn(context, at);
    const found = looks.find(isHead);
    if (found === undefined) {
      if (looks.includes('down')) return 'partial';
      throw unreadable(location, noLanes(), 1);
    }
    const { states, repaired, lost } = await repairBatch(context, found);
    const wrong = states.absent | states.damaged | states.down;
    if (lost) throw unreadable(location, states, found.order.data.length);
    return (wrong & ~repaired) === 0 ? 'whole' : 'partial';
  }

  async healShardLocation(location: ShardLocation): Promise<'whole' | 'partial'> {
    const { context } = this;
    const found = await findShards(context, location.id);
    if (typeof found === 'string') {
      const states = noLanes();
      for (const seat of context.seats) {
        states[seat.present ? found : 'down'] |= 1 << seat.position;
      }
      throw unreadable(location, states, geometryOf(location, context.code).dataLanes);
    }
    const states = await run(checkShards(context, found));
    const unread = unreadOf(context.seats, found.order, states.down);
    const wrong = states.absent | states.damaged | unread;
    const repaired = wrong === 0 ? 0 : await run(rebuildShards(context, found, wrong));
    return ((wrong | states.down) & ~repaired) === 0 ? 'whole' : 'partial';
  }
}

const usageKept = ({ capacityBytes }: DriveUsage, share: number): number =>
  capacityBytes * (1 - share);

/** Runs bounded work through without giving anybody a turn. */
async function run<T>(work: AsyncGenerator<number, T, undefined>): Promise<T> {
  for (;;) {
    const { done, value } = await work.next();
    if (done === true) return value;
  }
}
