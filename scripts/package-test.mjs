// SPDX-License-Identifier: GPL-3.0-or-later
// npm run package:test -- [--for debian13|testing]: installs the packages in a Debian that has nothing of ours, and does there what their
// users do. The Debian has a network of its own, so that Orthanc has its usual ports; only apt leaves it.

import { ensureFreshRoot } from './lib/booted-root.mjs';
import { checkNodeVersion, ensureHostPackages } from './lib/host.mjs';
import { runMain, UserError } from './lib/log.mjs';
import { parseOptions } from './lib/options.mjs';
import { makePackages } from './lib/package.mjs';
import { inProject } from './lib/paths.mjs';
import { readCommit } from './lib/project.mjs';
import { spawnGuarded, waitForExit } from './lib/run.mjs';
import { createServerCommand } from './lib/servers.mjs';
import { choosePackagedTargets, findTarget } from './lib/targets.mjs';

/** Sorts before all that there will be. */
const earlierVersion = '0.0.1';

runMain(async () => {
  checkNodeVersion();
  const { values } = parseOptions({ for: { type: 'string' }, box: { type: 'string' } });
  const targets = choosePackagedTargets(values);
  if (process.getuid?.() !== 0) throw new UserError('It needs root, to boot a Debian.');
  await ensureHostPackages({ unshare: 'util-linux', nsenter: 'util-linux' });
  await createServerCommand('versitygw');
  const { date } = await readCommit();
  const failed = [];
  for (const target of targets) {
    const root = await ensureFreshRoot(findTarget(target).box);
    const { folder: earlier } = await makePackages({
      target,
      date,
      version: earlierVersion,
      // So that dpkg finds both the administrator's and ours changed.
      editSettings: (text) => `// An earlier version.\n${text}`,
    });
    const { folder: present } = await makePackages({ target, date });
    const env = {
      ...process.env,
      OOS_TARGET: target,
      OOS_FRESH_ROOT: root,
      OOS_EARLIER_PACKAGES: earlier,
      OOS_PACKAGES: present,
      OOS_OUTER_NETWORK: `/proc/${process.pid}/ns/net`,
    };
    const vitest = inProject('node_modules', 'vitest', 'vitest.mjs');
    const argv = ['unshare', '--net', process.execPath, vitest, 'run', '--project=package'];
    const child = spawnGuarded(argv, { cwd: inProject(), env, stdio: 'inherit' });
    if ((await waitForExit(child)) !== 0) failed.push(target);
  }
  return failed.length === 0 ? 0 : 1;
});
