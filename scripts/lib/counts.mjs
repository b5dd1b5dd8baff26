// SPDX-License-Identifier: GPL-3.0-or-later
// How many tests a runner passed, failed and skipped, from the report that it wrote.

import { readFile } from 'node:fs/promises';

/**
 * @typedef {{ passed: number, failed: number, skipped: number, skips: readonly string[] }} Counts
 *   skips: the names of skipped tests, where the runner tells them; they are to say why
 */

/** @type {Readonly<Counts>} */
export const noCounts = { passed: 0, failed: 0, skipped: 0, skips: [] };

/** @param {readonly Counts[]} all @returns {Counts} */
export function sumCounts(all) {
  const sum = { ...noCounts };
  for (const { passed, failed, skipped, skips } of all) {
    sum.passed += passed;
    sum.failed += failed;
    sum.skipped += skipped;
    sum.skips = [...sum.skips, ...skips];
  }
  return sum;
}

/** @param {Counts} counts @returns {string} such as "12 passed, 0 failed, 1 skipped" */
export function formatCounts({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}

/**
 * A runner that complains without naming a failed test, or that ran none, has failed once.
 * @param {Counts} counts
 * @param {number} exitCode
 * @returns {Counts}
 */
export function judge(counts, exitCode) {
  const isSilent = counts.failed === 0 && (exitCode !== 0 || counts.passed + counts.skipped === 0);
  return isSilent ? { ...counts, failed: 1 } : counts;
}

/** A check that has no tests counts as one. @param {number} exitCode @returns {Counts} */
export const countCheck = (exitCode) =>
  exitCode === 0 ? { ...noCounts, passed: 1 } : { ...noCounts, failed: 1 };

/**
 * @param {string} file by vitest's json reporter
 * @returns {Promise<Counts>}
 */
export async function readVitestCounts(file) {
  const text = await readFile(file, 'utf8').catch(() => undefined);
  if (text === undefined) return noCounts;
  const report = JSON.parse(text);
  // A file that could not be loaded has no tests to report.
  const broken = report.testResults.filter(
    ({ status, assertionResults }) => status === 'failed' && assertionResults.length === 0,
  );
  return {
    passed: report.numPassedTests,
    failed: report.numFailedTests + broken.length,
    skipped: report.numPendingTests + report.numTodoTests,
    skips: report.testResults
      .flatMap(({ assertionResults }) => assertionResults)
      .filter(({ status }) => status === 'skipped' || status === 'todo')
      .map(({ fullName }) => fullName),
  };
}

/**
 * @param {string} file by "ctest --output-junit"
 * @returns {Promise<Counts>}
 */
export async function readJunitCounts(file) {
  const text = await readFile(file, 'utf8').catch(() => undefined);
  const head = /<testsuite\b[^>]*>/.exec(text ?? '')?.[0];
  if (head === undefined) return noCounts;
  const read = (/** @type {string} */ name) =>
    Number(new RegExp(`\\b${name}="(\\d+)"`).exec(head)?.[1] ?? 0);
  const skipped = read('skipped') + read('disabled');
  const failed = read('failures');
  return { passed: read('tests') - failed - skipped, failed, skipped, skips: [] };
}
