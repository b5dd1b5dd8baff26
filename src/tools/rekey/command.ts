// SPDX-License-Identifier: GPL-3.0-or-later

import { tmpdir } from 'node:os';
import { Command, Option } from 'commander';
import {
  bucketNameOf,
  checkStores,
  closeStores,
  openStores,
} from '../../attachments/open-stores.ts';
import type { EncryptionFormat } from '../../encryption/sizes.ts';
import { badConfig } from '../../errors.ts';
import { openSpool } from '../common/files.ts';
import { readIndexedContents } from '../common/indexed-contents.ts';
import { abortWhenInterrupted } from '../common/interruption.ts';
import { CONFIG_OPTION, parallelNumber, wholeNumber } from '../common/options.ts';
import {
  connectToOrthanc,
  ORTHANC_HELP,
  type OrthancOptions,
  orthancOption,
  orthancPasswordFileOption,
} from '../common/orthanc-http.ts';
import {
  FAILURES_SHOWN,
  ProgressLine,
  printErrorLine,
  printJson,
  printLine,
} from '../common/output.ts';
import { cliLog, loadCliSettings } from '../common/settings.ts';
import { requireNothingPending } from '../common/sides.ts';
import { startRekeyProgress } from './progress.ts';
import { countEncryptedFiles, type RekeyOutcome, rekey } from './rekey.ts';
import { openRekeyState, type RekeyState } from './state.ts';

interface Options extends OrthancOptions {
  readonly from?: number;
  readonly to?: EncryptionFormat;
  readonly concurrency: number;
  readonly dryRun?: true;
  readonly state?: string;
  readonly json?: true;
}

const SAVE_INTERVAL_MS = 2_000;
const UINT32_MAX = 0xffff_ffff;
const CONCURRENCY_DEFAULT = 8;

export function rekeyCommand(): Command {
  return new Command('rekey')
    .description(
      'Encrypts objects in the bucket anew. Objects under earlier master keys get the present one, each with a new key of its own.',
    )
    .requiredOption(...CONFIG_OPTION)
    .option(
      '--from <id>',
      'only objects under this key id; without it, all that are not under the master key',
      wholeNumber(0, UINT32_MAX),
    )
    .addOption(
      new Option(
        '--to <format>',
        'converts to this format, also objects that are under the master key already',
      ).choices(['A1', 'A2']),
    )
    .addOption(
      orthancOption(
        'Its index knows the types of files. It is needed to convert to A2 with StorageStructure "legacy"',
      ),
    )
    .addOption(orthancPasswordFileOption())
    .option('--concurrency <n>', 'so many objects at once', parallelNumber, CONCURRENCY_DEFAULT)
    .option('--state <file>', 'notes how far the run has come; a later run goes on there')
    .option('--dry-run', 'reads headers only, and shows what would be done')
    .option('--json', 'prints the result as JSON')
    .addHelpText(
      'after',
      `
Each object is read and verified, encrypted, written, read back and compared. Orthanc may run meanwhile, with the same keys: an
object is replaced only if Orthanc has not removed it since it was read. Some servers cannot do that. rekey then warns, and an
object that Orthanc removes in that moment comes back; verify finds it.

It can be ended in any way and run again. Finished objects are left alone; with --state they are not even looked at. Objects
that failed are tried again. 50 failures in a row that come from the disk, the server or the credentials end the run.

With HybridMode it also counts the files in StorageDirectory that are encrypted under earlier keys (by the C++ plugins). It does
not change them: move them into the bucket, then run it again.

The folder for temporary files (TMPDIR) holds as many objects as --concurrency says, encrypted as in the bucket, in files without
a name. Memory does not grow with their size.

Examples:
  orthanc-object-storage rekey --config /etc/orthanc --dry-run
  orthanc-object-storage rekey --config /etc/orthanc --state rekey.json
  orthanc-object-storage rekey --config /etc/orthanc --from 1 --to A2
  TMPDIR=/big/disk orthanc-object-storage rekey --config /etc/orthanc --concurrency 32
${ORTHANC_HELP}

Exit codes: 0 done, 1 some objects failed, files are left under earlier keys, or nothing could be done, 2 wrong usage, 130 ended by
Ctrl-C.`,
    )
    .action(run);
}

