// SPDX-License-Identifier: GPL-3.0-or-later
// Puts contents into a store encrypted, and gets them out again whatever they were encrypted with.

import { StorageError, type StorageErrorCode, toStorageError } from '../errors.ts';
import { linkSignals } from '../store/abort.ts';
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
  createDecryptingSink,
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
import { createPacer } from './pacer.ts';
import {
  A1_OVERHEAD_BYTES,
  coveringSegments,
  type EncryptionFormat,
  keyIdOf,
  plaintextSize,
  sealedRange,
} from './sizes.ts';

/** What reading needs of a store. */
export type ReadableStore = Pick<ObjectStore, 'get' | 'head'>;

export interface Envelope {
  /** Encrypts new objects; undefined: none, those that are encrypted can only be read. */
  readonly format: EncryptionFormat | undefined;
  readonly masterKeyId: number | undefined;
  /** Of what `putPlain` encrypts. That of new objects, so that it makes no A1 object under a key that is for A2 alone; else A1, which the
   *  C++ plugins read, too. */
  readonly lookalikeFormat: EncryptionFormat;
  /** For an object whose name does not tell: see `looksEncrypted`. */
  looksEncrypted(head: Head): boolean;
  /** What the head of an encrypted object tells of the key that is configured under its id: that there is none, that it is another one
   *  than it was encrypted with, or nothing, since of A1 only the whole object tells. */
  tryKey(head: Head): 'missing' | 'wrong' | 'right' | 'untold';
  /** Bytes in memory of contents that are being encrypted or decrypted. */
  bytesInProcess(): number;
  /** Stores a content encrypted.
   *  @param options `format` instead of the configured one
   *  @throws as the store's `put`; StorageError BAD_CONFIG without a format and a master key */
  put(
    store: Pick<ObjectStore, 'put'>,
    key: string,
    content: Body,
    identity: KnownIdentity,
    options: PutOptions & { readonly format?: EncryptionFormat },
  ): Promise<void>;
  /** Stores a content as it is, in a place where first bytes alone tell what is encrypted. One that would pass for an encrypted object is
   *  encrypted there, so that a read, which decrypts once, gives back the very bytes: else whoever got hold of an encrypted object could
   *  store it as a content of his own and read it decrypted, and what only begins like one could not be read at all.
   *  @throws as `put` */
  putPlain(
    store: Pick<ObjectStore, 'put'>,
    key: string,
    content: Body,
    identity: KnownIdentity,
    options: PutOptions,
  ): Promise<void>;
  /** As `putPlain`, of a content that comes in pieces, in their order. @throws StorageError BAD_CONFIG without any key */
  receivePlain(inner: Sink, identity: KnownIdentity): LookalikeSink;
  /** Reads an object by its own header. Of A2, a range costs one request when it begins in the first segments, else two; of A1 the
   *  whole is read, since nothing less can be verified. The sink is worth something only when this resolves: see
   *  `createDecryptingSink`.
   *  @param range of the content; undefined is all of it
   *  @param options `plain` tells what becomes of an object that is not encrypted
   *  @throws as the store's `get`; StorageError INTEGRITY, UNKNOWN_KEY */
  get(
    store: ReadableStore,
    key: string,
    range: ByteRange | undefined,
    sink: Sink,
    identity: ObjectIdentity,
    options: GetOptions & { readonly plain: DecryptionSource['plain'] },
  ): Promise<void>;
  /** As `openObject`, for an object that `get` has verified. */
  open(object: Body, identity: KnownIdentity): OpenedObject;
}

type KnownIdentity = ObjectIdentity & { readonly contentType: number };

export interface EnvelopeDependencies {
  readonly keyring: Keyring;
  readonly createAes: CreateAes;
  readonly format: EncryptionFormat | undefined;
  /** MaxConcurrentInputSize, in bytes. */
  readonly maxInputBytes: number;
  /** Milliseconds of a clock that only goes forward. */
  readonly now: () => number;
}

