// SPDX-License-Identifier: GPL-3.0-or-later
// Writes docs/configuration.md and docs/configuration.schema.json from the settings in src/config and src/providers, and the tables of
// docs/metrics.md from src/plugin/metrics.ts.
//   node scripts/generate-docs.mjs           writes them
//   node scripts/generate-docs.mjs --check   exits with 1 when they are not what it would write

import { readFile, writeFile } from 'node:fs/promises';
import { fillIn, renderMetrics } from './lib/docs-tables.mjs';
import { inProject } from './lib/paths.mjs';
import { importTypeScript } from './lib/typescript.mjs';

const isCheck = process.argv.includes('--check');

const { renderMarkdown, renderJsonSchema, PROVIDERS, METRIC_GROUPS, METRIC_PREFIX } =
  await importTypeScript(['config/docs.ts', 'providers/index.ts', 'plugin/metrics.ts']);
/** @param {string} name */
const page = (name) => readFile(inProject('docs', name), 'utf8');

const files = {
  'docs/configuration.md': renderMarkdown(PROVIDERS),
  'docs/configuration.schema.json': renderJsonSchema(PROVIDERS),
  'docs/metrics.md': fillIn(
    await page('metrics.md'),
    'metrics',
    renderMetrics(METRIC_GROUPS, METRIC_PREFIX),
  ),
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
