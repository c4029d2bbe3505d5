// The metadata journal under the same crashes: on simulated drives, over an index in memory that, like
// LMDB after power failure, comes back at any earlier commit, or not at all. The journal is one log
// in commit order, so what a restart shows must be the rows as of one commit, no earlier than the last
// that was announced.

import { Journal } from '../../appliance/metadata/journal/journal.ts';
import type { Entry, JournalOptions } from '../../appliance/metadata/journal/ports.ts';
import { MemoryIndex, type IndexImage } from '../memory-index.ts';
import {
  bytesOfFile,
  emptyImage,
  SimDrive,
  snapshotOf,
  thawed,
  type DriveSnapshot,
  type Image,
} from './drive.ts';
import { Violation, type Explored } from './explore.ts';
import { mixed, Seeded } from './random.ts';
import { DriveReplay, type CrashKind } from './replay.ts';
import { Scheduler } from './scheduler.ts';
import { NOON, SimTime } from './time.ts';

const STORE = '00112233445566778899aabbccddeeff';
const DRIVES = 4;
const COPIES = 3;
/** A page of rows a file: snapshots of several, of which a crash leaves some new and some old. */
const STRETCH_BYTES = 8 * 1024;
const PAGE_ROWS = 3;

type Rows = ReadonlyMap<string, Uint8Array>;

/** Keeps what it was after each change: any of it may be what a crash leaves. */
class RecordedIndex extends MemoryIndex {
  kept: ((image: IndexImage) => void) | undefined;

  constructor() {
    super(undefined, PAGE_ROWS);
  }

  override commit(changes: Parameters<MemoryIndex['commit']>[0]): number {
    const number = super.commit(changes);
    this.kept?.(this.image());
    return number;
  }

  override drop(upTo: number): void {
    super.drop(upTo);
    this.kept?.(this.image());
  }

  override async apply(entries: Iterable<Entry>, state: IndexImage['state']): Promise<void> {
    await super.apply(entries, state);
    this.kept?.(this.image());
  }

  override async setEpoch(epoch: number): Promise<void> {
    await super.setEpoch(epoch);
    this.kept?.(this.image());
  }
}

const drivesOn = (images: readonly Image[]): SimDrive[] =>
  images.map(
    (image, position) =>
      new SimDrive(`sim-${position}`, image, { position, lanes: DRIVES, now: () => NOON }),
  );

function optionsOf(drives: SimDrive[], index: MemoryIndex, random: Seeded): JournalOptions {
  const sizes = { logBytes: 48 * 1024, stretchBytes: STRETCH_BYTES };
  return { store: STORE, drives, copies: COPIES, copiesMin: 2, index, random, ...sizes };
}

export class JournalWorld {
  readonly seed: number;
  readonly scheduler: Scheduler;
  readonly drives: SimDrive[];
  readonly #random: Seeded;
  readonly index = new RecordedIndex();
  readonly #images: { at: number; image: IndexImage }[] = [];
  /** Rows as of each commit number. */
  readonly #truth = new Map<number, Rows>();
  /** Commit numbers that were announced, and when. */
  readonly #announced: { number: number; end: number }[] = [];
  readonly #start: DriveSnapshot[];
  journal!: Journal;

  constructor(seed: number, time: SimTime) {
    this.seed = seed;
    this.scheduler = new Scheduler(seed, time);
    this.drives = drivesOn(Array.from({ length: DRIVES }, emptyImage));
    this.#random = new Seeded(seed ^ 0x1234);
    this.#start = this.drives.map(({ image }) => snapshotOf(image));
    for (const drive of this.drives) drive.scheduler = this.scheduler;
    const keep = (image: IndexImage): void => {
      this.#images.push({ at: this.scheduler.position, image });
    };
    this.index.kept = keep;
    keep(this.index.image());
    this.#truth.set(0, new Map());
  }

