// SPDX-License-Identifier: GPL-3.0-or-later
// npm test -- [--only STEP,STEP…] [--box trixie|testing]: everything that is checked, ending with the sums.

import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';

import { ensureBox } from './lib/box.mjs';
import { buildBundle, buildNative } from './lib/build.mjs';
import { countCheck, formatCounts, sumCounts } from './lib/counts.mjs';
import { ensureDependencies } from './lib/dependencies.mjs';
import { checkNodeVersion } from './lib/host.mjs';
import { formatDuration, runMain, say, UserError } from './lib/log.mjs';
import { parseOptions } from './lib/options.mjs';
import { createServerCommand } from './lib/servers.mjs';
import { mapLimited, runTestStep, steps } from './lib/steps.mjs';
import { boxNames, parseBoxName } from './lib/suites.mjs';

/** @typedef {import('./lib/steps.mjs').Step} Step */

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
  await prepare(new Set(chosen.flatMap(({ needs }) => needs)), boxes, chosen);
  const runs = chosen.flatMap((step) =>
    (step.boxes === 'each' ? boxes : boxes.slice(0, 1)).map((box) => ({ step, box })),
  );
  const isAlone = (/** @type {{ step: Step }} */ { step }) => step.load === 'alone';
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
 * @param {ReadonlySet<Step['needs'][number]>} needs
 * @param {readonly import('./lib/suites.mjs').BoxName[]} boxes
 * @param {readonly Step[]} chosen
 */
async function prepare(needs, boxes, chosen) {
  const usesAllBoxes = chosen.some((step) => step.boxes === 'each');
  const usedBoxes = usesAllBoxes ? boxes : boxes.slice(0, 1);
  const needsBundle = needs.has('bundle') || needs.has('plugin');
  const bundled = ensureDependencies().then(() => (needsBundle ? buildBundle() : undefined));
  const built = usedBoxes.map(async (box) => {
    if (needs.has('box') || needs.has('plugin')) await ensureBox(box);
    await bundled;
    if (needs.has('plugin')) await buildNative({ box, target: undefined });
  });
  /** @type {import('./lib/servers.mjs').ServerName[]} */
  const servers = needs.has('servers') ? ['versitygw', 'fake-gcs-server', 'azurite'] : [];
  await Promise.all([bundled, ...built, ...servers.map(createServerCommand)]);
}

/** @param {{ step: Step, box: import('./lib/suites.mjs').BoxName }} run */
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
