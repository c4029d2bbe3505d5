// Rows of users, groups, roles, managed policies and users' keys. Every change is one
// compare-and-swap of one row; who may ask for it is decided above. As accounts do: on LMDB each
// row is read afresh for every request, on MongoDB it may be `staleMs` old, and a change is
// acknowledged only after that, so that what was taken away is gone everywhere.

import { setTimeout as sleep } from 'node:timers/promises';
import { FirnError } from '../../model/errors.ts';
import { afterPrefix } from '../../model/ids.ts';
import type { IdentityKind, IdentityKinds, RoleSession, UserKey } from '../../model/identity.ts';
import type { Row } from '../../model/metadata-store.ts';
import type { AccountsContext } from './accounts.ts';
import { Recent } from '../document/recent.ts';
import { seal, unseal } from '../bytes/seal.ts';

const KNOWN_MAX = 20_000;
const PAGE = 1000;
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
const USER_KEY_PREFIX = 'FIRU';
const SESSION_KEY_PREFIX = 'FIRT';
const ACCESS_KEY = /^[A-Za-z0-9._-]{3,128}$/;

export interface Place {
  account: string;
  name: string;
}

interface Known {
  revision: string;
  value: object;
  at: number;
}

const rowId = (kind: IdentityKind, { account, name }: Place): string =>
  `${kind}/${account}/${name.toLowerCase()}`;
const userKeyRow = (accessKey: string): string => `user-key/${accessKey}`;

/** A key pair of a user; its secret only where it was just made or is checked with. */
export interface OpenUserKey extends UserKey {
  secretKey: string;
}

export class Identities {
  readonly #context: AccountsContext;
  readonly #known = new Recent<Known>(KNOWN_MAX);
  readonly #secrets = new Recent<{ sealed: string; secretKey: string }>(KNOWN_MAX);

  constructor(context: AccountsContext) {
    this.#context = context;
  }

  /** Resolves when everything that a read so far could have seen is durable. */
  settled(): Promise<void> {
    return this.#context.store.settled();
  }

  /** Undefined where there is none. The same object as long as its row is unchanged: read only. */
  get<K extends IdentityKind>(kind: K, place: Place): Promise<IdentityKinds[K] | undefined> {
    return this.#read<IdentityKinds[K]>(rowId(kind, place));
  }

