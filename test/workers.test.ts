// Workers: the job backends, leases, and the jobs that move, restore, expire and free bytes.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import test from 'ava';

import { LmdbJobBackend } from '../workers/agenda-lmdb/lmdb-job-backend.ts';
import { jobBackendContract } from './contract/job-backend.ts';

jobBackendContract(
  test,
  'jobs on LMDB',
  async () => {
    const directory = await mkdtemp(join(tmpdir(), 'firn-jobs-'));
    return {
      connect: () => Promise.resolve(new LmdbJobBackend(directory)),
      cleanup: () => rm(directory, { recursive: true }),
    };
  },
  { fenced: true },
);
