// Crashes objects: PUT by several codes, copy, delete, uploads, three processes, failing drives.

import test from 'ava';
import { crashTests } from './crash-tests.ts';

crashTests(test, {
  workloads: [
    'put-small',
    'put-large',
    'put-1+1',
    'put-1+2',
    'put-2+2',
    'put-8+4',
    'multipart',
    'multipart-large',
    'two-writers',
    'sharing',
    'drives-fail',
    'drives-fail-at-once',
  ],
  seeds: 1,
  statesMin: 55_000,
  pointsMin: 240,
});
