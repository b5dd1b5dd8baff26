// SPDX-License-Identifier: GPL-3.0-or-later

import { readdirSync, readFileSync, statSync } from 'node:fs';
import { extname, join } from 'node:path';
import { getNodeValue, type ParseError, parseTree, printParseErrorCode } from 'jsonc-parser';
import { showName, showPath } from '../config/secret.ts';
import { StorageError } from '../errors.ts';

/** Reads a configuration as Orthanc does: a file, or all `.json` files of a folder with their top-level keys put together; JSON with
 *  comments, commas behind the last element, a byte order mark before it and anything behind it; `${NAME}` and `${NAME:-default}` in it
 *  are environment variables.
 *  @param warn is told what some Orthancs read and others refuse
 *  @returns the whole as JSON without comments
 *  @throws StorageError BAD_CONFIG */
export function readOrthancConfiguration(
  path: string,
  environment: NodeJS.ProcessEnv,
  warn: (warning: string) => void = () => undefined,
): string {
  const merged = new Map<string, unknown>();
  for (const file of filesOf(path)) {
    for (const [key, value] of Object.entries(parseFile(file, environment, warn))) {
      if (merged.has(key)) {
        throw badConfig(`${file}: "${showName(key)}" stands in another file of ${path} too`);
      }
      merged.set(key, value);
    }
  }
  return JSON.stringify(Object.fromEntries(merged));
}

/** Of a folder those with the ending, in capitals too, but nothing of the folders in it. A link counts as what it leads to; one that leads
 *  nowhere stops Orthanc. */
function filesOf(path: string): readonly string[] {
  try {
    if (!statSync(path).isDirectory()) return [path];
    return readdirSync(path)
      .filter((name) => extname(`_${name}`).toLowerCase() === '.json')
      .sort()
      .map((name) => join(path, name))
      .filter((file) => statSync(file, { throwIfNoEntry: false })?.isDirectory() !== true);
  } catch (error) {
    throw unreadable(path, error);
  }
}

function parseFile(
  file: string,
  environment: NodeJS.ProcessEnv,
  warn: (warning: string) => void,
): object {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw unreadable(file, error);
  }
  const json = prepare(substituteVariables(file, text, environment), () => {
    warn(
      `${file}: a text holds a tab or a line break as it is, which Orthancs built with jsoncpp 1.9.7 or later refuse; write \\t or \\n`,
    );
  });
  const errors: ParseError[] = [];
  const root = parseTree(json, errors, { allowTrailingComma: true, disallowComments: true });
  const end = root === undefined ? Number.POSITIVE_INFINITY : root.offset + root.length;
  for (const { error, offset } of errors) {
    const name = printParseErrorCode(error);
    // Orthanc looks at nothing behind the end, but there must be one.
    if (offset >= end && name !== 'CloseBraceExpected') continue;
    const line = json.slice(0, offset).split('\n').length;
    throw badConfig(`${file}:${line}: no JSON (${name})`);
  }
  if (root?.type !== 'object') throw badConfig(`${file}: no JSON object`);
  return getNodeValue(root) as object;
}

const BLANK = String.raw`[ \t\r\n]`;
const COMMENT = String.raw`\/\/[^\r\n]*|\/\*[\s\S]*?\*\/`;
const STRING = String.raw`"(?:\\[\s\S]|[^"\\])*"`;
const NUMBER = String.raw`[-+\d]\d*(?:\.\d*)?(?:[eE][-+]?\d*)?`;

/** Orthanc's parser, jsoncpp, takes more than JSON, and comments not everywhere. This makes what it takes JSON, but for commas behind the
 *  last element, and leaves as it is what it refuses. Each line stays the one that it was, for messages.
 *  @param onControlCharacter is called once if a text holds any: jsoncpp takes them up to 1.9.6, which is in Debian 13 and in the official
 *    images */
function prepare(text: string, onControlCharacter: () => void): string {
  const withoutMark = text.replace(/^\uFEFF/, '');
  let isTold = false;
  return withoutMark.replace(
    new RegExp(`(${STRING})|(${BLANK}*(?:(?:${COMMENT})${BLANK}*)+)|${NUMBER}`, 'g'),
    (token, string: string | undefined, comments: string | undefined, offset: number) => {
      if (string !== undefined) {
        const escaped = escapeControlCharacters(string);
        if (escaped !== string && !isTold) {
          isTold = true;
          onControlCharacter();
        }
        return escaped;
      }
      if (comments === undefined) return toJsonNumber(token);
      const before = withoutMark[offset - 1];
      const after = withoutMark[offset + token.length];
      const isRefused = after === ':' || (after === ']' && (before === '[' || before === ','));
      return isRefused ? token : token.replace(/[^\n]/g, ' ');
    },
  );
}

/** Behind a backslash they are refused. */
function escapeControlCharacters(string: string): string {
  let lines = '';
  const escaped = string.replace(/\\[\s\S]|\p{Cc}/gu, (found) => {
    if (found >= ' ') return found;
    if (found === '\n') lines += '\n';
    return `\\u${found.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
  return escaped + lines;
}

/** "+1", "007", "1." and "-.5" are numbers to jsoncpp, and "-" is 0. */
function toJsonNumber(token: string): string {
  const value = token === '-' ? 0 : Number(token);
  // Blanks, lest two numbers side by side become one.
  return Number.isFinite(value) ? ` ${value} ` : token;
}

/** As Orthanc's Toolbox::SubstituteVariables: a default may stand in quotes, which are not part of it, and hold none otherwise. */
function substituteVariables(file: string, text: string, environment: NodeJS.ProcessEnv): string {
  return text.replace(
    /\$\{([^:]*?)(?::-(?:"([^"]*?)"|'([^']*?)'|([^'"]*?)))?\}/g,
    (_, name: string, ...defaults: readonly (string | undefined)[]) => {
      if (name === '') throw badConfig(`${file}: "\${" is followed by no name of a variable`);
      return environment[name] ?? defaults.slice(0, 3).find((text) => text !== undefined) ?? '';
    },
  );
}

function unreadable(path: string, error: unknown): StorageError {
  const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
  const reason = code === 'ENOENT' ? 'there is no such file' : code;
  return new StorageError('BAD_CONFIG', `--config ${showPath(path)}: can't be read (${reason})`, {
    cause: error,
  });
}

function badConfig(message: string): StorageError {
  return new StorageError('BAD_CONFIG', message);
}
