// SPDX-License-Identifier: GPL-3.0-or-later
// npm start [s3|azure|google]: an object store and an Orthanc that keeps its files in it.

import { mkdir, writeFile } from 'node:fs/promises';

import { ensureBox } from './lib/box.mjs';
import { buildPlugin } from './lib/build.mjs';
import { tryLock } from './lib/cache.mjs';
import { checkNodeVersion } from './lib/host.mjs';
import { runMain, runStep, say, UserError } from './lib/log.mjs';
import { parseOptions } from './lib/options.mjs';
import { readConfiguration, spawnOrthanc, waitForOrthanc } from './lib/orthanc.mjs';
import { inProject } from './lib/paths.mjs';
import { freePort } from './lib/ports.mjs';
import { stopProcess } from './lib/run.mjs';
import { createServerCommand, explainMissingGo } from './lib/servers.mjs';
import { defaultBox, parseBoxName } from './lib/suites.mjs';
import { startAzure, startGoogle, startS3 } from './services.mjs';

/** Made in the store at the first start. */
const bucketName = 'orthanc';

/**
 * @typedef {import('./services.mjs').Service} Service
 * @typedef {object} Provider
 * @property {string} title
 * @property {import('./lib/servers.mjs').ServerName} server
 * @property {(folder: string) => Promise<StartedStore>} start
 *
 * @typedef {object} StartedStore
 * @property {Service} service
 * @property {Record<string, Record<string, unknown>>} configuration section → keys, laid over orthanc.json
 * @property {readonly string[]} about what a user needs to look into the store himself
 */

/** @type {Readonly<Record<string, Provider>>} */
const providers = {
  s3: {
    title: 'S3',
    server: 'versitygw',
    start: async (folder) => {
      const service = await startS3({ folder });
      await service.createBucket(bucketName);
      const { endpoint, accessKey, secretKey, region } = service;
      const keys = { BucketName: bucketName, Region: region, Endpoint: endpoint };
      return {
        service,
        configuration: { AwsS3Storage: { ...keys, AccessKey: accessKey, SecretKey: secretKey } },
        about: [
          `${endpoint}, bucket "${bucketName}", region ${region}`,
          `access key ${accessKey}, secret key ${secretKey}`,
          `its objects are the files in ${folder}/data/${bucketName}`,
        ],
      };
    },
  },
  azure: {
    title: 'Azure Blob Storage',
    server: 'azurite',
    start: async (folder) => {
      const service = await startAzure({ folder });
      const { connectionString, accountName, accountKey } = service;
      return {
        service,
        configuration: {
          AzureBlobStorage: { ConnectionString: connectionString, ContainerName: bucketName },
        },
        about: [
          `${service.endpoint}/${accountName}, container "${bucketName}"`,
          `account ${accountName}, key ${accountKey}`,
        ],
      };
    },
  },
  google: {
    title: 'Google Cloud Storage',
    server: 'fake-gcs-server',
    start: async (folder) => {
      const service = await startGoogle({ folder });
      await service.createBucket(bucketName);
      return {
        service,
        configuration: {
          GoogleCloudStorage: { BucketName: bucketName, Endpoint: service.endpoint },
        },
        about: [
          `${service.endpoint}, bucket "${bucketName}"; it checks no credentials`,
          `its objects are the files in ${folder}/data/${bucketName}`,
        ],
      };
    },
  },
};

/**
 * @param {string | undefined} name from the command line
 * @returns {Promise<string>}
 */
async function chooseProvider(name) {
  if (name !== undefined) {
    const provider = providers[name];
    const names = Object.keys(providers).join(', ');
    if (provider === undefined)
      throw new UserError(`There is no provider "${name}"; there are ${names}.`);
    return name;
  }
  const missing = await explainMissingGo();
  if (missing !== undefined) {
    say(
      `No provider named: azure, since ${missing}, which S3 would need. "npm start s3" asks for S3.`,
    );
    return 'azure';
  }
  say('No provider named: s3. "npm start azure" and "npm start google" choose another.');
  return 's3';
}

/** Lets the started processes end in the order opposite to their start, whatever happens. */
function createStopper() {
  /** @type {(() => Promise<void>)[]} */ const actions = [];
  return {
    add: (/** @type {() => Promise<void>} */ action) => void actions.unshift(action),
    stop: async () => {
      for (const action of actions.splice(0)) await action();
    },
  };
}

