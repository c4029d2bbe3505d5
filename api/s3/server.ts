// What a server of S3 must be set to, and the two events that never reach the application. What
// node's parser refuses (two Content-Lengths, a bare line feed, a header that is too long) has no
// request and no response: it is answered here in S3's XML all the same, with a request id, and the
// connection closed.

import type { Server, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { FirnError } from '../../appliance/model/errors.ts';
import { HEADER_BYTES_MAX } from '../../appliance/model/limits.ts';
import type { Application } from './application.ts';
import { errorXml, visibleError } from './answer/errors.ts';
import type { RequestRecord, S3Settings } from './input/settings.ts';

/** For http.createServer; attach sets the same, so that any server will do. */
export const SERVER_OPTIONS = {
  /** Node's 16 KiB are too few for 2 KiB of metadata behind some proxies. */
  maxHeaderSize: HEADER_BYTES_MAX,
  /** A total time would end long uploads: the stall guard stands in its place. */
  requestTimeout: 0,
  headersTimeout: 60_000,
  /** Node's 5 s reset the idle connections of proxies. */
  keepAliveTimeout: 75_000,
  /** Without Host our own XML answers, not an empty 400. */
  requireHostHeader: false,
} as const;

export function attachTo(server: Server, application: Application, settings: S3Settings): void {
  Object.assign(server, SERVER_OPTIONS);
  server.on('request', application.handler);
  server.on('checkContinue', application.continueHandler);
  // Any other expectation: served as if it weren't there, as S3 does.
  server.on('checkExpectation', application.handler);
  server.on('clientError', (error, socket) => refuse(error, socket, { application, settings }));
}

function refusalOf(code: string | undefined, begun: boolean): FirnError {
  switch (code ?? '') {
    case 'HPE_HEADER_OVERFLOW':
      return new FirnError(
        'RequestHeaderSectionTooLarge',
        'Your request header section exceeds the maximum allowed size.',
        { details: { MaxSizeAllowed: String(HEADER_BYTES_MAX) } },
      );
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new FirnError('RequestTimeout', 'The request did not come in time.');
    case 'HPE_INVALID_EOF_STATE':
      return begun
        ? new FirnError('IncompleteBody', 'The body ended before all announced bytes came.')
        : new FirnError('InvalidRequest', 'The request ended in its head.');
    default:
      return new FirnError('InvalidRequest', 'The request is not valid HTTP.');
  }
}

function refuse(
  error: NodeJS.ErrnoException,
  socket: Duplex & { _httpMessage?: ServerResponse | null },
  { application, settings }: { application: Application; settings: S3Settings },
): void {
  // An answer that has begun can't be followed by another: the cut tells the client.
  const current = socket._httpMessage;
  if (error.code === 'ECONNRESET' || !socket.writable || current?.headersSent === true) {
    socket.destroy();
    return;
  }
  const id = application.newRequestId();
  const visible = visibleError(refusalOf(error.code, current !== undefined && current !== null));
  const body = errorXml(visible, '/', id);
  const head = [
    `HTTP/1.1 ${visible.status} Bad Request`,
    `x-amz-request-id: ${id}`,
    `Date: ${new Date(settings.clock.wall()).toUTCString()}`,
    'Content-Type: application/xml',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
  settings.observe?.(recordOf(id, visible.status, visible.code));
}

function recordOf(requestId: string, status: number, code: string): RequestRecord {
  return {
    requestId,
    operation: undefined,
    method: '',
    bucket: '',
    status,
    code,
    account: undefined,
    durationMs: 0,
    receivedBytes: 0,
    sentBytes: 0,
    fault: undefined,
  };
}
