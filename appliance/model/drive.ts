// The port of drives: one directory on one device, seen as a flat store of files. All input and
// output of node groups goes through it, so that a simulator can tear writes, lose what was not
// synced, fill a drive up or let it hang, and so that a drive of another host can stand behind it
// later. Paths are relative to the drive, with '/' between names that Firn makes itself: a name
// never comes from a user. Errors are those of the system, with their `code` (ENOENT, ENOSPC, EIO
// ...): node groups decide what they mean.

export interface DriveFile {
  /**
   * Fills `target` from `position`; fewer bytes only at the end of the file. Reads are looped, so a
   * short count means the end, never a signal.
   */
  read(target: Uint8Array, position: number): Promise<number>;
  /** As read, into several targets, one behind another. Missing: one after another will do. */
  readParts?(targets: readonly Uint8Array[], position: number): Promise<number>;
  /** As read, blocking this thread: only where the bytes are likely in the page cache. */
  readNow(target: Uint8Array, position: number): number;
  /**
   * Writes all of it, one behind another (short writes are looped), at `position`. Durable on
   * return if the file was opened with `durable`, else after sync. The bytes must not change until
   * then.
   */
  write(bytes: Uint8Array | readonly Uint8Array[], position: number): Promise<void>;
  /** fdatasync. After an error this file may never be synced again: what was lost is not known. */
  sync(): Promise<void>;
  /** Grows or cuts to this length without writing; the new part reads as zeros. */
  resize(sizeBytes: number): Promise<void>;
  stat(): Promise<DriveStat>;
  /** Safe twice. */
  close(): Promise<void>;
}

export interface DriveStat {
  sizeBytes: number;
  /** Bytes that it takes up on the device: less than its size where it has holes. */
  allocatedBytes: number;
  /** Wall ms of the last write. */
  modifiedMs: number;
}

export interface DriveUsage {
  /** What this program may fill: used by files of any kind, and free for it. */
  capacityBytes: number;
  freeBytes: number;
  /** Drives on one device share its room; equal text = one device. */
  device: string;
  /** Another file system is mounted right here. */
  mounted: boolean;
}

export type DriveOpenMode =
  /** Must be there. */
  | 'read'
  /** Must be there; read and write. */
  | 'change'
  /** Must not be there (EEXIST); the name is durable only after syncDirectory. */
  | 'create';

export interface Drive {
  /** As operators know it: an absolute path or an address. */
  readonly path: string;

  open(
    path: string,
    options: {
      mode: DriveOpenMode;
      /** Each write returns durable. */
      durable?: boolean;
      /** Large aligned writes go past the page cache, where file system and device take that. */
      direct?: boolean;
    },
  ): Promise<DriveFile>;
  /** Names in a directory, in no order; ENOENT where there is none. '' is the drive itself. */
  list(directory: string): Promise<string[]>;
  stat(path: string): Promise<DriveStat>;
  /** Replaces what `to` names. Durable after syncDirectory of both directories. */
  rename(from: string, to: string): Promise<void>;
  /** A second name for a file; false if `to` is taken: how two processes agree on one winner. */
  link(from: string, to: string): Promise<boolean>;
  /** Absent already: succeeds. */
  remove(path: string): Promise<void>;
  /** With its parents; there already: succeeds. The name is durable on return. */
  makeDirectory(directory: string): Promise<void>;
  /** fsync of a directory: its names are durable on return. */
  syncDirectory(directory: string): Promise<void>;
  usage(): Promise<DriveUsage>;
}
