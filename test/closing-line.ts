// Turns ava's closing lines into the plain one, "N passed, N failed, N skipped", alone on its line.

import { readFileSync } from 'node:fs';
import { stripVTControlCharacters } from 'node:util';

const text = stripVTControlCharacters(readFileSync(process.argv[2] as string, 'utf8'));
const tail = text.split('\n').slice(-60).join('\n');
const last = (pattern: RegExp): number => {
  const found = [...tail.matchAll(pattern)].at(-1)?.[1];
  return found === undefined ? 0 : Number(found);
};
const passed = last(/^\s*(\d+) tests? passed/gm);
const failed =
  last(/^\s*(\d+) tests? failed/gm) +
  last(/^\s*(\d+) (?:hooks?|uncaught exceptions?|unhandled rejections?)(?: failed)?/gm);
const skipped = last(/^\s*(\d+) tests? skipped/gm);
process.stdout.write(`${passed} passed, ${failed} failed, ${skipped} skipped\n`);
if (passed === 0 || failed > 0) process.exitCode = 1;
