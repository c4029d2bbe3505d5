// The journal of an embedded store: one log in commit order, in m+1 full copies on different
// drives, that outlives the index (rules D1 to D7 of ../DESIGN.md). One writer a store: it gathers
// what the outbox names in one read snapshot, appends it as one batch to every copy, and only then
// says so; what commits meanwhile is gathered next. At 64 writers that is one round of three
// writes for some twenty changes. The danger it answers: an answer that rests on a change of which
// no drive knows.

import type { Drive } from '../../model/drive.ts';
import { FirnError } from '../../model/errors.ts';
import { isNoRoom } from './file-copy.ts';
import { batchBytes, BatchBuilder, encodeFileHeader } from './format.ts';
import { Copies, newFileId } from './copies.ts';
import { usableDrives } from './on-drive.ts';
import { printOf, shownBy, type Manifest, type Stretch } from './manifest.ts';
import type { JournalOptions } from './ports.ts';
import { tooFew } from './refusals.ts';
import { endOfLog, replay } from './replay.ts';
import { MergedReader } from './merged-reader.ts';
import { ScrubRound, type Rotten } from './scrub.ts';
import { writeStretch, type WrittenStretch } from './snapshot.ts';
import { isBeginningOf, surveyDrives } from './survey.ts';

export interface JournalStatus {
  epoch: number;
  /** Announced by this writer. */
  journaled: number;
  /** The last commit number on all copies, announced or not. */
  number: number;
  /** Paths of the drives that hold copies. */
  drives: string[];
  /** So many should. */
  copies: number;
  /** Every change up to `number` is in it; bytes of all its files, and which files these are. */
  snapshot: { number: number; sizeBytes: number; print: string };
  logBytes: number;
  /** Why nothing can be journaled now. */
  fault: unknown;
}

/** Before all rows. */
const FIRST_PLACE = Buffer.alloc(0);

interface Waiting {
  number: number;
  resolve(): void;
  reject(error: Error): void;
}

export type Standing =
  /** No copy on any drive at hand. */
  | 'none'
  /** The index is a beginning of what the journal tells, or all of it and more. */
  | 'beginning'
  /** The index is of another past, or too old, and must be thrown away. */
  | 'other';

export class Journal {
  readonly #options: JournalOptions;
  #copies: Copies;
  /** Of the last batch that all copies took. */
  #batched = 0;
  readonly #builder = new BatchBuilder();
  #journaled = 0;
  #asked = false;
  #running = false;
  #closed = false;
  #interrupted = false;
  #fault: { cause: unknown } | undefined;
  #waiting: Waiting[] = [];
  #turn: Promise<void> = Promise.resolve();
  #scrubbed: ScrubRound | undefined;

  private constructor(options: JournalOptions, copies: Copies) {
    this.#options = options;
    this.#copies = copies;
    this.#batched = copies.number;
  }

  /** How the index stands to what the drives tell; changes nothing. */
  static async standing(options: JournalOptions): Promise<Standing> {
    const { manifest, holders } = await surveyDrives(options.drives, options.store);
    if (manifest === undefined) return 'none';
    const end = await endOfLog(manifest, holders);
    return isBeginningOf(manifest, options.index.state(), end.empty) ? 'beginning' : 'other';
  }

  /**
   * Begins a journal for an index that has none, with a snapshot of it. On return it stands on the
   * drives. MetadataUnavailable with fewer than copiesMin drives.
   */
  static async found(options: JournalOptions): Promise<Journal> {
    const { index, store } = options;
    const survey = await surveyDrives(options.drives, store);
    let drives = (await usableDrives(options, options.drives)).slice(0, options.copies);
    if (drives.length < options.copiesMin) throw tooFew(options);
    const snapshot: Stretch[] = [];
    for (let from: Buffer | undefined = FIRST_PLACE; from !== undefined;) {
      const named = { store, file: newFileId(options), from, bytes: options.stretchBytes };
      const written: WrittenStretch = await writeStretch(index, drives, named);
      for (const { drive, error } of written.failed) {
        options.notice?.({ kind: 'drive-left', path: drive.path, error });
      }
      snapshot.push(written.stretch);
      ({ to: from, drives } = written);
    }
    const { epoch } = index.state();
    // There is no log: what was committed meanwhile is journaled behind the oldest of them.
    const number = shownBy({ snapshot });
    const manifest: Manifest = {
      format: 2,
      store,
      epoch: 0,
      reserved: 0,
      generation: 0,
      copies: 0,
      snapshot: snapshot.map((one) => ({ ...one, number })),
      logs: [],
      open: '',
      ended: [{ epoch, number }],
    };
    const reserved = Math.max(survey.reserved, epoch);
    const copies = new Copies(options, { manifest, reserved });
    await copies.advance(drives);
    return new Journal(options, copies);
  }

