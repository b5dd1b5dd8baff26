// SPDX-License-Identifier: GPL-3.0-or-later

import { readdirSync, readFileSync, statSync } from 'node:fs';
import { extname, join } from 'node:path';
import { getNodeValue, type ParseError, parseTree, printParseErrorCode } from 'jsonc-parser';
import type { RawSection } from '../../config/fields.ts';
import { badConfig, errorCode, type StorageError } from '../../errors.ts';
import { showName, showPath } from '../../text/secret.ts';

/** Reads a configuration as Orthanc does: a file, or all `.json` files of a folder, whose top-level keys are merged. The JSON may have
 *  comments, trailing commas, a byte order mark at its start, and anything after its end. `${NAME}` and `${NAME:-default}` stand for
 *  environment variables.
 *  @param warn is called for what some versions of Orthanc read and others refuse
 *  @throws StorageError BAD_CONFIG */
export function readOrthancConfiguration(
  path: string,
  environment: NodeJS.ProcessEnv = process.env,
  warn: (warning: string) => void = () => undefined,
): RawSection {
  const merged = new Map<string, unknown>();
  for (const file of filesOf(path)) {
    for (const [key, value] of Object.entries(parseFile(file, environment, warn))) {
      if (merged.has(key)) {
        throw badConfig(`${file}: "${showName(key)}" stands in another file of ${path} too`);
      }
      merged.set(key, value);
    }
  }
  return Object.fromEntries(merged);
}

/** The files of a folder that end with .json or .JSON, without its subfolders. A broken link stops Orthanc, too. */
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
    // Orthanc ignores the text after the end.
    if (offset >= end && name !== 'CloseBraceExpected') continue;
    const line = json.slice(0, offset).split('\n').length;
    throw badConfig(`${file}:${line}: no JSON (${name})`);
  }
  if (root?.type !== 'object') throw badConfig(`${file}: no JSON object`);
  return getNodeValue(root) as object;
}

// The flag y: each is tried at one position only.
const STRING = /"(?:\\[\s\S]|[^"\\])*"/y;
const NUMBER = /[-+\d]\d*(?:\.\d*)?(?:[eE][-+]?\d*)?/y;
const BLANKS = /[ \t\r\n]+/y;
const LINE_COMMENT = /\/\/[^\r\n]*/y;
const ANYTHING_ELSE = /[^"\d+\-/ \t\r\n]+/y;

/** Orthanc's parser, jsoncpp, accepts more than JSON, but does not accept comments everywhere. This turns what it accepts into JSON,
 *  except trailing commas, and does not change what it refuses. Lines keep their numbers, for messages.
 *  @param onControlCharacter called once if a text holds one: jsoncpp accepts them up to 1.9.6 (Debian 13, the official images) */
function prepare(text: string, onControlCharacter: () => void): string {
  const json = text.replace(/^\uFEFF/, '');
  let isTold = false;
  let prepared = '';
  for (let at = 0; at < json.length; ) {
    const string = take(STRING, json, at);
    const number = take(NUMBER, json, at);
    const { gap, hasComment } = takeGap(json, at);
    if (string !== '') {
      const escaped = escapeControlCharacters(string);
      if (escaped !== string && !isTold) {
        isTold = true;
        onControlCharacter();
      }
      prepared += escaped;
    } else if (number !== '') {
      prepared += toJsonNumber(number);
    } else if (gap !== '') {
      const before = json[at - 1];
      const after = json[at + gap.length];
      const isRefused = after === ':' || (after === ']' && (before === '[' || before === ','));
      prepared += !hasComment || isRefused ? gap : gap.replace(/[^\n]/g, ' ');
    } else {
      const rest = take(ANYTHING_ELSE, json, at);
      if (rest === '') return prepared + json.slice(at);
      prepared += rest;
      at += rest.length;
    }
    at += string.length || number.length || gap.length;
  }
  return prepared;
}

/** Blanks and comments. */
function takeGap(json: string, start: number): { gap: string; hasComment: boolean } {
  let hasComment = false;
  for (let end = start; ; ) {
    const blanks = take(BLANKS, json, end);
    const comment = take(LINE_COMMENT, json, end) || takeBlockComment(json, end);
    if (blanks === '' && comment === '') return { gap: json.slice(start, end), hasComment };
    hasComment ||= comment !== '';
    end += blanks.length || comment.length;
  }
}

function takeBlockComment(json: string, at: number): string {
  const end = json.startsWith('/*', at) ? json.indexOf('*/', at + 2) : -1;
  return end < 0 ? '' : json.slice(at, end + 2);
}

/** @param pattern with the flag y */
function take(pattern: RegExp, text: string, at: number): string {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0] ?? '';
}

/** Leaves those behind a backslash, which jsoncpp refuses. */
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
  // Without blanks, two numbers side by side would become one.
  return Number.isFinite(value) ? ` ${value} ` : token;
}

/** Does the same as Orthanc's Toolbox::SubstituteVariables. A default may be in quotes, which are removed; other quotes it may not hold. */
function substituteVariables(file: string, text: string, environment: NodeJS.ProcessEnv): string {
  const find = createFinder(text);
  let prepared = '';
  let end = 0;
  for (let at = text.indexOf('${'); at >= 0; at = text.indexOf('${', Math.max(at + 1, end))) {
    const variable = readVariable(text, at + 2, find);
    if (variable === undefined) continue;
    if (variable.name === '') {
      throw badConfig(`${file}: "\${" is followed by no name of a variable`);
    }
    prepared += text.slice(end, at) + (environment[variable.name] ?? variable.otherwise);
    ({ end } = variable);
  }
  return prepared + text.slice(end);
}

/** @returns undefined if it is no variable */
function readVariable(text: string, start: number, find: Finder) {
  const brace = find('}', start);
  const colon = find(':', start);
  if (brace < colon) return { name: text.slice(start, brace), otherwise: '', end: brace + 1 };
  if (!text.startsWith(':-', colon)) return undefined;
  const name = text.slice(start, colon);
  const from = colon + 2;
  const first = text[from];
  if (first === '"' || first === "'") {
    const quote = find(first, from + 1);
    return text[quote + 1] === '}'
      ? { name, otherwise: text.slice(from + 1, quote), end: quote + 2 }
      : undefined;
  }
  return brace < Math.min(find('"', from), find("'", from))
    ? { name, otherwise: text.slice(from, brace), end: brace + 1 }
    : undefined;
}

type Finder = (what: string, from: number) => number;

/** Like indexOf, but returns Infinity if there is none. It remembers the last results, so that long files do not take quadratic time. */
function createFinder(text: string): Finder {
  const found = new Map<string, { readonly from: number; readonly at: number }>();
  return (what, from) => {
    const last = found.get(what);
    if (last !== undefined && last.from <= from && from <= last.at) return last.at;
    const index = text.indexOf(what, from);
    const at = index < 0 ? Number.POSITIVE_INFINITY : index;
    found.set(what, { from, at });
    return at;
  };
}

function unreadable(path: string, error: unknown): StorageError {
  const code = errorCode(error) ?? String(error);
  const reason = code === 'ENOENT' ? 'there is no such file' : code;
  return badConfig(`--config ${showPath(path)}: can't be read (${reason})`, {
    cause: error,
  });
}
