// SPDX-License-Identifier: GPL-3.0-or-later
// npm run soak -- [--box trixie,testing] [--resets N] [--sigterms N] [--at-once N] [--instances N]
// [--delays MS-MS] [--clients N] [--seed N] [--asan]: Orthanc is reset and
// stopped in the middle of moves, N times each in each box, with clients at work. It must not die of that, and nothing may be lost.

import { buildBundle, buildNative, findBuildFolder, pluginFile } from '../../scripts/lib/build.mjs';
import { ensureDependencies } from '../../scripts/lib/dependencies.mjs';
import { runMain, say } from '../../scripts/lib/log.mjs';
import { parseOptions } from '../../scripts/lib/options.mjs';
import { boxNames, parseBoxName } from '../../scripts/lib/suites.mjs';
import { loadBench } from '../bench/load.mjs';

runMain(async () => {
  const { values } = parseOptions({
    box: { type: 'string', default: boxNames.join(',') },
    plugin: { type: 'string' },
    resets: { type: 'string', default: '200' },
    sigterms: { type: 'string', default: '200' },
    'at-once': { type: 'string', default: '4' },
    instances: { type: 'string', default: '150' },
    delays: { type: 'string', default: '50-200' },
    clients: { type: 'string', default: '4' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    asan: { type: 'boolean', default: false },
  });
  let problems = 0;
  await ensureDependencies();
  for (const box of values.box.split(',').map(parseBoxName)) {
    const variant = values.asan ? 'asan' : 'release';
    if (values.plugin === undefined) {
      await buildBundle();
      await buildNative({ box, variant });
    }
    const plugin = values.plugin ?? `${findBuildFolder(box, variant)}/${pluginFile}`;
    const { main } = await loadBench('../soak/moves.soak.ts', { box, plugin });
    say(`${box}, seed ${values.seed}:`);
    problems += await main({
      resets: Number(values.resets),
      sigterms: Number(values.sigterms),
      atOnce: Number(values['at-once']),
      instances: Number(values.instances),
      delaysMs: values.delays.split('-').map(Number),
      clients: Number(values.clients),
      seed: Number(values.seed),
      asan: values.asan,
    });
  }
  return problems === 0 ? 0 : 1;
});
