// SPDX-License-Identifier: GPL-3.0-or-later
// npm run monitoring:test: see HELP.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { buildBundle, buildNative, findBuildFolder, pluginFile } from '../../scripts/lib/build.mjs';
import { ensureDependencies } from '../../scripts/lib/dependencies.mjs';
import { runMain, runStep, say } from '../../scripts/lib/log.mjs';
import { parseOptions } from '../../scripts/lib/options.mjs';
import { parseBoxName } from '../../scripts/lib/suites.mjs';
import { loadBench } from '../bench/load.mjs';
import { ensureTools } from './tools.mjs';

const HELP = `npm run monitoring:test -- [--box trixie|testing]
  deploy/monitoring in Debian's prometheus: promtool checks the files and tries each alert (alerts.test.yml), then
  prometheus reads a real Orthanc by prometheus.yml, answers each query of the dashboard, and notices a wrong
  password and a store that is away. Exit code 0: all of that is as it should be.`;

runMain(async () => {
  const { values } = parseOptions({
    help: { type: 'boolean', default: false },
    box: { type: 'string', default: 'trixie' },
  });
  if (values.help) {
    console.log(HELP);
    return 0;
  }
  await ensureDependencies();
  const folder = await mkdtemp(join(tmpdir(), 'oos-monitoring-'));
  try {
    const tools = await ensureTools(folder);
    await runStep('Checking the files by promtool', async () => {
      await tools.run(['promtool', 'check', 'rules', 'deploy/monitoring/alerts.yml']);
      await tools.run(['promtool', 'check', 'config', 'deploy/monitoring/prometheus.yml']);
    });
    await runStep('Trying each alert by promtool', () =>
      tools.run(['promtool', 'test', 'rules', 'test/monitoring/alerts.test.yml']),
    );
    // What the AWS SDK says about Node 20 is known.
    process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = 'true';
    const box = parseBoxName(values.box);
    await buildBundle();
    await buildNative({ box });
    const plugin = `${findBuildFolder(box)}/${pluginFile}`;
    const { main } = await loadBench('../monitoring/orthanc.ts', { box, plugin });
    await runStep('Reading a real Orthanc by prometheus', () => main(tools, folder));
    say('The metrics, the alerts and the dashboard work with this Orthanc.');
    return 0;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
