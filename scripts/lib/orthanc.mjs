// SPDX-License-Identifier: GPL-3.0-or-later
// Orthanc itself: its configuration files, starting it, waiting until it answers.

import { open, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

import { spawnInBox } from './box.mjs';
import { UserError } from './log.mjs';

/** Lines of Orthanc's log that a failed start shows. */
const shownLines = 30;

/**
 * Reads a configuration file as Orthanc does: JSON with comments.
 * @param {string} file
 * @returns {Promise<Record<string, any>>}
 */
export async function readConfiguration(file) {
  const text = await readFile(file, 'utf8');
  // A string is matched first, so that what looks like a comment in it stays.
  const bare = text.replace(
    /("(?:[^"\\]|\\.)*")|\/\/[^\n]*|\/\*[\s\S]*?\*\//g,
    (_, string) => string ?? '',
  );
  try {
    return JSON.parse(bare);
  } catch (error) {
    throw new UserError(`${file}: ${error.message}`);
  }
}

/**
 * Starts Orthanc in a box, in a process group of its own: Ctrl-C at the terminal spares it, so that
 * whoever started it can end it before the store that it needs.
 * @param {import('./box.mjs').Box} box
 * @param {string} configurationFile
 * @param {string} logFile begun anew
 */
export async function spawnOrthanc(box, configurationFile, logFile) {
  const log = await open(logFile, 'w');
  try {
    const stdio = /** @type {const} */ (['ignore', log.fd, log.fd]);
    return spawnInBox(box, ['Orthanc', configurationFile], { stdio, detached: true });
  } finally {
    await log.close();
  }
}

/**
 * Waits until Orthanc's REST API answers.
 * @param {import('node:child_process').ChildProcess} child
 * @param {string} url such as "http://127.0.0.1:8042"
 * @param {string} logFile
 * @param {number} [timeoutMs]
 * @throws UserError with the end of its log, if it ended or does not answer
 */
export async function waitForOrthanc(child, url, logFile, timeoutMs = 60_000) {
  let ended = false;
  child.once('exit', () => {
    ended = true;
  });
  const deadline = performance.now() + timeoutMs;
  while (!ended && performance.now() < deadline) {
    const answer = await fetch(`${url}/system`, { signal: AbortSignal.timeout(2_000) }).catch(
      () => {},
    );
    await answer?.arrayBuffer().catch(() => {});
    // 401: it answers its own users only.
    if ((answer?.ok || answer?.status === 401) && !ended) return;
    await sleep(100);
  }
  const lines = (await readFile(logFile, 'utf8')).trimEnd().split('\n');
  throw new UserError(
    `Orthanc ${ended ? 'did not start' : `does not answer at ${url}`}. The end of ${logFile}:\n` +
      lines.slice(-shownLines).join('\n'),
  );
}
