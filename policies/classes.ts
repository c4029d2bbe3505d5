// Storage classes as rules see them: which is colder, which may follow which, and below what size
// S3 leaves an object where it is. The danger: an object sent up a waterfall by one rule and down
// by the next, at a fee each time.

import type { SizeFloor } from './rule.ts';

/**
 * S3's preference when several transitions are due on one day, least first: the cheaper class wins,
 * and INTELLIGENT_TIERING over all but the two archives. For classes of ours it is simply hottest
 * first.
 */
export const CLASS_ORDER = [
  'STANDARD',
  'REDUCED_REDUNDANCY',
  'STANDARD_IA',
  'ONEZONE_IA',
  'GLACIER_IR',
  'INTELLIGENT_TIERING',
  'GLACIER',
  'DEEP_ARCHIVE',
] as const;

/** S3's TransitionStorageClass. */
const TRANSITION_TARGETS: ReadonlySet<string> = new Set([
  'STANDARD_IA',
  'ONEZONE_IA',
  'INTELLIGENT_TIERING',
  'GLACIER_IR',
  'GLACIER',
  'DEEP_ARCHIVE',
]);

/** S3's waterfall: from → what may follow. */
const WATERFALL: ReadonlyMap<string, readonly string[]> = new Map([
  ['STANDARD', [...TRANSITION_TARGETS]],
  ['REDUCED_REDUNDANCY', [...TRANSITION_TARGETS]],
  ['STANDARD_IA', ['INTELLIGENT_TIERING', 'ONEZONE_IA', 'GLACIER_IR', 'GLACIER', 'DEEP_ARCHIVE']],
  ['INTELLIGENT_TIERING', ['ONEZONE_IA', 'GLACIER_IR', 'GLACIER', 'DEEP_ARCHIVE']],
  ['ONEZONE_IA', ['GLACIER', 'DEEP_ARCHIVE']],
  ['GLACIER_IR', ['GLACIER', 'DEEP_ARCHIVE']],
  ['GLACIER', ['DEEP_ARCHIVE']],
  ['DEEP_ARCHIVE', []],
]);

export const SIZE_FLOOR_BYTES = 128 * 1024;

export function isAwsClass(name: string): boolean {
  return WATERFALL.has(name);
}

export interface ClassOptions {
  classes: ReadonlyMap<string, string>;
  /** Hottest first. Classes not named: S3's in S3's order, then the others in configured order. */
  classOrder?: readonly string[];
  waterfall?: 'strict' | 'free';
  sizeFloor?: boolean;
}

export class ClassRanks {
  readonly #rank = new Map<string, number>();
  readonly #free: boolean;
  readonly #floor: boolean;

  constructor(options: ClassOptions) {
    const named = options.classOrder ?? [];
    for (const name of [...named, ...CLASS_ORDER, ...options.classes.keys()]) {
      if (!this.#rank.has(name)) this.#rank.set(name, this.#rank.size);
    }
    this.#free = options.waterfall === 'free';
    this.#floor = options.sizeFloor ?? true;
  }

  /**
   * Higher is colder. A class that nobody configured counts as hottest: everything may follow it.
   */
  rank(name: string): number {
    return this.#rank.get(name) ?? -1;
  }

  /** Any class may follow any: the transition that fell due last says where a version belongs. */
  get isFree(): boolean {
    return this.#free;
  }

  /** Whether a transition rule may move a version of class `from` to class `to`. */
  maySink(from: string, to: string): boolean {
    if (from === to) return false;
    if (this.#free) return true;
    const followers = isAwsClass(to) ? WATERFALL.get(from) : undefined;
    return followers?.includes(to) ?? this.rank(to) > this.rank(from);
  }

  /** Smallest size, in bytes, that a rule with this floor and target moves. */
  floorBytes(floor: SizeFloor | undefined, to: string): number {
    if (!this.#floor || floor === undefined || !isAwsClass(to)) return 0;
    const archive = to === 'GLACIER' || to === 'DEEP_ARCHIVE';
    return floor === 'varies_by_storage_class' && archive ? 0 : SIZE_FLOOR_BYTES;
  }
}

/** Whether a rule may name this class as a transition's target at all. */
export function isTransitionTarget(
  name: string,
  options: Pick<ClassOptions, 'classes' | 'waterfall'>,
): boolean {
  if (!options.classes.has(name)) return false;
  return options.waterfall === 'free' || !isAwsClass(name) || TRANSITION_TARGETS.has(name);
}
