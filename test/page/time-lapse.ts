// SPDX-License-Identifier: GPL-3.0-or-later
// The built bundle with an hour that passes in minutes, for ORTHANC_OBJECT_STORAGE_BUNDLE: plots of an hour need not wait for one.

import { writeFile } from 'node:fs/promises';
import { SAMPLE_SECONDS } from '../../src/plugin/history.ts';

const HOUR_MS = 3_600_000;

/** Writes the wrapper. Only the times of samples pass faster: at the end they have come to the present.
 *  @param bundle the real one
 *  @param lapseMs how long an hour takes */
export async function writeTimeLapse(path: string, bundle: string, lapseMs: number): Promise<void> {
  const factor = HOUR_MS / lapseMs;
  await writeFile(
    path,
    `
const real = require(${JSON.stringify(bundle)});
const startedMs = Date.now();
const setReal = globalThis.setInterval;
const now = Date.now;
const lapsed = () => startedMs + ${lapseMs} - (startedMs + ${lapseMs} - now()) * ${factor};
const sample = (take) => () => {
  Date.now = lapsed;
  take();
  Date.now = now;
};
globalThis.setInterval = (action, ms, ...rest) =>
  ms === ${SAMPLE_SECONDS * 1000} ? setReal(sample(action), ms / ${factor}) : setReal(action, ms, ...rest);
exports.main = real.main;
`,
  );
}
