// Hard quotas. The dangers: a quota that many processes pass together because each looked before
// the others wrote, and a quota that costs every PUT a row. So room is set aside before bytes are
// taken: a process holds a little room ahead in the quota's row (one compare-and-swap for many
// writes), and writes only into what it holds. What is there is then never more than the quota,
// whoever crashes; see DESIGN.md, "Quotas", for what makes it seem fuller than it is. A bucket
// without a quota costs a comparison and a look into a map, about 1 µs in all; one row read a
// second for each account that writes.

import type { Account, Bucket, Quota } from '../../model/bucket.ts';
import { FirnError, isFirnError } from '../../model/errors.ts';
import { newId } from '../../model/ids.ts';
import type { CommitResult, Row } from '../../model/metadata-store.ts';
import {
  heldBy,
  isNothing,
  minus,
  NOTHING,
  onlyGrowth,
  plus,
  QUOTA_WARNING_SHARE,
  quotaRowId,
  type Amount,
  type QuotaUsage,
} from '../../model/quota.ts';
import type { EngineContext } from './context.ts';

/** How long an account's quota is remembered: a new one is obeyed after this, at the latest. */
const ACCOUNT_MS = 1000;
const ACCOUNTS_MAX = 10_000;
/** What was written is told, and room not used is given back, after this. */
const TELL_MS = 500;
/** A hold that was not renewed this long belongs to a process that is gone. */
const HOLD_MS = 60_000;
/** Of the room that is left a process takes this part ahead, and no more than the second. */
const AHEAD_PART = 16;
const AHEAD_MAX: Amount = { bytes: 256 * 1024 * 1024, objects: 1000 };

type MeterContext = Pick<EngineContext, 'store' | 'clock' | 'random'>;

/** Room set aside for one write. */
export interface Claim {
  /** Sets aside more, up to this many bytes in all. QuotaExceeded. */
  atLeast(bytes: number): Promise<void>;
  /** Nobody knows whether it was written: it counts as if, until the next count, which is soon. */
  doubt(): void;
  /** Gives the room back: after the commit, which has noted what it wrote. Safe twice. */
  end(): void;
}

interface Subject {
  kind: QuotaUsage['kind'];
  id: string;
  name: string;
  quota: Quota;
}

export class QuotaMeter {
  readonly #context: MeterContext;
  readonly #scopes = new Map<string, Scope>();
  readonly #accounts = new Map<string, { quota: Quota | undefined; at: number }>();

  constructor(context: MeterContext) {
    this.#context = context;
  }

  /**
   * Sets room aside in the bucket and in its owner's account. Undefined: neither has a quota.
   * QuotaExceeded when one has not that much left.
   */
  claim(bucket: Bucket, need: Amount): Promise<Claim> | undefined {
    const account = this.#knownAccount(bucket.owner);
    if (bucket.quota === undefined && account !== undefined && account.quota === undefined) {
      return undefined;
    }
    return this.#claim(bucket, need);
  }

  /** After a commit: what it added to the bucket, or took out. Undefined: there was nothing to do. */
  note(bucket: Bucket, growth: Amount): Promise<void> | undefined {
    if (isNothing(growth)) return undefined;
    const account = this.#knownAccount(bucket.owner);
    if (account === undefined) return this.#note(bucket, growth);
    if (bucket.quota === undefined && account.quota === undefined) return undefined;
    this.#noteIn(subjectsOf(bucket, account.quota), growth);
    return undefined;
  }

  /** What a client is told from 80 % on: `bucket bytes 83 %`. As this process last knew. */
  warningOf(bucket: Bucket): string | undefined {
    const quota = this.#accounts.get(bucket.owner)?.quota;
    if (bucket.quota === undefined && quota === undefined) return undefined;
    const said: string[] = [];
    for (const subject of subjectsOf(bucket, quota)) {
      const scope = this.#scopes.get(quotaRowId(subject.kind, subject.id));
      if (scope !== undefined) said.push(...warningsOf(subject, scope.seen));
    }
    return said.length === 0 ? undefined : said.join(', ');
  }

