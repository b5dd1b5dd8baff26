// SPDX-License-Identifier: GPL-3.0-or-later
// Figures of the native half, in a host that plays Orthanc (native/test/bench.cpp):
//
//   node test/bench/bridge.mjs [--box trixie|testing] [latency] [threads] [processor] [memory] [start]
//
// latency  a no-op request on one thread beside a bare ping-pong of two threads, turn by turn; completed at once, or
//          in a promise ("later"). At most 2 times the ping-pong, better 1.3 times. To wake a thread costs ten times as
//          much where it runs on another processor, and the kernel's choice lasts: so also with the choice made for it.
// threads  no-op requests per second on 1 and on 8 threads, turn by turn. At least 3 times as many on 8.
// processor  processor time of a no-op request on 1 and on 8 threads, beside that of a ping-pong: with a bundle that
//          does nothing, and with src/plugin/bridge.ts in it.
// memory   resident memory over 100,000 requests and 20 resets: slope by least squares, beside its standard error.
// start    OrthancPluginInitialize, Finalize, and resident memory added: with a trivial bundle, and with the plugin's
//          own and no configuration.

import { join } from 'node:path';

import { ensureBox, runInBoxOrFail } from '../../scripts/lib/box.mjs';
import { buildBundle, buildNative } from '../../scripts/lib/build.mjs';
import { ensureDependencies } from '../../scripts/lib/dependencies.mjs';
import { runMain } from '../../scripts/lib/log.mjs';
import { parseOptions } from '../../scripts/lib/options.mjs';
import { inProject } from '../../scripts/lib/paths.mjs';
import { defaultBox, parseBoxName } from '../../scripts/lib/suites.mjs';
import { bundleBench } from './bundle.mjs';

const parts = ['latency', 'threads', 'processor', 'memory', 'start'];
const builtBundle = inProject('build', 'bundle', 'plugin.cjs');

runMain(async () => {
  const { values, positionals } = parseOptions({ box: { type: 'string', default: defaultBox } });
  const boxName = parseBoxName(values.box);
  const box = await ensureBox(boxName);
  await ensureDependencies();
  await buildBundle();
  const folder = await buildNative({ box: boxName, withTests: true });
  const bench = join(folder, 'native', 'test', 'bench');
  const print = async (...args) =>
    console.log((await runInBoxOrFail(box, [bench, ...args])).trim());
  for (const part of positionals.length > 0 ? positionals : parts) {
    await print(part);
    if (part === 'processor') {
      await print(part, await bundleBench('bridge.bench.ts', inProject('build', 'bundle')));
    }
    if (part === 'start') await print(part, builtBundle);
  }
});
