// The house's rules as a test: who may import whom, where a package is at home, which words are
// ours, how large a room may be. The danger: a layer that leaks once is imported by forty files a
// month later. ARCHITECTURE.md shows the same table of ranks for people.

import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join, normalize } from 'node:path';
import test from 'ava';

const root = join(import.meta.dirname, '..');
// What git knows or would know: ignored and generated files are no part of the house.
const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
  cwd: root,
  encoding: 'utf8',
})
  .split('\n')
  .filter((file) => file !== '' && existsSync(join(root, file)));
const sources = files.filter((file) => file.endsWith('.ts'));
const product = sources.filter((file) => !file.startsWith('test/'));
const text = new Map(files.map((file) => [file, readFileSync(join(root, file), 'utf8')]));
const read = (file: string): string => text.get(file) ?? '';

interface Area {
  path: string;
  rank: number;
  /** Other areas it may import; rank 4 and 5 may import all. */
  may: string[];
}

// The first area whose path fits a file is its area.
const areas: Area[] = [
  { path: 'appliance/model', rank: 0, may: [] },
  { path: 'appliance/metadata', rank: 1, may: ['appliance/model'] },
  { path: 'appliance/cli', rank: 1, may: ['appliance/model'] },
  { path: 'appliance/health', rank: 1, may: ['appliance/model'] },
  { path: 'appliance/engine', rank: 2, may: ['appliance/model'] },
  {
    path: 'tiers/node-group',
    rank: 1,
    may: ['appliance/model', 'tiers/checksum', 'tiers/filter'],
  },
  { path: 'tiers/hot', rank: 1, may: ['appliance/model', 'tiers/node-group'] },
  { path: 'tiers/warm', rank: 1, may: ['appliance/model', 'tiers/node-group', 'tiers/pack'] },
  { path: 'tiers/cold', rank: 1, may: ['appliance/model', 'tiers/pack', 'tiers/checksum'] },
  { path: 'tiers/pack', rank: 1, may: ['appliance/model', 'tiers/checksum', 'tiers/filter'] },
  { path: 'tiers/filter', rank: 1, may: ['appliance/model', 'tiers/checksum'] },
  { path: 'tiers/checksum', rank: 1, may: [] },
  { path: 'policies', rank: 1, may: ['appliance/model'] },
  { path: 'deploy', rank: 1, may: ['appliance/model', 'appliance/cli'] },
  { path: 'workers', rank: 3, may: ['appliance/model', 'appliance/engine', 'policies'] },
  { path: 'api', rank: 3, may: ['appliance/model', 'appliance/engine', 'policies'] },
  { path: 'test', rank: 5, may: ['*'] },
  { path: '', rank: 4, may: ['*'] },
];
const areaOf = (file: string): Area =>
  areas.find(
    (area) =>
      area.path === '' || file.startsWith(`${area.path}/`) || file.startsWith(`${area.path}.`),
  ) as Area;

const homes: Record<string, string[]> = {
  koa: ['api/'],
  '@koa/router': ['api/'],
  agenda: ['workers/'],
  '@agendajs/mongo-backend': ['workers/'],
  mongodb: ['appliance/metadata/mongo/', 'workers/'],
  lmdb: ['appliance/metadata/lmdb/', 'workers/'],
  '@azure/storage-blob': ['tiers/cold/azure/'],
  '@google-cloud/storage': ['tiers/cold/gcs/'],
  archiver: ['tiers/pack/'],
  'json-rules-engine': ['policies/'],
  zod: ['api/', 'policies/', 'config.ts', 'settings.ts'],
  yaml: ['api/', 'policies/', 'config.ts'],
  'fast-xml-parser': ['api/', 'policies/', 'tiers/cold/s3/'],
  undici: ['appliance/cli/', 'tiers/cold/s3/'],
  cockatiel: ['tiers/', 'workers/'],
  'p-limit': ['tiers/', 'workers/', 'appliance/cli/'],
  msgpackr: ['appliance/metadata/', 'tiers/', 'workers/'],
  '@node-rs/xxhash': ['tiers/'],
  'hash-wasm': ['tiers/'],
  pino: ['api/', 'workers/', 'firn.ts', 'serve.ts', 'wiring.ts', 'embedded.ts'],
  'prom-client': ['api/', 'workers/'],
  commander: ['appliance/cli/'],
  '@fastify/busboy': ['api/'],
};

