// SPDX-License-Identifier: GPL-3.0-or-later
// npm run bench:profile -- [--provider s3|azure|google] [--format plain|A1|A2] [--cache] [--size 10k|512k|30M] [--clients N] [--operations
// POST,file,tags,DELETE] [--seconds N] [--bundle FILE] [--box trixie|testing] [--out FOLDER]: profiles of the plugin's event loop inside
// Orthanc under load, of its time (.cpuprofile) and of what it allocates (.heapprofile). Chromium's developer tools and VS Code show them.

import { buildBundle, buildNative, findBuildFolder, pluginFile } from '../../scripts/lib/build.mjs';
import { ensureDependencies } from '../../scripts/lib/dependencies.mjs';
import { runMain } from '../../scripts/lib/log.mjs';
import { parseOptions } from '../../scripts/lib/options.mjs';
import { inProject } from '../../scripts/lib/paths.mjs';
import { parseBoxName } from '../../scripts/lib/suites.mjs';
import { loadBench } from './load.mjs';

runMain(async () => {
  const { values } = parseOptions({
    provider: { type: 'string', default: 's3' },
    format: { type: 'string', default: 'plain' },
    cache: { type: 'boolean', default: false },
    size: { type: 'string', default: '512k' },
    clients: { type: 'string', default: '8' },
    operations: { type: 'string', default: 'POST,file,tags,DELETE' },
    seconds: { type: 'string', default: '5' },
    bundle: { type: 'string' },
    box: { type: 'string', default: 'trixie' },
    out: { type: 'string', default: inProject('build', 'profiles') },
  });
  const box = parseBoxName(values.box);
  await ensureDependencies();
  await buildBundle();
  await buildNative({ box });
  const { main } = await loadBench('orthanc/profile.ts', {
    box,
    plugin: `${findBuildFolder(box)}/${pluginFile}`,
  });
  await main({
    provider: values.provider,
    format: values.format,
    cache: values.cache,
    size: values.size,
    clients: Number(values.clients),
    operations: values.operations.split(','),
    seconds: Number(values.seconds),
    folder: values.out,
    bundle: values.bundle,
  });
});
