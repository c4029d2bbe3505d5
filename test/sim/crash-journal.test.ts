// Crashes the metadata journal: founding, appends, snapshots, epochs, drives that leave and join.

import test from 'ava';
import { crashJournal } from './journal.ts';

const first = Number(process.env['SEED'] ?? Math.floor(Math.random() * 1e6));
console.log(`SEED=${first}`);

test('no announced change is lost and no removed row comes back, whatever a crash leaves', async (t) => {
  t.timeout(10 * 60_000);
  const done = await crashJournal(first);
  t.log(
    `seed ${first}: ${done.states} crash states of ${done.events} events, ${done.recovered} ` +
      `with a second life, ${done.points.size} named points, 0 lost`,
  );
  t.true(done.states > 3000);
  t.true(done.points.size > 60);
});
