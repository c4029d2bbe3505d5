// Reads the XML that S3 services answer. The parser does not fail on malformed XML by itself and
// turns the key `001` into 1, so it is validated first and told to leave text alone.

import { FirnError } from '../../../appliance/model/errors.ts';

interface Reader {
  read(text: string): unknown;
}

let reader: Promise<Reader> | undefined;

/** Loaded with the first XML answer, not with the process. */
function loadReader(): Promise<Reader> {
  reader ??= import('fast-xml-parser').then(({ XMLParser, XMLValidator }) => {
    const parser = new XMLParser({
      ignoreAttributes: true,
      parseTagValue: false,
      trimValues: false,
      htmlEntities: true,
      isArray: (name) => ['Contents', 'Upload'].includes(name),
    });
    return {
      read: (text) => {
        const valid = XMLValidator.validate(text);
        if (valid !== true || /<!DOCTYPE/i.test(text)) {
          throw new FirnError('TierUnavailable', 'the service answered with malformed XML', {
            retryable: true,
          });
        }
        return parser.parse(text) as unknown;
      },
    };
  });
  return reader;
}

type Element = { [name: string]: Element | undefined } | undefined;

async function parse(text: string): Promise<Element> {
  return (await loadReader()).read(text) as Element;
}

const asText = (value: unknown): string | undefined =>
  typeof value === 'string' ? value : undefined;

/** Code and message of an error answer; both undefined for what is no S3 error (a proxy's page). */
export async function errorOf(
  text: string,
): Promise<{ code: string | undefined; message: string | undefined }> {
  if (!text.includes('<Error')) return { code: undefined, message: undefined };
  try {
    const error = (await parse(text))?.['Error'];
    return { code: asText(error?.['Code']), message: asText(error?.['Message']) };
  } catch {
    return { code: undefined, message: undefined };
  }
}

export interface ListedPage {
  objects: { key: string; sizeBytes: number }[];
  next: string | undefined;
}

export async function listedPage(text: string): Promise<ListedPage> {
  const result = (await parse(text))?.['ListBucketResult'];
  const contents = (result?.['Contents'] ?? []) as unknown as Record<string, unknown>[];
  const truncated = asText(result?.['IsTruncated']) === 'true';
  const next = asText(result?.['NextContinuationToken']);
  if (truncated && next === undefined) {
    throw new FirnError('TierUnavailable', 'a listing breaks off without saying where');
  }
  return {
    objects: contents.map((one) => ({
      key: asText(one['Key']) ?? '',
      sizeBytes: Number(asText(one['Size'])),
    })),
    next: truncated ? next : undefined,
  };
}

export interface ListedUpload {
  key: string;
  uploadId: string;
  initiatedAt: number;
}

export async function listedUploads(text: string): Promise<ListedUpload[]> {
  const result = (await parse(text))?.['ListMultipartUploadsResult'];
  const uploads = (result?.['Upload'] ?? []) as unknown as Record<string, unknown>[];
  return uploads.map((one) => ({
    key: asText(one['Key']) ?? '',
    uploadId: asText(one['UploadId']) ?? '',
    initiatedAt: Date.parse(asText(one['Initiated']) ?? ''),
  }));
}

export async function uploadIdOf(text: string): Promise<string> {
  const id = asText((await parse(text))?.['InitiateMultipartUploadResult']?.['UploadId']);
  if (id === undefined) throw new FirnError('TierUnavailable', 'an upload was begun without an id');
  return id;
}
