// SPDX-License-Identifier: GPL-3.0-or-later
// deploy/monitoring, beside the metrics that there are and the docs. `npm run monitoring:test` tries the files in Prometheus itself.

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { inProject } from '../../scripts/lib/paths.mjs';
import { METRIC_GROUPS, METRIC_PREFIX } from '../../src/plugin/metrics.ts';

const read = (...path: readonly string[]) => readFileSync(inProject(...path), 'utf8');
const alerts = read('deploy', 'monitoring', 'alerts.yml');
const dashboard = read('deploy', 'monitoring', 'grafana', 'dashboard.json');
const page = read('docs', 'metrics.md');

const METRICS = METRIC_GROUPS.flatMap(({ metrics }) => metrics);
const NAMES: ReadonlySet<string> = new Set(METRICS.map(({ name }) => `${METRIC_PREFIX}${name}`));

function namesIn(text: string): ReadonlySet<string> {
  return new Set([...text.matchAll(/\borthanc_object_storage_\w+/g)].map(([name]) => name));
}

test.each([
  ['the alerts', alerts],
  ['the dashboard', dashboard],
  ['the page', page],
])('%s know no other metrics than there are', (_, text) => {
  expect(namesIn(text).size).toBeGreaterThan(15);
  expect([...namesIn(text)].filter((name) => !NAMES.has(name))).toEqual([]);
});

test('what somebody has to act on is watched by an alert, and shown', () => {
  const urgent = METRICS.filter(({ act }) => act !== undefined).map(
    ({ name }) => `${METRIC_PREFIX}${name}`,
  );
  expect(urgent.filter((name) => !namesIn(dashboard).has(name))).toEqual([]);
  expect(urgent.filter((name) => !namesIn(alerts).has(name))).toEqual([]);
});

test('each alert says what it is and what to do, and has its place in the page', () => {
  const rules = alerts.split('      - alert: ').slice(1);
  const headings = [...page.matchAll(/^### (\w+)$/gm)].map(([, heading = '']) => heading);
  const names = rules.map((rule) => rule.split('\n', 1)[0] ?? '');
  expect(names.length).toBeGreaterThan(15);
  for (const [index, rule] of rules.entries()) {
    const name = names[index] ?? '';
    expect(rule).toMatch(/severity: (critical|warning)\n/);
    expect(rule).toMatch(/summary: ["'].*\{\{ \$labels\.instance \}\}/);
    expect(rule).toMatch(/description: ["'].{60,}["']\n/);
    expect(rule).toContain(`runbook_url: docs/metrics.md#${name.toLowerCase()}\n`);
    const severity = /severity: (\w+)/.exec(rule)?.[1] ?? '';
    const wait = /^ {8}for: (\d+)m$/m.exec(rule)?.[1];
    const when = wait === undefined ? 'at once' : `${wait} minute${wait === '1' ? '' : 's'}`;
    const [, text = ''] = page.split(`### ${name}\n\n`);
    expect(text.toLowerCase(), name).toMatch(new RegExp(`^\\*${severity}, ${when}\\.\\*`));
  }
  expect(names.filter((name) => !headings.includes(name))).toEqual([]);
});

test('what is to be searched in the log is a message', () => {
  const quoted = [...alerts.matchAll(/(?:log for|begins with) "(?<text>[^"]+)"/g)];
  const wanted = quoted.map(({ groups }) => groups?.['text'] ?? '');
  const messages = read('docs', 'messages.md');
  expect(wanted.length).toBeGreaterThan(4);
  expect(wanted.filter((text) => !messages.includes(text))).toEqual([]);
});

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly gridPos: {
    readonly x: number;
    readonly y: number;
    readonly w: number;
    readonly h: number;
  };
  readonly fieldConfig?: { readonly defaults: { readonly unit?: string } };
  readonly targets?: readonly { readonly expr: string; readonly legendFormat: string }[];
}

test('each panel of the dashboard says what it shows, of the chosen Orthancs, in its unit, in a place of its own', () => {
  const { panels } = JSON.parse(dashboard) as { readonly panels: readonly Panel[] };
  const shown = panels.filter(({ type }) => type !== 'row');
  expect(shown.length).toBeGreaterThan(20);
  expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
  for (const { title, description, fieldConfig, targets = [] } of shown) {
    expect(description, title).toMatch(/^[A-Z].+\.$/);
    expect(fieldConfig?.defaults.unit, title).toBeDefined();
    expect(targets.length, title).toBeGreaterThan(0);
    for (const { expr, legendFormat } of targets) {
      const all = expr.match(/orthanc_object_storage_\w+/g) ?? [];
      const chosen = expr.match(/orthanc_object_storage_\w+\{instance=~"\$instance"\}/g) ?? [];
      expect(chosen.length, expr).toBe(all.length);
      expect(legendFormat).toContain('{{instance}}');
    }
  }
  const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
    Array.from({ length: w * h }, (_, n) => `${x + (n % w)},${y + Math.floor(n / w)}`),
  );
  expect(new Set(cells).size).toBe(cells.length);
  expect(panels.every(({ gridPos: { x, w } }) => x + w <= 24)).toBe(true);
});
