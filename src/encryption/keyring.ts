// SPDX-License-Identifier: GPL-3.0-or-later
// Master keys (KEKs), from their files.

import { createSecretKey, type KeyObject } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { errorCode, StorageError } from '../errors.ts';
import { describeSecret, showPath } from '../text/secret.ts';

/** One entry of MasterKey or PreviousMasterKeys. */
export interface KeyFile {
  /** As a message names it, such as "AwsS3Storage.StorageEncryption.PreviousMasterKeys[0]". */
  readonly setting: string;
  readonly id: number;
  readonly path: string;
  /** Ends what is said of a file that cannot be used. */
  readonly remark?: string;
}

export interface MasterKey {
  readonly id: number;
  /** Holds the key in OpenSSL's memory, which OpenSSL wipes; it prints and inspects without it. */
  readonly key: KeyObject;
}

export interface Keyring {
  /** For new objects; undefined where encryption is off and keys are there to read what was encrypted before. */
  readonly master: MasterKey | undefined;
  /** For what must be encrypted although encryption is off: the master key, else that of the highest id; undefined without any key. */
  readonly spare: MasterKey | undefined;
  /** Ascending. */
  readonly ids: readonly number[];
  /** @throws StorageError UNKNOWN_KEY */
  find(id: number): KeyObject;
}

export interface ReadKeys {
  /** Of the files that are in order. */
  readonly keys: readonly MasterKey[];
  /** One line each, which names the setting and the file, never its content. */
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
}

const KEY_BYTES = 32;
const UINT32_MAX = 0xffff_ffff;
/** A key file has 44 characters and a line end; whatever is longer than this is none. */
const MAX_FILE_BYTES = 4096;
/** Read or write for group or others. */
const SHARED_MODE = 0o066;

/** Reads all key files, and looks at all of them whatever is wrong with one. */
export function readKeyFiles(files: readonly KeyFile[]): ReadKeys {
  const problems: string[] = [];
  const warnings: string[] = [];
  const loaded: LoadedKey[] = [];
  for (const [index, file] of files.entries()) {
    problems.push(...sharedIds(file, files.slice(0, index)));
    const result = loadKeyFile(file);
    if ('problem' in result) {
      problems.push(`${file.setting}: ${result.problem}${file.remark ?? ''}`);
      continue;
    }
    if (result.warning !== undefined) warnings.push(`${file.setting}: ${result.warning}`);
    problems.push(...sharedKeys({ file, key: result.key }, loaded));
    loaded.push({ file, key: result.key });
  }
  return { keys: loaded.map(({ file, key }) => ({ id: file.id, key })), problems, warnings };
}

/** @param keys with different ids
 *  @param masterId the one for new objects */
export function createKeyring(keys: readonly MasterKey[], masterId: number | undefined): Keyring {
  const byId = new Map(keys.map(({ id, key }) => [id, key]));
  const ids = [...byId.keys()].toSorted((a, b) => a - b);
  const withId = (wanted: number | undefined) => keys.find(({ id }) => id === wanted);
  const master = withId(masterId);
  return {
    master,
    spare: master ?? withId(ids.at(-1)),
    ids,
    find(id) {
      const key = byId.get(id);
      if (key !== undefined) return key;
      const known =
        ids.length === 0
          ? 'no keys are'
          : `only ${ids.join(', ')} ${ids.length === 1 ? 'is' : 'are'}`;
      throw new StorageError(
        'UNKNOWN_KEY',
        `the object is encrypted with master key ${id}, and ${known} configured: add it to PreviousMasterKeys`,
      );
    },
  };
}

interface LoadedKey {
  readonly file: KeyFile;
  readonly key: KeyObject;
}

/** Which of two keys an object was encrypted with would then be a guess. */
function sharedIds(file: KeyFile, others: readonly KeyFile[]): readonly string[] {
  return others
    .filter(({ id }) => id === file.id)
    .map(
      (other) =>
        `${file.setting}: key id ${file.id} (file ${showPath(file.path)}) is that of ${other.setting} too (file ${showPath(other.path)}); give each key an id of its own`,
    );
}

function sharedKeys({ file, key }: LoadedKey, others: readonly LoadedKey[]): readonly string[] {
  return others
    .filter((other) => other.file.id !== file.id && other.key.equals(key))
    .map(
      (other) =>
        `${file.setting}: the file ${showPath(file.path)} holds the same key as ${other.file.setting} (file ${showPath(other.file.path)}), under ids ${file.id} and ${other.file.id}; a key has one id`,
    );
}

