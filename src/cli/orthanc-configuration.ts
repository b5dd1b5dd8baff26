// SPDX-License-Identifier: GPL-3.0-or-later

import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type ParseError, parse, printParseErrorCode } from 'jsonc-parser';
import { StorageError } from '../errors.ts';

/** Reads a configuration as Orthanc does: a file, or all `.json` files of a folder with their top-level keys put together; JSON with
 *  comments, commas behind the last element, a byte order mark before it and anything behind it; `${NAME}` and `${NAME:-default}` in it
 *  are environment variables.
 *  @returns the whole as JSON without comments
 *  @throws StorageError BAD_CONFIG */
export function readOrthancConfiguration(path: string, environment: NodeJS.ProcessEnv): string {
  const merged: Record<string, unknown> = {};
  for (const file of filesOf(path)) {
    for (const [key, value] of Object.entries(parseFile(file, environment))) {
      if (Object.hasOwn(merged, key)) {
        throw new StorageError(
          'BAD_CONFIG',
          `${file}: "${key}" stands in another file of ${path} too`,
        );
      }
      merged[key] = value;
    }
  }
  return JSON.stringify(merged);
}

function filesOf(path: string): readonly string[] {
  try {
    if (!statSync(path).isDirectory()) return [path];
    return readdirSync(path)
      .filter((name) => name.endsWith('.json'))
      .sort()
      .map((name) => join(path, name));
  } catch (error) {
    throw unreadable(path, error);
  }
}

function parseFile(file: string, environment: NodeJS.ProcessEnv): object {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw unreadable(file, error);
  }
  const errors: ParseError[] = [];
  const value: unknown = parse(substituteVariables(withoutMark(text), environment), errors, {
    allowTrailingComma: true,
  });
  const first = errors.find(({ error }) => printParseErrorCode(error) !== 'EndOfFileExpected');
  if (first !== undefined) {
    const line = text.slice(0, first.offset).split('\n').length;
    throw new StorageError(
      'BAD_CONFIG',
      `${file}:${line}: no JSON (${printParseErrorCode(first.error)})`,
    );
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new StorageError('BAD_CONFIG', `${file}: no JSON object`);
  }
  return value;
}

/** Windows' editors write one. */
function withoutMark(text: string): string {
  return text.replace(/^\uFEFF/, '');
}

/** As Orthanc's Toolbox::SubstituteVariables. */
function substituteVariables(text: string, environment: NodeJS.ProcessEnv): string {
  return text.replace(
    /\$\{(\w+)(?::-([^}]*))?\}/g,
    (_, name: string, otherwise: string | undefined) => environment[name] ?? otherwise ?? '',
  );
}

function unreadable(path: string, error: unknown): StorageError {
  const reason = error instanceof Error ? error.message : String(error);
  return new StorageError('BAD_CONFIG', `--config ${path}: can't be read (${reason})`, {
    cause: error,
  });
}
