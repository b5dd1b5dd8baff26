// SPDX-License-Identifier: GPL-3.0-or-later
// What the page costs: bytes, milliseconds, and time of the processor of an Orthanc that nobody else uses.

import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { createWorld } from '../support/world.ts';
import { expectText, openPage, PAGE_PATH, startBrowser } from './browser.ts';

const PAINTS = 7;
/** What an open page asks for, and how often (src/page/main.ts). */
const POLLED = [
  ['/object-storage/status', 5],
  ['/object-storage/history', 15],
  ['/jobs?expand', 15],
] as const;
const POLLS = 300;
/** Of Linux, in /proc/…/stat. */
const TICKS_PER_SECOND = 100;

export async function main(seconds: number): Promise<void> {
  const world = await createWorld();
  const browser = await startBrowser();
  const say = (line: string) => process.stdout.write(`${line}\n`);
  try {
    const orthanc = await world.start('figures');
    let [bytes, compressed] = [0, 0];
    for (const name of ['', 'page.js', 'page.css']) {
      const { body } = await orthanc.request('GET', `${PAGE_PATH}${name}`);
      bytes += body.length;
      compressed += gzipSync(body).length;
    }
    say(`size: ${bytes} bytes, ${compressed} where Orthanc compresses`);

    const paints: number[] = [];
    for (let index = 0; index < PAINTS; index += 1) {
      const { page } = await openPage(browser, orthanc.url);
      await expectText(page, '#sentence', /^All is well/);
      const script = "performance.getEntriesByName('first-contentful-paint')[0].startTime";
      paints.push(Number(await page.evaluate(script)));
      await page.context().close();
    }
    const sorted = paints.map(Math.round).toSorted((a, b) => a - b);
    say(`first paint: ${sorted[PAINTS >> 1]} ms (median of ${sorted.join(', ')})`);

    let share = 0;
    for (const [path, everySeconds] of POLLED) {
      const before = await ticksOf(orthanc.pid);
      for (let index = 0; index < POLLS; index += 1) await orthanc.request('GET', path);
      const ms = (((await ticksOf(orthanc.pid)) - before) / TICKS_PER_SECOND / POLLS) * 1000;
      share += ms / 1000 / everySeconds;
      say(`${path}: ${ms.toFixed(2)} ms of Orthanc's processor, every ${everySeconds} s`);
    }
    say(`all of them: ${percent(share)} of a core`);

    const before = await coreShare(orthanc.pid, seconds);
    const { page } = await openPage(browser, orthanc.url);
    await expectText(page, '#sentence', /^All is well/);
    const after = await coreShare(orthanc.pid, seconds);
    say(
      `time of the processor: ${percent(before)} of a core idle, ${percent(after)} with the page`,
    );
  } finally {
    await browser.close();
    await world.close();
  }
}

async function coreShare(pid: number, seconds: number): Promise<number> {
  const before = await ticksOf(pid);
  await sleep(seconds * 1000);
  return ((await ticksOf(pid)) - before) / TICKS_PER_SECOND / seconds;
}

async function ticksOf(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  // Behind the name, which may have blanks in it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

function percent(share: number): string {
  return `${(100 * share).toFixed(2)} %`;
}
