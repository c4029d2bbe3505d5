// Asks a drive by smartctl. A drive that dies may hang in the kernel for minutes: the call is ended
// after ten seconds, one drive is asked at a time, and a sleeping drive is not woken. Nothing that
// serves requests ever waits for it.

import { execFile } from 'node:child_process';
import type { SmartAnswer } from './smart.ts';
import { readSmart } from './smart.ts';

const TIMEOUT_MS = 10_000;
const OUTPUT_BYTES_MAX = 4 * 1024 * 1024;
/** Often not on the path of a service. */
const PLACES = ['smartctl', '/usr/sbin/smartctl', '/usr/local/sbin/smartctl'];

export type AskDrive = (name: string) => Promise<SmartAnswer>;

interface Output {
  missing: boolean;
  late: boolean;
  text: string;
}

function run(program: string, device: string, timeoutMs: number): Promise<Output> {
  const args = ['--json=c', '--all', '--nocheck=standby', device];
  const options = {
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
    maxBuffer: OUTPUT_BYTES_MAX,
  } as const;
  return new Promise((resolve) => {
    execFile(program, args, options, (error, text) => {
      // Its exit status is a set of bits; the text tells all of them.
      const { code, killed } = (error ?? {}) as { code?: string | number; killed?: boolean };
      resolve({ missing: code === 'ENOENT' || code === 'EACCES', late: killed === true, text });
    });
  });
}

const silent = (why: 'no-smartctl' | 'failed', text: string): SmartAnswer => ({
  criticalWarning: 0,
  failingNow: [],
  spinning: false,
  silence: { why, text },
});

/** Its function never throws: what could not be asked is said in the answer. */
export const smartctl =
  (timeoutMs = TIMEOUT_MS): AskDrive =>
  async (name) => {
    for (const program of PLACES) {
      const { missing, late, text } = await run(program, `/dev/${name}`, timeoutMs);
      if (missing) continue;
      if (late) return silent('failed', `it did not answer in ${timeoutMs / 1000} s`);
      try {
        return readSmart(JSON.parse(text) as unknown);
      } catch {
        return silent(
          'failed',
          'smartctl answered something that is not JSON (it must be 7.0 or newer)',
        );
      }
    }
    return silent('no-smartctl', 'smartctl is not installed');
  };