async function run(options: Options): Promise<void> {
  const { provider, settings, envelope, masterKeyId } = openKeys(options);
  const { naming } = settings;
  const isDryRun = options.dryRun === true;
  await requireNothingPending(settings);
  // Fails before the first object.
  if (!isDryRun) openSpool(tmpdir()).close();
  // A dry run changes nothing, so there is nothing to resume.
  const state = openRekeyState(isDryRun ? undefined : options.state, {
    bucket: bucketNameOf(provider, naming),
    from: options.from,
    to: options.to,
    master: masterKeyId,
  });
  const index =
    options.orthanc === undefined
      ? undefined
      : await readIndexedContents(connectToOrthanc(options));
  const stores = await openStores(settings, provider, { log: cliLog });
  await checkStores(stores, naming, cliLog);
  const { objects: store, files } = stores;
  const interruption = abortWhenInterrupted();
  const { signal } = interruption;
  const save = () => {
    try {
      state.save();
    } catch (error) {
      // Without its state file the run must end. Its finished objects stay as they are.
      interruption.abort(error);
    }
  };
  // A second Ctrl-C ends the process at once.
  process.once('exit', save);
  const saving = setInterval(save, SAVE_INTERVAL_MS);
  const progress = new ProgressLine(true);
  let filesLeft: number | undefined;
  try {
    const showProgress = await startRekeyProgress(progress, { store, naming }, state, signal);
    await rekey({
      store,
      naming,
      envelope,
      plan: {
        fromKeyId: options.from,
        toFormat: options.to,
        isDryRun,
        concurrency: options.concurrency,
      },
      openSpool: () => openSpool(tmpdir()),
      typeOf: (uuid) => index?.find(uuid)?.contentType,
      isDone: state.beginListing(),
      onObject: (object) => {
        state.add(object);
        showProgress(object);
      },
      onUnconditionalPuts: () => {
        cliLog.warning(
          'The server does not heed conditions of a write (If-Match): an object that Orthanc removes in the moment in which it is written anew comes back. Afterwards, verify finds those',
        );
      },
      signal,
    });
    state.finish();
    const isLeft = (keyId: number) =>
      options.from === undefined ? keyId !== masterKeyId : keyId === options.from;
    filesLeft =
      files === undefined ? 0 : await countEncryptedFiles(files, envelope, isLeft, { signal });
  } catch (error) {
    save();
    if (options.json === true) report(state, filesLeft, options);
    throw error;
  } finally {
    progress.clear();
    clearInterval(saving);
    process.removeListener('exit', save);
    await closeStores(stores);
  }
  if (state.progress().counts.failed + filesLeft > 0) process.exitCode = 1;
  report(state, filesLeft, options);
}

/** @throws StorageError BAD_CONFIG, also for options that make no sense with this configuration */
function openKeys(options: Options) {
  const { provider, settings, envelope } = loadCliSettings(options.config);
  const masterKeyId = envelope?.masterKeyId;
  if (envelope === undefined || masterKeyId === undefined) {
    throw badConfig(
      `${provider.section}.StorageEncryption.MasterKey: is missing; rekey encrypts with it`,
    );
  }
  if (options.from === masterKeyId && options.to === undefined) {
    throw badConfig(`key ${masterKeyId} is the master key: there is nothing to do without --to`);
  }
  if (
    options.to === 'A2' &&
    settings.naming.structure === 'legacy' &&
    options.orthanc === undefined
  ) {
    throw badConfig(
      `${provider.section}.StorageStructure: names of the structure "legacy" do not tell the content type, which A2 is bound to; ask Orthanc, whose index knows it: --orthanc alone for the one of this configuration on this machine, or with its address`,
    );
  }
  return { provider, settings, envelope, masterKeyId };
}

const LABELS = {
  rekeyed: 'encrypted anew',
  kept: 'left as they are',
  foreign: 'not encrypted, or not of the plugin',
  gone: 'removed meanwhile',
  failed: 'failed',
} as const satisfies Record<RekeyOutcome, string>;

/** @param filesLeft undefined: the run has ended early */
function report(state: RekeyState, filesLeft: number | undefined, options: Options): void {
  const { counts, bytes, failures } = state.progress();
  const isDryRun = options.dryRun === true;
  if (options.json === true) {
    printJson({ dryRun: isDryRun, ...counts, bytes, filesLeft: filesLeft ?? null, failures });
    return;
  }
  for (const [outcome, label] of Object.entries(LABELS)) {
    const text = isDryRun && outcome === 'rekeyed' ? 'would be encrypted anew' : label;
    printLine(`${String(counts[outcome as RekeyOutcome]).padStart(10)}  ${text}`);
  }
  printLine(
    `${(bytes / 1e6).toFixed(1).padStart(10)}  MB of objects ${isDryRun ? 'to encrypt' : 'encrypted'} anew`,
  );
  if (filesLeft !== undefined && filesLeft > 0) {
    printLine(
      `${String(filesLeft).padStart(10)}  files in StorageDirectory that are encrypted under earlier keys: move them into the bucket, then run rekey again`,
    );
  }
  const reasons = Object.values(failures);
  for (const reason of reasons.slice(0, FAILURES_SHOWN)) printErrorLine(`failed: ${reason}`);
  if (counts.failed > FAILURES_SHOWN) {
    printErrorLine(`… and ${counts.failed - FAILURES_SHOWN} more; --json names up to 10,000`);
  }
}
