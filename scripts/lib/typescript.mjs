// SPDX-License-Identifier: GPL-3.0-or-later
// What scripts take from src: Node 20 reads no TypeScript.

import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { inProject } from './paths.mjs';

/**
 * The stores, and the SDKs with them, are imported when a provider is opened.
 * @type {import('esbuild').Plugin}
 */
const withoutStores = {
  name: 'without-stores',
  setup({ onResolve }) {
    onResolve({ filter: /^\./ }, ({ kind, path }) =>
      kind === 'dynamic-import' ? { path, external: true } : undefined,
    );
  },
};

/**
 * @param {readonly string[]} files below src
 * @returns {Promise<Record<string, any>>} what they export, together
 */
export async function importTypeScript(files) {
  // Not before npm ci has brought it.
  const { build } = await import('esbuild');
  const folder = await mkdtemp(join(tmpdir(), 'oos-typescript-'));
  const outfile = join(folder, 'bundle.cjs');
  try {
    await build({
      stdin: {
        contents: files.map((file) => `export * from './src/${file}';`).join('\n'),
        resolveDir: inProject('.'),
      },
      bundle: true,
      platform: 'node',
      mainFields: ['module', 'main'],
      format: 'cjs',
      target: 'node20',
      outfile,
      logLevel: 'error',
      plugins: [withoutStores],
    });
    return createRequire(import.meta.url)(outfile);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