  /** By name, of one account. */
  async list<K extends IdentityKind>(kind: K, account: string): Promise<IdentityKinds[K][]> {
    const prefix = `${kind}/${account}/`;
    const to = afterPrefix(prefix) as string;
    const values: IdentityKinds[K][] = [];
    let bound: { from: string } | { after: string } = { from: prefix };
    for (;;) {
      const rows: Row<IdentityKinds[K]>[] = await this.#context.store.range<IdentityKinds[K]>({
        table: 'accounts',
        ...bound,
        to,
        limit: PAGE,
      });
      for (const { value } of rows) values.push(value);
      const last = rows.at(-1);
      if (last === undefined || rows.length < PAGE) return values;
      bound = { after: last.id };
    }
  }

  /** False where the name is taken. Durable on return. */
  async insert<K extends IdentityKind>(value: IdentityKinds[K]): Promise<boolean> {
    const { outcome } = await this.#context.store.insert(
      'accounts',
      rowId(value.kind, value),
      value,
    );
    return outcome === 'done';
  }

  /**
   * The row as `change` made it of the one that stands, by compare-and-swap: it may be called
   * again. Undefined where there is none. What `change` throws is thrown, and nothing changed.
   */
  async change<K extends IdentityKind>(
    kind: K,
    place: Place,
    change: (value: IdentityKinds[K]) => IdentityKinds[K],
  ): Promise<IdentityKinds[K] | undefined> {
    const { store } = this.#context;
    const id = rowId(kind, place);
    for (;;) {
      const row = await store.get<IdentityKinds[K]>('accounts', id);
      if (row === undefined) return undefined;
      const value = change(row.value);
      const expected = row.revision;
      const { outcome } = await store.replace({ table: 'accounts', id, expected, value });
      if (outcome !== 'done') continue;
      await this.#settle(id);
      return value;
    }
  }

  /**
   * False where there is none. `check` throws what forbids it; what it saw is what is removed.
   * Again: false.
   */
  async remove<K extends IdentityKind>(
    kind: K,
    place: Place,
    check: (value: IdentityKinds[K]) => void,
  ): Promise<boolean> {
    const { store } = this.#context;
    const id = rowId(kind, place);
    for (;;) {
      const row = await store.get<IdentityKinds[K]>('accounts', id);
      if (row === undefined) return false;
      check(row.value);
      const { outcome } = await store.remove('accounts', id, row.revision);
      if (outcome !== 'done') continue;
      await this.#settle(id);
      return true;
    }
  }

  /** AIDA…, AGPA…, AROA… and ANPA… as clients expect of users, groups, roles and policies. */
  newId(kind: IdentityKind): string {
    return this.#letters({ user: 'AIDA', group: 'AGPA', role: 'AROA', policy: 'ANPA' }[kind], 17);
  }

  newUserKeyName(): string {
    return this.#letters(USER_KEY_PREFIX, 16);
  }

  /** The secret is told here and never again. The user's row must name the key already. */
  async insertUserKey(
    of: { accessKey: string } & Omit<Place, 'name'> & {
        user: string;
        userId: string;
      },
  ): Promise<OpenUserKey> {
    const { store, random, masterKey, clock } = this.#context;
    const secretKey = this.#newSecret();
    const { accessKey, account, userId } = of;
    const value: UserKey = {
      format: 1,
      accessKey,
      account,
      user: of.user.toLowerCase(),
      userId,
      sealedSecret: seal(masterKey, random, { text: secretKey, owner: userKeyRow(accessKey) }),
      createdAt: clock.now(),
      isActive: true,
    };
    const { outcome } = await store.insert('accounts', userKeyRow(accessKey), value);
    if (outcome === 'done') return { ...value, secretKey };
    throw new FirnError('InternalError', 'a new access key is taken', { subject: accessKey });
  }

  getUserKey(accessKey: string): Promise<UserKey | undefined> {
    if (!ACCESS_KEY.test(accessKey)) return Promise.resolve(undefined);
    return this.#read<UserKey>(userKeyRow(accessKey));
  }

  /** With its secret; undefined for one that is unknown or inactive. */
  async openUserKey(accessKey: string): Promise<OpenUserKey | undefined> {
    if (!accessKey.startsWith(USER_KEY_PREFIX)) return undefined;
    const key = await this.getUserKey(accessKey);
    if (key === undefined || !key.isActive) return undefined;
    const known = this.#secrets.get(accessKey);
    if (known?.sealed === key.sealedSecret) return { ...key, secretKey: known.secretKey };
    const sealed = key.sealedSecret;
    const secretKey = unseal(this.#context.masterKey, { sealed, owner: userKeyRow(accessKey) });
    this.#secrets.set(accessKey, { sealed, secretKey });
    return { ...key, secretKey };
  }

  /** False where there is none. On return every process goes by it. */
  async changeUserKey(
    accessKey: string,
    change: (key: UserKey) => UserKey | undefined,
  ): Promise<boolean> {
    const { store } = this.#context;
    const id = userKeyRow(accessKey);
    for (;;) {
      const row = await store.get<UserKey>('accounts', id);
      if (row === undefined) return false;
      const value = change(row.value);
      const expected = row.revision;
      const { outcome } =
        value === undefined
          ? await store.remove('accounts', id, expected)
          : await store.replace({ table: 'accounts', id, expected, value });
      if (outcome !== 'done') continue;
      this.#secrets.delete(accessKey);
      await this.#settle(id);
      return true;
    }
  }

  /** A key pair and token for the session; nothing is stored. */
  sealSession(
    session: Omit<RoleSession, 'format' | 'accessKey' | 'secretKey'>,
  ): RoleSession & { token: string } {
    const { random, masterKey } = this.#context;
    const accessKey = this.#letters(SESSION_KEY_PREFIX, 16);
    const whole: RoleSession = { format: 1, accessKey, secretKey: this.#newSecret(), ...session };
    const owner = sessionOwner(accessKey);
    return { ...whole, token: seal(masterKey, random, { text: JSON.stringify(whole), owner }) };
  }

  /** What was sealed for this very access key; undefined for anything else. Not yet: expired. */
  openSession(accessKey: string, token: string): RoleSession | undefined {
    if (!accessKey.startsWith(SESSION_KEY_PREFIX)) return undefined;
    try {
      const owner = sessionOwner(accessKey);
      const text = unseal(this.#context.masterKey, { sealed: token, owner });
      return JSON.parse(text) as RoleSession;
    } catch {
      // Sealed by nobody, or for another key: all the same to whoever sent it.
      return undefined;
    }
  }

  async #read<T extends object>(id: string): Promise<T | undefined> {
    const { store, staleMs } = this.#context;
    const known = this.#known.get(id);
    const at = performance.now();
    if (known !== undefined && staleMs > 0 && at - known.at < staleMs) return known.value as T;
    const row = await store.get<T>('accounts', id);
    if (row === undefined) {
      this.#known.delete(id);
      return undefined;
    }
    if (known?.revision === row.revision) {
      known.at = at;
      return known.value as T;
    }
    this.#known.set(id, { revision: row.revision, value: row.value, at });
    return row.value;
  }

  /** After this no process goes by the row as it was. */
  async #settle(id: string): Promise<void> {
    this.#known.delete(id);
    const { staleMs } = this.#context;
    if (staleMs > 0) await sleep(2 * staleMs);
  }

  #newSecret(): string {
    return Buffer.from(this.#context.random.bytes(30)).toString('base64url');
  }

  #letters(prefix: string, count: number): string {
    let name = prefix;
    for (const byte of this.#context.random.bytes(count)) name += ALPHABET[byte % 32];
    return name;
  }
}

/** Binds a token to its key pair, and keeps it apart from every other sealed text. */
const sessionOwner = (accessKey: string): string => `session/${accessKey}`;
