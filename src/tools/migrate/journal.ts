// SPDX-License-Identifier: GPL-3.0-or-later

import { appendFileSync, closeSync, readSync } from 'node:fs';
import { StringDecoder } from 'node:string_decoder';
import { parseKey } from '../../attachments/naming.ts';
import { badConfig } from '../../errors.ts';
import { field } from '../../orthanc/api.ts';
import { attempt, openStateFile, parseJson } from '../common/files.ts';
import type { Side } from '../common/sides.ts';
import { UuidTable } from '../common/uuid-table.ts';

const FILE_KIND = 'copies of migrate';
const BATCH = 100;
/** The file is read in pieces: Node cannot hold a journal of ten million lines as one string. */
const PIECE_BYTES = 1024 * 1024;

/** Notes what a migration has copied and verified, for later runs. The first line of the file names the target, each other line is a key.
 *  The last line may be incomplete.
 *  @throws StorageError BAD_CONFIG, also if the file is no journal, or the journal of another target */
export function openJournal(path: string, { name, naming }: Pick<Side, 'name' | 'naming'>) {
  const done = new UuidTable();
  const file = openStateFile(path);
  let isFirst = true;
  const torn = readLines(file, (line) => {
    if (isFirst) requireTarget(path, line, name);
    isFirst = false;
    const uuid = parseKey(line, naming)?.uuid;
    if (uuid !== undefined) done.set(uuid);
  });
  if (isFirst && torn !== '') requireTarget(path, torn, name);
  // An incomplete line must not become the beginning of the next one.
  let lines = torn === '' ? [] : ['\n'];
  if (isFirst) lines.push(`${JSON.stringify({ journal: FILE_KIND, target: name })}\n`);
  const flush = () => {
    const text = lines.join('');
    lines = [];
    attempt(path, 'written', () => {
      appendFileSync(file, text);
    });
  };
  flush();
  // After a second Ctrl-C nobody calls `close`.
  process.once('exit', flush);
  return {
    isDone(key: string): boolean {
      const uuid = parseKey(key, naming)?.uuid;
      return uuid !== undefined && done.get(uuid) !== undefined;
    },
    /** @throws StorageError BAD_CONFIG if it cannot be written any more */
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
  if (field(head, 'journal') !== FILE_KIND) {
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

/** @returns the text after the last end of a line */
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
