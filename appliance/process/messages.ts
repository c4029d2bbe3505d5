// What the primary and its children say to each other over the IPC channel. Plain data, few words.

export type Role = 'api' | 'worker';

export type ToChild =
  /** Everything that must be made once is made: open and serve. */
  | { kind: 'go'; storeId: string; clockOffsetMs: number }
  | { kind: 'clock'; offsetMs: number; id: number }
  | { kind: 'ask'; id: number; what: string; argument?: unknown }
  /** Every change up to this commit number is on all copies of the journal. */
  | { kind: 'journaled'; number: number }
  /** It can't be journaled now: what waits is refused. */
  | { kind: 'unjournaled'; reason: string }
  | { kind: 'stop' };

export type ToPrimary =
  | { kind: 'alive' }
  | { kind: 'ready'; port?: number }
  | { kind: 'answer'; id: number; value?: unknown; error?: string }
  /** Changes up to this commit number wait for the journal. */
  | { kind: 'committed'; number: number }
  /** It can't start: what to tell the operator. The primary gives up on a first start. */
  | { kind: 'refused'; message: string; hint?: string };
