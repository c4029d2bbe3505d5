// Copies of 5 GiB and uploads of 10,000 parts take longer than clients and proxies wait for the
// first byte of an answer; who gives up tries again, and the work is done twice. So, as S3 does it,
// the answer begins before its end is known: 200, the XML declaration, and a blank now and then.
// The price is that a failure after that is a 200 with an Error in it, which careless clients take
// for success: so nothing is begun in the first 5 s, in which nearly all of them end.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { XML_DECLARATION } from '../xml/write.ts';

const PATIENCE_MS = 5000;

/** Answers that have begun: their status is sent, and what comes is the rest of a document. */
const begun = new WeakSet<ServerResponse>();

export function hasBegun(response: ServerResponse): boolean {
  return begun.has(response);
}

interface Waiting {
  id: string;
  incoming: IncomingMessage;
  response: ServerResponse;
  /** Headers of every answer to this request. */
  more?: readonly string[] | undefined;
}

/** What `work` comes to. Begins the answer meanwhile, if that takes long. */
export async function withPatience<T>(
  { id, incoming, response, more = [] }: Waiting,
  work: Promise<T>,
  patienceMs = PATIENCE_MS,
): Promise<T> {
  const timer = setInterval(() => {
    // While the request is still coming, its sender waits for nothing.
    if (!incoming.complete || response.destroyed) return;
    if (!begun.has(response)) {
      if (response.headersSent) return;
      begun.add(response);
      const headers = ['x-amz-request-id', id, 'Content-Type', 'application/xml', ...more];
      response.writeHead(200, headers);
      response.write(XML_DECLARATION);
    }
    response.write(' ');
  }, patienceMs);
  try {
    return await work;
  } finally {
    clearInterval(timer);
  }
}

/** Ends a begun answer with the document; its declaration is sent already. */
export function endBegun(response: ServerResponse, xml: string): number {
  const rest = Buffer.from(xml.slice(XML_DECLARATION.length), 'utf8');
  response.end(rest);
  return rest.length;
}
