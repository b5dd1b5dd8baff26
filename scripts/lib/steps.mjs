// SPDX-License-Identifier: GPL-3.0-or-later
// What "npm test" consists of.

import { createWriteStream } from 'node:fs';
import { mkdir, readdir, readFile, rm, stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { relative } from 'node:path';

import { ensureBox, spawnInBox } from './box.mjs';
import { findBuildFolder, nativeModule, pluginFile } from './build.mjs';
import { onceSucceeded } from './cache.mjs';
import { countCheck, judge, readJunitCounts, readVitestCounts, sumCounts } from './counts.mjs';
import { inProject, projectRoot } from './paths.mjs';
import { spawnGuarded, waitForExit } from './run.mjs';

/**
 * @typedef {import('./box.mjs').BoxName} BoxName
 * @typedef {import('./counts.mjs').Counts} Counts
 *
 * @typedef {object} StepContext
 * @property {BoxName} box
 * @property {boolean} isFirstBox of those that are chosen
 * @property {(argv: readonly string[], env?: Record<string, string>) => Promise<number>} run on the
 *   host; its output goes to the step's log; resolves to the exit code
 * @property {(argv: readonly string[], env?: Record<string, string>) => Promise<number>} runInBox
 * @property {(extension: string) => Promise<string>} reportFile where a runner writes its report
 *
 * @typedef {object} Step
 * @property {string} name for --only
 * @property {'each' | 'first'} boxes runs for each box, or once, in the first
 * @property {readonly import('./needs.mjs').Need[]} needs beside the dependencies
 * @property {'computes' | 'waits' | 'fills'} load most tests wait, and mind when something computes beside them; Orthancs and
 *   their stores fill the machine by themselves
 * @property {(context: StepContext) => Promise<Counts>} run
 */

/** Native tests mostly wait, for deadlines and for loops that hang: more of them than there are cores. */
const testsAtOnce = '4';
/** Those of what the shim does for TypeScript: it encrypts, and carries out steps on files. */
const helperTests = [
  'test/unit/attachments/encrypted-attachments.test.ts',
  'test/unit/encryption/encrypted-body.test.ts',
  'test/unit/encryption/envelope.test.ts',
  'test/unit/encryption/fuzz.test.ts',
  'test/unit/encryption/opened-object.test.ts',
  'test/unit/encryption/tampering.test.ts',
  'test/unit/encryption/vectors.test.ts',
  'test/unit/local/file-steps.test.ts',
  'test/unit/local/local-cache.test.ts',
  'test/unit/tools/rekey/rekey.test.ts',
];
/** Of the command line, of the docs' way for Debian 13, and of what TypeScript does with stores and files: it is the same in each box.
 *  What is left tries the shim, Orthanc's requests and each kind of content with the box's own Orthanc and Node. */
const firstBoxTests = [
  'credentials',
  'guide',
  'hybrid-variants',
  'interrupted-moves',
  'logs',
  'migrate',
  'one-place',
  'outages',
  'rekey',
  'sealed-files',
].map((name) => `test/e2e/${name}.test.ts`);
/** Where reports and logs of the steps are. */
const reportFolder = inProject('build', 'test');

/**
 * @param {string} node
 * @param {string} project of vitest.config.ts
 * @param {string} report
 */
const vitestArgv = (node, project, report) => [
  node,
  inProject('node_modules', 'vitest', 'vitest.mjs'),
  'run',
  `--project=${project}`,
  '--reporter=default',
  '--reporter=json',
  `--outputFile.json=${report}`,
];

/**
 * @param {string} name
 * @param {Step['needs']} needs
 * @param {Partial<Pick<Step, 'boxes' | 'load'>> & { firstBoxOnly?: readonly string[] }} [options]
 * @returns {Step}
 */
const createVitestStep = (
  name,
  needs,
  { boxes = 'first', load = 'waits', firstBoxOnly = [] } = {},
) => ({
  name,
  boxes,
  needs,
  load,
  run: async ({ box, isFirstBox, run, reportFile }) => {
    const report = await reportFile('json');
    const excluded = isFirstBox ? [] : firstBoxOnly;
    const argv = [
      ...vitestArgv(process.execPath, name, report),
      ...excluded.map((file) => `--exclude=${file}`),
    ];
    const plugin = `${findBuildFolder(box)}/${pluginFile}`;
    const code = await run(argv, { OOS_BOX: box, OOS_PLUGIN: plugin });
    return judge(await readVitestCounts(report), code);
  },
});

/**
 * @param {string} name
 * @param {import('./build.mjs').Variant} variant
 * @param {Step['boxes']} boxes
 * @param {readonly string[]} [filter] for ctest
 * @returns {Step}
 */
const createNativeStep = (name, variant, boxes, filter = []) => ({
  name,
  boxes,
  needs: [variant],
  load: 'waits',
  run: async ({ box, runInBox, reportFile }) => {
    const report = await reportFile('xml');
    // biome-ignore format: an option and its value stay together
    const argv = [
      'ctest', '--test-dir', findBuildFolder(box, variant), '--output-on-failure',
      '--no-tests=error', '--output-junit', report, '--parallel', testsAtOnce, ...filter,
    ];
    const code = await runInBox(argv);
    return judge(await readJunitCounts(report), code);
  },
});

/** @type {readonly Step[]} */
export const steps = [
  {
    name: 'docs',
    boxes: 'first',
    needs: [],
    load: 'computes',
    run: async ({ run }) => {
      const scripts = [['generate-docs.mjs', '--check'], ['check-links.mjs']];
      const codes = scripts.map(([script = '', ...options]) =>
        run([process.execPath, inProject('scripts', script), ...options]),
      );
      return sumCounts((await Promise.all(codes)).map(countCheck));
    },
  },
  {
    name: 'lint',
    boxes: 'first',
    needs: [],
    load: 'computes',
    run: async ({ run }) => countCheck(await run(['npm', 'run', '--silent', 'lint'])),
  },
  {
    name: 'types',
    boxes: 'first',
    needs: [],
    load: 'computes',
    run: async ({ run }) => countCheck(await run(['npm', 'run', '--silent', 'typecheck'])),
  },
  {
    name: 'clang-format',
    boxes: 'first',
    needs: ['box'],
    load: 'computes',
    run: async ({ runInBox }) => {
      const sources = await listNativeSources(/\.(cpp|h)$/);
      return countCheck(await runInBox(['clang-format', '--dry-run', '--Werror', ...sources]));
    },
  },
  {
    name: 'clang-tidy',
    boxes: 'first',
    needs: ['release'],
    load: 'computes',
    run: async ({ box, runInBox }) => {
      const folder = findBuildFolder(box);
      // The longest first, so that no core waits for it at the end.
      const sources = await sortBySize(await listNativeSources(/\.cpp$/));
      const headers = await listNativeSources(/\.h$/);
      const settings = ['.clang-tidy', 'native/test/.clang-tidy', 'CMakeLists.txt'];
      const rules = [...headers, ...settings.map((name) => inProject(name))];
      const common = [await ensureBox(box), ...(await readAll(rules))];
      const codes = await mapLimited(sources, availableParallelism(), async (source) =>
        // In every clone the same.
        onceSucceeded(
          'clang-tidy',
          [...common, relative(projectRoot, source), ...(await readAll([source]))],
          () => runInBox(['clang-tidy', '--quiet', '-p', folder, source]),
        ),
      );
      return sumCounts(codes.map(countCheck));
    },
  },
  createNativeStep('native', 'release', 'each'),
  createNativeStep('asan', 'asan', 'first'),
  createNativeStep('tsan', 'tsan', 'first', ['--label-regex', '^core$']),
  createVitestStep('unit', ['bundle']),
  {
    name: 'unit-native',
    boxes: 'each',
    needs: ['release'],
    load: 'computes',
    // What "unit" has tried with Node's own means, with those of the shim, in the Node that it was built for.
    run: async ({ box, runInBox, reportFile }) => {
      const report = await reportFile('json');
      const argv = [
        ...vitestArgv('node', 'unit', report),
        ...helperTests.map((file) => inProject(file)),
      ];
      const code = await runInBox(argv, { OOS_NATIVE: `${findBuildFolder(box)}/${nativeModule}` });
      return judge(await readVitestCounts(report), code);
    },
  },
  createVitestStep('interop', ['box', 'servers', 'otherServers']),
  createVitestStep('conformance', ['servers']),
  createVitestStep('faults', ['release', 'servers']),
  createVitestStep('page', ['release', 'servers', 'browser'], { load: 'fills' }),
  createVitestStep('e2e', ['release', 'servers'], {
    boxes: 'each',
    load: 'fills',
    firstBoxOnly: firstBoxTests,
  }),
];

/** @param {RegExp} pattern @returns {Promise<string[]>} absolute paths below native/ */
async function listNativeSources(pattern) {
  const names = await readdir(inProject('native'), { recursive: true });
  return names
    .filter((name) => pattern.test(name))
    .sort()
    .map((name) => inProject('native', name));
}

/** @param {readonly string[]} files @returns {Promise<string[]>} the largest first */
async function sortBySize(files) {
  const sized = await Promise.all(files.map(async (file) => ({ file, ...(await stat(file)) })));
  return sized.sort((a, b) => b.size - a.size).map(({ file }) => file);
}

/** @param {readonly string[]} files @returns {Promise<string[]>} */
const readAll = (files) => Promise.all(files.map((file) => readFile(file, 'utf8')));

/**
 * @template T, R
 * @param {readonly T[]} items
 * @param {number} limit how many at a time
 * @param {(item: T) => Promise<R>} action
 * @returns {Promise<R[]>} in the order of the items
 */
export async function mapLimited(items, limit, action) {
  /** @type {R[]} */ const results = new Array(items.length);
  const queue = items.entries();
  const work = async () => {
    for (const [index, item] of queue) results[index] = await action(item);
  };
  await Promise.all(Array.from({ length: limit }, work));
  return results;
}

/**
 * @param {Step} step
 * @param {BoxName} box
 * @param {boolean} isFirstBox
 * @returns {Promise<{ counts: Counts, logFile: string }>}
 */
export async function runTestStep(step, box, isFirstBox) {
  await mkdir(reportFolder, { recursive: true });
  const base = `${reportFolder}/${step.boxes === 'each' ? `${step.name}-${box}` : step.name}`;
  const logFile = `${base}.log`;
  const log = createWriteStream(logFile);
  /** @param {import('node:child_process').ChildProcess} child */
  const follow = (child) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (chunk) => log.write(chunk));
    }
    return waitForExit(child);
  };
  const stdio = /** @type {const} */ (['ignore', 'pipe', 'pipe']);
  try {
    const counts = await step.run({
      box,
      isFirstBox,
      run: (argv, env = {}) =>
        follow(spawnGuarded(argv, { cwd: projectRoot, env: { ...process.env, ...env }, stdio })),
      runInBox: async (argv, env = {}) =>
        follow(spawnInBox(await ensureBox(box), argv, { env, stdio })),
      reportFile: async (extension) => {
        await rm(`${base}.${extension}`, { force: true }); // an old report must not speak for this run
        return `${base}.${extension}`;
      },
    });
    return { counts, logFile };
  } catch (error) {
    const text = `${error instanceof Error ? error.stack : error}\n`;
    log.write(text);
    return { counts: countCheck(1), logFile };
  } finally {
    await new Promise((resolve) => log.end(() => resolve(undefined)));
  }
}
