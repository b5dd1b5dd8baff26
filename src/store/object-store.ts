// SPDX-License-Identifier: GPL-3.0-or-later

/** What is to be stored. It can be read any number of times, so that a retry needs no copy. */
export interface Body {
  readonly sizeBytes: number;
  /** @returns bytes [start, end), 0 <= start <= end <= sizeBytes. They may be the body's own memory: the caller must not change them
   *  @throws StorageError ABORTED once the request that the body belongs to is over */
  read(start: number, end: number): Uint8Array;
  /** Copies bytes [start, start + target.length) into the caller's memory. A large content is sent through one small buffer by it:
   *  V8 collects what `read` allocates only after some 32 MB. @throws as `read` */
  readInto(start: number, target: Uint8Array): void;
}

/** Half-open range of bytes [start, end), 0 <= start < end. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
  /** The range may end behind the object: `begin` tells how much is there. */
  readonly mayEndEarly?: true;
}

/** Where the bytes of an object go. A sink serves one get at a time. */
export interface Sink {
  /** Called before the first byte, and again for each new attempt, which discards what the last one wrote.
   *  @param sizeBytes how many bytes `write` will be given: the object's size, or the range's length
   *  @param totalBytes the size of the whole object */
  begin(sizeBytes: number, totalBytes: number): void;
  /** Copies bytes for [offset, offset + bytes.length) of what `begin` announced, in order unless `anyOrder` is true. */
  write(offset: number, bytes: Uint8Array): void;
  /** True: bytes may come in any order, some of them twice, so that a large object can come over several connections. */
  readonly anyOrder?: boolean;
}

export interface OperationOptions {
  /** An abort ends the operation with its reason, where that is a StorageError, else with ABORTED. */
  readonly signal: AbortSignal;
}

export interface GetOptions extends OperationOptions {
  /** Fail with INTEGRITY where neither we nor the store have a checksum of the content. */
  readonly requireChecksum?: boolean | undefined;
}

export interface PutOptions extends OperationOptions {
  /** Replaces only this version, which `head` gave: an object that was removed meanwhile does not come back. A put that is repeated after a
   *  lost answer may fail so, too. */
  readonly onlyIfVersion?: string | undefined;
}

export interface ObjectHead {
  readonly sizeBytes: number;
  /** Each put gives another one (an ETag, a generation). For `onlyIfVersion`. */
  readonly version?: string | undefined;
}

export interface ObjectInfo {
  readonly key: string;
  readonly sizeBytes: number;
  readonly modified: Date;
}

/** For a store whose objects are files of this machine. Bodies and sinks are synchronous: only a file can be one without being held. */
export interface LocalFiles {
  /** @throws as `get` */
  open(key: string, options: OperationOptions): Promise<OpenFile>;
  /** As `put` of what `fill` writes. It is there once `fill` has resolved, and not at all where that rejects. */
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

/** A flat space of keys and bytes. All errors are StorageErrors; no SDK's error leaves its provider.
 *
 *  Whole or nothing: `put` resolves only when all bytes are acknowledged, with an integrity check sent along; `get` resolves only
 *  when each byte announced by `begin` was written and whatever checksum the server offers was verified. */
export interface ObjectStore {
  /** Overwrites what is there. One request below the provider's multipart size.
   *  @throws ACCESS_DENIED, THROTTLED, UNAVAILABLE, TIMEOUT, ABORTED; with `onlyIfVersion` NOT_FOUND */
  put(key: string, body: Body, options: PutOptions): Promise<void>;
  /** One request. A range that ends behind the object is an error, unless it says `mayEndEarly`; one that starts there always is.
   *  @param range undefined is the whole object, also an empty one
   *  @throws NOT_FOUND, BAD_RANGE, SHORT_BODY, INTEGRITY, ACCESS_DENIED, THROTTLED, UNAVAILABLE, TIMEOUT, ABORTED */
  get(key: string, range: ByteRange | undefined, sink: Sink, options: GetOptions): Promise<void>;
  /** @returns undefined where there is no such object */
  head(key: string, options: OperationOptions): Promise<ObjectHead | undefined>;
  /** A missing key is success. */
  delete(key: string, options: OperationOptions): Promise<void>;
  /** All objects whose key starts with the prefix, in the provider's order, page by page. */
  list(prefix: string, options: OperationOptions): AsyncIterable<ObjectInfo>;
  /** Resolves when the bucket exists, is reachable and permits what the plugin does.
   *  @throws StorageError whose message names the setting to change */
  check(options: OperationOptions): Promise<void>;
  readonly files?: LocalFiles;
  /** Ends idle connections, so that the event loop can end. Operations under way fail with CLOSED. */
  close(): Promise<void>;
}
