// Work of one drive that others wait for, with an end to the patience: a drive that hangs in the
// system would otherwise hold up all that wait for a new file. Only while enough peers are done is
// one late: when all are slow at once the machine was, and leaving all drives out would refuse
// every write for as long as they rest. What comes after all is handed to `late`, who clears it
// away.

import { FirnError } from '../../../appliance/model/errors.ts';

/** Those who do the same at the same time. */
export interface Peers {
  done: number;
  /** With so many done the rest is late: half of them. */
  need: number;
}

/** Without them: given up after this many times the patience. */
const HOPELESS_FACTOR = 15;

export interface Patience<T> {
  ms: number;
  peers: Peers;
  late: (value: T) => Promise<void>;
}

/** The work's own outcome, or DriveUnavailable once it is late. */
export function inTime<T>(work: Promise<T>, { ms, peers, late }: Patience<T>): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    let rounds = 0;
    let isLate = false;
    const look = (): void => {
      rounds += 1;
      if (peers.done < peers.need && rounds < HOPELESS_FACTOR) {
        timer = setTimeout(look, ms);
        return;
      }
      isLate = true;
      reject(
        new FirnError('DriveUnavailable', 'A drive did not make a file in time', {
          retryable: true,
        }),
      );
    };
    let timer = setTimeout(look, ms);
    work.then(
      (value) => {
        clearTimeout(timer);
        peers.done += 1;
        if (isLate) void late(value).catch(() => undefined);
        else resolve(value);
      },
      (error: unknown) => {
        clearTimeout(timer);
        // Who fails at once shows as well that the machine is not what is slow.
        peers.done += 1;
        reject(error as Error);
      },
    );
  });
}
