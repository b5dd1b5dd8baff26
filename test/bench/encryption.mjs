// SPDX-License-Identifier: GPL-3.0-or-later
// node test/bench/encryption.mjs [--box trixie|testing] [--rounds N]: what encryption alone makes of one core, by the shim's AES and by
// node:crypto, beside openssl speed in the same box and run; and how long it holds up the event loop.

import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { build } from 'esbuild';

import { ensureBox, runInBoxOrFail } from '../../scripts/lib/box.mjs';
import { buildBundle, buildNative, nativeModule } from '../../scripts/lib/build.mjs';
import { inProject } from '../../scripts/lib/paths.mjs';
import { parseBoxName } from '../../scripts/lib/suites.mjs';

/** @typedef {{ maxDelayMs: number, maxTurnCpuMs: number, idleMaxDelayMs: number }} Delays */
/** @typedef {{ speeds: Record<string, number> } & Delays} Round of encryption.bench.ts */

const { values } = parseArgs({
  options: {
    box: { type: 'string', default: 'trixie' },
    rounds: { type: 'string', default: '3' },
  },
});
const boxName = parseBoxName(values.box);
const rounds = Number(values.rounds);

await buildBundle();
const addon = join(await buildNative({ box: boxName, withTests: true }), nativeModule);
const box = await ensureBox(boxName);
const folder = mkdtempSync(inProject('build', 'bench-'));
try {
  const bundle = join(folder, 'bench.cjs');
  await build({
    entryPoints: [inProject('test', 'bench', 'encryption.bench.ts')],
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20.11',
    outfile: bundle,
    logLevel: 'error',
    logOverride: { 'empty-import-meta': 'silent' },
  });
  await report(bundle);
} finally {
  rmSync(folder, { recursive: true });
}

/** @param {string} bundle */
async function report(bundle) {
  /** @type {number[]} */ const openssl = [];
  /** @type {Map<string, { shim: number, node: number }>} */ const best = new Map();
  /** @type {Delays[]} */ const delays = [];
  for (let round = 0; round < rounds; round++) {
    openssl.push(await opensslSpeed());
    const shim = await run(bundle, { OOS_NATIVE: addon });
    const node = await run(bundle);
    delays.push(shim);
    for (const [name, speed] of Object.entries(shim.speeds)) {
      const { shim: bestShim, node: bestNode } = best.get(name) ?? { shim: 0, node: 0 };
      best.set(name, {
        shim: Math.max(bestShim, speed),
        node: Math.max(bestNode, node.speeds[name] ?? 0),
      });
    }
  }
  const reference = Math.max(...openssl);
  const share = (/** @type {number} */ speed) =>
    `${speed.toFixed(0).padStart(6)} ${(speed / reference).toFixed(2)}`;
  say(`best of ${rounds} rounds, one core, MB/s and beside openssl speed`);
  say(`openssl speed -evp aes-256-gcm -bytes 65536: ${reference.toFixed(0)}`);
  say(`${''.padEnd(40)} the shim's  node:crypto`);
  for (const [name, { shim, node }] of best) {
    say(`${name.padEnd(40)} ${share(shim)}  ${share(node)}`);
  }
  say('event loop under load, at most, per round:');
  for (const { maxDelayMs, maxTurnCpuMs, idleMaxDelayMs } of delays) {
    say(
      `  ${maxTurnCpuMs.toFixed(1)} ms of our CPU time per turn; held up ${maxDelayMs.toFixed(1)} ms (${idleMaxDelayMs.toFixed(1)} ms on this machine without load)`,
    );
  }
}

/**
 * @param {string} bundle
 * @param {Record<string, string>} [env]
 * @returns {Promise<Round>}
 */
async function run(bundle, env = {}) {
  return JSON.parse(await runInBoxOrFail(box, ['node', bundle], { env }));
}

/** @returns {Promise<number>} MB/s */
async function opensslSpeed() {
  const argv = ['openssl', 'speed', '-seconds', '2', '-bytes', '65536', '-evp', 'aes-256-gcm'];
  const text = await runInBoxOrFail(box, argv);
  const [, kilobytes] = /AES-256-GCM\s+([\d.]+)k/i.exec(text) ?? [];
  return Number(kilobytes) / 1000;
}

/** @param {string} line */
function say(line) {
  process.stdout.write(`${line}\n`);
}
