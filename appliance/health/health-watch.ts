// Looks after the health of all drives while a process runs: every half hour each drive is asked
// once, one after the other, and what is new among the warnings is told. The danger it answers is a
// drive that announces its death for weeks and nobody asks. Readers get the last round and never
// wait for one.

import { setTimeout as sleep } from 'node:timers/promises';
import type {
  DriveHealth,
  HealthReport,
  HealthWarning,
  PathHealth,
  PhysicalDrive,
} from '../model/drive-health.ts';
import { deviceOf, slotsOf, systemTree, type DeviceTree, type FoundDevice } from './device.ts';
import { smartctl, type AskDrive } from './smartctl.ts';
import { judge } from './verdict.ts';

const ROUND_MS = 30 * 60_000;
const PATIENCE_MS = 5000;

export interface HealthWatchOptions {
  /** Directories of drives. */
  paths: readonly string[];
  wall: () => number;
  /** A warning that was not there in the last round. */
  warned: (drive: PhysicalDrive, warning: HealthWarning) => void;
  /** Said once. */
  noted: (text: string) => void;
  /** Tests bring their own. */
  tree?: DeviceTree;
  ask?: AskDrive;
  roundMs?: number;
  /** How long a directory may take to say where it lies. */
  patienceMs?: number;
}

export class HealthWatch implements DriveHealth {
  readonly #options: HealthWatchOptions;
  readonly #tree: DeviceTree;
  readonly #ask: AskDrive;
  readonly #known = new Map<string, PhysicalDrive>();
  readonly #said = new Set<string>();
  /** Asked where they lie, and not answered yet. */
  readonly #hanging = new Set<string>();
  #report: HealthReport = { byPath: new Map(), notes: [] };
  #timer: NodeJS.Timeout | undefined;
  #round: Promise<void> | undefined;

  constructor(options: HealthWatchOptions) {
    this.#options = options;
    this.#tree = options.tree ?? systemTree;
    this.#ask = options.ask ?? smartctl();
  }

  /** Begins the first round and returns at once. */
  start(): void {
    void this.look();
    this.#timer = setInterval(() => void this.look(), this.#options.roundMs ?? ROUND_MS).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  report(): HealthReport {
    return this.#report;
  }

  /** One round; a second call joins the one that runs. Never throws. */
  look(): Promise<void> {
    this.#round ??= this.#look()
      .catch((error: unknown) => this.#note(`The health of drives is not known: ${String(error)}`))
      .finally(() => {
        this.#round = undefined;
      });
    return this.#round;
  }

  async #look(): Promise<void> {
    const found = new Map<string, FoundDevice | undefined>();
    for (const path of this.#options.paths) {
      // A drive that is away keeps the device it was last seen on.
      const device = await this.#deviceOf(path);
      if (device !== null) found.set(path, device);
    }
    const slots = await slotsOf(this.#tree);
    const names = new Set([...found.values()].flatMap((one) => one?.drives ?? []));
    for (const name of [...names].toSorted()) {
      this.#known.set(name, await this.#askOne(name, slots.get(name)));
    }
    const byPath = new Map(this.#report.byPath);
    for (const path of this.#options.paths) {
      if (found.has(path)) byPath.set(path, this.#healthOf(found.get(path)));
      else byPath.set(path, this.#lastOf(byPath.get(path)));
    }
    this.#report = {
      byPath,
      notes: notesOf([...byPath.values()]),
      readAt: this.#options.wall(),
    };
    for (const note of this.#report.notes) this.#note(note);
  }

  /** Null: it is away, or does not answer: a drive that hangs holds up no other, nor a round. */
  async #deviceOf(path: string): Promise<FoundDevice | undefined | null> {
    if (this.#hanging.has(path)) return null;
    this.#hanging.add(path);
    const looked = deviceOf(this.#tree, path)
      .catch(() => null)
      .finally(() => this.#hanging.delete(path));
    const late = sleep(this.#options.patienceMs ?? PATIENCE_MS, null, { ref: false });
    return await Promise.race([looked, late]);
  }

  async #askOne(
    name: string,
    slot: { slot: string; locate?: string } | undefined,
  ): Promise<PhysicalDrive> {
    const before = this.#known.get(name);
    const answer = await this.#ask(name);
    // A sleeping drive is as healthy as it was when it was last asked.
    const isAsleep = answer.silence?.why === 'asleep' && before?.smart !== undefined;
    if (isAsleep) return { ...before, ...slot };
    const warnings = judge(answer);
    const drive: PhysicalDrive = {
      name,
      ...slot,
      ...(answer.reading === undefined ? {} : { smart: answer.reading }),
      ...(answer.silence === undefined ? {} : { silence: answer.silence }),
      warnings,
      readAt: this.#options.wall(),
    };
    for (const warning of warnings) {
      const isKnown = before?.warnings.some(
        ({ sign, level, text }) =>
          sign === warning.sign && level === warning.level && text === warning.text,
      );
      if (isKnown !== true) this.#options.warned(drive, warning);
    }
    return drive;
  }

  #healthOf(found: FoundDevice | undefined): PathHealth {
    if (found === undefined || found.drives.length === 0) {
      const text = 'it lies on no drive of this host that could be asked';
      return { device: found?.device ?? '', drives: [], silence: { why: 'no-device', text } };
    }
    const drives = found.drives.flatMap((name) => this.#known.get(name) ?? []);
    return { device: found.device, drives };
  }

  /** The path is away: what stood there when it was last seen, so that people know what to pull. */
  #lastOf(before: PathHealth | undefined): PathHealth {
    const gone = { why: 'no-device', text: 'its directory is not there' } as const;
    return before ?? { device: '', drives: [], silence: gone };
  }

  #note(text: string): void {
    if (this.#said.has(text)) return;
    this.#said.add(text);
    this.#options.noted(text);
  }
}

/** What people are told, in few lines: why drives are silent, each reason once. */
function notesOf(paths: readonly PathHealth[]): string[] {
  const drives = new Map(paths.flatMap((path) => path.drives).map((drive) => [drive.name, drive]));
  const silent = [...drives.values()].filter(({ smart }) => smart === undefined);
  const notes: string[] = [];
  const named = (why: string): string[] =>
    silent.filter(({ silence }) => silence?.why === why).map(({ name }) => name);
  if (named('no-smartctl').length > 0) {
    notes.push('No health of drives: smartctl is not installed (package smartmontools).');
  }
  const denied = named('not-permitted');
  if (denied.length > 0) {
    notes.push(
      `No health of ${denied.join(', ')}: asking needs root (run Firn as root, or let it by ` +
        'setcap cap_sys_rawio,cap_sys_admin+ep on smartctl).',
    );
  }
  for (const { name, silence } of silent) {
    if (silence === undefined || silence.why === 'no-smartctl' || silence.why === 'not-permitted') {
      continue;
    }
    notes.push(`No health of ${name}: ${silence.text.replace(/^\/dev\/\S+:\s*/, '')}.`);
  }
  const nowhere = paths.filter((path) => path.drives.length === 0 && path.silence !== undefined);
  if (nowhere.length > 0) {
    const count = nowhere.length === 1 ? 'One directory lies' : `${nowhere.length} directories lie`;
    notes.push(`${count} on no drive of this host that could be asked for its health.`);
  }
  return notes;
}
