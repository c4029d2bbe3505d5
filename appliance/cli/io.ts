// What a command sees of the world: two outputs, one question, a clock, and settings that the front
// door read for it. Nothing here touches process or its environment, so that a test runs a command
// with strings in and strings out, and so that a secret can only come from where config.ts looks.

import type { KeyPairInHand } from './client/credentials.ts';
import type { CliOutput } from './terminal/output.ts';

export type { CliOutput };

/** Where Firn is and who asks; from the settings file and the environment (config.ts). */
export interface CliSettings {
  /** Base address of the admin API, for example http://127.0.0.1:9001. */
  adminEndpoint: string;
  /** Base address of S3. */
  s3Endpoint: string;
  region: string;
  /** Credentials file that the first start wrote. */
  credentialsFile: string;
  /** Given directly (environment): goes before the file. */
  credentials?: KeyPairInHand;
}

export interface DemoOptions {
  data?: string;
  tree?: string;
  metadata?: string;
}

/** What `rebuild` has found and made. */
export interface RebuildReport {
  storeId: string;
  /** Begun by it: what knows only earlier ones is ignored from now on. */
  epoch: number;
  /** The last commit number. */
  number: number;
  /** `broughtFrom`: the tier, where no drive had it whole. */
  snapshot: { number: number; sizeBytes: number; broughtFrom?: string };
  logs: number;
  logBytes: number;
  rows: number;
  /** Drives whose copies were read. */
  from: string[];
  seconds: number;
}

export interface CliIo {
  stdout: CliOutput;
  stderr: CliOutput;
  /** The answer typed to a question; absent where nobody can be asked. */
  ask?: (question: string) => Promise<string>;
  /** The host's time, ms. */
  wall: () => number;
  version: string;
  /** Reads the settings: of this file, or of the usual places. */
  settings: (file: string | undefined) => CliSettings;
  /** Aborted by Ctrl-C. */
  signal?: AbortSignal;
  /** Verbs that need more than a client; the front door passes them in. */
  serve?: (options: { config?: string }) => Promise<number>;
  demo?: (options: DemoOptions, io: CliIo) => Promise<number>;
  rebuild?: (
    config: string | undefined,
    progress: (doneBytes: number, allBytes: number) => void,
  ) => Promise<RebuildReport>;
}
