// Metadata stores: the contract on LMDB and on a real MongoDB, then what is particular to each.

import test from 'ava';
import { metadataContract, scratchDirectory, type Medium } from './contract/metadata-store.ts';
import { findMongod, startMongo, type Peer } from './peers.ts';

// Before the first test is declared: ava wants all of them in one turn.
const mongod = await findMongod();

const LMDB: Medium = {
  name: 'lmdb',
  async place() {
    const { path, remove } = await scratchDirectory();
    return { place: { dataDirectory: path }, cleanup: remove };
  },
};
metadataContract(test, LMDB);

let server: Peer;
let databases = 0;
const MONGO: Medium = {
  name: 'mongo',
  async place() {
    const { path, remove } = await scratchDirectory();
    databases += 1;
    const url = server.url.replace('/?', `/contract-${databases}?`);
    return { place: { url, dataDirectory: path }, cleanup: remove };
  },
};

if ('missing' in mongod) {
  test.skip(`mongo: the whole suite: ${mongod.missing}`, (t) => t.pass());
} else {
  test.before(async () => {
    server = await startMongo({ parameters: ['enableTestCommands=1'] });
  });
  test.after.always(() => server.stop());
  metadataContract(test, MONGO);
}
