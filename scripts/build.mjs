// SPDX-License-Identifier: GPL-3.0-or-later
// npm run build -- [--box trixie|testing] [--out DIR] [--debug]

import { resolve } from 'node:path';

import { buildPlugin } from './lib/build.mjs';
import { checkNodeVersion } from './lib/host.mjs';
import { runMain, say } from './lib/log.mjs';
import { parseOptions } from './lib/options.mjs';
import { defaultBox, parseBoxName } from './lib/suites.mjs';

runMain(async () => {
  checkNodeVersion();
  const { values } = parseOptions({
    box: { type: 'string', default: defaultBox },
    out: { type: 'string', default: 'dist' },
    debug: { type: 'boolean', default: false },
  });
  const options = { box: parseBoxName(values.box), out: resolve(values.out), debug: values.debug };
  say(`Built ${await buildPlugin(options)}`);
});
