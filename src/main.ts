// SPDX-License-Identifier: GPL-3.0-or-later
// The entry of the bundle that the shim embeds: configuration in, store built, requests answered.

import { createAttachmentStore } from './attachments.ts';
import {
  type Binding,
  type RestRequest,
  type RestResponse,
  type RuntimeSettings,
  serveRequests,
  writeLog,
} from './bridge.ts';
import { loadConfiguration } from './config/load.ts';
import { type Secret, secretsIn } from './config/secret.ts';
import type { PluginSettings } from './config/settings.ts';
import { createCounters } from './counters.ts';
import { toStorageError } from './errors.ts';
import { createLogger, describeError, type Logger } from './log.ts';
import { createStore } from './providers/index.ts';
import { createRequestHandler } from './requests.ts';
import { checkStore } from './start-check.ts';
import { createStatus } from './status.ts';
import type { ObjectStore } from './store/object-store.ts';
import { compareVersions } from './version.ts';

// What the shim allows on top of RequestTimeout, which TypeScript itself keeps: for the way to Orthanc and back.
const CALL_GRACE_MS = 5_000;
// Nothing here computes for seconds; a loop that has not turned for that long never will.
const WATCHDOG_MS = 30_000;
// The first Orthanc that verifies the MD5 of what it reads.
const FIRST_VERIFYING_ORTHANC = '1.13.0';

/** Called by the shim once the bundle is loaded. Returns at once; the rest is up to the event loop. */
export function main(binding: Binding): void {
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
    binding.refuse(`The object storage plugin does not start:\n${message}`);
    binding.ending('it was refused');
    binding.release();
  });
}

async function start(
  binding: Binding,
  log: Logger,
  hide: (secrets: readonly Secret[]) => void,
): Promise<void> {
  const settings = loadConfiguration(binding.configuration(), {
    orthancVersion: binding.orthancVersion,
    environmentVariables: process.env,
  });
  hide(secretsIn(settings));
  for (const warning of settings.warnings) log.warning(warning);
  for (const note of settings.notes) log.info(note);
  if (settings.provider === undefined) {
    log.warning(
      'No section AwsS3Storage, AzureBlobStorage or GoogleCloudStorage in the configuration: Orthanc keeps its own storage',
    );
    binding.ready({ storage: false, rangeReads: false, callTimeoutMs: 0, watchdogMs: 0 });
    return;
  }
  const store = await createStore(settings.provider, {
    log,
    probePrefix: settings.naming.rootPath,
    verifyEtag: compareVersions(binding.orthancVersion, FIRST_VERIFYING_ORTHANC) < 0,
  });
  // Orthanc is up already where this runtime replaces another one: requests will tell whether the store is there.
  if (!binding.restarted) {
    try {
      await checkStore(store);
    } catch (error) {
      await store.close();
      throw error;
    }
  }
  serve(binding, settings.provider, settings, store, log);
}

function serve(
  binding: Binding,
  provider: NonNullable<PluginSettings['provider']>,
  settings: PluginSettings,
  store: ObjectStore,
  log: Logger,
): void {
  const counters = createCounters();
  const status = createStatus({ version: binding.pluginVersion, provider, counters });
  const runtime: RuntimeSettings = {
    storage: true,
    rangeReads: true,
    callTimeoutMs: settings.requestTimeoutMs + CALL_GRACE_MS,
    watchdogMs: WATCHDOG_MS,
  };
  serveRequests(
    binding,
    {
      storage: createRequestHandler({
        attachments: createAttachmentStore({ store, naming: settings.naming }),
        log,
        counters,
        provider: provider.kind,
        now: () => performance.now(),
      }),
      rest: async (request) => route(request, { '/object-storage/status': status }),
      stop: () => store.close(),
    },
    runtime,
  );
  log.info(`Attachments are stored in ${status().provider} "${status().bucket}"`);
}

function route(
  request: RestRequest,
  getters: Readonly<Record<string, () => unknown>>,
): RestResponse {
  const [path = ''] = request.path.split('?');
  const getter = getters[path];
  if (getter === undefined) return answerJson(404, { error: `no such path: ${path}` });
  if (request.method !== 'GET') return answerJson(405, { error: `${path} answers GET only` });
  return answerJson(200, getter());
}

function answerJson(status: number, value: unknown): RestResponse {
  return {
    status,
    contentType: 'application/json',
    body: Buffer.from(`${JSON.stringify(value, undefined, 2)}\n`),
  };
}

/** A defect of ours ends the runtime, not Orthanc: those who wait hear the reason, and the shim starts a new one. */
function installLastResorts(binding: Binding, log: Logger): void {
  process.on('uncaughtException', (error) => {
    log.error(`Uncaught error in the plugin's TypeScript: ${describeError(error)}`);
    binding.ending(`uncaught error: ${describeError(error)}`);
    process.exit(1);
  });
  process.on('warning', (warning) => {
    log.info(`Node warns: ${warning.name}: ${warning.message}`);
  });
}
