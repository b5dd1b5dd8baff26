// SPDX-License-Identifier: GPL-3.0-or-later
// What an end-to-end test file needs: a store, a proxy in front of it that counts, and Orthancs that keep their files in it.

import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

import { type Box, ensureBox } from '../../scripts/lib/box.mjs';
import { findBuildFolder, pluginFile } from '../../scripts/lib/build.mjs';
import { inProject } from '../../scripts/lib/paths.mjs';
import { parseBoxName } from '../../scripts/lib/suites.mjs';
import { startS3 } from '../../scripts/services.mjs';
import { type Configuration, type Orthanc, type OrthancOptions, startOrthanc } from './orthanc.ts';
import { type S3Proxy, startS3Proxy } from './s3-proxy.ts';

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

export const BUCKET = 'e2e-bucket';
/** Looks like one, so that a search of the log for it means something. */
export const SECRET_KEY = 'e2e+Secret/Key.that.nobody=may.see';

export interface World {
  readonly box: Box;
  /** Temporary; the boxes see it. */
  readonly folder: string;
  readonly proxy: S3Proxy;
  /** AwsS3Storage that leads to the bucket, by way of the proxy. */
  readonly section: Configuration;
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
  /** The keys of all objects in the bucket, sorted.
   *  @param rootPath only those in this folder, for tests that run side by side */
  objects(rootPath?: string): Promise<readonly string[]>;
  close(): Promise<void>;
}

export async function createWorld(): Promise<World> {
  const box = await ensureBox(boxName);
  const folder = await mkdtemp(join(tmpdir(), 'oos-e2e-'));
  const store = await startS3({ folder: join(folder, 'store'), secretKey: SECRET_KEY });
  await store.createBucket(BUCKET);
  const proxy = await startS3Proxy(store.port, BUCKET);
  const section = {
    BucketName: BUCKET,
    Region: store.region,
    AccessKey: store.accessKey,
    SecretKey: store.secretKey,
    Endpoint: proxy.endpoint,
    VirtualAddressing: false,
  };
  const started: Orthanc[] = [];
  const options: World['options'] = (name, { configuration, ...others } = {}) => ({
    box,
    folder: join(folder, name),
    configuration: { Plugins: [plugin], AwsS3Storage: section, ...configuration },
    ...(otherBundle === undefined
      ? {}
      : { environment: { ORTHANC_OBJECT_STORAGE_BUNDLE: otherBundle } }),
    ...others,
  });
  const remember = async (starting: Promise<Orthanc>) => {
    const orthanc = await starting;
    started.push(orthanc);
    return orthanc;
  };
  return {
    box,
    folder,
    proxy,
    section,
    options,
    start: (name, others) => remember(startOrthanc(options(name, others))),
    startPlain: (name, configuration = {}, others = {}) =>
      remember(startOrthanc({ box, folder: join(folder, name), configuration, ...others })),
    objects: async (rootPath) => {
      const data = join(store.folder, 'data', BUCKET);
      const keys = await listFiles(data, rootPath ?? '');
      return keys.filter((key) => !key.startsWith('.')).sort(); // those are versitygw's own
    },
    close: async () => {
      await Promise.all(started.map((orthanc) => orthanc.kill()));
      await proxy.close();
      await store.stop();
      const logs = started.map((orthanc) => orthanc.log());
      await rm(folder, { recursive: true, force: true });
      // At whatever level, in whosever line.
      if (logs.some((log) => log.includes(SECRET_KEY))) {
        throw new Error("the store's secret is in Orthanc's log");
      }
    },
  };
}

/** @returns the paths of all files below `folder`, relative to `root`; folders may vanish meanwhile */
async function listFiles(root: string, folder: string): Promise<readonly string[]> {
  const entries = await readdir(join(root, folder), { withFileTypes: true }).catch(
    (error: unknown) => {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
      throw error;
    },
  );
  const lists = await Promise.all(
    entries.map(async (entry) => {
      const path = join(folder, entry.name);
      return entry.isDirectory() ? await listFiles(root, path) : [path];
    }),
  );
  return lists.flat();
}
