// SPDX-License-Identifier: GPL-3.0-or-later
// A Debian as it is freshly installed, booted: systemd runs in it, in namespaces of its own, with units, cgroups and a journal. What is
// written into it is in memory, and gone when it is stopped.

import { spawn } from 'node:child_process';
import { mkdir, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

import { ensureChroot } from './chroot-box.mjs';
import { canInstallPackages } from './host.mjs';
import { UserError } from './log.mjs';
import { inCache } from './paths.mjs';
import { capture, collectOutput, stopProcess } from './run.mjs';
import { suites } from './suites.mjs';

/**
 * @typedef {import('./suites.mjs').BoxName} BoxName
 * @typedef {object} BootedRoot
 * @property {(argv: readonly string[], options?: RunOptions) => Promise<import('./run.mjs').CommandResult>} run
 * @property {() => Promise<void>} stop
 *
 * @typedef {object} RunOptions
 * @property {string} [input]
 * @property {string} [network] the namespace of another network, such as "/proc/1/ns/net"
 * @property {Readonly<Record<string, string>>} [env]
 */

/** What an administrator has before he installs anything: no Orthanc, no Node, no authorities. */
const packages = ['systemd-sysv', 'man-db', 'bash-completion', 'curl', 'jq', 'sudo'];

/** Those who try packages again and again need not load Orthanc each time. */
const archives = inCache('apt-archives');

const bootTimeoutMs = 60_000;

/**
 * @param {BoxName} box
 * @returns {Promise<string>} the folder that bootRoot takes
 */
export async function ensureFreshRoot(box) {
  if (!(await canInstallPackages())) {
    throw new UserError(
      'A Debian that boots needs root on Debian or Ubuntu, outside of containers.',
    );
  }
  const { suite, aptOptions, label } = suites[box];
  const name = `fresh-${box}`;
  return await ensureChroot({ name, label, suite, aptOptions, packages, leftOut: [] });
}

/**
 * As systemd wants a container to be (https://systemd.io/CONTAINER_INTERFACE): it must not change the kernel's settings, so /proc/sys and
 * /sys are read-only; it has a cgroup of its own, and only the devices that harm nobody.
 */
const bootScript = `set -e
box=$1 archives=$2 entry=$1/entry
mount -t tmpfs -o mode=755 tmpfs "$entry"
cd "$entry" && mkdir upper work root cgroups
mount -t cgroup2 cgroup2 cgroups
mkdir "cgroups/oos-$$" && echo $$ > "cgroups/oos-$$/cgroup.procs"
mount -t overlay -o "lowerdir=$box/root,upperdir=$entry/upper,workdir=$entry/work" overlay root
exec unshare --cgroup --pid --fork --kill-child --uts --ipc sh -ec '
cd root
hostname fresh
mount -t proc proc proc
mount --bind proc/sys proc/sys && mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do touch dev/$device; mount --bind /dev/$device dev/$device; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx; ln -s /proc/self/fd dev/fd
mkdir -p var/cache/apt/archives; mount --bind "$1" var/cache/apt/archives
for file in /etc/resolv.conf /etc/hosts; do cat $file > .$file; done
rm -f etc/ssl/certs/ca-certificates.crt
echo "Binary::apt::APT::Keep-Downloaded-Packages \\"true\\";" > etc/apt/apt.conf.d/90keep
exec env -i container=oos PATH=/usr/sbin:/usr/bin:/sbin:/bin /usr/sbin/chroot . /lib/systemd/systemd
' sh "$archives"`;

/** The kernel takes a moment to let go of those that it has just killed. */
const removeCgroupScript = `mount -t cgroup2 cgroup2 /mnt
for attempt in 1 2 3 4 5 6 7 8 9; do
  find "/mnt/oos-$1" -depth -type d -exec rmdir {} + 2>/dev/null && break
  sleep 0.3
done`;

/**
 * @param {string} folder what ensureFreshRoot returned
 * @returns {Promise<BootedRoot>} in the network of this process
 */
export async function bootRoot(folder) {
  await mkdir(archives, { recursive: true });
  // biome-ignore format: an option and its value stay together
  const argv = [
    '--pdeathsig', 'KILL', 'unshare', '--mount', '--propagation', 'private',
    'sh', '-c', bootScript, 'sh', folder, archives,
  ];
  const child = spawn('setpriv', argv, { stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = collectOutput(child);
  /** @type {BootedRoot} */
  const root = {
    run: async (command, options) => await enter(await findInit(child.pid ?? 0), command, options),
    stop: async () => {
      await stopProcess(child, 0);
      await ended;
      await capture(['unshare', '--mount', 'sh', '-c', removeCgroupScript, 'sh', `${child.pid}`]);
    },
  };
  const deadline = performance.now() + bootTimeoutMs;
  for (;;) {
    const { stdout } = await root
      .run(['systemctl', 'is-system-running'])
      .catch(() => ({ stdout: '' }));
    // Without a kernel of its own, some units fail, such as the one that loads modules.
    if (/^(running|degraded)/.test(stdout)) return root;
    if (child.exitCode !== null || performance.now() > deadline) {
      await root.stop();
      const { stdout: output, stderr } = await ended;
      throw new UserError(`systemd did not start (${stdout.trim()}): ${output}${stderr}`);
    }
    await sleep(100);
  }
}

/** @param {number} pid of unshare @returns {Promise<number>} that of its child, systemd */
async function findInit(pid) {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
  return Number(children.trim());
}

/**
 * @param {number} init
 * @param {readonly string[]} command
 * @param {RunOptions} [options]
 */
function enter(init, command, { input, network, env = {} } = {}) {
  const variables = {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: '/root',
    LANG: 'C.UTF-8',
    ...env,
  };
  // biome-ignore format: an option and its value stay together
  const argv = [
    '--target', `${init}`, '--mount', '--pid', '--uts', '--ipc', '--cgroup', '--root', '--wd',
    ...(network === undefined ? [] : [`--net=${network}`]),
    'env', '-i', ...Object.entries(variables).map(([name, value]) => `${name}=${value}`), ...command,
  ];
  return collectOutput(spawn('nsenter', argv, { stdio: 'pipe' }), input);
}
