// SPDX-License-Identifier: GPL-3.0-or-later

import { type AttachmentStore, createAttachmentStore } from '../attachments/attachments.ts';
import { createFileAttachments } from '../attachments/file-attachments.ts';
import { createHybridStore, nameFailures } from '../attachments/hybrid.ts';
import type { NamedStore } from '../attachments/locate.ts';
import { Moves } from '../attachments/moves.ts';
import { openConfiguration } from '../attachments/open-configuration.ts';
import {
  checkStores,
  closeStores,
  describeUnreadFiles,
  openStores,
  type Stores,
} from '../attachments/open-stores.ts';
import { mayBeOnePlace, requireTwoPlaces } from '../attachments/same-place.ts';
import { useCrc32 } from '../checksums/checksums.ts';
import { NO_REMOVALS, type PluginSettings } from '../config/settings.ts';
import type { Envelope } from '../encryption/envelope.ts';
import { toStorageError } from '../errors.ts';
import { createLogger, describeError, type Logger } from '../log.ts';
import type { JobRunner } from '../move/job.ts';
import { createMoveRunner, createRefusingRunner } from '../move/move.ts';
import { compareVersions, createOrthancApi, type OrthancApi } from '../orthanc/api.ts';
import { removalTimeoutMs } from '../store/deadline.ts';
import { createSecretHider, safeLine, safeLines } from '../text/safe-text.ts';
import { type Secret, secretsIn } from '../text/secret.ts';
import {
  type Binding,
  createRequestAes,
  RequestServer,
  type RuntimeSettings,
  writeLog,
} from './bridge.ts';
import { Counters, type CountersSnapshot } from './figures.ts';
import { answerHistory, createHistory, SAMPLE_SECONDS, type Sample } from './history.ts';
import { createLaneAnswers, createLaneFigures, shareOfLane } from './lanes.ts';
import { formatMetrics } from './metrics.ts';
import { createPage } from './page.ts';
import { createRequestHandler } from './requests.ts';
import { createRestHandler } from './rest.ts';
import { createStatus } from './status.ts';

// TypeScript enforces RequestTimeout. The shim waits this much longer, for the way to Orthanc and back.
const CALL_GRACE_MS = 5_000;
// Likewise for a removal, during which Orthanc keeps its index locked.
const REMOVE_GRACE_MS = 2_000;
// Likewise for a stop. Removals in the background have 1.5 s of it, after the uploads.
const STOP_GRACE_MS = 2_500;
// Most metrics collectors give up after 10 s.
const METRICS_TIMEOUT_MS = 2_000;
// Nothing here computes for seconds, so a loop that has not turned for this long hangs.
const WATCHDOG_MS = 30_000;
// The first version that verifies the MD5 of its reads.
const FIRST_VERIFYING_ORTHANC = '1.13.0';

/** Called by the shim once the bundle is loaded. Returns at once. */
export function main(binding: Binding): void {
  useCrc32(binding.crc32);
  let secrets: readonly Secret[] = [];
  const log = createLogger(
    (level, line) => {
      writeLog(binding, level, line);
    },
    () => secrets,
  );
  installLastResorts(binding, log);
  start(binding, log, (found) => {
    secrets = found;
  }).catch((error: unknown) => {
    const { message } = toStorageError(error);
    binding.ending(safeLine('it was refused'));
    const what = binding.restarted ? 'runtime does not start again' : 'plugin does not start';
    const lines = [`The object storage ${what}:`, ...message.split('\n')];
    binding.refuse(createSecretHider(secrets)(safeLines(lines)));
    binding.release();
  });
}

