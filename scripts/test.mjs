// SPDX-License-Identifier: GPL-3.0-or-later
// npm test -- [--only STEP,STEP…] [--box trixie|testing]: everything that is checked, ending with the sums.

import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';

import { countCheck, formatCounts, sumCounts } from './lib/counts.mjs';
import { checkNodeVersion } from './lib/host.mjs';
import { formatDuration, runMain, say, UserError } from './lib/log.mjs';
import { createNeeds } from './lib/needs.mjs';
import { parseOptions } from './lib/options.mjs';
import { mapLimited, runTestStep, steps } from './lib/steps.mjs';
import { boxNames, parseBoxName } from './lib/suites.mjs';

/**
 * @typedef {import('./lib/steps.mjs').Step} Step
 * @typedef {{ step: Step, box: import('./lib/suites.mjs').BoxName, isFirstBox: boolean }} Run
 */

/** For servers, deadlines and loops that hang: two suites at once still have a core each. */
const waitingAtOnce = 2;
/** Lines of a failed step's log that are shown; the rest is in the file. */
const shownLines = 150;

runMain(async () => {
  checkNodeVersion();
  const { values } = parseOptions({ only: { type: 'string' }, box: { type: 'string' } });
  const boxes = values.box === undefined ? boxNames : values.box.split(',').map(parseBoxName);
  const chosen = chooseSteps(values.only);
  const startMs = performance.now();

  const counts = await runAll(chosen, boxes);
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
    (step.boxes === 'each' ? boxes : boxes.slice(0, 1)).map((box, index) => ({
      step,
      box,
      isFirstBox: index === 0,
    })),
  );
  const getNeed = createNeeds();
  /** @type {Map<Run, Promise<unknown>>} */
  const ready = new Map(runs.map((run) => [run, getNeeds(run, getNeed)]));
  /** @param {Run} run */
  const runReady = async (run) => {
    const isReady = await ready.get(run)?.then(
      () => true,
      () => false,
    );
    return isReady ? await runOne(run) : reportUnready(run);
  };

  const having = (/** @type {Step['load']} */ load) =>
    runs.filter(({ step }) => step.load === load);
  const first = await mapLimited(having('computes'), availableParallelism(), runReady);
  await Promise.allSettled(ready.values()); // nothing is to be compiled beside what minds the time
  const second = await mapLimited(having('waits'), waitingAtOnce, runReady);
  const third = await mapLimited(having('fills'), 1, runReady);
  return [...first, ...second, ...third];
}

/** @param {Run} run @param {ReturnType<typeof createNeeds>} getNeed */
function getNeeds({ step, box }, getNeed) {
  const all = ['dependencies', ...step.needs].map((need) => getNeed(need, box));
  return Promise.all(all);
}

/** @param {Run} run */
const formatTitle = ({ step, box }) =>
  step.boxes === 'each' ? `${step.name} (${box})` : step.name;

/** @param {Run} run */
function reportUnready(run) {
  const counts = countCheck(1);
  say(`✗ ${formatTitle(run)}: ${formatCounts(counts)}: what it needs could not be had (see above)`);
  return counts;
}

/** @param {Run} run */
async function runOne(run) {
  const { step, box, isFirstBox } = run;
  const title = formatTitle(run);
  const startMs = performance.now();
  say(`▸ ${title} …`);
  const { counts, logFile } = await runTestStep(step, box, isFirstBox);
  if (counts.failed > 0) {
    const lines = (await readFile(logFile, 'utf8')).trimEnd().split('\n');
    say(lines.slice(-shownLines).join('\n'));
  }
  const duration = formatDuration(performance.now() - startMs);
  const mark = counts.failed > 0 ? '✗' : '✓';
  const where = counts.failed > 0 ? `; its output is in ${logFile}` : '';
  say(`${mark} ${title}: ${formatCounts(counts)} (${duration})${where}`);
  for (const name of counts.skips) say(`  skipped: ${name}`);
  return counts;
}
