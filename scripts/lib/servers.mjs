// SPDX-License-Identifier: GPL-3.0-or-later
// The programs behind the services: pinned, built or installed once into the user's cache.

import { copyFile, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { ensureCached, hashOf } from './cache.mjs';
import { ensureChroot, spawnInChroot } from './chroot-box.mjs';
import { canInstallPackages, hasDocker } from './host.mjs';
import { runStep, say, UserError } from './log.mjs';
import { inProject } from './paths.mjs';
import { capture, collectOutput, createCommandError, hasCommand, run } from './run.mjs';

/** @param {...string} parts path below the folder that says what each server is made from */
const inRecipes = (...parts) => inProject('scripts', 'servers', ...parts);

/**
 * @typedef {'versitygw' | 'fake-gcs-server' | 'rclone'} GoServerName
 * @typedef {'seaweedfs' | 'moto' | 'gcp-storage-emulator'} PythonServerName
 * @typedef {GoServerName | PythonServerName | 'azurite' | 's3proxy'} ServerName
 * @typedef {{ module: string, version: string, image: string, entrypoint: string, main?: string }} GoServer
 *   main: our own main.go, which takes a part of the module
 */

/** What nearly all tests need. @type {readonly ServerName[]} */
export const usualServers = ['versitygw', 'fake-gcs-server', 'azurite'];
/** What test/interop/servers.test.ts tries in addition, where they can be had. @type {readonly ServerName[]} */
export const otherServers = ['seaweedfs', 'rclone', 's3proxy', 'moto', 'gcp-storage-emulator'];

/** @type {Readonly<Record<GoServerName, GoServer>>} */
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
  rclone: {
    module: 'github.com/rclone/rclone',
    version: 'v1.76.0',
    image: 'rclone/rclone:1.76.0',
    entrypoint: '/usr/local/bin/rclone',
    main: inRecipes('rclone', 'main.go'),
  },
};

/**
 * How Python starts each; all are installed together.
 * @type {Readonly<Record<PythonServerName, (bin: string) => readonly string[]>>}
 */
const pythonServers = {
  seaweedfs: (bin) => [join(bin, 'weed')],
  // Not by their scripts, whose first lines name the folder that the cache renames.
  moto: (bin) => [join(bin, 'python'), '-m', 'moto.server'],
  'gcp-storage-emulator': (bin) => [join(bin, 'python'), '-m', 'gcp_storage_emulator'],
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
  if (isOf(goServers, name) && (await findGo()) === 'docker') {
    const server = goServers[name];
    await ensureImage(server.image);
    // The client passes SIGTERM on to the container, which would outlive its SIGKILL.
    return (args, env, folder) => ({
      argv: createDockerArgv(server, args, env, folder),
      env,
      deathSignal: 'TERM',
    });
  }
  const program = await ensureProgram(name);
  return (args, env) => ({ argv: [...program, ...args], env, deathSignal: 'KILL' });
}

/** @param {ServerName} name @returns {Promise<readonly string[]>} what its arguments follow */
async function ensureProgram(name) {
  if (isOf(goServers, name)) return [join(await ensureGoServer(name), name)];
  if (isOf(pythonServers, name)) return pythonServers[name](await ensurePythonServers());
  if (name === 's3proxy') {
    const folder = await ensureS3Proxy();
    const log = `-Dlogback.configurationFile=${inRecipes('s3proxy', 'logback.xml')}`;
    // The compiler that starts soonest: these servers live for seconds.
    const java = ['java', '-XX:TieredStopAtLevel=1', log, '-cp', join(folder, 'lib', '*')];
    return [...java, 'org.gaul.s3proxy.Main'];
  }
  const script = join(await ensureAzurite(), 'node_modules/azurite/dist/src/blob/main.js');
  return [process.execPath, script];
}

/**
 * @template {string} Name
 * @param {Readonly<Record<Name, unknown>>} servers
 * @param {string} name
 * @returns {name is Name}
 */
const isOf = (servers, name) => Object.hasOwn(servers, name);

/**
 * Gets one of `otherServers` if it is not in the cache.
 * @param {ServerName} name
 * @returns {Promise<string | undefined>} why it cannot be had, in a line; undefined if it can
 */
