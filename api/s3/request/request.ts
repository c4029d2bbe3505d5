// One S3 request on its way: what was asked, who asks, and what the operation answers. Plain
// fields, no getters that hide work: a small GET passes here 10,000 times a second.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Bucket } from '../../../appliance/model/bucket.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import type { Body } from '../../../appliance/model/tier.ts';
import type { Payload } from '../body/payload.ts';
import type { RequestHeaders } from '../input/request-headers.ts';
import type { S3Settings } from '../input/settings.ts';
import type { FormFields } from '../signature/form-policy.ts';
import type { Identity } from '../signature/verify.ts';
import type { Level, Query } from '../input/target.ts';

export interface S3Request {
  readonly id: string;
  readonly method: string;
  readonly level: Level;
  readonly bucket: string;
  readonly key: string;
  readonly query: Query;
  /** Lower-case names. Of a presigned request also what the URL carries in their place. */
  readonly headers: RequestHeaders;
  readonly identity: Identity;
  readonly payload: Pick<Payload, 'gather' | 'open' | 'receivedBytes'>;
  /** Of an upload form: its fields as they count. */
  readonly form?: FormFields;
  readonly settings: S3Settings;
  readonly incoming: IncomingMessage;
  readonly response: ServerResponse;
}

/** A request that is allowed, and its bucket. */
export interface OwnedRequest extends S3Request {
  readonly owned: Bucket;
}

/** What an operation answers; one writer makes headers and XML of it (respond.ts). */
export interface Answer {
  status: number;
  /** Name, value, name, value: as node:http writes them without another copy. */
  headers?: string[];
  /** A whole XML document. */
  xml?: string;
  /** Bytes of an object; with `sizeBytes`. */
  body?: Body;
  /** Content-Length of `body`, or of the body that a HEAD leaves out. */
  sizeBytes?: number;
}

export interface Operation {
  /** S3's own name. */
  name: string;
  method: string;
  level: Level;
  /** The query parameter that chooses it. */
  subresource?: string;
  /** Chosen instead of its namesake where x-amz-copy-source is there. */
  copies?: true;
  /** May take longer than clients wait for a first byte: its answer may begin before its end. */
  isSlow?: true;
  /** `bucket`: about one that exists, looked up before the operation runs. */
  access: 'account' | 'bucket';
  /**
   * What access policies call it: allowed before the operation runs, and before 100 Continue.
   * Undefined where the operation itself asks for each of many (access/authorize.ts).
   */
  action: string | ((request: S3Request) => string) | undefined;
  run(request: OwnedRequest): Promise<Answer>;
}

/** Policies tell a named version from the current one. */
export function actionOnVersion(action: string): (request: S3Request) => string {
  const named = `${action}Version`;
  return ({ query }) => (query.has('versionId') ? named : action);
}

/** The header, or the query parameter of a presigned URL in its place. */
export function headerOf(request: S3Request, name: string): string | undefined {
  return request.headers[name];
}

/** A whole number parameter between bounds; InvalidArgument otherwise. */
export function integerParameter(
  query: Query,
  name: string,
  bounds: { from: number; to: number; otherwise: number },
): number {
  const text = query.get(name);
  if (text === undefined) return bounds.otherwise;
  if (!/^\d{1,10}$/.test(text) || Number(text) < bounds.from || Number(text) > bounds.to) {
    throw invalidArgument(`${name} must be a whole number`, name, text);
  }
  return Number(text);
}

export function invalidArgument(reason: string, name: string, value: string): FirnError {
  return new FirnError('InvalidArgument', `Invalid argument: ${reason}.`, {
    details: { ArgumentName: name, ArgumentValue: value },
  });
}

const VERSION_ID = /^(?:null|[0-9a-f]{28})$/;

/** The versionId parameter; InvalidArgument where it can't be one of ours. */
export function versionIdOf(query: Query): string | undefined {
  const text = query.get('versionId');
  if (text === undefined || VERSION_ID.test(text)) return text;
  throw invalidArgument('this is no version id', 'versionId', text);
}

/** x-amz-version-id, where there are versions. */
export function versionIdHeader({ versionId }: { versionId: string | undefined }): string[] {
  return versionId === undefined ? [] : ['x-amz-version-id', versionId];
}

/** The same of a version just written: S3 names none where versioning is suspended. */
export function newVersionIdHeader(made: { versionId: string | undefined }): string[] {
  return made.versionId === 'null' ? [] : versionIdHeader(made);
}

export function isVersionId(text: string): boolean {
  return VERSION_ID.test(text);
}
