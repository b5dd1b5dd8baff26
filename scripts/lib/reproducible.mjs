// SPDX-License-Identifier: GPL-3.0-or-later
// Two builds of one commit, in two folders and under other circumstances, must be the same byte by byte.

import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { runStep, say } from './log.mjs';
import { inProject } from './paths.mjs';
import { git } from './project.mjs';
import { run } from './run.mjs';

/** What must not show in the packages. */
const circumstances = [
  { path: 'one', umask: '022', env: {} },
  {
    path: 'another/of-another-depth',
    umask: '027',
    // Else the second build would take what the first has compiled.
    env: { TZ: 'Pacific/Kiritimati', LC_ALL: 'C', CCACHE_DISABLE: '1' },
  },
];

/**
 * @param {readonly string[]} targets
 * @returns {Promise<number>} the exit code
 */
export async function checkReproducible(targets) {
  const commit = await git('rev-parse', 'HEAD');
  const folder = await mkdtemp(join(tmpdir(), 'oos-reproducible-'));
  try {
    let isSame = true;
    for (const target of targets) {
      const [first = '', second = ''] = await makeTwice(target, commit, folder);
      isSame &&= first === second;
      say(first === second ? `${target}: the same\n${first}` : explain(target, first, second));
    }
    return isSame ? 0 : 1;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** @param {string} target @param {string} commit @param {string} folder */
async function makeTwice(target, commit, folder) {
  const sums = [];
  for (const { path, umask, env } of circumstances) {
    const clone = join(folder, path);
    await runStep(`Building ${target} in ${clone}`, async () => {
      await mkdir(clone, { recursive: true });
      await run(['git', 'clone', '--quiet', '--no-checkout', inProject(), clone]);
      await run(['git', '-C', clone, 'checkout', '--quiet', commit]);
      // biome-ignore format: an option and its value stay together
      const argv = [
        'sh', '-euc', 'umask "$1"; shift; exec "$@"', 'sh', umask,
        process.execPath, join(clone, 'scripts', 'package.mjs'), '--for', target, '--out', join(clone, 'dist', 'packages'),
      ];
      await run(argv, { cwd: clone, env: { ...process.env, ...env } });
      sums.push(await readFile(join(clone, 'dist', 'packages', 'SHA256SUMS'), 'utf8'));
      await rm(clone, { recursive: true, force: true });
    });
  }
  return sums;
}

/** @param {string} target @param {string} first @param {string} second */
const explain = (target, first, second) =>
  `${target}: two builds of one commit differ\n${first}\n${second}`;
