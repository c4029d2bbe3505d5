// One command at work: its outputs, its clients (made when first needed), and how it says things. A
// read with `--json` prints exactly one JSON value and nothing else on stdout.

import { FirnError } from '../model/errors.ts';
import { AdminClient } from './client/admin-client.ts';
import { readKeyPair } from './client/credentials.ts';
import type { KeyPairInHand } from './client/credentials.ts';
import type { CliIo, CliSettings } from './io.ts';
import { Progress } from './terminal/progress.ts';
import type { ProgressOptions } from './terminal/progress.ts';
import { paintFor, tableText } from './terminal/table.ts';
import type { Column } from './terminal/table.ts';
import type { Paint } from './terminal/output.ts';

/** Flags that every verb takes. */
export interface GlobalFlags {
  config?: string;
  endpoint?: string;
  s3Endpoint?: string;
  credentials?: string;
  profile?: string;
}

export class Session {
  readonly io: CliIo;
  readonly paint: Paint;
  readonly #flags: GlobalFlags;
  #settings: CliSettings | undefined;
  #admin: AdminClient | undefined;

  constructor(io: CliIo, flags: GlobalFlags) {
    this.io = io;
    this.paint = paintFor(io.stdout);
    this.#flags = flags;
  }

  get settings(): CliSettings {
    if (this.#settings === undefined) {
      const read = this.io.settings(this.#flags.config);
      this.#settings = {
        ...read,
        adminEndpoint: this.#flags.endpoint ?? read.adminEndpoint,
        s3Endpoint: this.#flags.s3Endpoint ?? read.s3Endpoint,
      };
    }
    return this.#settings;
  }

  get keyPair(): KeyPairInHand {
    const named = this.#flags.credentials !== undefined || this.#flags.profile !== undefined;
    if (this.settings.credentials !== undefined && !named) return this.settings.credentials;
    return readKeyPair(
      this.#flags.credentials ?? this.settings.credentialsFile,
      this.#flags.profile ?? 'default',
    );
  }

  get admin(): AdminClient {
    this.#admin ??= new AdminClient(this.settings, this.keyPair, {
      wall: this.io.wall,
      ...(this.io.signal === undefined ? {} : { signal: this.io.signal }),
    });
    return this.#admin;
  }

  async close(): Promise<void> {
    await this.#admin?.close();
  }

  print(text: string): void {
    this.io.stdout.write(text.endsWith('\n') ? text : `${text}\n`);
  }

  json(value: unknown): void {
    this.print(JSON.stringify(value, null, 2));
  }

  table(columns: readonly Column[], rows: readonly (readonly string[])[]): void {
    const { isTTY, columns: width } = this.io.stdout;
    this.print(
      tableText(columns, rows, { bold: this.paint.bold, ...(isTTY ? { columns: width } : {}) }),
    );
  }

  progress(label: string, options: Omit<ProgressOptions, 'label' | 'wall'>): Progress {
    return new Progress(this.io.stderr, { ...options, label, wall: this.io.wall });
  }
}

export interface ObjectPlace {
  bucket: string;
  /** Key or prefix; may be empty. */
  key: string;
  versionId?: string;
}

/** `s3://BUCKET/KEY[?versionId=V]`. */
export function parsePlace(text: string): ObjectPlace {
  const match = /^s3:\/\/([^/]+)(?:\/(.*))?$/s.exec(text);
  if (match === null) {
    throw new FirnError('UsageError', `${text} names no object`, {
      hint: 'name it as s3://BUCKET/KEY',
    });
  }
  const [, bucket = '', rest = ''] = match;
  const version = /^(.*)\?versionId=([^?&]+)$/s.exec(rest);
  if (version === null) return { bucket, key: rest };
  return { bucket, key: version[1] ?? '', versionId: version[2] ?? '' };
}

/** A whole number from a flag; commander hands over text. */
export function wholeNumber(flag: string, text: string, least: number): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= least) return value;
  throw new FirnError('UsageError', `${flag} ${text} is not a whole number of at least ${least}`);
}
