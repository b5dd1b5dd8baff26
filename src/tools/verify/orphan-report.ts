// SPDX-License-Identifier: GPL-3.0-or-later
// The orphans that a dry run of --delete-orphans has found. A run with --confirm deletes no others. Lines may be taken out by hand.

import { badConfig } from '../../errors.ts';
import { field } from '../../orthanc/api.ts';
import { parseJson, readOwnFile, writeOwnFile } from '../common/files.ts';
import type { Orphan } from './findings.ts';

const MARK = 'orphans of verify --delete-orphans';
const AGE_MAX_HOURS = 24;
const MS_PER_HOUR = 3_600_000;

/** @returns whether the report has an object as it is now; or a sentence, why there is no report to go by
 *  @throws StorageError BAD_CONFIG for a file that is something else */
export function readOrphanReport(
  path: string,
  bucket: string,
  nowMs: number,
): ((orphan: Orphan) => boolean) | string {
  const text = readOwnFile(path);
  if (text === undefined) return 'there was no dry run yet';
  const [first, ...lines] = text.trimEnd().split('\n').map(parseJson);
  if (field(first, 'report') !== MARK) {
    throw badConfig(`${path}: is no report of --delete-orphans; give the name of another file`);
  }
  const other = String(field(first, 'bucket'));
  if (other !== bucket) return `the dry run was of ${other}, not of ${bucket}`;
  const ageMs = nowMs - Date.parse(String(field(first, 'created')));
  // Also where the clock was set back, or the report has no time.
  if (!(ageMs >= 0 && ageMs <= AGE_MAX_HOURS * MS_PER_HOUR)) {
    return `the dry run was more than ${AGE_MAX_HOURS} hours ago`;
  }
  const noted = new Set(lines.map(identify));
  return (orphan) => noted.has(identify(orphan));
}

export function writeOrphanReport(
  path: string,
  bucket: string,
  nowMs: number,
  orphans: readonly Orphan[],
): void {
  const head = { report: MARK, bucket, created: new Date(nowMs).toISOString() };
  const lines = [head, ...orphans].map((line) => `${JSON.stringify(line)}\n`);
  writeOwnFile(path, lines.join(''));
}

/** An object that was written anew since is another one. */
function identify(orphan: unknown): string {
  return JSON.stringify(['key', 'sizeBytes', 'modified'].map((name) => field(orphan, name)));
}
