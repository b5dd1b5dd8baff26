// SPDX-License-Identifier: GPL-3.0-or-later

import { Command } from 'commander';
import {
  describeEncryption,
  type EncryptionDescription,
  headOf,
  readHead,
} from '../encryption/inspect.ts';
import { toStorageError } from '../errors.ts';
import type { ObjectStore, OperationOptions } from '../store/object-store.ts';
import { safeLine } from '../text/safe-text.ts';
import { isFile, openInput } from '../tools/common/files.ts';
import { abortWhenInterrupted } from '../tools/common/interruption.ts';
import { printJson, printLine } from '../tools/common/output.ts';
import { loadProvider, openBucket } from '../tools/common/settings.ts';

interface Options {
  readonly config?: string;
  readonly json?: true;
}

interface Inspection {
  readonly name: string;
  readonly storedBytes?: number;
  readonly encryption?: EncryptionDescription | null;
  readonly error?: string;
}

export function inspectCommand(): Command {
  return new Command('inspect')
    .description(
      "Shows each object's format, key id and sizes, from its own header. It needs no key, and verifies nothing.",
    )
    .option('--config <path>', "Orthanc's configuration, for objects in the bucket")
    .option('--json', 'prints one JSON object per line')
    .argument('<file|key...>', 'files; with --config also keys of objects in the bucket')
    .addHelpText(
      'after',
      `
Examples:
  orthanc-object-storage inspect e1f2a3b4-0000-4000-8000-0123456789ab.dcm.enc
  orthanc-object-storage inspect --config /etc/orthanc e1f2a3b4-0000-4000-8000-0123456789ab.dcm.enc

Exit codes: 0 done, 1 one of them could not be read, 2 wrong usage.`,
    )
    .action(async (names: readonly string[], options: Options) => {
      const { signal } = abortWhenInterrupted();
      let bucket: ObjectStore | undefined;
      try {
        for (const name of names) {
          if (options.config !== undefined && !isFile(name)) {
            bucket ??= await openBucket(loadProvider(options.config));
          }
          const inspection = await inspect(name, bucket, { signal });
          if (inspection.error !== undefined) process.exitCode = 1;
          if (options.json === true) printJson(inspection);
          else printLine(describe(inspection));
        }
      } finally {
        await bucket?.close();
      }
    });
}

async function inspect(
  name: string,
  bucket: ObjectStore | undefined,
  operation: OperationOptions,
): Promise<Inspection> {
  try {
    const { bytes, totalBytes } = await readHeadOf(name, bucket, operation);
    const encryption = describeEncryption(bytes, totalBytes) ?? null;
    return { name, storedBytes: totalBytes, encryption };
  } catch (error) {
    if (operation.signal.aborted) throw error;
    return { name, error: toStorageError(error).message };
  }
}

async function readHeadOf(
  name: string,
  bucket: ObjectStore | undefined,
  operation: OperationOptions,
) {
  if (bucket !== undefined && !isFile(name)) return readHead(bucket, name, operation);
  const input = await openInput(name, operation);
  try {
    return headOf(input.body);
  } finally {
    input.close();
  }
}

function describe({ name, storedBytes, encryption, error }: Inspection): string {
  // Messages about files begin with their names.
  if (error !== undefined) return error.startsWith(safeLine(name)) ? error : `${name}: ${error}`;
  if (encryption === null || encryption === undefined) {
    return `${name}: not encrypted, ${storedBytes} bytes`;
  }
  const { format, keyId, contentBytes, segments } = encryption;
  const parts = segments === undefined ? '' : `, ${segments} segments`;
  return `${name}: ${format}, master key ${keyId}, content ${contentBytes} bytes, stored ${storedBytes} bytes${parts}`;
}
