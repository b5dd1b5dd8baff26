// SPDX-License-Identifier: GPL-3.0-or-later

import { Command, Option } from 'commander';
import { badConfig } from '../../errors.ts';
import { sleepUntilAborted } from '../../store/abort.ts';
import { type IndexedContents, readIndexedContents } from '../common/indexed-contents.ts';
import { abortWhenInterrupted } from '../common/interruption.ts';
import { CONFIG_OPTION, decimalNumber, parallelNumber } from '../common/options.ts';
import {
  connectToOrthanc,
  ORTHANC_HELP,
  type OrthancOptions,
  orthancOption,
  orthancPasswordFileOption,
} from '../common/orthanc-http.ts';
import {
  FAILURES_SHOWN,
  formatBar,
  ProgressLine,
  printErrorLine,
  printJson,
  printLine,
} from '../common/output.ts';
import { openBucketAndFiles, openBucketSide } from '../common/sides.ts';
import { openJournal } from './journal.ts';
import { type MigrateCounts, migrate, type Route } from './migrate.ts';
import { needsTypes } from './source.ts';

interface Options extends OrthancOptions {
  readonly fromConfig?: string;
  readonly to: 'bucket' | 'file-system';
  readonly journal?: string;
  readonly parallel: number;
  readonly bandwidth?: number;
  readonly dryRun?: true;
  readonly json?: true;
}

const PARALLEL_DEFAULT = 24;
const BANDWIDTH_MIN = 0.001;
const BYTES_PER_MB = 1024 * 1024;

export function migrateCommand(): Command {
  return new Command('migrate')
    .description(
      "Copies all of Orthanc's files into the bucket, out of it, or from one bucket into another. It deletes nothing at the source.",
    )
    .requiredOption(...CONFIG_OPTION)
    .addOption(
      new Option('--to <place>', 'the target; the other of the two is the source')
        .choices(['bucket', 'file-system'])
        .default('bucket'),
    )
    .option('--from-config <path>', 'takes the bucket of this configuration as the source')
    .addOption(
      orthancOption(
        'Each file is compared with its index before it is copied. From a folder into a bucket with StorageStructure "flat" (the default) or encryption it is needed: the index knows the types of files',
      ),
    )
    .addOption(orthancPasswordFileOption())
    .option(
      '--journal <file>',
      'notes each copied file, so that a later run does not read it again',
    )
    .option('--parallel <number>', 'copies so many files at once', parallelNumber, PARALLEL_DEFAULT)
    .option(
      '--bandwidth <MB/s>',
      'copies or compares at most so many MB (of 1,048,576 bytes) a second, on average: each file goes as fast as it can, then the next one waits',
      decimalNumber(BANDWIDTH_MIN),
    )
    .addOption(new Option('--read-back', 'ignored: each copy is read back in any case').hideHelp())
    .option('--dry-run', 'writes nothing, and shows what would be copied')
    .option('--json', 'prints the result as JSON')
    .addHelpText(
      'after',
      `
It can be ended at any time and run again: a file that the target has, with the same size and MD5, is left alone. With --journal
it trusts its notes of this target, and looks only at sizes.

Each copy is read back and compared. A listing at the end must show each with its size. What is read from a bucket is
verified: with --orthanc by the MD5 in Orthanc's index, else by the checksum that the object or its server has. An object without
any of these is not copied, but named.

An object with another content in the target is left alone, named and counted: nobody knows which of the two is damaged. With
--orthanc the index knows. A damaged source is then not copied, and a good one replaces the damaged copy.

If a running Orthanc deletes a file of its folder while it is being copied, migrate removes the copy, with --orthanc. A copy of what
Orthanc deletes later stays: once Orthanc uses the target, verify names it as an orphan.

50 failures in a row that come from the disk, the server or the credentials end the run.

To read or write Orthanc's StorageDirectory, run it as the user that Orthanc runs as.

Examples:
  sudo -u orthanc orthanc-object-storage migrate --config /etc/orthanc --orthanc --dry-run
  sudo -u orthanc orthanc-object-storage migrate --config /etc/orthanc --orthanc --journal /var/lib/orthanc/migrate.txt
  sudo -u orthanc orthanc-object-storage migrate --config /etc/orthanc --to file-system
  orthanc-object-storage migrate --config new.json --from-config old.json --bandwidth 50
${ORTHANC_HELP}

Exit codes: 0 the target has all that was at the source and in the index at the start, 1 something could not be copied or has
another content there, 2 wrong usage, 130 ended by Ctrl-C.`,
    )
    .action(run);
}

async function run(options: Options, command: Command): Promise<void> {
  if (options.fromConfig !== undefined && options.to === 'file-system') {
    command.error('error: --from-config goes with --to bucket only');
  }
  const route = await openRoute(options);
  try {
    await copyAll(options, route);
  } finally {
    await Promise.all([route.from.store.close(), route.to.store.close()]);
  }
}

