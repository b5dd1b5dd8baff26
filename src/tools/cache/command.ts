// SPDX-License-Identifier: GPL-3.0-or-later

import { join } from 'node:path';
import { Command } from 'commander';
import { checkStores, nameForRemovals, openStores } from '../../attachments/open-stores.ts';
import type { LocalCacheSettings } from '../../config/settings.ts';
import { badConfig, StorageError } from '../../errors.ts';
import { clearCached, describeBucket } from '../../local/folder.ts';
import type { LocalFile } from '../../local/names.ts';
import { readFolder, readPending } from '../../local/pending-view.ts';
import { REMOVALS_FOLDER, readNoted } from '../../local/removals-journal.ts';
import { sleepUntilAborted } from '../../store/abort.ts';
import { abortWhenInterrupted } from '../common/interruption.ts';
import { CONFIG_OPTION } from '../common/options.ts';
import { ProgressLine, printErrorLine, printJson, printLine } from '../common/output.ts';
import { cliLog, loadCliSettings } from '../common/settings.ts';
import { isLocked, lockByTool } from './lock.ts';

interface Options {
  readonly config: string;
  readonly json?: true;
}

const POLL_MS = 500;
/** It is tried again at least every 30 s, and each attempt has its own repetitions. */
const NO_PROGRESS_MS = 10 * 60_000;
const BYTES_PER_MB = 1024 * 1024;

export function cacheCommand(): Command {
  const command = new Command('cache').description(
    'Shows, uploads or empties what is in LocalCache.Directory.',
  );
  command.addHelpText(
    'after',
    `
Run it on Orthanc's machine, as the user that Orthanc runs as.

Examples:
  sudo -u orthanc orthanc-object-storage cache status --config /etc/orthanc
  sudo -u orthanc orthanc-object-storage cache flush --config /etc/orthanc

Exit codes: 0 done (flush: nothing of it is pending any more), 1 failed, 2 wrong usage, 130 ended by Ctrl-C.`,
  );
  const subcommands = [
    subcommand('status', 'shows what is pending and what is cached', status).option(
      '--json',
      'prints the result as JSON',
    ),
    subcommand(
      'flush',
      'uploads all that is pending, or waits until a running Orthanc has done so',
      flush,
    ),
    subcommand('clear', 'removes what is cached, and nothing that is pending', clear),
  ];
  for (const each of subcommands) command.addCommand(each);
  return command;
}

function subcommand(
  name: string,
  description: string,
  run: (options: Options) => Promise<void>,
): Command {
  return new Command(name)
    .description(description)
    .requiredOption(...CONFIG_OPTION)
    .action(run);
}

function requireCache(config: string) {
  const loaded = loadCliSettings(config);
  const { localCache } = loaded.settings;
  if (localCache === undefined) {
    throw badConfig(`${config} has no LocalCache in ${loaded.provider.section}`);
  }
  return { ...loaded, localCache };
}

async function status({ config, json }: Options): Promise<void> {
  const { localCache, provider } = requireCache(config);
  const { directory } = localCache;
  const { pending, removed, cached } = await readFolder(localCache);
  const noted = await readNoted(noteFolder(directory), nameForRemovals(provider));
  const removals = removed.length + noted.size;
  const bucket = await describeBucket(directory);
  const inUse = await isLocked(directory);
  const report = {
    directory,
    bucket,
    inUse,
    maxBytes: localCache.maxBytes,
    pending: { ...totalOf(pending), oldest: oldestOf(pending) },
    removals,
    cached: totalOf(cached),
  };
  if (json === true) return printJson(report);
  const { oldest } = report.pending;
  const since = oldest === null ? '' : `, the oldest since ${oldest}`;
  printLine(`${directory}, of ${bucket}${inUse ? ', in use by Orthanc' : ''}`);
  printLine(`${describe(report.pending)} pending${since}`);
  printLine(`${removals} removals to be carried out in the bucket`);
  printLine(`${describe(report.cached)} cached`);
}

