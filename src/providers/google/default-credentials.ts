// SPDX-License-Identifier: GPL-3.0-or-later
// Where google-auth-library looks for the application default credentials. Its own messages are not shown as they are, since they quote
// files that it cannot read, and the variable, into which a user may have written the key itself.

import { join } from 'node:path';
import { errorCode, StorageError } from '../../errors.ts';
import { oneLine } from '../../http/words.ts';
import { describeReadFailure, readRegularFile } from '../../store/regular-file.ts';
import { redact, TEXT_MAX_CHARACTERS } from '../../text/safe-text.ts';
import { describeSecret, showPath } from '../../text/secret.ts';

const VARIABLE = 'GOOGLE_APPLICATION_CREDENTIALS';

/** @throws StorageError BAD_CONFIG if the named file cannot be read or holds no JSON */
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
    const isMissing = ['ENOENT', 'ENOTDIR'].includes(errorCode(thrown) ?? '');
    return mayBeMissing && isMissing ? undefined : describeReadFailure(thrown);
  }
  try {
    JSON.parse(json);
    return undefined;
  } catch {
    return 'holds no JSON';
  }
}

/** For the message that there are no credentials. */
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

/** The library's words without what they quote: contents of files, and the output of programs, which may be the token. */
export function libraryWords(thrown: unknown): string {
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  const code = thrown instanceof Error && 'code' in thrown ? ` (${String(thrown.code)})` : '';
  return hideTokens(
    [withoutJson, (words: string) => withoutFile(words, code), withoutResponse].reduce(
      (words, shorten) => shorten(words),
      message,
    ),
  );
}

function withoutJson(words: string): string {
  const end = words.lastIndexOf(NO_JSON);
  const quote = words.search(/['"]/);
  if (quote < 0 || end < quote) return words;
  const before = words.slice(0, quote);
  const start = before.endsWith(UNEXPECTED) ? before.slice(0, -UNEXPECTED.length) : before;
  return `${start}no JSON${words.slice(end + NO_JSON.length)}`;
}

const NO_JSON = ' is not valid JSON';
const UNEXPECTED = 'Unexpected token ';

function withoutFile(words: string, code: string): string {
  const start = words.indexOf('The file at ');
  const end = start < 0 ? -1 : words.indexOf(' does not exist, or it is not a file', start);
  return end < 0 ? words : `${words.slice(0, start)}a file does not exist, or is none${code}`;
}

function withoutResponse(words: string): string {
  const quoting = 'an invalid response: ';
  const at = words.indexOf(quoting);
  return at < 0 ? words : words.slice(0, at + quoting.length - ': '.length);
}

export function hideTokens(words: string): string {
  return oneLine(
    redact(words.slice(0, TEXT_MAX_CHARACTERS))
      .replace(/\b(?:eyJ|ya29\.|1\/\/)[\w.-]{8,}/g, HIDDEN)
      .replace(/[A-Za-z0-9+_-]+/g, (word) => (word.length < KEY_MIN_CHARACTERS ? word : HIDDEN)),
  );
}

const HIDDEN = '[secret]';
/** No word of a message is that long. */
const KEY_MIN_CHARACTERS = 48;

/** The same path that the library uses. */
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