async function start(
  binding: Binding,
  log: Logger,
  hide: (secrets: readonly Secret[]) => void,
): Promise<void> {
  const { settings, keyWarnings, envelope } = openConfiguration(
    binding.configuration(),
    { orthancVersion: binding.orthancVersion, environmentVariables: process.env },
    { adapt: shareOfLane, createAes: createRequestAes(binding) },
  );
  hide(secretsIn(settings));
  const isFirst = binding.lane === 0;
  if (isFirst) {
    for (const warning of [...settings.warnings, ...keyWarnings]) log.warning(warning);
    for (const note of settings.notes) log.info(note);
  }
  if (settings.provider === undefined) {
    log.warning(
      'No section AwsS3Storage, AzureBlobStorage or GoogleCloudStorage in the configuration: Orthanc keeps its own storage',
    );
    binding.ready({
      storage: false,
      rangeReads: false,
      lanes: 1,
      callTimeoutMs: 0,
      removeTimeoutMs: 0,
      metricsTimeoutMs: 0,
      stopTimeoutMs: 0,
      watchdogMs: 0,
    });
    return;
  }
  // The first loop has refused several loops where removals are noted.
  const own = isFirst ? settings : { ...settings, removals: NO_REMOVALS };
  const stores = await openStores(own, settings.provider, {
    log,
    verifyMd5: compareVersions(binding.orthancVersion, FIRST_VERIFYING_ORTHANC) < 0,
    lockFile: (path) => binding.lockFile(path),
    runFileSteps: binding.runFileSteps,
  });
  // After a restart of the runtime, Orthanc is already running, and requests tell whether the store can be reached.
  if (isFirst && !binding.restarted) {
    const patience = {
      timeoutMs: settings.startTimeoutMs,
      onWait: () => {
        binding.starting();
      },
    };
    await checkStores(stores, settings.naming, log, patience);
    const unread = await describeUnreadFiles(settings);
    if (unread !== undefined) log.warning(unread);
  }
  serve(binding, settings.provider, settings, { ...stores, envelope }, log);
}

interface EncryptedStores extends Stores {
  /** undefined: neither encryption nor keys. */
  readonly envelope: Envelope | undefined;
}

function serve(
  binding: Binding,
  provider: NonNullable<PluginSettings['provider']>,
  settings: PluginSettings,
  stores: EncryptedStores,
  log: Logger,
): void {
  const counters = new Counters(undefined, binding.restarted);
  const { hybrid, lanes, naming } = settings;
  const { envelope } = stores;
  const { lane } = binding;
  const figures = createLaneFigures({
    lane,
    lanes,
    own: () => counters.snapshot(),
    ask: (other) => askLane<CountersSnapshot>(binding, other, 'figures'),
  });
  const history = createHistory({
    sample: () => counters.sample(),
    removals: () => stores.removals?.status(),
    localCache: () => stores.cache?.status(),
  });
  setInterval(() => {
    history.take();
  }, SAMPLE_SECONDS * 1000).unref();
  const histories = createLaneAnswers({
    lane,
    lanes,
    own: () => history.samples(),
    ask: (other) => askLane<readonly Sample[]>(binding, other, 'history'),
  });
  const status = createStatus({
    version: binding.pluginVersion,
    provider,
    naming,
    hybrid,
    envelope,
    lanes,
    figures,
    removals: () => stores.removals?.status(),
    localCache: () => stores.cache?.status(),
  });
  const api = createOrthancApi((path) => binding.getFromOrthanc(path));
  const { attachments, named, jobs } = composeAttachments(provider, settings, stores, api);
  const runtime: RuntimeSettings = {
    storage: true,
    // A1 objects can only be verified whole. Without range reads, Orthanc stores DICOM headers as separate attachments.
    rangeReads: envelope?.format !== 'A1',
    lanes,
    callTimeoutMs: settings.requestTimeoutMs + CALL_GRACE_MS,
    removeTimeoutMs: removalTimeoutMs(settings.requestTimeoutMs) + REMOVE_GRACE_MS,
    metricsTimeoutMs: METRICS_TIMEOUT_MS,
    stopTimeoutMs: (settings.localCache?.stopTimeoutMs ?? 0) + STOP_GRACE_MS,
    watchdogMs: WATCHDOG_MS,
  };
  const server = new RequestServer(binding, {
    storage: createRequestHandler({ attachments, log, counters, provider: provider.kind }),
    rest: createRestHandler({
      api,
      log,
      status,
      history: async () => answerHistory(await histories()),
      page: createPage(),
      stores: named,
      isHybrid: hybrid !== undefined,
      submitJob: (type, priority, state) =>
        binding.submitJob(type, priority, state.content, state.serialized),
      waitMs: settings.requestTimeoutMs,
    }),
    jobs,
    metrics: async () => formatMetrics(await status()),
    figures: () => JSON.stringify(counters.snapshot()),
    history: () => JSON.stringify(history.samples()),
    stop: async () => {
      await jobs.close();
      await closeStores(stores);
    },
  });
  server.start(runtime);
  stores.removals?.start();
  stores.cache?.start();
  if (binding.lane > 0) return;
  const also = hybrid === undefined ? '' : `, also in ${hybrid.fileSystem.folder}`;
  const first = hybrid === undefined ? '' : `; new ones go to the ${hybrid.writeTo}`;
  const sealed =
    envelope?.format === undefined ? ', not encrypted' : `, encrypted as ${envelope.format}`;
  const over = lanes === 1 ? '' : `, by ${lanes} event loops`;
  // A warning, because Orthanc hides information by default and users must see where patient data goes.
  log[binding.restarted ? 'info' : 'warning'](
    `Attachments are stored in ${provider.kind} "${provider.bucket}"${sealed}${also}${first}${over}`,
  );
  if (settings.localCache?.writeBack !== true) return;
  log[binding.restarted ? 'info' : 'warning'](
    `LocalCache: new files are first stored on this machine's disk (${settings.localCache.directory}), and pending until they are uploaded; other Orthancs on this bucket do not see them before`,
  );
}

