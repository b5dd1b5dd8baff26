// SPDX-License-Identifier: GPL-3.0-or-later

import { setTimeout as sleep } from 'node:timers/promises';
import { Command, Option } from 'commander';
import { StorageError } from '../errors.ts';
import { type MigrateCounts, migrate, needsTypes } from '../jobs/migrate.ts';
import type { Side } from '../jobs/side.ts';
import { type IndexedTypes, readIndexedTypes } from './indexed-types.ts';
import { abortWhenInterrupted } from './interruption.ts';
import { openJournal } from './journal.ts';
import { decimalNumber, parallelNumber } from './numbers.ts';
import { parseOrthancUrl } from './orthanc-http.ts';
import { createProgressLine, formatBar } from './progress.ts';
import { openBucketAndFiles, openBucketSide } from './sides.ts';

interface Options {
  readonly config: string;
  readonly fromConfig?: string;
  readonly to: 'bucket' | 'file-system';
  readonly orthanc?: URL;
  readonly journal?: string;
  readonly parallel: number;
  readonly bandwidth?: number;
  readonly readBack?: true;
  readonly dryRun?: true;
  readonly json?: true;
}

const PARALLEL_DEFAULT = 24;
const BANDWIDTH_MIN = 0.001;
const BYTES_PER_MB = 1024 * 1024;
const FAILURES_SHOWN = 20;

/** `migrate`: all files of one place into another. */
export function migrateCommand(): Command {
  return new Command('migrate')
    .description(
      "Copies all of Orthanc's files into the bucket, out of it, or from one bucket into another. Deletes nothing.",
    )
    .requiredOption('--config <path>', "Orthanc's configuration file, or its folder of files")
    .addOption(
      new Option('--to <place>', 'where to; the other of the two is where from')
        .choices(['bucket', 'file-system'])
        .default('bucket'),
    )
    .option('--from-config <path>', 'from the bucket of this configuration instead')
    .addOption(
      new Option(
        '--orthanc <url>',
        'Orthanc\'s REST API, whose index knows the types of files; needed from a folder into a bucket with StorageStructure "flat"',
      ).argParser(parseOrthancUrl),
    )
    .option('--journal <file>', 'notes what is done, so that a later run does not read it again')
    .addOption(
      new Option('--parallel <number>', 'files at once')
        .argParser(parallelNumber)
        .default(PARALLEL_DEFAULT),
    )
    .addOption(
      new Option(
        '--bandwidth <MB/s>',
        'at most so many MB (of 1,048,576 bytes) a second, on average: each file goes as fast as it can, the next one waits',
      ).argParser(decimalNumber(BANDWIDTH_MIN)),
    )
    .option(
      '--read-back',
      'reads each copy in a bucket and compares it, which takes about twice as long',
    )
    .option('--dry-run', 'writes nothing, tells what would be copied')
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      `
Each copy is verified: a bucket's provider compares a checksum before it stores anything, a file on the disk is read
back, and a listing at the end must show each with its size. What is there already with the same size and MD5 is left
alone, so that the command can be ended at any time and run again. With --journal it trusts what it has noted, and only
looks at sizes.

Examples:
  orthanc-object-storage migrate --config /etc/orthanc --dry-run
  orthanc-object-storage migrate --config /etc/orthanc --orthanc http://127.0.0.1:8042 --journal migrate.txt
  orthanc-object-storage migrate --config /etc/orthanc --to file-system
  orthanc-object-storage migrate --config new.json --from-config old.json --bandwidth 50

Exit codes: 0 all is there, 1 something could not be copied, 2 wrong usage, 130 ended by Ctrl-C.`,
    )
    .action(run);
}

async function run(options: Options, command: Command): Promise<void> {
  if (options.fromConfig !== undefined && options.to === 'file-system') {
    command.error('error: --from-config goes with --to bucket only');
  }
  const sides = await openSides(options);
  try {
    await copyAll(options, sides);
  } finally {
    await Promise.all([sides.from.store.close(), sides.to.store.close()]);
  }
}

