// SPDX-License-Identifier: GPL-3.0-or-later

import { Command, Option } from 'commander';
import type { ProviderSettings } from '../config/settings.ts';
import { StorageError } from '../errors.ts';
import { type Finding, type Orphan, type VerifyCounts, verify } from '../jobs/verify.ts';
import { field, type OrthancApi } from '../orthanc-api.ts';
import { bucketOf } from '../status.ts';
import { insistOnWritable } from './files.ts';
import { abortWhenInterrupted } from './interruption.ts';
import { decimalNumber, parallelNumber, wholeNumber } from './numbers.ts';
import { readOrphanReport, writeOrphanReport } from './orphan-report.ts';
import {
  connectToOrthanc,
  ORTHANC_HELP,
  type OrthancOptions,
  orthancOption,
  orthancPasswordFileOption,
} from './orthanc-http.ts';
import { createProgressLine, formatBar } from './progress.ts';
import { openSides } from './sides.ts';

interface Options extends OrthancOptions {
  readonly deep?: true;
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

/** `verify`: the bucket against Orthanc's index. */
export function verifyCommand(): Command {
  return new Command('verify')
    .description(
      "Compares the bucket with Orthanc's index: what is missing, orphaned, or not as it was stored.",
    )
    .requiredOption('--config <path>', "Orthanc's configuration file, or its folder of files")
    .addOption(orthancOption())
    .addOption(orthancPasswordFileOption())
    .option(
      '--deep',
      'reads each content, in the bucket and with HybridMode on the disk, and compares its MD5',
    )
    .addOption(
      new Option(
        '--min-age-hours <hours>',
        'younger objects are no orphans: Orthanc may be about to index them',
      )
        .argParser(decimalNumber(1))
        .default(MIN_AGE_HOURS),
    )
    .option(
      '--delete-orphans <report>',
      'notes in this file which orphans it would delete; with --confirm it deletes those that are in it',
    )
    .addOption(
      new Option('--max <number>', 'deletes at most so many')
        .argParser(wholeNumber(1))
        .default(DELETE_MAX),
    )
    .option('--confirm', 'with --delete-orphans: really, by the report of an earlier run')
    .addOption(
      new Option('--parallel <number>', 'reads at once, with --deep')
        .argParser(parallelNumber)
        .default(PARALLEL_DEFAULT),
    )
    .option('--json', 'print findings and the result as JSON, one object a line')
    .addHelpText(
      'after',
      `
Examples:
  orthanc-object-storage verify --config /etc/orthanc
  orthanc-object-storage verify --config /etc/orthanc --orthanc http://alice@pacs.example.org:8042 --deep
  orthanc-object-storage verify --config /etc/orthanc --delete-orphans orphans.txt
  orthanc-object-storage verify --config /etc/orthanc --delete-orphans orphans.txt --confirm --max 100

--confirm deletes only what an earlier run without it has noted, of the same bucket and not more than 24 hours ago, and
what is still an orphan, unchanged. Take out of the report what shall stay. Without such a report --confirm makes one.
It refuses where that Orthanc stores in another bucket, or its index knows nothing of what is in this one.

An object that another Orthanc uses is an orphan to this one: never delete orphans in a bucket, or a RootPath,
that two indexes share.
${ORTHANC_HELP}

Exit codes: 0 all is well, 1 something is missing, orphaned, under another name, of the wrong size, corrupt or
unreadable, or could not be asked, 2 wrong usage, 3 nothing was deleted in spite of --confirm, since there was no report to go by, 4 there are more
suspects than one run can look at (100,000): run again, 130 ended by Ctrl-C.`,
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
  const sides = await openSides(options.config);
  const { bucket, files } = sides;
  const progress = createProgressLine(!isJson && process.stderr.isTTY === true);
  const orphans: Orphan[] = [];
  try {
    if (reportFile !== undefined) {
      insistOnWritable(reportFile);
      await insistOnOwnIndex(api, sides.provider);
    }
    const earlier =
      reportFile === undefined ? undefined : readOrphanReport(reportFile, bucket.name, Date.now());
    const isNoted = options.confirm === true && typeof earlier === 'function' ? earlier : undefined;
    const counts = await verify(
      {
        api,
        bucket,
        files,
        report: (finding) => {
          if (finding.kind === 'orphan') orphans.push(finding);
          progress.clear();
          process.stdout.write(`${isJson ? JSON.stringify(finding) : describeFinding(finding)}\n`);
        },
        progress: (now) => {
          progress.show(() => describeProgress(now));
        },
      },
      {
        deep: options.deep === true,
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
    process.stdout.write(`${isJson ? JSON.stringify(counts) : describe(counts)}\n`);
    if (reportFile !== undefined && isNoted === undefined) {
      await writeOrphanReport(reportFile, bucket.name, Date.now(), orphans);
      process.stderr.write(`${describeDryRun(reportFile, options, earlier)}\n`);
    }
    // Last of all, since none of a failure before may end as 0.
    const isUnconfirmed = options.confirm === true && isNoted === undefined;
    process.exitCode = isUnconfirmed ? EXIT_NOT_CONFIRMED : exitCodeOf(counts);
  } finally {
    await sides.close();
  }
}

/** What an index does not know goes, so that it must be the bucket's own. Of an Orthanc without this plugin nobody can say.
 *  @throws StorageError BAD_CONFIG */
async function insistOnOwnIndex(api: OrthancApi, provider: ProviderSettings): Promise<void> {
  const status = await api.get('/object-storage/status');
  if (status === undefined) return;
  const theirs = `${String(field(status, 'provider'))} ${String(field(status, 'bucket'))}`;
  const ours = `${provider.kind} ${bucketOf(provider)}`;
  if (theirs === ours) return;
  throw new StorageError(
    'BAD_CONFIG',
    `the Orthanc at --orthanc stores in ${theirs}, not in ${ours}: all objects would be orphans to it; give the address of the bucket's own`,
  );
}

function exitCodeOf(counts: VerifyCounts): number {
  if (counts.notLookedAt > 0) return EXIT_INCOMPLETE;
  const orphans = counts.orphans - counts.deletedOrphans;
  return counts.missing +
    counts.otherName +
    counts.wrongSize +
    counts.corrupt +
    counts.unreadable +
    orphans >
    0
    ? EXIT_FOUND
    : 0;
}

/** @param earlier in words, why an earlier report was of no use */
function describeDryRun(reportFile: string, { confirm }: Options, earlier: unknown): string {
  const why =
    confirm === true && typeof earlier === 'string'
      ? ` although --confirm is given: ${earlier}`
      : '';
  return `Nothing was deleted${why}. The orphans are noted in ${reportFile}: look at it, then run again with --confirm within 24 hours`;
}

function describeFinding(finding: Finding): string {
  switch (finding.kind) {
    case 'missing':
      return `missing: ${finding.key}`;
    case 'orphan':
      return `orphan: ${finding.key} (${finding.sizeBytes} bytes, ${finding.modified})`;
    case 'other-name':
      return `other name: ${finding.key} is of an attachment that these settings call ${finding.expectedKey}`;
    case 'wrong-size':
      return `wrong size: ${finding.store} ${finding.key} has ${finding.sizeBytes} bytes instead of ${finding.expectedBytes}`;
    case 'corrupt':
    case 'unreadable':
      return `${finding.kind}: ${finding.store} ${finding.key}: ${finding.reason}`;
    case 'deleted-orphan':
      return `deleted: ${finding.key}`;
    case 'undeletable-orphan':
      return `not deleted: ${finding.key}: ${finding.reason}`;
    default:
      return finding satisfies never;
  }
}

function describeProgress({ indexed, objects, read }: VerifyCounts): string {
  if (read > 0) return `${formatBar(read / indexed)}${read} of ${indexed} attachments read`;
  const share = objects === 0 || indexed === 0 ? undefined : objects / indexed;
  return `${formatBar(share)}${indexed} attachments in the index, ${objects} objects`;
}

function describe(counts: VerifyCounts): string {
  return [
    `${counts.indexed} attachments in the index, ${counts.objects} objects in the bucket`,
    `${counts.missing} missing, ${counts.orphans} orphans, ${counts.wrongSize} of the wrong size, ${counts.corrupt} corrupt, ${counts.unreadable} unreadable`,
    `${counts.elsewhere} in the file system, ${counts.recent} too young to tell, ${counts.foreign} that are not Orthanc's`,
    ...(counts.otherName === 0
      ? []
      : [
          `${counts.otherName} of attachments that the index knows, under names that these settings do not make: the configuration may lack what they were written with, StorageEncryption (its keys) or EnableLegacyUnknownFiles; none of them is deleted`,
        ]),
    ...(counts.read === 0 ? [] : [`${counts.read} read`]),
    ...(counts.notCompared === 0
      ? []
      : [
          `${counts.notCompared} of them compared by their sizes only: Orthanc's index has no MD5 of them (StoreMD5ForAttachments)`,
        ]),
    ...(counts.notLookedAt === 0
      ? []
      : [
          `${counts.notLookedAt} more seem to be missing or orphaned: too many for one run; settle those above, then run again`,
        ]),
    ...(counts.deletedOrphans === 0 ? [] : [`${counts.deletedOrphans} orphans deleted`]),
  ].join('\n');
}