export async function explainMissingServer(name) {
  try {
    await createServerCommand(name);
    return undefined;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return error.message.replace(/\s+/g, ' ').slice(-300);
  }
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

/** @param {GoServerName} name @returns {Promise<string>} the folder of the binary */
const ensureGoServer = (name) => ensureGoBinary(name, goServers[name]);

/**
 * @param {string} name of the binary
 * @param {Pick<GoServer, 'module' | 'version' | 'main'>} recipe
 * @returns {Promise<string>} its folder
 */
async function ensureGoBinary(name, { module, version, main }) {
  const target = `${module}@${version}`;
  const source = main === undefined ? [] : [await readFile(main, 'utf8')];
  const key = hashOf(target, process.platform, process.arch, ...source);
  return await ensureCached(`servers/${name}-${version}-${key}`, async (folder) => {
    const way = await findGo();
    if (way === undefined) {
      throw new UserError(
        `${name} needs Go 1.${goMinor} or later (https://go.dev/doc/install), a Docker engine, or root on Debian.`,
      );
    }
    await runStep(`Building ${name} ${version} (about a minute)`, async () => {
      const flags = ['-trimpath', '-ldflags', '-s -w'];
      let argv = ['go', 'install', ...flags, target];
      if (main !== undefined) {
        // The versions of all else are those that the module itself asks for.
        const requirements = `module ${name}-for-tests\n\ngo 1.${goMinor}\n\nrequire ${module} ${version}\n`;
        await writeFile(join(folder, 'go.mod'), requirements);
        await copyFile(main, join(folder, 'main.go'));
        argv = ['go', 'build', ...flags, '-mod=mod', '-o', name, '.'];
      }
      const env = { ...process.env, GOBIN: folder, CGO_ENABLED: '0' };
      if (way === 'chroot') await installInChroot(argv, folder);
      else await run(argv, { cwd: folder, env });
    });
  });
}

/** The loader of the compose specification itself, as Docker has it. */
const composeLoader = {
  module: 'github.com/compose-spec/compose-go/v2',
  version: 'v2.16.2',
  main: inRecipes('compose-go', 'main.go'),
};

/**
 * Reads a compose file with all of its profiles.
 * @param {string} file
 * @returns {Promise<any>} the project, in JSON's terms
 * @throws UserError where it breaks the specification, or names what is not there
 */
export async function loadCompose(file) {
  const argv =
    (await findGo()) === 'docker'
      ? ['docker', 'compose', '--file', file, '--profile', '*', 'config', '--format', 'json']
      : [join(await ensureGoBinary('compose-go', composeLoader), 'compose-go'), file];
  return JSON.parse(await run(argv));
}

/**
 * Builds a program of this project, which needs no more than Go's standard library.
 * @param {string} name
 * @param {string} source folder of its go.mod
 * @returns {Promise<string>} the path of the binary
 */
export async function ensureGoProgram(name, source) {
  const names = (await readdir(source)).filter((file) => /\.go$|^go\.mod$/.test(file)).sort();
  const texts = await Promise.all(names.map((file) => readFile(join(source, file), 'utf8')));
  const key = hashOf(process.platform, process.arch, ...names, ...texts);
  const folder = await ensureCached(`servers/${name}-${key}`, async (made) => {
    const inChroot = !(await hasHostGo());
    if (inChroot && !(await canInstallPackages())) {
      throw new UserError(
        `${name} needs Go 1.${goMinor} or later (https://go.dev/doc/install), or root on Debian.`,
      );
    }
    await runStep(`Building ${name}`, async () => {
      for (const file of names) await copyFile(join(source, file), join(made, file));
      const argv = ['go', 'build', '-trimpath', '-o', name, '.'];
      if (inChroot) await installInChroot(argv, made);
      else await run(argv, { cwd: made, env: { ...process.env, CGO_ENABLED: '0' } });
    });
  });
  return join(folder, name);
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
  const recipe = inRecipes('azurite');
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

/** @type {Promise<string> | undefined} */ let pythonAnswer;

/** @returns {Promise<string>} the folder of their programs */
function ensurePythonServers() {
  pythonAnswer ??= installPythonServers();
  return pythonAnswer;
}

async function installPythonServers() {
  const requirements = inRecipes('python', 'requirements.txt');
  const key = hashOf(await readFile(requirements, 'utf8'), process.platform, process.arch);
  const folder = await ensureCached(`servers/python-${key}`, async (made) => {
    // Debian has venv in a package of its own, and without it no ensurepip.
    const isFit = 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))';
    if (!(await succeeds(['python3', '-c', isFit]))) {
      throw new UserError('Python 3.10 or later with venv is needed');
    }
    await runStep('Installing the servers that are Python packages (pip)', async () => {
      await run(['python3', '-m', 'venv', made]);
      // biome-ignore format: an option and its value stay together
      await run([
        join(made, 'bin', 'python'), '-m', 'pip', 'install', '--no-input', '--no-compile',
        '--disable-pip-version-check', '--require-hashes', '--only-binary', ':all:',
        '--requirement', requirements,
      ]);
    });
  });
  return join(folder, 'bin');
}

/**
 * Checks manifests by the schemas of Kubernetes, which allow no unknown field.
 * @param {string} version of Kubernetes, such as "1.37"
 * @param {readonly string[]} files
 * @returns {Promise<{ checked: string[], resources: any[] }>} what was checked, such as "service/orthanc", and what the files say
 * @throws UserError that names what is wrong
 */
export async function loadManifests(version, files) {
  const python = join(await ensurePythonServers(), 'python');
  const options = ['--strict', '--kubernetes-version', version];
  const report = await run([python, '-m', 'kubernetes_validate', ...options, ...files]);
  const read =
    'import json, sys, yaml; print(json.dumps([r for f in sys.argv[1:] for r in yaml.safe_load_all(open(f)) if r]))';
  const checked = [...report.matchAll(/passed for resource (\S+) /g)].map(([, name]) => name);
  return { checked, resources: JSON.parse(await run([python, '-c', read, ...files])) };
}

/** @returns {Promise<string>} a folder with the jars in its lib */
async function ensureS3Proxy() {
  const recipe = inRecipes('s3proxy', 'pom.xml');
  return await ensureCached(
    `servers/s3proxy-${hashOf(await readFile(recipe, 'utf8'))}`,
    async (folder) => {
      const { stderr } = await capture(['java', '-version']).catch(() => ({ stderr: '' }));
      const isFit = Number(/version "(\d+)/.exec(stderr)?.[1]) >= 17;
      if (!isFit || !(await hasCommand('mvn'))) {
        throw new UserError('Java 17 or later and Maven are needed');
      }
      await runStep('Fetching s3proxy (mvn)', async () => {
        await copyFile(recipe, join(folder, 'pom.xml')); // beside it Maven may write
        const options = ['--quiet', '--batch-mode', '--file', join(folder, 'pom.xml')];
        const output = `-DoutputDirectory=${join(folder, 'lib')}`;
        await run([
          'mvn',
          ...options,
          'dependency:copy-dependencies',
          '-DincludeScope=runtime',
          output,
        ]);
      });
    },
  );
}

/** @param {readonly string[]} argv */
const succeeds = (argv) =>
  capture(argv).then(
    ({ code }) => code === 0,
    () => false,
  );

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
