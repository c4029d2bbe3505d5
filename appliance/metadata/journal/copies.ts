// The copies of a journal: which drives hold them, which files make them up, and how they change.
// The danger is a drive that was away and comes back with an older or a longer past. So a copy
// that fails leaves at once, the others go on in a new epoch that it can't belong to, and a drive
// joins only by a new epoch, when it holds every file of the past (D2, D6). An epoch costs each
// drive two small files and some syncs, about 10 ms; there are 65,535.

import type { Drive } from '../../model/drive.ts';
import { FileCopy, isNoRoom } from './file-copy.ts';
import { BLOCK_BYTES, encodeFileHeader, type BatchPlace, type FileHeader } from './format.ts';
import { inTime, lateAfter, ManyCopies, type Patience } from './many-copies.ts';
import {
  heldBy,
  JOURNAL_DIRECTORY,
  pathOf,
  replaceStretch,
  sealedIn,
  shownBy,
  writeManifest,
} from './manifest.ts';
import type { Manifest, SealedFile, Stretch } from './manifest.ts';
import type { JournalOptions } from './ports.ts';
import { aheadOn, cutTo, forget, isPart, reserve, usableDrives } from './on-drive.ts';
import { exhausted, tooFew } from './refusals.ts';
import type { LogEnd } from './replay.ts';
import { checksumText, copyFile, draftOf, verifyFile } from './snapshot.ts';
import type { Survey } from './survey.ts';

const LOG_BYTES = 32 * 1024 * 1024;
/** A drive that fails again and again is tried at every 4,096th look, some hours: 65,535 epochs. */
const REST_POWER_MAX = 12;
const EPOCH_MAX = 0xffff;
/** So far a log grows on before it is looked again whether there is room for another. */
const ROLL_AGAIN_BYTES = 1024 * 1024;

interface NewLog {
  copies: ManyCopies;
  header: FileHeader;
}

export class Copies {
  readonly #options: JournalOptions;
  readonly #logBytes: number;
  #aheadBytes: number;
  /** A log without room for the next one grows on; where that is tried again. */
  #rollAt: number;
  #manifest: Manifest;
  #reserved: number;
  #log = new ManyCopies();
  #place: BatchPlace = { file: '', sequence: 1, previous: 0n };
  #position = BLOCK_BYTES;
  /** Id of a stretch of a snapshot that is being written and that no manifest names yet. */
  growing: string | undefined;
  /** A sealed file that is being written anew. */
  #mending: SealedFile | undefined;
  readonly #failures = new Map<Drive, number>();
  readonly #readWhole = new Map<Drive, Set<string>>();
  #looks = 0;
  /** The last commit number that all copies hold. */
  number: number;

  constructor(options: JournalOptions, from: { manifest: Manifest; reserved: number }) {
    this.#options = options;
    this.#logBytes = options.logBytes ?? LOG_BYTES;
    this.#rollAt = this.#logBytes;
    this.#aheadBytes = this.#logBytes;
    this.#manifest = from.manifest;
    this.#reserved = from.reserved;
    this.number = heldBy(from.manifest);
  }

  get manifest(): Manifest {
    return this.#manifest;
  }

  /** Those that hold the journal now. */
  get drives(): Drive[] {
    return this.#log.drives;
  }

  /** What the next batch must name. */
  get place(): BatchPlace {
    return this.#place;
  }

  get logBytes(): number {
    return this.#manifest.logs.reduce((sum, { sizeBytes }) => sum + sizeBytes, this.#position);
  }

  /** A batch of this size needs another log first. */
  isFullFor(sizeBytes: number): boolean {
    return this.#position + sizeBytes > this.#rollAt && this.#position > BLOCK_BYTES;
  }

  /** Takes room ahead of the end. False: copies failed, as of append(). Not beside appends. */
  async takeAhead(): Promise<boolean> {
    return await this.#log.take(this.#position, this.#aheadBytes, this.patience);
  }

