// Calls to a cloud, one way for all: a bound on how many run at once, a time limit an attempt,
// retries with growing random pauses, and a breaker that stops asking a service that is down (a
// thousand waiting jobs would otherwise keep it down, and us busy). Only errors that the adapter
// calls retryable are repeated; every call given here may be repeated after an unknown outcome.

import {
  circuitBreaker,
  ConsecutiveBreaker,
  ExponentialBackoff,
  handleWhen,
  isBrokenCircuitError,
  retry,
  wrap,
  type IPolicy,
} from 'cockatiel';
import pLimit from 'p-limit';
import { FirnError } from '../../../appliance/model/errors.ts';

export interface CallSettings {
  /** Calls under way at once, for this process. Default 8. */
  concurrency?: number | undefined;
  /** For one attempt: until headers have come, and between two chunks of a body. Default 60,000. */
  timeoutMs?: number | undefined;
  /** Repeats after the first attempt. Default 5. */
  retries?: number | undefined;
  /** First pause; the following grow, to 10 s at most. Default 200. */
  backoffMs?: number | undefined;
  /** How long a service that keeps failing is not asked at all. Default 5000. */
  restMs?: number | undefined;
}

const BACKOFF_MS_MAX = 10_000;
/** Failures in a row (attempts, of all calls) until the breaker opens. */
const BREAKER_FAILURES = 12;
const REST_MS = 5000;

export const isRetryable = (error: unknown): boolean =>
  error instanceof FirnError && error.retryable;

export class CloudCalls {
  readonly retries: number;
  readonly timeoutMs: number;
  readonly #tier: string;
  readonly #restMs: number;
  readonly #translate: (error: unknown, subject: string) => unknown;
  readonly #limit: ReturnType<typeof pLimit>;
  readonly #repeating: IPolicy;
  readonly #once: IPolicy;
  readonly #backoff: ExponentialBackoff<[number, number]>;

  constructor(
    tier: string,
    settings: CallSettings,
    translate: (error: unknown, subject: string) => unknown,
  ) {
    this.#tier = tier;
    this.#translate = translate;
    this.retries = settings.retries ?? 5;
    this.timeoutMs = settings.timeoutMs ?? 60_000;
    this.#restMs = settings.restMs ?? REST_MS;
    this.#limit = pLimit(settings.concurrency ?? 8);
    this.#backoff = new ExponentialBackoff({
      initialDelay: settings.backoffMs ?? 200,
      maxDelay: BACKOFF_MS_MAX,
    });
    const transient = handleWhen(isRetryable);
    this.#once = circuitBreaker(transient, {
      halfOpenAfter: this.#restMs,
      breaker: new ConsecutiveBreaker(BREAKER_FAILURES),
    });
    const repeat = retry(transient, { maxAttempts: this.retries, backoff: this.#backoff });
    this.#repeating = wrap(repeat, this.#once);
  }

  /** Runs it until it succeeds or fails for good; errors come in the port's words. */
  run<T>(
    subject: string,
    call: (signal: AbortSignal) => Promise<T>,
    signal?: AbortSignal,
  ): Promise<T> {
    return this.#run(this.#repeating, subject, call, signal);
  }

  /** One attempt, for calls that may not be repeated as they are. */
  once<T>(
    subject: string,
    call: (signal: AbortSignal) => Promise<T>,
    signal?: AbortSignal,
  ): Promise<T> {
    return this.#run(this.#once, subject, call, signal);
  }

  /** Pauses before a further attempt at something longer than a call. */
  async pause(attempt: number): Promise<void> {
    let step = this.#backoff.next();
    for (let i = 1; i < attempt; i += 1) step = step.next(undefined);
    await new Promise((resolve) => {
      setTimeout(resolve, step.duration);
    });
  }

  async #run<T>(
    policy: IPolicy,
    subject: string,
    call: (signal: AbortSignal) => Promise<T>,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    try {
      return await policy.execute(() =>
        this.#limit(() => {
          signal?.throwIfAborted();
          return this.#attempt(subject, call, signal);
        }),
      );
    } catch (error) {
      if (!isBrokenCircuitError(error)) throw error;
      throw new FirnError('TierUnavailable', `${this.#tier} has been failing and is given a rest`, {
        subject,
        cause: error,
        retryable: true,
        hint: `it is asked again after ${this.#restMs / 1000} s`,
      });
    }
  }

  async #attempt<T>(
    subject: string,
    call: (signal: AbortSignal) => Promise<T>,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    const control = new AbortController();
    const joined =
      signal === undefined ? control.signal : AbortSignal.any([control.signal, signal]);
    let timer: NodeJS.Timeout | undefined;
    // Not every SDK takes a signal: the race ends the wait, the call itself is harmless when late.
    const late = new Promise<never>((_, reject) => {
      joined.addEventListener('abort', () => reject(joined.reason as Error), { once: true });
      timer = setTimeout(() => control.abort(timedOut(this.timeoutMs)), this.timeoutMs);
    });
    late.catch(() => undefined);
    try {
      return await Promise.race([call(joined), late]);
    } catch (error) {
      if (signal?.aborted) throw error;
      throw this.#translate(error, subject);
    } finally {
      clearTimeout(timer);
    }
  }
}

