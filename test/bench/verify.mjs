// SPDX-License-Identifier: GPL-3.0-or-later
// node test/bench/verify.mjs [objects …]: how fast verify is, and what it holds in memory. Each size in a process of its own.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';

const folder = mkdtempSync(join(tmpdir(), 'oos-bench-'));
try {
  const outfile = join(folder, 'verify.mjs');
  await build({
    entryPoints: [join(import.meta.dirname, 'verify.bench.ts')],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    external: ['zod', '@aws-sdk/*'],
  });
  const sizes = process.argv.slice(2);
  for (const size of sizes.length === 0 ? ['10000', '100000'] : sizes) {
    execFileSync(process.execPath, [outfile, size], { stdio: 'inherit' });
  }
} finally {
  rmSync(folder, { recursive: true });
}
