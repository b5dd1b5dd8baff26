// SPDX-License-Identifier: GPL-3.0-or-later

import { appendFileSync, closeSync, readSync } from 'node:fs';
import { StringDecoder } from 'node:string_decoder';
import { parseKey } from '../../attachments/naming.ts';
import { badConfig } from '../../errors.ts';
import { field } from '../../orthanc/api.ts';
import { attempt, openOwnFile, parseJson } from '../common/files.ts';
import type { Side } from '../common/sides.ts';
import { UuidTable } from '../common/uuid-table.ts';

const MARK = 'copies of migrate';
const BATCH = 100;
/** Node could not hold a journal of ten million lines as one string. */
const PIECE_BYTES = 1024 * 1024;

/** What earlier runs of a migration have copied and verified. The first line of the file tells the target, each other line a key; the last
 *  one may be torn.
 *  @throws StorageError BAD_CONFIG, also for a file that is something else, or the journal of another target */
export function openJournal(path: string, { name, naming }: Pick<Side, 'name' | 'naming'>) {
  const done = new UuidTable();
  const file = openOwnFile(path);
  let isFirst = true;
  const torn = readLines(file, (line) => {
    if (isFirst) requireTarget(path, line, name);
    isFirst = false;
    const uuid = parseKey(line, naming)?.uuid;
    if (uuid !== undefined) done.set(uuid);
  });
  if (isFirst && torn !== '') requireTarget(path, torn, name);
  // A torn line must not become the beginning of the next.
  let lines = torn === '' ? [] : ['\n'];
  if (isFirst) lines.push(`${JSON.stringify({ journal: MARK, target: name })}\n`);
  const flush = () => {
    const text = lines.join('');
    lines = [];
    attempt(path, 'written', () => {
      appendFileSync(file, text);
    });
  };
  flush();
  // Where Ctrl-C comes twice, nothing closes it.
  process.once('exit', flush);
  return {
    isDone(key: string): boolean {
      const uuid = parseKey(key, naming)?.uuid;
      return uuid !== undefined && done.get(uuid) !== undefined;
    },
    /** @throws StorageError BAD_CONFIG where it cannot be written any more */
    add(key: string): void {
      lines.push(`${key}\n`);
      if (lines.length >= BATCH) flush();
    },
    close(): void {
      process.removeListener('exit', flush);
      flush();
      closeSync(file);
    },
  };
}

function requireTarget(path: string, line: string, name: string): void {
  const head = parseJson(line);
  if (field(head, 'journal') !== MARK) {
    throw badConfig(
      `${path}: is no journal, or one of an earlier version, which does not tell the bucket that it is of; name another file: what is copied already is then read and compared once`,
    );
  }
  const target = String(field(head, 'target'));
  if (target !== name) {
    throw badConfig(
      `${path}: is the journal of copies into ${target}, not into ${name}; name another file`,
    );
  }
}

/** @returns what is behind the last end of a line */
function readLines(file: number, onLine: (line: string) => void): string {
  const decoder = new StringDecoder('utf8');
  const buffer = Buffer.alloc(PIECE_BYTES);
  let rest = '';
  for (let position = 0; ; ) {
    const length = readSync(file, buffer, 0, buffer.length, position);
    if (length === 0) return rest;
    position += length;
    const lines = (rest + decoder.write(buffer.subarray(0, length))).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) onLine(line);
  }
}