  get options(): JournalOptions {
    return optionsOf(this.drives, this.index, this.#random);
  }

  /** One change, answered once it is announced. */
  async change(): Promise<void> {
    const { draw } = this.scheduler;
    const id = `key-${draw.below(6)}`;
    const record = draw.below(4) === 0 ? undefined : draw.bytes(20 + draw.below(3000));
    const number = this.index.commit([['objects', id, record]]);
    this.#truth.set(number, new Map(this.index.rowsByKey));
    try {
      await this.journal.settled(number);
    } catch {
      return;
    }
    const end = this.scheduler.mark(`${this.scheduler.phase}/answered/${id}`);
    this.#announced.push({ number, end });
  }

  async phase(name: string, work: () => Promise<unknown>): Promise<void> {
    this.scheduler.phase = name;
    await this.scheduler.run(work());
  }

  async changes(count: number): Promise<void> {
    const client = async (): Promise<void> => {
      for (let i = 0; i < count; i += 1) await this.change();
    };
    await Promise.all([client(), client(), client()]);
  }

  async run(): Promise<void> {
    const [, one, two] = this.drives as [SimDrive, SimDrive, SimDrive];
    await this.phase('journal-founding', async () => {
      this.journal = await Journal.found(this.options);
    });
    await this.phase('journal-append', () => this.changes(4));
    await this.phase('snapshot-install', () =>
      Promise.all([this.journal.snapshot(), this.changes(2)]),
    );
    one.faults = [{ operation: 'write', code: 'EIO', path: 'journal', times: 1 }];
    await this.phase('epoch-change', () => this.changes(2));
    await this.phase('drive-joins', () => Promise.all([this.journal.repair(), this.changes(2)]));
    two.faults = [{ operation: 'sync', code: 'EIO', times: 1 }];
    await this.phase('sync-fails', () =>
      Promise.all([this.journal.snapshot().catch(() => false), this.changes(3)]),
    );
    await this.phase('drive-joins-again', async () => {
      await this.journal.repair();
      await this.changes(1);
    });
    await this.phase('journal-restart', async () => {
      await this.journal.close();
      this.journal = await Journal.start(this.options, { clean: true });
      await this.changes(1);
    });
    await this.phase('journal-takeover', async () => {
      await this.journal.close();
      this.journal = await Journal.start(this.options, { clean: false });
      await this.changes(2);
    });
  }

  /** Crashes it everywhere. */
  async explore(choices: number, deepEvery: number, only?: string): Promise<Explored> {
    const replays = this.#start.map(
      (start, i) => new DriveReplay(start, (this.drives[i] as SimDrive).record),
    );
    const explored: Explored = { states: 0, recovered: 0, points: new Set() };
    const { events } = this.scheduler;
    for (let p = 1; p <= events.length; p += 1) {
      for (const replay of replays) replay.advance(p);
      const { step } = events[p - 1] as (typeof events)[number];
      if (step.begin !== step.end) explored.points.add(step.name);
      const seen = new Set<number>();
      for (let choice = 0; choice < choices; choice += 1) {
        if (only !== undefined && only !== `${p}:${choice}`) continue;
        const draw = new Seeded(mixed(this.seed, p, choice));
        const { images, image, print } = this.#state(replays, { choice, draw, p });
        if (seen.has(print)) continue;
        seen.add(print);
        explored.states += 1;
        const deep = only !== undefined || explored.states % deepEvery === 0;
        if (deep) explored.recovered += 1;
        try {
          await this.#check({ images, image, draw, p, deep });
        } catch (error) {
          const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
          throw new Violation(what, `SEED=${this.seed} CASE=journal:${p}:${choice} (${step.name})`);
        }
      }
    }
    return explored;
  }

