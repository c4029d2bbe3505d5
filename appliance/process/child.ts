// The child's side of supervision: says that it is alive once a second, obeys go and stop, answers
// what the primary asks. A child whose primary died ends itself: two primaries over one set of
// drives must never overlap.

import { JournalLink } from './journal-link.ts';
import type { ToChild, ToPrimary } from './messages.ts';

export interface ChildDuties {
  /** Opens everything and serves; the port it listens on, if any. */
  start(go: Extract<ToChild, { kind: 'go' }>): Promise<{ port?: number }>;
  /** Lets what runs finish (bounded by the caller) and closes. */
  stop(): Promise<void>;
  setClock(offsetMs: number): void;
  answer(what: string, argument: unknown): Promise<unknown>;
}

/** To the primary's journal, from this child. */
export const journalLink = new JournalLink((number) => send({ kind: 'committed', number }));

function send(message: ToPrimary): void {
  // A primary that has just died is told of by `disconnect`, not by an error that nobody awaits.
  if (process.connected) process.send?.(message, () => undefined);
}

export function runChild(duties: ChildDuties): void {
  const alive = setInterval(() => send({ kind: 'alive' }), 1000);
  let stopping = false;
  const stop = async (): Promise<void> => {
    if (stopping) return;
    stopping = true;
    clearInterval(alive);
    try {
      await duties.stop();
    } finally {
      process.exit(0);
    }
  };
  const start = async (message: Extract<ToChild, { kind: 'go' }>): Promise<void> => {
    try {
      const started = await duties.start(message);
      send({ kind: 'ready', ...started });
    } catch (error) {
      const { message: text, hint } = error as { message: string; hint?: string };
      send({ kind: 'refused', message: text, ...(hint === undefined ? {} : { hint }) });
      setTimeout(() => process.exit(1), 100);
    }
  };
  const answer = async (message: Extract<ToChild, { kind: 'ask' }>): Promise<void> => {
    try {
      send({
        kind: 'answer',
        id: message.id,
        value: await duties.answer(message.what, message.argument),
      });
    } catch (error) {
      send({ kind: 'answer', id: message.id, error: (error as Error).message });
    }
  };
  process.on('message', (message: ToChild) => {
    if (message.kind === 'journaled') journalLink.heard(message.number);
    else if (message.kind === 'unjournaled') journalLink.failed(message.reason);
    else if (message.kind === 'go') void start(message);
    else if (message.kind === 'stop') void stop();
    else if (message.kind === 'ask') void answer(message);
    else if (message.kind === 'clock') {
      duties.setClock(message.offsetMs);
      send({ kind: 'answer', id: message.id });
    }
  });
  process.on('disconnect', () => {
    journalLink.end('the primary process has ended');
    void stop();
  });
  // The terminal sends SIGINT to the whole group: the primary alone decides.
  process.on('SIGINT', () => undefined);
  process.on('SIGTERM', () => void stop());
}
