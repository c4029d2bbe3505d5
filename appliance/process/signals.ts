// How the primary ends: by SIGTERM or SIGINT, whenever it comes. The danger is the moment of the
// start: children that are half up, a journal half founded, and a process that never ends.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Supervisor } from './supervisor.ts';

/** The first signal stops; the process ends when that is done. */
export function onSignals(stop: () => Promise<void>): void {
  let stopping = false;
  const end = (): void => {
    if (stopping) return;
    stopping = true;
    stop().then(
      () => process.exit(0),
      (error: unknown) => {
        process.stderr.write(`firn: stopping failed: ${String(error)}\n`);
        process.exit(1);
      },
    );
  };
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
}

/**
 * A signal while it starts must not be lost, and what was begun comes to its end first: a process
 * that exits beside a transaction of LMDB waits for it for ever.
 */
export class Start {
  readonly #supervisor: Supervisor;
  readonly #lateMs: number;
  readonly #done = Promise.withResolvers<void>();
  stopped = false;

  /** `lateMs`: so long it may go on starting once its children have ended. */
  constructor(supervisor: Supervisor, lateMs: number) {
    this.#supervisor = supervisor;
    this.#lateMs = lateMs;
  }

  /** It has failed or succeeded. */
  ended(): void {
    this.#done.resolve();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await this.#supervisor.stop(2000);
    const late = sleep(this.#lateMs, true, { ref: false });
    if ((await Promise.race([this.#done.promise, late])) === true) {
      process.kill(process.pid, 'SIGKILL');
    }
  }
}
