// SPDX-License-Identifier: GPL-3.0-or-later
// node test/bench/encryption.mjs [rounds]: what encryption alone makes of one core, beside openssl speed in the same run, and how long
// it holds up the event loop. In the box, with the libraries of the plugin: node scripts/box.mjs -- node test/bench/encryption.mjs

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const esbuild = fileURLToPath(new URL('../../node_modules/esbuild/bin/esbuild', import.meta.url));
const rounds = Number(process.argv[2] ?? 3);

const folder = mkdtempSync(join(tmpdir(), 'encryption-bench-'));
try {
  const bundle = join(folder, 'bench.cjs');
  const options = ['--bundle', '--platform=node', '--format=cjs', '--target=node20.11'];
  execFileSync(
    esbuild,
    [join(here, 'encryption.bench.ts'), ...options, `--outfile=${bundle}`, '--log-level=error'],
    { stdio: 'inherit' },
  );
  report(bundle);
} finally {
  rmSync(folder, { recursive: true });
}

/** @param {string} bundle */
function report(bundle) {
  /** @type {Map<string, number>} */ const best = new Map();
  /** @type {number[]} */ const openssl = [];
  /** @type {{ maxDelayMs: number, maxTurnCpuMs: number, idleMaxDelayMs: number }[]} */
  const delays = [];
  for (let round = 0; round < rounds; round++) {
    openssl.push(opensslSpeed());
    const text = execFileSync(process.execPath, [bundle], { encoding: 'utf8' });
    const { speeds, ...delay } = JSON.parse(text);
    delays.push(delay);
    for (const [name, speed] of Object.entries(speeds)) {
      best.set(name, Math.max(best.get(name) ?? 0, speed));
    }
  }
  const reference = Math.max(...openssl);
  const { versions } = process;
  say(
    `Node ${versions.node}, OpenSSL ${versions.openssl}; best of ${rounds} rounds, one core, MB/s`,
  );
  say(`openssl speed -evp aes-256-gcm -bytes 65536: ${reference.toFixed(0)}`);
  for (const [name, speed] of best) {
    say(`${name.padEnd(46)} ${speed.toFixed(0).padStart(6)}  ${(speed / reference).toFixed(2)}`);
  }
  say('event loop under load, at most, per round:');
  for (const { maxDelayMs, maxTurnCpuMs, idleMaxDelayMs } of delays) {
    say(
      `  ${maxTurnCpuMs.toFixed(1)} ms of our CPU time per turn; held up ${maxDelayMs.toFixed(1)} ms (${idleMaxDelayMs.toFixed(1)} ms on this machine without load)`,
    );
  }
}

/** @returns {number} MB/s */
function opensslSpeed() {
  const argv = ['speed', '-seconds', '2', '-bytes', '65536', '-evp', 'aes-256-gcm'];
  const text = execFileSync('openssl', argv, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const [, kilobytes] = /AES-256-GCM\s+([\d.]+)k/i.exec(text) ?? [];
  return Number(kilobytes) / 1000;
}

/** @param {string} line */
function say(line) {
  process.stdout.write(`${line}\n`);
}
