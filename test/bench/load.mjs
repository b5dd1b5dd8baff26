// SPDX-License-Identifier: GPL-3.0-or-later
// Benches of whole Orthancs, in TypeScript, as the tests whose support they use.

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

import { build } from 'esbuild';

import { inProject } from '../../scripts/lib/paths.mjs';

/**
 * @param {string} entry a file of this folder
 * @param {{ readonly box: string, readonly plugin?: string | undefined }} options what test/support/world.ts goes by
 * @returns its exports
 */
export async function loadBench(entry, { box, plugin }) {
  process.env.OOS_BOX = box;
  if (plugin !== undefined) process.env.OOS_PLUGIN = resolve(plugin);
  // In the project, where Node finds the packages.
  mkdirSync(inProject('build'), { recursive: true });
  const folder = mkdtempSync(inProject('build', 'bench-'));
  try {
    const outfile = join(folder, 'bench.mjs');
    await build({
      entryPoints: [fileURLToPath(new URL(entry, import.meta.url))],
      bundle: true,
      platform: 'node',
      format: 'esm',
      target: 'node20',
      packages: 'external',
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
    return await import(outfile);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
