// Crashes what works behind the answers: moves, restores, compaction, heal, scrub, sweep, founding.

import test from 'ava';
import { crashTests } from './crash-tests.ts';

crashTests(test, {
  workloads: [
    'founding',
    'transition',
    'transition-compressed',
    'restore',
    'compaction',
    'heal-drive',
    'scrub-repair',
    'sweep',
    'drive-returns',
    'late-worker',
  ],
  seeds: 1,
  statesMin: 45_000,
  pointsMin: 240,
});
