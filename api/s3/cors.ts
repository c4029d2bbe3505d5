// Cross-origin answers: a browser asks beforehand, unsigned (preflight), and reads what it asked
// for only if the answer says so, errors too. A request without an Origin costs nothing here but
// where its bucket has rules: caches must then know that another page would get another answer.

import { FirnError, isFirnError } from '../../appliance/model/errors.ts';
import type { Bucket } from '../../appliance/model/bucket.ts';
import type { RequestHeaders } from './input/request-headers.ts';
import type { S3Settings } from './input/settings.ts';
import type { Target } from './input/target.ts';
import { CORS_VARY, corsHeaders, corsQuestionOf, corsRulesOf } from './request/cors.ts';
import type { Answer } from './request/request.ts';

const badRequest = (message: string): FirnError => new FirnError('BadRequest', message);

const forbidden = (message: string): FirnError =>
  new FirnError('AccessForbidden', `CORSResponse: ${message}`);

/** Answers OPTIONS: may the page send such a request? Throws BadRequest, AccessForbidden. */
export async function preflight(
  target: Target,
  headers: RequestHeaders,
  { engine }: Pick<S3Settings, 'engine'>,
): Promise<Answer> {
  if (headers['origin'] === undefined) {
    throw badRequest('Insufficient information. Origin request header needed.');
  }
  const question = corsQuestionOf('OPTIONS', headers);
  if (question === undefined) {
    throw badRequest('Insufficient information. Access-Control-Request-Method needed.');
  }
  const bucket = target.bucket === '' ? undefined : await bucketIfThere(target.bucket, engine);
  const xml = bucket?.configurations?.['cors'];
  // One answer for a bucket without rules and for none: who asks has not said who he is.
  if (xml === undefined) throw forbidden('CORS is not enabled for this bucket.');
  const allowed = corsHeaders(corsRulesOf(xml), question);
  if (allowed === undefined) {
    throw forbidden(
      'This CORS request is not allowed: no rule has this origin, method and headers.',
    );
  }
  return { status: 200, headers: [...allowed, 'Vary', CORS_VARY], sizeBytes: 0 };
}

async function bucketIfThere(
  name: string,
  engine: S3Settings['engine'],
): Promise<Bucket | undefined> {
  try {
    return await engine.getBucket(name);
  } catch (error) {
    if (isFirnError(error, 'NoSuchBucket')) return undefined;
    throw error;
  }
}

/**
 * What an answer to a request with an Origin has in addition. Never throws: a page that may not
 * read an answer is the safe side. `owned` is its bucket, where that is known already.
 */
export async function corsOfAnswer(
  about: { method: string; headers: RequestHeaders; bucket: string },
  { engine }: Pick<S3Settings, 'engine'>,
  owned: Bucket | undefined,
): Promise<string[]> {
  try {
    const bucket = owned ?? (await bucketIfThere(about.bucket, engine));
    const xml = bucket?.configurations?.['cors'];
    const question = corsQuestionOf(about.method, about.headers);
    if (xml === undefined || question === undefined) return [];
    return [...(corsHeaders(corsRulesOf(xml), question) ?? []), 'Vary', CORS_VARY];
  } catch {
    return [];
  }
}
