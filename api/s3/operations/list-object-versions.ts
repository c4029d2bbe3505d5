// ListObjectVersions: versions and delete markers in one order, newest of a key first; also where
// versioning never was on (each is the null version then).

import type { ListedVersion } from '../../../appliance/model/requests.ts';
import {
  checksumAlgorithmXml,
  rolledUpPrefixes,
  listParametersOf,
  OwnerNames,
  restoreStatusXml,
  timeText,
  wantsRestoreStatus,
  type EntryOptions,
} from '../request/listing.ts';
import { invalidArgument, isVersionId } from '../request/request.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { element, optional, wrap, xmlDocument } from '../xml/write.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const { query, settings, bucket } = request;
  const parameters = listParametersOf(query, 'max-keys');
  const { prefix, delimiter, limit, show, encoded } = parameters;
  const keyMarker = query.get('key-marker') ?? '';
  const versionMarker = query.get('version-id-marker') ?? '';
  checkMarkers(keyMarker, versionMarker);
  const page = await settings.engine.listVersions({
    bucket,
    prefix,
    delimiter,
    limit,
    after: keyMarker,
    ...(versionMarker !== '' && { afterVersionId: versionMarker }),
  });
  const owners = new OwnerNames(request);
  await owners.load(page.entries.map(({ version }) => version.owner));
  const options = { parameters, owners, restoreStatus: wantsRestoreStatus(request) };
  let versions = '';
  for (const entry of page.entries) versions += versionXml(entry, options);
  return {
    status: 200,
    xml: xmlDocument(
      'ListVersionsResult',
      element('Name', bucket) +
        element('Prefix', show(prefix)) +
        element('KeyMarker', show(keyMarker)) +
        element('VersionIdMarker', versionMarker) +
        optional('NextKeyMarker', page.next === undefined ? undefined : show(page.next)) +
        optional('NextVersionIdMarker', page.nextVersionId) +
        element('MaxKeys', limit) +
        (delimiter === '' ? '' : element('Delimiter', show(delimiter))) +
        (encoded ? element('EncodingType', 'url') : '') +
        element('IsTruncated', page.next !== undefined) +
        versions +
        rolledUpPrefixes(page.prefixes, parameters),
    ),
  };
}

function checkMarkers(keyMarker: string, versionMarker: string): void {
  if (versionMarker === '') return;
  if (keyMarker === '') {
    throw invalidArgument('it needs a key-marker', 'version-id-marker', versionMarker);
  }
  if (!isVersionId(versionMarker)) {
    throw invalidArgument('this is no version id', 'version-id-marker', versionMarker);
  }
}

function versionXml(entry: ListedVersion, options: EntryOptions): string {
  const { version } = entry;
  const common =
    element('Key', options.parameters.show(entry.key)) +
    element('VersionId', entry.versionId) +
    element('IsLatest', entry.isLatest) +
    element('LastModified', timeText(version.lastModified)) +
    (options.owners?.xml(version.owner) ?? '');
  if (version.deleteMarker) return wrap('DeleteMarker', common);
  return wrap(
    'Version',
    common +
      `<ETag>&quot;${version.etag}&quot;</ETag>` +
      checksumAlgorithmXml(version.checksum) +
      element('Size', version.sizeBytes) +
      element('StorageClass', version.storageClass) +
      (options.restoreStatus ? restoreStatusXml(version.restore) : ''),
  );
}

export const listObjectVersions: Operation = {
  name: 'ListObjectVersions',
  method: 'GET',
  level: 'bucket',
  subresource: 'versions',
  access: 'bucket',
  action: 's3:ListBucketVersions',
  run,
};
