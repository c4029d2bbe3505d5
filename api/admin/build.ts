// The admin port: one Koa application with @koa/router. Outside /v1 stand only health and metrics;
// inside it a request is authenticated before anything else happens, its body is read within a
// bound and compared with what was signed, and its input is checked by the route's own schemas.

import type { IncomingMessage, ServerResponse } from 'node:http';
import Router from '@koa/router';
import Koa from 'koa';
import type { Context } from 'koa';
import { z } from 'zod';
import type { HealthAnswer } from '../../appliance/model/answers.ts';
import { FirnError } from '../../appliance/model/errors.ts';
import { newId } from '../../appliance/model/ids.ts';
import { MiB } from '../../appliance/model/limits.ts';
import { authenticate, checkBody } from './authenticate.ts';
import { renderMetrics } from '../metrics.ts';
import { answerOf } from './errors.ts';
import { gauges } from './queries/gauges.ts';
import { openApiDocument } from './openapi.ts';
import type { AdminOptions } from './contract/options.ts';
import { isTextAnswer } from './contract/route.ts';
import type { Route } from './contract/route.ts';
import { routes } from './routes/all-routes.ts';
import { sendStream } from './stream.ts';

/** Policy files are text of people; nothing else that comes in is larger. */
const BODY_BYTES_MAX = 8 * MiB;

interface AdminState {
  requestId: string;
  account: string;
  body: unknown;
}

export interface Admin {
  handler: (request: IncomingMessage, response: ServerResponse) => void;
  routes: readonly Route[];
}

export function buildAdmin(options: AdminOptions): Admin {
  const app = new Koa();
  // Koa prints what it doesn't understand; everything that we answer has been told to `fault`.
  app.silent = true;
  app.use(errors(options));
  app.use(openPaths(options).routes());
  app.use(signedOnly(options));
  app.use(settledFirst(options));
  const router = new Router({ prefix: '/v1', strict: true, sensitive: true });
  for (const route of routes) {
    const path = route.path;
    const handle = (ctx: Context): Promise<void> => serve(ctx, route, options);
    if (route.method === 'GET') router.get(path, handle);
    else if (route.method === 'POST') router.post(path, handle);
    else router.delete(path, handle);
  }
  const document = openApiDocument(routes, options.version);
  router.get('/openapi.json', (ctx: Context) => {
    ctx.body = document;
  });
  app.use(router.routes());
  app.use((ctx) => {
    const known = routes.some((route) => matches(route, ctx.path));
    throw new FirnError(
      known ? 'MethodNotAllowed' : 'NoSuchKey',
      known ? `${ctx.method} is not for ${ctx.path}` : `there is nothing at ${ctx.path}`,
      { hint: '/v1/openapi.json lists what there is' },
    );
  });
  const callback = app.callback();
  return { handler: (request, response) => void callback(request, response), routes };
}

const matches = (route: Route, path: string): boolean =>
  new RegExp(`^/v1${route.path.replace(/:\w+/g, '[^/]+')}$`).test(path);

function errors(options: AdminOptions): Koa.Middleware {
  return async (ctx, next) => {
    const requestId = newId(options.random);
    ctx.state = { requestId, account: '', body: undefined } satisfies AdminState;
    ctx.set('x-firn-request-id', requestId);
    ctx.set('cache-control', 'no-store');
    try {
      await next();
    } catch (error) {
      const { status, answer, internal } = answerOf(error, requestId);
      if (internal) options.fault(requestId, error);
      ctx.status = status;
      ctx.body = answer;
    }
  };
}

/**
 * Health is for probes that have no keys; it says yes, or what is missing, and nothing of the data.
 */
