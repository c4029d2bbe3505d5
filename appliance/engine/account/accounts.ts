// Accounts and their key pairs. Every request asks for a secret, so the unsealed one is kept by the
// revision of the row it came from: on LMDB the row is still read each time (5 µs), so a revoked
// key is refused by every process at once; on MongoDB a row is kept up to `staleMs`, and a
// revocation is acknowledged only after that. Never in a log, an error or an answer but the one
// that made it: a secret.

import { setTimeout as sleep } from 'node:timers/promises';
import { ROOT_ACCOUNT, type Account, type KeyPair } from '../../model/bucket.ts';
import { FirnError } from '../../model/errors.ts';
import { afterPrefix, newId } from '../../model/ids.ts';
import type { Row } from '../../model/metadata-store.ts';
import type { EngineContext } from '../document/context.ts';
import { Recent } from '../document/recent.ts';
import { MASTER_KEY_BYTES, seal, unseal } from '../bytes/seal.ts';

/** What a signature is checked with. */
export interface Secret {
  account: string;
  secretKey: string;
}

/** A key pair as it may be shown: without its secret. */
export interface KeyInfo {
  accessKey: string;
  account: string;
  createdAt: number;
  revokedAt?: number;
  /** Absent: true. */
  isActive?: boolean;
}

/** A key pair whose secret is told once. */
export interface NewKey extends KeyInfo {
  secretKey: string;
}

interface Known extends Secret {
  revision: string;
  isRevoked: boolean;
  /** The last look at the row, by a clock that nobody can set back. */
  at: number;
}

const KNOWN_MAX = 10_000;
const CHECK_ROW = 'master-key';
const CHECK_TEXT = 'firn';
const ROOT_KEY_ROW = 'root-key';
/** Names and emails are only shown and looked up: a few seconds old does no harm. */
const NAMES_MS = 10_000;
const EMAILS_MS = 1000;
const ACCOUNT_ID = /^[A-Za-z0-9._@+$-]{1,128}$/;
/** Ids that mean nobody, or everybody: never an account's. */
const RESERVED_IDS = new Set(['anonymous']);
const ACCESS_KEY = /^[A-Za-z0-9._-]{3,128}$/;
const ACCESS_ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

const accountRow = (id: string): string => `account/${id}`;
const keyRow = (accessKey: string): string => `key/${accessKey}`;

/** What accounts need of a context: they are looked at before any tier is open. */
export type AccountsContext = Pick<
  EngineContext,
  'store' | 'clock' | 'random' | 'masterKey' | 'staleMs'
>;

export class Accounts {
  readonly #context: AccountsContext;
  readonly #known = new Recent<Known>(KNOWN_MAX);
  readonly #names = new Recent<{ name: string | undefined; at: number }>(KNOWN_MAX);
  #accounts: { list: Promise<Account[]>; at: number } | undefined;

  constructor(context: AccountsContext) {
    this.#context = context;
  }

  /**
   * Proves that the master key is the one this store was made with, or makes it so in a new store.
   * Call before anything is served. SettingsInvalid otherwise: with another key every signature
   * would fail.
   */
  async open(): Promise<void> {
    const { store, masterKey, random } = this.#context;
    if (masterKey.length !== MASTER_KEY_BYTES) {
      throw new FirnError('SettingsInvalid', `the master key must have ${MASTER_KEY_BYTES} bytes`);
    }
    const sealed = seal(masterKey, random, { text: CHECK_TEXT, owner: CHECK_ROW });
    const result = await store.insert('settings', CHECK_ROW, { format: 1, sealed });
    if (result.outcome === 'done') return;
    const row = await store.get<{ sealed: string }>('settings', CHECK_ROW);
    unseal(masterKey, { sealed: row?.value.sealed ?? '', owner: CHECK_ROW });
  }

  /** Without an id, one is made. InvalidArgument when the id is taken or can't be one. */
  async createAccount(account: {
    id?: string;
    displayName: string;
    email?: string;
    admin?: boolean;
  }): Promise<Account> {
    const { store, clock, random } = this.#context;
    const id = account.id ?? newId(random);
    if (!ACCOUNT_ID.test(id) || RESERVED_IDS.has(id)) {
      throw new FirnError(
        'InvalidArgument',
        'an account id has 1 to 128 letters, digits or ._@+$-',
        {
          subject: id,
        },
      );
    }
    const value: Account = {
      format: 1,
      id,
      displayName: account.displayName,
      createdAt: clock.now(),
      admin: account.admin === true,
    };
    if (account.email !== undefined) value.email = account.email;
    const { outcome } = await store.insert('accounts', accountRow(id), value);
    if (outcome === 'done') return value;
    throw new FirnError('InvalidArgument', 'there is an account with this id', { subject: id });
  }