  /**
   * True: durable on all copies. False: some failed and are out; the caller goes on by shed().
   */
  async append(bytes: Uint8Array, checksum: bigint): Promise<boolean> {
    if (this.drives.length < this.#options.copiesMin) throw tooFew(this.#options);
    if (!(await this.#log.write(bytes, this.#position, this.patience))) return false;
    const { file, sequence } = this.#place;
    this.#place = { file, sequence: sequence + 1, previous: checksum };
    this.#position += bytes.length;
    return true;
  }

  get patience(): Patience | undefined {
    const { patience, copiesMin } = this.#options;
    return patience === undefined ? undefined : { ended: patience, need: copiesMin };
  }

  // ── Taking over ──

  /** Goes on where the last writer closed, in its epoch. False where something must be mended. */
  async resume(survey: Survey, end: LogEnd): Promise<boolean> {
    const { holders, even } = survey;
    const { copies, drives } = this.#options;
    const wanted = Math.max(this.#manifest.copies, Math.min(copies, drives.length));
    if (!even || end.damaged.size > 0 || holders.length < wanted) return false;
    if ((await this.#complete(holders)).length < holders.length) return false;
    const header = { kind: 'log', file: this.#manifest.open } as const;
    const opened = await Promise.allSettled(
      holders.map((drive) => FileCopy.open(drive, header, end.position)),
    );
    this.#aheadBytes = Math.min(await aheadOn(holders, undefined), this.#logBytes);
    this.#log.adopt(opened.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : [])));
    if (this.#log.drives.length === holders.length) {
      this.#take(end);
      return true;
    }
    await this.#log.close();
    this.#log = new ManyCopies();
    return false;
  }

  #take({ number, position, sequence, previous }: LogEnd): void {
    this.number = number;
    this.#position = position;
    this.#place = { file: this.#manifest.open, sequence, previous };
  }

  /** Begins a new epoch behind the end that was found, on the copies that are whole. */
  async takeOver({ holders }: Survey, end: LogEnd): Promise<void> {
    this.#take(end);
    this.#seal(true);
    const torn = this.#manifest.logs.at(-1);
    const undamaged = holders.filter((drive) => !end.damaged.has(drive));
    const whole = await this.#complete(undamaged);
    // A holder that lacks a little is mended at once; a new drive only where it can't wait.
    const lacking = holders.filter((drive) => !whole.includes(drive));
    const missing = this.#options.copies - whole.length;
    const mended = await this.#bringAll(lacking, holders, missing, torn);
    const members = [...whole, ...mended];
    const others = this.#options.drives.filter((drive) => !holders.includes(drive));
    const need = this.#options.copiesMin - members.length;
    members.push(...(await this.#bringAll(others, holders, need)));
    await this.advance(members.slice(0, this.#options.copies));
  }

  /** Brings up to `count` of these drives; those that came. */
  async #bringAll(
    drives: readonly Drive[],
    from: readonly Drive[],
    count: number,
    again?: SealedFile,
  ): Promise<Drive[]> {
    const came: Drive[] = [];
    if (count <= 0) return came;
    for (const drive of await usableDrives(this.#options, drives)) {
      if (came.length >= count) break;
      try {
        await this.#bring(drive, from, again);
        came.push(drive);
      } catch (error) {
        this.#left(drive, error);
      }
    }
    return came;
  }

  /**
   * Gives a drive each sealed file that it lacks, from the copies at hand, and `again` in any case.
   * A file's id is never used twice, and a copy gets its name when it is whole.
   */
  async #bring(drive: Drive, from: readonly Drive[], again?: SealedFile): Promise<void> {
    const known = this.#readWhole.get(drive) ?? new Set<string>();
    this.#readWhole.set(drive, known);
    for (const sealed of sealedIn(this.#manifest)) {
      const { file, sizeBytes } = sealed;
      const there = await drive.stat(pathOf(sealed)).catch(() => ({ sizeBytes: 0 }));
      let isWhole = there.sizeBytes >= sizeBytes;
      // A log has its length from the start: that of a drive that failed may lack what came last.
      if (isWhole && !known.has(file)) {
        isWhole = await verifyFile(drive, sealed, this.#manifest.store).then(
          () => true,
          () => false,
        );
      }
      if (!isWhole || file === again?.file) {
        await copyFile(drive, sealed, { drives: from, store: this.#manifest.store });
      }
      known.add(file);
    }
  }

  /** Those on which every sealed file stands in its length. */
  async #complete(drives: readonly Drive[]): Promise<Drive[]> {
    const files = sealedIn(this.#manifest);
    const looked = await Promise.allSettled(
      drives.map(async (drive) => {
        for (const file of files) {
          const { sizeBytes } = await drive.stat(pathOf(file));
          if (sizeBytes < file.sizeBytes) throw new Error('a file of the journal is too short');
        }
      }),
    );
    return drives.filter((_, i) => looked[i]?.status === 'fulfilled');
  }

  // ── Epochs ──

  /**
   * A new epoch on these drives, which hold every sealed file: reserved on all of them, then
   * installed on each in one step, then told to the index (D6). Drives that fail are left out, and
   * it is begun again. MetadataUnavailable with fewer than copiesMin.
   */
  async advance(drives: readonly Drive[]): Promise<void> {
    let left = [...drives];
    for (;;) {
      if (left.length < this.#options.copiesMin) throw tooFew(this.#options);
      const epoch = this.#reserved + 1;
      if (epoch > EPOCH_MAX) throw exhausted();
      // Room first: a full drive would use up an epoch at every try.
      const log = await this.#createLog(left, epoch);
      for (const { drive, error } of log.copies.failed) this.#left(drive, error);
      if (log.copies.drives.length === left.length) {
        this.#reserved = epoch;
        const { drives: on } = log.copies;
        left = await this.#each(on, (drive) => reserve(drive, this.#manifest, epoch));
        if (left.length === on.length) left = await this.#install(log, { epoch, generation: 1 });
        if (this.#manifest.epoch === epoch) break;
      } else left = log.copies.drives;
      void log.copies.close();
    }
    const { epoch } = this.#manifest;
    await this.#options.index.setEpoch(epoch);
    const paths = left.map(({ path }) => path);
    this.#options.notice?.({ kind: 'epoch', epoch, drives: paths, copies: this.#options.copies });
    await this.tidy();
  }

  /** The open log is closed where it counts. `ends`: and with it the epoch. */
  #seal(ends: boolean): void {
    const { file, sequence, previous } = this.#place;
    const { ended, epoch, logs } = this.#manifest;
    const number = this.number;
    const sealed: SealedFile[] =
      sequence === 1
        ? []
        : [
            {
              kind: 'log',
              file,
              sizeBytes: this.#position,
              number,
              checksum: checksumText(previous),
            },
          ];
    // An index of an epoch that ended before the snapshot can't be brought forward anyway.
    const kept = ended.filter((one) => one.number >= shownBy(this.#manifest));
    this.#manifest = {
      ...this.#manifest,
      logs: [...logs, ...sealed],
      ended: ends ? [...kept, { epoch, number }] : ended,
    };
    this.#place = { file: '', sequence: 1, previous: 0n };
  }

  /** An empty log on each of these drives that can take one; the others are in its `failed`. */
  async #createLog(drives: readonly Drive[], epoch: number): Promise<NewLog> {
    const { patience, store } = this.#options;
    const late = lateAfter(patience);
    this.#aheadBytes = Math.min(await aheadOn(drives, late), this.#logBytes);
    const file = newFileId(this.#options);
    const header: FileHeader = { kind: 'log', store, file, number: this.number, epoch };
    const copies = new ManyCopies();
    const sizes = { sizeBytes: this.#logBytes, aheadBytes: this.#aheadBytes };
    await copies.create(drives, header, { ...sizes, late });
    return { copies, header };
  }

  /**
   * The manifest that names the log, on each of its drives; returns those that took it. It counts,
   * and is this journal's, only where all did.
   */
  async #install(
    { copies, header }: NewLog,
    named: { epoch: number; generation: number },
  ): Promise<Drive[]> {
    const { drives } = copies;
    const { file } = header;
    const reserved = this.#reserved;
    const manifest = { ...this.#manifest, ...named, reserved, copies: drives.length, open: file };
    const took = await this.#each(drives, (drive) => writeManifest(drive, manifest));
    if (took.length < drives.length) {
      void copies.close();
      return took;
    }
    void this.#log.close();
    this.#log = copies;
    this.#manifest = manifest;
    this.#place = { file, sequence: 1, previous: encodeFileHeader(header).checksum };
    this.#position = BLOCK_BYTES;
    this.#rollAt = this.#logBytes;
    return took;
  }

  /** Seals the log and goes on with another in the same epoch; in the same where there is no room. */
  async roll(): Promise<void> {
    const drives = this.#log.drives;
    const { epoch, generation } = this.#manifest;
    const log = await this.#createLog(drives, epoch);
    const { failed } = log.copies;
    if (failed.length > 0 && failed.every(({ error }) => isNoRoom(error))) {
      await log.copies.close();
      await this.tidy();
      this.#rollAt = this.#position + Math.min(this.#aheadBytes, ROLL_AGAIN_BYTES);
      return;
    }
    let took = log.copies.drives;
    this.#seal(false);
    if (failed.length === 0) took = await this.#install(log, { epoch, generation: generation + 1 });
    else await log.copies.close();
    for (const { drive, error } of failed) this.#left(drive, error);
    if (took.length < drives.length) await this.#goOn(took, drives);
    await this.tidy();
  }

  /** After append() was false: the copies that are left go on in a new epoch. */
  async shed(): Promise<void> {
    const left = this.#log.drives;
    const gone = this.#log.failed.splice(0);
    for (const { drive, error } of gone) this.#left(drive, error);
    await this.#goOn(left, [...left, ...gone.map(({ drive }) => drive)]);
  }

  /** With too few left, drives that held no copy are brought in first. */
  async #goOn(left: readonly Drive[], before: readonly Drive[]): Promise<void> {
    this.#seal(true);
    const spare = this.#options.drives.filter((drive) => !before.includes(drive));
    const need = left.length === 0 ? 0 : this.#options.copiesMin - left.length;
    await this.advance([...left, ...(await this.#bringAll(spare, left, need))]);
  }

  // ── Upkeep ──

  /** The file counts, and this drive has a copy of it. */
  holds(drive: Drive, { file }: SealedFile): boolean {
    const isNamed = sealedIn(this.#manifest).some((one) => one.file === file);
    return isNamed && this.drives.includes(drive);
  }

  /**
   * A sealed file of one copy is written anew from the others, under its name: its bytes are what
   * they were, so it takes no epoch. May run beside appends. Corrupt where no other has it whole.
   */
  async mend(drive: Drive, sealed: SealedFile): Promise<void> {
    this.#mending = sealed;
    try {
      await copyFile(drive, sealed, { drives: this.drives, store: this.#manifest.store });
    } finally {
      this.#mending = undefined;
    }
  }

  /** Fewer copies than wanted. */
  get short(): boolean {
    return this.#log.drives.length < this.#options.copies;
  }

  /**
   * Drives that could hold a copy and don't; one that failed is tried less and less often, because
   * each try is an epoch.
   */
  async candidates(leaving: ReadonlySet<Drive> = new Set()): Promise<Drive[]> {
    this.#looks += 1;
    const held = this.#log.drives;
    const others = this.#options.drives.filter((drive) => {
      const rest = 2 ** Math.min(this.#failures.get(drive) ?? 0, REST_POWER_MAX);
      return !held.includes(drive) && !leaving.has(drive) && this.#looks % rest === 0;
    });
    return await usableDrives(this.#options, others);
  }

  /** How many copies stay when these leave. */
  without(leaving: ReadonlySet<Drive>): number {
    return this.#log.drives.filter((drive) => !leaving.has(drive)).length;
  }

  /**
   * The others go on in a new epoch, to which a copy that left can't belong; then its files go, the
   * manifest first. Not beside appends. A repeat removes what a crash left of them.
   */
  async leave(leaving: ReadonlySet<Drive>): Promise<void> {
    const staying = this.#log.drives.filter((drive) => !leaving.has(drive));
    if (staying.length < this.#log.drives.length) {
      this.#seal(true);
      await this.advance(staying);
    }
    for (const drive of leaving) {
      if (!this.#log.drives.includes(drive)) await forget(drive).catch(() => undefined);
    }
  }

  /** Gives a candidate what is sealed by now; may run beside appends. */
  async prepare(candidate: Drive): Promise<boolean> {
    return (await this.#bringAll([candidate], this.#log.drives, 1)).length === 1;
  }

  /** A candidate that was prepared joins, by a new epoch. Not beside appends. */
  async join(candidate: Drive): Promise<boolean> {
    const drives = this.#log.drives;
    this.#seal(true);
    const came = await this.#bringAll([candidate], drives, 1);
    await this.advance([...drives, ...came]);
    return this.#log.drives.includes(candidate);
  }

  /**
   * A verified stretch of a snapshot takes the place of what stood for its rows, and of the logs
   * that no stretch needs any more. False: it is not on all copies, and nothing was changed. Not
   * beside appends.
   */
  async replace(made: Stretch, to: string | undefined, on: readonly Drive[]): Promise<boolean> {
    const drives = this.#log.drives;
    if (drives.some((drive) => !on.includes(drive)) || made.number > this.number) return false;
    const { generation, logs } = this.#manifest;
    const snapshot = replaceStretch(this.#manifest.snapshot, made, to);
    const manifest = { ...this.#manifest, snapshot, generation: generation + 1 };
    manifest.logs = logs.filter(({ number }) => number > shownBy(manifest));
    this.#manifest = manifest;
    const done = await this.#each(drives, (drive) => writeManifest(drive, manifest));
    if (done.length < drives.length) {
      this.#log.keep(done);
      await this.#goOn(done, drives);
    }
    await this.tidy();
    return true;
  }

  /**
   * Files that no manifest names any more go, and room behind the end of sealed ones. Best effort:
   * what stays costs room.
   */
  async tidy(): Promise<void> {
    const named = new Map(sealedIn(this.#manifest).map((file) => [pathOf(file), file.sizeBytes]));
    const kept = new Set([...named.keys(), pathOf({ kind: 'log', file: this.#manifest.open })]);
    if (this.#mending !== undefined) kept.add(draftOf(this.#mending));
    if (this.growing !== undefined) kept.add(pathOf({ kind: 'snapshot', file: this.growing }));
    const tidied = this.#log.drives.map(async (drive) => {
      for (const name of await drive.list(JOURNAL_DIRECTORY)) {
        const path = `${JOURNAL_DIRECTORY}/${name}`;
        const sizeBytes = named.get(path);
        if (isPart(name) && !kept.has(path)) await drive.remove(path);
        else if (sizeBytes !== undefined) await cutTo(drive, path, sizeBytes);
      }
    });
    await inTime(Promise.allSettled(tidied), lateAfter(this.#options.patience)).catch(
      () => undefined,
    );
  }

  /** Drives on which the work ended well, within patience; of the others is told. */
  async #each(drives: readonly Drive[], work: (drive: Drive) => Promise<void>): Promise<Drive[]> {
    const late = lateAfter(this.#options.patience);
    const done = await Promise.allSettled(drives.map((drive) => inTime(work(drive), late)));
    return drives.filter((drive, i) => {
      const one = done[i];
      if (one?.status === 'rejected') this.#left(drive, one.reason);
      return one?.status === 'fulfilled';
    });
  }

  #left(drive: Drive, error: unknown): void {
    this.#readWhole.delete(drive);
    this.#failures.set(drive, (this.#failures.get(drive) ?? 0) + 1);
    this.#options.notice?.({ kind: 'drive-left', path: drive.path, error });
  }

  async close(): Promise<void> {
    await this.#log.close();
  }
}

export const newFileId = ({ random }: JournalOptions): string =>
  Buffer.from(random.bytes(8)).toString('hex');
