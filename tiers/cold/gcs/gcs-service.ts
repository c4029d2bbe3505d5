// Google Cloud Storage in RemoteTier's words: create-only by generation 0, one resumable session
// for a large blob, CRC32C compared on every upload. All classes of GCS can be read at once, so
// this tier is always immediate. Its client repeats chunks of a session by itself; everything else
// is repeated above.

import type { Bucket, File, FileMetadata, Storage } from '@google-cloud/storage';
import { FirnError } from '../../../appliance/model/errors.ts';
import { MiB } from '../../../appliance/model/limits.ts';
import type { ByteRange, StagePriority } from '../../../appliance/model/tier.ts';
import { missing } from '../base/bodies.ts';
import { refusal } from '../base/calls.ts';
import { idOfName } from '../base/names.ts';
import type {
  BlobHead,
  BlobLabels,
  BlobPage,
  BlobService,
  BlobStream,
  BlobUpload,
  PutOutcome,
} from '../base/service.ts';

export interface GcsServiceSettings {
  tier: string;
  bucket: string;
  prefix: string;
  storageClass: string | undefined;
  partBytes: number | undefined;
  /** An emulator that is asked without credentials. */
  isAnonymous: boolean;
  /** Loads the SDK and makes its client; `retries` are those that the client does by itself. */
  connect(retries: 'none' | 'own'): Promise<Storage>;
}

interface GcsFailure {
  code?: number | string;
  message: string;
}

const PAGE_SIZE = 1000;
/** Chunks of a session are multiples of this. */
const CHUNK_UNIT_BYTES = MiB / 4;
const CREATE_ONLY = { ifGenerationMatch: 0 };

export class GcsService implements BlobService {
  readonly partBytes: number;
  /** A session has no parts: this bounds nothing. */
  readonly partsMax = 1_000_000;
  readonly priorities: readonly StagePriority[] = [];
  readonly offlineAtOnce = false;
  readonly #settings: GcsServiceSettings;
  #bucket: Bucket | undefined;
  /** For sessions, whose chunks only the client can repeat. */
  #sessions: Bucket | undefined;

  constructor(settings: GcsServiceSettings) {
    this.#settings = settings;
    const wanted = settings.partBytes ?? 8 * MiB;
    this.partBytes = Math.ceil(wanted / CHUNK_UNIT_BYTES) * CHUNK_UNIT_BYTES;
  }

  async open(): Promise<void> {
    const { bucket } = this.#settings;
    this.#bucket ??= (await this.#settings.connect('none')).bucket(bucket);
    this.#sessions ??= (await this.#settings.connect('own')).bucket(bucket);
    await this.#bucket.getMetadata();
  }

  async close(): Promise<void> {
    this.#bucket = undefined;
    this.#sessions = undefined;
    await Promise.resolve();
  }

  async head(name: string): Promise<BlobHead | undefined> {
    try {
      const [found] = await this.#file(name).getMetadata();
      const checksum = found.metadata?.['firnxxh3'];
      return {
        sizeBytes: Number(found.size ?? 0),
        checksum: typeof checksum === 'string' ? checksum : undefined,
        stage: { state: 'ready' },
      };
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw error;
    }
  }

