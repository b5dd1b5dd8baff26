// SPDX-License-Identifier: GPL-3.0-or-later

import { createHash, createSecretKey, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DecryptingSink, type DecryptionSource } from '../../../src/encryption/decrypting-sink.ts';
import { encryptBody } from '../../../src/encryption/encrypted-body.ts';
import { Keyring } from '../../../src/encryption/keyring.ts';
import { Pacer } from '../../../src/encryption/pacer.ts';
import type { EncryptionFormat } from '../../../src/encryption/sizes.ts';
import { StorageError, type StorageErrorCode } from '../../../src/errors.ts';
import { abortReason } from '../../../src/store/abort.ts';
import type { Body, ByteRange, ObjectStore } from '../../../src/store/object-store.ts';
import { createAes } from '../../support/aes.ts';
import { makeBody, makeSink, never } from '../../support/bodies.ts';

export const UUID = 'e1f2a3b4-0000-4000-8000-0123456789ab';
export const OTHER_UUID = 'e1f2a3b4-0000-4000-8000-0123456789ac';
export const DICOM = 1;

export function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

/** A key that only tests have. */
export function testKey(id: number): KeyObject {
  return createSecretKey(sha256(`test-key-${id}`));
}

export function testKeyring(masterId: number | undefined, ...ids: readonly number[]): Keyring {
  return new Keyring(
    ids.map((id) => ({ id, key: testKey(id) })),
    masterId,
  );
}

export const KEYRING = testKeyring(1, 1, 3);

/** As the generators of the test vectors make it. */
export function vectorContent(seed: string, sizeBytes: number): Buffer {
  const blocks = Array.from({ length: Math.ceil(sizeBytes / 32) }, (_, index) =>
    sha256(`${seed}/${index}`),
  );
  return Buffer.concat(blocks).subarray(0, sizeBytes);
}

export interface Vector {
  readonly file: string;
  readonly keyId: number;
  readonly seed: string;
  readonly size: number;
  readonly plainSha256: string;
  readonly encryptedSize: number;
  readonly uuid: string;
  readonly contentType: number;
  readonly dek: string;
  readonly prefix: string;
}

const FIXTURES = join(import.meta.dirname, '..', '..', 'fixtures');

export function readFixture(format: 'a1' | 'a2', file: string): Buffer {
  return readFileSync(join(FIXTURES, format, file));
}

export function fixturePath(format: 'a1' | 'a2', file: string): string {
  return join(FIXTURES, format, file);
}

export function vectors(format: 'a1' | 'a2'): readonly Vector[] {
  const manifest: { readonly vectors: readonly Vector[] } = JSON.parse(
    readFixture(format, 'manifest.json').toString(),
  );
  return manifest.vectors;
}

export interface EncryptOptions {
  readonly keyring?: Keyring;
  readonly uuid?: string;
  readonly contentType?: number;
}

/** The whole object that the plugin would store. */
export async function encrypt(
  format: EncryptionFormat,
  content: Uint8Array,
  options: EncryptOptions = {},
): Promise<Buffer> {
  const { keyring = KEYRING, uuid = UUID, contentType = DICOM } = options;
  if (keyring.master === undefined) throw new Error('no master key');
  const body = await encryptBody(
    makeBody(content),
    { format, master: keyring.master, uuid, contentType, createAes },
    new Pacer(),
    never(),
  );
  return Buffer.from(body.read(0, body.sizeBytes));
}

export interface DecryptOptions {
  readonly keyring?: Keyring;
  readonly uuid?: string;
  readonly contentType?: number | undefined;
  readonly plain?: DecryptionSource['plain'];
  readonly wanted?: ByteRange;
  /** How the object arrives; one piece by default. */
  readonly pieceBytes?: number;
}

/** What the plugin makes of an object that it reads whole.
 *  @throws StorageError */
export function decrypt(object: Uint8Array, options: DecryptOptions = {}): Uint8Array {
  const { inner, sink } = openSink(options);
  sink.begin(object.length, object.length);
  const step = options.pieceBytes ?? Math.max(1, object.length);
  for (let at = 0; at < object.length; at += step) sink.write(at, object.subarray(at, at + step));
  if (!sink.finish()) throw new Error('the sink wants the whole of a whole object');
  return inner.bytes();
}

