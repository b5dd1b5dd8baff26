// SPDX-License-Identifier: GPL-3.0-or-later
// Finds what the product can print: all texts of more than one word in src and native, with "…" for what varies.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAst } from 'vitest/node';

import { inProject } from '../paths.mjs';

/**
 * @typedef {object} Message
 * @property {string} file below the project, such as "src/log.ts"
 * @property {string} text
 * @property {string | undefined} kind its error code, or its level in the log; undefined where the text alone does not tell
 */

/** Texts that no log and no command prints. */
const LEFT_OUT = [
  /^src\/page\//, // the page's own words
  /^src\/plugin\/page\.ts$/, // headers
  /^src\/config\/(docs|sample)\.ts$/, // files and pages that are written at build time
  /^src\/cli\/(completion|man-page)\.ts$/,
  /^src\/plugin\/metrics\.ts$/, // docs/metrics.md
  /^src\/error-codes\.ts$/, // a table of its own
  /^src\/config\/suggest\.ts$/, // other names of settings
  /\.d\.ts$/,
];

/** Their texts are help, or the documentation of settings and of this catalogue. */
const HELP_CALLS = new Set([
  ...['description', 'summary', 'usage', 'argument', 'option', 'requiredOption', 'addHelpText'],
  ...['Option', 'Argument'],
  ...['choice', 'optionalChoice', 'flag', 'optionalFlag', 'wholeNumber', 'documented'],
  ...['requiredText', 'optionalText', 'optionalAnyText', 'optionalSecret', 'optionalUrl'],
]);
const HELP_PROPERTIES = new Set(['description', 'meaning', 'advice', 'notes', 'elsewhere']);

const LEVELS = new Map([
  ['error', 'E'],
  ['warning', 'W'],
  ['info', 'I'],
  ['debug', 'T'],
]);
/** Of the configuration's report. */
const LISTS = new Map([
  ['problems', 'E'],
  ['warnings', 'W'],
  ['notes', 'I'],
]);
const CODE_CALLS = new Map([
  ['denied', 'ACCESS_DENIED'],
  ['badConfig', 'BAD_CONFIG'],
]);
const CODE = /^[A-Z]+(_[A-Z]+)*$/;

/** @returns {readonly Message[]} in the order of the files, each text of a file once */
export function extractMessages() {
  const ours = [...inFolder('src', '.ts'), ...inFolder('native', '.cpp')].filter(
    (file) => !LEFT_OUT.some((pattern) => pattern.test(file)) && !file.startsWith('native/test/'),
  );
  return ours.flatMap((file) => {
    const source = readFileSync(inProject(file), 'utf8');
    const found = file.endsWith('.ts') ? [...textsOf(source)] : [...textsOfNative(source)];
    const once = new Map(found.filter(({ text }) => isMessage(text)).map((m) => [m.text, m]));
    return [...once.values()].map(({ text, kind }) => ({ file, text, kind }));
  });
}

