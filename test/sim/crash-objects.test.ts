// Crashes objects: PUT, copy, delete, uploads, two processes at once, founding, failing drives.

import test from 'ava';
import { crashTests } from './crash-tests.ts';

crashTests(test, {
  workloads: [
    'put-small',
    'put-large',
    'multipart',
    'multipart-large',
    'two-writers',
    'drives-fail',
    'drives-fail-at-once',
  ],
  seeds: 1,
  statesMin: 45_000,
  pointsMin: 240,
});
