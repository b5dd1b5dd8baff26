// SPDX-License-Identifier: GPL-3.0-or-later
// npm run build -- [--for debian13|testing|image | --box trixie|testing] [--out DIR] [--debug]

import { resolve } from 'node:path';

import { ensureBox } from './lib/box.mjs';
import { buildPlugin, readTarget } from './lib/build.mjs';
import { checkNodeVersion } from './lib/host.mjs';
import { runMain, say } from './lib/log.mjs';
import { parseOptions } from './lib/options.mjs';
import { readProject } from './lib/project.mjs';
import { chooseTarget } from './lib/targets.mjs';

runMain(async () => {
  checkNodeVersion();
  const { values } = parseOptions({
    for: { type: 'string' },
    box: { type: 'string' },
    out: { type: 'string', default: 'dist' },
    debug: { type: 'boolean', default: false },
  });
  const { box, image } = await chooseTarget(values);
  const plugin = await buildPlugin({ box, image, out: resolve(values.out), debug: values.debug });
  const { system, libnode, node } = await readTarget(plugin, await ensureBox(box, { image }));
  const { orthancMinimum } = await readProject();
  say(
    `Built ${plugin}\nfor ${system} with ${libnode} (Node ${node}), Orthanc ${orthancMinimum} or newer`,
  );
});
