// The four lists of S3 as a client pages through them, against a naive model: random keys (with the
// bytes that URLs, XML and UTF-16 order get wrong), random prefixes, delimiters and page sizes. What
// is at stake: a key that no page shows is a file that a backup tool does not copy, and one that two
// pages show is deleted twice.

import { randomInt } from 'node:crypto';
import test, { type ExecutionContext } from 'ava';
import { compareUtf8 } from '../appliance/model/ids.ts';
import { encodeComponent } from '../appliance/model/signature.ts';
import { seeded } from './engine-harness.ts';
import { elementOf, OWNER, REGION, send, startEndpoint, type Endpoint } from './s3-caller.ts';

const PIECES = [
  'a',
  'b',
  'ab',
  '/',
  '//',
  '-',
  '.x',
  ...Array.from(`//  +%&<'"ä漢😀\uffee\u0001\n\r\u00a0~\u007f`),
  '%2F',
];
const DELIMITERS = ['', '', '/', '/', '/', '//', 'b', '-', '😀', '%', 'ab/'];
const ROUNDS = 6;
const QUERIES = 25;

interface Entry {
  /** Of a common prefix: that, and no version. */
  key: string;
  versionId: string | undefined;
  isMarker: boolean;
}

interface Query {
  prefix: string;
  delimiter: string;
}

const isAllowed = (key: string): boolean =>
  key !== '' && !key.split('/').some((part) => part === '.' || part === '..');

function randomKeyOf(next: () => number): string {
  for (;;) {
    let key = '';
    for (let pieces = 1 + Math.floor(next() * 4); pieces > 0; pieces--) {
      key += PIECES[Math.floor(next() * PIECES.length)] as string;
    }
    if (isAllowed(key)) return key;
  }
}

/** What all pages together must show, in order. */
function modelOf(entries: readonly Entry[], { prefix, delimiter }: Query): string[] {
  const shown = new Set<string>();
  for (const entry of entries) {
    if (!entry.key.startsWith(prefix)) continue;
    const at = delimiter === '' ? -1 : entry.key.indexOf(delimiter, prefix.length);
    if (at >= 0) shown.add(`prefix ${entry.key.slice(0, at + delimiter.length)}`);
    else shown.add(`${entry.isMarker ? 'marker' : 'key'} ${entry.key} ${entry.versionId ?? ''}`);
  }
  return [...shown];
}

const unescape = (text: string): string => decodeURIComponent(text.replaceAll('&amp;', '&'));

/** Everything on a page, in order of keys; versions of a key as they came. */
function shownOn(text: string): string[] {
  const entries: { key: string; what: string }[] = [];
  const pattern =
    /<(Contents|Version|DeleteMarker|Upload)>.*?<Key>([^<]*)<\/Key>(?:<(?:VersionId|UploadId)>([^<]*)<)?|<CommonPrefixes><Prefix>([^<]*)</gs;
  for (const [, kind, key = '', id = '', prefix] of text.matchAll(pattern)) {
    if (prefix !== undefined)
      entries.push({ key: unescape(prefix), what: `prefix ${unescape(prefix)}` });
    else {
      const name = kind === 'DeleteMarker' ? 'marker' : 'key';
      entries.push({ key: unescape(key), what: `${name} ${unescape(key)} ${id}` });
    }
  }
  // Keys and prefixes are two lists of the same order; the merge keeps versions as they are.
  return entries.toSorted((a, b) => compareUtf8(a.key, b.key)).map(({ what }) => what);
}

/** Query parameters of the first page and, from its text, of the next; undefined at the end. */
interface List {
  name: string;
  limitName: string;
  first: string;
  next: (text: string, last: string) => string | undefined;
}

const parameter = (name: string, value: string): string => `&${name}=${encodeComponent(value)}`;
const nextOf = (text: string, name: string): string | undefined => {
  const value = elementOf({ text }, name);
  return value === undefined ? undefined : unescape(value);
};

const LISTS: readonly List[] = [
  {
    name: 'ListObjects',
    limitName: 'max-keys',
    first: '',
    // Without a delimiter S3 leaves it at the last key.
    next: (text, last) => parameter('marker', nextOf(text, 'NextMarker') ?? last),
  },
  {
    name: 'ListObjectsV2',
    limitName: 'max-keys',
    first: '&list-type=2',
    next: (text) => {
      const token = elementOf({ text }, 'NextContinuationToken') ?? '';
      return `&list-type=2${parameter('continuation-token', token)}`;
    },
  },
  {
    name: 'ListObjectVersions',
    limitName: 'max-keys',
    first: '&versions=',
    next: (text) => {
      const id = elementOf({ text }, 'NextVersionIdMarker');
      const marker = id === undefined ? '' : parameter('version-id-marker', id);
      return `&versions=${parameter('key-marker', nextOf(text, 'NextKeyMarker') ?? '')}${marker}`;
    },
  },
  {
    name: 'ListMultipartUploads',
    limitName: 'max-uploads',
    first: '&uploads=',
    next: (text) => {
      const id = elementOf({ text }, 'NextUploadIdMarker') ?? '';
      const marker = id === '' ? '' : parameter('upload-id-marker', id);
      return `&uploads=${parameter('key-marker', nextOf(text, 'NextKeyMarker') ?? '')}${marker}`;
    },
  },
];

interface Walked {
  endpoint: Endpoint;
  bucket: string;
  list: List;
  query: Query;
  limit: number;
}

