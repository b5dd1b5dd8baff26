// SPDX-License-Identifier: GPL-3.0-or-later
// The programs behind the services: pinned, built or installed once into the user's cache.

import { copyFile, mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { ensureCached, hashOf } from './cache.mjs';
import { ensureChroot, spawnInChroot } from './chroot-box.mjs';
import { canInstallPackages, hasDocker } from './host.mjs';
import { runStep, say, UserError } from './log.mjs';
import { inProject } from './paths.mjs';
import { capture, collectOutput, createCommandError, run } from './run.mjs';

/**
 * @typedef {'versitygw' | 'fake-gcs-server' | 'azurite'} ServerName
 * @typedef {{ module: string, version: string, image: string, entrypoint: string }} GoServer
 */

/** @type {Readonly<Record<'versitygw' | 'fake-gcs-server', GoServer>>} */
const goServers = {
  versitygw: {
    module: 'github.com/versity/versitygw/cmd/versitygw',
    version: 'v1.8.0',
    image: 'versity/versitygw:v1.8.0',
    entrypoint: '/usr/local/bin/versitygw',
  },
  'fake-gcs-server': {
    module: 'github.com/fsouza/fake-gcs-server',
    version: 'v1.56.1',
    image: 'fsouza/fake-gcs-server:1.56.1',
    entrypoint: '/bin/fake-gcs-server',
  },
};

/** What fake-gcs-server's go.mod asks for. */
const goMinor = 26;
/** Where neither a Go of the host nor Docker is at hand, root on Debian has this one. */
const goBox = {
  name: 'go',
  label: 'the Go toolchain of Debian testing',
  suite: 'forky',
  packages: ['ca-certificates', 'golang-go'],
  aptOptions: ['Acquire::Check-Valid-Until "false"'],
};

/**
 * Returns how to start a server, getting it first if it is not in the cache.
 * @param {ServerName} name
 * @returns {Promise<(args: readonly string[], env: Record<string, string>, folder: string) =>
 *   { argv: string[], env: Record<string, string>, deathSignal: 'KILL' | 'TERM' }>}
 */
export async function createServerCommand(name) {
  if (name === 'azurite') {
    const script = join(await ensureAzurite(), 'node_modules/azurite/dist/src/blob/main.js');
    return (args, env) => ({ argv: [process.execPath, script, ...args], env, deathSignal: 'KILL' });
  }
  const server = goServers[name];
  if ((await findGo()) === 'docker') {
    await ensureImage(server.image);
    // The client passes SIGTERM on to the container, which would outlive its SIGKILL.
    return (args, env, folder) => ({
      argv: createDockerArgv(server, args, env, folder),
      env,
      deathSignal: 'TERM',
    });
  }
  const binary = join(await ensureGoServer(name), name);
  return (args, env) => ({ argv: [binary, ...args], env, deathSignal: 'KILL' });
}

/**
 * Says whether the servers written in Go (S3 and Google) can be had without installing anything.
 * @returns {Promise<string | undefined>} what is missing, or undefined if they can
 */
export async function explainMissingGo() {
  const way = await findGo();
  if (way === 'host' || way === 'docker') return undefined;
  return `neither Go 1.${goMinor} nor a Docker engine is at hand`;
}

/** @type {Promise<'host' | 'docker' | 'chroot' | undefined> | undefined} */ let goAnswer;

/** Which Go builds the servers; 'docker' takes their images instead. */
function findGo() {
  goAnswer ??= (async () => {
    if (await hasHostGo()) return 'host';
    if (await hasDocker()) return 'docker';
    if (await canInstallPackages()) return 'chroot';
    return undefined;
  })();
  return goAnswer;
}

async function hasHostGo() {
  const { code, stdout } = await capture(['go', 'env', 'GOVERSION', 'GOTOOLCHAIN']).catch(() => ({
    code: 1,
    stdout: '',
  }));
  const [, minor, toolchain] = /^go1\.(\d+)\S*\s+(\S*)/.exec(stdout) ?? [];
  if (code !== 0 || minor === undefined) return false;
  // From 1.21 on, Go fetches the toolchain that a module asks for, unless told not to.
  return Number(minor) >= goMinor || (Number(minor) >= 21 && toolchain !== 'local');
}

/** @param {'versitygw' | 'fake-gcs-server'} name @returns {Promise<string>} the folder of the binary */
async function ensureGoServer(name) {
  const { module, version } = goServers[name];
  const target = `${module}@${version}`;
  const key = hashOf(target, process.platform, process.arch);
  return await ensureCached(`servers/${name}-${version}-${key}`, async (folder) => {
    const way = await findGo();
    if (way === undefined) {
      throw new UserError(
        `${name} needs Go 1.${goMinor} or later (https://go.dev/doc/install), a Docker engine, or root on Debian.`,
      );
    }
    await runStep(`Building ${name} ${version} (go install; about a minute)`, async () => {
      const argv = ['go', 'install', '-trimpath', '-ldflags', '-s -w', target];
      if (way === 'chroot') await installInChroot(argv, folder);
      else await run(argv, { env: { ...process.env, GOBIN: folder, CGO_ENABLED: '0' } });
    });
  });
}

/** @param {readonly string[]} argv @param {string} folder */
async function installInChroot(argv, folder) {
  const box = await ensureChroot(goBox);
  const scratch = join(folder, 'scratch');
  await mkdir(scratch);
  /** @type {Record<string, string>} */ const env = {
    PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: scratch,
    GOBIN: folder,
    CGO_ENABLED: '0',
    GOFLAGS: '-modcacherw',
  };
  const inherited = /^(GO(PROXY|SUMDB|NOSUMDB|NOPROXY|PRIVATE)|https?_proxy|no_proxy)$/i;
  for (const [name, value] of Object.entries(process.env)) {
    if (inherited.test(name) && value !== undefined) env[name] = value;
  }
  const options = { cwd: folder, env, binds: [folder], stdio: 'pipe', endWithParent: true };
  const result = await collectOutput(spawnInChroot(box, argv, options));
  if (result.code !== 0) throw createCommandError(argv, result);
  await rm(scratch, { recursive: true });
}

/** @returns {Promise<string>} a folder with azurite in its node_modules */
async function ensureAzurite() {
  const recipe = inProject('scripts', 'azurite');
  const lock = await readFile(join(recipe, 'package-lock.json'), 'utf8');
  return await ensureCached(`servers/azurite-${hashOf(lock)}`, async (folder) => {
    await runStep('Installing azurite (npm ci)', async () => {
      for (const file of ['package.json', 'package-lock.json']) {
        await copyFile(join(recipe, file), join(folder, file));
      }
      // The explicit prefix: npm tells its scripts, thus us, another one by the environment.
      await run(['npm', 'ci', '--prefix', folder, '--no-audit', '--no-fund', '--ignore-scripts']);
    });
  });
}

/** @param {string} image */
async function ensureImage(image) {
  const { code } = await capture(['docker', 'image', 'inspect', image]);
  if (code === 0) return;
  say(`  no Go 1.${goMinor} here, so the server comes as an image`);
  await runStep(`Pulling ${image}`, () => run(['docker', 'pull', image]));
}

/**
 * @param {GoServer} server
 * @param {readonly string[]} args
 * @param {Record<string, string>} env passed by name, so that no secret is in the process list
 * @param {string} folder
 */
function createDockerArgv({ image, entrypoint }, args, env, folder) {
  const user = process.getuid ? ['--user', `${process.getuid()}:${process.getgid()}`] : [];
  // biome-ignore format: an option and its value stay together
  return [
    'docker', 'run', '--rm', '--init', '--network', 'host', ...user,
    '--volume', `${folder}:${folder}`, ...Object.keys(env).flatMap((name) => ['--env', name]),
    '--entrypoint', entrypoint, image, ...args,
  ];
}
