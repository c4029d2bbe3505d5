// The embedded store as a whole: LMDB as the index, the journal on the hot tier's drives as the
// proof. Decides at a start whether the LMDB directory may be believed, brings it forward, makes it
// anew where it is torn or of another past, and refuses where nobody but an operator can know: an
// empty or foreign store over drives that hold data would hide all of it (D7).

import { existsSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock, Random } from '../model/clock.ts';
import type { Drive } from '../model/drive.ts';
import { FirnError, isFirnError } from '../model/errors.ts';
import type { MetadataStore } from '../model/metadata-store.ts';
import { epochSeen, noteEpoch } from './epoch-seen.ts';
import { bringBackSnapshot, type FindSnapshot } from './journal/bring-back.ts';
import { Journal, type JournalStatus } from './journal/journal.ts';
import type { JournalEvent, JournalOptions } from './journal/ports.ts';
import { surveyDrives, type Survey } from './journal/survey.ts';
import type { CommitJournal } from './lmdb/commit-queue.ts';
import { directoryState, markSynced, markUnsynced } from './lmdb/directory-state.ts';
import { LmdbMetadataStore } from './lmdb/lmdb-metadata-store.ts';

export interface EmbeddedOptions {
  dataDirectory: string;
  clock: Clock;
  random: Random;
  /** Of the hot tier, those on devices of their own first. */
  drives: readonly Drive[];
  /** m+1. */
  copies: number;
  /** Ids of the stores that the drives at hand say they belong to. */
  storesOnDrives: () => Promise<string[]>;
  /** Whether this drive is one of this store, and mounted. */
  isUsable: (drive: Drive, storeId: string) => Promise<boolean>;
  /** Drives of groups that are emptied for good: the journal leaves them. */
  leaving?: (store: MetadataStore) => Promise<ReadonlySet<Drive>>;
  /** Where snapshots are kept besides the drives, for a rebuild when no drive has one whole. */
  findSnapshot?: FindSnapshot;
  /** Every change up to this commit number is on all copies. */
  journaled?: (number: number) => void;
  notice?: (event: JournalEvent | { kind: 'thrown-away'; why: string }) => void;
}

export interface RebuildReport {
  storeId: string;
  epoch: number;
  snapshot: { number: number; sizeBytes: number; broughtFrom?: string };
  logs: number;
  logBytes: number;
  rows: number;
  from: string[];
  number: number;
}

const DIRECTORY = 'metadata';
const REBUILT = 'metadata.rebuild';
const OLD = 'metadata.old';
const COPIES_MIN = 2;
const STALL_MS = 5000;

const rebuildHint = 'stop Firn and run ./firn rebuild: it makes the metadata anew from the drives';

/** The journal as the primary's own commits see it, also before there is one. */
class Gate implements CommitJournal {
  journal: Journal | undefined;

  get journaled(): number {
    return this.journal?.journaled ?? 0;
  }

  settled(number: number): Promise<void> {
    // Before a journal is founded nothing is served: its first snapshot has what was committed.
    return this.journal?.settled(number) ?? Promise.resolve();
  }

  refusal(): Error | undefined {
    return this.journal?.refusal;
  }
}

export class EmbeddedStore {
  readonly store: LmdbMetadataStore;
  readonly #options: EmbeddedOptions;
  readonly #directory: string;
  readonly #gate: Gate;

  private constructor(options: EmbeddedOptions, store: LmdbMetadataStore, gate: Gate) {
    this.#options = options;
    this.#directory = join(options.dataDirectory, DIRECTORY);
    this.store = store;
    this.#gate = gate;
  }

  /**
   * Opens the store and takes the journal over. MetadataUnavailable where it must be rebuilt or
   * drives are missing. A store without a journal is open afterwards, and `founded` is false.
   */
  static async open(options: EmbeddedOptions): Promise<EmbeddedStore> {
    const directory = join(options.dataDirectory, DIRECTORY);
    const survey = await surveyDrives(options.drives, undefined);
    const state = directoryState(directory);
    const stores = new Set(await options.storesOnDrives());
    if (state === 'empty' && (stores.size > 0 || survey.manifest !== undefined)) {
      throw refused('the metadata directory is empty, and the drives hold data', directory);
    }
    if (state === 'torn') {
      await makeAnew(options, survey, 'it was not synced when power failed');
      return await EmbeddedStore.open(options);
    }
    const opened = await openIn(options, directory);
    try {
      return await EmbeddedStore.#takeOver(options, opened, { stores, survey, state });
    } catch (error) {
      await opened.store.close();
      throw error;
    }
  }