/** @returns a sink for a whole object, and that which gets its content */
export function openSink(options: DecryptOptions = {}) {
  const { keyring = KEYRING, uuid = UUID, plain = 'refuse', wanted } = options;
  const contentType = 'contentType' in options ? options.contentType : DICOM;
  const inner = makeSink();
  const sink = new DecryptingSink(
    inner,
    {
      find: (id) => keyring.find(id),
      hasKey: (id) => keyring.ids.includes(id),
      createAes,
      identity: { uuid, contentType },
      plain,
      wanted,
    },
    { start: 0, header: undefined },
  );
  return { inner, sink };
}

/** The code of what it throws. Anything but a StorageError is a defect. */
export function failureOf(work: () => unknown): StorageErrorCode | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    if (error instanceof StorageError) return error.code;
    throw error;
  }
}

export interface MemoryStore extends ObjectStore {
  readonly objects: Map<string, Buffer>;
  /** One line per request, such as "get key 0-53". */
  readonly requests: string[];
  /** Bytes handed out to sinks. */
  sentBytes(): number;
}

export interface MemoryStoreOptions {
  /** Whether it knows ranges that may reach past the end. */
  readonly openRanges?: boolean;
  readonly pieceBytes?: number;
  /** False: as servers that speak S3 and ignore If-Match. */
  readonly heedsVersions?: boolean;
  /** Awaited before each answer. */
  readonly delay?: () => Promise<void>;
}

export function createMemoryStore(options: MemoryStoreOptions = {}): MemoryStore {
  const objects = new Map<string, Buffer>();
  const requests: string[] = [];
  let sent = 0;
  const missing = (key: string) => new StorageError('NOT_FOUND', `no "${key}"`, { key });

  return {
    objects,
    requests,
    sentBytes: () => sent,
    async put(key, body, { signal, onlyIfVersion }) {
      requests.push(`put ${key}`);
      await options.delay?.();
      if (signal.aborted) throw abortReason(signal);
      const bytes = readAll(body, options.pieceBytes);
      const isHeeded = onlyIfVersion !== undefined && options.heedsVersions !== false;
      if (isHeeded && versionOf(objects.get(key)) !== onlyIfVersion) throw missing(key);
      objects.set(key, bytes);
    },
    async get(key, range, sink, { signal }) {
      requests.push(range === undefined ? `get ${key}` : `get ${key} ${range.start}-${range.end}`);
      await options.delay?.();
      if (signal.aborted) throw abortReason(signal);
      const object = objects.get(key);
      if (object === undefined) throw missing(key);
      let { start, end } = range ?? { start: 0, end: object.length };
      if (end > object.length) {
        const isOpen = options.openRanges === true && range !== undefined && 'mayEndEarly' in range;
        if (!isOpen || start >= object.length) {
          throw new StorageError('BAD_RANGE', `"${key}" has ${object.length} bytes`, { key });
        }
        end = object.length;
      }
      sink.begin(end - start, object.length);
      const first = start;
      const step = options.pieceBytes ?? 65_536;
      for (; start < end; start += step) {
        if (signal.aborted) throw abortReason(signal);
        const piece = object.subarray(start, Math.min(start + step, end));
        sent += piece.length;
        sink.write(start - first, piece);
        await options.delay?.();
      }
    },
    head: async (key) => {
      const object = objects.get(key);
      return object === undefined
        ? undefined
        : { sizeBytes: object.length, version: versionOf(object) };
    },
    async delete(key) {
      objects.delete(key);
    },
    async *list(prefix) {
      // A snapshot: a server's listing is not that of a moment, but no object is on two pages of it.
      for (const [key, object] of Array.from(objects)) {
        if (key.startsWith(prefix)) {
          yield { key, sizeBytes: object.length, modified: new Date(0) };
        }
      }
    },
    check: async () => undefined,
    close: async () => undefined,
  };
}

function versionOf(object: Buffer | undefined): string | undefined {
  return object === undefined ? undefined : createHash('md5').update(object).digest('hex');
}

function readAll(body: Body, pieceBytes = 262_144): Buffer {
  const pieces: Uint8Array[] = [];
  for (let start = 0; start < body.sizeBytes; start += pieceBytes) {
    pieces.push(body.read(start, Math.min(start + pieceBytes, body.sizeBytes)));
  }
  return Buffer.concat(pieces);
}
