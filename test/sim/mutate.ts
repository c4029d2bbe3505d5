// Loaded before a child's own code: patches the sources that MUTANT names as they are loaded.
// The patch must fit exactly once, or the child ends with an error that nobody takes for a catch.

import { readFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { MUTANTS } from './mutants.ts';

const root = join(import.meta.dirname, '../..');
const mutant = MUTANTS.find(({ name }) => name === process.env['MUTANT']);
const patches = new Map<string, { from: string; to: string }[]>();
for (const { file, from, to } of mutant?.patches ?? []) {
  const path = join(root, file);
  const count = readFileSync(path, 'utf8').split(from).length - 1;
  if (count !== 1) {
    console.error(`${mutant?.name}: "${from}" stands ${count} times in ${file}`);
    process.exit(2);
  }
  const url = pathToFileURL(path).href;
  patches.set(url, [...(patches.get(url) ?? []), { from, to }]);
}

registerHooks({
  load(url, context, next) {
    const loaded = next(url, context);
    const all = patches.get(url);
    if (all === undefined) return loaded;
    const given = loaded.source ?? '';
    let source =
      typeof given === 'string' ? given : Buffer.from(given as Uint8Array).toString('utf8');
    for (const { from, to } of all) source = source.replace(from, () => to);
    return { ...loaded, source };
  },
});
