// SPDX-License-Identifier: GPL-3.0-or-later
// The report of a dry run with --delete-orphans. A run with --confirm deletes only the orphans in it. Users may remove lines.

import { badConfig } from '../../errors.ts';
import { field } from '../../orthanc/api.ts';
import { parseJson, readStateFile, writeStateFile } from '../common/files.ts';
import type { Orphan } from './findings.ts';

const FILE_KIND = 'orphans of verify --delete-orphans';
const AGE_MAX_HOURS = 24;
const MS_PER_HOUR = 3_600_000;

/** @returns whether an unchanged orphan is in the report; or a sentence why there is no usable report
 *  @throws StorageError BAD_CONFIG if the file is no report */
export function readOrphanReport(
  path: string,
  bucket: string,
  nowMs: number,
): ((orphan: Orphan) => boolean) | string {
  const text = readStateFile(path);
  if (text === undefined) return 'there was no dry run yet';
  const [first, ...lines] = text.trimEnd().split('\n').map(parseJson);
  if (field(first, 'report') !== FILE_KIND) {
    throw badConfig(`${path}: is no report of --delete-orphans; give the name of another file`);
  }
  const other = String(field(first, 'bucket'));
  if (other !== bucket) return `the dry run was of ${other}, not of ${bucket}`;
  const ageMs = nowMs - Date.parse(String(field(first, 'created')));
  // Also false if the clock was set back, or the report has no time.
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
  const head = { report: FILE_KIND, bucket, created: new Date(nowMs).toISOString() };
  const lines = [head, ...orphans].map((line) => `${JSON.stringify(line)}\n`);
  writeStateFile(path, lines.join(''));
}

/** An object that was written again is another orphan. */
function identify(orphan: unknown): string {
  return JSON.stringify(['key', 'sizeBytes', 'modified'].map((name) => field(orphan, name)));
}
