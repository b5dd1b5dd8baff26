// SPDX-License-Identifier: GPL-3.0-or-later
// npm run bench, bench:quick: Orthanc with the plugin beside Orthanc's own folder, and beside whatever else is named. See docs/performance.md.
// Lists are separated by commas: --providers s3,azure,google --formats plain,A1,A2 --lanes 1,2 --clients 1,4,8,16 --operations
// POST,file,tags,archive,retrieve,DELETE --sizes 10k,512k,30M --delays 0,5,20,80 (ms). Any of the last four replaces the usual
// measurements by every combination of what is listed, --rounds N times for --seconds N each. --tls: the plugin reaches the store over TLS. --cache: also with
// LocalCache and WriteBack.
// Further columns, all repeatable: --plugin FILE --config FILE (another plugin; {STORE} in FILE is host and port of the store), --folder
// PATH (Orthanc's own storage, there), --bundle FILE (another build of src/: build/bundle/plugin.cjs of another clone).
// --json FILE keeps every round, --write-docs puts the tables and plots into docs/.

import { basename } from 'node:path';

import { buildBundle, buildNative, findBuildFolder, pluginFile } from '../../scripts/lib/build.mjs';
import { ensureDependencies } from '../../scripts/lib/dependencies.mjs';
import { runMain, UserError } from '../../scripts/lib/log.mjs';
import { parseOptions } from '../../scripts/lib/options.mjs';
import { parseBoxName } from '../../scripts/lib/suites.mjs';
import { loadBench } from './load.mjs';

const KNOWN = {
  providers: ['s3', 'azure', 'google'],
  formats: ['plain', 'A1', 'A2'],
  operations: ['POST', 'file', 'tags', 'archive', 'retrieve', 'DELETE'],
  sizes: ['10k', '512k', '30M'],
};
const SMALL = ['POST', 'file', 'tags', 'DELETE'];

/** Some 20 minutes. */
const USUAL = [
  {
    sizes: ['512k'],
    delaysMs: [0],
    clients: [1, 4, 8, 16],
    operations: SMALL,
    rounds: 5,
    seconds: 0.5,
  },
  {
    sizes: ['10k', '30M'],
    delaysMs: [0],
    clients: [1, 8],
    operations: SMALL,
    rounds: 3,
    seconds: 0.5,
  },
  {
    sizes: ['512k'],
    delaysMs: [5, 20, 80],
    clients: [1],
    operations: SMALL,
    rounds: 3,
    seconds: 0.7,
  },
  {
    sizes: ['512k'],
    delaysMs: [0],
    clients: [1, 8],
    operations: ['archive', 'retrieve'],
    rounds: 3,
    seconds: 1,
  },
];

/** Some 3 minutes. */
const QUICK = [
  { sizes: ['512k'], delaysMs: [0], clients: [1, 8], operations: SMALL, rounds: 5, seconds: 0.7 },
  { sizes: ['512k'], delaysMs: [20], clients: [1], operations: SMALL, rounds: 2, seconds: 0.7 },
];

runMain(async () => {
  const { values } = parseOptions({
    quick: { type: 'boolean', default: false },
    box: { type: 'string', default: 'trixie' },
    providers: { type: 'string' },
    formats: { type: 'string' },
    lanes: { type: 'string', default: '1' },
    clients: { type: 'string' },
    operations: { type: 'string' },
    sizes: { type: 'string' },
    delays: { type: 'string' },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    starts: { type: 'string' },
    tls: { type: 'boolean', default: false },
    cache: { type: 'boolean', default: false },
    plugin: { type: 'string', multiple: true, default: [] },
    config: { type: 'string', multiple: true, default: [] },
    folder: { type: 'string', multiple: true, default: [] },
    bundle: { type: 'string', multiple: true, default: [] },
    json: { type: 'string' },
    'write-docs': { type: 'boolean', default: false },
  });
  if (values.plugin.length !== values.config.length) {
    throw new UserError('Each --plugin needs a --config, in the same order.');
  }
  if (new Set(values.config.map((file) => basename(file))).size < values.config.length) {
    throw new UserError('Each --config needs a name of its own: the columns are called so.');
  }
  const plan = {
    wanted: {
      providers: split('providers', values.providers ?? (values.quick ? 's3' : undefined)),
      formats: split('formats', values.formats ?? (values.quick ? 'plain,A2' : undefined)),
      lanes: numbersOf(values.lanes),
      tls: values.tls,
      cache: values.cache,
      bundles: values.bundle,
      others: values.plugin.map((file, index) => ({ plugin: file, config: values.config[index] })),
      folders: values.folder,
    },
    blocks: chooseBlocks(values),
    starts: Number(values.starts ?? (values.quick ? 3 : 5)),
  };
  const box = parseBoxName(values.box);
  await ensureDependencies();
  await buildBundle();
  await buildNative({ box });
  const { main } = await loadBench('orthanc/main.ts', {
    box,
    plugin: `${findBuildFolder(box)}/${pluginFile}`,
  });
  await main(plan, {
    command: nameCommand(process.argv.slice(2)),
    json: values.json,
    writeDocs: values['write-docs'],
  });
});

function chooseBlocks({ quick, clients, operations, sizes, delays, rounds, seconds }) {
  const changes = {
    ...(rounds === undefined ? {} : { rounds: Number(rounds) }),
    ...(seconds === undefined ? {} : { seconds: Number(seconds) }),
  };
  const isUsual = [clients, operations, sizes, delays].every((list) => list === undefined);
  if (isUsual) return (quick ? QUICK : USUAL).map((block) => ({ ...block, ...changes }));
  const [first] = QUICK;
  return [
    {
      ...first,
      ...changes,
      ...(clients === undefined ? {} : { clients: numbersOf(clients) }),
      ...(operations === undefined ? {} : { operations: split('operations', operations) }),
      ...(sizes === undefined ? {} : { sizes: split('sizes', sizes) }),
      ...(delays === undefined ? {} : { delaysMs: numbersOf(delays) }),
    },
  ];
}

/** @returns all that are known where nothing is said */
function split(name, list) {
  const values = list?.split(',') ?? KNOWN[name];
  const unknown = values.find((value) => !KNOWN[name].includes(value));
  if (unknown === undefined) return values;
  throw new UserError(`--${name} has "${unknown}"; it takes ${KNOWN[name].join(', ')}`);
}

function numbersOf(list) {
  const numbers = list.split(',').map(Number);
  if (numbers.every(Number.isFinite)) return numbers;
  throw new UserError(`"${list}" are not all numbers`);
}

/** With files and folders by their names, which mean something on other machines as well. */
function nameCommand(args) {
  const name = args.includes('--quick') ? 'npm run bench:quick' : 'npm run bench';
  const words = args
    .filter((word) => word !== '--quick' && word !== '--write-docs')
    .map((word) => word.replace(/^.*\//, ''));
  return [name, ...(words.length === 0 ? [] : ['--', ...words])].join(' ');
}