  /**
   * Takes over: brings the index forward to the end of the journal, makes the copies even, and goes
   * on in the same epoch only where nothing had to be mended and the last writer closed (`clean`).
   * The index is a beginning of the journal, or empty. Announces nothing that it did not write.
   */
  static async start(
    options: JournalOptions,
    how: { clean: boolean; progress?: (doneBytes: number, allBytes: number) => void },
  ): Promise<Journal> {
    const { index, drives, store } = options;
    const survey = await surveyDrives(drives, store);
    const { manifest, holders } = survey;
    if (manifest === undefined) throw new Error('there is no journal to start: found one');
    const end = await endOfLog(manifest, holders);
    const from = { ...index.state() };
    if (from.number < end.number) {
      const { progress } = how;
      const sum = await replay({
        manifest,
        drives: holders,
        index,
        ...(progress === undefined ? {} : { progress }),
      });
      options.notice?.({ kind: 'replayed', ...sum, from: from.number, to: end.number });
    }
    const reserved = Math.max(survey.reserved, options.epochSeen ?? 0, from.epoch);
    const copies = new Copies(options, { manifest, reserved });
    const isEven = how.clean && from.number >= end.number && from.epoch === manifest.epoch;
    if (!isEven || !(await copies.resume(survey, end))) await copies.takeOver(survey, end);
    return new Journal(options, copies);
  }

  /** Up to here this writer has announced. */
  get journaled(): number {
    return this.#journaled;
  }

  /** False while changes can't be journaled. */
  get healthy(): boolean {
    return this.#fault === undefined && !this.#closed;
  }