/** A range that begins within this many segments is read from the object's start: a quarter of a megabyte in vain costs less than
 *  another request. */
const NEAR_SEGMENTS = 4;
/** Of one turn of the event loop. */
const PACER_SLICE_MS = 2;

interface GetRequest {
  readonly store: ReadableStore;
  readonly key: string;
  readonly sink: Sink;
  readonly source: DecryptionSource;
  readonly signal: AbortSignal;
  readonly requireChecksum: boolean | undefined;
}

/** Of a content that size, as it goes through: small ones are held, of large ones less than that is in memory at a time. */
function inMemory(sizeBytes: number): number {
  return Math.min(sizeBytes, HELD_MAX_BYTES);
}

const FROM_START: Fetched = { start: 0, header: undefined };

export function createEnvelope(deps: EnvelopeDependencies): Envelope {
  const { keyring, createAes } = deps;
  const find = (id: number) => keyring.find(id);
  const hasKey = (id: number) => keyring.ids.includes(id);
  // MaxConcurrentInputSize: how many bytes are in memory at once to be encrypted or decrypted.
  const budget = new Semaphore(deps.maxInputBytes);
  const pacer = createPacer(PACER_SLICE_MS, deps.now);
  const lookalikeFormat = deps.format ?? 'A1';

  /** @throws StorageError BAD_CONFIG where there is nothing to encrypt with */
  function targetOf(
    format: EncryptionFormat | undefined,
    master: MasterKey | undefined,
    { uuid, contentType }: KnownIdentity,
  ): EncryptionTarget {
    if (master === undefined || format === undefined) {
      // Asked for and impossible: never plaintext instead.
      throw new StorageError('BAD_CONFIG', 'there is no master key to encrypt with');
    }
    return { format, master, uuid, contentType, createAes };
  }

  async function putEncrypted(
    store: Pick<ObjectStore, 'put'>,
    key: string,
    content: Body,
    target: EncryptionTarget,
    options: PutOptions,
  ): Promise<void> {
    const { signal, onlyIfVersion } = options;
    const release = await budget.acquire(signal, inMemory(content.sizeBytes));
    let body: EncryptedBody | undefined;
    try {
      body = await encryptBody(content, target, pacer, signal);
      await store.put(key, body, { signal, onlyIfVersion });
    } finally {
      body?.wipe();
      release();
    }
  }

  /** One request of the store's.
   *  @returns whether the content was handed on; false where it takes the whole object */
  async function receive(
    request: GetRequest,
    range: ByteRange | undefined,
    fetched: Fetched,
  ): Promise<boolean> {
    const { store, key } = request;
    const sizeBytes = range === undefined ? HELD_MAX_BYTES : range.end - range.start;
    const release = await budget.acquire(request.signal, inMemory(sizeBytes));
    const link = linkSignals(request.signal);
    const sink = createDecryptingSink(request.sink, request.source, fetched, (failure) => {
      // No other attempt would find the key, and the rest of the object may be a gigabyte.
      if (failure.code === 'UNKNOWN_KEY') link.controller.abort(failure);
    });
    try {
      const { requireChecksum } = request;
      await store.get(key, range, sink, { signal: link.controller.signal, requireChecksum });
      return sink.finish();
    } catch (error) {
      // From a store that knows no open ranges; the object is smaller than the range, so that the whole is no more.
      if (range?.mayEndEarly === true && !sink.hasBegun() && isBadRange(error)) return false;
      throw error;
    } finally {
      link.release();
      sink.wipe();
      release();
    }
  }

  async function getWhole(request: GetRequest): Promise<void> {
    if (await receive(request, undefined, FROM_START)) return;
    throw new StorageError('INTERNAL', 'a whole object was taken for a part of one');
  }

  /** From the object's start, so that the header comes along. */
  async function getNear(request: GetRequest, wanted: ByteRange): Promise<void> {
    const { end } = sealedRange(coveringSegments(wanted));
    // Enough for an object of A1 whose content ends with the range: then this was the whole already.
    const range: ByteRange = {
      start: 0,
      end: Math.max(end, wanted.end + A1_OVERHEAD_BYTES),
      mayEndEarly: true,
    };
    if (!(await receive(request, range, FROM_START))) await getWhole(request);
  }

  /** First the header, whose answer also tells the size, then the segments. Between the two, rekey may have replaced the object, whose
   *  segments then fit no more: another header tells that from tampering. */
  async function getFar(request: GetRequest, wanted: ByteRange): Promise<void> {
    const head = await readHead(request.store, request.key, request);
    try {
      await getByHead(request, wanted, head);
    } catch (error) {
      const { code } = toStorageError(error);
      if (code !== 'INTEGRITY' && code !== 'BAD_RANGE') throw error;
      const now = await readHead(request.store, request.key, request);
      if (Buffer.compare(now.bytes, head.bytes) === 0) throw error;
      await getByHead(request, wanted, now);
    }
  }

  async function getByHead(request: GetRequest, wanted: ByteRange, head: Head): Promise<void> {
    const format = formatOf(head.bytes, head.totalBytes, request.source);
    if (format === undefined) {
      await request.store.get(request.key, wanted, request.sink, { signal: request.signal });
      return;
    }
    if (format === 'A1') {
      await getWhole(request);
      return;
    }
    const header = readA2Header(head.bytes);
    const plaintextBytes = plaintextSize('A2', head.totalBytes);
    if (wanted.end > plaintextBytes) throw badRangeError(wanted, plaintextBytes);
    const range = sealedRange(coveringSegments(wanted), head.totalBytes);
    await receive(request, range, { start: range.start, header });
  }

  return {
    format: keyring.master === undefined ? undefined : deps.format,
    masterKeyId: keyring.master?.id,
    lookalikeFormat,
    looksEncrypted: ({ bytes, totalBytes }) => looksEncrypted(bytes, totalBytes, hasKey),
    tryKey({ bytes }) {
      const keyId = keyIdOf(bytes);
      if (!hasKey(keyId)) return 'missing';
      if (detectFormat(bytes) === 'A1') return 'untold';
      return isWrappedBy(find(keyId), bytes) ? 'right' : 'wrong';
    },
    bytesInProcess: () => budget.weightInUse,

    async put(store, key, content, identity, { format = deps.format, ...options }) {
      const target = targetOf(format, keyring.master, identity);
      await putEncrypted(store, key, content, target, options);
    },

    async putPlain(store, key, content, identity, options) {
      const { bytes, totalBytes } = headOf(content);
      if (!isLookalike(bytes, totalBytes)) {
        await store.put(key, content, options);
        return;
      }
      const target = targetOf(lookalikeFormat, keyring.spare, identity);
      await putEncrypted(store, key, content, target, options);
    },

    receivePlain(inner, identity) {
      const target = targetOf(lookalikeFormat, keyring.spare, identity);
      return createLookalikeSink(inner, {
        format: target.format,
        encrypt: (content) => encryptWhereRead(content, target),
      });
    },

    async get(store, key, range, sink, identity, { signal, requireChecksum, plain }) {
      const source: DecryptionSource = { find, hasKey, createAes, identity, plain, wanted: range };
      const request: GetRequest = { store, key, sink, source, signal, requireChecksum };
      try {
        if (range === undefined) await getWhole(request);
        else if (coveringSegments(range).start < NEAR_SEGMENTS) await getNear(request, range);
        else await getFar(request, range);
      } catch (error) {
        throw withKey(error, key);
      }
    },

    open: (object, identity) => openObject(object, { find, createAes }, identity),
  };
}

const CONTENT_CODES: ReadonlySet<StorageErrorCode> = new Set([
  'INTEGRITY',
  'UNKNOWN_KEY',
  'BAD_RANGE',
  'SHORT_BODY',
]);

/** What the object's content says of itself names no object; what the store says does. */
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
