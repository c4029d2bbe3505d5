// Agenda's backend on LMDB: the repository, and notices inside this process, so that work enqueued
// here starts at once; what other processes enqueue is found by polling.

import { InMemoryNotificationChannel } from 'agenda';
import type { AgendaBackend } from 'agenda';

import { LmdbJobRepository } from './lmdb-job-repository.ts';

export class LmdbJobBackend implements AgendaBackend {
  readonly name = 'LMDB';
  readonly ownsConnection = true;
  readonly repository: LmdbJobRepository;
  readonly notificationChannel = new InMemoryNotificationChannel();

  constructor(directory: string) {
    this.repository = new LmdbJobRepository(directory);
  }

  connect(): Promise<void> {
    return this.repository.connect();
  }

  disconnect(): Promise<void> {
    return this.repository.disconnect();
  }
}
