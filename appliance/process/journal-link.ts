// How a child's commits get into the journal of its primary: one number each way over the IPC
// channel, at most one message a turn. The child says up to where it waits, the primary up to where
// all is on the drives; while a batch is written the next numbers gather. A child whose primary is
// gone settles nothing any more: what it committed is journaled by the next primary, or never was.

import { FirnError } from '../model/errors.ts';

interface Waiting {
  number: number;
  resolve(): void;
  reject(error: Error): void;
}

const TRY_AGAIN_MS = 500;

export class JournalLink {
  /** Up to here everything is on all copies. */
  journaled = 0;
  readonly #send: (number: number) => void;
  #waiting: Waiting[] = [];
  #highest = 0;
  #scheduled = false;
  #ended: string | undefined;
  #failed: { reason: string; at: number } | undefined;

  /** `send` tells the primary up to which commit number somebody waits. */
  constructor(send: (number: number) => void) {
    this.#send = send;
  }

  /** Rejects with MetadataUnavailable where too few drives take the journal, or the primary ends. */
  settled(number: number): Promise<void> {
    if (number <= this.journaled) return Promise.resolve();
    if (this.#ended !== undefined) return Promise.reject(unsettled(this.#ended));
    return new Promise((resolve, reject) => {
      this.#waiting.push({ number, resolve, reject });
      if (number > this.#highest) this.#highest = number;
      if (this.#scheduled) return;
      this.#scheduled = true;
      setImmediate(() => {
        this.#scheduled = false;
        this.#send(this.#highest);
      });
    });
  }

  heard(journaled: number): void {
    this.#failed = undefined;
    if (journaled <= this.journaled) return;
    this.journaled = journaled;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const one of waiting) {
      if (one.number <= journaled) one.resolve();
      else this.#waiting.push(one);
    }
  }

  /**
   * Why a change must not even be tried: it would be seen, and yet be refused. Now and then one is
   * let through, to find out whether the journal takes it again.
   */
  refusal(): FirnError | undefined {
    if (this.#ended !== undefined) return unsettled(this.#ended);
    const failed = this.#failed;
    if (failed === undefined || performance.now() - failed.at > TRY_AGAIN_MS) return undefined;
    return unsettled(failed.reason);
  }

  /** Whoever waits is told that it can't be said; the change may be journaled all the same. */
  failed(reason: string): void {
    this.#failed = { reason, at: performance.now() };
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const one of waiting) one.reject(unsettled(reason));
  }

  /** The primary is gone: nothing is heard any more, so nobody may wait for it. */
  end(reason: string): void {
    this.#ended = reason;
    this.failed(reason);
  }
}

const unsettled = (reason: string): FirnError =>
  new FirnError('MetadataUnavailable', reason, { retryable: true });
