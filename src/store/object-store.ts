// SPDX-License-Identifier: GPL-3.0-or-later

import type { StorageError } from '../errors.ts';
import type { Signal } from './abort.ts';

/** Bytes to store. They can be read any number of times, so a retry needs no copy. */
export interface Body {
  readonly sizeBytes: number;
  /** @returns bytes [start, end), 0 <= start <= end <= sizeBytes. The caller must not change them: they may be the body's own memory.
   *  @throws StorageError ABORTED once the body's request is over */
  read(start: number, end: number): Uint8Array;
  /** Copies bytes [start, start + target.length) into the target. Large contents are sent this way, through one small buffer: V8 frees
   *  what `read` allocates only after some 32 MB. @throws as `read` */
  readInto(start: number, target: Uint8Array): void;
}

/** Half-open range of bytes [start, end), 0 <= start < end. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
  /** The range may end behind the object. `begin` then gets the bytes that are there. */
  readonly mayEndEarly?: true;
}

/** Receives an object's bytes, for one `get` at a time. */
export interface Sink {
  /** Called before the first byte of each attempt. A new attempt discards what the last one wrote.
   *  @param sizeBytes the number of bytes to come: the object's size or the range's length
   *  @param totalBytes the size of the whole object */
  begin(sizeBytes: number, totalBytes: number): void;
  /** Copies the bytes. They come in order unless `anyOrder` is true.
   *  @param offset counts from the first byte that `begin` announced */
  write(offset: number, bytes: Uint8Array): void;
  /** True: bytes may come in any order, and twice. A large object can then come over several connections. */
  readonly anyOrder?: boolean;
}

export interface OperationOptions {
  /** An aborted operation rejects with `abortReason`. */
  readonly signal: Signal;
}

export interface GetOptions extends OperationOptions {
  /** Fails with INTEGRITY if neither the plugin nor the store has a checksum of the content. */
  readonly requireChecksum?: boolean | undefined;
}

export interface PutOptions extends OperationOptions {
  /** From `head`. Replaces only this version, so a removed object does not come back. Else fails with NOT_FOUND, perhaps also after the
   *  answer to a successful first attempt was lost. */
  readonly onlyIfVersion?: string | undefined;
}

export interface ObjectHead {
  readonly sizeBytes: number;
  /** An ETag or a generation: each put makes a new one. */
  readonly version?: string | undefined;
}

export interface ObjectInfo {
  readonly key: string;
  readonly sizeBytes: number;
  readonly modified: Date;
}

/** The objects of a store on this machine, as files. Bodies and sinks are synchronous, so only files can be used without loading them. */
export interface LocalFiles {
  /** @throws as `get` */
  open(key: string, options: OperationOptions): Promise<OpenFile>;
  /** Stores what `fill` writes, once it resolves. Stores nothing if it rejects. */
  receive(
    key: string,
    fill: (sink: Sink) => Promise<void>,
    options: OperationOptions,
  ): Promise<void>;
}

export interface OpenFile {
  readonly body: Body;
  close(): Promise<void>;
}

/** A flat space of keys and bytes. All errors are StorageErrors.
 *
 *  Whole or nothing: `put` sends a checksum along and resolves when the store has acknowledged all bytes. `get` resolves when all bytes
 *  that `begin` announced are written and match the checksum of the store, if it has one. */
export interface ObjectStore {
  /** Overwrites an existing object. One request below the provider's multipart size.
   *  @throws ACCESS_DENIED, THROTTLED, UNAVAILABLE, TIMEOUT, ABORTED; with `onlyIfVersion` NOT_FOUND */
  put(key: string, body: Body, options: PutOptions): Promise<void>;
  /** One request. A range that starts behind the object is an error, as is one that ends there without `mayEndEarly`.
   *  @param range undefined: the whole object, which may be empty
   *  @throws NOT_FOUND, BAD_RANGE, SHORT_BODY, INTEGRITY, ACCESS_DENIED, THROTTLED, UNAVAILABLE, TIMEOUT, ABORTED */
  get(key: string, range: ByteRange | undefined, sink: Sink, options: GetOptions): Promise<void>;
  /** @returns undefined if there is no such object */
  head(key: string, options: OperationOptions): Promise<ObjectHead | undefined>;
  /** A missing key is success. */
  delete(key: string, options: OperationOptions): Promise<void>;
  /** Removes up to 1,000 objects, in few requests where the provider can do so. A missing key is success.
   *  @returns what went wrong, by key. It does not reject: an abort, too, is a failure of each key. */
  readonly deleteMany?: (
    keys: readonly string[],
    options: OperationOptions,
  ) => Promise<ReadonlyMap<string, StorageError>>;
  /** Objects whose key starts with the prefix, in the provider's order. */
  list(prefix: string, options: OperationOptions): AsyncIterable<ObjectInfo>;
  /** Resolves when the bucket exists, is reachable and permits what the plugin does.
   *  @throws StorageError whose message names the setting to change */
  check(options: OperationOptions): Promise<void>;
  readonly files?: LocalFiles;
  /** Closes idle connections, so that the event loop can end. Operations in flight fail with CLOSED. */
  close(): Promise<void>;
}
