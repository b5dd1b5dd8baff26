// SPDX-License-Identifier: GPL-3.0-or-later
// npm test -- [--only STEP,STEP…] [--box trixie|testing]: everything that is checked, ending with the sums.

import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';

import { ensureBox } from './lib/box.mjs';
import { buildBundle, buildNative, variantNames } from './lib/build.mjs';
import { countCheck, formatCounts, sumCounts } from './lib/counts.mjs';
import { ensureDependencies } from './lib/dependencies.mjs';
import { checkNodeVersion } from './lib/host.mjs';
import { formatDuration, runMain, say, UserError } from './lib/log.mjs';
import { parseOptions } from './lib/options.mjs';
import { createServerCommand } from './lib/servers.mjs';
import { mapLimited, runTestStep, steps } from './lib/steps.mjs';
import { boxNames, parseBoxName } from './lib/suites.mjs';

/**
 * @typedef {import('./lib/steps.mjs').Step} Step
 * @typedef {{ step: Step, box: import('./lib/suites.mjs').BoxName }} Run
 */

/** Lines of a failed step's log that are shown; the rest is in the file. */
const shownLines = 150;

runMain(async () => {
  checkNodeVersion();
  const { values } = parseOptions({ only: { type: 'string' }, box: { type: 'string' } });
  const boxes = values.box === undefined ? boxNames : values.box.split(',').map(parseBoxName);
  const chosen = chooseSteps(values.only);
  const startMs = performance.now();

  const counts = await runAll(chosen, boxes).catch((error) => {
    // Without what the steps need, none of them can tell anything.
    say(error instanceof UserError ? `error: ${error.message}` : String(error?.stack ?? error));
    return [countCheck(1)];
  });

  const sum = sumCounts(counts);
  say(`\nnpm test took ${formatDuration(performance.now() - startMs)}.`);
  process.stdout.write(`${formatCounts(sum)}\n`);
  return sum.failed === 0 && sum.passed > 0 ? 0 : 1;
});

/** @param {string | undefined} only names, separated by commas */
function chooseSteps(only) {
  if (only === undefined) return steps;
  const names = only.split(',');
  const unknown = names.filter((name) => !steps.some((step) => step.name === name));
  if (unknown.length > 0) {
    const known = steps.map(({ name }) => name).join(', ');
    throw new UserError(`There is no step "${unknown.join('", "')}"; there are ${known}.`);
  }
  return steps.filter(({ name }) => names.includes(name));
}

/**
 * @param {readonly Step[]} chosen
 * @param {readonly import('./lib/suites.mjs').BoxName[]} boxes
 */
async function runAll(chosen, boxes) {
  const runs = chosen.flatMap((step) =>
    (step.boxes === 'each' ? boxes : boxes.slice(0, 1)).map((box) => ({ step, box })),
  );
  await prepare(runs);
  const isAlone = (/** @type {Run} */ { step }) => step.load === 'alone';
  const first = await mapLimited(
    runs.filter((run) => !isAlone(run)),
    availableParallelism(),
    runOne,
  );
  const second = await mapLimited(runs.filter(isAlone), 1, runOne);
  return [...first, ...second];
}

/**
 * Gets and builds what the steps need, side by side where it can be: most of it is waiting for
 * the network and for single-threaded installers.
 * @param {readonly Run[]} runs
 */
async function prepare(runs) {
  const needs = new Set(runs.flatMap(({ step }) => step.needs));
  const bundled = ensureDependencies().then(() =>
    isBundleNeeded(needs) ? buildBundle() : undefined,
  );
  /** @type {Map<string, Promise<unknown>>} */ const builds = new Map();
  for (const { step, box } of runs) {
    for (const variant of variantNames.filter((name) => step.needs.includes(name))) {
      const build = async () => {
        await Promise.all([bundled, ensureBox(box)]);
        await buildNative({ box, variant, withTests: true });
      };
      const key = `${box} ${variant}`;
      if (!builds.has(key)) builds.set(key, build());
    }
    if (step.needs.includes('box')) builds.set(box, ensureBox(box));
  }
  /** @type {import('./lib/servers.mjs').ServerName[]} */
  const servers = needs.has('servers') ? ['versitygw', 'fake-gcs-server', 'azurite'] : [];
  await Promise.all([bundled, ...builds.values(), ...servers.map(createServerCommand)]);
}

/** The native half embeds the bundle. @param {ReadonlySet<string>} needs */
const isBundleNeeded = (needs) =>
  needs.has('bundle') || variantNames.some((name) => needs.has(name));

/** @param {Run} run */
async function runOne({ step, box }) {
  const title = step.boxes === 'each' ? `${step.name} (${box})` : step.name;
  const startMs = performance.now();
  say(`▸ ${title} …`);
  const isShown = step.load === 'alone';
  const { counts, logFile } = await runTestStep(step, box, isShown);
  if (counts.failed > 0 && !isShown) {
    const lines = (await readFile(logFile, 'utf8')).trimEnd().split('\n');
    say(lines.slice(-shownLines).join('\n'));
  }
  const duration = formatDuration(performance.now() - startMs);
  const mark = counts.failed > 0 ? '✗' : '✓';
  const where = counts.failed > 0 ? `; its output is in ${logFile}` : '';
  say(`${mark} ${title}: ${formatCounts(counts)} (${duration})${where}`);
  return counts;
}
