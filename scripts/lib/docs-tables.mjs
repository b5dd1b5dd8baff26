// SPDX-License-Identifier: GPL-3.0-or-later
// The generated parts of pages that are otherwise written by hand.

/**
 * Puts text between "<!-- generated: NAME -->" and the "<!-- end -->" behind it.
 * @param {string} page
 * @param {string} name
 * @param {string} text
 */
export function fillIn(page, name, text) {
  const begin = `<!-- generated: ${name} -->`;
  const start = page.indexOf(begin);
  const end = page.indexOf('<!-- end -->', start);
  if (start < 0 || end < 0) throw new Error(`the page has no place for "${name}"`);
  return `${page.slice(0, start + begin.length)}\n\n${text.trim()}\n\n${page.slice(end)}`;
}

/**
 * @param {readonly string[]} head
 * @param {readonly (readonly string[])[]} rows
 */
export function table(head, rows) {
  const lines = [head, head.map(() => '---'), ...rows];
  return lines
    .map((cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`)
    .join('\n');
}

/**
 * @param {readonly import('../../src/plugin/metrics.ts').MetricGroup[]} groups
 * @param {string} prefix
 */
export function renderMetrics(groups, prefix) {
  return groups
    .map(({ title, note, metrics }) => {
      const rows = metrics.map(({ name, type, unit, meaning, act = '' }) => [
        `\`${prefix}${name}\``,
        type,
        unit,
        meaning,
        act,
      ]);
      const head = ['metric', 'type', 'unit', 'meaning', 'act when'];
      return [`### ${title}`, ...(note === undefined ? [] : [note]), table(head, rows)].join(
        '\n\n',
      );
    })
    .join('\n\n');
}
