// The way of an upload form: its fields are read, then who signed its policy is found, and only
// then is it the same as any other request. The danger: a form is read before anybody is known, so
// what it may cost until then is bounded (body/form-reader.ts), and no other place takes one.

import type { IncomingMessage } from 'node:http';
import { FormPayload } from './body/form-payload.ts';
import { FormReader } from './body/form-reader.ts';
import { IncomingBody } from './body/incoming-body.ts';
import type { StallGuard } from './body/stall-guard.ts';
import type { Exchange } from './answer/respond.ts';
import type { RequestHeaders } from './input/request-headers.ts';
import type { S3Settings } from './input/settings.ts';
import { Query, type Target } from './input/target.ts';
import { postObject } from './operations/post-object.ts';
import { effectiveFields, headersOfForm } from './request/form-fields.ts';
import type { Operation, S3Request } from './request/request.ts';
import { verifyForm } from './signature/form-claim.ts';
import { isUnsigned } from './signature/verify.ts';

const FORM = /^multipart\/form-data\s*(?:;|$)/i;

/** Whether this is an upload form: a POST to a bucket that nothing in its head signs. */
export function isForm({ method, headers }: IncomingMessage, target: Target): boolean {
  return (
    method === 'POST' &&
    target.level === 'bucket' &&
    target.query.pairs.length === 0 &&
    FORM.test(headers['content-type'] ?? '') &&
    isUnsigned(headers as RequestHeaders, target)
  );
}

/** What is asked of access policies: the form's own object. */
export const formUpload: Operation = { ...postObject, level: 'object' };

const NO_QUERY = new Query([]);

export interface FormSource {
  exchange: Exchange;
  target: Target;
  settings: S3Settings;
  guard: StallGuard;
}

/**
 * Resolves to the form as a request of its signer, or of nobody; every field is held by its policy.
 * Its payload must be stopped, whatever happens next. Throws as FormReader, effectiveFields,
 * verifyForm and headersOfForm do.
 */
export async function readForm(source: FormSource): Promise<S3Request & { payload: FormPayload }> {
  const { exchange, target, settings, guard } = source;
  const { incoming, response } = exchange;
  const { bucket } = target;
  if (exchange.expectsContinue) response.writeContinue();
  const body = new IncomingBody(incoming, guard);
  try {
    const reader = new FormReader(body, incoming.headers['content-type'] as string);
    const sent = await reader.fields();
    const form = effectiveFields(sent, { bucket, fileName: reader.fileName });
    const { identity, size } = await verifyForm(form, settings);
    const headers = headersOfForm(form, incoming.headers as RequestHeaders);
    return {
      id: exchange.id,
      method: 'POST',
      level: 'object',
      bucket,
      key: form.get('key') as string,
      query: NO_QUERY,
      headers,
      identity,
      payload: new FormPayload({ reader, headers, size }),
      form,
      settings,
      incoming,
      response,
    };
  } catch (error) {
    body.stop();
    throw error;
  }
}