  static async #takeOver(
    options: EmbeddedOptions,
    opened: OpenIndex,
    found: { stores: ReadonlySet<string>; survey: Survey; state: string },
  ): Promise<EmbeddedStore> {
    const { store, gate, directory } = opened;
    const { stores, survey, state } = found;
    const storeId = await storeIdIn(store);
    if (storeId === undefined && (stores.size > 0 || survey.manifest !== undefined)) {
      throw refused('the metadata store is empty, and the drives hold data', directory);
    }
    if (storeId !== undefined && stores.size > 0 && !stores.has(storeId)) {
      throw refused('the drives belong to another metadata store', directory);
    }
    const embedded = new EmbeddedStore(options, store, gate);
    if (storeId === undefined) return embedded;
    const journalOptions = journalOptionsOf(options, opened, storeId);
    checkEpoch(options, survey, store.index.state().epoch);
    const standing = await Journal.standing(journalOptions);
    if (standing === 'none') {
      if (store.index.state().epoch === 1) return embedded;
      throw new FirnError('MetadataUnavailable', 'no drive at hand has the journal of this store', {
        subject: directory,
        hint: 'mount the drives of the hot tier, then start again',
      });
    }
    if (standing === 'other') {
      await store.close();
      await makeAnew(options, survey, 'it is not of the past that the journal tells');
      return await EmbeddedStore.open(options);
    }
    gate.journal = await Journal.start(journalOptions, { clean: state === 'synced' });
    return embedded;
  }

  /** The journal stands: what is acknowledged from here on outlives the LMDB directory. */
  get founded(): boolean {
    return this.#gate.journal !== undefined;
  }

  get journal(): Journal {
    if (this.#gate.journal !== undefined) return this.#gate.journal;
    throw new FirnError('MetadataUnavailable', 'the metadata store has no journal yet');
  }

  /** The first journal of a store, on drives that are founded. Before anything is served. */
  async found(storeId: string): Promise<void> {
    const opened = { store: this.store, gate: this.#gate, directory: this.#directory };
    this.#gate.journal = await Journal.found(journalOptionsOf(this.#options, opened, storeId));
  }

  /** To be called when no other process writes any more. */
  async close(): Promise<void> {
    const { journal } = this.#gate;
    if (journal !== undefined) {
      const { number } = this.store.index.state();
      await journal.settled(number).catch(() => undefined);
      await journal.close();
    }
    await this.store.close();
    if (journal !== undefined) markSynced(this.#directory);
  }
}

interface OpenIndex {
  store: LmdbMetadataStore;
  gate: Gate;
  directory: string;
}

async function openIn(options: EmbeddedOptions, directory: string): Promise<OpenIndex> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  markUnsynced(directory);
  const gate = new Gate();
  const store = new LmdbMetadataStore({ directory, clock: options.clock, journal: gate });
  await store.open();
  return { store, gate, directory };
}

async function storeIdIn(store: LmdbMetadataStore): Promise<string | undefined> {
  return (await store.get<{ id: string }>('settings', 'store'))?.value.id;
}

function journalOptionsOf(
  options: EmbeddedOptions,
  { store }: OpenIndex,
  storeId: string,
): JournalOptions {
  const { drives, copies, random, notice, journaled, isUsable, leaving, dataDirectory } = options;
  return {
    store: storeId,
    drives,
    copies,
    copiesMin: COPIES_MIN,
    index: store.index,
    random,
    isUsable: (drive) => isUsable(drive, storeId),
    ...(leaving === undefined ? {} : { leaving: () => leaving(store) }),
    ...(journaled === undefined ? {} : { journaled }),
    epochSeen: epochSeen(dataDirectory, storeId),
    notice(event) {
      if (event.kind === 'epoch') noteEpoch(dataDirectory, { store: storeId, epoch: event.epoch });
      notice?.(event);
    },
    patience: () => new Promise((resolve) => setTimeout(resolve, STALL_MS).unref()),
  };
}

function refused(message: string, directory: string): FirnError {
  return new FirnError('MetadataUnavailable', message, { subject: directory, hint: rebuildHint });
}

/** An older past than this host's own may be gone back to only by an operator. */
function checkEpoch(options: EmbeddedOptions, { manifest }: Survey, own: number): void {
  if (manifest === undefined) return;
  const { dataDirectory } = options;
  if (Math.max(own, epochSeen(dataDirectory, manifest.store)) <= manifest.epoch) return;
  throw new FirnError('MetadataUnavailable', 'the drives at hand have an old journal only', {
    subject: join(dataDirectory, DIRECTORY),
    hint:
      'mount the drives that are missing, then start again; only if they are lost for good: ' +
      './firn rebuild goes back to what the others tell',
  });
}

async function makeAnew(options: EmbeddedOptions, survey: Survey, why: string): Promise<void> {
  if (survey.manifest === undefined) {
    throw new FirnError('MetadataUnavailable', `the metadata can not be used: ${why}`, {
      subject: join(options.dataDirectory, DIRECTORY),
      hint:
        'no drive at hand has its journal: mount the drives of the hot tier; ' +
        'if this store was only just made, remove its data directory',
    });
  }
  checkEpoch(options, survey, 0);
  options.notice?.({ kind: 'thrown-away', why });
  await rebuildMetadata(options);
}

/**
 * Makes the LMDB directory anew from the newest snapshot and the longest log on the drives at hand,
 * and begins a new epoch, so that whatever returns later is ignored. What stood there is replaced
 * at the very end. MetadataUnavailable where no drive has a journal.
 */
export async function rebuildMetadata(
  options: EmbeddedOptions,
  progress?: (doneBytes: number, allBytes: number) => void,
): Promise<RebuildReport> {
  const { dataDirectory } = options;
  const survey = await surveyDrives(options.drives, undefined);
  const { manifest } = survey;
  if (manifest === undefined) {
    throw new FirnError('MetadataUnavailable', 'no drive at hand has a journal of the metadata', {
      hint: 'mount the drives of the hot tier that the settings name',
    });
  }
  const directory = join(dataDirectory, REBUILT);
  const make = (): Promise<Made> => makeIn(directory, { options, store: manifest.store, progress });
  let broughtFrom: string | undefined;
  const { rows, status } = await make().catch(async (error: unknown) => {
    if (!isFirnError(error, 'Corrupt')) throw error;
    broughtFrom = await bringBackSnapshot(manifest, survey.holders, options.findSnapshot);
    // Whole on the drives: it is something else that is damaged.
    if (broughtFrom === undefined) throw error;
    return await make();
  });
  markSynced(directory);
  await swapIn(dataDirectory, directory);
  return {
    storeId: manifest.store,
    epoch: status.epoch,
    snapshot: {
      ...status.snapshot,
      ...(broughtFrom === undefined ? {} : { broughtFrom }),
    },
    logs: manifest.logs.length + 1,
    logBytes: status.logBytes,
    rows,
    from: survey.holders.map(({ path }) => path),
    number: status.number,
  };
}

interface Made {
  rows: number;
  status: JournalStatus;
}

/** All that the journal shows, in a fresh directory. */
async function makeIn(
  directory: string,
  from: {
    options: EmbeddedOptions;
    store: string;
    progress: ((doneBytes: number, allBytes: number) => void) | undefined;
  },
): Promise<Made> {
  const { options, store, progress } = from;
  await rm(directory, { recursive: true, force: true });
  const opened = await openIn(options, directory);
  let rows = 0;
  try {
    const journalOptions = journalOptionsOf(options, opened, store);
    const journal = await Journal.start(
      {
        ...journalOptions,
        notice: (event) => {
          if (event.kind === 'replayed') ({ rows } = event);
          journalOptions.notice?.(event);
        },
      },
      { clean: false, ...(progress === undefined ? {} : { progress }) },
    );
    const status = journal.status();
    await journal.close();
    return { rows, status };
  } finally {
    await opened.store.close();
  }
}

/** The old directory stands aside until the new one has its name. */
async function swapIn(dataDirectory: string, directory: string): Promise<void> {
  const place = join(dataDirectory, DIRECTORY);
  const old = join(dataDirectory, OLD);
  await rm(old, { recursive: true, force: true });
  if (existsSync(place)) await rename(place, old);
  await rename(directory, place);
  await rm(old, { recursive: true, force: true });
}