  async getAccount(id: string): Promise<Account | undefined> {
    return (await this.#context.store.get<Account>('accounts', accountRow(id)))?.value;
  }

  async listAccounts(): Promise<Account[]> {
    return this.#list<Account>('account/');
  }

  /**
   * By id, or by email: undefined where nobody has it, or, of an email, more than one do. An email
   * is looked for among all accounts, at most once in EMAILS_MS: grants by it are rare.
   */
  async findAccount(by: { id: string } | { email: string }): Promise<Account | undefined> {
    if ('id' in by) return ACCOUNT_ID.test(by.id) ? this.getAccount(by.id) : undefined;
    const wanted = by.email.toLowerCase();
    if (wanted === '') return undefined;
    const found = (await this.#recentAccounts()).filter(
      ({ email }) => email?.toLowerCase() === wanted,
    );
    return found.length === 1 ? found[0] : undefined;
  }

  /** What lists show of an owner; undefined for one that there is not. Kept for NAMES_MS. */
  async displayNameOf(id: string): Promise<string | undefined> {
    const at = performance.now();
    let known = this.#names.get(id);
    if (known === undefined || at - known.at >= NAMES_MS) {
      const account = ACCOUNT_ID.test(id) ? await this.getAccount(id) : undefined;
      known = { name: account?.displayName, at };
      this.#names.set(id, known);
    }
    return known.name;
  }

  #recentAccounts(): Promise<Account[]> {
    const at = performance.now();
    if (this.#accounts === undefined || at - this.#accounts.at >= EMAILS_MS) {
      const list = this.listAccounts();
      this.#accounts = { list, at };
      list.catch(() => (this.#accounts = undefined));
    }
    return this.#accounts.list;
  }

  /** The key pair with its secret: told here and never again. */
  async createKey(key: {
    account: string;
    accessKey?: string;
    secretKey?: string;
  }): Promise<NewKey> {
    if ((await this.getAccount(key.account)) === undefined) {
      throw new FirnError('InvalidArgument', 'there is no such account', { subject: key.account });
    }
    const made = await this.#insertKey(key);
    if (made !== undefined) return made;
    throw new FirnError('InvalidArgument', 'this access key is taken', {
      subject: key.accessKey ?? '',
    });
  }

  /** Of one account, or all. */
  async listKeys(account?: string): Promise<KeyInfo[]> {
    const keys = await this.#list<KeyPair>('key/');
    return keys
      .filter((key) => account === undefined || key.account === account)
      .map(({ accessKey, account: owner, createdAt, revokedAt, isActive = true }) => {
        const info: KeyInfo = { accessKey, account: owner, createdAt };
        if (revokedAt !== undefined) info.revokedAt = revokedAt;
        if (!isActive) info.isActive = false;
        return info;
      });
  }

  /**
   * On return every process refuses the key. Again: nothing changes. InvalidArgument if unknown.
   */
  async revokeKey(accessKey: string): Promise<void> {
    const revokedAt = this.#context.clock.wall();
    await this.#changeKey(accessKey, (key) =>
      key.revokedAt === undefined ? { ...key, revokedAt } : undefined,
    );
  }

  /** As revokeKey, but it can be taken back. */
  async setKeyActive(accessKey: string, isActive: boolean): Promise<void> {
    await this.#changeKey(accessKey, (key) =>
      (key.isActive ?? true) === isActive ? undefined : { ...key, isActive },
    );
  }

