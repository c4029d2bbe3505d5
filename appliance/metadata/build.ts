// Which store serves: MongoDB where a URL is given, else the LMDB environment under the data directory.
// The driver of MongoDB is loaded only then: it costs 100 ms and 30 MB that a laptop needn't pay.

import { join } from 'node:path';
import type { Clock, Random } from '../model/clock.ts';
import type { MetadataStore } from '../model/metadata-store.ts';
import { LmdbMetadataStore } from './lmdb/lmdb-metadata-store.ts';

export interface MetadataSettings {
  /** mongodb:// or mongodb+srv://, with the database as path (`firn` without). Absent: LMDB. */
  url?: string;
  /** The store's own directory is `metadata` in it. */
  dataDirectory: string;
  clock: Clock;
  random: Random;
  /** Names this process in heartbeats and in the server's log. */
  processName: string;
}

/** Builds, opens nothing. */
export function buildMetadata(settings: MetadataSettings): MetadataStore {
  const { url, dataDirectory, clock } = settings;
  if (url === undefined) {
    return new LmdbMetadataStore({ directory: join(dataDirectory, 'metadata'), clock });
  }
  throw new Error('not yet');
}
