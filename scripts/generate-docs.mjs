// SPDX-License-Identifier: GPL-3.0-or-later
// Writes docs/configuration.md and docs/configuration.schema.json from the schemas in src/config.
//   node scripts/generate-docs.mjs           writes them
//   node scripts/generate-docs.mjs --check   exits with 1 when they are not what it would write

import { readFile, writeFile } from 'node:fs/promises';
import { build } from 'esbuild';
import { inProject } from './lib/paths.mjs';

const isCheck = process.argv.includes('--check');

// Node 20 reads no TypeScript. The bundle imports nothing but Node's own modules, so that it needs no place in the file system.
const { outputFiles } = await build({
  entryPoints: [inProject('src/config/docs.ts')],
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  write: false,
  logLevel: 'error',
});
const code = Buffer.from(outputFiles[0].contents).toString('base64');
const { renderMarkdown, renderJsonSchema } = await import(`data:text/javascript;base64,${code}`);

const files = {
  'docs/configuration.md': renderMarkdown(),
  'docs/configuration.schema.json': renderJsonSchema(),
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
