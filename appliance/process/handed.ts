// Connections handed to a child that ended before it took them. The danger: node:cluster forgets
// them, neither served nor closed, so that a client without a time-out waited for ever (one at each
// crash of an api process: measured in 4 of 4). Closed, it is a lost connection like any other, and
// clients try again.

import type { Worker } from 'node:cluster';

/** What node:cluster's own messages say; where that changes, nothing here finds anything to do. */
interface ClusterMessage {
  act?: string;
  seq?: number;
  ack?: number;
}

interface Closable {
  close(): void;
}

type Send = (message: ClusterMessage, handle?: Closable, ...more: unknown[]) => boolean;

/** To be called once for a new child, before it listens. */
export function closeUntaken({ process: child }: Worker): void {
  const untaken = new Map<number, Closable>();
  const send = child.send.bind(child) as Send;
  const watched: Send = (message, handle, ...more) => {
    if (message.act === 'newconn' && message.seq !== undefined && handle !== undefined) {
      untaken.set(message.seq, handle);
    }
    return send(message, handle, ...more);
  };
  child.send = watched as typeof child.send;
  child.on('internalMessage', ({ ack }: ClusterMessage) => {
    if (ack !== undefined) untaken.delete(ack);
  });
  child.once('exit', () => {
    for (const connection of untaken.values()) connection.close();
  });
}
