// Signed HTTP requests over kept connections (undici): what the admin client and the S3 client
// share. The danger it answers is a half-known outcome: only requests that may be repeated are
// repeated, a bounded number of times, and whatever goes wrong names the address and what to do.

import { Pool } from 'undici';
import type { Dispatcher } from 'undici';
import { FirnError } from '../../model/errors.ts';
import type { ErrorCode } from '../../model/errors.ts';
import { EMPTY_SHA256, sha256Hex, signRequest } from '../../model/signature.ts';
import type { KeyPairInHand } from './credentials.ts';

const ATTEMPTS = 5;
const FIRST_PAUSE_MS = 150;

export interface ConnectionSettings {
  /** http://host:port or https://…, without a path. */
  endpoint: string;
  credentials: KeyPairInHand;
  region: string;
  service: 'firn' | 's3';
  /** How to name another address, for the hint of an error. */
  endpointFlag: string;
  connections?: number;
  wall: () => number;
  signal?: AbortSignal;
}

export interface OutgoingRequest {
  method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'DELETE';
  /** Percent-encoded once, starts with `/`. */
  path: string;
  /** Encoded, without `?`. */
  query?: string;
  headers?: Record<string, string>;
  body?: Uint8Array | string;
  /**
   * True where doing it twice is doing it once: it is then repeated after 5xx and lost connections.
   */
  repeatable: boolean;
  /** Milliseconds without a byte before the request counts as lost; 0 never. */
  silenceMs?: number;
}

export type IncomingAnswer = Dispatcher.ResponseData;

const RETRIED_STATUS = new Set([429, 500, 502, 503, 504]);

export class Connection {
  readonly #settings: ConnectionSettings;
  readonly #url: URL;
  readonly #pool: Pool;

  constructor(settings: ConnectionSettings) {
    this.#settings = settings;
    const url = URL.parse(settings.endpoint);
    if (url === null || !/^https?:$/.test(url.protocol)) {
      throw new FirnError('UsageError', `${settings.endpoint} is not an address`, {
        subject: settings.endpoint,
        hint: `give ${settings.endpointFlag} as http://HOST:PORT`,
      });
    }
    this.#url = url;
    this.#pool = new Pool(url.origin, {
      connections: settings.connections ?? 16,
      pipelining: 1,
      keepAliveTimeout: 30_000,
      connectTimeout: 10_000,
    });
  }

  get endpoint(): string {
    return this.#url.origin;
  }

  async close(): Promise<void> {
    await this.#pool.destroy();
  }

  /** The answer, whatever its status; the caller reads or dumps its body. */
  async send(request: OutgoingRequest): Promise<IncomingAnswer> {
    for (let attempt = 1; ; attempt += 1) {
      const last = attempt >= ATTEMPTS || !request.repeatable;
      try {
        const answer = await this.#once(request);
        if (last || !RETRIED_STATUS.has(answer.statusCode)) return answer;
        await answer.body.dump();
      } catch (error) {
        this.#settings.signal?.throwIfAborted();
        if (last || isRefused(error)) throw this.#unreachable(error);
      }
      await this.#pause(FIRST_PAUSE_MS * 2 ** (attempt - 1) * (0.5 + Math.random()));
    }
  }

  async #once(request: OutgoingRequest): Promise<IncomingAnswer> {
    const { credentials, region, service, signal } = this.#settings;
    const headers = signRequest({
      ...credentials,
      region,
      service,
      method: request.method,
      host: this.#url.host,
      path: request.path,
      ...(request.query === undefined ? {} : { query: request.query }),
      headers: request.headers ?? {},
      payloadHash: request.body === undefined ? EMPTY_SHA256 : sha256Hex(request.body),
      date: new Date(this.#settings.wall()),
    });
    return this.#pool.request({
      method: request.method,
      path: request.query ? `${request.path}?${request.query}` : request.path,
      headers,
      body: request.body ?? null,
      headersTimeout: request.silenceMs ?? 120_000,
      bodyTimeout: request.silenceMs ?? 120_000,
      signal: signal ?? null,
    });
  }

  async #pause(ms: number): Promise<void> {
    const { signal } = this.#settings;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(done, ms);
      function done(): void {
        clearTimeout(timer);
        signal?.removeEventListener('abort', done);
        resolve();
      }
      signal?.addEventListener('abort', done);
    });
    signal?.throwIfAborted();
  }

  #unreachable(cause: unknown): FirnError {
    const where = this.#url.origin;
    const flag = this.#settings.endpointFlag;
    const hint = `start it by ./firn serve, or name another address by ${flag}`;
    if (isRefused(cause)) {
      return new FirnError('ServiceUnavailable', `nothing answers at ${where}`, {
        subject: where,
        cause,
        hint,
      });
    }
    const reason = cause instanceof Error ? cause.message : String(cause);
    return new FirnError('ServiceUnavailable', `the connection to ${where} was lost: ${reason}`, {
      subject: where,
      cause,
      hint: 'look at its log, then try again',
      retryable: true,
    });
  }
}

function isRefused(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  return code === 'ECONNREFUSED' || code === 'ENOTFOUND' || code === 'EAI_AGAIN';
}

/**
 * An error that a server named. The server's own code is kept, also one that this Firn doesn't
 * know.
 */
export function answeredError(
  answer: { code: string; message: string; hint?: string | undefined },
  subject: string,
): FirnError {
  return new FirnError(answer.code as ErrorCode, answer.message, {
    subject,
    ...(answer.hint === undefined ? {} : { hint: answer.hint }),
  });
}
