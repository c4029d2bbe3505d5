// Dedupe on MongoDB: the same tests as on the store in memory, each race and crash against a real
// replica set, whose bulks, revisions and linearizable reads are its own.

import test from 'ava';
import { rigStores } from './move-rig.ts';
import { findMongod, startMongo } from './peers.ts';
import { RigDatabases } from './rig-on-mongo.ts';

const mongod = await findMongod();

if ('missing' in mongod) {
  test.skip(`dedupe on MongoDB: ${mongod.missing}`, (t) => t.pass());
} else {
  const databases = new RigDatabases(startMongo());
  rigStores.open = (clock) => databases.open(clock);
  rigStores.isReal = true;
  test.after.always(() => databases.close());
  await import('./sharing.test.ts');
}