export function timedOut(timeoutMs: number): Error {
  return Object.assign(new Error(`no answer within ${timeoutMs} ms`), { code: 'ETIMEDOUT' });
}

/** The chunks of a body; an error if the next one takes longer than `timeoutMs`. */
export async function* withoutStalls(
  body: AsyncIterable<Uint8Array>,
  timeoutMs: number,
): AsyncGenerator<Uint8Array> {
  const chunks = body[Symbol.asyncIterator]();
  try {
    for (;;) {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(timedOut(timeoutMs)), timeoutMs);
      });
      const next = chunks.next();
      // Whichever loses the race must not end the process later.
      next.catch(() => undefined);
      const result = await Promise.race([next, late]).finally(() => clearTimeout(timer));
      if (result.done === true) return;
      yield result.value;
    }
  } finally {
    await chunks.return?.();
  }
}

const NETWORK_CODES =
  /^(ECONN|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|EAI_AGAIN|ENOTFOUND|UND_ERR_|ERR_STREAM_PREMATURE_CLOSE|ERR_SSL)/;

/** An error of the connection rather than an answer: worth another attempt. */
export function isNetworkError(error: unknown): boolean {
  for (let e = error as { code?: unknown; name?: unknown; cause?: unknown } | undefined; e;) {
    if (typeof e.code === 'string' && NETWORK_CODES.test(e.code)) return true;
    if (e.name === 'FetchError' || e.name === 'TimeoutError' || e.name === 'SocketError')
      return true;
    e = e.cause as typeof e;
  }
  const message = error instanceof Error ? error.message : '';
  return /socket hang up|other side closed|premature close|terminated|aborted/i.test(message);
}

/** Answers that may differ next time; a success that ended in an error was one cut short. */
function isTransientStatus(status: number): boolean {
  return status < 300 || status === 408 || status === 429 || status >= 500;
}

export interface RefusalOptions {
  tier: string;
  subject: string;
  cause: unknown;
  /** HTTP status, if there was an answer. */
  status?: number | undefined;
  /** The service's own code or message. */
  reason?: string | undefined;
}

/** The error for anything that is not about one blob: the service is away, or refuses us. */
export function refusal({ tier, subject, cause, status, reason }: RefusalOptions): FirnError {
  const retryable = status === undefined ? isNetworkError(cause) : isTransientStatus(status);
  const said = reason ?? (cause instanceof Error ? cause.message : String(cause));
  const denied = status === 401 || status === 403;
  return new FirnError(
    'TierUnavailable',
    `${tier}: ${status === undefined ? '' : `${status} `}${said}`,
    {
      subject,
      cause,
      retryable,
      hint: denied
        ? 'the service refuses the credentials: check keys, rights and the clock of this host'
        : 'the service did not do as asked; nothing was lost, the step is repeated later',
    },
  );
}
