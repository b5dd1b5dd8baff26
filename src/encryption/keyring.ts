// SPDX-License-Identifier: GPL-3.0-or-later
// Master keys (KEKs) and their files.

import { createSecretKey, type KeyObject } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import type { KeyFile } from '../config/encryption.ts';
import { errorCode, StorageError } from '../errors.ts';
import { describeSecret, showPath } from '../text/secret.ts';

export interface MasterKey {
  readonly id: number;
  /** In OpenSSL's memory, which OpenSSL wipes. It is neither printed nor inspected. */
  readonly key: KeyObject;
}

export interface ReadKeys {
  /** Of the valid files. */
  readonly keys: readonly MasterKey[];
  /** Lines that name the setting and the file, never its content. */
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
}

const KEY_BYTES = 32;
const UINT32_MAX = 0xffff_ffff;
/** A key file has 44 characters and a line end. A longer file than this is none. */
const MAX_FILE_BYTES = 4096;
/** Read or write for group or others. */
const SHARED_MODE = 0o066;

/** Reads all key files, even if one of them is bad. */
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

export class Keyring {
  /** For new objects; undefined: encryption is off, and the keys decrypt older objects. */
  readonly master: MasterKey | undefined;
  /** For lookalikes, which are encrypted even if encryption is off: the master key, else the one with the highest id. */
  readonly spare: MasterKey | undefined;
  /** Ascending. */
  readonly ids: readonly number[];
  readonly #keys: ReadonlyMap<number, MasterKey>;

  /** @param keys with different ids */
  constructor(keys: readonly MasterKey[], masterId: number | undefined) {
    this.#keys = new Map(keys.map((key) => [key.id, key]));
    this.ids = [...this.#keys.keys()].toSorted((a, b) => a - b);
    this.master = this.#keys.get(masterId ?? -1);
    this.spare = this.master ?? this.#keys.get(this.ids.at(-1) ?? -1);
  }

  /** @throws StorageError UNKNOWN_KEY */
  find(id: number): KeyObject {
    const found = this.#keys.get(id);
    if (found !== undefined) return found.key;
    const { ids } = this;
    const known =
      ids.length === 0
        ? 'no keys are'
        : `only ${ids.join(', ')} ${ids.length === 1 ? 'is' : 'are'}`;
    throw new StorageError(
      'UNKNOWN_KEY',
      `the object is encrypted with master key ${id}, and ${known} configured: add it to PreviousMasterKeys`,
    );
  }
}

interface LoadedKey {
  readonly file: KeyFile;
  readonly key: KeyObject;
}

/** With two keys under one id, the key of an object would be a guess. */
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
    // Without O_NONBLOCK, opening a pipe would wait for a writer.
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

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** @returns what is wrong with the text, without repeating it */
function decodeKey(text: Buffer, key: Buffer): string | undefined {
  if (text.length > MAX_FILE_BYTES) {
    return `is no key file: it has more than ${MAX_FILE_BYTES} bytes`;
  }
  const base64 = text.toString('latin1').trim();
  if (base64 === '') return 'is empty; it must hold 32 bytes in base64';
  // Node ignores what it cannot decode.
  if (!BASE64.test(base64)) {
    return 'does not hold base64; make one with: openssl rand -base64 32';
  }
  const sizeBytes = Buffer.byteLength(base64, 'base64');
  if (sizeBytes !== KEY_BYTES) return `holds ${sizeBytes} bytes in base64; a key has ${KEY_BYTES}`;
  key.write(base64, 'base64');
  return undefined;
}
