// Static websites: BUCKET.WEBSITE-DOMAIN shows the bucket's objects as pages. The danger is a page
// that nobody meant to publish: so a visitor is always anonymous, whatever a request is signed
// with, and every object that is looked at, also the index, the error page and the folder guessed
// at, is asked for as that visitor and shown only where that visitor may read it.

import type { Bucket } from '../../../appliance/model/bucket.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import type { GetAnswer, HeadAnswer } from '../../../appliance/model/requests.ts';
import { authorizeAction, bucketOf } from '../access/authorize.ts';
import { visibleError } from '../answer/errors.ts';
import { Query } from '../input/target.ts';
import { headerOfText } from '../request/object-headers.ts';
import { describeRead, notModified, readOf } from '../request/read-object.ts';
import type { Answer, Operation, S3Request } from '../request/request.ts';
import { ANONYMOUS, type Identity } from '../signature/verify.ts';
import { websiteOf, type Website } from './configuration.ts';
import { addressOf, failurePage, redirected, redirectOf, ruleFor, type Failure } from './pages.ts';

/** Who asks for a page. */
export const VISITOR: Identity = {
  account: ANONYMOUS,
  accessKey: '',
  kind: 'anonymous',
  payloadHash: 'UNSIGNED-PAYLOAD',
  chunks: undefined,
};

const NO_QUERY = new Query([]);
const HOST = /^[a-z0-9.-]+(?::\d{1,5})?$/i;
const REDIRECT = 'x-amz-website-redirect-location';
/** What a redirect of an object may begin with: never a script. */
const REDIRECT_FORM = /^(?:\/|https?:\/\/)/;

interface Site {
  request: S3Request;
  bucket: Bucket;
  pages: Extract<Website, { kind: 'pages' }>;
}

async function run(given: S3Request): Promise<Answer> {
  // What a visitor puts behind the question mark is for the page, never for us.
  const request: S3Request = { ...given, identity: VISITOR, query: NO_QUERY };
  try {
    return await answerOf(request);
  } catch (error) {
    return failurePage(failureOf(error), request.id);
  }
}

/** Throws what is our own fault: an operator is to see that. */
function failureOf(error: unknown): Failure {
  const visible = visibleError(error);
  if (visible.fault) throw error;
  const { status, code, message, headers } = visible;
  return { status, code, message, headers };
}

async function answerOf(request: S3Request): Promise<Answer> {
  const { method } = request;
  if (method !== 'GET' && method !== 'HEAD') {
    throw new FirnError('MethodNotAllowed', 'A website only answers GET and HEAD.', {
      details: { Allow: 'GET, HEAD' },
    });
  }
  const bucket = await bucketOf(request, request.bucket, 'x-amz-expected-bucket-owner');
  const xml = bucket.configurations?.['website'];
  if (xml === undefined) {
    throw new FirnError('NoSuchWebsiteConfiguration', 'The bucket has no website configuration.');
  }
  const website = websiteOf(xml);
  if (website.kind === 'redirect') return redirected(301, addressOf(website, request.key));
  return show({ request, bucket, pages: website });
}

async function show(site: Site): Promise<Answer> {
  const { request, pages } = site;
  const { key } = request;
  const early = ruleFor(pages.rules, key);
  if (early !== undefined) return redirectOf(early, key, hostOf(request));
  const isFolder = key === '' || key.endsWith('/');
  try {
    return await pageOf(site, isFolder ? key + pages.index : key);
  } catch (error) {
    const failure = failureOf(error);
    const isAbsent = failure.status === 404 || failure.status === 403;
    if (isAbsent && !isFolder && (await mayShow(site, `${key}/${pages.index}`))) {
      return redirected(302, addressOf({ hostName: hostOf(request) }, `${key}/`));
    }
    const rule = ruleFor(pages.rules, key, failure.status);
    if (rule !== undefined) return redirectOf(rule, key, hostOf(request));
    return failed(site, failure);
  }
}

/** The host as the visitor wrote it. */
function hostOf({ headers, bucket, settings }: S3Request): string {
  const host = headers['host'] ?? '';
  return HOST.test(host) ? host : `${bucket}.${settings.websiteDomain}`;
}

/** The object, if the visitor may read it. Absence is told only to who may list (S3). */
async function find({ request, bucket }: Site, key: string): Promise<HeadAnswer> {
  const name = { bucket: bucket.name, key, known: bucket };
  let answer: HeadAnswer;
  try {
    answer = await request.settings.engine.headObject(name);
  } catch (error) {
    // Says what is to be said to this visitor.
    await authorizeAction(request, 's3:GetObject', { bucket, key });
    throw error;
  }
  await authorizeAction(request, 's3:GetObject', { bucket, key, version: answer.version });
  return answer;
}

async function mayShow(site: Site, key: string): Promise<boolean> {
  try {
    await find(site, key);
    return true;
  } catch (error) {
    failureOf(error);
    return false;
  }
}

async function pageOf(site: Site, key: string): Promise<Answer> {
  const { version } = await find(site, key);
  const elsewhere = version.headers[REDIRECT];
  if (elsewhere !== undefined && REDIRECT_FORM.test(elsewhere)) {
    return redirected(301, headerOfText(elsewhere));
  }
  return bytesOf(site, key, site.request);
}

/** `request` says range and conditions. */
async function bytesOf(site: Site, key: string, request: S3Request): Promise<Answer> {
  const { engine } = request.settings;
  const page: S3Request = { ...request, key };
  const read = await readOf(page);
  read.known = site.bucket;
  try {
    const isHead = request.method === 'HEAD';
    const answer = isHead ? await engine.headObject(read) : await engine.getObject(read);
    const { version } = answer;
    // By this very version's list and tags: it may have come since the look before.
    await authorizeAction(page, 's3:GetObject', { bucket: site.bucket, key, version });
    const shown: Answer = {
      status: answer.partial ? 206 : 200,
      headers: describeRead(page, read, answer),
      sizeBytes: answer.range.length,
    };
    if (!isHead) shown.body = (answer as GetAnswer).body;
    return shown;
  } catch (error) {
    return notModified(page, read, error);
  }
}

/** The site's own error page, in full, where it has one that the visitor may read. */
async function failed(site: Site, failure: Failure): Promise<Answer> {
  const { request, pages } = site;
  const { errorKey } = pages;
  if (errorKey !== undefined && (await mayShow(site, errorKey))) {
    const { range: _r, ...unconditional } = request.headers;
    const headers = Object.fromEntries(
      Object.entries(unconditional).filter(([name]) => !name.startsWith('if-')),
    );
    try {
      const page = await bytesOf(site, errorKey, { ...request, headers });
      return { ...page, status: failure.status };
    } catch (error) {
      failureOf(error);
    }
  }
  return failurePage(failure, request.id);
}

/** No row of the table: it is chosen by the host alone. */
export const website: Operation = {
  name: 'WebsiteGet',
  method: 'GET',
  level: 'object',
  access: 'bucket',
  action: undefined,
  run,
};
