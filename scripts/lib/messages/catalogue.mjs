// SPDX-License-Identifier: GPL-3.0-or-later
// Reads catalogue.txt, and finds the place of each message in it.

/**
 * @typedef {import('./extract.mjs').Message} Message
 * @typedef {object} Row
 * @property {string} text
 * @property {string | undefined} kind
 * @property {string} advice "" in a list
 * @property {number} order by the catalogue, then by the sources
 * @typedef {object} Group
 * @property {number} level 2 or 3, of its heading
 * @property {string} title
 * @property {string[]} introduction
 * @property {boolean} isList
 * @property {Set<string>} files that it may name messages of
 * @property {Set<string>} ownFiles whose messages it has, also where it does not name them
 * @property {Row[]} rows
 */

/** As the catalogue writes it. @param {string} text */
const escapeText = (text) => text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');

/** @param {string} file @param {string} text */
const keyOf = (file, text) => `${file}\n${text}`;

/**
 * @param {string} catalogue the text of catalogue.txt
 * @param {readonly Message[]} messages
 * @returns {{ groups: readonly Group[], problems: readonly string[] }}
 */
export function arrange(catalogue, messages) {
  const { groups, parts, claims, problems } = read(catalogue, messages);
  for (const { file, text, kind } of messages) {
    const key = keyOf(file, text);
    const claim = claims.get(key);
    if (claim !== undefined) {
      add(claim.group, text, kind, claim.advice, claim.order);
      if (parts.has(key)) problems.push(`${file}: is both a message and none: - ${text}`);
      continue;
    }
    if (parts.has(key)) continue;
    const advised = splitAdvice(text);
    const own = groups.filter(({ ownFiles }) => ownFiles.has(file));
    const group = own.find(({ isList }) => isList || advised !== undefined);
    if (group === undefined) {
      problems.push(`${file}: has no place: ? ${escapeText(text)}`);
    } else if (group.isList || advised === undefined) {
      add(group, text, kind, '');
    } else {
      add(group, advised.what, kind, advised.advice);
    }
  }
  for (const { rows } of groups) rows.sort((one, other) => one.order - other.order);
  return { groups, problems };
}

/** Behind all that the catalogue names; the order of equal ones stays. */
const LAST = Number.MAX_SAFE_INTEGER;

/** @param {Group} group @param {string} text @param {string | undefined} kind @param {string} advice @param {number} [order] */
function add(group, text, kind, advice, order = LAST) {
  const same = group.rows.find((row) => row.text === text);
  if (same === undefined) group.rows.push({ text, kind, advice, order });
  else if (same.kind !== kind) same.kind = undefined;
}

/**
 * "what is wrong; what to do", as most messages are.
 * @param {string} text
 */
function splitAdvice(text) {
  const at = text.indexOf('; ');
  const what = text.slice(0, at);
  const isOpen = (what.match(/\(/g)?.length ?? 0) !== (what.match(/\)/g)?.length ?? 0);
  if (at < 0 || isOpen) return undefined;
  // What is in brackets at the end, or may follow, is no advice.
  const advice = text
    .slice(at + 2)
    .replace(/ \(…\)…*$/, '')
    .replace(/(?<=\w)…+$/, '');
  if (/^correct …+$/.test(advice)) return { what, advice: 'Correct the setting that it names.' };
  const end = /[.?]$/.test(advice) ? '' : '.';
  return { what, advice: `${advice.charAt(0).toUpperCase()}${advice.slice(1)}${end}` };
}

/** @param {string} catalogue @param {readonly Message[]} messages */
function read(catalogue, messages) {
  /** @type {Group[]} */ const groups = [];
  /** @type {Set<string>} */ const parts = new Set();
  /** @type {Map<string, { group: Group, advice: string, order: number }>} */ const claims =
    new Map();
  /** @type {string[]} */ const problems = [];
  /** @type {{ keys: string[], line: string } | undefined} */ let asked;
  for (const line of catalogue.split('\n')) {
    const group = groups.at(-1);
    const rest = line.slice(2);
    if (line.startsWith('#') || line.trim() === '') continue;
    const [, marks, title] = /^(={2,3}) (.+)$/.exec(line) ?? [];
    if (marks !== undefined && title !== undefined) {
      groups.push({
        level: marks.length,
        title,
        introduction: [],
        isList: false,
        files: new Set(),
        ownFiles: new Set(),
        rows: [],
      });
    } else if (group === undefined) {
      problems.push(`stands before the first group: ${line}`);
    } else if (/^@!? /.test(line)) {
      for (const file of line.replace(/^@!? /, '').split(', ')) {
        group.files.add(file);
        if (line.startsWith('@ ')) group.ownFiles.add(file);
        if (!messages.some((message) => message.file === file)) {
          problems.push(`${file}: is no file with messages`);
        }
      }
    } else if (line === '! list') {
      group.isList = true;
    } else if (line.startsWith('? ') || line.startsWith('- ')) {
      const text = rest.replace(/\\(.)/g, (_, sign) => (sign === 'n' ? '\n' : sign));
      const keys = messages
        .filter(({ file }) => group.files.has(file))
        .filter((message) =>
          text.endsWith('~') ? message.text.startsWith(text.slice(0, -1)) : message.text === text,
        )
        .map((message) => keyOf(message.file, message.text));
      if (keys.length === 0) problems.push(`"${group.title}": is no message of its files: ${line}`);
      if (line.startsWith('- ')) for (const key of keys) parts.add(key);
      else for (const key of keys) claims.set(key, { group, advice: '', order: claims.size });
      asked = line.startsWith('? ') ? { keys, line } : undefined;
    } else if (line.startsWith('  ') && asked !== undefined) {
      for (const key of asked.keys)
        claims.set(key, { group, advice: line.trim(), order: claims.size });
      asked = undefined;
    } else {
      group.introduction.push(line);
    }
  }
  for (const [key, { advice }] of claims) {
    if (advice === '') problems.push(`has no explanation: ? ${key.replace('\n', ': ')}`);
  }
  return { groups, parts, claims, problems };
}