async function copyAll(options: Options, sides: Sides): Promise<void> {
  const { from, to } = sides;
  const isJson = options.json === true;
  const progress = createProgressLine(!isJson && process.stderr.isTTY === true);
  const failures: { readonly key: string; readonly reason: string }[] = [];
  let shown = 0;
  const journal = openJournal(options.dryRun === true ? undefined : options.journal, to.naming);
  const startedMs = performance.now();
  try {
    const types = await readTypes(options, sides);
    const { signal } = abortWhenInterrupted();
    const counts = await migrate(
      {
        from,
        to,
        typeOf: (uuid) => types?.typeOf(uuid),
        failed: (key, reason) => {
          if (isJson) {
            failures.push({ key, reason });
          } else if (shown < FAILURES_SHOWN) {
            shown += 1;
            progress.clear();
            process.stderr.write(`${key}: ${reason}\n`);
          }
        },
        progress: (now) => {
          progress.show(() => describeProgress(now, types?.size, performance.now() - startedMs));
        },
      },
      {
        atOnce: options.parallel,
        dryRun: options.dryRun === true,
        readBack: options.readBack === true,
        isDone: (key) => journal.isDone(key),
        onDone: (key) => {
          journal.add(key);
        },
        throttle: createThrottle(options.bandwidth, signal),
        signal,
      },
    );
    progress.clear();
    process.stdout.write(
      isJson
        ? `${JSON.stringify({ ...counts, dryRun: options.dryRun === true, failures })}\n`
        : `${describe(counts, options.dryRun === true)}\n`,
    );
    if (counts.failed > 0) process.exitCode = 1;
    if (!isJson && counts.failed > shown) {
      process.stderr.write(`… and ${counts.failed - shown} more; --json names all\n`);
    }
  } finally {
    journal.close();
  }
}

interface Sides {
  readonly from: Side;
  readonly to: Side;
}

async function openSides(options: Options): Promise<Sides> {
  const { config, fromConfig } = options;
  if (fromConfig === undefined) {
    const { bucket, files } = await openBucketAndFiles(config);
    return options.to === 'file-system' ? { from: bucket, to: files } : { from: files, to: bucket };
  }
  const to = await openBucketSide(config);
  try {
    return { from: await openBucketSide(fromConfig), to };
  } catch (error) {
    await to.store.close();
    throw error;
  }
}

/** Of the files whose names don't tell. */
async function readTypes(
  { orthanc }: Options,
  { from, to }: Sides,
): Promise<IndexedTypes | undefined> {
  if (orthanc === undefined) {
    if (!needsTypes({ from, to })) return undefined;
    throw new StorageError(
      'BAD_CONFIG',
      'flat names and encryption depend on the types of the files, which only Orthanc knows: give its address by --orthanc',
    );
  }
  return await readIndexedTypes(orthanc);
}

/** So that the average keeps to the limit, whatever the sizes of files. */
function createThrottle(
  mbPerSecond: number | undefined,
  signal: AbortSignal,
): (bytes: number) => Promise<void> {
  if (mbPerSecond === undefined) return () => Promise.resolve();
  const bytesPerMs = (mbPerSecond * BYTES_PER_MB) / 1000;
  let freeAtMs = performance.now();
  return async (bytes) => {
    const nowMs = performance.now();
    const startMs = Math.max(nowMs, freeAtMs);
    freeAtMs = startMs + bytes / bytesPerMs;
    if (startMs > nowMs) await sleep(startMs - nowMs, undefined, { signal });
  };
}

function describeProgress(counts: MigrateCounts, total: number | undefined, ms: number): string {
  const share = total === undefined || total === 0 ? undefined : counts.seen / total;
  const mb = counts.copiedBytes / BYTES_PER_MB;
  const rate = `${((counts.seen * 1000) / ms).toFixed(0)}/s, ${((mb * 1000) / ms).toFixed(1)} MB/s`;
  return `${formatBar(share)}${counts.seen} files, ${counts.copied} copied (${mb.toFixed(0)} MB), ${counts.failed} failed; ${rate}`;
}

function describe(counts: MigrateCounts, isDryRun: boolean): string {
  const copied = `${counts.copied} files ${isDryRun ? 'to copy' : 'copied'} (${counts.copiedBytes} bytes)`;
  const there = `${counts.alreadyThere + counts.skipped} there already`;
  const foreign = counts.foreign === 0 ? '' : `, ${counts.foreign} that are not Orthanc's`;
  const gone = counts.gone === 0 ? '' : `, ${counts.gone} removed meanwhile`;
  const failed = counts.failed === 0 ? '' : `, ${counts.failed} failed`;
  return `${copied}, ${there}${foreign}${gone}${failed}`;
}
