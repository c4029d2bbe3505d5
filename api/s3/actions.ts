// The seam for services that share this port and are called by forms: POST / with Action=… (IAM and
// STS, api/iam). The body is read before anybody is known, since these clients sign its hash and
// send none: so it is bounded, and nothing of it is looked at before the signature holds.

import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { FirnError } from '../../appliance/model/errors.ts';
import { IncomingBody } from './body/incoming-body.ts';
import type { StallGuard } from './body/stall-guard.ts';
import type { Exchange } from './answer/respond.ts';
import type { RequestHeaders } from './input/request-headers.ts';
import type { S3Settings } from './input/settings.ts';
import type { Target } from './input/target.ts';
import type { Answer } from './request/request.ts';
import { isUnsigned, verifyRequest, type Identity } from './signature/verify.ts';

/** A policy document of 10 KiB, every character of it percent-encoded, ten times over. */
const BODY_BYTES_MAX = 300 * 1024;
const SERVICES = ['iam', 'sts', 's3'];
const FORM = /^application\/x-www-form-urlencoded\s*(?:;|$)/i;

export interface ActionsRequest {
  id: string;
  incoming: IncomingMessage;
  /** The form. Throws as a body that doesn't come, or MaxMessageLengthExceeded. */
  body(): Promise<string>;
  /** Who signed it, and that body. Throws as verifyRequest, MissingAuthenticationToken. */
  identify(): Promise<Identity>;
}

export interface ActionsAnswer extends Answer {
  /** For metrics: `iam:CreateUser`; undefined for what is none. */
  operation: string | undefined;
  account: string | undefined;
  /** Of a refusal. */
  code: string | undefined;
  /** Where the fault is ours. */
  fault?: unknown;
}

/** Never rejects: refusals are answered in the form of that service. */
export type Actions = (request: ActionsRequest) => Promise<ActionsAnswer>;

/** Its target must be the service besides: whoever asks finds that out only where this holds. */
export function mayAskForAction({ method, headers }: IncomingMessage): boolean {
  return method === 'POST' && FORM.test(headers['content-type'] ?? '');
}

export function actionsRequest(
  exchange: Exchange,
  given: { target: Target; settings: S3Settings; guard: StallGuard },
): ActionsRequest {
  const { incoming, id } = exchange;
  const headers = incoming.headers as RequestHeaders;
  let read: Promise<Buffer> | undefined;
  const bytes = (): Promise<Buffer> => (read ??= readBody(exchange, given.guard));
  return {
    id,
    incoming,
    body: async () => (await bytes()).toString('utf8'),
    async identify() {
      const { target, settings } = given;
      if (isUnsigned(headers, target)) {
        throw new FirnError('MissingAuthenticationToken', 'Request is missing a signature.');
      }
      const bodyHash = createHash('sha256')
        .update(await bytes())
        .digest('hex');
      const { rawHeaders } = incoming;
      const service = { names: SERVICES, bodyHash };
      return verifyRequest({ method: 'POST', target, headers, rawHeaders, service }, settings);
    },
  };
}

async function readBody(exchange: Exchange, guard: StallGuard): Promise<Buffer> {
  const { incoming, response } = exchange;
  if (Number(incoming.headers['content-length'] ?? 0) > BODY_BYTES_MAX) throw tooLong();
  if (exchange.expectsContinue) {
    exchange.expectsContinue = false;
    response.writeContinue();
  }
  const body = new IncomingBody(incoming, guard);
  const pieces: Buffer[] = [];
  try {
    for (;;) {
      const piece = await body.next();
      if (piece === undefined) return Buffer.concat(pieces);
      if (body.receivedBytes > BODY_BYTES_MAX) throw tooLong();
      pieces.push(piece);
    }
  } finally {
    body.stop();
  }
}

const tooLong = (): FirnError =>
  new FirnError('MaxMessageLengthExceeded', 'Your request was too big.');
