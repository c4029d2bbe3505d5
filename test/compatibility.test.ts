// The document that says what of S3 is here is made from the table that requests are dispatched by. The
// danger: an operation that somebody relies on because a page says so, and that answers 501.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { renderCompatibility } from '../api/s3/compatibility.ts';
import { OPERATIONS, UNIMPLEMENTED_OPERATIONS } from '../api/s3/operation-table.ts';

const path = join(import.meta.dirname, '..', 'api', 's3', 'COMPATIBILITY.md');

test('COMPATIBILITY.md is what the table of operations says (FIRN_WRITE_GOLDEN=1 writes it)', (t) => {
  const text = renderCompatibility();
  if (process.env['FIRN_WRITE_GOLDEN'] === '1') writeFileSync(path, text);
  t.is(readFileSync(path, 'utf8'), text);
});

test('every operation stands in the table once, at a place of its own', (t) => {
  const all = [...OPERATIONS, ...UNIMPLEMENTED_OPERATIONS];
  const names = all.map(({ name }) => name);
  t.is(new Set(names).size, names.length, 'names');
  const places = all.map((one) => {
    const copies = 'copies' in one && one.copies === true ? ' copy' : '';
    return `${one.method} ${one.level} ${one.subresource ?? ''}${copies}`;
  });
  t.deepEqual(
    places.filter((place, index) => places.indexOf(place) !== index),
    [],
  );
});
