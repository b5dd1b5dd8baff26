// SPDX-License-Identifier: GPL-3.0-or-later
// A bench of TypeScript, bundled as scripts/bundle.mjs bundles the plugin.

import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { build } from 'esbuild';

const COMMON_JS = {
  define: { 'import.meta.url': '__bundleUrl' },
  banner: { js: "const __bundleUrl = require('node:url').pathToFileURL(__filename).href;" },
};

/**
 * @param {string} entry a file of this folder
 * @param {string} folder where the bundle goes
 * @param {'cjs' | 'esm'} format esm for what awaits at its top
 * @returns {Promise<string>} its path
 */
export async function bundleBench(entry, folder, format = 'cjs') {
  const outfile = join(folder, `${basename(entry, '.ts')}.${format === 'cjs' ? 'cjs' : 'mjs'}`);
  await build({
    entryPoints: [fileURLToPath(new URL(entry, import.meta.url))],
    outfile,
    bundle: true,
    platform: 'node',
    format,
    target: 'node20',
    logLevel: 'warning',
    mainFields: ['module', 'main'],
    external: ['encoding', 'supports-color'],
    ...(format === 'cjs' ? COMMON_JS : {}),
  });
  return outfile;
}
