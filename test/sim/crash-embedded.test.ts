// Crashes the embedded store whole (engine, LMDB, journal, drives), and processes that come too late.

import test from 'ava';
import { crashTests } from './crash-tests.ts';

crashTests(test, {
  workloads: [
    'embedded-put',
    'embedded-upload',
    'embedded-journal',
    'embedded-move',
    'late-roller',
    'late-refusal',
    'late-writer',
    'late-in-bucket',
    'late-overwrite',
  ],
  seeds: 1,
  statesMin: 3000,
  pointsMin: 200,
});
