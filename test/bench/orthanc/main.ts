// SPDX-License-Identifier: GPL-3.0-or-later

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { arch, cpus } from 'node:os';

import { inProject } from '../../../scripts/lib/paths.mjs';
import { boxName } from '../../support/world.ts';
import { measure, type Plan, type Results } from './measure.ts';
import { makePlots } from './plots.ts';
import { report } from './report.ts';

export interface Output {
  /** The command that does this again. */
  readonly command: string;
  /** All that was measured, round by round. */
  readonly json: string | undefined;
  readonly writeDocs: boolean;
}

export async function main(plan: Plan, output: Output): Promise<void> {
  const results = await measure(plan, (line) => {
    process.stderr.write(`  ${line}\n`);
  });
  const machine = `${cpus().length} × ${cpus()[0]?.model ?? ''} (${arch()}), ${boxName}`;
  const text = report(results);
  console.log(`\n${output.command} on ${machine}\n\n${text}`);
  if (output.json !== undefined) {
    await writeFile(output.json, JSON.stringify({ ...output, machine, plan, ...results }, null, 1));
  }
  if (output.writeDocs) await writeDocs(results, text, `\`${output.command}\` on ${machine}.`);
}

/** Between these lines of docs/performance.md. */
const MARKS = ['<!-- npm run bench -->', '<!-- end -->'] as const;

async function writeDocs(results: Results, text: string, origin: string): Promise<void> {
  const file = inProject('docs', 'performance.md');
  const docs = await readFile(file, 'utf8');
  const [begin, end] = MARKS.map((mark) => docs.indexOf(mark));
  if (begin === undefined || end === undefined || begin < 0 || end < begin) {
    throw new Error(`${file} has no lines ${MARKS.join(' and ')}`);
  }
  const folder = inProject('docs', 'plots');
  await mkdir(folder, { recursive: true });
  const plots = makePlots(results);
  for (const { file: name, svg } of plots) await writeFile(`${folder}/${name}`, svg);
  const images = plots.map(({ title, file: name }) => `![${title}](plots/${name})`);
  const section = [MARKS[0], origin, text.trim(), ...images].join('\n\n');
  await writeFile(file, `${docs.slice(0, begin)}${section}\n\n${docs.slice(end)}`);
}
