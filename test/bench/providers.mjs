// SPDX-License-Identifier: GPL-3.0-or-later
// node test/bench/providers.mjs [rounds] [provider …]: client CPU in ms per operation, the process that took least of several, as a Markdown
// table. In brackets: what of it other threads took (V8's collector, mostly), and collections per 1,000 operations.

import { execFile, fork } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { bundleBench } from './bundle.mjs';
import { writeServiceAccount } from './service-account.mjs';

const run = promisify(execFile);
const rounds = Number(process.argv[2] ?? 3);
const wanted = process.argv.slice(3);

const allPaths = [
  ['s3', 'http', 'node:http, nothing signed or checked'],
  ['s3', 'plugin', 'S3: signed, CRC32 both ways'],
  ['s3', 'sdk', 'S3, its SDK as it comes'],
  ['azure', 'plugin', 'Azure: signed, MD5 up, CRC32 down'],
  ['azure', 'sdk', 'Azure, its SDK as it comes'],
  ['google', 'plugin', 'Google: JSON API over our transport, CRC32C both ways'],
  ['google', 'sdk', 'Google, its own SDK as it comes, without credentials'],
];
const paths = allPaths.filter(([provider]) => wanted.length === 0 || wanted.includes(provider));
const cases = [
  ['put', 1_024, 'PUT 1 kB'],
  ['get', 1_024, 'GET 1 kB'],
  ['put', 524_288, 'PUT 512 kB'],
  ['get', 524_288, 'GET 512 kB'],
];

const folder = await mkdtemp(join(tmpdir(), 'providers-bench-'));
try {
  const bundle = await bundleBench('providers.bench.ts', folder);
  const server = await bundleBench('memory-server.ts', folder);
  const keyFile = await writeServiceAccount(folder);
  for (const scheme of ['http', 'https']) {
    const child = fork(server, [scheme, folder]);
    try {
      const [endpoint] = await new Promise((resolve) => child.once('message', resolve));
      const authorities = scheme === 'https' ? join(folder, 'ca.pem') : '';
      console.log(`\nClient CPU, ms per operation, Node ${process.version}, ${scheme}\n`);
      console.log(`| path | ${cases.map(([, , title]) => title).join(' | ')} |`);
      console.log(`| --- | ${cases.map(() => '---').join(' | ')} |`);
      const best = new Map();
      // Rounds outermost: the machine's speed drifts, and no path should have the good hour to itself.
      for (let round = 0; round < rounds; round += 1) {
        for (const [provider, path] of paths) {
          for (const [operation, bytes, title] of cases) {
            const what = [provider, path, operation, String(bytes)];
            const args = ['--no-warnings', bundle, ...what, endpoint, authorities, keyFile];
            // The SDKs take authorities from Node alone.
            const env = { ...process.env, NODE_EXTRA_CA_CERTS: authorities };
            const { stdout } = await run(process.execPath, args, { env });
            const key = `${provider} ${path} ${title}`;
            const figures = stdout.split(' ').map(Number);
            if (figures[0] < (best.get(key)?.[0] ?? Number.POSITIVE_INFINITY))
              best.set(key, figures);
          }
        }
      }
      for (const [provider, path, name] of paths) {
        const figures = cases.map(([, , title]) => {
          const [cpu, others, collections] = best.get(`${provider} ${path} ${title}`);
          return `${cpu.toFixed(2)} [${others.toFixed(2)}; ${(collections * 1_000).toFixed(0)}]`;
        });
        console.log(`| ${name} | ${figures.join(' | ')} |`);
      }
    } finally {
      child.kill();
    }
  }
} finally {
  await rm(folder, { recursive: true });
}
