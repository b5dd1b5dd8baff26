// SPDX-License-Identifier: GPL-3.0-or-later
// A2 (docs/format-a2.md has the reasons):
//
//     offset  0    2             6          13         53
//             "A2" key id u32LE   prefix 7   EDEK 40    segment 0 │ segment 1 │ … │ last segment
//
//     EDEK      = AES key wrap (RFC 3394) of the DEK under the KEK
//     segment i = AES-256-GCM(DEK, nonce = prefix · i u32BE · last flag, aad) of 65,536 plaintext bytes · tag 16
//     aad       = the 53 bytes of the header · uuid in ASCII · content type u16LE
//
// The nonces are the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár ("Online authenticated-encryption and its
// nonce-reuse misuse-resistance", CRYPTO 2015), as in Tink's AES-GCM-HKDF streaming.

import { createCipheriv, createDecipheriv, type KeyObject, randomBytes } from 'node:crypto';
import { StorageError } from '../errors.ts';
import type { Body } from '../store/object-store.ts';
import type { RandomBytes } from './a1.ts';
import type { Aes } from './aes.ts';
import { A2_HEADER_BYTES, KEY_ID_OFFSET, keyIdOf, segmentCount, segmentOf } from './sizes.ts';

export const A2_MAGIC = 'A2';
const DEK_BYTES = 32;
const PREFIX_OFFSET = 6;
const PREFIX_BYTES = 7;
const NONCE_BYTES = 12;
const EDEK_OFFSET = 13;
/** RFC 3394, 2.2.3.1. */
const KEY_WRAP_IV = Buffer.alloc(8, 0xa6);
const KEY_WRAP = 'id-aes256-wrap';
const CONTENT_TYPE_MAX = 0xffff;

/** Orthanc's name of an object, which is authenticated. */
export interface ObjectIdentity {
  readonly uuid: string;
  /** OrthancPluginContentType; undefined if the key does not tell. All types of Orthanc's are tried then. */
  readonly contentType: number | undefined;
}

export interface A2Header {
  readonly format: 'A2';
  readonly keyId: number;
  readonly bytes: Uint8Array;
}

/** Of one object. The caller must wipe the DEK. */
export interface A2Secrets {
  readonly dek: Uint8Array;
  /** The start of all nonces. */
  readonly prefix: Uint8Array;
  /** Additional authenticated data of all segments. */
  readonly aad: Uint8Array;
}

/** @param bytes A2_HEADER_BYTES that begin with "A2" */
export function readA2Header(bytes: Uint8Array): A2Header {
  const copy = Buffer.from(bytes);
  return { format: 'A2', keyId: keyIdOf(copy), bytes: copy };
}

export function createA2(
  keyId: number,
  kek: KeyObject,
  uuid: string,
  contentType: number,
  random: RandomBytes = randomBytes,
): { readonly header: A2Header; readonly secrets: A2Secrets } {
  const drawn = random(DEK_BYTES + PREFIX_BYTES);
  const dek = drawn.subarray(0, DEK_BYTES);
  const bytes = Buffer.alloc(A2_HEADER_BYTES);
  bytes.write(A2_MAGIC, 'latin1');
  bytes.writeUInt32LE(keyId, KEY_ID_OFFSET);
  bytes.set(drawn.subarray(DEK_BYTES), PREFIX_OFFSET);
  bytes.set(wrapKey(kek, dek), EDEK_OFFSET);
  const header: A2Header = { format: 'A2', keyId, bytes };
  return { header, secrets: secretsOf(header, dek, uuid, contentType) };
}

/** Whether the KEK unwraps the DEK. @param head at least A2_HEADER_BYTES */
export function isWrappedBy(kek: KeyObject, head: Uint8Array): boolean {
  try {
    unwrapKey(kek, head.subarray(EDEK_OFFSET, A2_HEADER_BYTES)).fill(0);
    return true;
  } catch {
    return false;
  }
}

/** @throws StorageError INTEGRITY if another KEK wrapped the DEK, or the header was altered */
export function openA2(
  header: A2Header,
  kek: KeyObject,
  uuid: string,
  contentType: number,
): A2Secrets {
  const dek = unwrapKey(kek, header.bytes.subarray(EDEK_OFFSET, A2_HEADER_BYTES));
  return secretsOf(header, dek, uuid, contentType);
}

/** The secrets of an object with this name. */
export function secretsOf(
  header: A2Header,
  dek: Uint8Array,
  uuid: string,
  contentType: number,
): A2Secrets {
  // The additional data has no length fields, so the uuid's length must be fixed.
  if (!/^[0-9a-fA-F-]{36}$/.test(uuid)) {
    throw new StorageError('INTERNAL', 'an A2 object needs the uuid that Orthanc gave it');
  }
  if (!(Number.isInteger(contentType) && contentType >= 0 && contentType <= CONTENT_TYPE_MAX)) {
    throw new StorageError('INTERNAL', `a content type is a uint16, not ${contentType}`);
  }
  const type = Buffer.alloc(2);
  type.writeUInt16LE(contentType);
  return {
    dek,
    prefix: header.bytes.subarray(PREFIX_OFFSET, EDEK_OFFSET),
    aad: Buffer.concat([header.bytes, Buffer.from(uuid, 'latin1'), type]),
  };
}

/** AES key wrap, RFC 3394. @returns 8 bytes more than the key has */
export function wrapKey(kek: KeyObject, key: Uint8Array): Uint8Array {
  return createCipheriv(KEY_WRAP, kek, KEY_WRAP_IV).update(key);
}

/** @throws StorageError INTEGRITY */
export function unwrapKey(kek: KeyObject, wrapped: Uint8Array): Uint8Array {
  try {
    return createDecipheriv(KEY_WRAP, kek, KEY_WRAP_IV).update(wrapped);
  } catch {
    throw new StorageError(
      'INTEGRITY',
      'the key of the object does not come out of its header: it was altered, or the configured master key is another one of the same id',
    );
  }
}

/** @param target receives the segment and its tag
 *  @throws what reading the content throws */
export function sealSegment(
  aes: Aes,
  { prefix, aad }: A2Secrets,
  content: Body,
  index: number,
  target: Uint8Array,
): void {
  const { start } = segmentOf(index, content.sizeBytes);
  aes.sealMessage(nonceOf(prefix, index, content.sizeBytes), aad, content, start, target);
}

/** @param plaintext receives the segment, or zeros if it is not authentic
 *  @returns whether it is authentic: the same index, last flag and object */
export function openSegment(
  aes: Aes,
  { prefix, aad }: A2Secrets,
  plaintextBytes: number,
  index: number,
  sealed: Uint8Array,
  plaintext: Uint8Array,
): boolean {
  const isAuthentic = aes.openMessage(
    nonceOf(prefix, index, plaintextBytes),
    aad,
    sealed,
    plaintext,
  );
  if (!isAuthentic) plaintext.fill(0);
  return isAuthentic;
}

export function notAuthentic(index: number): StorageError {
  return new StorageError(
    'INTEGRITY',
    `segment ${index} of the object is not authentic: it was altered, cut, moved or belongs to another object`,
  );
}

function nonceOf(prefix: Uint8Array, index: number, plaintextBytes: number): Uint8Array {
  const nonce = Buffer.alloc(NONCE_BYTES);
  nonce.set(prefix);
  nonce.writeUInt32BE(index, PREFIX_BYTES);
  nonce[NONCE_BYTES - 1] = index === segmentCount(plaintextBytes) - 1 ? 1 : 0;
  return nonce;
}