interface Import {
  from: string;
  target: string;
}

const importPattern =
  /(?:^|[\n;])\s*(?:import|export)\b[^'";]*?\bfrom\s*['"]([^'"]+)['"]|(?:^|[\n;])\s*import\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)/g;

function importsOf(file: string): Import[] {
  const code = read(file)
    .replaceAll(/^\s*\/\/.*$/gm, '')
    .replaceAll(/\/\*[\s\S]*?\*\//g, '');
  return [...code.matchAll(importPattern)].map((match) => {
    const target = (match[1] ?? match[2] ?? match[3]) as string;
    return {
      from: file,
      target: target.startsWith('.') ? normalize(join(dirname(file), target)) : target,
    };
  });
}
const imports = sources.flatMap(importsOf);
const inner = imports.filter((one) => sources.includes(one.target));

test('no room imports a room above it or beside it', (t) => {
  const wrong = inner.filter(({ from, target }) => {
    const a = areaOf(from);
    const b = areaOf(target);
    return a.path !== b.path && !a.may.includes('*') && !a.may.includes(b.path);
  });
  t.deepEqual(wrong, []);
  t.true(inner.length > 50, 'the scan found the imports');
});

test('the model does no I/O', (t) => {
  const harmless = [
    'node:crypto',
    'node:zlib',
    'node:buffer',
    'node:assert/strict',
    'node:assert',
    'node:events',
  ];
  const wrong = imports.filter(
    ({ from, target }) =>
      from.startsWith('appliance/model/') &&
      !target.startsWith('appliance/model/') &&
      !harmless.includes(target),
  );
  t.deepEqual(wrong, []);
});

test('every package is imported only at home, and is in package.json', (t) => {
  const manifest = JSON.parse(read('package.json')) as Record<string, Record<string, string>>;
  const outer = imports.filter(
    (one) => !sources.includes(one.target) && !one.target.startsWith('node:'),
  );
  const nameOf = (target: string): string =>
    target
      .split('/')
      .slice(0, target.startsWith('@') ? 2 : 1)
      .join('/');
  const wrong = outer.filter(({ from, target }) => {
    const name = nameOf(target);
    if (from.startsWith('test/')) {
      return !manifest['dependencies']?.[name] && !manifest['devDependencies']?.[name];
    }
    if (!manifest['dependencies']?.[name]) return true;
    return !(homes[name] ?? []).some((home) => from.startsWith(home));
  });
  t.deepEqual(wrong, []);
  t.deepEqual(
    outer.filter(({ target }) => builtinModules.includes(target)),
    [],
    'built-ins are written node:…',
  );
});

test('every dependency is used', (t) => {
  const manifest = JSON.parse(read('package.json')) as { dependencies: Record<string, string> };
  const used = new Set(
    imports.filter((one) => product.includes(one.from)).map((one) => one.target),
  );
  const idle = Object.keys(manifest.dependencies).filter(
    (name) => ![...used].some((target) => target === name || target.startsWith(`${name}/`)),
  );
  t.deepEqual(idle, []);
});

test('no file imports itself by a round trip, no two folders import each other', (t) => {
  const edges = new Map<string, string[]>();
  for (const { from, target } of inner) edges.set(from, [...(edges.get(from) ?? []), target]);
  const state = new Map<string, 'open' | 'done'>();
  const cycles: string[] = [];
  const visit = (file: string, path: string[]): void => {
    if (state.get(file) === 'done') return;
    if (state.get(file) === 'open') {
      cycles.push([...path.slice(path.indexOf(file)), file].join(' → '));
      return;
    }
    state.set(file, 'open');
    for (const target of edges.get(file) ?? []) visit(target, [...path, file]);
    state.set(file, 'done');
  };
  for (const file of product) visit(file, []);
  t.deepEqual(cycles, []);
  const pairs = new Set<string>();
  for (const { from, target } of inner) {
    const [a, b] = [dirname(from), dirname(target)];
    if (a !== b && !from.startsWith('test/')) pairs.add(`${a} ${b}`);
  }
  const both = [...pairs].filter((pair) => pairs.has(pair.split(' ').reverse().join(' ')));
  t.deepEqual(both, []);
});

test('rooms are small: files up to 500 lines, lines up to 100 columns', (t) => {
  const long = product.filter((file) => read(file).trimEnd().split('\n').length > 500);
  t.deepEqual(long, []);
  const wide = product.flatMap((file) =>
    read(file)
      .split('\n')
      .map((line, index) => ({
        place: `${file}:${index + 1}`,
        columns: Array.from(line).length,
        line,
      }))
      .filter(
        ({ columns, line }) =>
          columns > 100 && !/https?:\/\/|^\s*\/[^/]|'[^']{60,}|`[^`]{60,}|test\(/.test(line),
      )
      .map(({ place, columns }) => `${place} ${columns}`),
  );
  t.deepEqual(wide, []);
});

test('one word a thing: no synonym in a file name or an exported name', (t) => {
  const banned =
    /(^|[^a-z])(mpu|fragment|disk|volume|ring|utils?|helpers?|common|manager)([^a-z]|$)/i;
  const words = (name: string): string =>
    name.replaceAll(/([a-z0-9])([A-Z])/g, '$1-$2').toLowerCase();
  const exported = product.flatMap((file) =>
    [
      ...read(file).matchAll(
        /^export (?:default )?(?:abstract )?(?:async )?(?:function\*?|class|const|let|interface|type) (\w+)/gm,
      ),
    ].map((match) => ({ file, name: match[1] as string })),
  );
  t.deepEqual(
    exported.filter(({ name }) => banned.test(words(name))),
    [],
  );
  t.deepEqual(
    product.filter((file) => banned.test(words(file))),
    [],
  );
  t.deepEqual(
    exported.filter(({ name }) => /^I[A-Z][a-z]/.test(name)),
    [],
    'no I prefix',
  );
});

test('the environment is read in config.ts alone, and nothing prints past the terminal writer', (t) => {
  const strip = (file: string): string => read(file).replaceAll(/\/\/.*$/gm, '');
  t.deepEqual(
    product.filter((file) => file !== 'config.ts' && /\bprocess\.env\b/.test(strip(file))),
    [],
  );
  t.deepEqual(
    product.filter((file) => /\bconsole\.\w+\(/.test(strip(file))),
    [],
  );
});

test('every room says at its door what it is for', (t) => {
  const silent = product.filter((file) => !/^(#!.*\n)?(\/\/|\/\*\*)/.test(read(file)));
  t.deepEqual(silent, []);
});

test('every document has one title, and every link in it leads somewhere', (t) => {
  const documents = files.filter((file) => file.endsWith('.md'));
  const plain = (file: string): string => read(file).replaceAll(/^```[\s\S]*?^```/gm, '');
  t.deepEqual(
    documents.filter((file) => (plain(file).match(/^# /gm) ?? []).length !== 1),
    [],
  );
  const dead = documents.flatMap((file) =>
    [...plain(file).matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)/g)]
      .map((match) => normalize(join(dirname(file), match[1] as string)))
      .filter((target) => !existsSync(join(root, target)))
      .map((target) => `${file} → ${target}`),
  );
  t.deepEqual(dead, []);
});

test('nothing names a path of one machine or the host of a package registry', (t) => {
  const registry = ['regis', 'try.npm', 'js.org'].join('');
  const python = ['pythonhos', 'ted.org'].join('');
  const wrong = files.filter(
    (file) =>
      read(file).includes(registry) ||
      read(file).includes(python) ||
      /\/(root|home\/\w+)\//.test(file),
  );
  t.deepEqual(wrong, []);
});

test('the tree is the house: nothing stands beside the rooms', (t) => {
  const known =
    /^(appliance|tiers|policies|api|workers|deploy|test)\/|^\.ci\/|^(firn|firn\.ts|config\.ts|settings\.ts|serve\.ts|wiring\.ts|command\.ts|embedded\.ts|package\.json|package-lock\.json|tsconfig\.json|README\.md|ARCHITECTURE\.md|CONTRIBUTING\.md|LICENSE|\.[a-z.]+)$/;
  t.deepEqual(
    files.filter((file) => !known.test(file)),
    [],
  );
});