async function walk(t: ExecutionContext, walked: Walked): Promise<string[]> {
  const { endpoint, bucket, list, query, limit } = walked;
  const common =
    `${list.limitName}=${limit}&encoding-type=url` +
    (query.prefix === '' ? '' : parameter('prefix', query.prefix)) +
    (query.delimiter === '' ? '' : parameter('delimiter', query.delimiter));
  const all: string[] = [];
  let more: string | undefined = list.first;
  while (more !== undefined) {
    const answer = await send(endpoint, { path: `/${bucket}`, query: common + more });
    if (answer.status !== 200) t.fail(`${list.name} ${common}${more}: ${answer.text}`);
    const shown = shownOn(answer.text);
    const isTruncated = elementOf(answer, 'IsTruncated') === 'true';
    if (shown.length > limit || (isTruncated && shown.length < limit)) {
      t.fail(`${list.name} ${common}${more}: a page of ${shown.length}`);
    }
    all.push(...shown);
    const last = (shown.at(-1) ?? '').replace(/^(?:key|prefix) /, '').replace(/ $/, '');
    more = isTruncated ? list.next(answer.text, last) : undefined;
    if (all.length > 10_000) t.fail(`${list.name} ${common}: no end`);
  }
  return all;
}

/** A bucket of random keys with some versions, markers and open uploads; each list's model entries. */
async function fill(
  endpoint: Endpoint,
  bucket: string,
  next: () => number,
): Promise<Record<'current' | 'versions' | 'uploads', Entry[]>> {
  const { engine } = endpoint;
  await engine.createBucket({ name: bucket, owner: 'owner', region: REGION });
  await engine.updateBucket(bucket, (row) => ({ ...row, versioning: 'enabled' }));
  const keys = new Set(Array.from({ length: 60 }, () => randomKeyOf(next)));
  const common = { bucket, owner: 'owner', storageClass: 'STANDARD', headers: {}, metadata: {} };
  const versions: Entry[] = [];
  const current: Entry[] = [];
  const uploads: Entry[] = [];
  for (const key of [...keys].toSorted(compareUtf8)) {
    const own: Entry[] = [];
    for (let more = 1 + Math.floor(next() * 3); more > 0; more--) {
      const isMarker = next() < 0.3;
      const made = isMarker
        ? await engine.deleteObject({ bucket, key, owner: 'owner' })
        : await engine.putObject({ ...common, key, body: Buffer.from(key) });
      own.unshift({ key, versionId: made.versionId, isMarker });
    }
    versions.push(...own);
    if (own[0]?.isMarker === false) current.push({ key, versionId: '', isMarker: false });
    for (let more = Math.floor(next() * 3); more > 0; more--) {
      const { uploadId } = await engine.createUpload({ ...common, key });
      uploads.push({ key, versionId: uploadId, isMarker: false });
    }
  }
  return { current, versions, uploads };
}

test('all pages of each list together are the model, once and in order: random keys, delimiters, page sizes', async (t) => {
  const seed = Number(process.env['SEED'] ?? randomInt(2 ** 31));
  t.log(`SEED=${seed}`);
  const next = seeded(seed);
  const endpoint = await startEndpoint();
  try {
    for (let round = 0; round < ROUNDS; round++) {
      const bucket = `random-${round}`;
      const { current, versions, uploads } = await fill(endpoint, bucket, next);
      const entriesOf = { ListObjectVersions: versions, ListMultipartUploads: uploads };
      for (let i = 0; i < QUERIES; i++) {
        const some = versions[Math.floor(next() * versions.length)]?.key ?? '';
        const query = {
          prefix: next() < 0.5 ? '' : some.slice(0, 1 + Math.floor(next() * 3)).toWellFormed(),
          delimiter: DELIMITERS[Math.floor(next() * DELIMITERS.length)] as string,
        };
        const limit = next() < 0.2 ? 1000 : 1 + Math.floor(next() * 9);
        for (const list of LISTS) {
          const entries = entriesOf[list.name as keyof typeof entriesOf] ?? current;
          const shown = await walk(t, { endpoint, bucket, list, query, limit });
          const expected = modelOf(entries, query);
          const what = `${list.name} ${JSON.stringify(query)} by ${limit}`;
          if (list.name === 'ListMultipartUploads') {
            // Uploads of one key come in the order of their ids.
            t.deepEqual(shown.toSorted(), expected.toSorted(), what);
          } else t.deepEqual(shown, expected, what);
        }
      }
    }
  } finally {
    await endpoint.close();
  }
});

test('a start-after, a marker or a token that no key has goes on behind it, also inside a prefix', async (t) => {
  const endpoint = await startEndpoint();
  try {
    const common = { owner: 'owner', storageClass: 'STANDARD', headers: {}, metadata: {} };
    for (const key of ['a', 'b/1', 'b/2', 'c', 'd']) {
      await endpoint.engine.putObject({ ...common, bucket: 'bucket', key, body: Buffer.from(key) });
    }
    const keys = async (query: string): Promise<string> => {
      const { text } = await send(endpoint, { path: '/bucket', query, as: OWNER });
      return [...text.matchAll(/<(?:Key|CommonPrefixes><Prefix)>([^<]*)</g)]
        .map(([, key]) => key)
        .join(' ');
    };
    t.is(await keys('list-type=2&start-after=b'), 'b/1 b/2 c d');
    t.is(await keys('marker=b%2F1'), 'b/2 c d');
    t.is(await keys('marker=zz'), '');
    t.is(await keys('list-type=2&start-after=a&delimiter=%2F'), 'c d b/');
    t.is(await keys('list-type=2&continuation-token='), 'a b/1 b/2 c d');
    t.is(await keys(`marker=${'x'.repeat(3000)}`), '');
    t.is(await keys(`prefix=${'x'.repeat(3000)}`), '');
  } finally {
    await endpoint.close();
  }
});
