// SPDX-License-Identifier: GPL-3.0-or-later
// From sources to the plugin: the bundle on the host, the shim around it in the box.

import { copyFile, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { ensureBox, runInBoxOrFail } from './box.mjs';
import { hashOf, withLock } from './cache.mjs';
import { ensureDependencies } from './dependencies.mjs';
import { runStep } from './log.mjs';
import { inCache, inProject, projectRoot } from './paths.mjs';
import { run } from './run.mjs';

/** The file that users install. */
export const pluginFile = 'libOrthancObjectStorage.so';
/** Its AES as a module that any Node of the box loads, which is built with the tests. */
export const nativeModule = 'helpers.node';
/** The plugin's target in CMakeLists.txt. */
const pluginTarget = 'plugin';

/** What scripts/bundle.mjs leaves in dist: the command line tool and what has to lie beside it. */
const bundledFiles = ['cli.js', 'cli.js.map', 'package.json', 'THIRD-PARTY-NOTICES.txt'];

/** @typedef {import('./box.mjs').BoxName} BoxName */

/**
 * Builds the plugin and the command line tool, installing all that this needs.
 * @param {object} [options]
 * @param {BoxName} [options.box]
 * @param {string} [options.image] with Docker, what the box is made on
 * @param {string} [options.out] folder for both files; dist in the project if absent
 * @param {boolean} [options.debug] the shim without optimisation
 * @returns {Promise<string>} the path of the plugin
 */
export async function buildPlugin({
  box = 'trixie',
  image,
  out = inProject('dist'),
  debug = false,
} = {}) {
  await Promise.all([ensureDependencies(), ensureBox(box, { image })]);
  await buildBundle();
  const folder = await buildNative({ box, image, variant: debug ? 'debug' : 'release' });
  const plugin = join(out, pluginFile);
  await installFile(join(folder, pluginFile), plugin);
  for (const name of bundledFiles) await installFile(inProject('dist', name), join(out, name));
  return plugin;
}

/** @type {Promise<void> | undefined} */ let bundle;

/** Bundles src/ into build/bundle/plugin.cjs and dist/cli.js; once per process. */
export function buildBundle() {
  bundle ??= runStep('Bundling the TypeScript', async () => {
    await mkdir(inProject('build'), { recursive: true });
    await withLock(inProject('build', 'bundle.lock'), () =>
      run([process.execPath, inProject('scripts', 'bundle.mjs')], { cwd: inProject() }),
    );
  });
  return bundle;
}

/**
 * Ways to compile the native half. Each but "release" gets a folder of its own.
 * @typedef {'release' | 'debug' | 'asan' | 'tsan'} Variant
 * @typedef {object} Recipe
 * @property {string} config a CMake build type
 * @property {readonly string[]} options of CMakeLists.txt
 * @property {string} testTarget what its tests need
 * @type {Readonly<Record<Variant, Recipe>>}
 */
const variants = {
  release: { config: 'Release', options: [], testTarget: 'all' },
  debug: { config: 'Debug', options: [], testTarget: 'all' },
  asan: { config: 'RelWithDebInfo', options: ['SANITIZE=address,undefined'], testTarget: 'all' },
  // V8 and Orthanc are compiled without it, so only what knows neither can be watched.
  tsan: { config: 'RelWithDebInfo', options: ['SANITIZE=thread'], testTarget: 'core_test' },
};

/** Two clones in two folders share what was compiled: paths below the project are taken as relative. */
const compilerCache = {
  CCACHE_DIR: inCache('ccache'),
  CCACHE_BASEDIR: projectRoot,
  CCACHE_NOHASHDIR: '1',
  CCACHE_MAXSIZE: '1G',
  ...(process.env.CCACHE_DISABLE === undefined ? {} : { CCACHE_DISABLE: '1' }),
};

/**
 * Compiles the native half with cmake-js in a box. What is up to date is left to ninja.
 * @param {object} options
 * @param {BoxName} options.box
 * @param {string} [options.image] with Docker, what the box is made on
 * @param {Variant} [options.variant]
 * @param {boolean} [options.withTests]
 * @returns {Promise<string>} the folder that holds the library
 */
export async function buildNative({ box, image, variant = 'release', withTests = false }) {
  const { config, options, testTarget } = variants[variant];
  const buildFolder = findBuildFolder(box, variant);
  const entered = await ensureBox(box, { image });
  // biome-ignore format: an option and its value stay together
  const argv = [
    'node', inProject('node_modules', 'cmake-js', 'bin', 'cmake-js'), 'build',
    '--out', buildFolder, '--config', config, '--log-level', 'warn',
    ...['BUILD_TESTING=ON', 'CMAKE_CXX_COMPILER_LAUNCHER=ccache', ...options].map(
      (option) => `--CD${option}`,
    ),
    '--target', withTests ? testTarget : pluginTarget,
  ];
  await mkdir(dirname(buildFolder), { recursive: true });
  await mkdir(compilerCache.CCACHE_DIR, { recursive: true });
  await withLock(`${buildFolder}.lock`, async () => {
    await discardForeign(buildFolder, hashOf(entered, variants[variant], inProject()));
    await runStep(`Compiling the plugin in the box "${box}" (${variant})`, () =>
      // libnode-dev's headers are the ones to compile against; without this, others are downloaded.
      runInBoxOrFail(entered, argv, {
        env: { npm_config_nodedir: '/usr', ...compilerCache },
        binds: [compilerCache.CCACHE_DIR],
      }),
    );
  });
  return buildFolder;
}

/**
 * Asks the box and the plugin themselves: whoever installs it must know.
 * @param {string} plugin
 * @param {import('./box.mjs').Box} box
 * @returns {Promise<{ system: string, libnode: string, node: string }>} such as "Debian 13", "libnode115" and "20"
 */
export async function readTarget(plugin, box) {
  const script = '. /etc/os-release; echo "$NAME|$VERSION_ID"; node --version; readelf -d "$1"';
  const output = await runInBoxOrFail(box, ['sh', '-c', script, 'sh', plugin], {
    binds: [dirname(plugin)],
  });
  const [, name = '', version = ''] = /^(\S+)[^|]*\|(.*)/.exec(output) ?? [];
  const [, node = ''] = /^v(\d+)/m.exec(output) ?? [];
  const [, soname = ''] = /NEEDED.*\[libnode\.so\.(\d+)\]/.exec(output) ?? [];
  return { system: `${name} ${version || 'testing'}`, libnode: `libnode${soname}`, node };
}

/** @param {BoxName} box @param {Variant} [variant] */
export const findBuildFolder = (box, variant = 'release') =>
  inProject('build', variant === 'release' ? box : `${box}-${variant}`);

/**
 * Removes a build folder that was made in another box or with other options: CMake keeps what it
 * has found.
 * @param {string} folder
 * @param {string} key
 */
async function discardForeign(folder, key) {
  const stamp = join(folder, '.made-in');
  const found = await readFile(stamp, 'utf8').catch(() => undefined);
  if (found === key) return;
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder);
  await writeFile(stamp, key);
}

/**
 * Replaces a file as a whole: an Orthanc that runs keeps the old one.
 * @param {string} source
 * @param {string} target
 */
async function installFile(source, target) {
  if (source === target) return;
  await mkdir(dirname(target), { recursive: true });
  const partial = `${target}.${process.pid}`;
  await copyFile(source, partial);
  await rename(partial, target);
}
