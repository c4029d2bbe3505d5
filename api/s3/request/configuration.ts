// Configurations that a bucket keeps as canonical XML and that are looked at only when they are
// asked for. They stand in the bucket's row, which every request reads: so their sum is bounded.

import { FirnError } from '../../../appliance/model/errors.ts';
import { KiB, XML_BYTES_MAX } from '../../../appliance/model/limits.ts';
import { parseXml } from '../xml/parse.ts';
import { canonicalDocument, childText, type Shape } from '../xml/shape.ts';
import { element, optional, xmlDocument } from '../xml/write.ts';
import { decodeToken, encodeToken } from './listing.ts';
import { invalidArgument, type Answer, type Operation, type OwnedRequest } from './request.ts';

/** Of one kind in a bucket, as S3 has it. */
const CONFIGURATIONS_MAX = 1000;
/** All of a bucket's, in characters. */
const SUM_MAX = 512 * KiB;
const PAGE = 100;

const tooMany = (): FirnError =>
  new FirnError('TooManyConfigurations', 'The bucket has as many configurations as are allowed.');

/** Durable on return. `name` as in Bucket.configurations. Throws TooManyConfigurations. */
export async function storeConfiguration(
  request: OwnedRequest,
  name: string,
  xml: string,
): Promise<void> {
  const [kind] = name.split('/', 1) as [string];
  await request.settings.engine.updateBucket(request.bucket, (bucket) => {
    const configurations = { ...bucket.configurations, [name]: xml };
    const names = Object.keys(configurations);
    const alike = names.filter((one) => one.startsWith(`${kind}/`));
    const sum = Object.values(configurations).reduce((length, one) => length + one.length, 0);
    if (alike.length > CONFIGURATIONS_MAX || sum > SUM_MAX) throw tooMany();
    return { ...bucket, configurations };
  });
}

/** False: it wasn't there. */
export async function removeConfiguration(request: OwnedRequest, name: string): Promise<boolean> {
  let isThere = false;
  await request.settings.engine.updateBucket(request.bucket, (bucket) => {
    isThere = bucket.configurations?.[name] !== undefined;
    if (!isThere) return bucket;
    const { [name]: _gone, ...kept } = bucket.configurations ?? {};
    return { ...bucket, configurations: kept };
  });
  return isThere;
}

/** Configurations of which a bucket has several, each with an id. */
export interface ConfigurationKind {
  subresource: string;
  /** Root element of one. */
  root: string;
  /** Root element of a list. */
  list: string;
  /** Part of the names of operations: PutBucket…Configuration. */
  name: string;
  /** s3:Put… and s3:Get…. */
  action: string;
  shape: Shape;
  /** What else must hold, looked at in canonical form before it is kept. */
  check?(request: OwnedRequest, xml: string): Promise<void>;
}

const ID = /^[A-Za-z0-9._-]{1,64}$/;

function idOf({ query }: OwnedRequest): string {
  const id = query.get('id') ?? '';
  if (ID.test(id)) return id;
  throw invalidArgument('the id must be 1 to 64 letters, digits, dots, _ or -', 'id', id);
}

function noSuch(): FirnError {
  return new FirnError('NoSuchConfiguration', 'The specified configuration does not exist.');
}

export function putOf(kind: ConfigurationKind): Operation {
  return {
    ...placeOf(kind, 'Put'),
    method: 'PUT',
    action: `s3:Put${kind.action}`,
    async run(request): Promise<Answer> {
      const id = idOf(request);
      const root = parseXml(await request.payload.gather(XML_BYTES_MAX), kind.root);
      const xml = canonicalDocument(root, kind.shape);
      if (childText(root, 'Id') !== id) {
        throw invalidArgument('it must be the id in the configuration', 'id', id);
      }
      await kind.check?.(request, xml);
      await storeConfiguration(request, `${kind.subresource}/${id}`, xml);
      return { status: 200 };
    },
  };
}

/** One, or without an id the list of them. */
export function getOf(kind: ConfigurationKind): Operation {
  return {
    ...placeOf(kind, 'Get'),
    method: 'GET',
    action: `s3:Get${kind.action}`,
    run(request): Promise<Answer> {
      if (!request.query.has('id')) return Promise.resolve(listOf(kind, request));
      const xml = request.owned.configurations?.[`${kind.subresource}/${idOf(request)}`];
      if (xml === undefined) throw noSuch();
      return Promise.resolve({ status: 200, xml });
    },
  };
}

export function deleteOf(kind: ConfigurationKind): Operation {
  return {
    ...placeOf(kind, 'Delete'),
    method: 'DELETE',
    action: `s3:Put${kind.action}`,
    async run(request): Promise<Answer> {
      const isGone = await removeConfiguration(request, `${kind.subresource}/${idOf(request)}`);
      if (!isGone) throw noSuch();
      return { status: 204 };
    },
  };
}

function placeOf(
  { name, subresource }: ConfigurationKind,
  verb: string,
): Pick<Operation, 'access' | 'level' | 'name' | 'subresource'> {
  const own = `${verb}Bucket${name}Configuration`;
  return { name: own, level: 'bucket', subresource, access: 'bucket' };
}

function listOf(kind: ConfigurationKind, { owned, query }: OwnedRequest): Answer {
  const prefix = `${kind.subresource}/`;
  const token = query.get('continuation-token');
  const after = token === undefined ? '' : decodeToken(token);
  const all = Object.entries(owned.configurations ?? {})
    .filter(([name]) => name.startsWith(prefix) && name > after)
    .toSorted(([one], [other]) => (one < other ? -1 : 1));
  const page = all.slice(0, PAGE);
  const next = all.length > page.length ? page.at(-1)?.[0] : undefined;
  return {
    status: 200,
    xml: xmlDocument(
      kind.list,
      element('IsTruncated', next !== undefined) +
        optional('ContinuationToken', token) +
        optional('NextContinuationToken', next === undefined ? undefined : encodeToken(next)) +
        page.map(([, xml]) => withoutHead(xml)).join(''),
    ),
  };
}

/** The root element alone, in whatever document it is to stand. */
function withoutHead(xml: string): string {
  return xml.replace(/^<\?[^>]*\?>\s*/, '').replace(/^<(\w+)[^>]*>/, '<$1>');
}
