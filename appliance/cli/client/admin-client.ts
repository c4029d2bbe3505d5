// The admin API from the client's side: JSON over SigV4 with service `firn`. Long answers come as
// lines of JSON (progress, then result or error), so that a plan over millions of objects is never
// silent.

import { answeredError, Connection } from './connection.ts';
import type { IncomingAnswer } from './connection.ts';
import type { KeyPairInHand } from './credentials.ts';
import { FirnError } from '../../model/errors.ts';
import { encodeComponent } from '../../model/signature.ts';

export type Query = Record<string, string | number | boolean | undefined>;

export interface AdminCall {
  method: 'GET' | 'POST' | 'DELETE';
  /** Under /v1, with encoded ids: `/restores/abc`. */
  path: string;
  query?: Query;
  body?: object;
}

interface ProgressEvent {
  objects: number;
  bytes: number;
}

const NDJSON = 'application/x-ndjson';

export class AdminClient {
  readonly #connection: Connection;

  constructor(
    settings: { adminEndpoint: string; region: string },
    credentials: KeyPairInHand,
    options: { wall: () => number; signal?: AbortSignal },
  ) {
    this.#connection = new Connection({
      endpoint: settings.adminEndpoint,
      endpointFlag: '--endpoint',
      region: settings.region,
      credentials,
      service: 'firn',
      connections: 4,
      ...options,
    });
  }

  async close(): Promise<void> {
    await this.#connection.close();
  }

  /** The answer's JSON; every error of the server as FirnError with its code, message and hint. */
  async call<T>(call: AdminCall): Promise<T> {
    const answer = await this.#send(call, 'application/json');
    return (await this.#parsed(answer)) as T;
  }

  /** As call, for work that takes a while; `onProgress` sees how far it is. */
  async stream<T>(call: AdminCall, onProgress: (event: ProgressEvent) => void): Promise<T> {
    const answer = await this.#send(call, `${NDJSON}, application/json`);
    if (!String(answer.headers['content-type']).startsWith(NDJSON)) {
      return (await this.#parsed(answer)) as T;
    }
    for await (const line of linesOf(answer.body)) {
      const event = JSON.parse(line) as {
        progress?: ProgressEvent;
        result?: T;
        error?: { code: string; message: string; hint?: string };
      };
      if (event.error !== undefined) throw answeredError(event.error, call.path);
      if (event.result !== undefined) return event.result;
      if (event.progress !== undefined) onProgress(event.progress);
    }
    throw new FirnError('ServiceUnavailable', 'the answer ended before its result', {
      subject: `${this.#connection.endpoint}/v1${call.path}`,
      hint: 'Firn was stopped meanwhile; try again',
      retryable: true,
    });
  }

  /** Text as it comes: CSV and HTML reports. */
  async text(call: AdminCall, accept: string): Promise<string> {
    const answer = await this.#send(call, accept);
    if (answer.statusCode >= 400) await this.#parsed(answer);
    return answer.body.text();
  }

  async #send(call: AdminCall, accept: string): Promise<IncomingAnswer> {
    const query = queryText(call.query ?? {});
    return this.#connection.send({
      method: call.method,
      path: `/v1${call.path}`,
      ...(query === '' ? {} : { query }),
      headers: {
        accept,
        ...(call.body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
      repeatable: call.method === 'GET',
      silenceMs: 600_000,
    });
  }

  async #parsed(answer: IncomingAnswer): Promise<unknown> {
    const text = await answer.body.text();
    let value: unknown;
    try {
      value = text === '' ? {} : JSON.parse(text);
    } catch (cause) {
      throw new FirnError(
        'ServiceUnavailable',
        `${this.#connection.endpoint} answered ${answer.statusCode}, but no JSON`,
        { cause, hint: 'is this the admin port of a Firn? --endpoint names another address' },
      );
    }
    if (answer.statusCode < 400) return value;
    const error = value as { code?: string; message?: string; hint?: string };
    throw answeredError(
      {
        code: error.code ?? 'InternalError',
        message: error.message ?? `the admin API answered ${answer.statusCode}`,
        hint: error.hint,
      },
      this.#connection.endpoint,
    );
  }
}

function queryText(query: Query): string {
  return Object.entries(query)
    .filter((entry): entry is [string, string | number | boolean] => entry[1] !== undefined)
    .map(([name, value]) => `${encodeComponent(name)}=${encodeComponent(String(value))}`)
    .join('&');
}

async function* linesOf(body: AsyncIterable<Uint8Array>): AsyncIterable<string> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of body) {
    rest += decoder.decode(chunk, { stream: true });
    const lines = rest.split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) if (line !== '') yield line;
  }
  if (rest !== '') yield rest;
}