  async put(name: string, bytes: Buffer, labels: BlobLabels): Promise<PutOutcome> {
    return whetherTaken(
      this.#file(name).save(bytes, {
        resumable: false,
        validation: 'crc32c',
        preconditionOpts: CREATE_ONLY,
        metadata: this.#metadata(name, labels),
      }),
    );
  }

  beginUpload(name: string, labels: BlobLabels): Promise<BlobUpload> {
    if (this.#sessions === undefined) throw this.#notOpen();
    const stream = this.#sessions.file(this.#fullName(name)).createWriteStream({
      resumable: true,
      chunkSize: this.partBytes,
      validation: 'crc32c',
      preconditionOpts: CREATE_ONLY,
      metadata: this.#metadata(name, labels),
    });
    let failure: Error | undefined;
    const ended = new Promise<void>((resolve, reject) => {
      stream.once('finish', resolve);
      stream.once('error', (error) => {
        failure = error;
        reject(error);
      });
      stream.once('close', () => reject(failure ?? new Error('the session ended: ECONNRESET')));
    });
    ended.catch(() => undefined);
    return Promise.resolve({
      repeatable: false,
      part: async (_, bytes) => {
        const written = new Promise<void>((resolve, reject) => {
          stream.write(bytes, (error) => (error ? reject(error) : resolve()));
        });
        await Promise.race([written, ended]);
      },
      complete: (known) => {
        stream.end();
        return whetherTaken(ended.then(() => this.#label(name, labels, known)));
      },
      // A session that is not ended shows nothing, and the service forgets it after a week.
      abort: () => {
        stream.destroy();
        return Promise.resolve();
      },
    });
  }

  /**
   * By fetch with the client's credentials: the client's own read stream takes no signal, tells a
   * 404 only while it is read, and warns of leaking listeners on every use.
   */
  async get(name: string, range: ByteRange, signal: AbortSignal): Promise<BlobStream> {
    if (this.#bucket === undefined) throw this.#notOpen();
    const { storage } = this.#bucket;
    const object = encodeURIComponent(this.#fullName(name));
    const bucket = encodeURIComponent(this.#settings.bucket);
    const url = `${storage.apiEndpoint}/storage/v1/b/${bucket}/o/${object}?alt=media`;
    const headers = this.#settings.isAnonymous
      ? new Headers()
      : new Headers(await storage.authClient.getRequestHeaders(url));
    headers.set('range', `bytes=${range.offset}-${range.offset + range.length - 1}`);
    const answer = await fetch(url, { headers, signal });
    if (answer.status !== 206 && answer.status !== 200) {
      const message = (await answer.text()).slice(0, 1000);
      throw Object.assign(new Error(message), { code: answer.status });
    }
    const match = /^bytes (\d+)-\d+\/(\d+)$/.exec(answer.headers.get('content-range') ?? '');
    const starts = match === null ? 0 : Number(match[1]);
    if (answer.body === null || starts !== range.offset) {
      await answer.body?.cancel();
      throw new FirnError('TierUnavailable', `${this.#settings.tier} does not serve ranges`);
    }
    return { body: answer.body, totalBytes: match === null ? undefined : Number(match[2]) };
  }

  async delete(name: string): Promise<void> {
    await this.#file(name).delete({ ignoreNotFound: true });
  }

  async listPage(token: string | undefined): Promise<BlobPage> {
    if (this.#bucket === undefined) throw this.#notOpen();
    const { prefix } = this.#settings;
    const [files, next] = await this.#bucket.getFiles({
      prefix,
      autoPaginate: false,
      maxResults: PAGE_SIZE,
      ...(token === undefined ? {} : { pageToken: token }),
    });
    const blobs = files.map((file) => ({
      name: file.name.slice(prefix.length),
      sizeBytes: Number(file.metadata.size ?? 0),
    }));
    return { blobs, next: (next as { pageToken?: string } | null)?.pageToken };
  }

  translate(error: unknown, subject: string): unknown {
    if (error instanceof FirnError) return error;
    const { tier } = this.#settings;
    if (isAbsent(error)) return missing(tier, subject, error);
    const { code, message } = error as GcsFailure;
    const status = typeof code === 'number' ? code : undefined;
    return refusal({ tier, subject, cause: error, status, reason: message.split('\n')[0] });
  }

  /** What was not known when the session began. */
  async #label(name: string, begun: BlobLabels, known: BlobLabels): Promise<void> {
    if (begun.checksum !== undefined || known.checksum === undefined) return;
    await this.#file(name).setMetadata({ metadata: metadataOf(known) });
  }

  #notOpen(): FirnError {
    return new FirnError('TierUnavailable', `${this.#settings.tier} is not open`);
  }

  #fullName(name: string): string {
    return `${this.#settings.prefix}${name}`;
  }

  #file(name: string): File {
    if (this.#bucket === undefined) throw this.#notOpen();
    return this.#bucket.file(this.#fullName(name));
  }

  /** Blobs go into the tier's class; what is ours beside them stays in the bucket's own. */
  #metadata(name: string, labels: BlobLabels): FileMetadata {
    const { storageClass } = this.#settings;
    return {
      contentType: 'application/octet-stream',
      metadata: metadataOf(labels),
      ...(storageClass === undefined || idOfName(name) === undefined ? {} : { storageClass }),
    };
  }
}

/** 404 of the object: that of the bucket is about the whole tier. */
function isAbsent(error: unknown): boolean {
  const { code, message } = error as GcsFailure;
  return (code === 404 || code === '404') && !/bucket does not exist/i.test(message);
}

async function whetherTaken(storing: Promise<unknown>): Promise<PutOutcome> {
  try {
    await storing;
    return 'stored';
  } catch (error) {
    const { code } = error as GcsFailure;
    if (code === 412 || code === '412') return 'taken';
    throw error;
  }
}

function metadataOf({ checksum, owner }: BlobLabels): Record<string, string> {
  return {
    firnbucket: owner.bucketId,
    firnkey: Buffer.from(owner.key, 'utf8').toString('base64url'),
    ...(checksum === undefined ? {} : { firnxxh3: checksum }),
  };
}