  /** Tells what was not told yet. */
  async close(): Promise<void> {
    await Promise.all([...this.#scopes.values()].map((scope) => scope.close()));
  }

  #knownAccount(id: string): { quota: Quota | undefined } | undefined {
    const known = this.#accounts.get(id);
    return known !== undefined && performance.now() - known.at < ACCOUNT_MS ? known : undefined;
  }

  async #account(id: string): Promise<Quota | undefined> {
    const known = this.#knownAccount(id);
    if (known !== undefined) return known.quota;
    const at = performance.now();
    const row = await this.#context.store.get<Account>('accounts', `account/${id}`);
    if (this.#accounts.size >= ACCOUNTS_MAX) this.#accounts.clear();
    const quota = row?.value.quota;
    this.#accounts.set(id, { quota, at });
    return quota;
  }

  async #note(bucket: Bucket, growth: Amount): Promise<void> {
    let quota: Quota | undefined;
    try {
      quota = await this.#account(bucket.owner);
    } catch (error) {
      // The commit stands, and is acknowledged: the next count finds what was not noted.
      if (!isFirnError(error)) throw error;
      quota = this.#accounts.get(bucket.owner)?.quota;
    }
    this.#noteIn(subjectsOf(bucket, quota), growth);
  }

  #noteIn(subjects: readonly Subject[], growth: Amount): void {
    for (const subject of subjects) this.#scope(subject).note(growth);
  }

  async #claim(bucket: Bucket, need: Amount): Promise<Claim> {
    const subjects = subjectsOf(bucket, await this.#account(bucket.owner));
    const claim = new RoomClaim(subjects, (subject) => this.#scope(subject));
    await claim.take(need);
    return claim;
  }

  #scope(subject: Subject): Scope {
    const id = quotaRowId(subject.kind, subject.id);
    let scope = this.#scopes.get(id);
    if (scope === undefined) {
      scope = new Scope(this.#context, {
        id,
        subject,
        idle: () => this.#scopes.delete(id),
      });
      this.#scopes.set(id, scope);
    }
    return scope;
  }
}

/** Room in one quota or in two, a bucket's and its owner's. */
class RoomClaim implements Claim {
  readonly #subjects: readonly Subject[];
  readonly #scopeOf: (subject: Subject) => Scope;
  #scopes: Scope[] = [];
  #had = NOTHING;

  constructor(subjects: readonly Subject[], scopeOf: (subject: Subject) => Scope) {
    this.#subjects = subjects;
    this.#scopeOf = scopeOf;
  }

  /** In all of them, or in none. */
  async take(more: Amount): Promise<void> {
    const taken: Scope[] = [];
    try {
      for (const [i, subject] of this.#subjects.entries()) {
        const scope = this.#scopes[i] ?? this.#scopeOf(subject);
        await scope.take(subject.quota, more);
        taken.push(scope);
      }
    } catch (error) {
      for (const scope of taken) scope.release(more);
      throw error;
    }
    this.#scopes = taken;
    this.#had = plus(this.#had, more);
  }

  async atLeast(bytes: number): Promise<void> {
    if (bytes > this.#had.bytes) await this.take({ bytes: bytes - this.#had.bytes, objects: 0 });
  }

  doubt(): void {
    for (const scope of this.#scopes) scope.doubt(this.#had);
  }

  end(): void {
    for (const scope of this.#scopes.splice(0)) scope.release(this.#had);
  }
}

function subjectsOf(bucket: Bucket, account: Quota | undefined): Subject[] {
  const subjects: Subject[] = [];
  const { id, name, owner, quota } = bucket;
  if (quota !== undefined) subjects.push({ kind: 'bucket', id, name, quota });
  if (account !== undefined) {
    subjects.push({ kind: 'account', id: owner, name: owner, quota: account });
  }
  return subjects;
}

/** `bucket bytes 83 %` for each bound that is used to 80 % or more. */
export function warningsOf(subject: Pick<Subject, 'kind' | 'quota'>, used: Amount): string[] {
  const { kind, quota } = subject;
  const parts = [
    { what: 'bytes', used: used.bytes, max: quota.bytesMax },
    { what: 'objects', used: used.objects, max: quota.objectsMax },
  ];
  return parts.flatMap(({ what, used: amount, max }) => {
    if (max === undefined || amount < max * QUOTA_WARNING_SHARE) return [];
    const percent = max === 0 ? 100 : Math.floor((amount / max) * 100);
    return [`${kind} ${what} ${percent} %`];
  });
}

interface ScopeOptions {
  /** Of the row. */
  id: string;
  subject: Subject;
  /** Nothing is held and nothing is left to tell. */
  idle(): void;
}

/**
 * What this process holds of one quota. In the row, `used` and all holds together never pass the
 * quota; in here, what is claimed and what was written untold never pass the own hold.
 */
class Scope {
  readonly #context: MeterContext;
  readonly #options: ScopeOptions;
  /** Of this very scope: one that was given up and one made after it never share a hold. */
  readonly #holder: string;
  /** What was used when the row was last seen, and what this process wrote since. */
  seen = NOTHING;
  #held = NOTHING;
  #claimed = NOTHING;
  /** Written and not told: the sum, and what came in it. */
  #untold = NOTHING;
  #untoldGrowth = NOTHING;
  /** Writes in doubt among the untold. */
  #doubts = 0;
  #isWanted = false;
  #renewedAt = -Infinity;
  #timer: NodeJS.Timeout | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(context: MeterContext, options: ScopeOptions) {
    this.#context = context;
    this.#options = options;
    this.#holder = newId(context.random).slice(0, 16);
  }

  /** Sets `need` aside. QuotaExceeded. One look at a time: those that wait share what it brings. */
  async take(quota: Quota, need: Amount): Promise<void> {
    this.#isWanted = true;
    if (this.#fits(need)) {
      this.#claimed = plus(this.#claimed, need);
      return;
    }
    const turn = this.#turn.then(async () => {
      const isThere = this.#fits(need);
      // Claimed at once: what the swap brings is for this need, not for one that comes meanwhile.
      this.#claimed = plus(this.#claimed, need);
      if (isThere) return;
      try {
        await this.#swap((row) => this.#grown(row, quota, need));
      } catch (error) {
        this.#claimed = minus(this.#claimed, need);
        throw error;
      }
    });
    this.#turn = turn.catch(() => undefined);
    try {
      await turn;
    } finally {
      this.#later();
    }
  }

