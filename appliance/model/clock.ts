// Two clocks, because a sandbox may move one of them. `wall` is the host's: signatures, Date
// headers. `now` is the engine's: LastModified, lifecycle, restore, grace, ages of locations. With
// debug.sandboxClock an operator advances the second by days (test and demo); nothing may ever
// authenticate by it. Both are milliseconds since the epoch, UTC.

export interface Clock {
  /** The host's time, ms. */
  wall(): number;
  /** The engine's time, ms: wall plus the sandbox offset. */
  now(): number;
}

export interface Random {
  /** `count` unpredictable bytes. */
  bytes(count: number): Uint8Array;
}

export const DAY_MS = 86_400_000;
