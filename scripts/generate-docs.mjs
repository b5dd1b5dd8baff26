// SPDX-License-Identifier: GPL-3.0-or-later
// Writes docs/configuration.md and docs/configuration.schema.json from the settings in src/config and src/providers.
//   node scripts/generate-docs.mjs           writes them
//   node scripts/generate-docs.mjs --check   exits with 1 when they are not what it would write

import { readFile, writeFile } from 'node:fs/promises';
import { build } from 'esbuild';
import { inProject } from './lib/paths.mjs';

const isCheck = process.argv.includes('--check');

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

// Node 20 reads no TypeScript. The bundle imports nothing but Node's own modules, so that it needs no place in the file system.
const { outputFiles } = await build({
  stdin: {
    contents:
      "export * from './src/config/docs.ts'; export { PROVIDERS } from './src/providers/index.ts';",
    resolveDir: inProject('.'),
  },
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  write: false,
  logLevel: 'error',
  plugins: [withoutStores],
});
const code = Buffer.from(outputFiles[0].contents).toString('base64');
const { renderMarkdown, renderJsonSchema, PROVIDERS } = await import(
  `data:text/javascript;base64,${code}`
);

const files = {
  'docs/configuration.md': renderMarkdown(PROVIDERS),
  'docs/configuration.schema.json': renderJsonSchema(PROVIDERS),
};

const stale = [];
for (const [path, text] of Object.entries(files)) {
  const present = await readFile(inProject(path), 'utf8').catch(() => undefined);
  if (present === text) continue;
  stale.push(path);
  if (!isCheck) await writeFile(inProject(path), text);
}

if (isCheck && stale.length > 0) {
  console.error(`stale: ${stale.join(', ')}; run: node scripts/generate-docs.mjs`);
  process.exitCode = 1;
} else {
  console.log(stale.length === 0 ? 'up to date' : `written: ${stale.join(', ')}`);
}
