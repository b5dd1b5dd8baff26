// SPDX-License-Identifier: GPL-3.0-or-later
// npm run bundle: src/ → build/bundle/plugin.cjs with its parts, which the shim embeds as plugin.parts with what loads them, and
// dist/cli.js with the licences of what is inside.

import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, transform } from 'esbuild';

import { bundledFolders, readPackages, renderNotices } from './lib/notices.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const bundleFolder = join(root, 'build', 'bundle');
const distFolder = join(root, 'dist');

/**
 * 126 kB of WebAssembly for a checksum that the Azure provider does not ask for; once used, it would also install a handler for
 * unhandled rejections (@azure/storage-common 12.4.1).
 * @type {import('esbuild').Plugin}
 */
const withoutCrc64 = {
  name: 'without-crc64',
  setup({ onLoad }) {
    onLoad({ filter: /@azure\/storage-common\/dist\/esm\/crc64\.js$/ }, () => ({
      contents: "export default () => Promise.reject(new Error('CRC64 is not in this bundle'));",
    }));
  },
};

/**
 * 270 kB with its polyfills of what Node has. All requests of Google's library have another fetch: src/providers/google/credentials.ts.
 * @type {import('esbuild').Plugin}
 */
const withoutNodeFetch = {
  name: 'without-node-fetch',
  setup({ onLoad }) {
    onLoad({ filter: /[/\\]node-fetch[/\\]src[/\\]index\.js$/ }, () => ({
      contents:
        "export default () => Promise.reject(new Error('node-fetch is not in this bundle'));",
    }));
  },
};

/** @type {import('esbuild').BuildOptions} */
const common = {
  absWorkingDir: root,
  bundle: true,
  platform: 'node',
  // ES modules where a package has them: only what is used of them goes into the bundle.
  mainFields: ['module', 'main'],
  format: 'cjs',
  target: 'node20.11',
  // Stack traces and the names of the SDKs' errors are worth more than the bytes.
  minify: false,
  charset: 'ascii',
  sourcemap: 'linked',
  sourcesContent: false,
  legalComments: 'none',
  metafile: true,
  logLevel: 'warning',
  // Optional dependencies of dependencies, which do without.
  external: ['encoding', 'supports-color'],
  // The shim compiles functions, not modules: import() would have no loader.
  supported: { 'dynamic-import': false },
  // Azure/azure-sdk-for-js#39057: its code asks for import.meta.url, which CommonJS leaves undefined.
  define: { 'import.meta.url': '__bundleUrl' },
  plugins: [withoutCrc64, withoutNodeFetch],
};
const banner = "const __bundleUrl = require('node:url').pathToFileURL(__filename).href;";

await mkdir(distFolder, { recursive: true });
const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
const page = await bundlePage();
const plugin = await bundlePlugin(page.files);
const cli = await build({
  ...common,
  entryPoints: ['src/cli/main.ts'],
  outfile: join(distFolder, 'cli.js'),
  define: { ...common.define, __VERSION__: JSON.stringify(version) },
  // package.json says "type": "module", and a bundle of CommonJS is none.
  banner: { js: `#!/usr/bin/env node\n${banner}` },
});
await writeFile(join(distFolder, 'package.json'), '{ "type": "commonjs" }\n');
const folders = bundledFolders([page.metafile, plugin.metafile, cli.metafile]);
await writeFile(join(bundleFolder, 'packages.json'), JSON.stringify(folders));
await writeFile(
  join(distFolder, 'THIRD-PARTY-NOTICES.txt'),
  renderNotices(await readPackages(folders)),
);

/**
 * In parts, so that V8 reads only those of the configured provider: all three take it some 40 ms longer. esbuild splits ES modules only;
 * each part is then turned into CommonJS.
 * @param {Readonly<Record<string, string>>} files of the page
 */
async function bundlePlugin(files) {
  const { sourcemap: _, supported, ...split } = common;
  const result = await build({
    ...split,
    entryPoints: { plugin: 'src/plugin/main.ts' },
    outdir: bundleFolder,
    outExtension: { '.js': '.cjs' },
    format: 'esm',
    splitting: true,
    chunkNames: '[name]-[hash]',
    sourcemap: 'inline',
    write: false,
    plugins: [...common.plugins, withPage(files)],
  });
  const parts = await Promise.all(
    result.outputFiles.map(async ({ path, text }) => {
      const { code, map } = await transform(text, {
        format: 'cjs',
        platform: 'node',
        target: common.target,
        charset: 'ascii',
        supported,
        sourcemap: 'external',
        sourcesContent: false,
        sourcefile: basename(path),
        ...(text.includes('__bundleUrl') ? { banner } : {}),
      });
      // The shim hands V8 one byte a character.
      return { name: basename(path), code: ascii(code), map };
    }),
  );
  // Parts of an earlier build go by other names.
  await rm(bundleFolder, { recursive: true, force: true });
  await mkdir(bundleFolder, { recursive: true });
  for (const { name, code, map } of parts) {
    await writeFile(join(bundleFolder, name), `${code}//# sourceMappingURL=${name}.map\n`);
    await writeFile(join(bundleFolder, `${name}.map`), map);
  }
  await writeFile(
    join(bundleFolder, 'plugin.parts'),
    `${await bundleLoader()}\0${joinParts(parts)}`,
  );
  return result;
}

/**
 * @param {Readonly<Record<string, string>>} files
 * @returns {import('esbuild').Plugin}
 */
function withPage(files) {
  return {
    name: 'with-page',
    setup({ onLoad }) {
      onLoad({ filter: /[/\\]src[/\\]plugin[/\\]page-files\.ts$/ }, () => ({
        contents: `export const pageFiles = ${JSON.stringify(files)};`,
      }));
    },
  };
}

/** Small, for what it is: as text, so that Orthanc can compress it, or not, as it is configured. */
async function bundlePage() {
  const { metafile, outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: { page: 'src/page/main.ts', style: 'src/page/page.css' },
    outdir: bundleFolder,
    bundle: true,
    platform: 'browser',
    format: 'esm',
    // Browsers of early 2023, the age of an old Firefox ESR: hospitals do not hurry.
    target: ['es2022', 'chrome110', 'firefox115', 'safari16'],
    minify: true,
    charset: 'ascii',
    legalComments: 'none',
    metafile: true,
    write: false,
    logLevel: 'warning',
  });
  /** @param {string} name */
  const textOf = (name) => outputFiles.find(({ path }) => basename(path) === name)?.text ?? '';
  const html = await readFile(join(root, 'src/page/index.html'), 'utf8');
  return {
    metafile,
    files: { 'index.html': html, 'page.js': textOf('page.js'), 'page.css': textOf('style.css') },
  };
}

/** The shim runs it as a script that has `process` and `require`, up to the zero behind it. */
async function bundleLoader() {
  const { plugins: _, ...options } = common;
  const { outputFiles } = await build({
    ...options,
    entryPoints: ['src/plugin/loader.ts'],
    sourcemap: false,
    write: false,
  });
  return ascii(outputFiles[0]?.text ?? '');
}

/** @param {string} code in which esbuild has left something beyond ASCII in comments only */
function ascii(code) {
  return code.replace(/[^\p{ASCII}]/gu, '?');
}

/**
 * The format that src/plugin/loader.ts takes apart: a line of JSON, [[name, length], …], then the parts one after another.
 * @param {readonly { name: string, code: string }[]} parts
 */
function joinParts(parts) {
  const index = parts.map(({ name, code }) => [name, code.length]);
  return `${JSON.stringify(index)}\n${parts.map(({ code }) => code).join('')}`;
}