/** @returns undefined if that loop does not answer */
async function askLane<T>(
  binding: Binding,
  lane: number,
  name: 'figures' | 'history',
): Promise<T | undefined> {
  const { status, body } = await binding.askLane(lane, name);
  return status === 200 ? (JSON.parse(Buffer.from(body).toString()) as T) : undefined;
}

function composeAttachments(
  provider: NonNullable<PluginSettings['provider']>,
  { naming, hybrid }: PluginSettings,
  stores: EncryptedStores,
  api: OrthancApi,
): {
  readonly attachments: AttachmentStore;
  readonly named: readonly NamedStore[];
  readonly jobs: JobRunner;
} {
  const objects = createAttachmentStore({
    store: stores.objects,
    naming,
    envelope: stores.envelope,
  });
  const { isPending } = stores;
  const namedObjects = { name: provider.kind, attachments: objects, isPending };
  if (hybrid === undefined || stores.files === undefined) {
    return {
      attachments: objects,
      named: [namedObjects],
      jobs: createRefusingRunner('HybridMode is Disabled: there is one store only'),
    };
  }
  const places = { files: stores.files, objects: stores.objects };
  const files = createFileAttachments(stores.files, stores.envelope);
  const namedFiles = { name: 'file-system', attachments: files };
  const moves = new Moves();
  const named =
    hybrid.writeTo === 'file-system'
      ? ([namedFiles, namedObjects] as const)
      : ([namedObjects, namedFiles] as const);
  const [first, second] = named;
  return {
    attachments: createHybridStore(nameFailures(first), nameFailures(second), moves),
    named,
    jobs: createMoveRunner({
      api,
      stores: { 'file-system': files, 'object-storage': objects },
      moves,
      requireTwoPlaces: mayBeOnePlace(naming)
        ? (options) => requireTwoPlaces(places, naming, options)
        : undefined,
    }),
  };
}

/** An uncaught error ends the runtime, not Orthanc: requests fail with the reason, and the shim starts a new runtime. */
function installLastResorts(binding: Binding, log: Logger): void {
  process.on('uncaughtException', (error) => {
    log.error(`Uncaught error in the plugin's TypeScript: ${describeError(error)}`);
    binding.ending(safeLine(`uncaught error: ${describeError(error)}`));
    process.exit(1);
  });
  // Node's own listener writes to Orthanc's standard error.
  process.removeAllListeners('warning');
  process.on('warning', (warning) => {
    log.info(`Node warns: ${warning.name}: ${warning.message}`);
  });
}
