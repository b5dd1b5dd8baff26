// SPDX-License-Identifier: GPL-3.0-or-later
// npm run bench:operations [-- s3|azure|google]: what one small operation costs the event loop, layer by layer, as Markdown tables.

import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { bundleBench } from './bundle.mjs';

const run = promisify(execFile);
const providers = process.argv.length > 2 ? process.argv.slice(2) : ['s3', 'azure', 'google'];

const WAYS = [
  ['transport', 'the transport by itself'],
  ['provider', 'with the provider'],
  ['plugin', 'from the shim to its answer'],
  ['a2', 'the same with A2'],
];
const CASES = [
  ['tags', 524_288, 'tags'],
  ['remove', 1_024, 'DELETE'],
  ['create', 1_024, 'PUT 1 kB'],
];
const FLAGS = ['--expose-gc', '--min-semi-space-size=16', '--no-warnings'];

const folder = await mkdtemp(join(tmpdir(), 'operations-bench-'));
try {
  const bundle = await bundleBench('operations.bench.ts', folder);
  const server = await bundleBench('operations-server.ts', folder, 'esm');
  for (const provider of providers) {
    console.log(`\n${provider}: µs of the event loop, and bytes allocated, per operation\n`);
    console.log(`| | ${CASES.map(([, , title]) => title).join(' | ')} |`);
    console.log(`| --- |${' --- |'.repeat(CASES.length)}`);
    for (const [way, name] of WAYS) {
      const cells = [];
      for (const [operation, bytes] of CASES) {
        const args = [...FLAGS, bundle, provider, way, operation, String(bytes), server];
        const { stdout } = await run(process.execPath, args);
        const figures = JSON.parse(stdout);
        cells.push(`${figures.us.toFixed(0)}; ${(figures.bytes / 1000).toFixed(1)} kB`);
      }
      console.log(`| ${name} | ${cells.join(' | ')} |`);
    }
  }
} finally {
  await rm(folder, { recursive: true });
}
