// SPDX-License-Identifier: GPL-3.0-or-later

import { Command, InvalidArgumentError, Option } from 'commander';
import { type Finding, type VerifyCounts, verify } from '../jobs/verify.ts';
import { connectToOrthanc, orthancOption } from './orthanc-http.ts';
import { createProgressLine, formatBar } from './progress.ts';
import { isHybrid, openBucketSide, openFileSide } from './sides.ts';

interface Options {
  readonly config: string;
  readonly orthanc: URL;
  readonly deep?: true;
  readonly minAgeHours: number;
  readonly deleteOrphans?: true;
  readonly max: number;
  readonly confirm?: true;
  readonly parallel: number;
  readonly json?: true;
}

const MS_PER_HOUR = 3_600_000;
const MIN_AGE_HOURS = 24;
const DELETE_MAX = 1000;
const PARALLEL_DEFAULT = 16;

/** `verify`: the bucket against Orthanc's index. */
export function verifyCommand(): Command {
  return new Command('verify')
    .description(
      "Compares the bucket with Orthanc's index: what is missing, orphaned, or not as it was stored.",
    )
    .requiredOption('--config <path>', "Orthanc's configuration file, or its folder of files")
    .addOption(orthancOption())
    .option('--deep', 'reads each object and compares its MD5')
    .addOption(
      new Option(
        '--min-age-hours <hours>',
        'younger objects are no orphans: Orthanc may be about to index them',
      )
        .argParser(hours)
        .default(MIN_AGE_HOURS),
    )
    .option(
      '--delete-orphans',
      'tells which orphans it would delete, and deletes them with --confirm',
    )
    .addOption(
      new Option('--max <number>', 'deletes at most so many')
        .argParser(wholeNumber)
        .default(DELETE_MAX),
    )
    .option('--confirm', 'with --delete-orphans: really')
    .addOption(
      new Option('--parallel <number>', 'reads at once, with --deep')
        .argParser(wholeNumber)
        .default(PARALLEL_DEFAULT),
    )
    .option('--json', 'print findings and the result as JSON, one object a line')
    .addHelpText(
      'after',
      `
Examples:
  orthanc-object-storage verify --config /etc/orthanc
  orthanc-object-storage verify --config /etc/orthanc --orthanc http://user:password@orthanc:8042 --deep
  orthanc-object-storage verify --config /etc/orthanc --delete-orphans
  orthanc-object-storage verify --config /etc/orthanc --delete-orphans --max 100 --confirm

An object that another Orthanc uses is an orphan to this one: never delete orphans in a bucket, or a RootPath,
that two indexes share.

Exit codes: 0 all is well, 1 something is missing, orphaned, corrupt, or could not be asked, 2 wrong usage.`,
    )
    .action(run);
}

async function run(options: Options): Promise<void> {
  const bucket = await openBucketSide(options.config);
  const files = isHybrid(options.config) ? await openFileSide(options.config) : undefined;
  const progress = createProgressLine(options.json !== true && process.stderr.isTTY === true);
  try {
    const counts = await verify(
      {
        api: connectToOrthanc(options.orthanc),
        bucket,
        files,
        report: (finding) => {
          progress.clear();
          const line =
            options.json === true ? JSON.stringify(finding) : describeFinding(finding, options);
          process.stdout.write(`${line}\n`);
        },
        progress: (now) => {
          progress.show(() => describeProgress(now));
        },
      },
      {
        deep: options.deep === true,
        minAgeMs: options.minAgeHours * MS_PER_HOUR,
        deleteOrphansMax:
          options.deleteOrphans === true && options.confirm === true ? options.max : undefined,
        atOnce: options.parallel,
        signal: new AbortController().signal,
        now: () => Date.now(),
      },
    );
    progress.clear();
    process.stdout.write(
      options.json === true ? `${JSON.stringify(counts)}\n` : `${describe(counts)}\n`,
    );
    const left = counts.orphans - counts.deletedOrphans;
    if (counts.missing + counts.wrongSize + counts.corrupt + left > 0) process.exitCode = 1;
  } finally {
    await Promise.all([bucket.store.close(), files?.store.close()]);
  }
}

function describeFinding(finding: Finding, options: Options): string {
  switch (finding.kind) {
    case 'missing':
      return `missing: ${finding.key}`;
    case 'orphan': {
      const would = options.deleteOrphans === true && options.confirm !== true;
      return `orphan: ${finding.key} (${finding.sizeBytes} bytes, ${finding.modified})${would ? ': --confirm would delete it' : ''}`;
    }
    case 'wrong-size':
      return `wrong size: ${finding.key} has ${finding.sizeBytes} bytes instead of ${finding.expectedBytes}`;
    case 'corrupt':
      return `corrupt: ${finding.key}: ${finding.reason}`;
    case 'deleted-orphan':
      return `deleted: ${finding.key}`;
    default:
      return finding satisfies never;
  }
}

function describeProgress({ indexed, objects }: VerifyCounts): string {
  const share = objects === 0 || indexed === 0 ? undefined : objects / indexed;
  return `${formatBar(share)}${indexed} attachments in the index, ${objects} objects`;
}

function describe(counts: VerifyCounts): string {
  return [
    `${counts.indexed} attachments in the index, ${counts.objects} objects in the bucket`,
    `${counts.missing} missing, ${counts.orphans} orphans, ${counts.wrongSize} of the wrong size, ${counts.corrupt} corrupt`,
    `${counts.elsewhere} in the file system, ${counts.recent} too young to tell, ${counts.foreign} that are not Orthanc's`,
    ...(counts.deletedOrphans === 0 ? [] : [`${counts.deletedOrphans} orphans deleted`]),
  ].join('\n');
}

function hours(text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value < 1) throw new InvalidArgumentError('must be 1 or more');
  return value;
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new InvalidArgumentError('must be a whole number above 0');
  }
  return value;
}
