// SPDX-License-Identifier: GPL-3.0-or-later
// Writes docs/configuration.md and docs/configuration.schema.json from the settings in src/config and src/providers, and the tables of
// docs/metrics.md from src/plugin/metrics.ts, and docs/messages.md from all texts of src and native.
//   node scripts/generate-docs.mjs           writes them
//   node scripts/generate-docs.mjs --check   exits with 1 when they are not what it would write

import { readFile, writeFile } from 'node:fs/promises';
import { fillIn, renderCodes, renderMessages, renderMetrics } from './lib/docs-tables.mjs';
import { arrange } from './lib/messages/catalogue.mjs';
import { extractMessages } from './lib/messages/extract.mjs';
import { inProject } from './lib/paths.mjs';
import { importTypeScript } from './lib/typescript.mjs';

const isCheck = process.argv.includes('--check');

const {
  renderMarkdown,
  renderJsonSchema,
  PROVIDERS,
  METRIC_GROUPS,
  METRIC_PREFIX,
  ERROR_CODES,
  RUNTIME_LOST,
} = await importTypeScript([
  'config/docs.ts',
  'providers/index.ts',
  'plugin/metrics.ts',
  'error-codes.ts',
]);
/** @param {string} name */
const page = (name) => readFile(inProject('docs', name), 'utf8');

const catalogue = inProject('scripts', 'lib', 'messages', 'catalogue.txt');
const { groups, problems } = arrange(await readFile(catalogue, 'utf8'), extractMessages());
const codes = renderCodes({ ...ERROR_CODES, RUNTIME_LOST });

const files = {
  'docs/configuration.md': renderMarkdown(PROVIDERS),
  'docs/configuration.schema.json': renderJsonSchema(PROVIDERS),
  'docs/metrics.md': fillIn(
    await page('metrics.md'),
    'metrics',
    renderMetrics(METRIC_GROUPS, METRIC_PREFIX),
  ),
  'docs/messages.md': fillIn(
    fillIn(await page('messages.md'), 'codes', codes),
    'messages',
    renderMessages(groups),
  ),
};

const stale = [];
for (const [path, text] of Object.entries(files)) {
  const present = await readFile(inProject(path), 'utf8').catch(() => undefined);
  if (present === text) continue;
  stale.push(path);
  if (!isCheck) await writeFile(inProject(path), text);
}

if (problems.length > 0) {
  console.error(`scripts/lib/messages/catalogue.txt:\n  ${problems.join('\n  ')}`);
  process.exitCode = 1;
} else if (isCheck && stale.length > 0) {
  console.error(`stale: ${stale.join(', ')}; run: node scripts/generate-docs.mjs`);
  process.exitCode = 1;
} else {
  console.log(stale.length === 0 ? 'up to date' : `written: ${stale.join(', ')}`);
}
