// SPDX-License-Identifier: GPL-3.0-or-later
// The findings and counts of `verify`, and their texts.

import type { Identity } from './identify.ts';
import type { Owner } from './owners.ts';

export type Finding =
  | ({ readonly kind: 'missing'; readonly uuid: string; readonly key: string } & Owner)
  /** The index does not know its uuid. Nobody removes such a file from the disk. */
  | ({ readonly kind: 'orphan' | 'orphan-on-disk' } & Orphan & Identity)
  /** The index knows its uuid, but with these settings it would have another key. They lack something, such as StorageEncryption. */
  | ({ readonly kind: 'other-name'; readonly key: string; readonly expectedKey: string } & Owner)
  | ({ readonly kind: 'wrong-size' } & WrongSize & Owner)
  /** Corrupt: the content has changed. Unreadable: the store failed or a key is missing, so nothing is known about the content. */
  | ({
      readonly kind: 'corrupt' | 'unreadable';
      readonly store: StoreName;
      readonly key: string;
      readonly reason: string;
    } & Owner)
  | { readonly kind: 'deleted-orphan'; readonly key: string }
  /** It has a retention, a hold or a lock, and stays an orphan. */
  | { readonly kind: 'undeletable-orphan'; readonly key: string; readonly reason: string }
  /** The bucket has it, too. HybridMode is off, so nobody reads or removes files. */
  | { readonly kind: 'copy-on-disk'; readonly key: string; readonly sizeBytes: number }
  /** The bucket does not have it. HybridMode is off, so nobody reads it. */
  | ({ readonly kind: 'only-on-disk'; readonly uuid: string; readonly key: string } & Owner);

export type StoreName = 'object-storage' | 'file-system';

export interface Orphan {
  readonly key: string;
  readonly sizeBytes: number;
  readonly modified: string;
}

export interface WrongSize {
  readonly store: StoreName;
  readonly key: string;
  readonly sizeBytes: number;
  readonly expectedBytes: number;
}

interface Alarm {
  readonly known: number;
  readonly unknown: number;
}

export type VerifyCounts = ReturnType<typeof noCounts>;

export function noCounts() {
  return {
    indexed: 0,
    objects: 0,
    /** Objects in the bucket whose attachment the index knows, under any name. */
    known: 0,
    /** Set if the index knows so few of the stored attachments that it probably belongs to another bucket. The others are then no orphans. */
    alarm: null as Alarm | null,
    missing: 0,
    orphans: 0,
    /** The index knows their attachments, but with these settings they would have other names. */
    otherName: 0,
    /** Unknown to the index, but so young that Orthanc may be about to index them. */
    recent: 0,
    wrongSize: 0,
    corrupt: 0,
    unreadable: 0,
    /** Their names are not Orthanc's. */
    foreign: 0,
    /** On this machine's disk (LocalCache), to be uploaded. */
    pending: 0,
    /** In the other store of a hybrid storage. */
    elsewhere: 0,
    deletedOrphans: 0,
    /** Perhaps orphaned or missing, but too many for one run. */
    notLookedAt: 0,
    read: 0,
    /** Read without an MD5 in the index: only their sizes were compared. */
    notCompared: 0,
    /** Attachments in Orthanc's own folder, with --disk. */
    files: 0,
    orphansOnDisk: 0,
    copiesOnDisk: 0,
    onlyOnDisk: 0,
  };
}

export function describeFinding(finding: Finding): string {
  switch (finding.kind) {
    case 'missing':
      return `missing: ${finding.key}${describeOwner(finding)}`;
    case 'orphan':
      return `orphan: ${describeOrphan(finding)}`;
    case 'orphan-on-disk':
      return `orphan on the disk: ${describeOrphan(finding)}`;
    case 'other-name':
      return `other name: ${finding.key} is of an attachment that these settings call ${finding.expectedKey}${describeOwner(finding)}`;
    case 'wrong-size':
      return `wrong size: ${finding.store} ${finding.key} has ${finding.sizeBytes} bytes instead of ${finding.expectedBytes}${describeOwner(finding)}`;
    case 'corrupt':
      return `corrupt: ${describeContent(finding)}`;
    case 'unreadable':
      return `unreadable: ${describeContent(finding)}`;
    case 'deleted-orphan':
      return `deleted: ${finding.key}`;
    case 'undeletable-orphan':
      return `not deleted: ${finding.key}: ${finding.reason}`;
    case 'copy-on-disk':
      return `copy on the disk: ${finding.key} (${finding.sizeBytes} bytes)`;
    case 'only-on-disk':
      return `only on the disk: ${finding.key}${describeOwner(finding)}`;
    default:
      return finding satisfies never;
  }
}

