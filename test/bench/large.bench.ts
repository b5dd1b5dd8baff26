// SPDX-License-Identifier: GPL-3.0-or-later
// One large object up or down in one process. Started by large.mjs, which bundles it. Takes a JSON of `Run`, prints one of `Outcome`.

import { readFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { type Access, createBody, createSink, createStore } from './stores.ts';

interface Run {
  readonly access: Access;
  readonly operation: 'put' | 'get';
  readonly key: string;
  /** What is put, or what has to come. */
  readonly file: string;
}

interface Outcome {
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly peakMb: number;
  readonly longestBlockMs: number;
}

const MB = 1_000_000;
const WARM_UP_BYTES = 8 * MB;

async function main(run: Run): Promise<Outcome> {
  const store = createStore(run.access);
  const { signal } = new AbortController();
  const content = readFileSync(run.file);
  // Filled, so that its pages are there before anything is measured.
  const target = run.operation === 'get' ? Buffer.alloc(content.length, 1) : content;

  // Connections, credentials, compiled code.
  const small = content.subarray(0, WARM_UP_BYTES);
  await store.put('warm-up', createBody(small), { signal });
  for (let count = 0; count < 3; count++) {
    await store.get('warm-up', undefined, createSink(Buffer.alloc(small.length)), { signal });
  }

  const before = process.memoryUsage().rss;
  let peak = before;
  const sampler = setInterval(() => {
    peak = Math.max(peak, process.memoryUsage.rss());
  }, 20);
  const delays = monitorEventLoopDelay({ resolution: 1 });
  delays.enable();
  const cpu = process.cpuUsage();
  const startedMs = performance.now();
  if (run.operation === 'put') await store.put(run.key, createBody(content), { signal });
  else await store.get(run.key, undefined, createSink(target), { signal });
  const seconds = (performance.now() - startedMs) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  delays.disable();
  clearInterval(sampler);
  if (Buffer.compare(content, target) !== 0) throw new Error('not what was stored');
  await store.close();
  return {
    seconds,
    cpuSeconds: (user + system) / 1e6,
    peakMb: (peak - before) / MB,
    longestBlockMs: delays.max / 1e6,
  };
}

main(JSON.parse(process.argv[2] ?? '')).then(
  (outcome) => {
    process.stdout.write(`${JSON.stringify(outcome)}\n`);
    process.exit(0);
  },
  (error: unknown) => {
    console.error(error);
    process.exit(1);
  },
);
