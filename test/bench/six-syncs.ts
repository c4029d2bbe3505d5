// The limit of a PUT that is alone: six files, to each 1 KiB appended and synced, all at once. A
// process of its own, so that its thread pool is as large as the appliance's.

import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { median } from './harness.ts';

const directory = process.argv[2] as string;
const files = await Promise.all(
  Array.from({ length: 6 }, (_, i) => open(join(directory, String(i)), 'w')),
);
const bytes = Buffer.alloc(1024, 'firn');
let at = 0;

async function one(): Promise<number> {
  const begun = performance.now();
  await Promise.all(
    files.map(async (file) => {
      await file.write(bytes, 0, bytes.length, at);
      await file.datasync();
    }),
  );
  at += bytes.length;
  return (performance.now() - begun) * 1000;
}

process.on('message', ({ count }: { count: number }) => {
  void (async () => {
    const taken: number[] = [];
    for (let i = 0; i < count; i++) taken.push(await one());
    process.send?.({ micros: median(taken) });
  })();
});
process.on('disconnect', () => process.exit(0));