runMain(async () => {
  checkNodeVersion();
  const { values, positionals } = parseOptions({ box: { type: 'string', default: defaultBox } });
  if (positionals.length > 1) throw new UserError('Usage: npm start [s3|azure|google]');
  const boxName = parseBoxName(values.box);
  const name = await chooseProvider(positionals[0]);
  const provider = providers[name];

  const [plugin, box] = await Promise.all([
    buildPlugin({ box: boxName }),
    ensureBox(boxName),
    createServerCommand(provider.server),
  ]);

  const folder = inProject('build', 'run', name);
  await mkdir(folder, { recursive: true });
  const unlock = await tryLock(`${folder}.lock`);
  if (unlock === undefined) throw new UserError(`"npm start ${name}" runs already in this folder.`);
  const stopper = createStopper();
  stopper.add(unlock);

  const interrupted = new Promise((resolve) => {
    process.on('SIGTERM', resolve).on('SIGHUP', resolve);
    process.on('SIGINT', resolve);
  });
  try {
    return await serve(provider, { folder, plugin, box, stopper, interrupted });
  } finally {
    await stopper.stop();
  }
});

/**
 * @param {Provider} provider
 * @param {{ folder: string, plugin: string, box: import('./lib/box.mjs').Box,
 *   stopper: ReturnType<typeof createStopper>, interrupted: Promise<unknown> }} context
 * @returns {Promise<number>} the exit code
 */
async function serve(provider, { folder, plugin, box, stopper, interrupted }) {
  const store = await runStep(`Starting the store (${provider.title})`, () =>
    provider.start(`${folder}/store`),
  );
  stopper.add(store.service.stop);

  const httpPort = await freePort(8042);
  const dicomPort = await freePort(4242);
  const configurationFile = `${folder}/orthanc.json`;
  const configuration = await createConfiguration(store.configuration, {
    StorageDirectory: `${folder}/orthanc`,
    IndexDirectory: `${folder}/orthanc`,
    HttpPort: httpPort,
    DicomPort: dicomPort,
    Plugins: [plugin],
    RemoteAccessAllowed: false,
    AuthenticationEnabled: false,
  });
  await writeFile(configurationFile, `${JSON.stringify(configuration, undefined, 2)}\n`);

  const url = `http://127.0.0.1:${httpPort}`;
  const logFile = `${folder}/orthanc.log`;
  const orthanc = await runStep('Starting Orthanc', async () => {
    const child = await spawnOrthanc(box, configurationFile, logFile);
    stopper.add(() => stopProcess(child));
    const ready = waitForOrthanc(child, url, logFile);
    ready.catch(() => {}); // it may fail because of the interruption
    const outcome = await Promise.race([ready, interrupted.then(() => 'interrupted')]);
    return outcome === 'interrupted' ? undefined : child;
  });
  if (orthanc === undefined) return 0;
  const ended = new Promise((resolve) => orthanc.once('exit', () => resolve('ended')));

  say(`
Orthanc keeps its files in ${provider.title}. Open:

  Orthanc Explorer   ${url}/app/explorer.html
  The plugin's page  ${url}/object-storage/app/
  Plugin's status    ${url}/object-storage/status
  Upload a file      curl --data-binary @image.dcm ${url}/instances
  DICOM              AET ${configuration.DicomAet ?? 'ORTHANC'}, host 127.0.0.1, port ${dicomPort}
  The store          ${store.about.join('\n                     ')}
  Orthanc's log      ${logFile}
  The store's log    ${store.service.logFile}

What you upload is kept in ${folder} for the next start.
Ctrl-C ends Orthanc and the store.`);

  if ((await Promise.race([ended, interrupted])) === 'ended') {
    say(`Orthanc has ended by itself; see ${logFile}`);
    return 1;
  }
  say('\nEnding Orthanc and the store …');
  return 0;
}

/**
 * The sample configuration of the project, with what this run needs laid over it.
 * @param {Record<string, Record<string, unknown>>} sections
 * @param {Record<string, unknown>} keys
 */
async function createConfiguration(sections, keys) {
  const sample = await readConfiguration(inProject('orthanc.json'));
  for (const name of ['AwsS3Storage', 'AzureBlobStorage', 'GoogleCloudStorage']) {
    if (!(name in sections)) delete sample[name];
  }
  for (const [name, section] of Object.entries(sections)) {
    sample[name] = { ...sample[name], ...section };
  }
  return { ...sample, ...keys };
}
