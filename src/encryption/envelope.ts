// SPDX-License-Identifier: GPL-3.0-or-later
// Writes encrypted objects to a store and reads them.

import { StorageError, type StorageErrorCode, toStorageError } from '../errors.ts';
import { Cancellation, type Signal } from '../store/abort.ts';
import { Semaphore } from '../store/limit.ts';
import type {
  Body,
  ByteRange,
  GetOptions,
  ObjectStore,
  PutOptions,
  Sink,
} from '../store/object-store.ts';
import { isWrappedBy, type ObjectIdentity, readA2Header } from './a2.ts';
import type { CreateAes } from './aes.ts';
import {
  badRangeError,
  DecryptingSink,
  type DecryptionSource,
  type Fetched,
} from './decrypting-sink.ts';
import {
  type EncryptedBody,
  type EncryptionTarget,
  encryptBody,
  encryptWhereRead,
  HELD_MAX_BYTES,
} from './encrypted-body.ts';
import { detectFormat, formatOf, isLookalike, looksEncrypted } from './header.ts';
import { type Head, headOf, readHead } from './inspect.ts';
import type { Keyring, MasterKey } from './keyring.ts';
import { createLookalikeSink, type LookalikeSink } from './lookalike-sink.ts';
import { type OpenedObject, openObject } from './opened-object.ts';
import { Pacer } from './pacer.ts';
import {
  A1_OVERHEAD_BYTES,
  coveringSegments,
  type EncryptionFormat,
  keyIdOf,
  plaintextSize,
  sealedRange,
} from './sizes.ts';

export interface EnvelopeDependencies {
  readonly keyring: Keyring;
  readonly createAes: CreateAes;
  readonly format: EncryptionFormat | undefined;
  /** MaxConcurrentInputSize, in bytes. */
  readonly maxInputBytes: number;
}

type KnownIdentity = ObjectIdentity & { readonly contentType: number };
type WritableStore = Pick<ObjectStore, 'put'>;

interface GetRequest {
  readonly store: Pick<ObjectStore, 'get' | 'head'>;
  readonly key: string;
  readonly sink: Sink;
  readonly source: DecryptionSource;
  readonly signal: Signal;
  readonly requireChecksum: boolean | undefined;
}

/** A range that begins within this many segments is read from the object's start: a quarter of a megabyte costs less than another
 *  request. */
const NEAR_SEGMENTS = 4;
const FROM_START: Fetched = { start: 0, header: undefined };

/** Memory that a content of this size needs on its way. Larger ones go in pieces. */
function inMemory(sizeBytes: number): number {
  return Math.min(sizeBytes, HELD_MAX_BYTES);
}

export class Envelope {
  /** Of new objects; undefined: they are not encrypted. */
  readonly format: EncryptionFormat | undefined;
  readonly masterKeyId: number | undefined;
  /** Of all keys, ascending. */
  readonly keyIds: readonly number[];
  /** For `putPlain`: the format of new objects, so that a key for A2 makes no A1 objects; else A1, which the C++ plugins can read. */
  readonly lookalikeFormat: EncryptionFormat;
  readonly #keyring: Keyring;
  readonly #createAes: CreateAes;
  /** Of bytes in memory that are being encrypted or decrypted. */
  readonly #budget: Semaphore;
  readonly #pacer = new Pacer();
  readonly #find = (id: number) => this.#keyring.find(id);
  readonly #hasKey = (id: number) => this.#keyring.ids.includes(id);

  constructor({ keyring, createAes, format, maxInputBytes }: EnvelopeDependencies) {
    this.format = keyring.master === undefined ? undefined : format;
    this.masterKeyId = keyring.master?.id;
    this.keyIds = keyring.ids;
    this.lookalikeFormat = format ?? 'A1';
    this.#keyring = keyring;
    this.#createAes = createAes;
    this.#budget = new Semaphore(maxInputBytes);
  }

  /** @throws StorageError UNKNOWN_KEY */
  requireKey(id: number): void {
    this.#keyring.find(id);
  }

  get bytesInProcess(): number {
    return this.#budget.weightInUse;
  }

