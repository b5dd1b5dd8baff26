// SPDX-License-Identifier: GPL-3.0-or-later
// node test/bench/orthanc.mjs [--box trixie|testing] [--plugin FILE] [--rounds N]: what the plugin adds to Orthanc, beside Orthanc
// without it in the same run: time to start, idle memory, peak memory of 200 MB in and out. FILE is built beforehand.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { build } from 'esbuild';

const { values } = parseArgs({
  options: {
    box: { type: 'string', default: 'trixie' },
    plugin: { type: 'string' },
    rounds: { type: 'string', default: '7' },
  },
});
process.env.OOS_BOX = values.box;
if (values.plugin !== undefined) process.env.OOS_PLUGIN = resolve(values.plugin);

const folder = mkdtempSync(join(tmpdir(), 'orthanc-bench-'));
try {
  const outfile = join(folder, 'bench.mjs');
  await build({
    entryPoints: [fileURLToPath(new URL('orthanc.bench.ts', import.meta.url))],
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    outfile,
    logLevel: 'error',
    plugins: [
      {
        // They know the project by where they lie.
        name: 'scripts',
        setup: (esbuild) =>
          esbuild.onResolve({ filter: /\/scripts\/.*\.mjs$/ }, ({ path, resolveDir }) => ({
            path: resolve(resolveDir, path),
            external: true,
          })),
      },
    ],
  });
  const { main } = await import(outfile);
  await main(Number(values.rounds));
} finally {
  rmSync(folder, { recursive: true, force: true });
}
