// The S3 application: one Koa application with one middleware, which takes every request its whole
// way: request id, target, signature, operation, owner, answer. It takes the raw URL, because a
// router that has decoded it once can't verify a signature over it, and it answers everything
// itself, so that no default page of a framework ever stands where S3's XML should.

import type { IncomingMessage, ServerResponse } from 'node:http';
import Koa from 'koa';
import type { Bucket } from '../../appliance/model/bucket.ts';
import {
  CHECKSUM_ALGORITHMS,
  CHECKSUM_HEADERS,
  checksumOf,
} from '../../appliance/model/checksum.ts';
import { FirnError } from '../../appliance/model/errors.ts';
import { authorize, confirmBucket } from './access/authorize.ts';
import { noteAccess, type AccessLog } from './access-log.ts';
import { Admission, bytesHeld, type Admitted, type AdmissionState } from './input/admission.ts';
import type { FormPayload } from './body/form-payload.ts';
import { Payload } from './body/payload.ts';
import { StallGuard } from './body/stall-guard.ts';
import { corsOfAnswer, preflight } from './cors.ts';
import { operationOf } from './dispatch.ts';
import { formUpload, isForm, readForm, type FormSource } from './form.ts';
import { AUTHORIZE_HEADER, authorizing, withoutConditions } from './operations/authorize-read.ts';
import { isSystemObject, onSystemObject } from './operations/system-object.ts';
import { CORS_VARY } from './request/cors.ts';
import { visibleError } from './answer/errors.ts';
import { refuseUnimplemented } from './request/object-headers.ts';
import { actionsRequest, mayAskForAction, type Actions, type ActionsAnswer } from './actions.ts';
import type { Answer, Operation, OwnedRequest, S3Request } from './request/request.ts';
import type { RequestHeaders } from './input/request-headers.ts';
import { withPatience } from './answer/patience.ts';
import { writeAnswer, writeError, type Exchange } from './answer/respond.ts';
import type { RequestRecord, S3Settings } from './input/settings.ts';
import { AUTH_PARAMETERS } from './signature/claim.ts';
import { verifyRequest } from './signature/verify.ts';
import { bucketNamed, isBelow, parseTarget, type Target } from './input/target.ts';
import { VISITOR, website } from './website/website.ts';

export type Handler = (incoming: IncomingMessage, response: ServerResponse) => void;

/** Requests that asked for 100 Continue: known by the event that brought them. */
const expecting = new WeakSet<IncomingMessage>();

export interface Application {
  handler: Handler;
  /** For the server's event checkContinue: as handler, but 100 is sent only to who may go on. */
  continueHandler: Handler;
  /** For answers to what was no request: a new id. */
  newRequestId(): string;
  /** For metrics. */
  admission(): AdmissionState;
  close(): void;
}

class S3Koa extends Koa {
  /**
   * Koa's own also listens for the end of every response, so that a failure after it is reported:
   * here everything is answered and observed in the middleware (a twentieth of a small GET).
   */
  handleRequest(context: unknown, middleware: (context: unknown) => Promise<void>): Promise<void> {
    return middleware(context);
  }
}

export interface Beside {
  accessLog?: AccessLog | undefined;
  /** Called by forms on this port; those are not implemented where absent. */
  actions?: Actions | undefined;
}

export function buildApplication(settings: S3Settings, beside: Beside = {}): Application {
  const guard = new StallGuard(settings.stallMs);
  const admission = new Admission(settings.admission);
  const newRequestId = requestIds(settings);
  const koa = new S3Koa();
  // What goes wrong is answered and observed here; Koa's own way is to print it.
  koa.on('error', () => undefined);
  koa.use(async (context) => {
    const { req: incoming, res: response } = context;
    await serve(
      { settings, guard, admission, ...beside },
      { incoming, response, id: newRequestId() },
    );
  });
  const callback = koa.callback();
  const handler: Handler = (incoming, response) => {
    callback(incoming, response).catch(() => response.destroy());
  };
  return {
    handler,
    continueHandler: (incoming, response) => {
      expecting.add(incoming);
      handler(incoming, response);
    },
    newRequestId,
    admission: () => admission.state,
    close: () => admission.close(),
  };
}

/**
 * Ids of 16 hex digits: the first 8 random once a process, then a counter from a random start, so
 * that ids of two processes, or of one before and after a restart, do not meet.
 */
function requestIds({ random }: Pick<S3Settings, 'random'>): () => string {
  const start = Buffer.from(random.bytes(8));
  const prefix = start.toString('hex', 0, 4).toUpperCase();
  let last = start.readUInt32BE(4);
  return () => {
    last = (last + 1) >>> 0;
    return prefix + last.toString(16).toUpperCase().padStart(8, '0');
  };
}

interface Arrived {
  incoming: IncomingMessage;
  response: ServerResponse;
  id: string;
}

interface Served {
  target?: Target;
  request?: S3Request;
  operation?: Operation;
  /** Read before anything else was known; to be stopped however the request ends. */
  form?: FormPayload;
  action?: ActionsAnswer;
}