  #state(
    replays: readonly DriveReplay[],
    of: { choice: number; draw: Seeded; p: number },
  ): { images: Image[]; image: IndexImage | undefined; print: number } {
    const { choice, draw, p } = of;
    let print = 7;
    const note = (made: number): void => {
      print = (Math.imul(print, 31) + made + 1) >>> 0;
    };
    const kind: CrashKind = choice % 4 === 0 ? 'kill' : choice % 4 === 1 ? 'lost' : 'torn';
    const images = replays.map((replay) => replay.image(kind, draw, note));
    const known = this.#images.filter(({ at }) => at <= p);
    // Lost, as it was, or at an earlier commit; the last ones are the likeliest.
    const back =
      draw.below(4) === 0 ? draw.below(known.length) : draw.below(Math.min(6, known.length));
    const image = draw.below(3) === 0 ? undefined : known[known.length - 1 - back]?.image;
    note(image === undefined ? 1_000_000 : known.length - back);
    return { images, image, print };
  }

  async #check(state: {
    images: Image[];
    image: IndexImage | undefined;
    draw: Seeded;
    p: number;
    deep: boolean;
  }): Promise<void> {
    const { draw, p, deep } = state;
    const last = this.#announced
      .filter(({ end }) => end < p)
      .reduce((most, { number }) => Math.max(most, number), 0);
    const images = state.images.map(thawed);
    const gone = deep && draw.below(2) === 0 ? draw.below(DRIVES) : undefined;
    if (deep && gone === undefined) rotten(images[draw.below(DRIVES)] as Image, draw);
    const drives = drivesOn(images);
    const present = drives.filter((_, i) => i !== gone);
    const index = await started(present, state.image, draw);
    if (index === undefined) {
      if (last > 0) throw new Error(`no journal, and ${last} was announced`);
      return;
    }
    const { number } = index.memory.state();
    if (number < last) throw new Error(`shows ${number}, ${last} was announced`);
    sameRows(index.memory.rowsByKey, this.#truth.get(number), `as of ${number}`);
    if (deep) await goesOn(index, drives, draw);
  }
}

interface Started {
  memory: MemoryIndex;
  journal: Journal;
}

async function started(
  drives: SimDrive[],
  image: IndexImage | undefined,
  draw: Seeded,
): Promise<Started | undefined> {
  let memory = new MemoryIndex(image);
  const standing = await Journal.standing(optionsOf(drives, memory, draw));
  if (standing === 'none') return undefined;
  if (standing === 'other') memory = new MemoryIndex();
  const journal = await Journal.start(optionsOf(drives, memory, draw), { clean: false });
  await journal.settled(memory.state().number);
  return { memory, journal };
}

/** Another life of changes, its index lost, and the drive that missed it back: nothing is undone. */
async function goesOn({ memory, journal }: Started, all: SimDrive[], draw: Seeded): Promise<void> {
  for (let i = 0; i < 4; i += 1) {
    const record = i % 2 === 0 ? undefined : draw.bytes(50);
    await journal.settled(memory.commit([['objects', `key-${draw.below(6)}`, record]]));
  }
  const rows = new Map(memory.rowsByKey);
  await journal.close();
  const again = drivesOn(all.map(({ image }) => thawed(image)));
  const later = await started(again, undefined, draw);
  if (later === undefined) throw new Error('the journal is gone');
  sameRows(later.memory.rowsByKey, rows, 'after a second life');
}

function rotten(image: Image, draw: Seeded): void {
  for (const [path, inode] of image.names) {
    if (!path.startsWith('journal') || inode.data.length === 0) continue;
    const data = bytesOfFile(inode);
    const at = draw.below(Math.min(data.length, 16_384));
    data[at] = (data[at] as number) ^ (1 << draw.below(8));
  }
}

function sameRows(found: Rows, wanted: Rows | undefined, when: string): void {
  if (wanted === undefined) throw new Error(`${when}: there never was such a state`);
  const text = (rows: Rows): string =>
    [...rows]
      .map(
        ([key, record]) =>
          `${key} ${record.length} ${Buffer.from(record).toString('base64', 0, 12)}`,
      )
      .toSorted()
      .join('\n');
  if (text(found) !== text(wanted)) {
    throw new Error(`${when}:\n${text(found)}\ninstead of\n${text(wanted)}`);
  }
}

export async function crashJournal(
  seed: number,
  more: { choices?: number; deepEvery?: number; only?: string } = {},
): Promise<Explored & { events: number }> {
  const time = new SimTime();
  const restore = time.install();
  try {
    const world = new JournalWorld(seed, time);
    await world.run();
    world.scheduler.recording = false;
    const explored = await world.explore(more.choices ?? 10, more.deepEvery ?? 12, more.only);
    return { ...explored, events: world.scheduler.events.length };
  } finally {
    restore();
  }
}

if (import.meta.main) {
  const seed = Number(process.env['SEED'] ?? 1);
  const [, p, choice] = (process.env['CASE'] ?? '').split(':');
  const begun = Date.now();
  const only = p === undefined ? {} : { only: `${p}:${choice}` };
  const done = await crashJournal(seed, only);
  console.log(
    `journal: ${done.states} states of ${done.events} events, ${done.recovered} deep, ` +
      `${done.points.size} points, ${Date.now() - begun} ms`,
  );
}
