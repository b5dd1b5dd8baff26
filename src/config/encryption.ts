// SPDX-License-Identifier: GPL-3.0-or-later
// StorageEncryption: from the section as written to settings. Touches no file: loadKeyring reads those of the keys.

import * as z from 'zod/mini';
import type { KeyFile } from '../encryption/keyring.ts';
import type { EncryptionFormat } from '../encryption/sizes.ts';
import { describeIssue, type Report } from './problems.ts';
import { encryptionSchema } from './schema.ts';

export interface EncryptionSettings {
  /** The format of new objects; undefined: they are stored as they are, and keys are there to read what was encrypted before. */
  readonly format: EncryptionFormat | undefined;
  readonly master: KeyFile | undefined;
  readonly previous: readonly KeyFile[];
  /** MaxConcurrentInputSize. */
  readonly maxInputBytes: number;
}

// The C++ plugins' MB.
const BYTES_PER_MB = 1024 * 1024;

/** @param name of the section, such as "AwsS3Storage.StorageEncryption"
 *  @param raw as the user wrote it
 *  @param isSchemaChecked true where the schema of the whole provider section has told what is wrong with the form already
 *  @returns undefined where there is none, where it is off and holds no keys, or where `report` got a problem */
export function readEncryption(
  name: string,
  raw: unknown,
  report: Report,
  isSchemaChecked = false,
): EncryptionSettings | undefined {
  if (raw === undefined) return undefined;
  const result = z.safeParse(encryptionSchema(), raw, { jitless: true });
  if (!result.success) {
    if (isSchemaChecked) return undefined;
    const keys = Object.keys(encryptionSchema().shape);
    for (const issue of result.error.issues) {
      report.problems.push(...describeIssue(name, issue, [{ section: name, keys }]));
    }
    return undefined;
  }
  const value = result.data;
  const { MasterKey: masterKey, PreviousMasterKeys: previousKeys } = value;
  // Absent, it means true where anything else is there: so it does in the C++ plugins, and to encrypt is the safe reading.
  const isOn = value.Enable ?? (typeof raw === 'object' && Object.keys(raw ?? {}).length > 0);
  if (isOn && masterKey === undefined) {
    report.problems.push(`${name}.MasterKey: is missing; write [id, "path of the key file"]`);
    return undefined;
  }
  const master = masterKey === undefined ? undefined : keyFile(`${name}.MasterKey`, masterKey);
  const previous = previousKeys.map((key, index) =>
    keyFile(`${name}.PreviousMasterKeys[${index}]`, key),
  );
  refuseSharedIds(name, [...(master === undefined ? [] : [master]), ...previous], report);
  if (!isOn && master === undefined && previous.length === 0) return undefined;
  return {
    format: isOn ? value.Format : undefined,
    master,
    previous,
    maxInputBytes: value.MaxConcurrentInputSize * BYTES_PER_MB,
  };
}

/** Which of two keys an object was encrypted with would then be a guess. */
function refuseSharedIds(name: string, keys: readonly KeyFile[], report: Report) {
  const seen = new Set<number>();
  for (const { id } of keys) {
    if (seen.has(id)) {
      report.problems.push(`${name}: key id ${id} is there twice; ids must differ`);
    }
    seen.add(id);
  }
}

function keyFile(setting: string, [id, path]: readonly [number, string]): KeyFile {
  return { setting, id, path };
}