interface Serving extends Beside {
  settings: S3Settings;
  guard: StallGuard;
  admission: Admission;
}

/** Nothing about other origins: to find out would cost what is being saved. */
const NO_MORE: readonly string[] = [];

function enter({ settings, admission }: Serving, exchange: Exchange): Admitted | undefined {
  const { url = '', method = '', headers } = exchange.incoming;
  const bucket = bucketNamed(url, headers.host ?? '', settings.domain);
  const admitted = admission.enter(bucket, bytesHeld(method, headers['content-length']));
  if (admitted === undefined) exchange.more = NO_MORE;
  return admitted;
}

async function serve(serving: Serving, { incoming, response, id }: Arrived): Promise<void> {
  const { settings, accessLog } = serving;
  const startedAt = performance.now();
  const url = incoming.url as string;
  const exchange: Exchange = {
    id,
    incoming,
    response,
    resource: url.split('?', 1)[0] as string,
    expectsContinue: expecting.has(incoming),
  };
  const served: Served = {};
  const outcome = { status: 0, code: undefined as string | undefined, sentBytes: 0 };
  let fault: unknown;
  const admitted = enter(serving, exchange);
  try {
    if (admitted === undefined) throw new FirnError('SlowDown', 'Too many requests in flight.');
    const answer = await answerOf(serving, { exchange, served });
    outcome.status = answer.status;
    outcome.code = served.action?.code;
    fault = served.action?.fault;
    outcome.sentBytes = await writeAnswer(exchange, answer);
  } catch (error) {
    served.form?.stop();
    const visible = visibleError(error);
    outcome.status = visible.status;
    outcome.code = visible.code;
    // To be refused at the door is nobody's fault; a line of log for each would be more load.
    if (visible.fault && admitted !== undefined) fault = error;
    try {
      await addCors(settings, { exchange, served });
      outcome.sentBytes = await writeError(exchange, visible);
    } catch (failure) {
      // Never Koa's own page: a connection cut short is understood, a page of text is not.
      fault ??= failure;
      response.destroy();
    }
  }
  admitted?.leave();
  const durationMs = performance.now() - startedAt;
  settings.observe?.({
    ...outcome,
    ...describe(served),
    requestId: exchange.id,
    method: incoming.method as string,
    durationMs,
    fault,
  });
  const { request, operation } = served;
  if (accessLog !== undefined && request !== undefined && request.bucket !== '') {
    noteAccess(accessLog, { request, operation, ...outcome, durationMs });
  }
}

async function answerOf(
  { settings, guard, actions }: Serving,
  { exchange, served }: { exchange: Exchange; served: Served },
): Promise<Answer> {
  const { incoming } = exchange;
  if (actions !== undefined && mayAskForAction(incoming)) {
    checkHeaders(incoming);
    const target = targetOf(incoming, settings);
    if (target.level === 'service') {
      served.action = await actions(actionsRequest(exchange, { target, settings, guard }));
      return served.action;
    }
  }
  if (incoming.method === 'OPTIONS') {
    checkHeaders(incoming);
    const target = targetOf(incoming, settings);
    served.target = target;
    return preflight(target, incoming.headers as RequestHeaders, settings);
  }
  const request = await admit(settings, guard, { exchange, served });
  const adding = addCors(settings, { exchange, served, owned: request.owned });
  if (adding !== undefined) await adding;
  const operation = served.operation as Operation;
  let work = operation.run(request);
  if (operation.isSlow) work = withPatience(exchange, work, settings.patienceMs);
  return warned(request, await work);
}

/** What a page of another origin may read, and what caches must know; nothing where none asks. */
function addCors(
  settings: S3Settings,
  given: { exchange: Exchange; served: Served; owned?: Bucket },
): Promise<void> | undefined {
  const { exchange, served, owned } = given;
  const { incoming } = exchange;
  const headers = incoming.headers as RequestHeaders;
  if (exchange.more !== undefined) return undefined;
  if (headers['origin'] === undefined) {
    if (owned?.configurations?.['cors'] !== undefined) exchange.more = ['Vary', CORS_VARY];
    return undefined;
  }
  const bucket = served.target?.bucket ?? '';
  if (bucket === '' || incoming.method === 'OPTIONS') return undefined;
  const about = { method: incoming.method as string, headers, bucket };
  return corsOfAnswer(about, settings, owned).then((more) => {
    exchange.more = more;
  });
}

/** Who writes into a bucket is told in time that its quota, or its owner's, will be used up. */
function warned(request: OwnedRequest, answer: Answer): Answer {
  const { level, method, owned } = request;
  // POST on a bucket: a form.
  const writes = method === 'POST' || (method === 'PUT' && level === 'object');
  // Neither a website's visitor nor who asks for something of his account writes into a bucket.
  if (!writes || owned === NO_BUCKET) return answer;
  const said = request.settings.engine.quotaWarning(owned);
  if (said === undefined) return answer;
  return { ...answer, headers: [...(answer.headers ?? []), 'x-firn-quota-warning', said] };
}