  release(amount: Amount): void {
    this.#claimed = minus(this.#claimed, amount);
    this.#later();
  }

  note(growth: Amount): void {
    this.#untold = plus(this.#untold, growth);
    this.#untoldGrowth = plus(this.#untoldGrowth, onlyGrowth(growth));
    this.seen = plus(this.seen, growth);
    this.#later();
  }

  doubt(amount: Amount): void {
    this.#doubts += 1;
    this.note(amount);
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    this.#isWanted = false;
    await this.#tell();
    clearTimeout(this.#timer);
  }

  #fits(need: Amount): boolean {
    // A hold that is being changed, or that others may take for a dead process's, is no room.
    if (performance.now() - this.#renewedAt > HOLD_MS / 2) return false;
    const room = minus(minus(this.#held, this.#claimed), onlyGrowth(this.#untold));
    return need.bytes <= room.bytes && need.objects <= room.objects;
  }

  /** The row with room for all that is claimed, `need` among it, and a little more to come. */
  #grown(row: QuotaUsage, quota: Quota, need: Amount): QuotaUsage {
    const others = heldBy(row.holds, this.#holder);
    const taken = plus(plus(row.used, others), minus(this.#claimed, need));
    const room = {
      bytes: (quota.bytesMax ?? Infinity) - taken.bytes,
      objects: (quota.objectsMax ?? Infinity) - taken.objects,
    };
    // What needs nothing is let through also where more is there than is allowed.
    if (need.bytes > Math.max(0, room.bytes)) throw this.#exceeded('bytes', quota.bytesMax);
    if (need.objects > Math.max(0, room.objects)) throw this.#exceeded('objects', quota.objectsMax);
    const ahead = {
      bytes: aheadOf(room.bytes - need.bytes, AHEAD_MAX.bytes),
      objects: aheadOf(room.objects - need.objects, AHEAD_MAX.objects),
    };
    return this.#holding(row, plus(this.#claimed, ahead));
  }

  #holding(row: QuotaUsage, hold: Amount): QuotaUsage {
    const { [this.#holder]: _, ...holds } = row.holds;
    if (isNothing(hold)) return { ...row, holds };
    const until = this.#context.clock.wall() + HOLD_MS;
    return { ...row, holds: { ...holds, [this.#holder]: { ...hold, until } } };
  }

  #exceeded(what: 'bytes' | 'objects', max: number | undefined): FirnError {
    const { kind, name } = this.#options.subject;
    return new FirnError(
      'QuotaExceeded',
      `The ${kind} is allowed ${max} ${what} and has not enough of them left.`,
      { subject: name },
    );
  }

  /** Tells what was written, and changes the row; a loser reads again. */
  async #swap(change: (row: QuotaUsage) => QuotaUsage): Promise<void> {
    // While it lasts, and after a failure until the row was seen again, nobody claims out of a hold
    // that may be less by now.
    this.#renewedAt = -Infinity;
    await this.#swapUntilDone(change);
    this.#renewedAt = performance.now();
  }

  async #swapUntilDone(change: (row: QuotaUsage) => QuotaUsage): Promise<void> {
    const { store } = this.#context;
    const { id, subject } = this.#options;
    const holder = this.#holder;
    for (;;) {
      const row: Row<QuotaUsage> | undefined = await store.get<QuotaUsage>('quotas', id);
      const told = this.#untold;
      const growth = this.#untoldGrowth;
      const doubts = this.#doubts;
      const before = withTold(row?.value ?? emptyUsage(subject), { told, growth });
      const value = change(doubts === 0 ? before : { ...before, isExact: false });
      let result: CommitResult = { outcome: 'done', revision: '' };
      if (row === undefined) result = await store.insert('quotas', id, value);
      else if (!isSame(row.value, value)) {
        const expected = row.revision;
        result = await store.replace({ table: 'quotas', id, expected, value });
      }
      if (result.outcome !== 'done') continue;
      this.#untold = minus(this.#untold, told);
      this.#untoldGrowth = minus(this.#untoldGrowth, growth);
      this.#doubts -= doubts;
      this.#held = value.holds[holder] ?? NOTHING;
      this.seen = plus(value.used, this.#untold);
      return;
    }
  }

  #later(): void {
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.#tell();
    }, TELL_MS);
    this.#timer.unref();
  }

  /** Tells, gives back what nobody asked for since the last time, and renews the rest. */
  async #tell(): Promise<void> {
    const told = this.#turn.then(async () => {
      const isBusy = this.#isWanted;
      this.#isWanted = false;
      const isDue =
        !isNothing(this.#untold) ||
        this.#doubts > 0 ||
        (!isBusy && !isSameAmount(this.#held, this.#claimed)) ||
        performance.now() - this.#renewedAt > HOLD_MS / 3;
      if (!isDue) return;
      const holder = this.#holder;
      await this.#swap((row) => {
        const own = row.holds[holder] ?? NOTHING;
        const untold = onlyGrowth(this.#untold);
        const wanted = isBusy ? minus(own, untold) : this.#claimed;
        return this.#holding(row, largest(wanted, this.#claimed));
      });
    });
    this.#turn = told.catch(() => undefined);
    try {
      await told;
    } catch (error) {
      // The store is away: what is untold stays so, and is told when it is back.
      if (!isFirnError(error)) throw error;
    }
    const isTold = isNothing(this.#untold) && this.#doubts === 0;
    const isEmpty = isTold && isNothing(this.#held) && isNothing(this.#claimed);
    if (isEmpty && !this.#isWanted) this.#options.idle();
    else this.#later();
  }
}

function aheadOf(room: number, max: number): number {
  return room === Infinity ? max : Math.min(Math.floor(Math.max(0, room) / AHEAD_PART), max);
}

function largest(a: Amount, b: Amount): Amount {
  return { bytes: Math.max(a.bytes, b.bytes), objects: Math.max(a.objects, b.objects) };
}

function isSameAmount(a: Amount, b: Amount): boolean {
  return a.bytes === b.bytes && a.objects === b.objects;
}

function isSame(a: QuotaUsage, b: QuotaUsage): boolean {
  return isSameAmount(a.used, b.used) && a.holds === b.holds && a.isExact === b.isExact;
}

function emptyUsage({ kind, name }: Subject): QuotaUsage {
  return { format: 1, kind, name, used: NOTHING, holds: {}, isExact: false };
}

/**
 * `growth`: what came in `told`, whatever went: all that a count may add without missing any. What
 * went may be told before it is told that it came: until then `used` is below nothing, and cut off
 * there it would stay too high. Only what was never counted may go without having come.
 */
function withTold(
  row: QuotaUsage,
  { told, growth }: Record<'told' | 'growth', Amount>,
): QuotaUsage {
  if (isNothing(told) && isNothing(growth)) return row;
  const sum = plus(row.used, told);
  const used = row.countedAt === undefined ? onlyGrowth(sum) : sum;
  if (row.count === undefined) return { ...row, used };
  const { id, grown } = row.count;
  return { ...row, used, count: { id, grown: plus(grown, growth), moved: true } };
}
