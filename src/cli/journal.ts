// SPDX-License-Identifier: GPL-3.0-or-later

import { closeSync, existsSync, openSync, readFileSync, writeSync } from 'node:fs';
import type { NamingSettings } from '../config/settings.ts';
import { createUuidTable } from '../jobs/uuid-table.ts';
import { parseKey } from '../naming.ts';

/** What earlier runs of a migration have copied and verified, one key a line; the last line may be torn. */
export interface Journal {
  isDone(key: string): boolean;
  add(key: string): void;
  close(): void;
}

const BATCH = 100;

export function openJournal(path: string | undefined, naming: NamingSettings): Journal {
  if (path === undefined) {
    return { isDone: () => false, add: () => undefined, close: () => undefined };
  }
  const done = createUuidTable();
  const earlier = existsSync(path) ? readFileSync(path, 'utf8') : '';
  for (const line of earlier.split('\n').slice(0, -1)) {
    const uuid = parseKey(line, naming)?.uuid;
    if (uuid !== undefined) done.set(uuid, 0, 0);
  }
  const file = openSync(path, 'a', 0o600);
  // A torn line must not become the beginning of the next.
  if (earlier !== '' && !earlier.endsWith('\n')) writeSync(file, '\n');
  let lines: string[] = [];
  const flush = () => {
    if (lines.length > 0) writeSync(file, lines.join(''));
    lines = [];
  };
  // Ctrl-C ends the process without a close.
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
