// SPDX-License-Identifier: GPL-3.0-or-later

import { Command } from 'commander';
import { badConfig } from '../../errors.ts';
import { field, type OrthancApi } from '../../orthanc/api.ts';
import { requireWritable } from '../common/files.ts';
import { abortWhenInterrupted } from '../common/interruption.ts';
import { CONFIG_OPTION, decimalNumber, parallelNumber, wholeNumber } from '../common/options.ts';
import {
  connectToOrthanc,
  ORTHANC_HELP,
  type OrthancOptions,
  orthancOption,
  orthancPasswordFileOption,
} from '../common/orthanc-http.ts';
import { formatBar, ProgressLine, printErrorLine, printJson, printLine } from '../common/output.ts';
import { openSides, type Sides } from '../common/sides.ts';
import {
  describeCounts,
  describeFiles,
  describeFinding,
  type Orphan,
  type VerifyCounts,
} from './findings.ts';
import { readOrphanReport, writeOrphanReport } from './orphan-report.ts';
import { verify } from './verify.ts';

interface Options extends OrthancOptions {
  readonly deep?: true;
  readonly disk?: true;
  readonly identify?: true;
  readonly minAgeHours: number;
  readonly deleteOrphans?: string;
  readonly max: number;
  readonly confirm?: true;
  readonly parallel: number;
  readonly json?: true;
}

const MS_PER_HOUR = 3_600_000;
const MIN_AGE_HOURS = 24;
const DELETE_MAX = 1000;
const PARALLEL_DEFAULT = 16;
// Documented in --help.
const EXIT_FOUND = 1;
const EXIT_NOT_CONFIRMED = 3;
const EXIT_INCOMPLETE = 4;
const EXIT_WRONG_INDEX = 5;

export function verifyCommand(): Command {
  return new Command('verify')
    .description(
      "Compares the bucket with Orthanc's index, and shows what is missing, orphaned, or not as it was stored.",
    )
    .requiredOption(...CONFIG_OPTION)
    .addOption(orthancOption())
    .addOption(orthancPasswordFileOption())
    .option(
      '--deep',
      'reads each content and compares its MD5, in the bucket, and with HybridMode on the disk',
    )
    .option(
      '--disk',
      'also looks in StorageDirectory, whatever HybridMode is, for files that nobody reads or removes any more; it deletes none',
    )
    .option(
      '--identify',
      "reads orphans that are DICOM files, and shows Orthanc's ids of their instance, series and study",
    )
    .option(
      '--min-age-hours <hours>',
      'younger objects do not count as orphans: Orthanc may be about to index them',
      decimalNumber(1),
      MIN_AGE_HOURS,
    )
    .option(
      '--delete-orphans <report>',
      'writes into this file which orphans it would delete; with --confirm it deletes those in the file',
    )
    .option('--max <number>', 'deletes at most so many orphans', wholeNumber(1), DELETE_MAX)
    .option('--confirm', 'really deletes, by the report of an earlier run with --delete-orphans')
    .option(
      '--parallel <number>',
      'reads so many contents at once, with --deep',
      parallelNumber,
      PARALLEL_DEFAULT,
    )
    .option('--json', 'prints findings and the result as JSON, one object per line')
    .addHelpText(
      'after',
      `
Examples:
  orthanc-object-storage verify --config /etc/orthanc
  orthanc-object-storage verify --config /etc/orthanc --orthanc http://alice@pacs.example.org:8042 --deep
  orthanc-object-storage verify --config /etc/orthanc --disk
  orthanc-object-storage verify --config /etc/orthanc --identify
  orthanc-object-storage verify --config /etc/orthanc --delete-orphans orphans.txt
  orthanc-object-storage verify --config /etc/orthanc --delete-orphans orphans.txt --confirm --max 100

To delete orphans, run it with --delete-orphans, take out of the report what must stay, and run it again with --confirm. It
deletes only what is in the report and still an unchanged orphan. The report must be of the same bucket, and at most 24 hours old.
Without one, --confirm only writes one. It refuses if that Orthanc stores in another bucket, or if its index knows nothing of
this one.

An object that another Orthanc uses is an orphan to this one: never delete orphans in a bucket, or a RootPath, that two indexes
share.

If the index knows less than a fifth of what is in the bucket, of whatever age, it is probably not the bucket's: it was lost, or is
a new one, or --orthanc is another Orthanc. That is an ALARM, with exit code 5, and --delete-orphans refuses.

What is wrong is named by Orthanc's ids of its instance, series and study, never by a patient's data. The index has no ids of
orphans: --identify reads them from the object, decrypted, and tells whether Orthanc has that instance.
${ORTHANC_HELP}

Exit codes:
  0 all is well
  1 something is missing, orphaned, under another name, of the wrong size, corrupt, unreadable, left on the disk, or could not be
    asked
  2 wrong usage
  3 nothing was deleted in spite of --confirm: there was no report
  4 there are more suspects than one run can look at (100,000): run it again
  5 the index knows next to nothing of the bucket
  130 ended by Ctrl-C`,
    )
    .action(run);
}