/** @param {string} folder @param {string} ending */
function inFolder(folder, ending) {
  return readdirSync(inProject(folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith(ending))
    .map((file) => join(folder, file))
    .toSorted();
}

/** @param {string} text */
function isMessage(text) {
  // Parts of HTTP, of XML, and of other messages.
  const isOther = /\r\n|^<\?xml|^[\w-]+\/[\w-]+;|^[\s;,]/.test(text);
  return /\p{L}{2,}/u.test(text) && /\S\s+\S/.test(text) && !isOther;
}

/** @param {string} source @returns {Generator<{ text: string, kind: string | undefined }>} */
function* textsOf(source) {
  yield* visit(parseAst(source, { lang: 'ts' }).body, undefined);
}

/** @param {any} node @param {string | undefined} kind */
function* visit(node, kind) {
  if (typeof node !== 'object' || node === null) return;
  if (Array.isArray(node)) {
    for (const child of node) yield* visit(child, kind);
    return;
  }
  switch (node.type) {
    case 'ImportDeclaration':
    case 'ExportAllDeclaration':
    case 'TSTypeAnnotation':
    case 'TSTypeAliasDeclaration':
    case 'TSInterfaceDeclaration':
    case 'TSTypeParameterInstantiation':
      return;
    case 'TSAsExpression':
    case 'TSSatisfiesExpression':
      yield* visit(node.expression, kind);
      return;
    case 'SwitchCase':
      yield* visit(node.consequent, kind);
      return;
    case 'Property':
      if (HELP_PROPERTIES.has(node.key.name)) return;
      yield* visit(node.value, kind);
      return;
    case 'ObjectExpression': {
      const code = node.properties.find(({ key }) => key?.name === 'code')?.value?.value;
      yield* visit(node.properties, CODE.test(code ?? '') ? code : kind);
      return;
    }
    case 'NewExpression':
    case 'CallExpression': {
      yield* visit(node.callee, kind);
      const name = node.callee.name ?? node.callee.property?.name ?? '';
      if (HELP_CALLS.has(name)) {
        yield* visit(
          node.arguments.filter(({ type }) => !isText(type)),
          kind,
        );
        return;
      }
      yield* visit(node.arguments, kindOf(node, name) ?? kind);
      return;
    }
    case 'BinaryExpression':
      if (node.operator !== '+') return;
      break;
    default:
      break;
  }
  if (isText(node.type)) {
    // Each branch is a message of its own.
    if (node.type === 'ConditionalExpression') {
      yield* visit([node.test, node.consequent, node.alternate], kind);
      return;
    }
    const text = render(node);
    if (text !== undefined) yield { text, kind };
    // Functions within, not the parts of this very text.
    return;
  }
  for (const [key, child] of Object.entries(node)) {
    if (key !== 'type' && key !== 'typeAnnotation' && key !== 'returnType')
      yield* visit(child, kind);
  }
}

const isText = (type) =>
  ['Literal', 'TemplateLiteral', 'BinaryExpression', 'ConditionalExpression'].includes(type);

function kindOf(node, name) {
  const isOfLog = node.callee.computed === true || /^#?log$/.test(nameOf(node.callee.object));
  if (node.callee.type === 'MemberExpression' && isOfLog && LEVELS.has(name))
    return LEVELS.get(name);
  if (name === 'push') return LISTS.get(nameOf(node.callee.object));
  const [first] = node.arguments;
  if (name === 'StorageError' && CODE.test(first?.value ?? '')) return first.value;
  return CODE_CALLS.get(name);
}

const nameOf = (node) => node?.name ?? node?.property?.name ?? '';

/** @param {any} node @returns {string | undefined} undefined where there is no text in it */
function render(node) {
  switch (node.type) {
    case 'Literal':
      return typeof node.value === 'string' ? node.value : undefined;
    case 'TemplateLiteral':
      return node.quasis.map(({ value }) => value.cooked).join('…');
    case 'BinaryExpression':
      return `${render(node.left) ?? '…'}${render(node.right) ?? '…'}`;
    default:
      return undefined;
  }
}

/** Tokens of C++: strings, words, and single signs. Comments and #include are passed over. */
const NATIVE_TOKEN =
  /\/\/[^\n]*|\/\*[\s\S]*?\*\/|^#[^\n]*|(?<string>"(?:[^"\\\n]|\\.)*")|'(?:[^'\\]|\\.)*'|(?<word>[\w.]+(?:::[\w.]+)*|->)|(?<sign>\S)/gm;

/** A text is what "+" and mere sequence join: strings, and "…" for what is no string.
 *  @param {string} source @returns {Generator<{ text: string, kind: string | undefined }>} */
function* textsOfNative(source) {
  const tokens = [...source.matchAll(NATIVE_TOKEN)]
    .map(({ groups = {} }) => groups)
    .filter(({ string, word, sign }) => (string ?? word ?? sign) !== undefined);
  let text = '';
  // How deep in brackets, within a part that is no string.
  let depth = 0;
  for (const [index, { string, word, sign }] of tokens.entries()) {
    const isInText = text !== '';
    if (isInText && (sign === '(' || sign === '[')) {
      depth += 1;
    } else if (depth > 0) {
      if (sign === ')' || sign === ']') depth -= 1;
    } else if (string !== undefined) {
      text += JSON.parse(string);
    } else if (isInText && word !== undefined) {
      if (!text.endsWith('…')) text += '…';
    } else if (isInText && sign !== '+' && !(sign === ')' && tokens[index + 1]?.sign === '+')) {
      // std::string("…") + … goes on.
      yield { text, kind: undefined };
      text = '';
    }
  }
}
