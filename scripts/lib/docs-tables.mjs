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

/** Orthanc's answer to its client, by the OrthancPluginErrorCode. @type {Readonly<Record<string, string>>} */
const ANSWERS = { InexistentFile: '404', BadRange: '416' };

/** @param {Readonly<Record<string, import('../../src/error-codes.ts').ErrorCode>>} codes */
export function renderCodes(codes) {
  const rows = Object.entries(codes).map(([code, { orthanc, meaning, advice }]) => [
    `\`${code}\``,
    ANSWERS[orthanc] ?? '500',
    meaning,
    advice,
  ]);
  return table(['code', 'client gets', 'it means', 'do this'], rows);
}

/** @param {readonly import('./messages/catalogue.mjs').Group[]} groups */
export function renderMessages(groups) {
  return groups
    .map(({ level, title, introduction, isList, rows }) => {
      const parts = [`${'#'.repeat(level)} ${title}`];
      if (introduction.length > 0) parts.push(introduction.join('\n'));
      if (rows.length > 0) parts.push(isList ? list(rows) : messageTable(rows));
      return parts.join('\n\n');
    })
    .join('\n\n');
}

/** @param {readonly import('./messages/catalogue.mjs').Row[]} rows */
function messageTable(rows) {
  const hasKinds = rows.some(({ kind }) => kind !== undefined);
  const shown = rows.map(({ text, kind, advice }) => [
    codeSpan(text),
    ...(hasKinds ? [kind === undefined ? '' : `\`${kind}\``] : []),
    advice,
  ]);
  return table(
    ['message', ...(hasKinds ? ['code or level'] : []), 'what it means, what to do'],
    shown,
  );
}

/** @param {readonly import('./messages/catalogue.mjs').Row[]} rows */
const list = (rows) => rows.map(({ text }) => `- ${codeSpan(text)}`).join('\n');

/** The first line of several. @param {string} text */
function codeSpan(text) {
  const [first = '', ...more] = text.split('\n');
  return `\`${first}${more.length > 0 ? ' …' : ''}\``;
}
