// SPDX-License-Identifier: GPL-3.0-or-later
// A box without Docker: a Debian root file system by mmdebstrap, entered by chroot, as root.

import { spawn } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { ensureCached, hashOf } from './cache.mjs';
import { checkCanMount, ensureHostPackages } from './host.mjs';
import { runStep } from './log.mjs';
import { capture, run } from './run.mjs';

/** To be raised when the way a box is made changes, so that no old one is taken for new. */
const recipeVersion = 1;

/** Documentation in other languages and manuals: a quarter of the files, read by nobody in a box. */
const leftOutPaths = ['/usr/share/man/*', '/usr/share/locale/*', '/usr/share/doc/*'];

/** Files of the host that a box sees as they are now: name resolution and trusted authorities. */
const hostFiles = ['/etc/resolv.conf', '/etc/hosts', '/etc/ssl/certs/ca-certificates.crt'];

/**
 * @param {{ name: string, label: string, suite: string, packages: readonly string[],
 *   aptOptions: readonly string[], leftOut?: readonly string[] }} recipe
 * @returns {Promise<string>} the folder that spawnInChroot takes
 */
export async function ensureChroot(recipe) {
  const { name, label, suite, packages, aptOptions, leftOut = leftOutPaths } = recipe;
  const key = hashOf(recipeVersion, suite, packages, aptOptions, leftOut);
  return await ensureCached(`boxes/${name}-${key}`, async (folder) => {
    await ensureHostPackages({
      mmdebstrap: 'mmdebstrap',
      unshare: 'util-linux',
      '/usr/share/keyrings/debian-archive-keyring.gpg': 'debian-archive-keyring', // not on Ubuntu
    });
    await checkCanMount();
    await runStep(`Making the box "${name}" (${label}; about a minute)`, async () => {
      const root = join(folder, 'root');
      await bootstrap(suite, packages, aptOptions, leftOut, root);
      await mkdir(join(folder, 'entry'));
      for (const file of hostFiles) {
        const inRoot = join(root, file);
        await mkdir(dirname(inRoot), { recursive: true });
        await rm(inRoot, { force: true }); // may be a link that leads out of the box
        await writeFile(inRoot, '');
      }
    });
  });
}

/**
 * @param {string} suite
 * @param {readonly string[]} packages
 * @param {readonly string[]} aptOptions
 * @param {readonly string[]} leftOut
 * @param {string} root
 */
async function bootstrap(suite, packages, aptOptions, leftOut, root) {
  // biome-ignore format: an option and its value stay together
  const argv = [
    // In namespaces of its own: when this process is killed, nothing goes on and nothing stays mounted.
    'setpriv', '--pdeathsig', 'KILL', 'unshare', '--mount', '--propagation', 'private',
    '--pid', '--fork', '--kill-child', '--mount-proc',
    'mmdebstrap', '--quiet', '--mode=root', '--variant=minbase', '--format=directory',
    `--include=${packages.join(',')}`,
    ...[...aptOptions, ...(await readHostAptOptions())].map((option) => `--aptopt=${option}`),
    ...leftOut.map((path) => `--dpkgopt=path-exclude=${path}`),
    '--dpkgopt=force-unsafe-io', // what a power failure spoils was never renamed into its place
    suite, root, ...(await findMirror()),
  ];
  await run(argv, { env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } });
}

/** The mirror that this machine's own apt uses, if it is a Debian; else none, and mmdebstrap takes its own default. */
async function findMirror() {
  const format = '$(ORIGIN)|$(LABEL)|$(REPO_URI)';
  const { stdout } = await capture(['apt-get', 'indextargets', '--format', format]);
  const [line] = stdout.split('\n').filter((text) => text.startsWith('Debian|Debian|'));
  const mirror = line?.split('|')[2];
  return mirror === undefined ? [] : [mirror];
}

/** Proxies, authorities and clock rules of this machine's apt hold for the box's as well. */
async function readHostAptOptions() {
  const { stdout } = await capture(['apt-config', 'dump', 'Acquire']);
  const wanted =
    /^Acquire::(https?::(Proxy|CAInfo|Verify)[^ ]*|Check-Valid-Until|Check-Date) "[^"]+";$/;
  return stdout
    .split('\n')
    .filter((line) => wanted.test(line))
    .map((line) => line.slice(0, -1));
}

/**
 * Everything is mounted in a namespace of the process's own and vanishes with it, also after
 * kill -9. Each entry writes into a layer of its own in memory, as `docker run --rm` does; where
 * the kernel refuses the overlay, writes go to the box itself. Every step execs, so the process
 * id stays that of the spawned child and signals reach the command directly.
 */
const enterScript = `set -e
box=$1 cwd=$2; shift 2
root=$box/entry
layer() {
  mount -t tmpfs -o mode=755 tmpfs "$root" && mkdir "$root/upper" "$root/work" "$root/merged" &&
  mount -t overlay -o "lowerdir=$box/root,upperdir=$root/upper,workdir=$root/work" overlay "$root/merged"
}
if layer 2>/dev/null; then root=$root/merged; else mount --rbind "$box/root" "$root"; fi
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
while [ "$1" != -- ]; do
  if [ -d "$1" ]; then mkdir -p "$root$1"; mount --rbind "$1" "$root$1"; else mount --bind "$1" "$root$2"; fi
  shift 2
done
shift
exec chroot "$root" /usr/bin/env -i -C "$cwd" "$@"`;

/**
 * @param {string} box what ensureChroot returned
 * @param {readonly string[]} argv
 * @param {{ cwd: string, env: Readonly<Record<string, string>>, binds: readonly string[],
 *   stdio: import('node:child_process').StdioOptions, endWithParent: boolean, detached?: boolean }} options
 */
export function spawnInChroot(box, argv, { cwd, env, binds, stdio, endWithParent, detached }) {
  const mounts = binds.flatMap((path) => [path, path]);
  for (const file of hostFiles) if (existsSync(file)) mounts.push(realpathSync(file), file);
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  // biome-ignore format: an option and its value stay together
  const args = [
    ...(endWithParent ? ['--pdeathsig', 'KILL'] : []),
    'unshare', '--mount', '--propagation', 'private',
    'sh', '-c', enterScript, 'sh', box, cwd, ...mounts, '--', ...variables, ...argv,
  ];
  return spawn('setpriv', args, { stdio, detached });
}
