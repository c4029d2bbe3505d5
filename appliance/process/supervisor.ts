// The primary's side: starts one process a core and one for the workers, restarts what crashes,
// kills what falls silent. The danger: a process stopped inside a write holds LMDB's lock and
// blocks every other writer (measured in 14 of 20 tries), so silence of 5 s ends a child. Counts
// restarts; never gives up on a child that once was ready.

import cluster from 'node:cluster';
import type { Worker } from 'node:cluster';
import { closeUntaken } from './handed.ts';
import type { Role, ToChild, ToPrimary } from './messages.ts';

export interface SupervisorOptions {
  children: { role: Role; name: string }[];
  /** Environment variables that tell a child its part. */
  environment: (role: Role, name: string) => Record<string, string>;
  go: () => { storeId: string; clockOffsetMs: number };
  log: (event: string, details: Record<string, unknown>) => void;
  /** A child waits until the journal is up to this commit number. */
  committed?: (number: number) => void;
  /** A child has ended: what it committed last nobody else has announced. */
  ended?: () => void;
  silentMs?: number;
}

interface Child {
  role: Role;
  name: string;
  process: Worker;
  ready: boolean;
  everReady: boolean;
  heard: number;
  restarts: number;
  startedAt: number;
  gone: boolean;
  /** Up to this commit number it waits for the journal. */
  waits: number;
}

export interface ChildStatus {
  name: string;
  role: Role;
  pid: number | undefined;
  ready: boolean;
  restarts: number;
}

const STARTUP_MS = 60_000;
/**
 * Half of V8's default for young objects: with 1,500 connections a heap of 50 MB in use grew to 171
 * MB otherwise, and to 77 this way. And its old objects are looked through once they have grown by
 * four fifths, not at V8's own choice: 254 and 266 MB at overload instead of 275 to 313.
 */
