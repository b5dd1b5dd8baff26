// SPDX-License-Identifier: GPL-3.0-or-later

import { randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, openSync, unlinkSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { Command } from 'commander';
import { badConfig, errorCode, type StorageError } from '../../errors.ts';
import { printJson, printLine } from '../common/output.ts';
import { formatSection, planRotation, type Rotation } from './rotation.ts';

interface Options {
  readonly config?: string;
  readonly json?: true;
}

const KEY_BYTES = 32;

export function keygenCommand(): Command {
  return new Command('keygen')
    .description('Makes a master key: 32 random bytes in base64, in a new file with mode 0600.')
    .argument('<file>', 'the key file; it must not exist yet')
    .option(
      '--config <path>',
      "Orthanc's configuration: shows the next free id, and the new section StorageEncryption. The file is not changed",
    )
    .option('--json', 'prints the result as JSON')
    .addHelpText(
      'after',
      `
Example:
  orthanc-object-storage keygen --config /etc/orthanc /etc/orthanc/master-1.key

Keep a copy of the key in a safe place: without it, nothing that it encrypted can be read.

Exit codes: 0 done, 1 failed (the file exists, for example) and no file was made, 2 wrong usage.`,
    )
    .action((file: string, { config, json }: Options) => {
      const rotation = config === undefined ? undefined : planRotation(config, file);
      writeKey(file);
      const path = resolve(file);
      if (json === true) {
        printJson({ file: path, ...(rotation === undefined ? {} : toJson(path, rotation)) });
        return;
      }
      for (const line of describe(path, config, rotation).split('\n')) printLine(line);
    });
}

function toJson(path: string, rotation: Rotation) {
  const { setting, id, steps } = rotation;
  return { setting, id, steps, chown: chownCommand(path, rotation) ?? null };
}

function describe(
  path: string,
  config: string | undefined,
  rotation: Rotation | undefined,
): string {
  if (config === undefined || rotation === undefined) {
    return `${path} holds a new master key. Which ids other keys have is not known without --config. In StorageEncryption of Orthanc's configuration, with an id that no other key has, nor ever had:
  "MasterKey": [ID, ${JSON.stringify(path)}]
The user that Orthanc runs as must own the file (chown).`;
  }
  const { setting, id, steps, owner } = rotation;
  const head = `${path} holds a new master key, with the id ${id}`;
  const chown = chownCommand(path, rotation);
  const check = `orthanc-object-storage check --config ${shellWord(config)}`;
  const commands = [
    ...(chown === undefined ? [] : [chown]),
    chown === undefined || owner === undefined ? check : `sudo -u ${sudoName(owner)} ${check}`,
  ].map((command) => `  ${command}`);
  return [
    steps.length === 0 ? `${head}: ${setting} names it already.` : `${head}. ${setting} is to be:`,
    ...steps.map(({ purpose, section }) => `\n${purpose}\n\n${formatSection(section)}`),
    `\n${
      owner === undefined
        ? 'The user that Orthanc runs as must own the file (chown): nothing in the configuration tells who that is. Then try it as that user'
        : chown === undefined
          ? `The file belongs to ${owner.name}, as what Orthanc uses does. Try it`
          : `For Orthanc, which seems to run as ${owner.name}, and to try it`
    }:\n\n${commands.join('\n')}`,
  ].join('\n');
}

/** @returns undefined if that user owns the file already, or is not known */
function chownCommand(path: string, { owner }: Rotation): string | undefined {
  if (owner === undefined || owner.uid === process.geteuid?.()) return undefined;
  return `chown ${owner.name} ${shellWord(path)}`;
}

function sudoName({ uid, name }: { readonly uid: number; readonly name: string }): string {
  return name === String(uid) ? `'#${uid}'` : name;
}

function shellWord(text: string): string {
  return /^[\w./@%+=:,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** Returns when file and name are on the disk, because without the key all that it encrypts is lost. A failure leaves no file. */
function writeKey(file: string): void {
  let descriptor: number;
  try {
    descriptor = openSync(file, 'wx', 0o600);
  } catch (cause) {
    if (errorCode(cause) !== 'EEXIST') throw unwritable(file, cause);
    throw badConfig(
      `${file}: is there already; a key that is overwritten takes all that it encrypted with it`,
      { cause },
    );
  }
  const key = randomBytes(KEY_BYTES);
  try {
    try {
      writeFileSync(descriptor, `${key.toString('base64')}\n`);
      fsyncSync(descriptor);
    } finally {
      key.fill(0);
      closeSync(descriptor);
    }
    syncFolder(dirname(resolve(file)));
  } catch (cause) {
    unlinkSync(file);
    throw unwritable(file, cause);
  }
}

function syncFolder(folder: string): void {
  const descriptor = openSync(folder, 'r');
  try {
    fsyncSync(descriptor);
  } catch (error) {
    // Network file systems that refuse this do it by themselves.
    if (!['EINVAL', 'ENOTSUP', 'EBADF', 'EPERM'].includes(errorCode(error) ?? '')) throw error;
  } finally {
    closeSync(descriptor);
  }
}

function unwritable(file: string, cause: unknown): StorageError {
  const reason = errorCode(cause) ?? String(cause);
  return badConfig(`${file}: cannot be written (${reason})`, { cause });
}