function loadKeyFile({
  id,
  path,
}: KeyFile):
  | { readonly problem: string }
  | { readonly key: KeyObject; readonly warning: string | undefined } {
  if (!(Number.isInteger(id) && id >= 0 && id <= UINT32_MAX)) {
    return {
      problem: `the key id must be a whole number from 0 to ${UINT32_MAX} (file ${showPath(path)})`,
    };
  }
  const text = Buffer.alloc(MAX_FILE_BYTES + 1);
  const key = Buffer.alloc(KEY_BYTES);
  try {
    const read = readKeyText(path, text);
    if ('problem' in read) return read;
    const problem = decodeKey(text.subarray(0, read.sizeBytes), key);
    if (problem !== undefined) return { problem: `the file ${showPath(path)} ${problem}` };
    return {
      key: createSecretKey(key),
      warning:
        (read.mode & SHARED_MODE) === 0
          ? undefined
          : `the key file ${showPath(path)} is open to others than its owner (mode ${(read.mode & 0o777).toString(8).padStart(4, '0')}); allow its owner alone: chmod 600`,
    };
  } finally {
    text.fill(0);
    key.fill(0);
  }
}

function readKeyText(
  path: string,
  target: Buffer,
): { readonly problem: string } | { readonly sizeBytes: number; readonly mode: number } {
  let descriptor: number | undefined;
  try {
    // Without O_NONBLOCK, opening a pipe would wait for somebody who writes to it, and Orthanc with it.
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const stat = fstatSync(descriptor);
    if (!stat.isFile()) return { problem: `${showPath(path)} is not a file` };
    let sizeBytes = 0;
    for (;;) {
      const count = readSync(descriptor, target, sizeBytes, target.length - sizeBytes, null);
      if (count === 0) break;
      sizeBytes += count;
    }
    return { sizeBytes, mode: stat.mode };
  } catch (error) {
    return { problem: describeOpenError(path, error) };
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}

function describeOpenError(path: string, error: unknown): string {
  const kind = describeSecret(path);
  if (kind !== undefined) {
    return `holds the key itself (${kind}); write the path of a file that holds it, readable by its owner alone`;
  }
  const code = errorCode(error) ?? String(error);
  switch (code) {
    case 'ENOENT':
      return `there is no file ${showPath(path)}`;
    case 'EACCES':
    case 'EPERM':
      return `the file ${showPath(path)} cannot be read by the user that this runs as, uid ${process.geteuid?.()} (${code})`;
    default:
      return `the file ${showPath(path)} cannot be read (${code})`;
  }
}

/** Decodes base64 from buffer to buffer: a string could not be wiped.
 *  @returns what is wrong, without any of the content */
function decodeKey(text: Uint8Array, key: Uint8Array): string | undefined {
  if (text.length > MAX_FILE_BYTES) {
    return `is no key file: it has more than ${MAX_FILE_BYTES} bytes`;
  }
  const trimmed = trim(text);
  if (trimmed.length === 0) return 'is empty; it must hold 32 bytes in base64';
  const padding = trimmed.at(-1) !== EQUALS_SIGN ? 0 : trimmed.at(-2) !== EQUALS_SIGN ? 1 : 2;
  const digits = trimmed.length - padding;
  const values = trimmed.subarray(0, digits);
  if (trimmed.length % 4 !== 0 || values.some((byte) => digitOf(byte) === undefined)) {
    return 'does not hold base64; make one with: openssl rand -base64 32';
  }
  const sizeBytes = Math.floor((digits * 6) / 8);
  if (sizeBytes !== KEY_BYTES) return `holds ${sizeBytes} bytes in base64; a key has ${KEY_BYTES}`;
  let bits = 0;
  let pending = 0;
  let length = 0;
  for (const byte of values) {
    pending = ((pending << 6) | (digitOf(byte) ?? 0)) & 0xffff;
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    key[length++] = (pending >> bits) & 0xff;
  }
  return undefined;
}

const EQUALS_SIGN = 0x3d;

/** RFC 4648, section 4. */
function digitOf(byte: number): number | undefined {
  if (byte >= 0x41 && byte <= 0x5a) return byte - 0x41;
  if (byte >= 0x61 && byte <= 0x7a) return byte - 0x61 + 26;
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30 + 52;
  if (byte === 0x2b) return 62;
  if (byte === 0x2f) return 63;
  return undefined;
}

function trim(text: Uint8Array): Uint8Array {
  let start = 0;
  let end = text.length;
  while (start < end && isSpace(text[start])) start += 1;
  while (end > start && isSpace(text[end - 1])) end -= 1;
  return text.subarray(start, end);
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || (byte !== undefined && byte >= 0x09 && byte <= 0x0d);
}
