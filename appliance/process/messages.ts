// What the primary and its children say to each other over the IPC channel. Plain data, few words.

export type Role = 'api' | 'worker';

export type ToChild =
  /** Everything that must be made once is made: open and serve. */
  | { kind: 'go'; storeId: string; clockOffsetMs: number }
  | { kind: 'clock'; offsetMs: number; id: number }
  | { kind: 'ask'; id: number; what: string; argument?: unknown }
  | { kind: 'stop' };

export type ToPrimary =
  | { kind: 'alive' }
  | { kind: 'ready'; port?: number }
  | { kind: 'answer'; id: number; value?: unknown; error?: string }
  /** It can't start: what to tell the operator. The primary gives up on a first start. */
  | { kind: 'refused'; message: string; hint?: string };