async function run(options: Options, command: Command): Promise<void> {
  const { deleteOrphans: reportFile } = options;
  if (options.confirm === true && reportFile === undefined) {
    command.error('error: --confirm goes with --delete-orphans');
  }
  const isJson = options.json === true;
  const { signal } = abortWhenInterrupted();
  const api = connectToOrthanc(options, { signal });
  const sides = await openSides(options.config, { withDisk: options.disk === true });
  const { bucket, files, disk } = sides;
  const progress = new ProgressLine(!isJson);
  const orphans: Orphan[] = [];
  let hasAlarm = false;
  try {
    if (reportFile !== undefined) {
      requireWritable(reportFile);
      await requireOwnIndex(api, sides);
    }
    const earlier =
      reportFile === undefined ? undefined : readOrphanReport(reportFile, bucket.name, Date.now());
    const isNoted = options.confirm === true && typeof earlier === 'function' ? earlier : undefined;
    const counts = await verify(
      {
        api,
        bucket,
        files,
        disk,
        report: (finding) => {
          if (finding.kind === 'orphan') orphans.push(finding);
          progress.clear();
          if (isJson) printJson(finding);
          else printLine(describeFinding(finding));
        },
        progress: (now) => {
          hasAlarm = now.alarm !== null;
          progress.show(() => describeProgress(now));
        },
      },
      {
        deep: options.deep === true,
        identify: options.identify === true,
        minAgeMs: options.minAgeHours * MS_PER_HOUR,
        deletion:
          reportFile === undefined
            ? undefined
            : { max: options.max, isNoted: isNoted ?? (() => false) },
        atOnce: options.parallel,
        signal,
        now: () => Date.now(),
      },
    );
    progress.clear();
    const hasUnreadFiles = files === undefined;
    const onDisk = disk === undefined ? [] : [describeFiles(counts, hasUnreadFiles)];
    if (isJson) printJson(counts);
    else for (const line of describeCounts(counts, onDisk)) printLine(line);
    if (reportFile !== undefined && isNoted === undefined) {
      writeOrphanReport(reportFile, bucket.name, Date.now(), orphans);
      printErrorLine(describeDryRun(reportFile, options, earlier));
    }
    // At the very end, because an earlier failure must not end with 0.
    const isUnconfirmed = options.confirm === true && isNoted === undefined;
    process.exitCode = isUnconfirmed ? EXIT_NOT_CONFIRMED : exitCodeOf(counts, hasUnreadFiles);
  } finally {
    // Also if verify has refused to delete.
    if (hasAlarm) process.exitCode = EXIT_WRONG_INDEX;
    await sides.close();
  }
}

/** Orphans are deleted by this index, so it must belong to the bucket. An Orthanc without this plugin cannot tell. */
async function requireOwnIndex(
  api: OrthancApi,
  { provider, bucket: side }: Pick<Sides, 'provider' | 'bucket'>,
): Promise<void> {
  const status = await api.get('/object-storage/status');
  if (status === undefined) return;
  const ours = {
    provider: String(provider.kind),
    bucket: provider.bucket,
    place: provider.place,
    rootPath: side.naming.rootPath,
    structure: String(side.naming.structure),
  };
  const theirs = { ...ours };
  for (const name of Object.keys(ours) as (keyof typeof ours)[]) {
    const value = field(status, name);
    if (typeof value === 'string') theirs[name] = value;
  }
  const describe = ({ provider: kind, bucket, ...others }: typeof ours) =>
    theirs.provider === ours.provider && theirs.bucket === ours.bucket
      ? `${kind} ${bucket} (${JSON.stringify(others)})`
      : `${kind} ${bucket}`;
  if (describe(theirs) === describe(ours)) return;
  throw badConfig(
    `the Orthanc at --orthanc stores in ${describe(theirs)}, not in ${describe(ours)}: what it does not know would be an orphan; give the address of the bucket's own, and the configuration that it runs with`,
  );
}

/** @param hasUnreadFiles HybridMode is off, so nobody reads the files on the disk */
function exitCodeOf(counts: VerifyCounts, hasUnreadFiles: boolean): number {
  if (counts.notLookedAt > 0) return EXIT_INCOMPLETE;
  const faults = [
    counts.missing,
    counts.otherName,
    counts.wrongSize,
    counts.corrupt,
    counts.unreadable,
    counts.orphans - counts.deletedOrphans,
    counts.orphansOnDisk,
    counts.onlyOnDisk,
    hasUnreadFiles ? counts.copiesOnDisk : 0,
  ];
  return faults.some((count) => count > 0) ? EXIT_FOUND : 0;
}

/** @param earlier as `readOrphanReport` returns it */
function describeDryRun(reportFile: string, { confirm }: Options, earlier: unknown): string {
  const why =
    confirm === true && typeof earlier === 'string'
      ? ` although --confirm is given: ${earlier}`
      : '';
  return `Nothing was deleted${why}. The orphans are noted in ${reportFile}: look at it, then run again with --confirm within 24 hours`;
}

function describeProgress({ indexed, objects, read }: VerifyCounts): string {
  if (read > 0) return `${formatBar(read / indexed)}${read} of ${indexed} attachments read`;
  const share = objects === 0 || indexed === 0 ? undefined : objects / indexed;
  return `${formatBar(share)}${indexed} attachments in the index, ${objects} objects`;
}
