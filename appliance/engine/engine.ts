// The engine's face: each operation is a file of its own, this class names them. Without state but
// for the core's; many of them, in many processes, serve one store.

import type { Bucket } from '../model/bucket.ts';
import type {
  CompleteUpload,
  CopyAnswer,
  CopyObject,
  CreateBucket,
  CreateUpload,
  DeleteAnswer,
  DeleteObject,
  GetAnswer,
  GetObject,
  HeadAnswer,
  ListAnswer,
  ListBucketsAnswer,
  ListPartsAnswer,
  ListQuery,
  ListUploadsAnswer,
  ListUploadsQuery,
  ListVersionsAnswer,
  ListVersionsQuery,
  ObjectStore,
  PartAnswer,
  PutAnswer,
  PutObject,
  PutPart,
  RestoreAnswer,
  RestoreObject,
  UpdateVersion,
  UploadName,
} from '../model/requests.ts';
import { md5Lanes } from '../model/md5-lanes.ts';
import type { Upload } from '../model/object.ts';
import { createBucket, deleteBucket, listBuckets, updateBucket } from './account/buckets.ts';
import { copyObject } from './object/copy.ts';
import type { Core } from './document/core.ts';
import { deleteObject } from './object/delete.ts';
import { getObject, headObject } from './object/get.ts';
import { listUploads } from './object/list-uploads.ts';
import { listVersions } from './object/list-versions.ts';
import { listObjects } from './object/list.ts';
import { completeUpload } from './upload/multipart-complete.ts';
import { createUpload } from './upload/multipart-create.ts';
import { abortUpload } from './upload/multipart-end.ts';
import { copyPart, listParts, putPart, type CopyPart } from './upload/multipart-part.ts';
import { putObject } from './object/put.ts';
import { restoreObject } from './object/request-restore.ts';
import { updateVersion } from './object/update-version.ts';

export class Engine implements ObjectStore {
  /** For workers: moves, restores and collection run on the same core. */
  readonly core: Core;

  constructor(core: Core) {
    this.core = core;
    md5Lanes().prepare();
  }

  /**
   * Writes what is noted behind answers (days of access, what quotas count). The store and tiers
   * are closed by others.
   */
  async close(): Promise<void> {
    await this.core.accessDays?.close();
    await this.core.quotas.close();
  }

  createBucket(request: CreateBucket): Promise<Bucket> {
    return this.#settled(createBucket(this.core, request));
  }

  getBucket(name: string): Promise<Bucket> {
    return this.core.buckets.live(name);
  }

  deleteBucket(name: string): Promise<void> {
    return this.#settled(deleteBucket(this.core, name));
  }

  listBuckets(query: {
    owner: string;
    prefix?: string;
    after?: string;
    limit: number;
  }): Promise<ListBucketsAnswer> {
    return listBuckets(this.core, query);
  }

  updateBucket(name: string, change: (bucket: Bucket) => Bucket): Promise<Bucket> {
    return this.#settled(updateBucket(this.core, name, change));
  }

  putObject(request: PutObject): Promise<PutAnswer> {
    return this.#told(putObject(this.core, request));
  }

  getObject(request: GetObject): Promise<GetAnswer> {
    return getObject(this.core, request);
  }

  headObject(request: GetObject): Promise<HeadAnswer> {
    return headObject(this.core, request);
  }

  deleteObject(request: DeleteObject): Promise<DeleteAnswer> {
    return this.#told(deleteObject(this.core, request));
  }

  updateVersion(request: UpdateVersion): Promise<HeadAnswer> {
    return this.#settled(updateVersion(this.core, request));
  }

  copyObject(request: CopyObject): Promise<CopyAnswer> {
    return this.#settled(copyObject(this.core, request));
  }

  listObjects(query: ListQuery): Promise<ListAnswer> {
    return listObjects(this.core, query);
  }

  listVersions(query: ListVersionsQuery): Promise<ListVersionsAnswer> {
    return listVersions(this.core, query);
  }

  quotaWarning(bucket: Bucket): string | undefined {
    return this.core.quotas.warningOf(bucket);
  }

  createUpload(request: CreateUpload): Promise<Upload> {
    return this.#told(createUpload(this.core, request));
  }

  putPart(request: PutPart): Promise<PartAnswer> {
    return this.#told(putPart(this.core, request));
  }

  copyPart(request: CopyPart): Promise<PartAnswer> {
    return this.#told(copyPart(this.core, request));
  }

  completeUpload(request: CompleteUpload): Promise<PutAnswer> {
    return this.#settled(completeUpload(this.core, request));
  }

  abortUpload(name: UploadName): Promise<void> {
    return this.#settled(abortUpload(this.core, name));
  }

  listUploads(query: ListUploadsQuery): Promise<ListUploadsAnswer> {
    return listUploads(this.core, query);
  }

  listParts(query: UploadName & { after: number; limit: number }): Promise<ListPartsAnswer> {
    return listParts(this.core, query);
  }

  restoreObject(request: RestoreObject): Promise<RestoreAnswer> {
    return this.#settled(restoreObject(this.core, request));
  }

  /** A change that may be answered by what was only read: also that must be durable (D3). */
  async #settled<T>(change: Promise<T>): Promise<T> {
    const answer = await this.#told(change);
    await this.core.context.store.settled();
    return answer;
  }

  /** A change whose success is a commit of its own: a refusal rests on what was read (D3). */
  async #told<T>(change: Promise<T>): Promise<T> {
    try {
      return await change;
    } catch (error) {
      await this.core.context.store.settled();
      throw error;
    }
  }
}
