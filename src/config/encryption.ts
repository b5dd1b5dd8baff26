// SPDX-License-Identifier: GPL-3.0-or-later
// StorageEncryption, a section in a provider's section. encryption/keyring.ts reads the key files.

import * as z from 'zod/mini';
import {
  BYTES_PER_MB,
  butNot,
  choice,
  documented,
  isObject,
  optionalFlag,
  textSchema,
  wholeNumber,
  wholeNumberSchema,
} from './fields.ts';
import type { Report } from './problems.ts';

export const ENCRYPTION_KEY = 'StorageEncryption';

/** MasterKey, or an entry of PreviousMasterKeys. */
export interface KeyFile {
  /** Such as "AwsS3Storage.StorageEncryption.PreviousMasterKeys[0]". */
  readonly setting: string;
  readonly id: number;
  readonly path: string;
  /** The end of a message about a bad file. */
  readonly remark?: string;
}

export interface EncryptionSettings {
  /** Of new objects. undefined: new objects are not encrypted, and the keys only decrypt older ones. */
  readonly format: 'A1' | 'A2' | undefined;
  readonly master: KeyFile | undefined;
  readonly previous: readonly KeyFile[];
  /** MaxConcurrentInputSize. */
  readonly maxInputBytes: number;
}

export interface EncryptionReading {
  /** undefined: there is neither encryption nor a key, or the report got a problem. */
  readonly settings: EncryptionSettings | undefined;
  /** All well-formed entries, even if other settings are wrong: the error message then includes problems of the files. */
  readonly keyFiles: readonly KeyFile[];
}

const UINT32_MAX = 0xffff_ffff;

export function encryptionSchema() {
  return z.strictObject(
    {
      Enable: optionalFlag(
        'The default is true if the section holds anything else, as in the C++ plugins, and false if the section is empty. With false, the keys are still read, for objects that were encrypted before. If there are no such objects, leave the keys out.',
      ),
      MasterKey: documented(z.optional(masterKeySchema()), {
        description:
          'The key for new objects: [id, path of the key file]. The file holds 32 bytes in base64.',
      }),
      PreviousMasterKeys: documented(
        z._default(z.array(masterKeySchema(), { error: 'must be a list of [id, path]' }), []),
        {
          description: 'Earlier keys, to read what they encrypted: [[id, path], …].',
          default: [],
        },
      ),
      MaxConcurrentInputSize: wholeNumber(
        'How much of the contents may be in memory at once to be encrypted or decrypted, in MB of 1,048,576 bytes. Each content counts 1 MB at most.',
        { min: 1, max: 1_048_576, unit: 'MB', default: 1024 },
      ),
      Format: choice(
        '"A1" is the format of the C++ plugins. With "A2", parts of an object can be read.',
        ['A1', 'A2'],
        'A1',
      ),
    },
    { error: (issue) => `must be an object${butNot(issue.input)}` },
  );
}

export function masterKeySchema() {
  return z.tuple([wholeNumberSchema(0, UINT32_MAX), textSchema()], {
    error: 'must be [id, "path of the key file"]',
  });
}

// Sample configurations hold paths of keys beside "Enable": false.
const OFF_REMARK =
  '; with "Enable": false, what was encrypted before is still read by it: remove this key if nothing was';

const NO_ENCRYPTION: EncryptionReading = { settings: undefined, keyFiles: [] };

/** @param name such as "AwsS3Storage.StorageEncryption"
 *  @param raw as the user wrote it. The schema of the provider's section reports malformed values. */
export function readEncryption(name: string, raw: unknown, report: Report): EncryptionReading {
  if (!isObject(raw)) return NO_ENCRYPTION;
  const schema = encryptionSchema();
  const result = z.safeParse(schema, raw, { jitless: true });
  const enable = z.safeParse(schema.shape.Enable, raw['Enable'], { jitless: true });
  // As in the C++ plugins. If in doubt, encrypt.
  const isOn = enable.data ?? Object.keys(raw).length > 0;
  const keyFile = (key: string, entry: unknown): readonly KeyFile[] => {
    const [id, path] = z.safeParse(masterKeySchema(), entry, { jitless: true }).data ?? [];
    if (id === undefined || path === undefined) return [];
    return [{ setting: `${name}.${key}`, id, path, ...(isOn ? {} : { remark: OFF_REMARK }) }];
  };
  const [master] = keyFile('MasterKey', raw['MasterKey']);
  const listed: readonly unknown[] = Array.isArray(raw['PreviousMasterKeys'])
    ? raw['PreviousMasterKeys']
    : [];
  const previous = listed.flatMap((entry, index) => keyFile(`PreviousMasterKeys[${index}]`, entry));
  const keyFiles = master === undefined ? previous : [master, ...previous];
  const lacksMaster = isOn && raw['MasterKey'] === undefined;
  if (lacksMaster) {
    report.problems.push(`${name}.MasterKey: is missing; write [id, "path of the key file"]`);
  }
  if (!result.success || lacksMaster) return { settings: undefined, keyFiles };
  if (!isOn && keyFiles.length === 0) return NO_ENCRYPTION;
  const { Format, MaxConcurrentInputSize } = result.data;
  const settings = {
    format: isOn ? Format : undefined,
    master,
    previous,
    maxInputBytes: MaxConcurrentInputSize * BYTES_PER_MB,
  };
  return { settings, keyFiles };
}