function describe(
  served: Served,
): Pick<RequestRecord, 'operation' | 'bucket' | 'account' | 'receivedBytes'> {
  return {
    operation: served.operation?.name ?? served.action?.operation,
    bucket: served.target?.bucket ?? '',
    account: served.request?.identity.account ?? served.action?.account,
    receivedBytes: served.request?.payload.receivedBytes ?? 0,
  };
}

/** Everything that stands before an operation. What returns from here is signed and owned. */
async function admit(
  settings: S3Settings,
  guard: StallGuard,
  { exchange, served }: { exchange: Exchange; served: Served },
): Promise<OwnedRequest> {
  const { incoming, response, expectsContinue } = exchange;
  const method = incoming.method as string;
  let headers = incoming.headers as RequestHeaders;
  checkHeaders(incoming);
  const isSite = isBelow(headers['host'], settings.websiteDomain);
  const target = targetOf(incoming, settings);
  served.target = target;
  if (!isSite && isForm(incoming, target)) {
    return admitForm(served, { exchange, target, settings, guard });
  }
  const { rawHeaders } = incoming;
  const identity = isSite
    ? VISITOR
    : await verifyRequest({ method, target, headers, rawHeaders }, settings);
  if (identity.kind === 'presigned') headers = withHoisted(headers, target);
  let operation = isSite ? website : operationOf(method, target, headers);
  if (!isSite) {
    if (isSystemObject(target.key)) operation = onSystemObject(operation);
    if (headers[AUTHORIZE_HEADER] !== undefined) {
      operation = authorizing(operation);
      headers = withoutConditions(headers);
    }
    refuseUnimplemented(headers);
  }
  served.operation = operation;
  const payload = new Payload({ incoming, response, headers, identity, guard, expectsContinue });
  const request: S3Request & { owned: Bucket } = {
    id: exchange.id,
    method,
    level: target.level,
    bucket: target.bucket,
    key: target.key,
    query: target.query,
    headers,
    identity,
    payload,
    settings,
    incoming,
    response,
    owned: NO_BUCKET,
  };
  served.request = request;
  if (!isSite) request.owned = (await authorize(request, operation)) ?? NO_BUCKET;
  if (request.owned !== NO_BUCKET) payload.afterWait = () => confirmBucket(request);
  return request;
}

/** The same for an upload form. */
async function admitForm(served: Served, source: FormSource): Promise<OwnedRequest> {
  served.operation = formUpload;
  const request = { ...(await readForm(source)), owned: NO_BUCKET };
  served.request = request;
  served.form = request.payload;
  if (isSystemObject(request.key)) served.operation = onSystemObject(formUpload);
  refuseUnimplemented(request.headers);
  request.owned = (await authorize(request, formUpload)) ?? NO_BUCKET;
  request.payload.afterWait = () => confirmBucket(request);
  return request;
}

function targetOf(incoming: IncomingMessage, settings: S3Settings): Target {
  const { host = '' } = incoming.headers;
  const { domain, websiteDomain } = settings;
  const below = isBelow(host, websiteDomain) ? websiteDomain : domain;
  return parseTarget(incoming.url as string, host, below);
}

/**
 * Stands where an operation is about no bucket that exists; reading it is a mistake in our code.
 */
const NO_BUCKET = undefined as unknown as Bucket;

const CONTENT_LENGTH_DIGITS_MAX = 15;

/** What node's parser lets through though two readers would understand it differently. */
function checkHeaders(incoming: IncomingMessage): void {
  const { rawHeaders, headers } = incoming;
  let hosts = 0;
  let authorizations = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string;
    if (name.length === 4 && name.toLowerCase() === 'host') hosts++;
    else if (name.length === 13 && name.toLowerCase() === 'authorization') authorizations++;
  }
  if (hosts !== 1 || authorizations > 1) {
    throw new FirnError('InvalidRequest', 'A request must have one Host and one Authorization.');
  }
  if ((headers['content-length']?.length ?? 0) > CONTENT_LENGTH_DIGITS_MAX) {
    throw new FirnError('InvalidRequest', 'Content-Length is larger than any object.');
  }
}

/**
 * Checksums of no bytes. SDKs sign one into a URL for an upload, since there is no body yet: S3
 * itself ignores checksums in a query, we only these, which nobody means.
 */
const EMPTY_CHECKSUMS = new Set(
  CHECKSUM_ALGORITHMS.map(
    (algorithm) => `${CHECKSUM_HEADERS[algorithm]}=${checksumOf(algorithm, new Uint8Array(0))}`,
  ),
);

/** Some signers put x-amz-* headers into the presigned URL: signed there, they count as headers. */
function withHoisted(headers: RequestHeaders, target: Target): RequestHeaders {
  let merged = headers;
  for (const [name, value] of target.query.pairs) {
    const lower = name.toLowerCase();
    if (!lower.startsWith('x-amz-') || AUTH_PARAMETERS.has(lower)) continue;
    if (EMPTY_CHECKSUMS.has(`${lower}=${value}`)) continue;
    if (merged === headers) merged = { ...headers };
    merged[lower] ??= Buffer.from(value, 'utf8').toString('latin1');
  }
  return merged;
}