function openPaths(options: AdminOptions): Router {
  const router = new Router();
  router.get('/health/live', (ctx: Context) => {
    ctx.body = { status: 'live', version: options.version };
  });
  router.get('/health/ready', async (ctx: Context) => {
    const reasons = await options.readiness();
    const answer: HealthAnswer = { status: reasons.length === 0 ? 'ready' : 'unready', reasons };
    ctx.status = reasons.length === 0 ? 200 : 503;
    if (reasons.length > 0) ctx.set('retry-after', '1');
    ctx.body = answer;
  });
  router.get('/metrics', async (ctx: Context) => {
    if (options.metricsSigned) await authenticated(ctx, options);
    ctx.type = 'text/plain; version=0.0.4; charset=utf-8';
    ctx.body = await renderMetrics(await options.requestSnapshots(), await gauges(options));
  });
  return router;
}

function signedOnly(options: AdminOptions): Koa.Middleware {
  return async (ctx, next) => {
    await authenticated(ctx, options);
    await next();
  };
}

/** What a change is answered may rest on what was only read: also that must be durable (D3). */
function settledFirst(options: AdminOptions): Koa.Middleware {
  return async (ctx, next) => {
    try {
      await next();
    } finally {
      if (ctx.method !== 'GET') await options.store.settled();
    }
  };
}

/** After this the account is known and the body is what was signed. */
async function authenticated(ctx: Context, options: AdminOptions): Promise<void> {
  const signed = await authenticate(ctx.req, {
    accounts: options.accounts,
    region: options.region,
    wall: () => options.clock.wall(),
  });
  const body = await readBody(ctx.req);
  checkBody(signed, body);
  const state = ctx.state as AdminState;
  state.account = signed.account;
  state.body = parseJson(body);
}

/**
 * A body that is too long is still read to its end, within reason, and thrown away: who cuts a
 * sender off in the middle resets the connection, and the sender never sees why.
 */
async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of request) {
      size += (chunk as Buffer).length;
      if (size <= BODY_BYTES_MAX) chunks.push(chunk as Buffer);
      else if (size > 8 * BODY_BYTES_MAX) break;
    }
  } catch (cause) {
    // Whoever hangs up in the middle is no fault for our log.
    throw new FirnError('InvalidRequest', 'the body ended early', { cause });
  }
  if (size <= BODY_BYTES_MAX) return Buffer.concat(chunks);
  throw new FirnError('MaxMessageLengthExceeded', 'the body is longer than 8 MiB', {
    hint: 'split the policy files, or name fewer of them',
  });
}

function parseJson(body: Buffer): unknown {
  if (body.length === 0) return {};
  try {
    return JSON.parse(body.toString('utf8')) as unknown;
  } catch (cause) {
    throw new FirnError('InvalidArgument', 'the body is not JSON', { cause });
  }
}

async function serve(ctx: Context, route: Route, options: AdminOptions): Promise<void> {
  const state = ctx.state as AdminState;
  const gone = new AbortController();
  ctx.res.once('close', () => {
    if (!ctx.res.writableFinished) gone.abort();
  });
  const input = {
    options,
    account: state.account,
    params: ctx['params'] as Record<string, string>,
    query: checked(route.query ?? z.strictObject({}), { ...ctx.query }, 'query'),
    body: checked(route.body ?? z.strictObject({}), state.body, 'body'),
    accept: ctx.get('accept'),
    signal: gone.signal,
  };
  if (route.streams && input.accept.includes('application/x-ndjson')) {
    await sendStream(ctx, (progress) => route.handle({ ...input, progress }), {
      requestId: state.requestId,
      fault: (error) => options.fault(state.requestId, error),
    });
    return;
  }
  const answer = await route.handle({ ...input, progress: () => undefined });
  ctx.status = route.status;
  if (isTextAnswer(answer)) {
    ctx.type = answer.contentType;
    ctx.body = answer.text;
  } else {
    ctx.body = answer;
  }
}

function checked(schema: z.ZodType, value: unknown, where: string): unknown {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const path = issue === undefined ? '' : issue.path.join('.');
  throw new FirnError(
    'InvalidArgument',
    `${where}${path === '' ? '' : ` ${path}`}: ${issue?.message ?? 'invalid'}`,
    { hint: '/v1/openapi.json says what it takes' },
  );
}
