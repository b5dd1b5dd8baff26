// SPDX-License-Identifier: GPL-3.0-or-later

import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { StringDecoder } from 'node:string_decoder';
import type { NamingSettings } from '../config/settings.ts';
import { createUuidTable } from '../jobs/uuid-table.ts';
import { parseKey } from '../naming.ts';
import { attempt } from './files.ts';

/** What earlier runs of a migration have copied and verified, one key a line; the last line may be torn. */
export interface Journal {
  isDone(key: string): boolean;
  add(key: string): void;
  close(): void;
}

const BATCH = 100;
/** A journal of ten million lines is no string that Node could hold. */
const PIECE_BYTES = 1024 * 1024;

/** @throws StorageError BAD_CONFIG */
export function openJournal(path: string | undefined, naming: NamingSettings): Journal {
  if (path === undefined) {
    return { isDone: () => false, add: () => undefined, close: () => undefined };
  }
  const done = createUuidTable();
  const file = attempt(path, 'written', () => openSync(path, 'a+', 0o600));
  const torn = readLines(file, (line) => {
    const uuid = parseKey(line, naming)?.uuid;
    if (uuid !== undefined) done.set(uuid, 0, 0);
  });
  // A torn line must not become the beginning of the next.
  let lines = torn === '' ? [] : ['\n'];
  const flush = () => {
    if (lines.length > 0) writeSync(file, lines.join(''));
    lines = [];
  };
  // Where Ctrl-C comes twice, nothing closes it.
  process.once('exit', flush);
  return {
    isDone: (key) => {
      const uuid = parseKey(key, naming)?.uuid;
      return uuid !== undefined && done.get(uuid) !== undefined;
    },
    add(key) {
      lines.push(`${key}\n`);
      if (lines.length >= BATCH) flush();
    },
    close() {
      process.removeListener('exit', flush);
      flush();
      closeSync(file);
    },
  };
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
