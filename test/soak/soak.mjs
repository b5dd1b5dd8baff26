// SPDX-License-Identifier: GPL-3.0-or-later
// npm run soak: see HELP.

import { buildBundle, buildNative, findBuildFolder, pluginFile } from '../../scripts/lib/build.mjs';
import { ensureDependencies } from '../../scripts/lib/dependencies.mjs';
import { runMain, say, UserError } from '../../scripts/lib/log.mjs';
import { parseOptions } from '../../scripts/lib/options.mjs';
import { inProject } from '../../scripts/lib/paths.mjs';
import { boxNames, parseBoxName } from '../../scripts/lib/suites.mjs';
import { loadBench } from '../bench/load.mjs';

const HELP = `npm run soak -- [load] [options]
  Three Orthancs (plain, A2, plain with resets) in use for a long time: sizes from 1 kB to 30 MB, moves, a store
  whose connections break, and which fails or is late now and then. Exit code 0: all bytes were right, nothing is
  lost, and memory, descriptors, threads and latencies of the last third are as in the middle third.
  --minutes N (20)      the first third warms up; less than 10 tell little about memory
  --provider NAME (s3)  s3, azure or google
  --clients N (2)       of each Orthanc
  --out DIR (build/soak)  for the figures (soak.json) and plots

npm run soak -- moves [options]
  Orthanc is reset and stopped in the middle of moves, with clients at work. Exit code 0: it did not die of that,
  and nothing is lost. Takes an hour or two.
  --resets N (200)  --sigterms N (200)  --at-once N (4)  --instances N (150)  --delays MS-MS (50-200)
  --clients N (4)   --seed N            --asan: the plugin that was built with the address sanitizer

npm run soak -- kills [options]
  Orthanc is killed (SIGKILL) at random moments, while clients post, read and delete, and LocalCache uploads behind.
  Exit code 0: nothing acknowledged is lost, nothing removed came back, no byte is wrong, and "verify --deep" agrees.
  --kills N (200)  --format plain|A1|A2 (plain)  --delays MS-MS (50-200)  --clients N (4)  --seed N

All: --box trixie|testing (load, kills: trixie; moves: both)  --plugin FILE (built by default)`;

const COMMON = {
  help: { type: 'boolean', default: false },
  box: { type: 'string' },
  plugin: { type: 'string' },
};
const KINDS = {
  load: {
    run: runLoad,
    options: {
      minutes: { type: 'string', default: '20' },
      provider: { type: 'string', default: 's3' },
      clients: { type: 'string', default: '2' },
      out: { type: 'string', default: inProject('build', 'soak') },
    },
  },
  moves: {
    run: runMoves,
    options: {
      resets: { type: 'string', default: '200' },
      sigterms: { type: 'string', default: '200' },
      'at-once': { type: 'string', default: '4' },
      instances: { type: 'string', default: '150' },
      delays: { type: 'string', default: '50-200' },
      clients: { type: 'string', default: '4' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      asan: { type: 'boolean', default: false },
    },
  },
  kills: {
    run: runKills,
    options: {
      kills: { type: 'string', default: '200' },
      format: { type: 'string', default: 'plain' },
      delays: { type: 'string', default: '50-200' },
      clients: { type: 'string', default: '4' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    },
  },
};

runMain(async () => {
  const [first = '--'] = process.argv.slice(2);
  const kind = KINDS[first.startsWith('-') ? 'load' : first];
  if (kind === undefined) throw new UserError(HELP);
  const { values } = parseOptions({ ...COMMON, ...kind.options });
  if (values.help) {
    console.log(HELP);
    return 0;
  }
  await ensureDependencies();
  return (await kind.run(values)) === 0 ? 0 : 1;
});

async function runLoad(values) {
  const box = parseBoxName(values.box ?? 'trixie');
  const { main } = await load('load.soak.ts', box, values);
  return await main({
    minutes: Number(values.minutes),
    provider: values.provider,
    clients: Number(values.clients),
    out: values.out,
  });
}

async function runMoves(values) {
  let problems = 0;
  for (const box of (values.box ?? boxNames.join(',')).split(',').map(parseBoxName)) {
    const { main } = await load('moves.soak.ts', box, values);
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
  return problems;
}

async function runKills(values) {
  const { main } = await load('kills.soak.ts', parseBoxName(values.box ?? 'trixie'), values);
  return await main({
    kills: Number(values.kills),
    format: values.format,
    delaysMs: values.delays.split('-').map(Number),
    clients: Number(values.clients),
    seed: Number(values.seed),
  });
}

async function load(entry, box, values) {
  const variant = values.asan ? 'asan' : 'release';
  if (values.plugin === undefined) {
    await buildBundle();
    await buildNative({ box, variant });
  }
  // What the AWS SDK says about Node 20 is known.
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = 'true';
  const plugin = values.plugin ?? `${findBuildFolder(box, variant)}/${pluginFile}`;
  return await loadBench(`../soak/${entry}`, { box, plugin });
}
