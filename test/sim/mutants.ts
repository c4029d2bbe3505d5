// Safeguards taken out one by one, each of which some simulated run must miss. A port that lies, or a
// patch of the product's own text, which must apply exactly once: a mutant can't rot unseen.

import type { WorldOptions } from './world.ts';

export interface Mutant {
  name: string;
  /** Workloads that must notice, the likeliest first. */
  workloads: string[];
  lies?: WorldOptions;
  patches?: { file: string; from: string; to: string }[];
}

const SHARD_WRITER = 'tiers/node-group/shard/shard-writer.ts';
const OPEN_SEGMENT = 'tiers/node-group/segment/open-segment.ts';

export const MUTANTS: readonly Mutant[] = [
  {
    name: 'segments are not synced',
    workloads: ['put-small'],
    lies: { driveLies: { sync: true } },
  },
  {
    name: 'fdatasync of shard files removed',
    workloads: ['put-large'],
    patches: [
      { file: SHARD_WRITER, from: '(lane) => lane.file.sync(),', to: '() => Promise.resolve(),' },
    ],
  },
  {
    name: 'fsync of the directory of shard files removed',
    workloads: ['put-large'],
    patches: [
      { file: SHARD_WRITER, from: 'await lane.seat.drive.syncDirectory(directory);', to: '' },
    ],
  },
  {
    name: 'fsync of the directory of segments removed',
    workloads: ['put-small'],
    patches: [
      {
        file: OPEN_SEGMENT,
        from: 'await seat.drive.syncDirectory(SEGMENT_DIRECTORY);',
        to: '',
      },
    ],
  },
  {
    name: 'metadata is acknowledged before it is durable',
    workloads: ['put-small'],
    lies: { storeLies: { unflushed: true } },
  },
  {
    name: 'checksum of a record not checked',
    workloads: ['rot'],
    patches: [
      {
        file: 'tiers/node-group/segment/format.ts',
        from: 'return checksum64(body) === bytes.readBigUInt64LE(24) ? body : undefined;',
        to: 'return body;',
      },
    ],
  },
  {
    name: 'checksums of blocks of shard files not checked',
    workloads: ['rot'],
    patches: [
      {
        file: 'tiers/node-group/shard/lane-reads.ts',
        from: 'return blocksRight(target, footer.table, first);',
        to: 'return true;',
      },
    ],
  },
  {
    name: 'id and lane of a shard file not checked',
    workloads: ['misdirected'],
    patches: [
      {
        file: 'tiers/node-group/shard/lane-reads.ts',
        from: 'footer.id !== this.#location.id || footer.lane !== lane',
        to: 'false',
      },
    ],
  },
  {
    name: 'identity of a drive not checked',
    workloads: ['strangers'],
    patches: [
      {
        file: 'tiers/node-group/drive/enrol.ts',
        from: 'if (wrong !== undefined) return',
        to: 'if (wrong?.name === "never") return',
      },
      {
        file: 'tiers/node-group/drive/enrol.ts',
        from: 'if (one.identity.replaces === place.drive) continue;',
        to: 'continue;',
      },
    ],
  },
  {
    name: 'acknowledged with k lanes durable',
    workloads: ['drives-fail-at-once'],
    patches: [
      {
        file: 'tiers/node-group/segment/commit-queue.ts',
        from: 'lengths.filter((length) => length > 0).length + 1',
        to: 'lengths.filter((length) => length > 0).length',
      },
    ],
  },
  {
    name: 'a partial acknowledgement puts nothing on the heal list',
    workloads: ['drives-fail'],
    patches: [
      {
        file: 'appliance/engine/document/garbage.ts',
        from: '!needsHeal(location)) continue;',
        to: 'needsHeal(location) || true) continue;',
      },
    ],
  },
  {
    name: 'insert if absent became put',
    workloads: ['two-writers'],
    lies: { storeLies: { insertPuts: true } },
  },
  {
    name: 'replace without comparing revisions',
    workloads: ['two-writers'],
    lies: { storeLies: { replaceBlind: true } },
  },
  {
    name: 'what was copied is not read back',
    workloads: ['transition'],
    lies: { cloudLies: { damages: true } },
    patches: [
      {
        file: 'appliance/engine/move/move.ts',
        from: 'if (isSame(stored) && isSame(found)) return;',
        to: 'return;',
      },
    ],
  },
  {
    name: 'a move forgets that it compressed',
    workloads: ['transition-compressed'],
    patches: [
      {
        file: 'appliance/engine/move/move.ts',
        from: "return { ...stored.location, codec: 'zstd', plainBytes: part.sizeBytes };",
        to: 'return stored.location;',
      },
    ],
  },
  {
    name: 'lease not looked at before a side effect',
    workloads: ['late-worker'],
    patches: [
      {
        file: 'appliance/engine/document/lease.ts',
        from: 'if (row === undefined || !this.#isOurs(row)) throw this.#lost();',
        to: 'if (row === undefined || !this.#isOurs(row)) return;',
      },
    ],
  },
  { name: 'no grace', workloads: ['slow-reader'], lies: { graceMs: 4000 } },
  {
    name: 'candidates are freed without another look',
    workloads: ['put-large'],
    patches: [
      {
        file: 'appliance/engine/upkeep/collect.ts',
        from: 'if (await isNamed(core, value, await one.look())) {',
        to: 'if ((await isNamed(core, value, await one.look())) && id === "") {',
      },
    ],
  },
  {
    name: 'a restored copy that ends takes the archived bytes with it',
    workloads: ['restore'],
    patches: [
      {
        file: 'appliance/engine/move/relocate.ts',
        from: "restore === 'none' ? rest :",
        to: "restore === 'none' ? { ...rest, parts: [] } :",
      },
    ],
  },
  {
    name: 'short writes are not looped',
    workloads: ['put-small'],
    lies: { driveLies: { shortBytes: 300 } },
  },
  {
    name: 'a freed segment is not marked before its files go',
    workloads: ['compaction'],
    patches: [
      {
        file: 'tiers/node-group/tier/node-group.ts',
        from: 'await this.notes.markFreed(segment);',
        to: '',
      },
    ],
  },
  {
    name: 'appends of the journal are not synced',
    workloads: ['journal'],
    patches: [
      {
        file: 'appliance/metadata/journal/file-copy.ts',
        from: "{ mode: 'create', durable: true }",
        to: "{ mode: 'create' }",
      },
    ],
  },
  {
    name: 'a takeover goes on in the epoch that it found',
    workloads: ['journal'],
    patches: [
      {
        file: 'appliance/metadata/journal/copies.ts',
        from: 'const epoch = this.#reserved + 1;',
        to: 'const epoch = Math.max(1, this.#manifest.epoch);',
      },
    ],
  },
  {
    name: 'the directory of the journal is not synced',
    workloads: ['journal'],
    patches: [
      {
        file: 'appliance/metadata/journal/manifest.ts',
        from: 'await drive.syncDirectory(JOURNAL_DIRECTORY);',
        to: '',
      },
    ],
  },
  {
    name: 'announced when the first copy has it',
    workloads: ['journal'],
    patches: [
      {
        file: 'appliance/metadata/journal/many-copies.ts',
        from: 'if (patience === undefined) await all;',
        to: 'if (patience === undefined) await Promise.race(works);',
      },
      {
        file: 'appliance/metadata/journal/many-copies.ts',
        from: 'if (left.size === 0) return true;',
        to: 'if (left.size < copies.length) return true;',
      },
    ],
  },
  {
    name: 'a young reference to shared bytes holds nothing',
    workloads: ['sharing'],
    patches: [
      {
        file: 'appliance/engine/upkeep/sharing.ts',
        from: 'if (value.at + graceMs <= clock.now()) old.push(value.object);',
        to: 'if (graceMs > 0) old.push(value.object);',
      },
    ],
  },
  {
    name: 'who else shares the bytes is not asked',
    workloads: ['sharing'],
    patches: [
      {
        file: 'appliance/engine/upkeep/collect.ts',
        from: 'const isShared = shares && value.location !== undefined',
        to: 'const isShared = !shares && value.location !== undefined',
      },
    ],
  },
  {
    name: 'D3: a commit is answered before it is journaled',
    workloads: ['embedded-put'],
    patches: [
      {
        file: 'appliance/metadata/lmdb/commit-queue.ts',
        from: 'if (journal !== undefined && number > journal.journaled) {',
        to: 'if (journal !== undefined && number < 0) {',
      },
    ],
  },
  {
    name: 'D3: an answer without a commit of its own does not wait',
    workloads: ['embedded-put'],
    patches: [
      { file: 'appliance/engine/document/commit.ts', from: 'await store.settled();', to: '' },
    ],
  },
  {
    name: 'D3: a refusal does not wait for what it saw',
    workloads: ['embedded-put'],
    patches: [
      {
        file: 'appliance/engine/engine.ts',
        from: `    } catch (error) {
      await this.core.context.store.settled();`,
        to: '    } catch (error) {',
      },
    ],
  },
  {
    name: 'D3: the store takes what is visible for settled',
    workloads: ['embedded-put'],
    patches: [
      {
        file: 'appliance/metadata/lmdb/lmdb-metadata-store.ts',
        from: 'if (number > journal.journaled) await journal.settled(number);',
        to: '',
      },
    ],
  },
  {
    name: 'C2: a Complete that was decided is committed again',
    workloads: ['late-roller'],
    patches: [
      {
        file: 'appliance/engine/upload/multipart-end.ts',
        from: 'const before = draft.operation(operation);',
        to: 'const before = undefined as string | undefined;',
      },
    ],
  },
  {
    name: 'C2: a Complete does not record what it made',
    workloads: ['late-roller'],
    patches: [
      {
        file: 'appliance/engine/upload/multipart-end.ts',
        from: 'draft.record(operation, version.id);',
        to: '',
      },
    ],
  },
  {
    name: 'C3: a refusal is not recorded before it is answered',
    workloads: ['late-refusal'],
    patches: [
      {
        file: 'appliance/engine/upload/multipart-end.ts',
        from: 'draft.record(operation, REFUSED);',
        to: '',
      },
    ],
  },
  {
    name: 'A6: a PUT does not look at its bucket again',
    workloads: ['late-in-bucket'],
    patches: [
      {
        file: 'appliance/engine/document/confirm-bucket.ts',
        from: 'await settleLateWrite(core, confirming, row);',
        to: '',
      },
    ],
  },
  {
    name: 'A6: an overwrite in a bucket that goes is taken back with all beneath it',
    workloads: ['late-overwrite'],
    patches: [
      {
        file: 'appliance/engine/document/confirm-bucket.ts',
        from: 'if (created && (await undo(core, confirming)))',
        to: 'if (await undo(core, confirming))',
      },
    ],
  },
  {
    name: 'B2: what was listed long ago is let go of',
    workloads: ['late-release'],
    patches: [
      {
        file: 'appliance/engine/document/garbage.ts',
        from: 'return now + listedAgeMs(context);',
        to: 'return now + context.graceMs + listedAgeMs(context) * 0;',
      },
    ],
  },
  {
    name: 'B3: bytes of any age are named',
    workloads: ['late-writer'],
    patches: [
      {
        file: 'appliance/engine/document/commit.ts',
        from: 'bound = Math.min(bound, until ?? 0);',
        to: 'bound = Math.max(bound, until ?? 0);',
      },
    ],
  },
];
