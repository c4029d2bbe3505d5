// Work of one drive that others wait for, with an end to the patience: a drive that hangs inside the
// system would otherwise hold up all that wait for a new file. What comes after all is handed to
// `late`, who clears it away.

import { FirnError } from '../../../appliance/model/errors.ts';

/** The work's own outcome, or DriveUnavailable after `ms`. */
export function inTime<T>(
  work: Promise<T>,
  ms: number,
  late: (value: T) => Promise<void>,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      reject(
        new FirnError('DriveUnavailable', 'A drive did not make a file in time', {
          retryable: true,
        }),
      );
    }, ms);
    work.then(
      (value) => {
        clearTimeout(timer);
        if (isLate) void late(value).catch(() => undefined);
        else resolve(value);
      },
      (error: unknown) => {
        clearTimeout(timer);
        reject(error as Error);
      },
    );
  });
}
