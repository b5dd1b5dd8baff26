// SPDX-License-Identifier: GPL-3.0-or-later
// A box with Docker: an image on top of the official Orthanc image, a container for each command.

import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';

import { hashOf, withLock } from './cache.mjs';
import { runStep } from './log.mjs';
import { inCache, inProject } from './paths.mjs';
import { capture, run, spawnGuarded } from './run.mjs';

const repository = 'orthanc-object-storage-box';

/** The trusted authorities of the host, which may know a private one. */
const authorities = '/etc/ssl/certs/ca-certificates.crt';

/**
 * @param {{ name: string, image: string, packages: readonly string[], aptOptions: readonly string[] }} recipe
 * @returns {Promise<string>} the image that spawnInContainer takes
 */
export async function ensureImage({ name, image, packages, aptOptions }) {
  const dockerfile = inProject('docker', 'box.Dockerfile');
  const key = hashOf(await readFile(dockerfile, 'utf8'), image, packages, aptOptions);
  const tag = `${repository}:${name}-${key}`;
  await mkdir(inCache('boxes'), { recursive: true });
  await withLock(inCache('boxes', `${name}-${key}.lock`), async () => {
    if ((await capture(['docker', 'image', 'inspect', tag])).code === 0) return;
    const title = `Making the box "${name}" (Docker, on top of ${image}; a few minutes)`;
    const proxies = Object.keys(process.env).filter((key) => /^(https?|no)_proxy$/i.test(key));
    // biome-ignore format: an option and its value stay together
    const argv = [
      'docker', 'build', '--network', 'host', '--file', dockerfile, '--tag', tag,
      '--build-arg', `ORTHANC_IMAGE=${image}`,
      '--build-arg', `PACKAGES=${packages.join(' ')}`,
      '--build-arg', `APT_OPTIONS=${aptOptions.map(quoteAptOption).join(' ')}`,
      ...proxies.flatMap((key) => ['--build-arg', key]),
      inProject('docker'),
    ];
    await runStep(title, () => run(argv));
  });
  return tag;
}

/** @param {string} option such as `Acquire::Check-Valid-Until "false"` */
const quoteAptOption = (option) => `-o ${option.replace(/^(\S+) "([^"]*)"$/, '$1=$2')}`;

/** Removes all images of boxes. */
export async function removeImages() {
  const { stdout } = await capture(['docker', 'images', '--quiet', repository]);
  const images = [...new Set(stdout.split('\n').filter((line) => line !== ''))];
  if (images.length > 0) await run(['docker', 'rmi', '--force', ...images]);
}

/**
 * @param {string} image
 * @param {readonly string[]} argv
 * @param {{ cwd: string, env: Readonly<Record<string, string>>, binds: readonly string[],
 *   stdio: import('node:child_process').StdioOptions, endWithParent: boolean, detached: boolean, asRoot: boolean }} options
 */
export function spawnInContainer(image, argv, options) {
  const { cwd, env, binds, stdio, endWithParent, detached, asRoot } = options;
  const container = `${repository}-${randomUUID()}`;
  const volumes = binds.map((path) => `${path}:${path}`);
  if (existsSync(authorities)) volumes.push(`${authorities}:${authorities}:ro`);
  // What is written into the project should belong to the user, as without Docker.
  const isRoot = asRoot || (process.getuid?.() ?? 0) === 0;
  const user = isRoot ? [] : ['--user', `${process.getuid()}:${process.getgid()}`];
  const variables = { ...env, ...(isRoot ? {} : { HOME: '/tmp' }) };
  const isTerminal = stdio === 'inherit' && process.stdin.isTTY && process.stdout.isTTY;
  // biome-ignore format: an option and its value stay together
  const command = [
    'docker', 'run', '--rm', '--name', container, '--init', '--interactive', ...(isTerminal ? ['--tty'] : []),
    '--network', 'host', '--workdir', cwd, ...user,
    // Debuggers and the sanitizers trace, and switch off the randomisation of addresses.
    '--cap-add', 'SYS_PTRACE', '--security-opt', 'seccomp=unconfined',
    ...volumes.flatMap((volume) => ['--volume', volume]),
    ...Object.entries(variables).flatMap(([name, value]) => ['--env', `${name}=${value}`]),
    image, ...argv,
  ];
  // The client passes SIGTERM on to the container, which would outlive the client's SIGKILL.
  const deathSignal = endWithParent ? 'TERM' : 'clear';
  const client = spawnGuarded(command, { stdio, detached, deathSignal });
  const signal = client.kill.bind(client);
  // Other signals the client passes on; of this one it would die alone.
  client.kill = (name) => {
    if (name !== 'SIGKILL') return signal(name);
    const killer = spawnGuarded(['docker', 'kill', container], {
      stdio: 'ignore',
      deathSignal: 'clear',
    });
    killer.once('exit', (code) => code !== 0 && signal(name)); // it had not begun
    return true;
  };
  return client;
}
