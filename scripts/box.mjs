// SPDX-License-Identifier: GPL-3.0-or-later
// npm run box -- [--box trixie|testing] [-- COMMAND…]: makes the box and runs a command (or a shell) in it.

import { ensureBox, spawnInBox } from './lib/box.mjs';
import { checkNodeVersion } from './lib/host.mjs';
import { runMain } from './lib/log.mjs';
import { parseOptions } from './lib/options.mjs';
import { waitForExit } from './lib/run.mjs';
import { defaultBox, parseBoxName } from './lib/suites.mjs';

runMain(async () => {
  checkNodeVersion();
  const { values, positionals } = parseOptions({ box: { type: 'string', default: defaultBox } });
  const box = await ensureBox(parseBoxName(values.box));
  const command = positionals.length > 0 ? positionals : ['bash', '-i'];
  const child = spawnInBox(box, command);
  // A terminal sends Ctrl-C to the command as well: only wait for it. Others send to us alone.
  process.on('SIGINT', () => {});
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  return await waitForExit(child);
});
