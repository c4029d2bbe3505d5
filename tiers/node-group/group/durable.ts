// When a write to several drives may be acknowledged: all are durable, or k'+1 are and the rest
// failed or stalled. The danger on one side is an acknowledgement that one more loss turns into a
// lie, on the other a single hanging drive that stops every write.

export interface LaneWrite {
  lane: number;
  done: Promise<void>;
}

export interface LaneFailure {
  lane: number;
  error: unknown;
}

export interface Durability {
  /** Lanes durable when this was decided. */
  durable: number;
  failures: LaneFailure[];
  /** Still running: their buffers must stay as they are until `settled`. */
  late: number;
  /** Every write has ended, well or not. Never rejects. */
  settled: Promise<void>;
}

/** A write that never ends is given up after this many times the stall time. */
const HOPELESS_FACTOR = 15;

/**
 * Resolves when every lane has ended, or after `stallMs` as soon as `need` are durable; after
 * fifteen times that in any case. Never rejects: the caller counts.
 */
export function settleLanes(
  writes: readonly LaneWrite[],
  need: number,
  stallMs: number,
): Promise<Durability> {
  return new Promise<Durability>((resolve) => {
    const failures: LaneFailure[] = [];
    let durable = 0;
    let durableCount = 0;
    let pending = writes.length;
    let late = writes.reduce((mask, { lane }) => mask | (1 << lane), 0);
    let patient = true;
    let ended: () => void = () => undefined;
    const settled = new Promise<void>((done) => {
      ended = done;
    });
    const decide = (): void => {
      clearTimeout(timer);
      resolve({ durable, failures, late, settled });
    };
    const one = (lane: number): void => {
      late &= ~(1 << lane);
      pending -= 1;
      if (pending === 0) {
        ended();
        decide();
      } else if (!patient && durableCount >= need) {
        decide();
      }
    };
    let timer = setTimeout(() => {
      patient = false;
      if (durableCount >= need) decide();
      else timer = setTimeout(decide, stallMs * (HOPELESS_FACTOR - 1));
    }, stallMs);
    for (const { lane, done } of writes) {
      done.then(
        () => {
          durable |= 1 << lane;
          durableCount += 1;
          one(lane);
        },
        (error: unknown) => {
          failures.push({ lane, error });
          one(lane);
        },
      );
    }
  });
}