  /** As `looksEncrypted` of header.ts, with the configured keys. */
  looksEncrypted({ bytes, totalBytes }: Head): boolean {
    return looksEncrypted(bytes, totalBytes, this.#hasKey);
  }

  /** Whether the configured key of an encrypted object's key id can decrypt it. 'untold': of A1, only the whole object tells. */
  tryKey({ bytes }: Head): 'missing' | 'wrong' | 'right' | 'untold' {
    const keyId = keyIdOf(bytes);
    if (!this.#hasKey(keyId)) return 'missing';
    if (detectFormat(bytes) === 'A1') return 'untold';
    return isWrappedBy(this.#find(keyId), bytes) ? 'right' : 'wrong';
  }

  /** Encrypts and stores a content.
   *  @param options.format in place of the configured one
   *  @throws as the store's `put`; StorageError BAD_CONFIG without a format or a master key */
  async put(
    store: WritableStore,
    key: string,
    content: Body,
    identity: KnownIdentity,
    { format = this.format, ...options }: PutOptions & { readonly format?: EncryptionFormat },
  ): Promise<void> {
    const target = this.#targetOf(format, this.#keyring.master, identity);
    await this.#putEncrypted(store, key, content, target, options);
  }

  /** Stores a content unencrypted, in a place where only an object's first bytes tell whether it is encrypted. A lookalike of an encrypted
   *  object is encrypted, so that reads, which decrypt once, return the same bytes. Otherwise, users could store somebody's encrypted object
   *  as a content of their own and read it decrypted. @throws as `put` */
  async putPlain(
    store: WritableStore,
    key: string,
    content: Body,
    identity: KnownIdentity,
    options: PutOptions,
  ): Promise<void> {
    const { bytes, totalBytes } = headOf(content);
    if (!isLookalike(bytes, totalBytes)) return await store.put(key, content, options);
    const target = this.#targetOf(this.lookalikeFormat, this.#keyring.spare, identity);
    await this.#putEncrypted(store, key, content, target, options);
  }

  /** As `putPlain`, of a content that comes in pieces, in order. @throws StorageError BAD_CONFIG without any key */
  receivePlain(inner: Sink, identity: KnownIdentity): LookalikeSink {
    const target = this.#targetOf(this.lookalikeFormat, this.#keyring.spare, identity);
    return createLookalikeSink(inner, {
      format: target.format,
      encrypt: (content) => encryptWhereRead(content, target),
    });
  }

  /** Reads an object by its header. A range of A2 takes one request if it begins in the first segments, else two. A1 is read whole, because
   *  a part cannot be verified. Until this resolves, the sink's bytes may not be authentic: see `DecryptingSink`.
   *  @param range of the content; undefined: the whole
   *  @param options.plain whether an object that is not encrypted is an error
   *  @throws as the store's `get`; StorageError INTEGRITY, UNKNOWN_KEY */
  async get(
    store: GetRequest['store'],
    key: string,
    range: ByteRange | undefined,
    sink: Sink,
    identity: ObjectIdentity,
    options: GetOptions & { readonly plain: DecryptionSource['plain'] },
  ): Promise<void> {
    const { signal, requireChecksum, plain } = options;
    const source: DecryptionSource = {
      find: this.#find,
      hasKey: this.#hasKey,
      createAes: this.#createAes,
      identity,
      plain,
      wanted: range,
    };
    const request: GetRequest = { store, key, sink, source, signal, requireChecksum };
    try {
      if (range === undefined) await this.#getWhole(request);
      else if (coveringSegments(range).start < NEAR_SEGMENTS) await this.#getNear(request, range);
      else await this.#getFar(request, range);
    } catch (error) {
      throw withKey(error, key);
    }
  }

  /** As `openObject`, for an object that `get` has verified. */
  open(object: Body, identity: KnownIdentity): OpenedObject {
    return openObject(object, { find: this.#find, createAes: this.#createAes }, identity);
  }

  #targetOf(
    format: EncryptionFormat | undefined,
    master: MasterKey | undefined,
    { uuid, contentType }: KnownIdentity,
  ): EncryptionTarget {
    // Never plaintext instead.
    if (master === undefined || format === undefined) {
      throw new StorageError('BAD_CONFIG', 'there is no master key to encrypt with');
    }
    return { format, master, uuid, contentType, createAes: this.#createAes };
  }

  async #putEncrypted(
    store: WritableStore,
    key: string,
    content: Body,
    target: EncryptionTarget,
    options: PutOptions,
  ): Promise<void> {
    const { signal, onlyIfVersion } = options;
    const release = await this.#budget.acquire(signal, inMemory(content.sizeBytes));
    let body: EncryptedBody | undefined;
    try {
      body = await encryptBody(content, target, this.#pacer, signal);
      await store.put(key, body, { signal, onlyIfVersion });
    } finally {
      body?.wipe();
      release();
    }
  }

  /** Makes one request.
   *  @returns false if nothing was written to the sink, because only the whole object can be decrypted */
  async #receive(
    request: GetRequest,
    range: ByteRange | undefined,
    fetched: Fetched,
  ): Promise<boolean> {
    const { store, key, requireChecksum } = request;
    const sizeBytes = range === undefined ? HELD_MAX_BYTES : range.end - range.start;
    const release = await this.#budget.acquire(request.signal, inMemory(sizeBytes));
    const link = new Cancellation(request.signal);
    const sink = new DecryptingSink(request.sink, request.source, fetched, (failure) => {
      // A retry cannot help, and the rest of the object may be a gigabyte.
      if (failure.code === 'UNKNOWN_KEY') link.abort(failure);
    });
    try {
      await store.get(key, range, sink, { signal: link, requireChecksum });
      return sink.finish();
    } catch (error) {
      // The store does not support `mayEndEarly`, and the object is smaller than the range.
      if (range?.mayEndEarly === true && !sink.hasBegun && isBadRange(error)) return false;
      throw error;
    } finally {
      link.release();
      sink.wipe();
      release();
    }
  }

  async #getWhole(request: GetRequest): Promise<void> {
    if (await this.#receive(request, undefined, FROM_START)) return;
    throw new StorageError('INTERNAL', 'a whole object was taken for a part of one');
  }

  /** Reads from the object's start, header included. */
  async #getNear(request: GetRequest, wanted: ByteRange): Promise<void> {
    const { end } = sealedRange(coveringSegments(wanted));
    // Also enough for a whole A1 object, if its content ends with the range.
    const enough = Math.max(end, wanted.end + A1_OVERHEAD_BYTES);
    const range: ByteRange = { start: 0, end: enough, mayEndEarly: true };
    if (!(await this.#receive(request, range, FROM_START))) await this.#getWhole(request);
  }

  /** Reads the header, whose answer also tells the size, then the segments. In between, rekey may replace the object; then its header is
   *  another one too. */
  async #getFar(request: GetRequest, wanted: ByteRange): Promise<void> {
    const head = await readHead(request.store, request.key, request);
    try {
      await this.#getByHead(request, wanted, head);
    } catch (error) {
      const { code } = toStorageError(error);
      if (code !== 'INTEGRITY' && code !== 'BAD_RANGE') throw error;
      const now = await readHead(request.store, request.key, request);
      if (Buffer.compare(now.bytes, head.bytes) === 0) throw error;
      await this.#getByHead(request, wanted, now);
    }
  }

  async #getByHead(request: GetRequest, wanted: ByteRange, head: Head): Promise<void> {
    const { store, key, sink, source, signal } = request;
    const format = formatOf(head.bytes, head.totalBytes, source);
    if (format === undefined) return await store.get(key, wanted, sink, { signal });
    if (format === 'A1') return await this.#getWhole(request);
    const header = readA2Header(head.bytes);
    const plaintextBytes = plaintextSize('A2', head.totalBytes);
    if (wanted.end > plaintextBytes) throw badRangeError(wanted, plaintextBytes);
    const range = sealedRange(coveringSegments(wanted), head.totalBytes);
    await this.#receive(request, range, { start: range.start, header });
  }
}

const CONTENT_CODES: ReadonlySet<StorageErrorCode> = new Set([
  'INTEGRITY',
  'UNKNOWN_KEY',
  'BAD_RANGE',
  'SHORT_BODY',
]);

/** Adds the key to failures of decryption. Errors of stores have it already. */
function withKey(error: unknown, key: string): StorageError {
  const failure = toStorageError(error);
  if (failure.key !== undefined || !CONTENT_CODES.has(failure.code)) return failure;
  return new StorageError(failure.code, `"${key}": ${failure.message}`, {
    key,
    cause: failure.cause,
  });
}

function isBadRange(error: unknown): boolean {
  return error instanceof StorageError && error.code === 'BAD_RANGE';
}