  /** `change` answers undefined where there is nothing to change. */
  async #changeKey(
    accessKey: string,
    change: (key: KeyPair) => KeyPair | undefined,
  ): Promise<void> {
    const { store, staleMs } = this.#context;
    for (;;) {
      const row = await this.#keyRow(accessKey);
      if (row === undefined) {
        throw new FirnError('InvalidArgument', 'there is no such access key', {
          subject: accessKey,
          hint: './firn key list --account ACCOUNT shows them',
        });
      }
      const value = change(row.value);
      if (value !== undefined) {
        const { id, revision } = row;
        const result = await store.replace({ table: 'accounts', id, expected: revision, value });
        if (result.outcome !== 'done') continue;
      }
      // Also where nothing was to change: whoever changed it may be waiting still.
      this.#known.delete(accessKey);
      if (staleMs > 0) await sleep(2 * staleMs);
      return;
    }
  }

  /** The secret of a key that may sign; undefined for one that is unknown or revoked. */
  async secretOf(accessKey: string): Promise<Secret | undefined> {
    const { staleMs, masterKey } = this.#context;
    let known = this.#known.get(accessKey);
    const at = performance.now();
    if (known === undefined || staleMs === 0 || at - known.at >= staleMs) {
      const row = await this.#keyRow(accessKey);
      if (row === undefined) {
        this.#known.delete(accessKey);
        return undefined;
      }
      if (known?.revision === row.revision) {
        known.at = at;
      } else {
        const { account, sealedSecret, revokedAt, isActive = true } = row.value;
        const secretKey = unseal(masterKey, { sealed: sealedSecret, owner: accessKey });
        const isRevoked = revokedAt !== undefined || !isActive;
        known = { account, secretKey, revision: row.revision, isRevoked, at };
        this.#known.set(accessKey, known);
      }
    }
    // Whatever this host's clock says: it may be behind that of the host that revoked it.
    return known.isRevoked ? undefined : known;
  }

  /**
   * The root account with a key pair, inserted if absent. `won`: this call made the key pair, and
   * its secret is in the answer; every other host gets undefined. Without given keys there is one
   * pair a store, whoever starts first: its name is claimed before it is made, so that of two hosts
   * that start together one wins, and a host that dies in between leaves the claim to the next.
   * Given keys that stand are left as they are; others are made beside them.
   */
  async ensureRoot(given: {
    accessKey?: string;
    secretKey?: string;
  }): Promise<{ won: boolean; key: NewKey | undefined }> {
    const { store, clock } = this.#context;
    const root: Account = {
      format: 1,
      id: ROOT_ACCOUNT,
      displayName: ROOT_ACCOUNT,
      createdAt: clock.now(),
      admin: true,
    };
    await store.insert('accounts', accountRow(ROOT_ACCOUNT), root);
    const accessKey = given.accessKey ?? (await this.#claimRootKey());
    const key = await this.#insertKey({ ...given, account: ROOT_ACCOUNT, accessKey });
    if (key === undefined) await this.#requireSame(given);
    return { won: key !== undefined, key };
  }

  /** The one name that the generated root key has in this store. */
  async #claimRootKey(): Promise<string> {
    const { store } = this.#context;
    const accessKey = this.#newAccessKey();
    const { outcome } = await store.insert('settings', ROOT_KEY_ROW, { format: 1, accessKey });
    if (outcome === 'done') return accessKey;
    const row = await store.get<{ accessKey: string }>('settings', ROOT_KEY_ROW);
    return row?.value.accessKey ?? accessKey;
  }

  /** Configured root keys must be the ones that stand: a changed secret is refused, not ignored. */
  async #requireSame(given: { accessKey?: string; secretKey?: string }): Promise<void> {
    const { accessKey, secretKey } = given;
    if (accessKey === undefined || secretKey === undefined) return;
    const standing = await this.secretOf(accessKey);
    if (standing?.account === ROOT_ACCOUNT && standing.secretKey === secretKey) return;
    throw new FirnError('SettingsInvalid', 'the configured root key is not the one in the store', {
      subject: accessKey,
      hint: 'use another access key, or the secret that it was made with',
    });
  }

  /** Undefined: the access key is taken. */
  async #insertKey(key: {
    account: string;
    accessKey?: string;
    secretKey?: string;
  }): Promise<NewKey | undefined> {
    const { store, clock, random, masterKey } = this.#context;
    const accessKey = key.accessKey ?? this.#newAccessKey();
    if (!ACCESS_KEY.test(accessKey)) {
      throw new FirnError('InvalidArgument', 'an access key has 3 to 128 letters, digits or ._-', {
        subject: accessKey,
      });
    }
    const secretKey = key.secretKey ?? Buffer.from(random.bytes(30)).toString('base64url');
    if (secretKey.length < 8) {
      throw new FirnError('InvalidArgument', 'a secret key has at least 8 characters', {
        subject: accessKey,
      });
    }
    const value: KeyPair = {
      format: 1,
      accessKey,
      account: key.account,
      sealedSecret: seal(masterKey, random, { text: secretKey, owner: accessKey }),
      createdAt: clock.now(),
    };
    const { outcome } = await store.insert('accounts', keyRow(accessKey), value);
    if (outcome !== 'done') return undefined;
    return {
      accessKey,
      secretKey,
      account: key.account,
      createdAt: value.createdAt,
    };
  }

  #newAccessKey(): string {
    let name = 'FIRN';
    for (const byte of this.#context.random.bytes(16)) name += ACCESS_ALPHABET[byte % 32];
    return name;
  }

  #keyRow(accessKey: string): Promise<Row<KeyPair> | undefined> {
    // Ids of rows are bounded: what can't be a key of ours isn't asked for.
    if (!ACCESS_KEY.test(accessKey)) return Promise.resolve(undefined);
    return this.#context.store.get<KeyPair>('accounts', keyRow(accessKey));
  }

  async #list<T>(prefix: string): Promise<T[]> {
    const values: T[] = [];
    const to = afterPrefix(prefix) as string;
    let bound: { from: string } | { after: string } = { from: prefix };
    for (;;) {
      const rows: Row<T>[] = await this.#context.store.range<T>({
        table: 'accounts',
        ...bound,
        to,
        limit: 1000,
      });
      for (const { value } of rows) values.push(value);
      const last = rows.at(-1);
      if (last === undefined || rows.length < 1000) return values;
      bound = { after: last.id };
    }
  }
}
