// The embedded metadata store whole: the real store, commit queue and index over a simulated LMDB file,
// the real journal on the drives of the hot tier, and between processes the real link, whose
// messages take their time. A commit is seen by every process at once, and durable only when the
// journal says so: what leaves meanwhile (D3) is what this is for.

import type { Clock, Random } from '../../appliance/model/clock.ts';
import type { MetadataStore, Row, Table } from '../../appliance/model/metadata-store.ts';
import { Journal } from '../../appliance/metadata/journal/journal.ts';
import type { JournalOptions } from '../../appliance/metadata/journal/ports.ts';
import type { CommitJournal } from '../../appliance/metadata/lmdb/commit-queue.ts';
import { LmdbMetadataStore } from '../../appliance/metadata/lmdb/lmdb-metadata-store.ts';
import { decodeRecord } from '../../appliance/metadata/lmdb/record.ts';
import { JournalLink } from '../../appliance/process/journal-link.ts';
import type { SimDrive } from './drive.ts';
import { SimLmdb, type LmdbState } from './lmdb.ts';
import type { Scheduler, Step } from './scheduler.ts';

const STORE = '00112233445566778899aabbccddeeff';
const LOG_BYTES = 16 * 1024;

export interface EmbeddedOptions {
  drives: SimDrive[];
  clock: Clock;
  random: Random;
  /** m+1. */
  copies: number;
  scheduler: Scheduler | undefined;
}

export class EmbeddedMetadata {
  file: SimLmdb;
  journal: Journal | undefined;
  readonly #options: EmbeddedOptions;
  readonly #children: { link: JournalLink; waits: number }[] = [];
  #main: LmdbMetadataStore | undefined;

  /** `state` undefined: the file is gone, or not to be believed. */
  constructor(options: EmbeddedOptions, state: LmdbState | undefined) {
    this.#options = options;
    this.file = new SimLmdb(state);
    this.file.scheduler = options.scheduler;
  }

  /** A store that has nothing yet. */
  async found(): Promise<void> {
    this.journal = await Journal.found(this.#journalOptions(await this.#primary()));
  }

  /** As the primary starts: the file is brought forward, or made anew (D4, D6). */
  async start(): Promise<void> {
    if (this.journal !== undefined) return;
    let options = this.#journalOptions(await this.#primary());
    const standing = await Journal.standing(options);
    if (standing === 'none') throw new Error('there is no journal any more');
    if (standing === 'other') {
      this.file = new SimLmdb();
      this.file.scheduler = this.#options.scheduler;
      options = this.#journalOptions(await this.#primary());
    }
    this.journal = await Journal.start(options, { clean: false });
  }

  /** As the upkeep does every few seconds: drives that can take a copy are given one. */
  async mend(): Promise<void> {
    while ((await this.journal?.repair()) === true);
  }

  async #primary(): Promise<LmdbMetadataStore> {
    // The primary's own commits are not what is looked at here: it has none after its start.
    const none: CommitJournal = { journaled: Infinity, settled: () => Promise.resolve() };
    return await this.#opened(this.#options.clock, none);
  }

  async #opened(clock: Clock, journal: CommitJournal, inPlace = false): Promise<LmdbMetadataStore> {
    const { open: openEnvironment } = this.file;
    const store = new LmdbMetadataStore({
      directory: 'simulated',
      clock,
      journal,
      inPlace,
      openEnvironment,
    });
    await store.open();
    return store;
  }

  #journalOptions(primary: LmdbMetadataStore): JournalOptions {
    const { drives, copies, random } = this.#options;
    return {
      store: STORE,
      drives,
      copies,
      copiesMin: 2,
      index: primary.index,
      random,
      logBytes: LOG_BYTES,
      // As the supervisor tells them.
      journaled: (number) => {
        for (const child of this.#children) {
          if (child.waits === 0) continue;
          this.#message('journaled', () => child.link.heard(number));
          if (child.waits <= number) child.waits = 0;
        }
      },
      notice: ({ kind }) => {
        if (kind !== 'down') return;
        for (const { link } of this.#children) link.failed('too few drives');
      },
    };
  }

  /** As another process sees it. The first one serves this life's own calls. */
  async process(name: string, clock: Clock): Promise<MetadataStore> {
    const link = new JournalLink((number) =>
      this.#message(`ask-${name}`, () => {
        child.waits = Math.max(child.waits, number);
        this.journal?.kick();
      }),
    );
    const child = { link, waits: 0 };
    this.#children.push(child);
    const store = await this.#opened(clock, link, true);
    this.#main ??= store;
    return store;
  }

  /** Between two processes of a host: any time later. */
  #message(what: string, arrive: () => void): void {
    const { scheduler } = this.#options;
    if (scheduler === undefined || !scheduler.recording) {
      setImmediate(arrive);
      return;
    }
    const name = `${scheduler.phase}/message/${what}`;
    const step: Step = { name, begin: 0, end: Infinity, failed: false };
    void scheduler.step(step, arrive);
  }

  get main(): MetadataStore {
    if (this.#main === undefined) throw new Error('no process has begun');
    return this.#main;
  }

  rowsOf<T>(table: Table): Row<T>[] {
    const sheet = this.file.sheet(table);
    return sheet.keys.map((key) =>
      decodeRecord<T>(table, Buffer.from(key, 'latin1').toString(), sheet.rows.get(key) as Buffer),
    );
  }
}
