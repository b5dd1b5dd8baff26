// SPDX-License-Identifier: GPL-3.0-or-later
// What an end-to-end test file needs: a store, a proxy in front of it that counts, and Orthancs that keep their files in it.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe } from 'vitest';

import { type Box, ensureBox } from '../../scripts/lib/box.mjs';
import { findBuildFolder, pluginFile } from '../../scripts/lib/build.mjs';
import { inProject } from '../../scripts/lib/paths.mjs';
import { parseBoxName } from '../../scripts/lib/suites.mjs';
import { type Configuration, type Orthanc, type OrthancOptions, startOrthanc } from './orthanc.ts';
import { type StoreProxy, startStoreProxy } from './store-proxy.ts';
import {
  type Objects,
  PROVIDERS,
  type Provider,
  type StoreServer,
  startStoreServer,
} from './store-server.ts';

export { BUCKET, PROVIDERS, type Provider, SECRET_KEY } from './store-server.ts';

/** The box of this run; scripts/test.mjs runs all tests once for each. */
export const boxName = parseBoxName(process.env['OOS_BOX'] ?? 'trixie');
/** The plugin, built beforehand in that box. */
export const plugin = resolve(
  process.env['OOS_PLUGIN'] ?? join(findBuildFolder(boxName), pluginFile),
);
/** The bundle that the plugin embeds, for tests that wrap it. */
export const bundle = inProject('build', 'bundle', 'plugin.cjs');

/** Runs instead of the embedded one: to see the tests fail, the plugin is broken here, without building it. */
const otherBundle = process.env['OOS_BUNDLE'];

export interface World {
  readonly provider: Provider;
  readonly box: Box;
  /** Temporary; the boxes see it. */
  readonly folder: string;
  readonly proxy: StoreProxy;
  /** Of the server itself, for who measures and wants no proxy in between. */
  readonly serverPort: number;
  /** Such as "AwsS3Storage". */
  readonly sectionName: string;
  /** The settings that lead to the bucket, by way of the proxy. */
  readonly section: Configuration;
  /** `section` with changes, as a part of Orthanc's configuration. */
  readonly configure: (changes: Configuration) => Configuration;
  /** With the plugin and `section`; `options.configuration` is laid over that. */
  options(name: string, options?: Partial<OrthancOptions>): OrthancOptions;
  /** Starts one that `close` ends if the test has not. */
  start(name: string, options?: Partial<OrthancOptions>): Promise<Orthanc>;
  /** Without the plugin: what Orthanc itself does. */
  startPlain(
    name: string,
    configuration?: Configuration,
    others?: Pick<OrthancOptions, 'pollMs'>,
  ): Promise<Orthanc>;
  /** The method of a request that stores a small content. */
  readonly createMethod: StoreServer['createMethod'];
  /** The keys of all objects in the bucket, sorted.
   *  @param rootPath only those in this folder, for tests that run side by side */
  objects(rootPath?: string): Promise<readonly string[]>;
  /** The bucket, past the proxy and the plugin. */
  readonly store: Objects;
  /** What nobody may see; `close` searches the logs of all Orthancs for it. */
  readonly secrets: readonly string[];
  close(): Promise<void>;
}

export async function createWorld(options: { readonly provider?: Provider } = {}): Promise<World> {
  const { provider = 's3' } = options;
  const box = await ensureBox(boxName);
  const folder = await mkdtemp(join(tmpdir(), 'oos-e2e-'));
  const server = await startStoreServer(provider, join(folder, 'store'));
  const { sectionName, createMethod, objects: store, secrets } = server;
  const proxy = await startStoreProxy(server.port, server.keyOf);
  const section = server.section(proxy.endpoint);
  const configure: World['configure'] = (changes) => ({
    [sectionName]: { ...section, ...changes },
  });
  const started: Orthanc[] = [];
  const withPlugin: World['options'] = (name, { configuration, environment, ...others } = {}) => ({
    box,
    folder: join(folder, name),
    configuration: { Plugins: [plugin], ...configure({}), ...configuration },
    environment: {
      ...(otherBundle === undefined ? {} : { ORTHANC_OBJECT_STORAGE_BUNDLE: otherBundle }),
      ...environment,
    },
    ...others,
  });
  const remember = async (starting: Promise<Orthanc>) => {
    const orthanc = await starting;
    started.push(orthanc);
    return orthanc;
  };
  return {
    provider,
    box,
    folder,
    proxy,
    serverPort: server.port,
    sectionName,
    section,
    configure,
    options: withPlugin,
    start: (name, others) => remember(startOrthanc(withPlugin(name, others))),
    startPlain: (name, configuration = {}, others = {}) =>
      remember(startOrthanc({ box, folder: join(folder, name), configuration, ...others })),
    createMethod,
    objects: async (rootPath) => {
      const keys = await store.list(rootPath === undefined ? '' : `${rootPath}/`);
      return keys.toSorted();
    },
    store,
    secrets,
    close: async () => {
      await Promise.all(started.map((orthanc) => orthanc.kill()));
      await proxy.close();
      await server.stop();
      const logs = started.map((orthanc) => orthanc.log());
      await rm(folder, { recursive: true, force: true });
      // At whatever level, in whosever line.
      if (logs.some((log) => secrets.some((secret) => log.includes(secret)))) {
        throw new Error("the store's secret is in Orthanc's log");
      }
    },
  };
}

/** Worlds of all providers side by side, since their Orthancs and stores mostly wait; the tests of each one after another. */
export function describeProviders(name: string, define: (provider: Provider) => void): void {
  describe.concurrent.each(PROVIDERS)('%s', (provider) => {
    describe.sequential(name, () => {
      define(provider);
    });
  });
}

/** One world of each provider, for files that need them side by side. */
export interface Worlds {
  of(provider: Provider): World;
  close(): Promise<void>;
}

export async function createWorlds(): Promise<Worlds> {
  const [s3, azure, google] = await Promise.all([
    createWorld({ provider: 's3' }),
    createWorld({ provider: 'azure' }),
    createWorld({ provider: 'google' }),
  ]);
  const worlds: Readonly<Record<Provider, World>> = { s3, azure, google };
  return {
    of: (provider) => worlds[provider],
    close: async () => {
      await Promise.all([s3.close(), azure.close(), google.close()]);
    },
  };
}
