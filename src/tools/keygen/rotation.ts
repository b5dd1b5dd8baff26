// SPDX-License-Identifier: GPL-3.0-or-later
// Plans the change of the configuration for a new key: its id, the new section StorageEncryption, and the owner of the file.

import { readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import * as z from 'zod/mini';
import { ENCRYPTION_KEY, masterKeySchema } from '../../config/encryption.ts';
import { isObject, type RawSection } from '../../config/fields.ts';
import { absoluteFolderIn } from '../../config/orthanc.ts';
import { sectionNames } from '../../config/sections.ts';
import { badConfig, type StorageError } from '../../errors.ts';
import { PROVIDERS } from '../../providers/index.ts';
import { describeSecret } from '../../text/secret.ts';
import { readOrthancConfiguration } from '../common/orthanc-configuration.ts';

type KeyEntry = readonly [number, string];

export interface Rotation {
  /** Such as "AwsS3Storage.StorageEncryption". */
  readonly setting: string;
  readonly id: number;
  /** The new sections StorageEncryption, to be written one after the other. None if the configuration names the file already. */
  readonly steps: readonly RotationStep[];
  /** The user that Orthanc seems to run as. */
  readonly owner: Owner | undefined;
}

export interface RotationStep {
  readonly purpose: string;
  readonly section: RawSection;
}

export interface Owner {
  readonly uid: number;
  /** The uid if this machine has no name for it. */
  readonly name: string;
}

const UINT32_MAX = 0xffff_ffff;
/** Other keys of StorageEncryption are not repeated: unknown ones may hold secrets. */
const KEPT = ['Format', 'MaxConcurrentInputSize'] as const;

/** @param file the path of the new key
 *  @throws StorageError BAD_CONFIG if the configuration does not tell which ids are taken */
export function planRotation(configPath: string, file: string): Rotation {
  const configuration = readOrthancConfiguration(configPath);
  const { setting, raw } = encryptionIn(configuration, configPath);
  const path = resolve(file);
  const master =
    raw['MasterKey'] === undefined ? [] : [parseKey(`${setting}.MasterKey`, raw['MasterKey'])];
  const previous = previousIn(setting, raw['PreviousMasterKeys']);
  const keys = [...master, ...previous];
  const owner = ownerOf([absoluteFolderIn(configuration), ...keys.map(([, key]) => key)]);
  const named = keys.find(([, key]) => resolve(key) === path);
  if (named !== undefined) return { setting, id: named[0], steps: [], owner };
  const id = nextId(keys.map(([known]) => known));
  const entry: KeyEntry = [id, path];
  const write = (MasterKey: KeyEntry, previousKeys: readonly KeyEntry[]): RawSection => ({
    Enable: true,
    MasterKey,
    ...(previousKeys.length === 0 ? {} : { PreviousMasterKeys: previousKeys }),
    ...Object.fromEntries(
      KEPT.filter((name) => raw[name] !== undefined).map((name) => [name, raw[name]]),
    ),
  });
  const [current] = master;
  const last = write(entry, keys);
  const steps =
    current === undefined
      ? [{ purpose: 'From then on, new objects are encrypted.', section: last }]
      : [
          {
            purpose:
              'First, where several Orthancs share the bucket: all of them can read what one will write with the new key.',
            section: write(current, [...previous, entry]),
          },
          {
            purpose: 'Then: new objects are under the new key, and all others are still read.',
            section: last,
          },
        ];
  return { setting, id, steps, owner };
}

/** Writes each key on a line, so that a user can paste it. */
export function formatSection(section: RawSection): string {
  const lines = Object.entries(section).map(
    ([key, value]) => `  ${JSON.stringify(key)}: ${formatValue(value)}`,
  );
  return `"${ENCRYPTION_KEY}": {\n${lines.join(',\n')}\n}`;
}

function formatValue(value: unknown): string {
  return Array.isArray(value)
    ? `[${value.map(formatValue).join(', ')}]`
    : (JSON.stringify(value) ?? 'null');
}

function encryptionIn(configuration: RawSection, configPath: string) {
  const present = PROVIDERS.filter(({ section }) => Object.hasOwn(configuration, section));
  const [first, second] = present;
  if (first === undefined || second !== undefined) {
    throw badConfig(
      first === undefined
        ? `${configPath} has no section ${sectionNames(PROVIDERS)}`
        : `${present.map(({ section }) => section).join(', ')}: more than one storage section; keep the one to store in`,
    );
  }
  const section = configuration[first.section];
  const setting = `${first.section}.${ENCRYPTION_KEY}`;
  const raw = isObject(section) ? (section[ENCRYPTION_KEY] ?? {}) : undefined;
  if (!isObject(raw)) throw unknownIds(isObject(section) ? setting : first.section, 'is no object');
  return { setting, raw };
}

function previousIn(setting: string, raw: unknown): readonly KeyEntry[] {
  if (raw === undefined) return [];
  const name = `${setting}.PreviousMasterKeys`;
  if (!Array.isArray(raw)) throw unknownIds(name, 'is no list of [id, path]');
  return raw.map((entry: unknown, index) => parseKey(`${name}[${index}]`, entry));
}

function parseKey(setting: string, entry: unknown): KeyEntry {
  const result = z.safeParse(masterKeySchema(), entry, { jitless: true });
  if (!result.success) throw unknownIds(setting, 'is not [id, "path of the key file"]');
  const [id, path] = result.data;
  if (describeSecret(path) !== undefined)
    throw unknownIds(setting, 'holds a key itself, not its file');
  return [id, path];
}

function unknownIds(setting: string, problem: string): StorageError {
  return badConfig(
    `${setting}: ${problem}, so that nobody knows which ids are taken; correct it first ("check" tells how), or leave out --config`,
  );
}

/** Higher than all others, because old objects may still have an id that is not configured any more. */
function nextId(ids: readonly number[]): number {
  const next = Math.max(0, ...ids) + 1;
  if (next <= UINT32_MAX) return next;
  const known = new Set(ids);
  let free = 1;
  while (known.has(free)) free += 1;
  return free;
}

/** @param paths files that Orthanc writes or reads, the best evidence first */
function ownerOf(paths: readonly (string | undefined)[]): Owner | undefined {
  for (const path of paths) {
    const uid = path === undefined ? undefined : ifReadable(() => statSync(path).uid);
    if (uid !== undefined) return { uid, name: nameOf(uid) };
  }
  return undefined;
}

function nameOf(uid: number): string {
  const users = (ifReadable(() => readFileSync('/etc/passwd', 'utf8')) ?? '').split('\n');
  const found = users.map((line) => line.split(':')).find(([, , id]) => id === String(uid));
  return found?.[0] ?? String(uid);
}

/** A user may make a key without permission to see these files. */
function ifReadable<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}