function describeAlarm({ known, unknown }: Alarm): string {
  return `ALARM: the index of this Orthanc knows ${known} of the ${known + unknown} attachments that are there. Either it was lost, or is a new one, or this is not the bucket's own Orthanc (--orthanc, --config). Delete no orphans. Stop that Orthanc and bring back its index from the backup, or give the right address`;
}

function describeOwner({ instance, series, study, patient }: Owner): string {
  const ids = Object.entries({ instance, series, study, patient })
    .filter(([, id]) => id !== undefined)
    .map(([name, id]) => `${name} ${id}`);
  return ids.length === 0 ? '' : ` (${ids.join(', ')})`;
}

function describeContent(
  finding: Extract<Finding, { readonly kind: 'corrupt' | 'unreadable' }>,
): string {
  return `${finding.store} ${finding.key}: ${finding.reason}${describeOwner(finding)}`;
}

function describeOrphan(orphan: Orphan & Identity): string {
  const { key, sizeBytes, modified, unidentified, isKnown } = orphan;
  const file = `${key} (${sizeBytes} bytes, ${modified})`;
  if (unidentified !== undefined) return `${file}: not identified: ${unidentified}`;
  if (isKnown === undefined) return file;
  const whether = isKnown ? 'Orthanc has this instance' : 'Orthanc does not have this instance';
  return `${file}: ${whether}${describeOwner(orphan)}`;
}

export function describeCounts(counts: VerifyCounts, onDisk: readonly string[]): readonly string[] {
  return [
    `${counts.indexed} attachments in the index, ${counts.objects} objects in the bucket`,
    `${counts.missing} missing, ${counts.orphans} orphans, ${counts.wrongSize} of the wrong size, ${counts.corrupt} corrupt, ${counts.unreadable} unreadable`,
    `${counts.elsewhere} in the file system, ${counts.recent} too young to tell, ${counts.foreign} that are not Orthanc's`,
    ...unlessNone(
      counts.otherName,
      'of attachments that the index knows, under names that these settings do not make: the configuration may lack what they were written with, StorageEncryption (its keys) or EnableLegacyUnknownFiles; none of them is deleted',
    ),
    ...unlessNone(counts.pending, 'pending, on the way from LocalCache.Directory into the bucket'),
    ...onDisk,
    ...unlessNone(counts.read, 'read'),
    ...unlessNone(
      counts.notCompared,
      "of them compared by their sizes only: Orthanc's index has no MD5 of them (StoreMD5ForAttachments)",
    ),
    ...unlessNone(
      counts.notLookedAt,
      'more seem to be missing or orphaned: too many for one run; settle those above, then run again',
    ),
    ...unlessNone(counts.deletedOrphans, 'orphans deleted'),
    ...(counts.alarm === null ? [] : [describeAlarm(counts.alarm)]),
  ];
}

function unlessNone(count: number, what: string): readonly string[] {
  return count === 0 ? [] : [`${count} ${what}`];
}

export function describeFiles(counts: VerifyCounts, hasUnreadFiles: boolean): string {
  const { files, orphansOnDisk, copiesOnDisk, onlyOnDisk, elsewhere } = counts;
  const rest = hasUnreadFiles ? onlyOnDisk : elsewhere;
  const found = `${files} attachments on the disk: ${orphansOnDisk} that the index does not know, ${copiesOnDisk} that the bucket has as well, ${rest} that only the disk has`;
  return hasUnreadFiles && files > 0
    ? `${found}; while HybridMode is "Disabled", Orthanc reads none of them, and a DELETE leaves them there`
    : found;
}