const HEAP_FLAGS = ['--max-semi-space-size=8', '--heap-growing-percent=80'];
const TICK_MS = 500;

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #children: Child[] = [];
  readonly #waiting = new Map<
    number,
    { resolve: (v: unknown) => void; reject: (e: Error) => void }
  >();
  #askId = 0;
  #stopping = false;
  #going = false;
  #timer: NodeJS.Timeout | undefined;
  #lastTick = 0;
  #ready: { resolve: (port: number) => void; reject: (error: Error) => void } | undefined;
  port = 0;

  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  /** Forks every child at once: they load their code while the primary still opens the stores. */
  fork(): void {
    cluster.schedulingPolicy = cluster.SCHED_RR;
    cluster.setupPrimary({ execArgv: [...process.execArgv, ...HEAP_FLAGS] });
    for (const { role, name } of this.#options.children)
      this.#children.push(this.#forkOne(role, name));
    this.#lastTick = Date.now();
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  /**
   * Lets them open and serve. Resolves with the S3 port once all are ready; rejects if one refuses,
   * and when they are stopped.
   */
  go(): Promise<number> {
    if (this.#stopping) return Promise.reject(stopped());
    this.#going = true;
    const ready = new Promise<number>((resolve, reject) => {
      this.#ready = { resolve, reject };
    });
    for (const child of this.#children) this.#sendGo(child);
    return ready;
  }

  status(): ChildStatus[] {
    return this.#children.map(({ name, role, process: { process: own }, ready, restarts }) => ({
      name,
      role,
      pid: own.pid,
      ready,
      restarts,
    }));
  }

  /** Asks one ready child of the role; rejects after the time-out. */
  async ask(role: Role, what: string, argument?: unknown, timeoutMs = 5000): Promise<unknown> {
    const child = this.#children.find((one) => one.role === role && one.ready);
    if (child === undefined) throw new Error(`no ${role} process is up`);
    return await this.#request(child, (id) => ({ kind: 'ask', id, what, argument }), timeoutMs);
  }

  /** Every child's answer; those that are down are left out. */
  async askAll(role: Role, what: string): Promise<unknown[]> {
    const ready = this.#children.filter((one) => one.role === role && one.ready);
    const answers = await Promise.allSettled(
      ready.map((child) => this.#request(child, (id) => ({ kind: 'ask', id, what }), 5000)),
    );
    return answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []));
  }

  /** Every child counts by the new offset when this resolves. */
  async setClock(offsetMs: number): Promise<void> {
    await Promise.all(
      this.#children
        .filter((child) => child.ready)
        .map((child) => this.#request(child, (id) => ({ kind: 'clock', offsetMs, id }), 5000)),
    );
  }

  /** Tells the children that wait for it. */
  journaled(number: number): void {
    for (const child of this.#children) {
      if (child.waits === 0) continue;
      this.#send(child, { kind: 'journaled', number });
      if (child.waits <= number) child.waits = 0;
    }
  }

  /** What waits for the journal is refused. */
  unjournaled(reason: string): void {
    for (const child of this.#children) this.#send(child, { kind: 'unjournaled', reason });
  }

  /** Stops all; what has not ended after the time-out is killed. */
  async stop(timeoutMs: number): Promise<void> {
    this.#stopping = true;
    clearInterval(this.#timer);
    this.#ready?.reject(stopped());
    const living = this.#children.filter((child) => !child.gone);
    await Promise.all(
      living.map(
        (child) =>
          new Promise<void>((resolve) => {
            const kill = setTimeout(() => child.process.process.kill('SIGKILL'), timeoutMs);
            child.process.once('exit', () => {
              clearTimeout(kill);
              resolve();
            });
            this.#send(child, { kind: 'stop' });
          }),
      ),
    );
  }

  #forkOne(role: Role, name: string): Child {
    const child: Child = {
      role,
      name,
      process: this.#spawn(role, name),
      ready: false,
      everReady: false,
      heard: Date.now(),
      restarts: 0,
      startedAt: Date.now(),
      gone: false,
      waits: 0,
    };
    this.#listen(child);
    return child;
  }

  #spawn(role: Role, name: string): Worker {
    const worker = cluster.fork(this.#options.environment(role, name));
    closeUntaken(worker);
    return worker;
  }

  #listen(child: Child): void {
    const own = child.process;
    own.on('message', (message: ToPrimary) => {
      child.heard = Date.now();
      this.#hear(child, message);
    });
    own.on('error', () => undefined);
    own.on('exit', (code, signal) => {
      if (own === child.process) this.#exited(child, code, signal);
    });
  }

  #hear(child: Child, message: ToPrimary): void {
    if (message.kind === 'committed') {
      child.waits = message.number;
      this.#options.committed?.(message.number);
    } else if (message.kind === 'ready') {
      child.ready = true;
      child.everReady = true;
      if (message.port !== undefined) this.port = message.port;
      if (this.#children.every((one) => one.ready)) this.#ready?.resolve(this.port);
    } else if (message.kind === 'answer') {
      const waiting = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      if (message.error === undefined) waiting?.resolve(message.value);
      else waiting?.reject(new Error(message.error));
    } else if (message.kind === 'refused' && !child.everReady) {
      this.#ready?.reject(
        Object.assign(
          new Error(message.message),
          message.hint === undefined ? {} : { hint: message.hint },
        ),
      );
    }
  }

  #exited(child: Child, code: number | null, signal: string | null): void {
    child.ready = false;
    child.gone = true;
    child.waits = 0;
    this.#options.ended?.();
    if (this.#stopping) return;
    child.restarts += 1;
    this.#options.log('child ended', { name: child.name, code, signal, restarts: child.restarts });
    // One quick restart, then slower: a child that dies at once must not burn a core.
    const lived = Date.now() - child.startedAt;
    const delayMs = lived > 10_000 ? 0 : Math.min(5000, 100 * 2 ** Math.min(child.restarts, 6));
    setTimeout(() => this.#restart(child), delayMs);
  }

  #restart(child: Child): void {
    if (this.#stopping) return;
    child.process = this.#spawn(child.role, child.name);
    child.startedAt = Date.now();
    child.heard = Date.now();
    child.gone = false;
    this.#listen(child);
    if (this.#going) this.#sendGo(child);
  }

  #sendGo(child: Child): void {
    const send = (): void => this.#send(child, { kind: 'go', ...this.#options.go() });
    if (child.process.isConnected()) send();
    else child.process.once('online', send);
  }

  #send(child: Child, message: ToChild): void {
    if (child.process.isConnected()) child.process.send(message, () => undefined);
  }

  #request(child: Child, build: (id: number) => ToChild, timeoutMs: number): Promise<unknown> {
    const id = ++this.#askId;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new Error(`${child.name} did not answer in ${timeoutMs} ms`));
      }, timeoutMs);
      this.#waiting.set(id, {
        resolve: (value) => {
          clearTimeout(timer);
          resolve(value);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      });
      this.#send(child, build(id));
    });
  }

  #tick(): void {
    const now = Date.now();
    // The primary itself was stopped or starved: nobody could be heard, so nobody is blamed.
    const late = now - this.#lastTick > 4 * TICK_MS;
    this.#lastTick = now;
    const silentMs = this.#options.silentMs ?? 5000;
    for (const child of this.#children) {
      if (child.gone) continue;
      if (late) child.heard = now;
      const allowed = child.ready ? silentMs : STARTUP_MS;
      if (now - child.heard <= allowed) continue;
      this.#options.log('child silent, killed', { name: child.name, silentMs: now - child.heard });
      child.heard = now;
      child.process.process.kill('SIGKILL');
    }
  }
}

const stopped = (): Error => new Error('stopped while it started');
