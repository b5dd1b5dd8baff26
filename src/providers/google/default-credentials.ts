// SPDX-License-Identifier: GPL-3.0-or-later
// Where google-auth-library looks for the application default credentials, and what of it can be told: its own messages quote files that
// it cannot read, and the variable where somebody wrote the key itself into it.

import { join } from 'node:path';
import { describeSecret, showPath } from '../../config/secret.ts';
import { StorageError } from '../../errors.ts';
import { redact } from '../../log.ts';
import { readRegularFile } from '../../regular-file.ts';
import { oneLine } from '../words.ts';

const VARIABLE = 'GOOGLE_APPLICATION_CREDENTIALS';

/** Before the library reads it.
 *  @throws StorageError BAD_CONFIG for a file that is named and is none, or holds no JSON */
export function checkDefaultFile(): void {
  const named = readVariable(VARIABLE) ?? readVariable(VARIABLE.toLowerCase());
  const file = named ?? gcloudFile();
  if (file === undefined) return;
  const problem = findProblem(file, named === undefined);
  if (problem === undefined) return;
  const kind = named === undefined ? undefined : describeSecret(named);
  if (kind !== undefined) {
    throw new StorageError(
      'BAD_CONFIG',
      `${VARIABLE}: holds the credentials themselves (${kind}); write them into a file, and its path into the variable`,
    );
  }
  const whose = named === undefined ? 'gcloud' : VARIABLE;
  const advice = named === undefined ? 'log in again, or remove it' : 'correct the variable';
  throw new StorageError(
    'BAD_CONFIG',
    `the file that ${whose} names cannot be used: ${showPath(file)} ${problem}; ${advice}, or set GoogleCloudStorage.ServiceAccountFile`,
  );
}

function findProblem(file: string, mayBeMissing: boolean): string | undefined {
  let json: string;
  try {
    json = readRegularFile(file);
  } catch (thrown) {
    const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : 'unknown';
    switch (code) {
      case 'ENOENT':
      case 'ENOTDIR':
        return mayBeMissing ? undefined : 'does not exist; in a container, mount it there';
      case 'EACCES':
      case 'EPERM':
        return 'may not be read by the user that runs Orthanc';
      case 'EISDIR':
        return 'is a folder; name the file in it';
      case 'ENOTFILE':
        return 'is a device or a pipe; name a file';
      default:
        return `cannot be read (${code})`;
    }
  }
  try {
    JSON.parse(json);
    return undefined;
  } catch {
    return 'holds no JSON';
  }
}

/** What was looked at in vain, and where. */
export function describePlaces(): string {
  const file = gcloudFile();
  const gcloud =
    file === undefined
      ? "HOME is not set, where gcloud's file would be"
      : `gcloud has written no ${showPath(file)}`;
  const isAsked = readVariable('METADATA_SERVER_DETECTION') !== 'none';
  const metadata = isAsked
    ? 'no metadata server of a machine on Google Cloud answers'
    : 'METADATA_SERVER_DETECTION forbids to ask the metadata server';
  return `${VARIABLE} is not set, ${gcloud}, and ${metadata}`;
}

/** What the library says, without what it quotes: contents of files, and what programs gave out, which may be the token. */
export function libraryWords(thrown: unknown): string {
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  const code = thrown instanceof Error && 'code' in thrown ? ` (${String(thrown.code)})` : '';
  return hideTokens(
    message
      .replace(/(?:Unexpected token )?['"][\s\S]* is not valid JSON/, 'no JSON')
      .replace(
        /The file at [\s\S]* does not exist, or it is not a file[\s\S]*/,
        `a file does not exist, or is none${code}`,
      )
      .replace(/(an invalid response): [\s\S]*/, '$1'),
  );
}

/** For words of servers and of programs as well. */
export function hideTokens(words: string): string {
  return oneLine(
    redact(words)
      .replace(/\beyJ[\w-]{8,}[\w.-]*/g, HIDDEN)
      .replace(/\b(?:ya29\.|1\/\/)[\w.-]{8,}/g, HIDDEN)
      .replace(/[A-Za-z0-9+_-]{48,}={0,2}/g, HIDDEN),
  );
}

const HIDDEN = '[secret]';

/** As the library finds it. */
function gcloudFile(): string | undefined {
  const home = readVariable('HOME');
  const folder =
    readVariable('CLOUDSDK_CONFIG') ??
    (home === undefined ? undefined : join(home, '.config', 'gcloud'));
  return folder === undefined ? undefined : join(folder, 'application_default_credentials.json');
}

function readVariable(name: string): string | undefined {
  const value = process.env[name];
  return value === '' ? undefined : value;
}