  /** What every change is answered while it can't be journaled. */
  get refusal(): Error | undefined {
    return this.healthy ? undefined : tooFew(this.#options, this.#fault?.cause);
  }

  status(): JournalStatus {
    const { drives, logBytes, manifest, number } = this.#copies;
    const sizeBytes = manifest.snapshot.reduce((sum, one) => sum + one.sizeBytes, 0);
    return {
      epoch: manifest.epoch,
      journaled: this.#journaled,
      drives: drives.map(({ path }) => path),
      copies: this.#options.copies,
      number,
      snapshot: { number: shownBy(manifest), sizeBytes, print: printOf(manifest.snapshot) },
      logBytes,
      fault: this.#fault?.cause,
    };
  }

  /**
   * Resolves once every change up to this commit number is on all copies. Rejects with
   * MetadataUnavailable while too few drives take it: the change may yet be journaled.
   */
  settled(number: number): Promise<void> {
    if (number <= this.#journaled) return Promise.resolve();
    if (!this.healthy) return Promise.reject(tooFew(this.#options, this.#fault?.cause));
    return new Promise((resolve, reject) => {
      this.#waiting.push({ number, resolve, reject });
      this.kick();
    });
  }

  /** Something was committed: what the outbox names is journaled soon. */
  kick(): void {
    this.#asked = true;
    if (!this.#running) void this.#run();
  }

  async #run(): Promise<void> {
    this.#running = true;
    while (this.#asked && this.healthy) {
      this.#asked = false;
      await this.#exclusive(() => this.#round()).catch((error: unknown) => this.#down(error));
    }
    this.#running = false;
  }

  /** One at a time: rounds, and whatever changes the copies. */
  #exclusive<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.then(
      () => undefined,
      () => undefined,
    );
    return done;
  }

  async #round(): Promise<void> {
    // It waited behind work that failed: what the copies would take now nobody could read.
    if (this.#fault !== undefined) return;
    const builder = this.#builder;
    const copies = this.#copies;
    builder.clear();
    const state = this.#options.index.gather(copies.number, (entry) => builder.add(entry));
    if (builder.entries > 0) {
      if (copies.isFullFor(builder.payloadBytes)) await copies.roll();
      for (;;) {
        const { bytes, checksum } = builder.finish(copies.place, state);
        if (await copies.append(bytes, checksum)) break;
        await copies.shed();
      }
      this.#batched = state.number;
    }
    this.#announce(state.number);
    if (!(await copies.takeAhead())) await copies.shed();
  }

  #announce(number: number): void {
    this.#copies.number = Math.max(number, this.#copies.number);
    this.#journaled = this.#copies.number;
    const { index, journaled } = this.#options;
    index.drop(this.#journaled);
    journaled?.(this.#journaled);
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const one of waiting) {
      if (one.number <= this.#journaled) one.resolve();
      else this.#waiting.push(one);
    }
    if (this.#waiting.length > 0) this.#asked = true;
  }

  #down(cause: unknown): void {
    this.#fault = { cause };
    this.#options.notice?.({ kind: 'down', error: cause });
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const one of waiting) one.reject(tooFew(this.#options, cause));
  }

  /**
   * To be called now and then: where copies are missing, a drive that can take one is given all of
   * the past and joins by a new epoch; after a fault it is tried whether enough drives are back.
   * True: something changed.
   */
  async repair(): Promise<boolean> {
    if (this.#closed) return false;
    if (this.#fault !== undefined) return await this.#recover();
    const leaving = (await this.#options.leaving?.()) ?? new Set<Drive>();
    const { copies } = this.#options;
    const isShort = (): boolean => this.#copies.short || this.#copies.without(leaving) < copies;
    let joined = false;
    for (const candidate of isShort() ? await this.#copies.candidates(leaving) : []) {
      joined = (await this.#join(candidate)) || joined;
      if (!isShort()) break;
    }
    if (leaving.size > 0 && this.#copies.without(leaving) >= copies) await this.#leave(leaving);
    await this.#exclusive(async () => {
      if (this.healthy && !(await this.#copies.takeAhead())) await this.#copies.shed();
    }).catch((error: unknown) => this.#down(error));
    if (joined) this.kick();
    return joined;
  }

  async #leave(leaving: ReadonlySet<Drive>): Promise<void> {
    await this.#exclusive(async () => {
      if (this.healthy) await this.#copies.leave(leaving);
    }).catch((error: unknown) => {
      this.#down(error);
      throw error;
    });
    this.kick();
  }

  async #join(candidate: Drive): Promise<boolean> {
    if (!(await this.#copies.prepare(candidate))) return false;
    return await this.#exclusive(async () => {
      return this.healthy && (await this.#copies.join(candidate));
    }).catch((error: unknown) => {
      this.#down(error);
      throw error;
    });
  }

  /** Too few drives took the journal: with enough of them back it is taken over as at a start. */
  async #recover(): Promise<boolean> {
    return await this.#exclusive(async () => {
      const options = this.#options;
      const drives = await usableDrives(options, options.drives);
      const survey = await surveyDrives(drives, options.store);
      const { manifest, holders, reserved } = survey;
      if (manifest === undefined) return false;
      const end = await endOfLog(manifest, holders);
      // Only copies that know all that was announced may go on: drives of an earlier epoch don't.
      if (end.number < this.#batched) return false;
      await this.#copies.close();
      this.#copies = new Copies(options, { manifest, reserved });
      await this.#copies.takeOver(survey, end);
      this.#fault = undefined;
      this.kick();
      return true;
    });
  }

  /**
   * A full snapshot on every copy, verified, behind which the logs are cut. Each of its stretches
   * takes the place of the old one's when it stands: beside all of one snapshot there is never more
   * than two stretches. False where a copy lacks one, or while another is made: what was made so
   * far stays, before the rest of the old one. The index goes on meanwhile.
   */
  async snapshot(): Promise<boolean> {
    if (this.#copies.growing !== undefined) return false;
    const copies = this.#copies;
    let rows = 0;
    try {
      for (let from: Buffer | undefined = FIRST_PLACE; from !== undefined;) {
        const written = await this.#stretch(copies, from);
        if (written === undefined) return false;
        rows += written.rows;
        from = written.to;
      }
      this.#options.notice?.({ kind: 'snapshot', ...this.status().snapshot, rows });
      return true;
    } finally {
      copies.growing = undefined;
      // Also a snapshot for which there was no room: what was written of it takes room from others.
      // After a fault drives may name other files than these copies do: what is taken over tidies.
      await this.#exclusive(async () => {
        if (this.#fault === undefined) await this.#copies.tidy();
      });
    }
  }

  /** One more stretch of the snapshot that is made; undefined where a copy lacks it. */
  async #stretch(copies: Copies, from: Buffer): Promise<WrittenStretch | undefined> {
    const { index, store, stretchBytes: bytes } = this.#options;
    const file = newFileId(this.#options);
    copies.growing = file;
    const stopped = (): boolean => this.#interrupted;
    const named = { store, file, from, bytes, patience: copies.patience, stopped };
    const written = await writeStretch(index, copies.drives, named);
    const { stretch, to, drives } = written;
    // It may show what was not journaled yet when it was begun.
    await this.settled(stretch.number);
    const done = await this.#exclusive(async () => {
      // Others after a fault: they know nothing of it, and may have removed it.
      if (this.#copies !== copies || !this.healthy) return false;
      return await copies.replace(stretch, to?.toString('hex'), drives);
    }).catch((error: unknown) => {
      // Too few copies are left, and their log was closed.
      this.#down(error);
      throw error;
    });
    return done ? written : undefined;
  }

  /**
   * Reads on in the sealed files of all copies, about so many bytes; to be called now and then. A
   * file that is rotten or gone is written anew from the other copies; a drive that doesn't take
   * it leaves. True: a round is at its end. Corrupt where no copy has it whole any more: only a
   * new snapshot mends that, as the index has it all.
   */
  async scrub(bytes: number): Promise<boolean> {
    const copies = this.#copies;
    const round = (this.#scrubbed ??= new ScrubRound(copies.manifest, copies.drives));
    for (let left = bytes; left > 0 && this.healthy;) {
      const { read, rotten, ended } = await round.step(left, ({ drive, sealed }) =>
        copies.holds(drive, sealed),
      );
      left -= read;
      if (rotten !== undefined) await this.#mend(rotten);
      if (!ended) continue;
      this.#scrubbed = undefined;
      return true;
    }
    return false;
  }

  async #mend({ drive, sealed, error }: Rotten): Promise<void> {
    const { path } = drive;
    try {
      await this.#copies.mend(drive, sealed);
      this.#options.notice?.({ kind: 'mended', path, file: sealed.file, error });
    } catch (cause) {
      const others = this.#copies.without(new Set([drive]));
      if (cause instanceof FirnError || isNoRoom(cause)) throw cause;
      if (others < this.#options.copiesMin) throw cause;
      this.#options.notice?.({ kind: 'drive-left', path, error: cause });
      await this.#leave(new Set([drive]));
    }
  }

  /** A snapshot that is being made ends soon, with an error; no other is made. */
  interrupt(): void {
    this.#interrupted = true;
  }

  /**
   * The newest snapshot's files as drives hold them, one behind another, each batch from a copy that
   * is whole. Not beside snapshot().
   */
  async *snapshotBytes(): AsyncGenerator<Uint8Array> {
    for (const stretch of this.#copies.manifest.snapshot) yield* this.#bytesOf(stretch);
  }

  async *#bytesOf(stretch: Stretch): AsyncGenerator<Uint8Array> {
    const { drives, manifest } = this.#copies;
    const reader = new MergedReader(stretch, manifest.store);
    await reader.open(drives);
    try {
      yield encodeFileHeader(reader.header).bytes;
      for (let one = await reader.next(); one !== undefined; one = await reader.next()) {
        const whole = Buffer.alloc(batchBytes(one.head.payloadBytes));
        one.bytes.copy(whole);
        yield whole;
      }
    } finally {
      await reader.close();
    }
  }

  /** Waits for what was asked, and closes the files. Settling anything is refused from here on. */
  async close(): Promise<void> {
    if (this.#closed) return;
    await this.#exclusive(() => Promise.resolve());
    this.#closed = true;
    await this.#scrubbed?.close();
    this.#asked = false;
    await this.#exclusive(() => this.#copies.close());
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const one of waiting) one.reject(tooFew(this.#options));
  }
}
