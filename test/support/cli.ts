// SPDX-License-Identifier: GPL-3.0-or-later
// The command line, bundled and run as users run it.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { buffer, text } from 'node:stream/consumers';
import { build } from 'esbuild';

export interface CliResult {
  /** null where a signal ended it. */
  readonly code: number | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

export interface Cli {
  run(argv: readonly string[], input?: Uint8Array): CliResult;
  /** For who goes on meanwhile, such as a server in the same process. */
  start(argv: readonly string[]): {
    readonly child: ChildProcess;
    readonly result: Promise<CliResult>;
  };
}

/** @param folder for the bundle, and where the commands run */
export async function buildCli(folder: string): Promise<Cli> {
  const file = join(folder, 'cli.cjs');
  // As scripts/bundle.mjs does it.
  await build({
    entryPoints: [join(import.meta.dirname, '../../src/cli/main.ts')],
    outfile: file,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20.11',
    mainFields: ['module', 'main'],
    external: ['encoding'],
    define: { __VERSION__: '"test"', 'import.meta.url': '__url' },
    banner: { js: "const __url = require('node:url').pathToFileURL(__filename).href;" },
    logLevel: 'error',
  });
  return openCli(file, folder);
}

/** @param file of the bundled command line
 *  @param folder where the commands run */
export function openCli(file: string, folder: string): Cli {
  return {
    run(argv, input) {
      const result = spawnSync(process.execPath, [file, ...argv], {
        cwd: folder,
        input,
        maxBuffer: 2 ** 30,
      });
      return { code: result.status, stdout: result.stdout, stderr: result.stderr.toString() };
    },
    start(argv) {
      const child = spawn(process.execPath, [file, ...argv], { cwd: folder });
      const collect = async () => {
        const [stdout, stderr] = [buffer(child.stdout), text(child.stderr)];
        const [code] = (await once(child, 'close')) as [number | null];
        return { code, stdout: await stdout, stderr: await stderr };
      };
      return { child, result: collect() };
    },
  };
}