async function copyAll(options: Options, route: Route): Promise<void> {
  const { from, to } = route;
  const isJson = options.json === true;
  const progress = new ProgressLine(!isJson);
  const failures: { readonly key: string; readonly reason: string }[] = [];
  let shown = 0;
  let counts: MigrateCounts | undefined;
  const isDryRun = options.dryRun === true;
  const journal =
    isDryRun || options.journal === undefined ? undefined : openJournal(options.journal, to);
  const startedMs = performance.now();
  try {
    const index = await readIndex(options, route);
    const interruption = abortWhenInterrupted();
    const { signal } = interruption;
    counts = await migrate(
      {
        from,
        to,
        index,
        failed: (key, reason) => {
          if (isJson) {
            failures.push({ key, reason });
          } else if (shown < FAILURES_SHOWN) {
            shown += 1;
            progress.clear();
            printErrorLine(`${key}: ${reason}`);
          }
        },
        progress: (now) => {
          counts = now;
          progress.show(() => describeProgress(now, index?.size, performance.now() - startedMs));
        },
      },
      {
        atOnce: options.parallel,
        dryRun: isDryRun,
        isDone: (key) => journal?.isDone(key) === true,
        onDone: (key) => {
          try {
            journal?.add(key);
          } catch (error) {
            // Without its journal the run must end. This copy stays.
            interruption.abort(error);
          }
        },
        throttle: createThrottle(options.bandwidth, signal),
        signal,
      },
    );
    progress.clear();
    if (!isJson) printLine(describe(counts, isDryRun));
    const notCopied = counts.failed + counts.differs;
    if (notCopied > 0) process.exitCode = 1;
    if (!isJson && notCopied > shown) {
      printErrorLine(`… and ${notCopied - shown} more; --json names all`);
    }
    requireMatchingIndex(counts);
  } finally {
    journal?.close();
    // Also of a run that has ended early.
    if (isJson && counts !== undefined) printJson({ ...counts, dryRun: isDryRun, failures });
  }
}

async function openRoute(options: Options): Promise<Route> {
  const { config, fromConfig } = options;
  if (fromConfig === undefined) {
    const isToFiles = options.to === 'file-system';
    const { bucket, files } = await openBucketAndFiles(config, { writesFiles: isToFiles });
    return isToFiles ? { from: bucket, to: files } : { from: files, to: bucket };
  }
  const to = await openBucketSide(config);
  try {
    const from = await openBucketSide(fromConfig, { isSource: true });
    if (from.name !== to.name) return { from, to };
    await from.store.close();
    throw badConfig(
      `both configurations have the same bucket and RootPath (${to.name}): each object would be written over, or stay beside its copy; give the new one another RootPath or bucket`,
    );
  } catch (error) {
    await to.store.close();
    throw error;
  }
}

async function readIndex(
  options: Options,
  { from, to }: Route,
): Promise<IndexedContents | undefined> {
  if (options.orthanc === undefined) {
    if (!needsTypes({ from, to })) return undefined;
    throw badConfig(
      'flat names and encryption depend on the types of the files, which only Orthanc knows: say --orthanc, alone for the one of this configuration on this machine, or with its address',
    );
  }
  return await readIndexedContents(connectToOrthanc(options));
}

/** A few unknown files are normal: orphans, and files that were stored after the index was read. If the index knows no file, it belongs to
 *  another Orthanc. */
function requireMatchingIndex({ unknown, seen, foreign, indexFiles }: MigrateCounts): void {
  if (unknown === 0 || unknown < seen - foreign - indexFiles) return;
  throw badConfig(
    'the Orthanc of --orthanc knows none of these files: give the address of the one that they belong to',
  );
}

/** Keeps the average rate within the limit, for files of any size. */
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
    if (startMs > nowMs) await sleepUntilAborted(startMs - nowMs, signal);
  };
}

function describeProgress(counts: MigrateCounts, total: number | undefined, ms: number): string {
  const share = total === undefined || total === 0 ? undefined : counts.seen / total;
  const mb = counts.copiedBytes / BYTES_PER_MB;
  const rate = `${((counts.seen * 1000) / ms).toFixed(0)}/s, ${((mb * 1000) / ms).toFixed(1)} MB/s`;
  return `${formatBar(share)}${counts.seen} files, ${counts.copied} copied (${mb.toFixed(0)} MB), ${counts.failed} failed; ${rate}`;
}

function describe(counts: MigrateCounts, isDryRun: boolean): string {
  const others = [
    [counts.indexFiles, "of Orthanc's index, which stay"],
    [counts.foreign, "that are not Orthanc's"],
    [counts.gone, 'removed meanwhile'],
    [
      counts.unknown,
      "left that Orthanc's index did not know (orphans, or stored since it was read)",
    ],
    [counts.differs, 'there with another content'],
    [counts.failed, 'failed'],
  ] as const;
  return [
    `${counts.copied} files ${isDryRun ? 'to copy' : 'copied'} (${counts.copiedBytes} bytes)`,
    `${counts.alreadyThere + counts.skipped} there already`,
    ...others.filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}`),
  ].join(', ');
}