async function flush({ config }: Options): Promise<void> {
  const { localCache, provider, settings } = requireCache(config);
  const bucket = nameForRemovals(provider);
  if (await isLocked(localCache.directory)) return await waitForOrthanc(localCache, bucket);
  const { signal } = abortWhenInterrupted();
  // Before it closes, all is uploaded that can be: there is nothing to wait for then.
  const flushed = { ...settings, localCache: { ...localCache, stopTimeoutMs: 0 } };
  const stores = await openStores(flushed, provider, { log: cliLog, lockFolder: lockByTool });
  const { cache } = stores;
  await checkStores(stores, settings.naming, cliLog);
  const progress = new ProgressLine(true);
  try {
    const total = cache?.status();
    let before = Number.POSITIVE_INFINITY;
    let changedMs = 0;
    // To give up an upload that is under way would be to begin it anew.
    const patienceMs = Math.max(NO_PROGRESS_MS, settings.requestTimeoutMs + 60_000);
    cache?.start();
    for (;;) {
      const now = cache?.status();
      if (signal.aborted || now === undefined) break;
      const left = now.pending.count + now.removals;
      if (left !== before) changedMs = performance.now();
      before = left;
      progress.show(() => `${left} left, ${now.uploaded} uploaded`);
      if (left <= now.refused) {
        progress.clear();
        for (const { key, reason } of now.refusedObjects) printErrorLine(`${key}: ${reason}`);
        if (left > 0) {
          throw new StorageError('UNAVAILABLE', `${left} are refused by the bucket, or damaged`);
        }
        printLine(`${total?.pending.count} uploaded, ${total?.removals} removals carried out`);
        await requireNoneNoted(localCache.directory, bucket);
        break;
      }
      if (performance.now() - changedMs > patienceMs) {
        throw new StorageError(
          'TIMEOUT',
          `none of ${left} objects was uploaded or deleted for ${Math.round(patienceMs / 60_000)} minutes: ${now.trouble?.message ?? 'no request has ended'}`,
        );
      }
      await cache?.drained(AbortSignal.any([signal, AbortSignal.timeout(POLL_MS)]));
    }
  } finally {
    progress.clear();
    await stores.objects.close();
    await stores.files?.close();
  }
}

/** Of what is pending now: new objects may always come. */
async function waitForOrthanc(settings: LocalCacheSettings, bucket: string): Promise<void> {
  const { signal } = abortWhenInterrupted();
  const filesOf = async () => {
    const { pending, removed } = await readPending(settings);
    return new Set([...pending, ...removed].map(({ sequence }) => sequence));
  };
  const total = await waitUntilGone(filesOf, signal);
  // Where removals are carried out in the background, they are noted once more.
  await waitUntilGone(() => readNoted(noteFolder(settings.directory), bucket), signal);
  printLine(`${total} uploaded or removed by the running Orthanc`);
}

/** @returns how many there were */
async function waitUntilGone<T>(
  read: () => Promise<ReadonlySet<T>>,
  signal: AbortSignal,
): Promise<number> {
  const progress = new ProgressLine(true);
  const wanted = new Set(await read());
  const total = wanted.size;
  let changedMs = performance.now();
  while (wanted.size > 0) {
    progress.show(() => `waits for Orthanc: ${wanted.size} left of ${total}`);
    await sleepUntilAborted(POLL_MS, signal);
    const left = await read();
    for (const each of wanted) {
      if (left.has(each)) continue;
      wanted.delete(each);
      changedMs = performance.now();
    }
    if (performance.now() - changedMs > NO_PROGRESS_MS) {
      throw new StorageError(
        'TIMEOUT',
        `Orthanc has uploaded none of ${wanted.size} objects for ${NO_PROGRESS_MS / 60_000} minutes; its log and GET /object-storage/status say why`,
      );
    }
  }
  progress.clear();
  return total;
}

/** Where DeleteInBackground notes removals. */
function noteFolder(directory: string): string {
  return join(directory, REMOVALS_FOLDER);
}

/** @throws StorageError UNAVAILABLE */
async function requireNoneNoted(directory: string, bucket: string): Promise<void> {
  const { size } = await readNoted(noteFolder(directory), bucket);
  if (size === 0) return;
  throw new StorageError(
    'UNAVAILABLE',
    `${size} removals of DeleteInBackground are noted in this folder, which only a running Orthanc carries out: start it with this configuration, and wait until "cache status" shows none`,
  );
}

async function clear({ config }: Options): Promise<void> {
  const { localCache } = requireCache(config);
  const { pending, removed } = await readFolder(localCache);
  const count = await clearCached(localCache.directory);
  printLine(
    `${count} cached objects removed; ${pending.length} pending ones and ${removed.length} removals stay`,
  );
}

function totalOf(files: readonly LocalFile[]): { readonly count: number; readonly bytes: number } {
  return { count: files.length, bytes: files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) };
}

function oldestOf(files: readonly LocalFile[]): string | null {
  const [first] = [...files].sort((a, b) => a.sequence - b.sequence);
  return first === undefined ? null : new Date(first.timeMs).toISOString();
}

function describe({ count, bytes }: { readonly count: number; readonly bytes: number }): string {
  return `${count} objects (${(bytes / BYTES_PER_MB).toFixed(1)} MB)`;
}
