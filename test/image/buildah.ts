// SPDX-License-Identifier: GPL-3.0-or-later
// Images without a Docker engine: buildah builds the Dockerfile and runs it in a chroot, as root, with a storage of its own.

import { copyFile, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';

import { exists } from '../../scripts/lib/cache.mjs';
import { ensureChroot } from '../../scripts/lib/chroot-box.mjs';
import { ensureHostPackages } from '../../scripts/lib/host.mjs';
import { inProject } from '../../scripts/lib/paths.mjs';
import { capture, run, spawnGuarded } from '../../scripts/lib/run.mjs';

const STORAGE = inProject('build', 'image');
const AUTHORITIES = '/etc/ssl/certs/ca-certificates.crt';
const STAND_IN = join(import.meta.dirname, 'stand-in');

const COMMAND = [
  'buildah',
  // Of the host nothing is needed: no overlay, no daemon.
  '--storage-driver=vfs',
  `--root=${join(STORAGE, 'storage')}`,
  `--runroot=${join(STORAGE, 'run')}`,
];
const CHROOT = ['--isolation', 'chroot', '--network', 'host'];

export const buildah = (...args: readonly string[]): Promise<string> => run([...COMMAND, ...args]);

/** The last line that a command of buildah's prints is a name. */
const nameFrom = async (...args: readonly string[]): Promise<string> =>
  (await buildah(...args)).trim().split('\n').at(-1) ?? '';

/** @param officialFiles the folder docker/orthanc of orthanc-builder's sources, in place of the stand-ins for what it holds
 *  @returns an image that is laid out as the official one, but of Debian 13 */
export async function ensureBase(officialFiles?: string): Promise<string> {
  await ensureHostPackages({ buildah: 'buildah' });
  const root = await ensureChroot({
    name: 'image-base',
    label: 'Debian 13 with Orthanc, as a base in place of the official image',
    suite: 'trixie',
    aptOptions: [],
    packages: ['ca-certificates', 'orthanc', 'orthanc-postgresql', 'python3'],
  });
  const container = await nameFrom('from', 'scratch');
  await buildah('copy', container, join(root, 'root'), '/');
  const startup = join(STORAGE, officialFiles === undefined ? 'stand-in' : 'official');
  await copyStartup(startup, officialFiles);
  await buildah('copy', container, startup, '/');
  await buildah('run', ...CHROOT, container, '--', 'sh', '-euc', LAYOUT);
  // biome-ignore format: an option and its value stay together
  await buildah(
    'config', '--entrypoint', '["/docker-entrypoint.sh"]', '--cmd', '/tmp/orthanc.json',
    '--shell', '/bin/bash -c', '--env', 'LANG=C.UTF-8', '--env', 'PYTHONUTF8=1',
    // Plugins that are on by default, and that Debian does not have.
    '--env', 'ORTHANC_EXPLORER_2_ENABLED=false', '--env', 'GDCM_PLUGIN_ENABLED=false', container,
  );
  const name = `localhost/orthanc-laid-out:${officialFiles === undefined ? 'stand-in' : 'official'}`;
  await buildah('commit', '--quiet', '--rm', '--format', 'docker', container, name);
  return name;
}

/** Orthanc, its plugins and its user where the official image has them. */
const LAYOUT = `
  update-ca-certificates --fresh > /dev/null
  mv /usr/sbin/Orthanc /usr/local/bin/Orthanc
  plugins=/usr/share/orthanc/plugins
  mkdir $plugins-available
  for link in $plugins/*.so; do mv "$(readlink -f "$link")" "$plugins-available/$(basename "$link")"; done
  rm -r $plugins /etc/orthanc /var/lib/orthanc
  groupmod --gid 999 orthanc
  usermod --uid 999 --shell /bin/false orthanc
  mkdir -p $plugins /etc/orthanc /var/lib/orthanc
  chmod 1777 /tmp
  echo not-generated > /etc/hostid
  echo force-unsafe-io > /etc/dpkg/dpkg.cfg.d/docker-apt-speedup
  chown -R orthanc:orthanc $plugins $plugins-available /var/lib/orthanc /tmp /etc/hostid
  chmod 755 $plugins-available/*`;

async function copyStartup(folder: string, officialFiles: string | undefined): Promise<void> {
  const startup = join(folder, 'startup');
  const probes = join(folder, 'probes');
  await mkdir(startup, { recursive: true });
  await mkdir(probes, { recursive: true });
  const source = officialFiles ?? STAND_IN;
  for (const name of await readdir(source)) {
    const target = name === 'test-aliveness.py' ? probes : startup;
    if (/\.(py|json)$/.test(name)) await copyFile(join(source, name), join(target, name));
  }
  await copyFile(join(source, 'docker-entrypoint.sh'), join(folder, 'docker-entrypoint.sh'));
  if (officialFiles === undefined) return;
  // biome-ignore format: an option and its value stay together
  await run([
    'python3', '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--target', startup, 'envsubst==0.1.5',
  ]);
}

/** Builds docker/Dockerfile. */
export async function buildImage(base: string): Promise<string> {
  const name = 'localhost/orthanc-object-storage:test';
  // The machine's authorities: it may have a proxy with one of its own before the registries.
  const authorities = (await exists(AUTHORITIES))
    ? ['--volume', `${AUTHORITIES}:${AUTHORITIES}:ro`]
    : [];
  // biome-ignore format: an option and its value stay together
  await buildah(
    'build', ...CHROOT, '--format', 'docker', '--build-arg', `ORTHANC_IMAGE=${base}`, ...authorities,
    '--file', inProject('docker', 'Dockerfile'), '--tag', name, inProject(),
  );
  return name;
}

/** Containers of tests that failed, and images that newer ones have replaced: gigabytes. */
export async function removeUnused(): Promise<void> {
  await buildah('rm', '--all');
  await buildah('rmi', '--prune', '--force');
}

export interface ImageFacts {
  readonly Entrypoint: readonly string[];
  readonly Cmd: readonly string[];
  readonly Env: readonly string[];
  readonly Healthcheck?: { readonly Test: readonly string[] };
}

export async function inspectImage(name: string): Promise<ImageFacts> {
  const { Docker } = JSON.parse(await buildah('inspect', '--type', 'image', name)) as {
    Docker: { config: ImageFacts };
  };
  return Docker.config;
}

/** @returns bytes of its files */
export async function sizeOf(name: string): Promise<number> {
  const container = await nameFrom('from', '--pull-never', name);
  const folder = await nameFrom('mount', container);
  const [kilobytes] = (await run(['du', '-skx', folder])).split('\t');
  await buildah('rm', container);
  return Number(kilobytes) * 1024;
}

export interface ContainerOptions {
  readonly env: Readonly<Record<string, string>>;
  /** host:container[:ro] */
  readonly volumes?: readonly string[];
  readonly user?: string;
}

export interface Container {
  /** As the image's entry point does it. */
  start(facts: ImageFacts): import('node:child_process').ChildProcess;
  exec(
    ...argv: readonly string[]
  ): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }>;
  remove(): Promise<void>;
}

export async function createContainer(
  image: string,
  options: ContainerOptions,
): Promise<Container> {
  const container = await nameFrom('from', '--pull-never', image);
  const argv = [
    'run',
    ...CHROOT,
    ...(options.user === undefined ? [] : ['--user', options.user]),
    ...(options.volumes ?? []).flatMap((volume) => ['--volume', volume]),
    ...Object.entries(options.env).flatMap(([name, value]) => ['--env', `${name}=${value}`]),
    container,
    '--',
  ];
  return {
    start: ({ Entrypoint, Cmd }) =>
      spawnGuarded([...COMMAND, ...argv, ...Entrypoint, ...Cmd], {
        stdio: ['ignore', 'pipe', 'pipe'],
        deathSignal: 'TERM',
      }),
    exec: (...command) => capture([...COMMAND, ...argv, ...command]),
    remove: async () => {
      await buildah('rm', container);
    },
  };
}
